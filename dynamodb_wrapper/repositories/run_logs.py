"""The record of what ran, what runs and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ConditionFailedError, ValidationError
from dynamodb_wrapper.models import (
    PIPELINE_RUN_LOGS,
    DataQualityResult,
    Metric,
    PipelineRunLog,
    RunErrorInfo,
    RunStatus,
    RunSummary,
    StageInfo,
    check_transition,
    predecessors,
    utc_now,
    utc_text,
)
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.repositories.run_control import RunControl
from dynamodb_wrapper.repositories.run_parts import RunParts
from dynamodb_wrapper.wire.expressions import between, field_absent
from dynamodb_wrapper.wire.transactions import Action

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.item_requests import Write
    from dynamodb_wrapper.wire.updates import CheckedChanges

_BY_RUN_CONTROL = frozenset(
    "status status_reason status_detail start_time end_time duration_seconds fence run_seq writer "
    "pipeline_id environment expires_at late_outcome detected_at".split()
)


class PipelineRunLogsRepository(BaseDynamoRepository[PipelineRunLog]):
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
        self._parts = RunParts(self._caller, self._decode, self._requests)

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
        wanted = RunStatus(status)
        run = self.get_or_raise(run_id, consistent=True)
        if run.status is wanted:
            return run
        check_transition(run_id, run.status, wanted)
        fields = {} if detail is None else {"status_detail": detail}
        outcome = RunOutcome(wanted, reason, error, fields=fields)
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
        """Add to what is known of where a running run runs; facts not named stay.

        Costs a write unit per KB of the run; nothing is read before. See: UpdateItem.

        Args:
            run_id: The run.
            facts: Fields of `RuntimeInfo`, such as ``spark_application_id``.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        if not facts:
            raise ValidationError("attach_runtime needs at least one fact.")
        self._parts.put_part(run_id, "runtime", facts)

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
        index, partition = "by_status", f"{environment or self._environment}#{RunStatus(status)}"
        if pipeline_id is not None:
            index, partition = "by_pipeline_status", f"{pipeline_id}#{RunStatus(status)}"
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
        return self.get_runs_by_status(
            RunStatus.FAILED,
            pipeline_id=pipeline_id,
            environment=environment,
            since=_ago(hours),
            limit=limit,
        )

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
        return self.get_runs_by_status(
            RunStatus.SUCCESS,
            pipeline_id=pipeline_id,
            environment=environment,
            since=_ago(hours),
            limit=limit,
        )

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
        return self._control.release(pipeline_id, reason)

    def pipeline_state(self, pipeline_id: str) -> PipelineState:
        """Return who holds a pipeline and how its last runs ended.

        Costs one read unit; the read is consistent. See: GetItem.
        """
        return self._control.state(pipeline_id)

    # ---- what a tracked run refuses ------------------------------------------------------------

    def put_many(self, items: Iterable[PipelineRunLog]) -> int:
        """Store records of foreign runs; a batch knows no conditions, so nothing else may go in.

        Raises:
            ValidationError: A run belongs to run control; nothing was sent.
        """
        return super().put_many([self._prepared(run, foreign=True) for run in items])

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
        guarded = sorted(changes.touched & _BY_RUN_CONTROL)
        if guarded or upsert:
            raise ValidationError(
                f"update cannot change {', '.join(guarded) or 'a run that may not exist'}: use "
                "update_run_status for a status, create_run_log for a new record."
            )
        return super()._update_write(key, changes, condition, upsert)

    def _delete_write(self, key: Any, condition: ConditionBase | None, must_exist: bool) -> Write:
        if isinstance(key, PipelineRunLog):
            self._refuse_tracked(key)
        return super()._delete_write(key, _untracked(condition), must_exist)

    def _send(self, write: Write, *, created: bool = False) -> dict[str, Any]:
        try:
            return super()._send(write, created=created)
        except ConditionFailedError as error:
            if not created and (error.current or {}).get("writer") is not None:
                raise _belongs_to_run_control(write.plain_key["run_id"]) from error
            raise

    def _start_action(self, run: PipelineRunLog) -> Action:
        return self._requests.create(run).as_action()

    def _prepared(self, run: PipelineRunLog, *, foreign: bool = False) -> PipelineRunLog:
        self._requests.check_model(run)
        if foreign:
            self._refuse_tracked(run)
        if run.start_time is None:
            run.start_time = utc_now()
        if run.environment is None:
            run.environment = self._environment
        return run

    def _refuse_tracked(self, run: PipelineRunLog) -> None:
        if isinstance(run, PipelineRunLog) and run.is_tracked:
            raise _belongs_to_run_control(run.run_id)

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


def _belongs_to_run_control(run_id: str) -> ValidationError:
    return ValidationError(
        f"Run {run_id!r} belongs to run control. Change its status with update_run_status, its "
        "parts with add_stage_info, add_data_quality and update_run_metrics, free its pipeline "
        "with release; TTL deletes it.",
        key={"run_id": run_id},
    )


def _moment(moment: datetime | None, name: str) -> str | None:
    """Return the sort key a moment stands for; entries go on with ``#<run_id>``."""
    try:
        return None if moment is None else utc_text(moment)
    except ValueError as error:
        raise ValidationError(f"{name} {error}.") from error


def _ago(hours: float) -> datetime:
    if not hours > 0:
        raise ValidationError(f"hours is {hours}; give how many hours to look back.")
    return utc_now() - timedelta(hours=hours)


def _untracked(condition: ConditionBase | None) -> ConditionBase:
    untracked = field_absent("writer")
    return untracked if condition is None else untracked & condition
