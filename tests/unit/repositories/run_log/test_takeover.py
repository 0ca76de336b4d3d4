"""Decisions at the start of a run: refuse, start, or take over."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run_state import PipelineState, RunSlot
from dynamodb_wrapper.repositories.run_log.takeover import Refusal, Seen, StartPlan, decide_start

NOW = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)
TERMINAL = [status for status in RunStatus if status.is_terminal]


def run_of(name: str, status: RunStatus = RunStatus.RUNNING, **fields: Any) -> PipelineRunLog:
    return PipelineRunLog(
        run_id=name,
        pipeline_id="p",
        status=status,
        writer="w",
        lease_grace_seconds=10,
        **{"lease_until": NOW + timedelta(seconds=5), **fields},
    )


DEAD = NOW - timedelta(seconds=11)


class TestDecisions:
    def test_a_free_pipeline_can_be_started(self) -> None:
        plan = decide_start(Seen(PipelineState(fence=3)), NOW)
        assert plan == StartPlan(PipelineState(fence=3), None)

    def test_a_live_holder_is_in_the_way(self) -> None:
        holder = run_of("h")
        assert decide_start(Seen(PipelineState(holder="h"), holder), NOW) == Refusal(holder)

    def test_a_holder_within_its_grace_is_in_the_way(self) -> None:
        holder = run_of("h", lease_until=NOW - timedelta(seconds=10))
        assert decide_start(Seen(PipelineState(holder="h"), holder), NOW) == Refusal(holder)

    def test_a_dead_holder_is_ended(self) -> None:
        holder = run_of("h", lease_until=DEAD)
        plan = decide_start(Seen(PipelineState(holder="h"), holder), NOW)
        assert isinstance(plan, StartPlan)
        assert plan.lost == (holder,)
        assert plan.gone == ()

    def test_a_holder_without_a_lease_never_dies_by_itself(self) -> None:
        holder = run_of("h", lease_until=None)
        assert decide_start(Seen(PipelineState(holder="h"), holder), NOW) == Refusal(holder)

    @pytest.mark.parametrize("status", TERMINAL, ids=str)
    def test_a_holder_that_has_ended_must_still_have_ended(self, status: RunStatus) -> None:
        holder = run_of("h", status)
        plan = decide_start(Seen(PipelineState(holder="h"), holder), NOW)
        assert isinstance(plan, StartPlan)
        assert (plan.lost, plan.gone) == ((), ("h",))

    def test_a_holder_that_does_not_exist_must_still_not_exist(self) -> None:
        plan = decide_start(Seen(PipelineState(holder="h"), None), NOW)
        assert isinstance(plan, StartPlan)
        assert plan.gone == ("h",)

    def test_a_key_that_has_succeeded_is_done_unless_it_is_run_again(self) -> None:
        slot = RunSlot("b", "failed", 2, "2026-01-01", "a")
        assert decide_start(Seen(slot=slot), NOW) == Refusal(succeeded="a")
        assert decide_start(Seen(slot=slot), NOW, rerun=True) == StartPlan(PipelineState(), slot)

    def test_a_key_at_work_is_in_the_way_while_its_run_lives(self) -> None:
        slot, alive = RunSlot("a", "running"), run_of("a")
        dead = run_of("a", lease_until=DEAD)
        assert decide_start(Seen(slot=slot, attempt=alive), NOW) == Refusal(alive)
        plan = decide_start(Seen(slot=slot, attempt=dead), NOW)
        assert isinstance(plan, StartPlan)
        assert plan.lost == (dead,)

    def test_the_own_key_of_a_dead_holder_ends_with_it(self) -> None:
        holder = run_of("h", lease_until=DEAD, run_key="other")
        seen = Seen(PipelineState(holder="h"), holder, holder_slot=RunSlot("h", "running"))
        plan = decide_start(seen, NOW)
        assert isinstance(plan, StartPlan)
        assert plan.slots_of_lost == {"h"}
