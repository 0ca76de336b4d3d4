"""The actions that change a run's status, its pipeline's lock and its history together.

Pure builders: they read nothing and send nothing. Every clause of a condition guards one of the
statements run control makes; a clause is changed only together with the model that checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
from dynamodb_wrapper.repositories.run_clauses import (
    absent,
    companion_update,
    same,
    update_action,
)
from dynamodb_wrapper.repositories.run_endings import (
    lost_outcome,
    next_fence,
    note_end,
    note_last,
    note_last_ok,
    superseded_outcome,
)
from dynamodb_wrapper.repositories.run_item_actions import (
    ItemActions,
    live_and_mine,
    lost_and_mine,
)
from dynamodb_wrapper.repositories.run_items import state_key
from dynamodb_wrapper.wire.expressions import Expressions

if TYPE_CHECKING:
    from dynamodb_wrapper.repositories.run_decisions import StartPlan
    from dynamodb_wrapper.wire.transactions import Action


@dataclass(frozen=True)
class Builder(ItemActions):
    """Transactions on one run table: every change of a run together with all that hangs on it."""

    # ---- start ----------------------------------------------------------------------------------

    def start_exclusive(
        self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: datetime
    ) -> list[Action]:
        """Return the start of a run of an exclusive pipeline: it takes the lock or does not begin.

        Args:
            put_run: Puts the RUN if its id is free.
            run: The run, with the new fence.
            plan: What was read and decided before; a holder that is dead is ended here.
            now: The present moment.
        """
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        update.set(("holder",), {"S": run.run_id})
        update.set(("fence",), {"N": str(run.fence)})
        update.increase(("next_seq",))
        for lost in plan.lost:
            if lost.run_id == plan.state.holder:
                note_end(update, lost, lost_outcome(lost, None, now), plan.state)
        unchanged = _holder_and_fence(expressions, plan.state)
        return [
            put_run,
            update_action(self.table_name, state_key(run.pipeline_id), update, unchanged),
            *self._start_parts(run, plan, now),
        ]

    def count_start(self, pipeline_id: str) -> dict[str, Any]:
        """Return the UpdateItem that numbers a run of a pipeline without a limit.

        It has no condition: gaps between the numbers are harmless.
        """
        expressions = Expressions()
        update = companion_update(expressions, "STATE", pipeline_id)
        update.increase(("next_seq",))
        return expressions.into(
            {
                "TableName": self.table_name,
                "Key": state_key(pipeline_id),
                "UpdateExpression": update.text,
                "ReturnValues": "ALL_NEW",
            }
        )

    def start_shared(
        self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: datetime
    ) -> list[Action]:
        """Return the start of a run of a pipeline without a limit: no holder, no fence."""
        return [put_run, *self._start_parts(run, plan, now)]

    def _start_parts(self, run: PipelineRunLog, plan: StartPlan, now: datetime) -> list[Action]:
        actions = []
        for lost in plan.lost:
            actions.append(self.lose(lost, superseded_outcome(lost, run, now)))
            if lost.run_key not in (None, run.run_key) and lost.run_id in plan.slots_of_lost:
                actions.append(self.end_slot(lost, RunStatus.LOST, now))
        actions += [self.gone_or_ended(run_id) for run_id in plan.gone]
        if run.run_key is not None:
            actions.append(self.take_slot(run, plan.slot))
        return actions

    # ---- end ------------------------------------------------------------------------------------

    def finish(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
    ) -> list[Action]:
        """Return the end of a run by its driver: status, lock, history, run key, watermarks."""
        live = self.end_run(run, outcome, live_and_mine)
        if run.fence is None:
            pipeline = self._move_history(run, outcome, state)
        else:
            pipeline = [self._free(run, outcome, state)]
        return [live, *pipeline, *self._end_parts(run, outcome)]

    def finish_late(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
    ) -> list[Action]:
        """Return the end of a run that was taken for lost, while nobody has taken over."""
        outcome = replace(outcome, fields={**outcome.fields, "late_finish": True})
        late = self.end_run(run, outcome, lost_and_mine)
        if run.fence is None:
            pipeline = self._move_history(run, outcome, state)
        else:
            pipeline = [self._note_late(run, outcome, state)]
        return [late, *pipeline, *self._end_parts(run, outcome)]

    def reap(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState, *, owns_slot: bool
    ) -> list[Action]:
        """Return the end of a run whose lease ran out: LOST, its lock free, no successor."""
        actions = [self.lose(run, outcome)]
        if state.holder == run.run_id:
            expressions = Expressions()
            update = companion_update(expressions, "STATE", run.pipeline_id)
            update.remove(("holder",))
            note_end(update, run, outcome, state)
            still = same(expressions, "holder", run.run_id)
            key = state_key(run.pipeline_id)
            actions.append(update_action(self.table_name, key, update, still))
        if owns_slot:
            actions.append(self.end_slot(run, RunStatus.LOST, outcome.end_time))
        return actions

    def release(
        self,
        pipeline_id: str,
        state: PipelineState,
        holder: PipelineRunLog | None,
        outcome: RunOutcome,
        *,
        owns_slot: bool,
    ) -> list[Action]:
        """Return the end of a holder by an operator: LOST, the lock free, the fence raised.

        The higher fence keeps the released run from finishing as if nothing had happened. A holder
        that has ended already, or is gone, must still be so when the lock is freed.
        """
        expressions = Expressions()
        update = companion_update(expressions, "STATE", pipeline_id)
        update.remove(("holder",))
        detected = outcome.fields["detected_at"]
        update.set(("fence",), {"N": str(next_fence(state, detected))})
        unchanged = _holder_and_fence(expressions, state)
        if holder is None or holder.status.is_terminal:
            run = [self.gone_or_ended(state.holder or "")]
        else:
            note_end(update, holder, outcome, state)
            run = [self.end_run(holder, outcome, live_and_mine)]
            if owns_slot:
                run.append(self.end_slot(holder, RunStatus.LOST, outcome.end_time))
        state_item = state_key(pipeline_id)
        return [*run, update_action(self.table_name, state_item, update, unchanged)]

    # ---- parts ----------------------------------------------------------------------------------

    def _free(self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState) -> Action:
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        update.remove(("holder",))
        note_end(update, run, outcome, state)
        i_hold = same(expressions, "holder", run.run_id)
        return update_action(self.table_name, state_key(run.pipeline_id), update, i_hold)

    def _note_late(self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState) -> Action:
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        note_end(update, run, outcome, state, counted=True)
        nobody_since = same(expressions, "fence", run.fence)
        nobody_now = absent(expressions, "holder")
        key = state_key(run.pipeline_id)
        return update_action(self.table_name, key, update, f"{nobody_since} AND {nobody_now}")

    def _move_history(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
    ) -> list[Action]:
        """Move the history forward only: a run that began earlier does not replace a later one."""
        sequence = run.run_seq or 0
        newer = (state.last_seq or 0) < sequence
        newer_ok = outcome.status is RunStatus.SUCCESS and (state.last_ok_seq or 0) < sequence
        if not newer and not newer_ok:
            return []
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        if newer:
            note_last(update, run, outcome)
        if newer_ok:
            note_last_ok(update, run, outcome)
        unchanged = (
            f"{same(expressions, 'last_seq', state.last_seq)} AND "
            f"{same(expressions, 'last_ok_seq', state.last_ok_seq)}"
        )
        key = state_key(run.pipeline_id)
        return [update_action(self.table_name, key, update, unchanged)]

    def _end_parts(self, run: PipelineRunLog, outcome: RunOutcome) -> list[Action]:
        actions = []
        if run.run_key is not None:
            actions.append(self.end_slot(run, outcome.status, outcome.end_time))
        if outcome.status is RunStatus.SUCCESS:
            actions += [
                self.move_cursor(run.pipeline_id, move, outcome.end_time, run=run)
                for move in outcome.moves
            ]
        return actions


def _holder_and_fence(expressions: Expressions, state: PipelineState) -> str:
    return (
        f"{same(expressions, 'holder', state.holder)} AND {same(expressions, 'fence', state.fence)}"
    )
