"""Libraries with one mistake each, which exploration must find."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from tests.model.items import kind_of
from tests.model.library import Library, MarkedBuilder, created

if TYPE_CHECKING:
    from dynamodb_wrapper.aws.transactions import Action
    from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
    from dynamodb_wrapper.repositories.run_log.takeover import StartPlan


def _kind(action: Action) -> str:
    return kind_of(action.key["run_id"]["S"])


def _without(actions: list[Action], kind: str) -> list[Action]:
    """Return the actions on items of other kinds."""
    return [action for action in actions if _kind(action) != kind]


def _not_setting(action: Action, name: str) -> Action:
    """Return an update that leaves an attribute alone."""
    request = dict(action.request)
    names = {k: v for k, v in request["ExpressionAttributeNames"].items() if v != name}
    (gone,) = set(request["ExpressionAttributeNames"]) - set(names)
    clause = re.search(rf", {gone} = (:\w+)", request["UpdateExpression"])
    assert clause is not None
    request["UpdateExpression"] = request["UpdateExpression"].replace(clause.group(), "", 1)
    if re.search(rf"{gone}\b", request["ConditionExpression"]):
        names[gone] = name
    values = dict(request["ExpressionAttributeValues"])
    del values[clause.group(1)]
    request.update(ExpressionAttributeNames=names, ExpressionAttributeValues=values)
    return action._replace(request=request)


class ReapLeavesTheHolder(Library):
    class BUILDER(MarkedBuilder):
        def reap(self, *args: Any, **more: Any) -> list[Action]:
            return _without(super().reap(*args, **more), "STATE")


class TakeoverWantsNoHolder(Library):
    class BUILDER(MarkedBuilder):
        def start_exclusive(
            self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: Any
        ) -> list[Action]:
            free = replace(plan, state=replace(plan.state, holder=None))
            return super().start_exclusive(put_run, run, free, now)


class LostHasNoEndTime(Library):
    class BUILDER(MarkedBuilder):
        def end_run(self, run: PipelineRunLog, outcome: RunOutcome, condition: Any) -> Action:
            action = super().end_run(run, outcome, condition)
            return _not_setting(action, "end_time") if outcome.status is RunStatus.LOST else action


class LateFinishWantsTheLock(Library):
    class BUILDER(MarkedBuilder):
        def finish_late(
            self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
        ) -> list[Action]:
            in_time = [a for a in super().finish(run, outcome, state) if _kind(a) == "STATE"]
            return [*_without(super().finish_late(run, outcome, state), "STATE"), *in_time]


class StartIsNotShownWhatItMet(Library):
    """So a start that is repeated is not recognised as the same."""

    def created(self, run: PipelineRunLog) -> Action:
        action = created(run)
        request = {**action.request, "ReturnValuesOnConditionCheckFailure": "NONE"}
        return action._replace(request=request)


class ReleaseRemovesOnlyTheHolder(Library):
    class BUILDER(MarkedBuilder):
        def release(self, *args: Any, **more: Any) -> list[Action]:
            return _without(super().release(*args, **more), "RUN")


class ReleaseLeavesTheFence(Library):
    class BUILDER(MarkedBuilder):
        def release(self, *args: Any, **more: Any) -> list[Action]:
            *others, state = super().release(*args, **more)
            return [*others, _not_setting(state, "fence")]


class ReapLeavesTheRunKey(Library):
    class BUILDER(MarkedBuilder):
        def reap(self, *args: Any, **more: Any) -> list[Action]:
            return _without(super().reap(*args, **more), "SLOT")


class TakeoverLeavesTheOtherRunKey(Library):
    class BUILDER(MarkedBuilder):
        def start_exclusive(
            self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: Any
        ) -> list[Action]:
            left = replace(plan, slots_of_lost=frozenset())
            return super().start_exclusive(put_run, run, left, now)


class OlderRunLeavesTheHistory(Library):
    class BUILDER(MarkedBuilder):
        def finish(
            self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
        ) -> list[Action]:
            actions = super().finish(run, outcome, state)
            is_older = (state.last_seq or 0) > (run.run_seq or 0)
            return _without(actions, "STATE") if is_older else actions


class SharedRunsCopyTheFence(Library):
    class BUILDER(MarkedBuilder):
        def start_shared(
            self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: Any
        ) -> list[Action]:
            copied = created(run.model_copy(update={"fence": 1}))
            return super().start_shared(copied, run, plan, now)


class FinishForgetsTheWatermark(Library):
    class BUILDER(MarkedBuilder):
        def finish(self, *args: Any) -> list[Action]:
            return _without(super().finish(*args), "CURSOR")


class StartForgetsWhomItLost(Library):
    """So the history of the pipeline does not know the run it took over from."""

    class BUILDER(MarkedBuilder):
        def start_exclusive(
            self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: Any
        ) -> list[Action]:
            actions = super().start_exclusive(put_run, run, plan, now)
            if not plan.lost:
                return actions
            return [_not_setting(a, "last_seq") if _kind(a) == "STATE" else a for a in actions]
