"""The pure pieces of run control: leases, decisions, values of watermarks, the spool, chunks."""

from __future__ import annotations

import json
import os
import stat
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamodb_wrapper.exceptions import InvalidTransitionError
from dynamodb_wrapper.models import (
    DataQualityResult,
    PipelineRunLog,
    RunErrorInfo,
    RunStatus,
    StageInfo,
    check_transition,
    may_finish_late,
)
from dynamodb_wrapper.models.run_state import (
    Cursor,
    CursorMove,
    PipelineState,
    RunOutcome,
    RunSlot,
    is_behind,
    pack,
    unpack,
)
from dynamodb_wrapper.repositories.run_log.items import chunks_of
from dynamodb_wrapper.repositories.run_log.takeover import Refusal, Seen, StartPlan, decide_start
from dynamodb_wrapper.runs.liveness import Lease
from dynamodb_wrapper.runs.spool import Spool, SpooledRun

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)
TERMINAL = [status for status in RunStatus if status.is_terminal]


class Clocks:
    """Wall clock and time since boot, set by hand."""

    def __init__(self) -> None:
        self.wall = NOW
        self.boot = 1000.0

    def lease(self, seconds: float) -> Lease:
        return Lease(NOW + timedelta(seconds=seconds), lambda: self.wall, lambda: self.boot)

    def pass_by(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.boot += seconds


class TestTransitions:
    @pytest.mark.parametrize("new", RunStatus, ids=str)
    @pytest.mark.parametrize("old", RunStatus, ids=str)
    def test_a_run_goes_forward_only_and_ends_once(self, old: RunStatus, new: RunStatus) -> None:
        legal = (old, new) == (RunStatus.PENDING, RunStatus.RUNNING) or (
            not old.is_terminal and new.is_terminal
        )
        if legal:
            check_transition("r", old, new)
            return
        with pytest.raises(InvalidTransitionError) as refusal:
            check_transition("r", old, new)
        assert f"from {old} to {new}" in str(refusal.value)

    def test_only_a_lost_run_that_nobody_superseded_may_finish_late(self) -> None:
        assert may_finish_late(RunStatus.LOST, None)
        assert not may_finish_late(RunStatus.LOST, "another")
        assert not any(may_finish_late(s, None) for s in RunStatus if s is not RunStatus.LOST)


class TestLease:
    def test_a_lease_holds_until_its_end(self) -> None:
        clocks = Clocks()
        lease = clocks.lease(30)
        clocks.pass_by(29)
        assert lease.holds()
        assert lease.remaining_seconds() == pytest.approx(1)
        assert lease.used_share() == pytest.approx(29 / 30)
        clocks.pass_by(1)
        assert not lease.holds()

    def test_a_wall_clock_that_is_set_back_does_not_lengthen_it(self) -> None:
        clocks = Clocks()
        lease = clocks.lease(30)
        clocks.pass_by(31)
        clocks.wall -= timedelta(hours=1)
        assert not lease.holds()

    def test_a_clock_that_stood_still_while_the_machine_slept_does_not_lengthen_it(self) -> None:
        clocks = Clocks()
        lease = clocks.lease(30)
        clocks.wall += timedelta(seconds=31)
        assert not lease.holds()

    def test_it_counts_from_before_the_request_was_sent(self) -> None:
        clocks = Clocks()
        lease = clocks.lease(1)
        sent = lease.read_clocks()
        clocks.pass_by(10)
        lease.renew(NOW + timedelta(seconds=30), sent=sent)
        assert lease.remaining_seconds() == pytest.approx(20)

    def test_a_lost_lease_does_not_come_back(self) -> None:
        lease = Clocks().lease(30)
        lease.lose()
        assert not lease.holds()
        assert lease.is_lost

    def test_a_run_without_a_lease_always_holds(self) -> None:
        assert Lease(None, lambda: NOW).holds()


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


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = (
    st.text()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(timezone.utc))
    | st.dates()
    | st.binary()
    | st.lists(JSON, max_size=3)
    | st.dictionaries(st.text(), JSON, max_size=3)
)


class TestWatermarkValues:
    @given(VALUES)
    def test_a_value_comes_back_equal_and_of_its_type(self, value: Any) -> None:
        found = unpack(*pack(value))
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        "value", [None, object(), {1}, float("nan"), datetime(2026, 1, 1), {"a": float("inf")}]
    )
    def test_other_values_are_refused(self, value: Any) -> None:
        with pytest.raises(ValueError):
            pack(value)

    def test_only_what_has_an_order_can_be_behind(self) -> None:
        assert is_behind(1, 2)
        assert is_behind(date(2026, 1, 1), date(2026, 1, 2))
        assert not is_behind(2, 2)
        assert not is_behind("a", 2)
        assert not is_behind({"a": 1}, {"a": 2})


