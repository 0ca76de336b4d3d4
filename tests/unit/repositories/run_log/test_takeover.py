"""Decisions at the start of a run: refuse, start, or take over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dynamodb_wrapper.aws.clock import GivenClock
from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run_state import PipelineState, RunSlot
from dynamodb_wrapper.repositories.run_log.leases import LeaseWatch
from dynamodb_wrapper.repositories.run_log.takeover import (
    Refusal,
    Seen,
    StartPlan,
    decide_start,
)

NOW = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)
TERMINAL = [status for status in RunStatus if status.is_terminal]


def run_of(name: str, status: RunStatus = RunStatus.RUNNING, **fields: Any) -> PipelineRunLog:
    return PipelineRunLog(
        run_id=name,
        pipeline_id="p",
        status=status,
        writer="w",
        lease_grace_seconds=10,
        clock_error_seconds=0,
        **{"lease_until": NOW + timedelta(seconds=5), **fields},
    )


def decided(seen: Seen, *, rerun: bool = False) -> StartPlan | Refusal:
    """Return the decision of a start at `NOW`."""
    watch = LeaseWatch(GivenClock(lambda: NOW).read)
    runs = [run for run in (seen.holder, seen.attempt) if run is not None]
    dead = frozenset(run.run_id for run in runs if watch.is_dead(run))
    return decide_start(replace(seen, dead=dead), rerun=rerun)


DEAD = NOW - timedelta(seconds=11)


class TestDecisions:
    def test_a_free_pipeline_can_be_started(self) -> None:
        plan = decided(Seen(PipelineState(fence=3)))
        assert plan == StartPlan(PipelineState(fence=3), None)

    def test_a_live_holder_is_in_the_way(self) -> None:
        holder = run_of("h")
        assert decided(Seen(PipelineState(holder="h"), holder)) == Refusal(holder)

    def test_a_holder_within_its_grace_is_in_the_way(self) -> None:
        holder = run_of("h", lease_until=NOW - timedelta(seconds=10))
        assert decided(Seen(PipelineState(holder="h"), holder)) == Refusal(holder)

    def test_a_dead_holder_is_ended(self) -> None:
        holder = run_of("h", lease_until=DEAD)
        plan = decided(Seen(PipelineState(holder="h"), holder))
        assert isinstance(plan, StartPlan)
        assert plan.lost == (holder,)
        assert plan.gone == ()

    def test_a_holder_without_a_lease_never_dies_by_itself(self) -> None:
        holder = run_of("h", lease_until=None)
        assert decided(Seen(PipelineState(holder="h"), holder)) == Refusal(holder)

    @pytest.mark.parametrize("status", TERMINAL, ids=str)
    def test_a_holder_that_has_ended_must_still_have_ended(self, status: RunStatus) -> None:
        holder = run_of("h", status)
        plan = decided(Seen(PipelineState(holder="h"), holder))
        assert isinstance(plan, StartPlan)
        assert (plan.lost, plan.gone) == ((), ("h",))

    def test_a_holder_that_does_not_exist_must_still_not_exist(self) -> None:
        plan = decided(Seen(PipelineState(holder="h"), None))
        assert isinstance(plan, StartPlan)
        assert plan.gone == ("h",)

    def test_a_key_that_has_succeeded_is_done_unless_it_is_run_again(self) -> None:
        slot = RunSlot("b", "failed", 2, "2026-01-01", "a")
        assert decided(Seen(slot=slot)) == Refusal(succeeded="a")
        assert decided(Seen(slot=slot), rerun=True) == StartPlan(PipelineState(), slot)

    def test_a_key_at_work_is_in_the_way_while_its_run_lives(self) -> None:
        slot, alive = RunSlot("a", "running"), run_of("a")
        dead = run_of("a", lease_until=DEAD)
        assert decided(Seen(slot=slot, attempt=alive)) == Refusal(alive)
        plan = decided(Seen(slot=slot, attempt=dead))
        assert isinstance(plan, StartPlan)
        assert plan.lost == (dead,)

    def test_the_own_key_of_a_dead_holder_ends_with_it(self) -> None:
        holder = run_of("h", lease_until=DEAD, run_key="other")
        seen = Seen(PipelineState(holder="h"), holder, holder_slot=RunSlot("h", "running"))
        plan = decided(seen)
        assert isinstance(plan, StartPlan)
        assert plan.slots_of_lost == {"h"}
