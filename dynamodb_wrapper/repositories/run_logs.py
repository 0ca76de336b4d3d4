"""The record of what ran, what runs and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ConditionFailedError, ValidationError
from dynamodb_wrapper.models import (
    PIPELINE_RUN_LOGS,
    DataQualityResult,
    Metric,
    PipelineRunLog,
    RunErrorInfo,
    RunStatus,
    StageInfo,
    check_transition,
    enum_of,
    predecessors,
    utc_now,
)
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
from dynamodb_wrapper.redaction import redact_values, stored_text
from dynamodb_wrapper.repositories.run_control import RunControl
from dynamodb_wrapper.repositories.run_history import RunHistory
from dynamodb_wrapper.repositories.run_parts import RunParts
from dynamodb_wrapper.wire.expressions import field_absent
from dynamodb_wrapper.wire.transactions import Action

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.item_requests import Write
    from dynamodb_wrapper.wire.updates import CheckedChanges

_BY_RUN_CONTROL = frozenset(
    "status status_reason status_detail start_time end_time duration_seconds fence run_seq writer "
    "pipeline_id environment expires_at late_outcome detected_at stages metrics data_quality "
    "runtime error error_type exit_code retention_days".split()
)


class PipelineRunLogsRepository(RunHistory):
    """Runs by id, pipeline, status and time; the table is ``pipeline_run_logs``.

    Lists return `RunSummary` from an index, which follows writes within about a second; whole runs
    come from `get_by_run_id`. Runs of run control (they have a `writer`) are changed by the
    methods here only: `put`, `update` with a model and `delete` refuse them.
    """

    TABLE = PIPELINE_RUN_LOGS

    def __init__(self, config: Any, table: Any = None, *, client: Any = None) -> None:
        super().__init__(config, table, client=client)
        self._control = RunControl(
            self._caller, self._decode, self._start_action, config.actor_name()
        )
        self._secrets = config.secret_values()
        self._parts = RunParts(self._caller, self._decode, self._requests, self._secrets)

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
        and 2 to 18 write units. See: GetItem, TransactWriteItems or UpdateItem.

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
            return self._control.finish(run, outcome)
        return self._parts.set_status(run, outcome, predecessors(wanted))

    def add_stage_info(self, run_id: str, name: str, stage: StageInfo) -> StageInfo:
        """Store a stage of a running run, replacing what the name held; nothing is read before.

        Stages of other names, and other threads that store them, are not touched. Costs a write
        unit per KB of the run. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        self._parts.put_part(run_id, "stages", {name: stage})
        return stage

    def add_data_quality(
        self, run_id: str, name: str, result: DataQualityResult
    ) -> DataQualityResult:
        """Store the result of a data quality check of a running run. As `add_stage_info`."""
        self._parts.put_part(run_id, "data_quality", {name: result})
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
        given = {name: value for name, value in totals.items() if value is not None}
        if not metrics and not given:
            raise ValidationError("update_run_metrics needs at least one metric or total.")
        self._parts.put_part(run_id, "metrics", dict(metrics or {}), given)

    def attach_runtime(self, run_id: str, facts: Mapping[str, str | int]) -> None:
        """Store fields of `RuntimeInfo` that a running run learns late. As `add_stage_info`."""
        self._parts.put_part(run_id, "runtime", facts)

    # ---- run control -----------------------------------------------------------------------------

    def start_run(self, run: PipelineRunLog, *, exclusive: bool) -> PipelineRunLog:
        """Store a run that begins and return it with its number and, if exclusive, its fence.

        `pipeline_run_context` calls this. An exclusive run takes its pipeline's lock in the same
        transaction. Costs about 10 write units and a read unit. See: TransactWriteItems.

        Raises:
            AlreadyRunningError: Another run holds the pipeline; it is named.
            ItemAlreadyExistsError: The run id was used before.
        """
        return self._control.start(self._prepared(run), exclusive=exclusive)

    def finish_run(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        """Store how a run ended, free its lock and move the history on; safe to repeat.

        `pipeline_run_context` calls this. Costs about 18 write units and two read units.
        See: TransactWriteItems.

        Raises:
            RunFinishError: Somebody ended the run before; the outcome is noted on it.
            InvalidTransitionError: The run ended otherwise before.
        """
        return self._control.finish(run, outcome)

    def release(self, pipeline_id: str, *, reason: str) -> PipelineRunLog | None:
        """End the run that holds a pipeline as LOST, free the pipeline, return the run.

        For a run that is dead: a run that is still at work goes on working, and can then not store
        its success. None when nobody holds the pipeline. Costs about 12 write units and three
        read units. See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            reason: Stored with the run as `status_detail`.
        """
        if not reason.strip():
            raise ValidationError("release needs a reason: it is what the next person will read.")
        return self._control.release(pipeline_id, self._text(reason))

    def pipeline_state(self, pipeline_id: str) -> PipelineState:
        """Return who holds a pipeline and how its last runs ended.

        Costs one read unit; the read is consistent. See: GetItem.
        """
        return self._control.state(pipeline_id)

    # ---- what a tracked run refuses ------------------------------------------------------------

    def put_many(self, runs: Iterable[PipelineRunLog]) -> int:
        """Store records of foreign runs one by one, because a batch knows no conditions.

        Raises:
            ValidationError: A run belongs to run control; those before it are stored.
        """
        prepared = [self._prepared(run, foreign=True) for run in runs]
        for run in prepared:
            self.put(run)
        return len(prepared)

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Delete records of foreign runs one by one, because a batch knows no conditions.

        Raises:
            ValidationError: A run belongs to run control; those before it are deleted.
        """
        return sum(self.delete(key) is not None for key in keys)

    def _create_write(self, item: PipelineRunLog) -> Write:
        return super()._create_write(self._prepared(item, foreign=True))

    def _put_write(self, item: PipelineRunLog, condition: ConditionBase | None) -> Write:
        prepared = self._prepared(item, foreign=True)
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

    def _send(self, write: Write, *, created: bool = False) -> dict[str, Any]:
        try:
            return super()._send(write, created=created)
        except ConditionFailedError as error:
            run = None if created else self._control.run(write.plain_key["run_id"])
            if run is not None and run.is_tracked:
                raise _belongs_to_run_control(run.run_id) from error
            raise

    def _start_action(self, run: PipelineRunLog) -> Action:
        return self._requests.create(run).as_action()

    def _prepared(self, run: PipelineRunLog, *, foreign: bool = False) -> PipelineRunLog:
        self._requests.check_model(run)
        if foreign:
            self._refuse_tracked(run)
        if run.start_time is None:
            run.start_time = utc_now()
        run.parameters = redact_values(run.parameters, self._secrets)
        run.error = self._clean_error(run.error)
        if run.environment is None:
            run.environment = self._environment
        return run

    def _text(self, text: str) -> str:
        return stored_text(text, self._secrets, 2000)

    def _clean_error(self, error: RunErrorInfo | None) -> RunErrorInfo | None:
        if error is None:
            return None
        texts = {name: value for name, value in error if name != "type" and isinstance(value, str)}
        clean = {name: stored_text(text, self._secrets, 4096) for name, text in texts.items()}
        return error.model_copy(update=clean)

    def _refuse_tracked(self, run: PipelineRunLog) -> None:
        if isinstance(run, PipelineRunLog) and run.is_tracked:
            raise _belongs_to_run_control(run.run_id)


def _refuse_companion(key: Any) -> None:
    """Refuse what run control keeps beside the runs: the lock and history of a pipeline."""
    run_id = key.get("run_id") if isinstance(key, Mapping) else key
    if isinstance(run_id, str) and "#" in run_id:
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