def spooled(**outcome: Any) -> SpooledRun:
    move = CursorMove(Cursor("w", b"\x00", "binary", 4, "r0", "then"), Decimal("1.50"), "decimal")
    record = run_of(
        "odd/run:id", start_time=NOW, parameters={"day": "x", "$decimal": "1"}, run_seq=7, fence=9
    )
    values: dict[str, Any] = {
        "error": RunErrorInfo(type="ValueError", message="m", fingerprint="f"),
        "end_time": NOW,
        "fields": {"status_detail": "d", "watermark_conflict": False},
        "parts": {
            ("stages", "s"): StageInfo(start_time=NOW, metrics={"m": Decimal("1.5")}),
            ("data_quality", "q"): DataQualityResult(passed=True),
            ("metrics", "n"): 3,
            ("inputs",): ["a", "b"],
        },
        "moves": (move,),
    }
    return SpooledRun(
        "table", record, RunOutcome(RunStatus.FAILED, "exception", **{**values, **outcome})
    )


class TestSpool:
    def test_an_outcome_comes_back_as_it_was_kept(self, tmp_path: Path) -> None:
        spool, run = Spool(tmp_path / "spool"), spooled()
        spool.keep(run)
        (entry,) = spool.kept("table")
        assert entry.run.record == run.record
        found, given_ = entry.run.outcome, run.outcome
        assert found.moves == given_.moves
        assert found.error == given_.error
        assert (found.status, found.reason, found.end_time) == (RunStatus.FAILED, "exception", NOW)
        assert found.fields == given_.fields
        assert StageInfo(**found.parts["stages", "s"]) == given_.parts["stages", "s"]
        assert found.parts["metrics", "n"] == 3
        assert found.parts[("inputs",)] == ["a", "b"]

    def test_only_its_user_can_read_it(self, tmp_path: Path) -> None:
        path = Spool(tmp_path / "spool").keep(spooled())
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700

    def test_it_is_one_line_of_json_and_replaces_the_one_before(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        path = spool.keep(spooled())
        assert spool.keep(spooled()) == path
        (line,) = path.read_text().splitlines()
        assert json.loads(line)["format"] == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_only_the_outcomes_of_the_table_and_pipeline_are_found(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        spool.keep(spooled())
        assert list(spool.kept("another")) == []
        assert list(spool.kept("table", "q")) == []
        assert len(list(spool.kept("table", "p"))) == 1

    def test_a_file_that_cannot_be_read_is_left_and_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = Spool(tmp_path)
        spool.keep(spooled())
        broken = tmp_path / "broken.jsonl"
        broken.write_text('{"format": 1, "rec')
        (tmp_path / "newer.jsonl").write_text('{"format": 99}')
        assert len(list(spool.kept("table"))) == 1
        assert broken.exists()
        assert "broken.jsonl cannot be read" in caplog.text
        assert "format 99" in caplog.text

    def test_no_secret_of_the_process_is_written(self, tmp_path: Path) -> None:
        secret = "hunter2-hunter2-hunter2"
        run = spooled(parts={("metrics", "m"): f"key {secret}"}, fields={"status_detail": secret})
        path = Spool(tmp_path, (secret,)).keep(run)
        assert secret not in path.read_text()

    def test_what_is_dropped_or_set_aside_is_not_found_again(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        spool.keep(spooled())
        (entry,) = spool.kept("table")
        aside = entry.set_aside()
        assert aside.suffix == ".refused"
        assert list(spool.kept("table")) == []
        spool.keep(spooled())
        (entry,) = spool.kept("table")
        entry.drop()
        entry.drop()
        assert list(spool.kept("table")) == []


class TestChunks:
    @given(st.text(), st.integers(min_value=4, max_value=64))
    def test_pieces_are_the_text_and_none_is_too_large(self, text: str, size: int) -> None:
        text = text.encode("utf-8", "replace").decode()
        pieces = chunks_of(text, size)
        assert "".join(pieces) == text
        assert all(0 < len(piece.encode()) <= size for piece in pieces)

    def test_a_cut_falls_between_lines_where_it_can(self) -> None:
        assert chunks_of("one\ntwo\nthree\n", 9) == ["one\ntwo\n", "three\n"]
