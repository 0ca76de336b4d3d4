"""`SparkDynamoDBIntegration`: sessions, tables and runs for PySpark pipelines."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable

from typing_extensions import Unpack

from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.arguments import flag
from dynamodb_wrapper.models.run import TableOutput
from dynamodb_wrapper.repositories.pipelines import PipelineConfigRepository
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.repositories.table_configs import TableConfigRepository
from dynamodb_wrapper.runs.current import current_run, find_current_run
from dynamodb_wrapper.runs.run import Run
from dynamodb_wrapper.runs.tracker import RunTracker
from dynamodb_wrapper.spark.overlay import withdraw
from dynamodb_wrapper.spark.sessions import (
    Sessions,
    SessionSettings,
    Setting,
    cancel_jobs,
    checked,
    describe_session,
    mark_jobs,
    require_pyspark,
    settings_of,
    unmark_jobs,
)
from dynamodb_wrapper.spark.tables import (
    WriteSummary,
    read_options,
    read_table_data,
    report_write,
    write_options,
    write_table_data,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from pyspark.sql import DataFrame, SparkSession

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.enums import WriteMode
    from dynamodb_wrapper.models.table_config import TableConfig
    from dynamodb_wrapper.runs.context import RunContext
    from dynamodb_wrapper.runs.hooks import Hook
    from dynamodb_wrapper.runs.options import RunArguments

logger = SafeLogger(__name__)


class RunBlock(AbstractContextManager["str"]):
    """Yields the run id; stores the end of the run, then restores the session's settings.

    After an interruption (KeyboardInterrupt, SystemExit, GeneratorExit) the settings stay: the
    replies of the JVM may then be one off, so no call may be made.
    """

    def __init__(self, context: RunContext, open_blocks: dict[str, RunBlock]) -> None:
        self._context = context
        self._open_blocks = open_blocks
        self._run_id = ""
        self.session: SparkSession | None = None
        self._marks_jobs = False
        self._changed: list[SparkSession] = []

    def use(self, session: SparkSession) -> None:
        """Note the session the run works with, so that its jobs can be cancelled."""
        self.session = session
        if self._marks_jobs:
            mark_jobs(session, self._run_id)

    def remember(self, session: SparkSession) -> None:
        """Note a session whose settings the run has changed until its end."""
        self._changed.append(session)

    def __enter__(self) -> str:
        run = self._context.__enter__()
        self._run_id, self._marks_jobs = run.run_id, run.internals.options.cancel_spark_jobs
        self._open_blocks[self._run_id] = self
        return self._run_id

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        calm = error is None or isinstance(error, Exception)
        try:
            self._context.__exit__(kind, error, trace)
        except BaseException as problem:
            calm = calm and isinstance(problem, Exception)
            raise
        finally:
            self._open_blocks.pop(self._run_id, None)
            if calm:
                self._restore()

    def _restore(self) -> None:
        if self.session is not None and self._marks_jobs:
            unmark_jobs(self.session, self._run_id)
        while self._changed:
            withdraw(self._changed.pop(), self._run_id)


class SparkDynamoDBIntegration:
    """Runs pipelines on Spark as DynamoDB configures them, and records their runs there.

    ::

        integration = SparkDynamoDBIntegration(DynamoDBConfig.from_env())
        with integration.pipeline_run_context("daily-orders") as run_id:
            spark = integration.create_spark_session()
            orders = integration.read_table(spark, "orders-raw")
            integration.write_table(orders, "orders")

    Nothing is sent and no Spark is needed before a method is called that needs it. A method that
    sends to DynamoDB may raise the errors of every repository.

    Args:
        config: Where the tables are.
        client: A boto3 DynamoDB client to use instead of the shared one of the config.
        hooks: As those of `RunTracker`.
        clock: As that of `RunTracker`.
        auto_reap: As that of `RunTracker`.
        record_tables: Whether reads and writes of tables inside a run are recorded with it, and
            what was written in the table's statistics.

    Attributes:
        tracker: Run control of this integration's runs.
    """

    def __init__(
        self,
        config: DynamoDBConfig,
        client: Any = None,
        *,
        hooks: Iterable[Hook] = (),
        clock: Callable[[], datetime] | None = None,
        auto_reap: bool = False,
        record_tables: bool = True,
    ) -> None:
        self.config = config
        self._client = client
        self._records_tables = flag("record_tables", record_tables)
        self.tracker = RunTracker(
            config,
            client=client,
            hooks=hooks,
            clock=clock,
            auto_reap=auto_reap,
            cancel_jobs=self._cancel_jobs,
        )
        self._sessions = Sessions()
        self._blocks: dict[str, RunBlock] = {}
        self._session_settings: SessionSettings | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # clients, sessions, hooks and clocks stay where they are
        return _unpickled, (type(self), self.config, self._records_tables)

    @property
    def session_settings(self) -> SessionSettings | None:
        """The settings of the last `create_spark_session`, by whether they are in force."""
        return self._session_settings

    # ---- sessions --------------------------------------------------------------------------------

    def get_spark_config_from_pipeline(self, pipeline_id: str) -> dict[str, str]:
        """Return the Spark settings of a pipeline: its resources, overlaid by its `spark_config`.

        Costs half a read unit per 4 KB. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
        """
        pipelines = PipelineConfigRepository(self.config, client=self._client)
        return settings_of(pipelines.get_or_raise(pipeline_id))

    def create_spark_session(
        self,
        pipeline_id: str | None = None,
        additional_config: Mapping[str, Setting] | None = None,
        *,
        strict: bool = False,
    ) -> SparkSession:
        """Return a session with the settings of a pipeline; they are read before there is one.

        An existing session is used, because Spark shares it: it gets the runtime settings,
        catalogs and settings of Delta, Iceberg, Hadoop and your own included, which
        `pipeline_run_context` takes back at its end, each for itself: other runs that use the
        session keep theirs. Settings that are fixed since its start are named in a warning;
        `to_submit_args` gives them to ``spark-submit``. `session_settings` lists both.
        Inside a run of the pipeline its configuration is the one the run began with, and the
        application id and Spark's version are stored with the run.

        A session on this machine listens on 127.0.0.1 and its workers use this interpreter, unless
        set otherwise. Credentials are never put into the settings.

        Costs half a read unit outside of the pipeline's run; inside, a write unit per KB of the
        run. See: GetItem, UpdateItem.

        Args:
            pipeline_id: The pipeline; that of the current run unless given.
            additional_config: Settings on top of the pipeline's.
            strict: Whether a setting that is not in force is an error instead of a warning.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            NoActiveRunError: No pipeline is given, and there is no run.
            ConfigurationError: A setting is a secret, no setting, or refused by Spark; or with
                `strict`, it is not in force.
            MissingDependencyError: PySpark or Java is missing.
        """
        require_pyspark()
        name, wanted = self._wanted_settings(pipeline_id)
        wanted.update(checked(additional_config or {}, "additional_config"))
        run = find_current_run()
        is_in_block = run is not None and run.run_id in self._blocks
        owner = run.run_id if run is not None and is_in_block else None
        session, settings = self._sessions.provide(name, wanted, owner, strict=strict)
        self._session_settings = settings
        if run is not None:
            self._attach_to_run(run, session, settings)
        return session

    def to_submit_args(
        self, pipeline_id: str, additional_config: Mapping[str, Setting] | None = None
    ) -> list[str]:
        """Return the settings of a pipeline as arguments of ``spark-submit``.

        ``shlex.join`` makes one line of them. For what must be set before the JVM starts, on EMR,
        EMR Serverless, Kubernetes and the like. Costs half a read unit per 4 KB. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            ConfigurationError: A setting is a secret or no setting.
        """
        settings = checked(
            self.get_spark_config_from_pipeline(pipeline_id), f"Pipeline {pipeline_id!r}"
        )
        settings.update(checked(additional_config or {}, "additional_config"))
        return [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]

    def stop(self) -> None:
        """Stop the session that this integration made; any other is left alone."""
        self._sessions.stop()

    # ---- runs ------------------------------------------------------------------------------------

    def pipeline_run_context(
        self,
        pipeline_id: str,
        **arguments: Unpack[RunArguments],
    ) -> RunBlock:
        """Return a context manager that records its block as a run and yields the run id.

        `RunTracker.run` with two differences: it yields the id (`current_run` returns the handle),
        and at its end the session gets its settings back. Arguments, costs and errors are those of
        `RunTracker.run`. See: TransactWriteItems.
        """
        return RunBlock(self.tracker.run(pipeline_id, **arguments), self._blocks)

    def current_run(self) -> Run:
        """Return the innermost run of this thread or task.

        Raises:
            NoActiveRunError: There is none.
        """
        return current_run()

    # ---- tables ----------------------------------------------------------------------------------

    def get_table_read_options(self, table_id: str) -> dict[str, str]:
        """Return a table's reader options: `connection_config`, overlaid by `read_options`.

        Costs half a read unit per 4 KB. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such table.
            ConfigurationError: An option refers to a secret, or is no text, number or boolean.
        """
        return read_options(self._table(table_id))

    def get_table_write_options(self, table_id: str) -> dict[str, str]:
        """Return a table's writer options: `connection_config`, overlaid by `write_options`.

        Costs and raises as `get_table_read_options`. See: GetItem.
        """
        return write_options(self._table(table_id))

    def read_table(
        self, spark: SparkSession, table_id: str, *, columns: Sequence[str] | None = None
    ) -> DataFrame:
        """Return a table as its configuration says: format, location, schema, options, caching.

        Tables of format delta, iceberg and catalog carry their own schema; `schema_definition` is
        not used for them. Inside a run the table is recorded as an input of it, with its next beat
        or its end. Costs half a read unit per 4 KB of the configuration. See: GetItem.

        Args:
            spark: The session.
            table_id: The table.
            columns: Columns to select, before anything is cached.

        Raises:
            ItemNotFoundError: There is no such table configuration.
            ValidationError: The table is inactive, nothing is at its location, or columns, schema
                or cache level do not fit; Spark's own error is the cause.
            ConfigurationError: An option refers to a secret.
            MissingDependencyError: Spark lacks the package of the format; it is named.
        """
        require_pyspark()
        frame = read_table_data(spark, self._table(table_id), columns)
        run = self._recording_run()
        if run is not None:
            run.internals.tables.read(table_id, at_once=False)
        return frame

    def write_table(
        self, df: DataFrame, table_id: str, *, mode: WriteMode | str | None = None
    ) -> WriteSummary:
        """Write a DataFrame as the configuration of a table says, and return a summary.

        ``overwrite`` replaces the whole table and ``overwrite_partitions`` the partitions the
        DataFrame has rows for; the session's ``partitionOverwriteMode`` is ignored. The rows are
        counted in the same pass, except for Iceberg, where Spark may pass them twice. An existing
        table of the catalog keeps its definition, and its columns are matched by name.

        Inside a run the write is recorded as an output of it, with its next beat or its end, and
        rows, size and number of files in the table's statistics, where trouble is only logged.
        Outside of one, `update_table_stats_after_write` stores the summary there. Only when Spark
        fails while it writes, record count, size and number of files are removed from the table's
        statistics. Costs half a read unit per 4 KB of the configuration, then a write unit per KB.
        See: GetItem, UpdateItem.

        Args:
            df: The rows.
            table_id: The table.
            mode: ``append``, ``overwrite``, ``overwrite_partitions`` or ``error``; the table's
                unless given.

        Raises:
            ItemNotFoundError: There is no such table configuration.
            ValidationError: The table is inactive, is a view, the mode does not fit, something is
                there already (mode ``error``), the data does not fit the format, or the DataFrame
                reads files that ``overwrite`` would delete before they are read.
            ConfigurationError: An option refers to a secret.
            MissingDependencyError: Spark lacks the package of the format; it is named.
        """
        require_pyspark()
        table = self._table(table_id)
        try:
            written = write_table_data(df, table, mode)
        except DynamoDBWrapperError:
            raise  # refused before anything was touched
        except Exception:
            self._forget_statistics(table_id)
            raise
        run = self._recording_run()
        if run is not None:
            self._record_write(run, written)
        return written

    def update_table_stats_after_write(
        self,
        written: WriteSummary | str,
        *,
        record_count: int | None = None,
        size_bytes: int | None = None,
        file_count: int | None = None,
        run_id: str | None = None,
    ) -> TableConfig:
        """Store the statistics of a table after a write, with the id of the current run.

        For a write of your own, and one outside of a run: inside, `write_table` has done it.
        Nothing is counted for it. After a write that replaced the table its number of rows is
        known; after ``append`` and ``overwrite_partitions`` only you can know it. Old figures that
        are neither given nor known are removed, because they are no longer true. Safe to repeat.
        Costs a write unit per KB of the configuration. See: UpdateItem.

        Args:
            written: The summary `write_table` returned; or a table id, after a write of your own.
            record_count: Rows the table holds now, where you know it.
            size_bytes: Size of its data.
            file_count: Number of its files.
            run_id: The run that wrote; the current one unless given.

        Raises:
            ItemNotFoundError: There is no such table configuration.
            ValidationError: Only a table id was given and no figure.
        """
        run = find_current_run()
        return report_write(
            TableConfigRepository(self.config, client=self._client),
            written,
            {"record_count": record_count, "size_bytes": size_bytes, "file_count": file_count},
            run_id or (None if run is None else run.run_id),
        )

    def _recording_run(self) -> Run | None:
        """Return the run that reads and writes of tables are recorded with."""
        run = find_current_run() if self._records_tables else None
        return run if run is not None and run.internals.liveness.is_open else None

    def _record_write(self, run: Run, written: WriteSummary) -> None:
        output = TableOutput(rows=written.rows, bytes=written.size_bytes, files=written.file_count)
        try:
            run.internals.tables.written(
                written.table_id, output, adds=written.total_rows is None, at_once=False
            )
            self.update_table_stats_after_write(written, run_id=run.run_id)
        except DynamoDBWrapperError as error:  # the rows are written
            logger.warning("The write of table %r is not recorded: %s", written.table_id, error)

    def _forget_statistics(self, table_id: str) -> None:
        """Remove figures that a write which failed half-way may have made untrue."""
        try:
            TableConfigRepository(self.config, client=self._client).update_table_statistics(
                table_id, forget=["record_count", "size_bytes", "file_count"]
            )
        except Exception as error:  # noqa: BLE001 - the error of the write is the one to raise
            logger.warning("Statistics of table %r may be outdated: %s", table_id, error)

    def _wanted_settings(self, pipeline_id: str | None) -> tuple[str, dict[str, str]]:
        """Return the pipeline's id and settings; a run keeps the configuration it began with."""
        run = current_run() if pipeline_id is None else find_current_run()
        if run is not None and pipeline_id in (None, run.pipeline_id):
            pipeline_id, settings = run.pipeline_id, settings_of(run.pipeline)
        else:
            settings = self.get_spark_config_from_pipeline(str(pipeline_id))
        return str(pipeline_id), checked(settings, f"Pipeline {pipeline_id!r}")

    def _attach_to_run(self, run: Run, session: SparkSession, settings: SessionSettings) -> None:
        """Let the run's block restore the settings, and store Spark's version with the run."""
        block = self._blocks.get(run.run_id)
        if block is not None:
            block.use(session)
            if settings.previous:
                block.remember(session)
        try:
            store = RunStore.of(self.config, client=self._client)
            store.attach_runtime(run.run_id, describe_session(session))
        except Exception as error:  # noqa: BLE001 - the user's job does not need it
            logger.warning("The description of Spark is not stored with the run: %s", error)

    def _cancel_jobs(self, run_id: str) -> None:
        block = self._blocks.get(run_id)
        if block is not None and block.session is not None:
            cancel_jobs(block.session, run_id)

    def _table(self, table_id: str) -> TableConfig:
        return TableConfigRepository(self.config, client=self._client).get_or_raise(table_id)


def _unpickled(
    kind: type[SparkDynamoDBIntegration], config: DynamoDBConfig, record_tables: bool
) -> SparkDynamoDBIntegration:
    return kind(config, record_tables=record_tables)
