"""Runs recorded from Spark jobs, by the context manager and by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import (
    AlreadyRunningError,
    DynamoDBConfig,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    PipelineConfig,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    RunStatus,
    SparkDynamoDBIntegration,
    TableConfig,
    TableConfigRepository,
    ValidationError,
)
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import NoActiveRunError, PipelineInactiveError
from dynamodb_wrapper.runs import RunEvent
from dynamodb_wrapper.utils import (
    create_spark_session_with_dynamodb,
    get_pipeline_config_for_spark,
    get_table_configs_for_spark,
    log_pipeline_run_from_spark,
)
from tests.support.runs import with_pipelines

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def integration(local_config: DynamoDBConfig) -> SparkDynamoDBIntegration:
    return SparkDynamoDBIntegration(with_pipelines(local_config, PipelineConfig(pipeline_id="p")))


@pytest.fixture
def runs(local_config: DynamoDBConfig) -> PipelineRunLogsRepository:
    return PipelineRunLogsRepository(local_config)


def test_the_context_yields_the_id_of_a_run_that_is_running_inside_and_ended_after(
    integration: SparkDynamoDBIntegration, runs: PipelineRunLogsRepository
) -> None:
    with integration.pipeline_run_context("p", parameters={"day": "mon"}) as run_id:
        inside = runs.get_or_raise(run_id)
        assert integration.current_run().run_id == run_id
    assert isinstance(run_id, str)
    assert (inside.status, inside.parameters) == (RunStatus.RUNNING, {"day": "mon"})
    assert runs.get_or_raise(run_id).status is RunStatus.SUCCESS


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("no"), RunStatus.FAILED, "exception"),
        (KeyboardInterrupt(), RunStatus.CANCELLED, "user_cancel"),
        (SystemExit(0), RunStatus.SUCCESS, None),
        (SystemExit(3), RunStatus.FAILED, "process_exit"),
        (GeneratorExit(), RunStatus.CANCELLED, "cancelled"),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else "",
)
def test_what_leaves_the_block_is_the_same_object_and_decides_the_outcome(
    integration: SparkDynamoDBIntegration,
    runs: PipelineRunLogsRepository,
    error: BaseException,
    status: RunStatus,
    reason: str | None,
) -> None:
    with pytest.raises(type(error)) as caught, integration.pipeline_run_context("p") as run_id:
        raise error
    assert caught.value is error
    stored = runs.get_or_raise(run_id)
    assert (stored.status, stored.status_reason) == (status, reason)


def test_there_is_no_current_run_outside(integration: SparkDynamoDBIntegration) -> None:
    with pytest.raises(NoActiveRunError):
        integration.current_run()


def test_unknown_inactive_and_busy_pipelines_are_refused_before_the_body(
    integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig
) -> None:
    entered: list[str] = []
    with pytest.raises(ItemNotFoundError), integration.pipeline_run_context("nowhere") as run_id:
        entered.append(run_id)
    with integration.pipeline_run_context("p") as holder:
        with pytest.raises(AlreadyRunningError, match=holder):
            entered.append(integration.pipeline_run_context("p").__enter__())
    PipelineConfigRepository(local_config).update_pipeline_status("p", is_active=False)
    with pytest.raises(PipelineInactiveError), integration.pipeline_run_context("p") as run_id:
        entered.append(run_id)
    assert entered == []


def test_statistics_after_a_write_name_the_current_run(
    integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig
) -> None:
    tables = TableConfigRepository(local_config)
    tables.create(TableConfig(table_id="t", table_type="destination", location="x"))
    with integration.pipeline_run_context("p") as run_id:
        integration.update_table_stats_after_write("t", record_count=3)
    assert tables.get_or_raise("t").last_run_id == run_id


@pytest.fixture
def two_tables(local_config: DynamoDBConfig, tmp_path: Path) -> TableConfigRepository:
    """Tables ``orders`` and ``paid`` of parquet files."""
    tables = TableConfigRepository(local_config)
    for name in ("orders", "paid"):
        tables.create(
            TableConfig(table_id=name, table_type="destination", location=str(tmp_path / name))
        )
    return tables


def test_reads_and_writes_are_recorded_with_the_run_and_the_table(
    integration: SparkDynamoDBIntegration,
    runs: PipelineRunLogsRepository,
    two_tables: TableConfigRepository,
    spark: Any,
) -> None:
    integration.write_table(spark.range(5), "orders", mode="overwrite")
    assert two_tables.get_or_raise("orders").record_count is None  # no run, nothing recorded
    with integration.pipeline_run_context("p") as run_id:
        orders = integration.read_table(spark, "orders")
        integration.write_table(orders.where("id > 1"), "paid", mode="overwrite")
        integration.write_table(orders.where("id = 0"), "paid", mode="append")
    run = runs.get_or_raise(run_id)
    plainly = spark.read.parquet(two_tables.get_or_raise("paid").location)
    assert run.inputs == ["orders"]
    assert list(run.outputs) == ["paid"]
    assert run.outputs["paid"].rows == run.records_written == plainly.count() == 4
    assert run.outputs["paid"].files == len(plainly.inputFiles())
    paid = two_tables.get_or_raise("paid")
    assert (paid.last_run_id, paid.file_count) == (run_id, run.outputs["paid"].files)
    assert paid.size_bytes == run.outputs["paid"].bytes
    assert paid.record_count is None  # only its user knows it after an append


def test_what_is_recorded_by_itself_costs_no_request_of_the_run(
    integration: SparkDynamoDBIntegration,
    local_config: DynamoDBConfig,
    two_tables: TableConfigRepository,
    spark: Any,
) -> None:
    two_tables.update("orders", set={"location": two_tables.get_or_raise("paid").location})
    spark.range(2).write.parquet(two_tables.get_or_raise("paid").location)
    with integration.pipeline_run_context("p") as run_id:
        integration.read_table(spark, "orders")
        assert PipelineRunLogsRepository(local_config).get_or_raise(run_id).inputs == []
        integration.current_run().log_metric("files", 1)  # its request carries the input too
        assert PipelineRunLogsRepository(local_config).get_or_raise(run_id).inputs == ["orders"]


def test_recording_of_tables_can_be_switched_off(
    local_config: DynamoDBConfig,
    integration: SparkDynamoDBIntegration,
    runs: PipelineRunLogsRepository,
    two_tables: TableConfigRepository,
    spark: Any,
) -> None:
    silent = SparkDynamoDBIntegration(local_config, record_tables=False)
    with silent.pipeline_run_context("p") as run_id:
        silent.write_table(spark.range(5), "orders", mode="overwrite")
        assert silent.read_table(spark, "orders").count() == 5
    run = runs.get_or_raise(run_id)
    assert (run.inputs, run.outputs, run.records_written) == ([], {}, None)
    assert two_tables.get_or_raise("orders").last_run_id is None


def test_the_integration_takes_what_a_tracker_takes(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration
) -> None:
    events: list[RunEvent] = []
    later = START + timedelta(days=1)
    told = SparkDynamoDBIntegration(local_config, hooks=[events.append], clock=lambda: later)
    with told.pipeline_run_context("p") as run_id:
        pass
    assert [(event.kind, event.run.run_id) for event in events] == [
        ("started", run_id),
        ("finished", run_id),
    ]
    assert events[0].run.start_time == later


def test_a_foreign_run_is_recorded_with_its_counts(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    end = START + timedelta(seconds=90.5)
    stored = log_pipeline_run_from_spark(
        local_config,
        "elsewhere",
        "success",
        spark=spark,
        run_id="airflow-1",
        start_time=START,
        end_time=end,
        records_read=10,
        records_written=9,
        records_failed=1,
        metrics={"files": 4},
    )
    found = PipelineRunLogsRepository(local_config).get_or_raise("airflow-1")
    assert found == stored
    assert (found.start_time, found.end_time) == (START, end)
    assert found.duration_seconds == Decimal("90.5")
    assert (found.records_read, found.records_written, found.records_failed) == (10, 9, 1)
    assert found.metrics == {"files": 4}
    assert found.runtime.spark_application_id == spark.sparkContext.applicationId


def test_a_foreign_run_needs_only_pipeline_and_status(
    local_config: DynamoDBConfig,
    integration: SparkDynamoDBIntegration,
    runs: PipelineRunLogsRepository,
) -> None:
    run = log_pipeline_run_from_spark(local_config, "p", RunStatus.SUCCESS)
    assert run.end_time is not None
    assert [found.run_id for found in runs.get_runs_by_pipeline("p")] == [run.run_id]


def test_the_error_of_a_foreign_run_is_stored_without_secrets(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration
) -> None:
    error = OSError("cannot open jdbc:postgresql://user:hunter22@host/db")
    run = log_pipeline_run_from_spark(local_config, "p", "failed", error=error)
    told = log_pipeline_run_from_spark(local_config, "p", "failed", error="password=hunter22")
    assert run.error is not None
    assert told.error is not None
    assert run.error_type == "OSError"
    assert "hunter22" not in run.error.message + told.error.message


def test_a_foreign_run_is_not_stored_twice(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration
) -> None:
    log_pipeline_run_from_spark(local_config, "p", "success", run_id="once")
    with pytest.raises(ItemAlreadyExistsError):
        log_pipeline_run_from_spark(local_config, "p", "failed", run_id="once")


@pytest.mark.parametrize(
    "values",
    [
        {"status": "done"},
        {"status": "success", "records_read": -1},
        {"status": "success", "start_time": START, "end_time": START - timedelta(days=1)},
    ],
)
def test_a_record_that_makes_no_sense_is_refused(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration, values: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        log_pipeline_run_from_spark(local_config, "p", **values)


def test_configurations_are_found_by_the_functions(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration
) -> None:
    tables = TableConfigRepository(local_config)
    for table_id, is_active in (("a", True), ("b", True), ("c", False)):
        tables.create(
            TableConfig(
                table_id=table_id,
                pipeline_id="p",
                table_type="source",
                location="x",
                is_active=is_active,
            )
        )
    assert get_pipeline_config_for_spark(local_config, "p").pipeline_id == "p"
    assert sorted(get_table_configs_for_spark(local_config, "p")) == ["a", "b"]
    with pytest.raises(ItemNotFoundError):
        get_pipeline_config_for_spark(local_config, "nowhere")


def test_options_of_a_configured_table_are_read_and_written_apart(
    local_config: DynamoDBConfig, integration: SparkDynamoDBIntegration
) -> None:
    TableConfigRepository(local_config).create(
        TableConfig(
            table_id="t",
            table_type="source",
            location="x",
            connection_config={"sep": ";"},
            read_options={"header": True},
            write_options={"compression": "gzip"},
        )
    )
    assert integration.get_table_read_options("t") == {"sep": ";", "header": "true"}
    assert integration.get_table_write_options("t") == {"sep": ";", "compression": "gzip"}
    with pytest.raises(ItemNotFoundError, match="nowhere"):
        integration.get_table_write_options("nowhere")


def test_a_client_that_is_passed_in_serves_every_call(
    local_config: DynamoDBConfig,
    integration: SparkDynamoDBIntegration,
    runs: PipelineRunLogsRepository,
    spark: Any,
    tmp_path: Path,
) -> None:
    """The address of the config alone does not answer."""
    unreachable = DynamoDBConfig.for_local_development(
        "http://127.0.0.1:9", table_prefix=local_config.table_prefix, max_attempts=1
    )
    TableConfigRepository(local_config).create(
        TableConfig(table_id="t", pipeline_id="p", table_type="source", location=str(tmp_path))
    )
    given = {"client": client_for(local_config)}
    served = SparkDynamoDBIntegration(unreachable, **given)
    with served.pipeline_run_context("p") as run_id:
        assert served.create_spark_session("p") is spark
        written = served.write_table(spark.range(3), "t", mode="overwrite")
        assert served.update_table_stats_after_write(written).last_run_id == run_id
        assert served.read_table(spark, "t").count() == 3
    assert served.get_spark_config_from_pipeline("p") == {}
    assert served.get_table_read_options("t") == served.get_table_write_options("t") == {}
    assert get_pipeline_config_for_spark(unreachable, "p", **given).pipeline_id == "p"
    assert list(get_table_configs_for_spark(unreachable, "p", **given)) == ["t"]
    assert create_spark_session_with_dynamodb(unreachable, "p", **given) is spark
    logged = log_pipeline_run_from_spark(unreachable, "p", "success", **given)
    assert {run.run_id for run in runs.get_runs_by_pipeline("p")} == {run_id, logged.run_id}
    stored = runs.get_or_raise(run_id)
    assert stored.status is RunStatus.SUCCESS
    assert stored.runtime.spark_version == spark.version


def test_a_failure_on_a_worker_is_recorded_as_the_users_own(
    integration: SparkDynamoDBIntegration, runs: PipelineRunLogsRepository, spark: Any
) -> None:
    def broken(value: int) -> int:
        return 1 // (value - value)

    rdd = spark.sparkContext.parallelize([1], 1)
    fingerprints = set()
    for _ in range(2):
        with pytest.raises(Exception, match="ZeroDivisionError"):
            with integration.pipeline_run_context("p") as run_id:
                rdd.map(broken).collect()
        error = runs.get_or_raise(run_id).error
        assert error is not None
        assert error.type == "ZeroDivisionError"
        assert error.message.startswith("integer division")
        assert "Py4JJavaError" in error.stack_head or "PythonException" in error.stack_head
        fingerprints.add(error.fingerprint)
    assert len(fingerprints) == 1
