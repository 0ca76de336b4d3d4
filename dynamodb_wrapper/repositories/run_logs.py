"""`PipelineRunLogsRepository`: the records of runs that ended, run now or failed.

The status of a run is changed by run control and `update_run_status` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from dynamodb_wrapper.arrow.frames import map_items
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.models.enums import RunStatus, enum_of
from dynamodb_wrapper.models.fields import utc_now, utc_text
from dynamodb_wrapper.models.measures import Metric
from dynamodb_wrapper.models.run import (
    DataQualityResult,
    PipelineRunLog,
    RunErrorInfo,
    RunSummary,
    StageInfo,
)
from dynamodb_wrapper.models.run_state import RunOutcome, check_transition, predecessors
from dynamodb_wrapper.repositories.base import BaseDynamoRepository, check_place
from dynamodb_wrapper.repositories.batch import check_items, flow_of, keys_of
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.repositories.run_log.requests import RunLogRequests
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.serialization.expressions import between

if TYPE_CHECKING:
    from dynamodb_wrapper.arrow.frames import Frame
    from dynamodb_wrapper.aws.concurrency import Flow, Progress, RateLimiter
    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.table import Table

T = TypeVar("T")


class PipelineRunLogsRepository(BaseDynamoRepository[PipelineRunLog]):
    """Runs by id, pipeline, status and time; the table is ``pipeline_run_logs``.

    Lists return `RunSummary` from an index, which follows writes within about a second; whole runs
    come from `get_by_run_id`. Runs of run control (they have a `writer`) are refused by
    `put`, `update` with a model and `delete`; the other methods change them.
    """

    TABLE = PIPELINE_RUN_LOGS
    _requests: RunLogRequests

    def __init__(
        self,
        config: DynamoDBConfig,
        table: Table[PipelineRunLog] | None = None,
        *,
        client: Any = None,
    ) -> None:
        declared = PIPELINE_RUN_LOGS if table is None else table
        check_place(config, declared, client)
        requests = RunLogRequests(declared, config, client)
        super().__init__(config, declared, client=client, requests=requests)
        self._store = RunStore(self._caller, requests)

    # ---- records ---------------------------------------------------------------------------------

    def create_run_log(self, run: PipelineRunLog) -> PipelineRunLog:
        """Store the record of a run that another system controls, such as an imported one.

        It holds no lock and is not listed as running now. Its `start_time` is now unless given.
        Costs a write unit per KB of the item and about three for its index entries. See: PutItem.

        Raises:
            ItemAlreadyExistsError: The run id is taken.
            ValidationError: Run control owns the run.
        """
        return self.create(run)

    def get_by_run_id(self, run_id: str, *, consistent: bool = False) -> PipelineRunLog | None:
        """Return a whole run, None when there is none or it has expired.

        Costs half a read unit per 4 KB, a whole one when consistent. See: GetItem.
        """
        return self.get(run_id, consistent=consistent)

    def update_run_status(
        self,
        run_id: str,
        status: RunStatus | str,
        *,
        reason: str | None = None,
        detail: str | None = None,
        error: RunErrorInfo | None = None,
    ) -> PipelineRunLog:
        """Change the status of a run and return it; nothing is written if it has the status.

        When a run of run control ends, one transaction also frees its lock and moves its
        pipeline's history on; a record of `create_run_log` is changed alone. Costs one or two read
        units and 2 to 16 write units. See: GetItem, TransactWriteItems or UpdateItem.

        Args:
            run_id: The run.
            status: The new status.
            reason: One word that refines it, such as ``user_cancel``.
            detail: A remark for people.
            error: The error that ended the run.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: This change is not allowed; both statuses are named.
        """
        wanted = enum_of(RunStatus, status)
        for name, value in (("reason", reason), ("detail", detail)):
            arguments.optional_text(name, value)
        if error is not None and not isinstance(error, RunErrorInfo):
            raise ValidationError(f"error is {arguments.shown(error)}; it is a RunErrorInfo.")
        run = self.get_or_raise(run_id, consistent=True)
        if run.status is wanted:
            return run
        check_transition(run_id, run.status, wanted)
        fields = {} if detail is None else {"status_detail": self._requests.clean_text(detail)}
        outcome = RunOutcome(wanted, reason, error, fields=fields)
        if run.is_tracked and wanted.is_terminal:
            return self._store.ends.finish(run, outcome)
        return self._store.set_status(run, outcome, predecessors(wanted))

    def add_stage_info(self, run_id: str, name: str, stage: StageInfo) -> StageInfo:
        """Store a stage of a running run, replacing what the name held; nothing is read before.

        Stages of other names, and other threads that store them, are not touched. Costs a write
        unit per KB of the run. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        known_as = arguments.text("name", name, "the name of the stage")
        self._store.put_parts(run_id, {("stages", known_as): stage})
        return stage

    def add_data_quality(
        self, run_id: str, name: str, result: DataQualityResult
    ) -> DataQualityResult:
        """Store the result of a data quality check of a running run. As `add_stage_info`."""
        known_as = arguments.text("name", name, "the name of the check")
        self._store.put_parts(run_id, {("data_quality", known_as): result})
        return result

    def update_run_metrics(
        self,
        run_id: str,
        metrics: Mapping[str, Metric | float] | None = None,
        *,
        records_read: int | None = None,
        records_written: int | None = None,
        records_failed: int | None = None,
    ) -> None:
        """Store metrics and totals of a running run; those not named stay.

        Values are absolute, so that repeating the call changes nothing; nothing is read before.
        Costs a write unit per KB of the run. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        totals = {
            "records_read": records_read,
            "records_written": records_written,
            "records_failed": records_failed,
        }
        named = arguments.mapping("metrics", metrics, "a mapping of names to values")
        parts: dict[tuple[str, ...], Any] = {
            ("metrics", arguments.text("The name of a metric", name)): value
            for name, value in named.items()
        }
        parts.update({(name,): value for name, value in totals.items() if value is not None})
        if not parts:
            raise ValidationError("update_run_metrics needs at least one metric or total.")
        self._store.put_parts(run_id, parts)

    # ---- logs, traces and locks -----------------------------------------------------------------

    def get_log_lines(self, run_id: str) -> list[str]:
        """Return the log lines stored with a run.

        Costs a read unit per 4 KB of the run and of each chunk. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such run.
        """
        run = self.get_or_raise(run_id, consistent=True)
        text = self._store.read_chunks(run_id, "log", run.logs.chunks)
        return text.removesuffix("\n").split("\n") if text else []  # the only line end in chunks

    def get_stack_trace(self, run_id: str) -> str | None:
        """Return the whole stack trace of a failed run; None if the run has no error.

        Costs as `get_log_lines`. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such run.
        """
        run = self.get_or_raise(run_id, consistent=True)
        if run.error is None:
            return None
        whole = self._store.read_chunks(run_id, "err", run.error.chunks)
        return whole or f"{run.error.stack_head or ''}{run.error.stack_tail or ''}"

    def release(
        self, pipeline_id: str, *, reason: str, now: datetime | None = None
    ) -> PipelineRunLog | None:
        """End the run that holds a pipeline as LOST, free the pipeline, return the run.

        For a dead run whose lease you do not want to wait for: a run that is still working goes on,
        and cannot store its success. None when no run holds the pipeline. Costs 10 to 16 write
        units and three read units. See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            reason: Stored with the run as `status_detail`.
            now: The present moment.
        """
        if now is not None:
            arguments.moment("now", now)
        return self._store.release(pipeline_id, reason=reason, now=now)

    # ---- lists -----------------------------------------------------------------------------------

    def get_runs_by_pipeline(
        self,
        pipeline_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 50,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs of a pipeline that started in ``[since, until)``.

        Costs half a read unit per 4 KB of index entries (about 500 bytes each). See: Query.
        """
        return self._summaries("by_pipeline", pipeline_id, since, until, limit, newest_first)

    def get_runs_by_status(
        self,
        status: RunStatus | str,
        *,
        pipeline_id: str | None = None,
        environment: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 50,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs of a status, of one pipeline or of an environment (the config's).

        Costs as `get_runs_by_pipeline`; runs of other statuses are not read. See: Query.
        """
        index, partition = (
            "by_status",
            f"{self._environment(environment)}#{enum_of(RunStatus, status)}",
        )
        if arguments.optional_text("pipeline_id", pipeline_id) is not None:
            index, partition = "by_pipeline_status", f"{pipeline_id}#{enum_of(RunStatus, status)}"
        return self._summaries(index, partition, since, until, limit, newest_first)

    def get_running_pipelines(self, environment: str | None = None) -> list[RunSummary]:
        """Return the runs that run now, oldest first, each read consistently.

        Costs half a read unit per 4 KB of index entries and one per 4 KB of each run. Records of
        `create_run_log` are not listed. See: Query, BatchGetItem.
        """
        return [summary_of(run) for run in self._store.live_runs(self._environment(environment))]

    def get_failed_runs(
        self,
        hours: float = 24,
        *,
        pipeline_id: str | None = None,
        environment: str | None = None,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Return the runs started in the last hours that failed, newest first.

        Costs as `get_runs_by_status`. See: Query.
        """
        return self._since(RunStatus.FAILED, hours, pipeline_id, environment, limit)

    def get_successful_runs(
        self,
        hours: float = 24,
        *,
        pipeline_id: str | None = None,
        environment: str | None = None,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Return the runs started in the last hours that succeeded, newest first.

        Costs as `get_runs_by_status`. See: Query.
        """
        return self._since(RunStatus.SUCCESS, hours, pipeline_id, environment, limit)

    def get_recent_runs(
        self, hours: float = 24, *, environment: str | None = None, limit: int | None = 100
    ) -> list[RunSummary]:
        """Return the runs of every status started in the last hours, newest first.

        Costs one Query per status (8), each as `get_runs_by_status`. See: Query.
        """
        since = _ago(hours)
        found = [
            run
            for status in RunStatus
            for run in self.get_runs_by_status(
                status, environment=environment, since=since, limit=limit
            )
        ]
        if limit is not None:
            limit = arguments.whole_number("limit", limit, "the number of runs wanted, from 1")
        newest = sorted(found, key=lambda run: (run.start_time or since, run.run_id), reverse=True)
        return newest[:limit]

    def latest(self, pipeline_id: str) -> RunSummary | None:
        """Return the run of a pipeline that started last. Costs half a read unit. See: Query."""
        found = self.get_runs_by_pipeline(pipeline_id, limit=1)
        return found[0] if found else None

    def last_success(self, pipeline_id: str) -> RunSummary | None:
        """Return the newest run that succeeded. Costs half a read unit. See: Query."""
        found = self.get_runs_by_status(RunStatus.SUCCESS, pipeline_id=pipeline_id, limit=1)
        return found[0] if found else None

    # ---- many records --------------------------------------------------------------------------

    def put_many(
        self,
        items: Iterable[PipelineRunLog] | Frame,
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Store records of other systems one by one, because a batch has no conditions.

        Arguments as those of any repository; `workers` has no effect.

        Raises:
            ValidationError: Run control owns a run; those before it are stored.
        """
        flow = flow_of(workers, rate, on_progress)
        check_items(items)
        prepared = list(map_items(items, PipelineRunLog, self._requests.untracked))
        for run in prepared:
            self._one_of_many(flow, partial(self.put, run))
        return len(prepared)

    def delete_many(
        self,
        keys: Iterable[Any],
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Delete records of other systems one by one, because a batch has no conditions.

        Arguments as those of any repository; `workers` has no effect.

        Raises:
            ValidationError: Run control owns a run; those before it are deleted.
        """
        flow = flow_of(workers, rate, on_progress)
        deleted = [
            self._one_of_many(flow, partial(self.delete, key))
            for key in keys_of("delete_many", keys)
        ]
        return sum(run is not None for run in deleted)

    def _environment(self, given: str | None) -> str:
        return arguments.optional_text("environment", given) or self._requests.environment

    def _one_of_many(self, flow: Flow, write: Callable[[], T]) -> T:
        with flow.request(), self.consumed() as used:
            result = write()
        flow.consumed(used.write_units)
        flow.advance(1, 0, used)
        return result

    def _since(
        self,
        status: RunStatus,
        hours: float,
        pipeline_id: str | None,
        environment: str | None,
        limit: int | None,
    ) -> list[RunSummary]:
        return self.get_runs_by_status(
            status,
            pipeline_id=pipeline_id,
            environment=environment,
            since=_ago(hours),
            limit=limit,
        )

    def _summaries(
        self,
        index: str,
        partition: str,
        since: datetime | None,
        until: datetime | None,
        limit: int | None,
        newest_first: bool,
    ) -> list[RunSummary]:
        low, high = _moment(since, "since"), _moment(until, "until")
        if since is not None and until is not None and since >= until:
            raise ValidationError("since must be before until.")
        sort = between("gx_started", low, high)
        reading = Reading(index=index, limit=limit, descending=newest_first, into=RunSummary)
        return self._results(partition, sort, reading).all()


def summary_of(run: PipelineRunLog) -> RunSummary:
    """Return the summary of a whole run."""
    return RunSummary(**{name: getattr(run, name) for name in RunSummary.model_fields})


def _moment(moment: datetime | None, name: str) -> str | None:
    """Return the sort key of a moment; those of runs continue with ``#<run_id>``."""
    return None if moment is None else utc_text(arguments.moment(name, moment))


def _ago(hours: float) -> datetime:
    number = arguments.positive_number("hours", hours, "the number of hours to look back")
    try:
        return utc_now() - timedelta(hours=number)
    except OverflowError as error:
        raise ValidationError(f"hours is {hours}; that is before the calendar begins.") from error
