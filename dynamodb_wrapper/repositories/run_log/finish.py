"""Send the transactions that end a run (finish, reap, release) and interpret their refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from dynamodb_wrapper.aws.transactions import transact
from dynamodb_wrapper.exceptions.errors import (
    ConditionFailedError,
    InvalidTransitionError,
    ItemNotFoundError,
    RunFinishError,
    TransactionCanceledError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.models.run_state import RunOutcome, may_finish_late
from dynamodb_wrapper.repositories.run_log.items import run_key
from dynamodb_wrapper.repositories.run_log.protocol import (
    in_order,
    lost_outcome,
    put_parts,
    run_after,
)
from dynamodb_wrapper.repositories.write_results import has_landed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.aws.transactions import Action
    from dynamodb_wrapper.repositories.run_log.items import RunReads
    from dynamodb_wrapper.repositories.run_log.leases import LeaseWatch
    from dynamodb_wrapper.repositories.run_log.protocol import Builder

logger = SafeLogger(__name__)
Ended = TypeVar("Ended")
_MOST_PARTS = 100  # an expression ends at 4 KB


class RunEnds:
    """Ends runs of one run table: finish by the driver, reap and release by others.

    Args:
        reads: Reads for decisions.
        build: Builds the transactions.
        storable: Returns an outcome in the form that can be stored.
    """

    def __init__(
        self, reads: RunReads, build: Builder, storable: Callable[[RunOutcome], RunOutcome]
    ) -> None:
        self._reads = reads
        self._build = build
        self._storable = storable
        self._caller = reads.caller

    # ---- by the driver ---------------------------------------------------------------------------

    def finish(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        """Store the outcome of a run, free its lock and move its pipeline's history on.

        Safe to repeat: the same outcome stored before is success. A run that was reaped as lost
        still gets its real outcome, if no run has taken over. The outcome of a run that has grown
        too large is stored with less detail. Costs 10 to 16 write units and a read unit, two write
        units more for the run key and for each watermark. See: TransactWriteItems.

        Raises:
            RunFinishError: Another run took over, or the pipeline was released; the outcome is
                noted on the run as `late_outcome`.
            InvalidTransitionError: The run has ended with another outcome.
        """
        ended = in_order(run, self._storable(outcome))
        return _with_less_detail(
            ended, lambda smaller: self._finish(run, self._with_few_parts(run, smaller))
        )

    def _with_few_parts(self, run: PipelineRunLog, outcome: RunOutcome) -> RunOutcome:
        """Store parts that are too many for one request beforehand; return the outcome without."""
        parts = list(outcome.parts.items())
        while len(parts) > _MOST_PARTS:
            some = dict(parts[:_MOST_PARTS])
            request = put_parts(self._caller.table_name, run_key(run.run_id), some, run.writer)
            try:
                self._caller.call("UpdateItem", request, key={"run_id": run.run_id})
            except ConditionFailedError:
                logger.warning(
                    "%d parts of run %s are left out: it was ended by another process.",
                    len(parts) - _MOST_PARTS,
                    run.run_id,
                )
                return replace(outcome, parts=some)
            parts = parts[_MOST_PARTS:]
        return replace(outcome, parts=dict(parts))

    def _finish(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        late = False
        for _ in self._caller.backoff().waits():
            state = self._reads.state(run.pipeline_id)
            make = self._build.finish_late if late else self._build.finish
            actions = make(run, outcome, state)
            try:
                transact(self._caller, actions)
            except TransactionCanceledError as error:
                refused = _refused_kinds(actions, error)
                if "RUN" in refused:
                    stored = self._stored_before(run, outcome, error)
                    if stored is not None:
                        return stored
                    late = True
                elif late and (refused & {"SLOT"} or (run.fence and "STATE" in refused)):
                    raise self._stays_lost(run, outcome, None) from error
                elif "CURSOR" in refused:
                    outcome = _without_moves(outcome)
                elif "SLOT" in refused:
                    logger.error(
                        "Run key %r of pipeline %s no longer belongs to run %s: its SLOT item was "
                        "changed by hand.",
                        run.run_key,
                        run.pipeline_id,
                        run.run_id,
                    )
                    run = run.model_copy(update={"run_key": None})
                elif run.fence is not None:
                    raise _lock_gone(run, outcome, error) from error
                continue  # another run ended, or ours was marked lost, in between: read again
            return run_after(run, outcome, self._build.actor, late=late)
        raise self._reads.gave_up(f"The history of pipeline {run.pipeline_id!r}")

    def _stored_before(
        self, run: PipelineRunLog, outcome: RunOutcome, error: TransactionCanceledError
    ) -> PipelineRunLog | None:
        """Return the run if an earlier attempt stored its outcome; None if it may end late."""
        stored = self._reads.run(run.run_id)
        if stored is None:
            raise ItemNotFoundError(
                f"Run {run.run_id!r} no longer exists.",
                table_name=self._caller.table_name,
                key={"run_id": run.run_id},
            ) from error
        mine = stored.writer == run.writer
        if has_landed(dict(stored), {"writer": run.writer, "status": outcome.status}):
            if outcome.moves and not _is_the_same_end(stored, outcome):
                raise self._not_moved(run, outcome) from error
            return stored
        if mine and may_finish_late(stored.status, stored.superseded_by):
            return None
        if mine and stored.status is RunStatus.LOST:
            raise self._stays_lost(run, outcome, stored.superseded_by) from error
        if mine and not stored.status.is_terminal:
            return None
        by = "" if mine else " by another writer, which replaced its record"
        raise InvalidTransitionError(
            f"Run {run.run_id} cannot end as {outcome.status}: it had ended as "
            f"{stored.status} before{by}; an end is final.",
            key={"run_id": run.run_id},
            table_name=self._caller.table_name,
        ) from error

    def _not_moved(self, run: PipelineRunLog, outcome: RunOutcome) -> RunFinishError:
        """Return the error for a success that another writer stored without the watermarks."""
        names = ", ".join(move.seen.name for move in outcome.moves)
        return RunFinishError(
            f"Run {run.run_id} of pipeline {run.pipeline_id!r} was ended with {outcome.status} by "
            f"another writer before, without its watermarks ({names}): they were not moved.",
            run_id=run.run_id,
            pipeline_id=run.pipeline_id,
            outcome=str(outcome.status),
        )

    def _stays_lost(
        self, run: PipelineRunLog, outcome: RunOutcome, superseded_by: str | None
    ) -> RunFinishError:
        """Note the late outcome on a run that stays lost, and return the error."""
        request = self._build.note_late_outcome(run, outcome)
        try:
            self._caller.call("UpdateItem", request, key={"run_id": run.run_id})
        except ConditionFailedError:
            logger.warning("The late outcome of run %s could not be noted.", run.run_id)
        why = "the pipeline was released, or another run has held it since"
        if superseded_by is not None:
            why = f"run {superseded_by} took over"
        return RunFinishError(
            f"Run {run.run_id} of pipeline {run.pipeline_id!r} ended with {outcome.status}, but "
            f"was ended as lost before: {why}. It stays lost; its late_outcome is "
            f"{outcome.status}.",
            run_id=run.run_id,
            pipeline_id=run.pipeline_id,
            outcome=str(outcome.status),
        )

    # ---- by others -------------------------------------------------------------------------------

    def reap(self, run_id: str, watch: LeaseWatch) -> PipelineRunLog | None:
        """End a run whose lease has run out as lost; None if it is alive or has ended."""
        for _ in self._caller.backoff().waits():
            run = self._reads.run(run_id)
            if run is None or not watch.is_dead(run):
                return None
            outcome = lost_outcome(run, "heartbeat_lost", watch.read_clock().now)
            state = self._reads.state(run.pipeline_id)
            owns_slot = self._reads.owns_slot(run)
            actions = self._build.reap(run, outcome, state, owns_slot=owns_slot)
            try:
                transact(self._caller, actions)
            except TransactionCanceledError:
                continue  # it beat, ended or was taken over in between: read again
            return run_after(run, outcome, self._build.actor)
        raise self._reads.gave_up(f"Run {run_id!r}")

    def release(self, pipeline_id: str, reason: str, now: datetime) -> PipelineRunLog | None:
        """End the holder as lost and free the pipeline; None without a holder."""
        fields = {"detected_at": now, "status_detail": reason}
        outcome = RunOutcome(RunStatus.LOST, "released", end_time=now, fields=fields)
        return _with_less_detail(outcome, lambda smaller: self._release(pipeline_id, smaller))

    def _release(self, pipeline_id: str, outcome: RunOutcome) -> PipelineRunLog | None:
        for _ in self._caller.backoff().waits():
            state = self._reads.state(pipeline_id)
            if state.holder is None:
                return None
            holder = self._reads.run(state.holder)
            if holder is not None:
                outcome = in_order(holder, outcome)
            owns_slot = holder is not None and self._reads.owns_slot(holder)
            actions = self._build.release(pipeline_id, state, holder, outcome, owns_slot=owns_slot)
            try:
                transact(self._caller, actions)
            except TransactionCanceledError:
                continue  # the holder ended, or another run took over: read again
            return self._reads.run(state.holder)
        raise self._reads.gave_up(f"Pipeline {pipeline_id!r}")


def _lock_gone(
    run: PipelineRunLog, outcome: RunOutcome, error: TransactionCanceledError
) -> RunFinishError:
    holder = next((r.current or {} for r in error.reasons if r.code), {}).get("holder")
    return RunFinishError(
        f"Run {run.run_id} ended with {outcome.status}, but pipeline {run.pipeline_id!r} is held "
        f"by {f'run {holder}' if holder else 'no run'}: its STATE item was changed by hand. The "
        "stored run is unchanged.",
        run_id=run.run_id,
        pipeline_id=run.pipeline_id,
        outcome=str(outcome.status),
    )


def _refused_kinds(actions: list[Action], error: TransactionCanceledError) -> set[str]:
    """Return the kinds of the items that refused: RUN, STATE, SLOT, CURSOR."""
    marks = {"#pipeline": "STATE", "#slot": "SLOT", "#cursor": "CURSOR"}
    refused = set()
    for action, reason in zip(actions, error.reasons):
        if reason.code:
            key = action.key["run_id"]["S"]
            refused.add(next((v for mark, v in marks.items() if key.startswith(mark)), "RUN"))
    return refused


def _is_the_same_end(stored: PipelineRunLog, outcome: RunOutcome) -> bool:
    """Return whether a run was ended by this outcome; an end by hand has no watermarks."""
    noted = stored.watermarks or stored.watermark_conflict or "watermarks" not in outcome.fields
    return bool(noted) and stored.end_time == outcome.end_time


def _without_moves(outcome: RunOutcome) -> RunOutcome:
    fields = {**outcome.fields, "watermark_conflict": True}
    fields.pop("watermarks", None)
    return replace(outcome, moves=(), fields=fields)


def _with_less_detail(outcome: RunOutcome, send: Callable[[RunOutcome], Ended]) -> Ended:
    for smaller in (outcome, outcome.without_details()):
        try:
            return send(smaller)
        except ValidationError as error:
            if error.error_code is None:
                raise  # refused by this library, not by DynamoDB
            logger.warning("The end of a run was refused; it is sent with less detail: %s", error)
    return send(outcome.without_parts())
