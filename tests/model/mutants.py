"""Libraries with one mistake each, which exploration must find."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.clock import ClockReading
from dynamodb_wrapper.models import PipelineRunLog, RunStatus, utc_text
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp, LeaseWatch
from tests.model.items import kind_of, moment
from tests.model.library import Library, MarkedBuilder, Timepiece, created

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


# ---- clocks --------------------------------------------------------------------------------------


class ObserverJudgesByItsOwnClock(Library):
    class WATCH(LeaseWatch):
        def is_over(self, run: PipelineRunLog) -> bool:
            return run.is_expired(self.read_clock().now)


class HolderSaysItsClockIsDynamoDBs(Library):
    def stamp(self, timepiece: Timepiece, tick: int, ticks: int) -> LeaseStamp:
        written = super().stamp(timepiece._replace(knows=False), tick, ticks)
        return written._replace(clock_error_seconds=0.0)


class HolderKeepsItsErrorToItself(Library):
    """So a lease that was written by a clock known to a tick is taken for exact."""

    def stamp(self, timepiece: Timepiece, tick: int, ticks: int) -> LeaseStamp:
        return super().stamp(timepiece, tick, ticks)._replace(clock_error_seconds=0.0)


class ObserverTakesTheLatestTime(Library):
    """So it does not wait until DynamoDB's clock certainly shows that the lease is over."""

    class WATCH(LeaseWatch):
        def is_over(self, run: PipelineRunLog) -> bool:
            latest = self.read_clock().latest
            late = LeaseWatch(lambda: ClockReading(latest or moment(0), latest, latest))
            return late.is_over(run)


class AnyLeaseIsTakenForDynamoDBs(Library):
    class WATCH(LeaseWatch):
        def is_over(self, run: PipelineRunLog) -> bool:
            exact = run.model_copy(update={"clock_error_seconds": run.clock_error_seconds or 0.0})
            return super().is_over(exact)


class ObserverTakesAnyLeaseForTheFirst(Library):
    """So it counts from when it first saw the run, not from when its lease last changed."""

    class WATCH(LeaseWatch):
        def is_dead(self, run: PipelineRunLog) -> bool:
            self._first = getattr(self, "_first", run)
            lease = {name: getattr(self._first, name) for name in ("lease_until", "heartbeat_at")}
            return super().is_dead(run.model_copy(update=lease)) or self.is_over(run)


class ObserverDoesNotWait(Library):
    """So a lease that was seen twice is over."""

    class WATCH(LeaseWatch):
        def is_dead(self, run: PipelineRunLog) -> bool:
            at_once = run.model_copy(update={"heartbeat_at": run.lease_until})
            return super().is_dead(at_once)


class LeasesOnlyGrow(Library):
    """So a driver whose clock was set right cannot beat for as long as it was ahead."""

    class BUILDER(MarkedBuilder):
        def beat(self, run: PipelineRunLog, stamp: LeaseStamp) -> dict[str, Any]:
            request = dict(super().beat(run, stamp))
            known = request["ConditionExpression"].rpartition(" = ")[2]
            values = dict(request["ExpressionAttributeValues"])
            values[known] = {"S": utc_text(stamp.lease_until)}
            condition = request["ConditionExpression"].replace(f"= {known}", f"< {known}")
            request.update(ConditionExpression=condition, ExpressionAttributeValues=values)
            return request
