"""The common calls as functions, for jobs that hold no integration object."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError as PydanticValidationError

from dynamodb_wrapper.aws.credentials import ProcessSecrets
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.models.run import PipelineRunLog, RunErrorInfo, RuntimeInfo
from dynamodb_wrapper.redaction import redact
from dynamodb_wrapper.repositories.pipelines import PipelineConfigRepository
from dynamodb_wrapper.repositories.run_logs import PipelineRunLogsRepository
from dynamodb_wrapper.repositories.table_configs import TableConfigRepository
from dynamodb_wrapper.runs.outcome import error_info
from dynamodb_wrapper.runs.start import describe_runtime
from dynamodb_wrapper.spark.integration import SparkDynamoDBIntegration
from dynamodb_wrapper.spark.sessions import describe_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pyspark.sql import SparkSession

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.measures import Metric
    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.table_config import TableConfig
    from dynamodb_wrapper.spark.sessions import Setting


def get_pipeline_config_for_spark(
    config: DynamoDBConfig, pipeline_id: str, *, client: Any = None
) -> PipelineConfig:
    """Return the configuration of a pipeline. Costs half a read unit per 4 KB. See: GetItem.

    Raises:
        ItemNotFoundError: There is no such pipeline.
    """
    return PipelineConfigRepository(config, client=client).get_or_raise(pipeline_id)


def get_table_configs_for_spark(
    config: DynamoDBConfig, pipeline_id: str, *, client: Any = None
) -> dict[str, TableConfig]:
    """Return the active tables of a pipeline by their id; none for an unknown pipeline.

    Costs half a read unit per 4 KB of index entries (about 100 bytes each) and half a one per 4 KB
    of each table. The index follows writes within about a second. See: Query, BatchGetItem.
    """
    tables = TableConfigRepository(config, client=client)
    return {table.table_id: table for table in tables.get_active_tables_by_pipeline(pipeline_id)}


def create_spark_session_with_dynamodb(
    config: DynamoDBConfig,
    pipeline_id: str,
    additional_config: Mapping[str, Setting] | None = None,
    *,
    client: Any = None,
) -> SparkSession:
    """Return a session with the settings of a pipeline.

    As `SparkDynamoDBIntegration.create_spark_session`; the integration also lists the settings in
    force and can stop the session.
    """
    integration = SparkDynamoDBIntegration(config, client=client)
    return integration.create_spark_session(pipeline_id, additional_config)


def log_pipeline_run_from_spark(
    config: DynamoDBConfig,
    pipeline_id: str,
    status: RunStatus | str,
    *,
    spark: SparkSession | None = None,
    run_id: str | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    records_read: int | None = None,
    records_written: int | None = None,
    records_failed: int | None = None,
    metrics: Mapping[str, Metric] | None = None,
    error: BaseException | str | None = None,
    client: Any = None,
) -> PipelineRunLog:
    """Store the record of a run that this library does not control, and return it.

    For jobs that another system starts and ends: it takes no lock and is not listed as running
    now. Inside `pipeline_run_context` the run is recorded already; use the methods of
    `PipelineRunLogsRepository` there. Costs a write unit per KB of the record and about three for
    its index entries. See: PutItem.

    Args:
        config: Where the tables are.
        pipeline_id: The pipeline; it need not be registered.
        status: How the run ended, or ``running``.
        spark: Its application id and version are stored with the run.
        run_id: Your own id; repeating the call with it cannot store the run twice.
        start_time: When it began; its end unless given.
        end_time: When it ended; now unless given, for a status that is an end.
        records_read: Rows read.
        records_written: Rows written.
        records_failed: Rows that could not be processed.
        metrics: Further figures.
        error: What went wrong; it is stored with secrets taken out.
        client: A boto3 DynamoDB client to use instead of the shared one of the config.

    Raises:
        ItemAlreadyExistsError: The run id is taken.
        ValidationError: A value does not fit.
    """
    values: dict[str, Any] = {
        "run_id": run_id,
        "start_time": start_time,
        "end_time": end_time,
        "records_read": records_read,
        "records_written": records_written,
        "records_failed": records_failed,
    }
    try:
        run = PipelineRunLog(
            pipeline_id=pipeline_id,
            status=RunStatus(status),
            runtime=_runtime(spark),
            metrics=dict(metrics or {}),
            error=_error(error, ProcessSecrets(config, client)),
            **{name: value for name, value in values.items() if value is not None},
        )
    except ValueError as problem:
        raise _unfit(problem) from problem
    _complete(run)
    return PipelineRunLogsRepository(config, client=client).create_run_log(run)


def _complete(run: PipelineRunLog) -> None:
    """Fill in the times that follow from the status, and the type of the error."""
    if run.end_time is None and run.status.is_terminal:
        run.end_time = utc_now()
    if run.start_time is None:
        run.start_time = run.end_time
    elif run.end_time is not None:
        seconds = (run.end_time - run.start_time).total_seconds()
        run.duration_seconds = Decimal(str(round(seconds, 3)))
    if run.error is not None:
        run.error_type = run.error.type


def _runtime(spark: SparkSession | None) -> RuntimeInfo:
    facts = {} if spark is None else describe_session(spark)
    return describe_runtime().model_copy(update=facts)


def _error(error: BaseException | str | None, secrets: Iterable[str]) -> RunErrorInfo | None:
    if isinstance(error, str):
        return RunErrorInfo(type="Error", message=redact(error, secrets))
    # The stack trace is stored as far as it fits into the record, without items beside it.
    return None if error is None else error_info(error, secrets).model_copy(update={"chunks": 0})


def _unfit(problem: ValueError) -> ValidationError:
    errors = problem.errors() if isinstance(problem, PydanticValidationError) else ()
    return ValidationError(f"The record of the run does not fit: {problem}", errors=errors)
