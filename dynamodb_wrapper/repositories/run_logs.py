"""The record of what ran, what runs and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from dynamodb_wrapper.exceptions import ConditionFailedError, ValidationError
from dynamodb_wrapper.models import (
    DataQualityResult,
    Metric,
    PipelineRunLog,
    RunErrorInfo,
    RunStatus,
    StageInfo,
    check_transition,
    enum_of,
    predecessors,
)
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.repositories.arrow_frames import made_of
from dynamodb_wrapper.repositories.many import flow_of
from dynamodb_wrapper.repositories.run_control import RunControl
from dynamodb_wrapper.repositories.run_items import is_companion
from dynamodb_wrapper.wire.expressions import field_absent

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.arrow_frames import Frame
    from dynamodb_wrapper.repositories.writes import Write
    from dynamodb_wrapper.wire.bodies import Reply
    from dynamodb_wrapper.wire.flow import Flow, Progress, RateLimiter
    from dynamodb_wrapper.wire.updates import CheckedChanges

T = TypeVar("T")

_BY_RUN_CONTROL = frozenset(
    "status status_reason status_detail start_time end_time duration_seconds fence run_seq writer "
    "pipeline_id environment expires_at late_outcome detected_at stages metrics data_quality "
    "runtime error error_type exit_code retention_days".split()
)


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
        prepared = list(made_of(items, PipelineRunLog, self._foreign))
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
