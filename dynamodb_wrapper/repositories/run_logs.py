"""`PipelineRunLogsRepository`: the record of what ran, what runs and what failed.

The status of a run is changed by the methods here only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from dynamodb_wrapper.arrow.frames import map_items
from dynamodb_wrapper.aws.batches import batch_get
from dynamodb_wrapper.exceptions.errors import ConditionFailedError, ValidationError
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.models.enums import RunStatus, enum_of
from dynamodb_wrapper.models.fields import utc_now, utc_text
from dynamodb_wrapper.models.run import (
    DataQualityResult,
    Metric,
    PipelineRunLog,
    RunErrorInfo,
    RunSummary,
    StageInfo,
)
from dynamodb_wrapper.models.run_state import RunOutcome, check_transition, predecessors
from dynamodb_wrapper.redaction import redact_known, redact_values, stored_text
from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.batch import flow_of
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.repositories.run_log.finish import RunEnds
from dynamodb_wrapper.repositories.run_log.items import (
    RunChunks,
    RunReads,
    is_companion,
    read_slot,
    slot_key,
)
from dynamodb_wrapper.repositories.run_log.items import identity as name_of
from dynamodb_wrapper.repositories.run_log.live import RunLife, RunParts
from dynamodb_wrapper.repositories.run_log.protocol import Builder
from dynamodb_wrapper.repositories.run_log.start import RunStarts
from dynamodb_wrapper.serialization.decoder import stored_batch
from dynamodb_wrapper.serialization.expressions import between, field_absent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.arrow.frames import Frame
    from dynamodb_wrapper.aws.concurrency import Flow, Progress, RateLimiter
    from dynamodb_wrapper.aws.transactions import Action
    from dynamodb_wrapper.models.run_state import Cursor, PipelineState, RunSlot
    from dynamodb_wrapper.repositories.item_requests import Write
    from dynamodb_wrapper.serialization.expressions import CheckedChanges
    from dynamodb_wrapper.serialization.json_body import Reply
    from dynamodb_wrapper.serialization.values import Item

T = TypeVar("T")
_BY_RUN_CONTROL = frozenset(
    "status status_reason status_detail start_time end_time duration_seconds fence run_seq writer "
    "pipeline_id environment expires_at late_outcome detected_at stages metrics data_quality "
    "runtime error error_type exit_code retention_days".split()
)


class RunHistory(BaseDynamoRepository[PipelineRunLog]):
    """The lists of `PipelineRunLogsRepository`: all return `RunSummary`."""

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
            f"{environment or self._environment}#{enum_of(RunStatus, status)}",
        )
        if pipeline_id is not None:
            index, partition = "by_pipeline_status", f"{pipeline_id}#{enum_of(RunStatus, status)}"
        return self._summaries(index, partition, since, until, limit, newest_first)

    def get_running_pipelines(self, environment: str | None = None) -> list[RunSummary]:
        """Return the runs that run now, oldest first, each read consistently.

        Costs half a read unit per 4 KB of index entries and one per 4 KB of each run. Records of
        `create_run_log` are not listed. See: Query, BatchGetItem.
        """
        reading = Reading(
            index="live", consistent=True, keep=lambda run: not run.status.is_terminal
        )
        found = self._results(environment or self._environment, None, reading)
        return [summary_of(run) for run in found]

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

    @property
    def _environment(self) -> str:
        return self.config.item_environment

    def _summaries(
        self,
        index: str,
        partition: str,
        since: datetime | None,
        until: datetime | None,
        limit: int | None,
        newest_first: bool,
    ) -> list[RunSummary]:
        if since is not None and until is not None and since >= until:
            raise ValidationError("since must be before until.")
        sort = between("gx_started", _moment(since, "since"), _moment(until, "until"))
        reading = Reading(index=index, limit=limit, descending=newest_first, into=RunSummary)
        return self._results(partition, sort, reading).all()


def summary_of(run: PipelineRunLog) -> RunSummary:
    """Return the summary of a whole run."""
    return RunSummary(**{name: getattr(run, name) for name in RunSummary.model_fields})


def _moment(moment: datetime | None, name: str) -> str | None:
    """Return the sort key a moment stands for; entries go on with ``#<run_id>``."""
    try:
        return None if moment is None else utc_text(moment)
    except ValueError as error:
        raise ValidationError(f"{name} {error}.") from error


