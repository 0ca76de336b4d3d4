"""`PipelineRunLogsRepository`: the records of runs that ended, run now or failed.

The status of a run is changed by run control and `update_run_status` only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from dynamodb_wrapper.arrow.frames import map_items
from dynamodb_wrapper.aws.batches import batch_get
from dynamodb_wrapper.exceptions.errors import IncompatibleItemError, ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS, external_label, tag_label
from dynamodb_wrapper.models.enums import RunStatus, enum_of
from dynamodb_wrapper.models.fields import utc_now, utc_text
from dynamodb_wrapper.models.measures import Metric
from dynamodb_wrapper.models.run import (
    DataQualityResult,
    IndexedRun,
    PipelineRunLog,
    RunErrorInfo,
    RunSummary,
    StageInfo,
)
from dynamodb_wrapper.models.run_state import RunOutcome, check_transition, predecessors
from dynamodb_wrapper.repositories.base import BaseDynamoRepository, check_place
from dynamodb_wrapper.repositories.batch import check_items, flow_of, keys_of
from dynamodb_wrapper.repositories.queries import Queries, Reading
from dynamodb_wrapper.repositories.run_log.labels import tagged_runs
from dynamodb_wrapper.repositories.run_log.requests import RunLogRequests
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.serialization.expressions import between

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.arrow.frames import Frame
    from dynamodb_wrapper.aws.concurrency import Flow, Progress, RateLimiter
    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.table import Table
    from dynamodb_wrapper.repositories.run_log.removal import StoredRun

logger = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST = timedelta(days=36_500)


class PipelineRunLogsRepository(BaseDynamoRepository[PipelineRunLog]):
    """Runs by id, pipeline, status and time; the table is ``pipeline_run_logs``.

    Lists return `RunSummary` from an index, which follows writes within about a second; of runs
    that it lists as live, status, beat and lease are read from the table, which costs half a read
    unit per 4 KB of each. Whole runs come from `get_by_run_id`. Runs of run control (they have a
    `writer`) are refused by `put` and `update` with a model, and by `delete` until they have ended;
    the other methods change them.
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
        Costs a write unit per KB of the item and about three for its index entries, two more per
        tag. See: PutItem, BatchWriteItem.

        Raises:
            ItemAlreadyExistsError: The run id is taken.
            BatchWriteError: The record is stored, and not found by all of its tags.
            ValidationError: Run control owns the run.
        """
        stored = self.create(run)
        self._store.put_tags(stored, utc_now())
        return stored

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
        why = None if reason is None else self._requests.clean_text(reason)
        outcome = RunOutcome(wanted, why, error, fields=fields)
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

    # ---- deletion and expiry ---------------------------------------------------------------------

    def delete(
        self,
        key_or_item: Any,
        *,
        condition: ConditionBase | None = None,
        must_exist: bool = False,
        free_run_key: bool = False,
    ) -> PipelineRunLog | None:
        """Delete a run that has ended with all that is stored beside it, and return what it was.

        What is beside it (log lines, stack trace, entries of its tags) goes first, the run last:
        where a call is cut off, the same call deletes the rest. The history and the watermarks of
        its pipeline stay. A driver that is taken for dead and lives may store a last piece of its
        log afterwards. None when there was no run or its TTL has passed.

        Costs a write unit per KB of the run, of its index entries and of each item beside it, and
        three read units. Freeing a run key doubles the units of the run and costs two write units
        and a read unit more. See: GetItem, BatchWriteItem, DeleteItem, TransactWriteItems.

        Args:
            key_or_item: The run: its id, or the run as it was read, which must not have changed.
            condition: For records of other systems: must hold for the stored record.
            must_exist: Whether a missing run is an error.
            free_run_key: Whether its run key may be run again as if this run had not been, in the
                same transaction. Kept unless given: a key that has succeeded stays covered. A key
                stays covered, too, if another run was the first to succeed for it, or the last.

        Raises:
            ValidationError: Run control owns the run, and it has not ended; the message names the
                ways to end it. Or `condition` is given for a run of run control.
            ItemNotFoundError: `must_exist` and there is none.
            VersionConflictError: Another writer changed the run since it was read.
            ConditionFailedError: The condition did not hold.
            BatchWriteError: It stopped half way; call it again.
        """
        arguments.flag("must_exist", must_exist)
        arguments.flag("free_run_key", free_run_key)
        run_id = self._requests.key(key_or_item)["run_id"]["S"]
        removal = self._store.removal
        found = removal.find(run_id)
        if found is not None and found.is_tracked and condition is None:
            version = self._requests.version_of(key_or_item) if _is_run(key_or_item) else None
            removed = removal.delete(found, version=version, free_run_key=free_run_key)
            return self._removed(removed)
        if found is not None and not found.is_tracked and condition is None:
            removal.delete_beside(found)
        deleted = super().delete(key_or_item, condition=condition, must_exist=must_exist)
        if found is not None and condition is not None:
            removal.delete_beside(found)
        return deleted

    def expire(self, run_id: str, after: timedelta | None) -> PipelineRunLog:
        """Set how long from now a run that has ended is kept, and return it.

        Readers skip it from then on; DynamoDB's TTL deletes it, and all that is stored beside it,
        within days. Until it has, another call keeps the run longer. Its run key stays as it is: a
        key that has succeeded stays covered. Safe to repeat after a break.

        Costs a write unit per KB of the run, of its index entries and of each item beside it, and
        three read units. See: GetItem, UpdateItem.

        Args:
            run_id: The run.
            after: Time from now, at most 36,500 days; None keeps the run for ever.

        Raises:
            ItemNotFoundError: There is no such run.
            ValidationError: Run control owns the run, and it has not ended.
        """
        known = self._requests.key(run_id)["run_id"]["S"]
        return self._requests.codec.decode(self._store.removal.expire(known, _moment_of(after)))

    def _removed(self, run: StoredRun | None) -> PipelineRunLog | None:
        if run is None or self._requests.guards.is_expired(run.item):
            return None
        try:
            return self._requests.codec.decode(run.item)
        except IncompatibleItemError as error:
            logger.warning("The run is deleted; it cannot be returned. %s", error)
            return None

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

        Costs half a read unit per 4 KB of index entries (about 500 bytes each), and of each live
        run. See: Query, BatchGetItem.
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

        Costs as `get_runs_by_pipeline`; runs of other statuses are not read, and one that has ended
        since the index was written is left out. See: Query, BatchGetItem.
        """
        wanted = enum_of(RunStatus, status)
        where = (pipeline_id, environment)
        found = self._with_status(wanted, where, (since, until), limit, newest_first)
        return [run for run in found if run.status is wanted]

    def get_running_pipelines(self, environment: str | None = None) -> list[RunSummary]:
        """Return the runs that run now, oldest first, each read consistently.

        Costs half a read unit per 4 KB of index entries and one per 4 KB of each run. Records of
        `create_run_log` are not listed. See: Query, BatchGetItem.
        """
        live = self._store.live_runs(self._environment(environment))
        return [self._summary(run) for run in live]

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

        Costs one Query per status (8), each as `get_runs_by_status`. See: Query, BatchGetItem.
        """
        since = _ago(hours)
        found = {
            run.run_id: run  # one that ended meanwhile may be listed under both statuses
            for status in RunStatus
            for run in self._with_status(status, (None, environment), (since, None), limit)
        }
        if limit is not None:
            limit = arguments.whole_number("limit", limit, "the number of runs wanted, from 1")
        newest = sorted(
            found.values(), key=lambda run: (run.start_time or since, run.run_id), reverse=True
        )
        return newest[:limit]

    def find_by_external_id(
        self,
        external_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 50,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs that a job of another system started, such as one of Airflow.

        Costs half a read unit per 4 KB of index entries (about 200 bytes each) and of each run.
        See: Query, BatchGetItem.

        Raises:
            IndexNotFoundError: The table was made before this index; `create_table` adds it.
        """
        known = arguments.text("external_id", external_id)
        label = str(external_label(known))
        return self._summaries("by_label", label, since, until, limit, newest_first)

    def find_by_tag(
        self,
        name: str,
        value: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 50,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs that began with a tag, and still have it.

        Tags that `update` adds to a run later are not found, and neither are those of records
        stored by other methods than `create_run_log`. Costs and errors as `find_by_external_id`.
        """
        known_value = "" if isinstance(value, str) and not value else arguments.text("value", value)
        label = tag_label(arguments.text("name", name), known_value)
        low, high = _range(since, until)
        reading = Reading(index="by_label", limit=limit, descending=newest_first)
        sort = between("gx_started", low, high)
        plan = Queries(self._requests).query(label, sort, reading)
        found: list[RunSummary] = []
        for ids in tagged_runs(self._caller, plan.request, name, plan.limit):
            runs = self.get_many(ids)
            found += [
                self._summary(run)
                for run in runs
                if run is not None and run.tags.get(name) == value
            ]
            if plan.limit is not None and len(found) >= plan.limit:
                break
        return found[: plan.limit]

    def children(
        self, parent_run_id: str, *, limit: int | None = None, newest_first: bool = False
    ) -> list[RunSummary]:
        """Return the runs that were started inside of a run, or for it; not theirs in turn.

        Costs as `find_by_external_id`. See: Query, BatchGetItem.
        """
        parent = arguments.text("parent_run_id", parent_run_id, "the run_id of a run")
        return self._summaries("children", parent, None, None, limit, newest_first)

    def latest(self, pipeline_id: str) -> RunSummary | None:
        """Return the run of a pipeline that started last.

        Costs half a read unit, and another per 4 KB of a live run. See: Query, BatchGetItem.
        """
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
        """Delete runs that have ended, and records of other systems, one by one as `delete`.

        Arguments as those of any repository; `workers` has no effect.

        Raises:
            ValidationError: Run control owns a run that has not ended; those before it are deleted.
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

    def _with_status(
        self,
        status: RunStatus,
        where: tuple[str | None, str | None],
        started: tuple[datetime | None, datetime | None],
        limit: int | None,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs that the index has under a status, of one pipeline or an environment."""
        pipeline_id, environment = where
        index, partition = "by_status", f"{self._environment(environment)}#{status}"
        if arguments.optional_text("pipeline_id", pipeline_id) is not None:
            index, partition = "by_pipeline_status", f"{pipeline_id}#{status}"
        return self._summaries(index, partition, *started, limit, newest_first)

    def _summaries(
        self,
        index: str,
        partition: str,
        since: datetime | None,
        until: datetime | None,
        limit: int | None,
        newest_first: bool,
    ) -> list[RunSummary]:
        low, high = _range(since, until)
        sort = between("gx_started", low, high)
        listed = IndexedRun if self.table.index(index).project is IndexedRun else RunSummary
        reading = Reading(index=index, limit=limit, descending=newest_first, into=listed)
        return self._with_beats(self._results(partition, sort, reading).all())

    def _with_beats(self, found: Iterable[IndexedRun]) -> list[RunSummary]:
        """Return the summaries of listed runs; those of live ones are read from the table."""
        runs = list(found)
        live = [
            self._requests.key(run.run_id)
            for run in runs
            if not (run.status.is_terminal or isinstance(run, RunSummary))
        ]
        read = self._requests.reader_of(RunSummary).batch
        present = {run.run_id: run for run in batch_get(self._caller, live, {}, read) if run}
        return [self._summary(present.get(run.run_id, run)) for run in runs]

    def _summary(self, run: PipelineRunLog | IndexedRun) -> RunSummary:
        summary = run if isinstance(run, RunSummary) else _summary_of(run)
        summary.judge(self._caller.connection.clock())
        return summary


def _summary_of(run: PipelineRunLog | IndexedRun) -> RunSummary:
    """Return the summary of a run; that of an index entry lacks the beat and the lease."""
    known = RunSummary.model_fields.keys() & type(run).model_fields.keys()
    return RunSummary(**{name: getattr(run, name) for name in known})


def _range(since: datetime | None, until: datetime | None) -> tuple[str | None, str | None]:
    """Return the sort keys of a range of starts."""
    low, high = _moment(since, "since"), _moment(until, "until")
    if since is not None and until is not None and since >= until:
        raise ValidationError("since must be before until.")
    return low, high


def _moment_of(after: timedelta | None) -> datetime | None:
    if after is None:
        return None
    if not isinstance(after, timedelta):
        raise ValidationError(
            f"after is {arguments.shown(after)}; it is the time from now, such as "
            "timedelta(days=30), or None to keep the run for ever."
        )
    if not timedelta() <= after <= _LONGEST:
        raise ValidationError(f"after is {after}; it is from 0 to {_LONGEST.days:,} days.")
    return utc_now() + after


def _is_run(given: Any) -> bool:
    return isinstance(given, PipelineRunLog)


def _moment(moment: datetime | None, name: str) -> str | None:
    """Return the sort key of a moment; those of runs continue with ``#<run_id>``."""
    return None if moment is None else utc_text(arguments.moment(name, moment))


def _ago(hours: float) -> datetime:
    number = arguments.positive_number("hours", hours, "the number of hours to look back")
    try:
        return utc_now() - timedelta(hours=number)
    except OverflowError as error:
        raise ValidationError(f"hours is {hours}; that is before the calendar begins.") from error