def _ago(hours: float) -> datetime:
    if not hours > 0:
        raise ValidationError(f"hours is {hours}; give how many hours to look back.")
    try:
        return utc_now() - timedelta(hours=hours)
    except OverflowError as error:
        raise ValidationError(f"hours is {hours}; that is before the calendar begins.") from error


class RunControl(RunHistory):
    """Start, life and end of runs; `RunTracker` is built on it."""

    TABLE = PIPELINE_RUN_LOGS

    def __init__(self, config: Any, table: Any = None, *, client: Any = None) -> None:
        super().__init__(config, table, client=client)
        build = Builder(self._caller.table_name, config.actor_name())
        self._secrets = config.secret_values()
        self._reads = RunReads(self._caller, self._decode)
        self._starts = RunStarts(self._reads, build, self._start_action)
        self._life = RunLife(self._reads, build)
        self._ends = RunEnds(self._reads, build)
        self._chunks = RunChunks(self._caller)
        self._parts = RunParts(self._caller, self._decode, self._requests, self._secrets)

    def start_run(
        self,
        run: PipelineRunLog,
        *,
        exclusive: bool,
        rerun: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> tuple[PipelineRunLog, tuple[PipelineRunLog, ...]]:
        """Store a run that begins; return it, and the dead runs it took over from.

        An exclusive run takes its pipeline's lock in the same transaction, a run with a run key
        takes the key. Costs 8 to 12 write units and a read unit; two write units and a read unit
        more for the run key, 8 to 14 and a read unit for a run that is taken over.
        See: TransactWriteItems.

        Args:
            run: The run; its number, fence and attempt are filled in.
            exclusive: Whether the pipeline takes one run at a time.
            rerun: Whether a run key that has succeeded is run again.
            clock: The present moment.

        Raises:
            AlreadyRunningError: A live run holds the pipeline or works at the run key.
            AlreadySucceededError: The run key has succeeded.
            ItemAlreadyExistsError: The run id was used before.
        """
        prepared = self._prepared(run)
        return self._starts.start(prepared, clock, exclusive=exclusive, rerun=rerun)

    def beat(
        self, run: PipelineRunLog, *, now: datetime, lease_until: datetime
    ) -> PipelineRunLog | None:
        """Renew the lease of a run and return the run as it then is; None where it is gone.

        Nothing is renewed where the run has ended or has another writer: status and writer tell.
        Costs a write unit per KB of the run. See: UpdateItem.
        """
        return self._life.beat(run, now, lease_until)

    def request_cancel(
        self, run_id: str, *, by: str, now: datetime | None = None
    ) -> PipelineRunLog:
        """Ask a live run to end itself, and return it; its driver sees that with its next beat.

        Costs a write unit per KB of the run. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        if not isinstance(by, str) or not by.strip():
            raise ValidationError("A cancellation needs `by`: a text that says who asks for it.")
        return self._life.request_cancel(run_id, self._text(by), now or utc_now())

    def finish_run(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        """Store how a run ended, free its lock and move the history on; safe to repeat.

        A run that was taken for lost ends as what it came to, if nobody has taken over. Costs
        10 to 16 write units and a read unit, two write units more for the run key and for each
        watermark. See: TransactWriteItems.

        Raises:
            RunFinishError: Another run took over, or the pipeline was released; the outcome is
                noted on the run as `late_outcome`.
            InvalidTransitionError: The run ended otherwise before.
        """
        storable = replace(
            outcome,
            parts=self._parts.encodable(outcome.parts),
            error=self._clean_error(outcome.error),
        )
        return self._ends.finish(run, storable)

    def reap_run(self, run_id: str, *, now: datetime | None = None) -> PipelineRunLog | None:
        """End a run whose lease has run out as LOST, and return it; None where it is not dead.

        Its lock and its run key are freed in the same transaction. Safe to repeat. Costs two to
        three read units, and 10 to 16 write units for a dead run. See: TransactWriteItems.
        """
        return self._ends.reap(run_id, now or utc_now())

    def release(
        self, pipeline_id: str, *, reason: str, now: datetime | None = None
    ) -> PipelineRunLog | None:
        """End the run that holds a pipeline as LOST, free the pipeline, return the run.

        For a run that is dead and whose lease you do not want to wait for: a run that is still at
        work goes on working, and can then not store its success. None when nobody holds the
        pipeline. Costs 10 to 16 write units and three read units. See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            reason: Stored with the run as `status_detail`.
            now: The present moment.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise ValidationError(
                "release needs a reason: a text, which is what the next person will read."
            )
        return self._ends.release(pipeline_id, self._text(reason), now or utc_now())

    def live_runs(self, environment: str | None = None) -> list[PipelineRunLog]:
        """Return the whole of the runs that run now, oldest first, each read consistently.

        Costs as `get_running_pipelines`. See: Query, BatchGetItem.
        """
        reading = Reading(
            index="live", consistent=True, keep=lambda run: not run.status.is_terminal
        )
        return self._results(environment or self._environment, None, reading).all()

    # ---- items beside the runs -------------------------------------------------------------------

    def pipeline_state(self, pipeline_id: str) -> PipelineState:
        """Return who holds a pipeline and how its last runs ended.

        Costs one read unit; the read is consistent. See: GetItem.
        """
        return self._reads.state(pipeline_id)

    def run_slots(self, pipeline_id: str, run_keys: Sequence[str]) -> list[RunSlot | None]:
        """Return who tried each run key last, in the order of the keys; None where nobody did.

        Costs one read unit per key; the read is consistent. See: BatchGetItem.
        """
        keys = [slot_key(pipeline_id, key) for key in run_keys]
        read = partial(stored_batch, ["run_id"])
        found = batch_get(self._caller, keys, {"ConsistentRead": True}, read)
        return [read_slot(item) for item in found]

    def watermark(self, pipeline_id: str, name: str) -> Cursor:
        """Return a watermark of a pipeline; version 0 where there is none.

        Costs a read unit per 4 KB; the read is consistent. See: GetItem.

        Raises:
            ValidationError: The name cannot be stored, or holds a secret of the process.
        """
        return self._reads.cursor(pipeline_id, self._watermark_name(name))

    def reset_watermark(
        self, pipeline_id: str, name: str, value: Any, *, now: datetime | None = None
    ) -> Cursor:
        """Set a watermark by hand and return it; a run under way does not overwrite it.

        Such a run succeeds without moving the watermark, and says so (`watermark_conflict`).
        Costs a write unit per KB and a read unit per 4 KB. See: UpdateItem.

        Raises:
            ValidationError: The value is of no kind that is kept, or over 64 KB; the name cannot
                be stored, or holds a secret of the process.
        """
        known_as = self._watermark_name(name)
        return self._life.reset_watermark(pipeline_id, known_as, value, now or utc_now())

    def put_chunk(
        self, run: PipelineRunLog, kind: str, number: int, text: str, now: datetime
    ) -> None:
        """Store a piece of the log (``log``) or of the stack trace (``err``) of a run.

        Costs a write unit per KB of the compressed text. See: PutItem.
        """
        self._chunks.put(run, kind, number, text, now)

    def get_log_lines(self, run_id: str) -> list[str]:
        """Return the log lines stored with a run.

        Costs a read unit per 4 KB of the run and of each chunk. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such run.
        """
        run = self.get_or_raise(run_id, consistent=True)
        text = "".join(self._chunks.read(run_id, "log", run.logs.chunks))
        return text.removesuffix("\n").split("\n") if text else []  # no other ends a line of ours

    def get_stack_trace(self, run_id: str) -> str | None:
        """Return the whole stack trace of a failed run; None where the run has no error.

        Costs as `get_log_lines`. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such run.
        """
        run = self.get_or_raise(run_id, consistent=True)
        if run.error is None:
            return None
        whole = "".join(self._chunks.read(run_id, "err", run.error.chunks))
        return whole or f"{run.error.stack_head or ''}{run.error.stack_tail or ''}"

    def _is_own(self, key: Item) -> bool:
        return not is_companion(key["run_id"]["S"])

    def _start_action(self, run: PipelineRunLog) -> Action:
        return self._requests.create(run).as_action()

    def _prepared(self, run: PipelineRunLog) -> PipelineRunLog:
        self._requests.check_model(run)
        if run.start_time is None:
            run.start_time = utc_now()
        run.parameters = redact_values(run.parameters, self._secrets)
        run.error = self._clean_error(run.error)
        if run.environment is None:
            run.environment = self._environment
        return run

    def _watermark_name(self, name: str) -> str:
        return name_of(name, "A watermark", self._secrets)

    def _text(self, text: str) -> str:
        return stored_text(text, self._secrets, 2000)

    def _clean_error(self, error: RunErrorInfo | None) -> RunErrorInfo | None:
        if error is None:
            return None
        texts = {name: value for name, value in error if name != "type" and isinstance(value, str)}
        clean = {name: stored_text(text, self._secrets, 4096) for name, text in texts.items()}
        kind = redact_known(error.type, self._secrets)
        return error.model_copy(update={**clean, "type": kind})


class PipelineRunLogsRepository(RunControl):
    """Runs by id, pipeline, status and time; the table is ``pipeline_run_logs``.

    Lists return `RunSummary` from an index, which follows writes within about a second; whole runs
    come from `get_by_run_id`. Runs of run control (they have a `writer`) are changed by the
    methods here only: `put`, `update` with a model and `delete` refuse them.
    """

    # ---- records ---------------------------------------------------------------------------------

    def create_run_log(self, run: PipelineRunLog) -> PipelineRunLog:
        """Store the record of a run that somebody else controls, such as an imported one.

        It holds no lock and is not listed as running now. Without `start_time` it began now.
        Costs a write unit per KB of the item and about three for its index entries. See: PutItem.

        Raises:
            ItemAlreadyExistsError: The run id is taken.
            ValidationError: The run belongs to run control.
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
        """Change the status of a run and return it; the status it has already is no change.

        A run of run control ends with its lock freed and its pipeline's history moved on, in one
        transaction; a record of `create_run_log` is changed alone. Costs one or two read units
        and 2 to 16 write units. See: GetItem, TransactWriteItems or UpdateItem.

        Args:
            run_id: The run.
            status: The new status.
            reason: One word that refines it, such as ``user_cancel``.
            detail: What a person has to say of it.
            error: What went wrong.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run cannot change so; both statuses are named.
        """
        wanted = enum_of(RunStatus, status)
        run = self.get_or_raise(run_id, consistent=True)
        if run.status is wanted:
            return run
        check_transition(run_id, run.status, wanted)
        fields = {} if detail is None else {"status_detail": self._text(detail)}
        outcome = RunOutcome(wanted, reason, self._clean_error(error), fields=fields)
        if run.is_tracked and wanted.is_terminal:
            return self._ends.finish(run, outcome)
        return self._parts.set_status(run, outcome, predecessors(wanted))

    def add_stage_info(self, run_id: str, name: str, stage: StageInfo) -> StageInfo:
        """Store a stage of a running run, replacing what the name held; nothing is read before.

        Stages of other names, and other threads that store them, are not touched. Costs a write
        unit per KB of the run. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        self._parts.put(run_id, {("stages", name): stage})
        return stage

    def add_data_quality(
        self, run_id: str, name: str, result: DataQualityResult
    ) -> DataQualityResult:
        """Store the result of a data quality check of a running run. As `add_stage_info`."""
        self._parts.put(run_id, {("data_quality", name): result})
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
        parts: dict[tuple[str, ...], Any] = {
            ("metrics", name): value for name, value in (metrics or {}).items()
        }
        parts.update({(name,): value for name, value in totals.items() if value is not None})
        if not parts:
            raise ValidationError("update_run_metrics needs at least one metric or total.")
        self._parts.put(run_id, parts)

    def attach_runtime(self, run_id: str, facts: Mapping[str, str | int]) -> None:
        """Store fields of `RuntimeInfo` that a running run learns late. As `add_stage_info`."""
        self._parts.put(run_id, {("runtime", name): fact for name, fact in facts.items()})

    def check_parts(self, parts: Mapping[tuple[str, ...], Any]) -> None:
        """Refuse parts of a run that could not be stored; sends nothing, costs nothing.

        Raises:
            ValidationError: A field is unknown, or does not take its value.
        """
        self._parts.encoded(parts)

    def record_parts(self, run: PipelineRunLog, parts: Mapping[tuple[str, ...], Any]) -> None:
        """Store several parts of a run that the caller owns; the run handle calls this.

        Values are absolute, so that repeating the call changes nothing. Costs a write unit per KB
        of the run. See: UpdateItem.

        Args:
            run: The run; its writer must be the stored one.
            parts: Values by path: a field, or a field and an entry of its map.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended, or is not the caller's any more.
        """
        self._parts.put(run.run_id, parts, writer=run.writer)

    # ---- what a tracked run refuses ------------------------------------------------------------

    def put_many(
        self,
        items: Iterable[PipelineRunLog] | Frame,
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Store records of foreign runs one by one, because a batch knows no conditions.

        Arguments as those of any repository; `workers` has no effect.

        Raises:
            ValidationError: A run belongs to run control; those before it are stored.
        """
        flow = flow_of(workers, rate, on_progress)
        prepared = list(map_items(items, PipelineRunLog, self._foreign))
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
        """Delete records of foreign runs one by one, because a batch knows no conditions.

        Arguments as those of any repository; `workers` has no effect.

        Raises:
            ValidationError: A run belongs to run control; those before it are deleted.
        """
        flow = flow_of(workers, rate, on_progress)
        deleted = [self._one_of_many(flow, partial(self.delete, key)) for key in keys]
        return sum(run is not None for run in deleted)

    def _one_of_many(self, flow: Flow, write: Callable[[], T]) -> T:
        with flow.request(), self.consumed() as used:
            result = write()
        flow.consumed(used.write_units)
        flow.advance(1, 0, used)
        return result

    def _create_write(self, item: PipelineRunLog) -> Write:
        return super()._create_write(self._foreign(item))

    def _put_write(self, item: PipelineRunLog, condition: ConditionBase | None) -> Write:
        prepared = self._foreign(item)
        return super()._put_write(prepared, _untracked(condition))

    def _update_model_write(self, item: PipelineRunLog, condition: ConditionBase | None) -> Write:
        self._refuse_tracked(item)
        return super()._update_model_write(item, _untracked(condition))

    def _update_write(
        self, key: Any, changes: CheckedChanges, condition: ConditionBase | None, upsert: bool
    ) -> Write:
        _refuse_companion(key)
        guarded = sorted(changes.touched & _BY_RUN_CONTROL)
        if guarded or upsert:
            raise ValidationError(
                f"update cannot change {', '.join(guarded) or 'a run that may not exist'}: use "
                "update_run_status for a status, add_stage_info, update_run_metrics and "
                "add_data_quality for parts, create_run_log for a new record."
            )
        return super()._update_write(key, changes, condition, upsert)

    def _delete_write(self, key: Any, condition: ConditionBase | None, must_exist: bool) -> Write:
        _refuse_companion(key)
        if isinstance(key, PipelineRunLog):
            self._refuse_tracked(key)
        return super()._delete_write(key, _untracked(condition), must_exist)

    def _send(self, write: Write, *, created: bool = False) -> Reply:
        try:
            return super()._send(write, created=created)
        except ConditionFailedError as error:
            run = None if created else self._reads.run(write.plain_key["run_id"])
            if run is not None and run.is_tracked:
                raise _belongs_to_run_control(run.run_id) from error
            raise

    def _foreign(self, run: PipelineRunLog) -> PipelineRunLog:
        self._requests.check_model(run)
        self._refuse_tracked(run)
        return self._prepared(run)

    def _refuse_tracked(self, run: PipelineRunLog) -> None:
        if isinstance(run, PipelineRunLog) and run.is_tracked:
            raise _belongs_to_run_control(run.run_id)


def _refuse_companion(key: Any) -> None:
    """Refuse what run control keeps beside the runs: the lock and history of a pipeline."""
    run_id = key.get("run_id") if isinstance(key, Mapping) else key
    if is_companion(run_id):
        raise ValidationError(
            f"{run_id!r} is no run but an item of run control; release() frees a pipeline."
        )


def _belongs_to_run_control(run_id: str) -> ValidationError:
    return ValidationError(
        f"Run {run_id!r} belongs to run control. Change its status with update_run_status, its "
        "parts with add_stage_info, add_data_quality and update_run_metrics, free its pipeline "
        "with release; TTL deletes it.",
        key={"run_id": run_id},
    )


def _untracked(condition: ConditionBase | None) -> ConditionBase:
    untracked = field_absent("writer")
    return untracked if condition is None else untracked & condition
