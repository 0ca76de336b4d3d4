"""Figures of a set of runs of a pipeline."""

from __future__ import annotations

import statistics
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dynamodb_wrapper.models import STORED, RunStatus, RunSummary, statistics_of

NOW = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
FAILURES = [RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST]
ENDED = [RunStatus.SUCCESS, *FAILURES]
TERMINAL = [status for status in RunStatus if status.is_terminal]


def a_run(status: RunStatus = RunStatus.SUCCESS, run_id: str = "run", **fields: Any) -> RunSummary:
    return RunSummary(run_id=run_id, pipeline_id="daily", status=status, **fields)


def lasting(*seconds: float, status: RunStatus = RunStatus.SUCCESS) -> list[RunSummary]:
    """Return a run of each duration, whose id is that duration."""
    return [a_run(status, str(s), duration_seconds=Decimal(str(s))) for s in seconds]


def succeeding(*hours_ago: float) -> list[RunSummary]:
    return [a_run(end_time=NOW - hours * HOUR) for hours in hours_ago]


class TestCounts:
    def test_without_runs_nothing_is_known(self) -> None:
        found = statistics_of([], now=NOW)
        assert (found.runs, found.by_status, found.ended, found.too_long) == (0, {}, 0, ())
        assert (found.success_rate, found.p50_seconds, found.p95_seconds) == (None, None, None)
        assert (found.longest_seconds, found.seconds_since_success) == (None, None)
        assert (found.is_stale, found.longest_gap_seconds, found.stale_gaps) == (None, None, 0)

    def test_runs_are_counted_by_status(self) -> None:
        statuses = [RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.SUCCESS, RunStatus.RUNNING]
        found = statistics_of([a_run(status) for status in statuses], now=NOW)
        assert found.by_status == {"success": 2, "failed": 1, "running": 1}
        assert found.by_status[RunStatus.SUCCESS] == 2
        assert {type(name) for name in found.by_status} == {str}

    @pytest.mark.parametrize("status", FAILURES, ids=str)
    def test_every_kind_of_failure_lowers_the_success_rate(self, status: RunStatus) -> None:
        found = statistics_of([a_run(), a_run(), a_run(), a_run(status)], now=NOW)
        assert (found.ended, found.success_rate) == (4, 0.75)

    @pytest.mark.parametrize("status", [s for s in RunStatus if s not in ENDED], ids=str)
    def test_a_run_not_tried_to_its_end_leaves_the_success_rate(self, status: RunStatus) -> None:
        found = statistics_of([a_run(), a_run(status)], now=NOW)
        assert (found.runs, found.ended, found.success_rate) == (2, 1, 1.0)
        assert statistics_of([a_run(status)], now=NOW).success_rate is None

    def test_a_status_of_a_newer_version_is_counted_and_not_judged(self) -> None:
        stored = {"run_id": "1", "pipeline_id": "daily", "status": "paused"}
        run = TypeAdapter(RunSummary).validate_python(stored, context=STORED)
        found = statistics_of([run], now=NOW)
        assert (found.by_status, found.ended, found.success_rate) == ({"paused": 1}, 0, None)

    def test_runs_may_come_from_a_generator(self) -> None:
        assert statistics_of((run for run in lasting(1, 2)), now=NOW).runs == 2

    def test_a_now_without_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="has no time zone"):
            statistics_of([], now=datetime(2026, 3, 10))

    def test_statistics_do_not_change(self) -> None:
        with pytest.raises(FrozenInstanceError):
            statistics_of([], now=NOW).runs = 1  # type: ignore[misc]


class TestDurations:
    @pytest.mark.parametrize(
        ("seconds", "p50", "p95"),
        [
            ([7], 7, 7),
            ([10, 20], 15, 19.5),
            ([30, 10, 20], 20, 29),
            ([0.001, 0.002], 0.0015, 0.00195),
            (range(101), 50, 95),
        ],
        ids=str,
    )
    def test_percentiles_are_interpolated(self, seconds: Any, p50: float, p95: float) -> None:
        found = statistics_of(lasting(*seconds), now=NOW)
        assert (found.p50_seconds, found.p95_seconds) == (p50, p95)
        assert found.longest_seconds == max(seconds)

    @pytest.mark.parametrize(
        "status", [s for s in RunStatus if s is not RunStatus.SUCCESS], ids=str
    )
    def test_only_successes_have_percentiles(self, status: RunStatus) -> None:
        found = statistics_of([*lasting(5), *lasting(100, status=status)], now=NOW)
        assert (found.p50_seconds, found.p95_seconds, found.longest_seconds) == (5, 5, 5)

    def test_what_a_run_recorded_goes_before_its_times(self) -> None:
        run = a_run(start_time=NOW - HOUR, end_time=NOW, duration_seconds=Decimal("3.5"))
        assert statistics_of([run], now=NOW).p50_seconds == 3.5

    def test_times_stand_in_for_a_missing_duration(self) -> None:
        run = a_run(start_time=NOW - 2 * HOUR, end_time=NOW - HOUR + timedelta(microseconds=1))
        assert statistics_of([run], now=NOW).p50_seconds == 3600.000001

    @pytest.mark.parametrize("times", [{}, {"start_time": NOW}, {"end_time": NOW}], ids=str)
    def test_a_run_of_unknown_duration_is_left_out(self, times: dict[str, Any]) -> None:
        found = statistics_of([*lasting(5), a_run(**times)], now=NOW, max_duration=SECOND)
        assert (found.runs, found.p50_seconds, found.too_long) == (2, 5, ("5",))


class TestTooLong:
    def test_longer_is_too_long_and_just_as_long_is_not(self) -> None:
        runs = lasting(59.999, 60, 60.001)
        assert statistics_of(runs, now=NOW, max_duration=60 * SECOND).too_long == ("60.001",)

    def test_the_longest_comes_first(self) -> None:
        found = statistics_of(lasting(8, 30, 9, 20), now=NOW, max_duration=8 * SECOND)
        assert found.too_long == ("30", "20", "9")

    @pytest.mark.parametrize("status", TERMINAL, ids=str)
    def test_how_a_run_ended_does_not_matter(self, status: RunStatus) -> None:
        runs = lasting(2, status=status)
        assert statistics_of(runs, now=NOW, max_duration=SECOND).too_long == ("2",)

    def test_a_run_under_way_counts_up_to_now(self) -> None:
        runs = [
            a_run(RunStatus.RUNNING, "long", start_time=NOW - 2 * HOUR),
            a_run(RunStatus.RUNNING, "short", start_time=NOW - HOUR),
            a_run(RunStatus.RUNNING, "unknown"),
        ]
        assert statistics_of(runs, now=NOW, max_duration=HOUR).too_long == ("long",)

    def test_a_run_that_waits_has_no_duration(self) -> None:
        waiting = a_run(RunStatus.PENDING, start_time=NOW - 2 * HOUR)
        assert statistics_of([waiting], now=NOW, max_duration=HOUR).too_long == ()

    def test_without_a_limit_none_is_too_long(self) -> None:
        assert statistics_of(lasting(10**9), now=NOW).too_long == ()


class TestFreshness:
    def test_the_newest_success_counts(self) -> None:
        found = statistics_of(succeeding(30, 3, 26), now=NOW, freshness=24 * HOUR)
        assert (found.seconds_since_success, found.is_stale) == (3 * 3600, False)

    def test_a_success_just_as_old_is_fresh(self) -> None:
        assert statistics_of(succeeding(24), now=NOW, freshness=24 * HOUR).is_stale is False
        late = NOW + timedelta(microseconds=1)
        assert statistics_of(succeeding(24), now=late, freshness=24 * HOUR).is_stale is True

    @pytest.mark.parametrize(
        "status", [s for s in RunStatus if s is not RunStatus.SUCCESS], ids=str
    )
    def test_only_successes_refresh(self, status: RunStatus) -> None:
        found = statistics_of([a_run(status, end_time=NOW)], now=NOW, freshness=HOUR)
        assert (found.seconds_since_success, found.is_stale, found.stale_gaps) == (None, True, 0)

    def test_a_success_without_end_time_refreshes_nothing(self) -> None:
        found = statistics_of([*succeeding(2), a_run(start_time=NOW)], now=NOW, freshness=HOUR)
        assert (found.seconds_since_success, found.is_stale) == (7200, True)

    def test_without_a_demand_nothing_is_stale_nor_fresh(self) -> None:
        found = statistics_of(succeeding(1, 5), now=NOW)
        assert (found.is_stale, found.stale_gaps) == (None, 0)
        assert (found.seconds_since_success, found.longest_gap_seconds) == (3600, 4 * 3600)

    def test_gaps_are_measured_from_end_to_end(self) -> None:
        runs = [
            a_run(start_time=NOW - 9 * HOUR, end_time=NOW - 8 * HOUR),
            a_run(start_time=NOW - 6 * HOUR, end_time=NOW - HOUR),
        ]
        assert statistics_of(runs, now=NOW).longest_gap_seconds == 7 * 3600

    def test_one_success_makes_no_gap_between_successes(self) -> None:
        found = statistics_of(succeeding(30), now=NOW, freshness=24 * HOUR)
        assert (found.longest_gap_seconds, found.stale_gaps) == (None, 1)

    @pytest.mark.parametrize(
        ("hours_ago", "stale_gaps"),
        [((2, 1), 0), ((4, 2), 0), ((9, 5, 2), 2), ((9, 5, 4), 2), ((9, 5), 2), ((3,), 1)],
    )
    def test_the_gap_still_open_counts(self, hours_ago: tuple[int, ...], stale_gaps: int) -> None:
        found = statistics_of(succeeding(*hours_ago), now=NOW, freshness=2 * HOUR)
        assert found.stale_gaps == stale_gaps

    def test_the_zone_of_now_does_not_matter(self) -> None:
        in_india = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert statistics_of(succeeding(1), now=in_india) == statistics_of(succeeding(1), now=NOW)


@st.composite
def runs_of_control(draw: Any) -> list[RunSummary]:
    """Draw runs as run control stores them: those that ended have an end and a duration."""
    runs = []
    for number in range(draw(st.integers(0, 12))):
        status = draw(st.sampled_from(RunStatus))
        started, taken = draw(st.integers(0, 10**8)), draw(st.integers(0, 10**7))
        start = NOW - timedelta(milliseconds=started)
        ended = {
            "end_time": start + timedelta(milliseconds=taken),
            "duration_seconds": Decimal(taken) / 1000,
        }
        times = ended if status.is_terminal else {}
        runs.append(a_run(status, f"run-{number}", start_time=start, **times))
    return runs


MAX, FRESH = timedelta(hours=1), timedelta(hours=4)
some = settings(max_examples=150, deadline=None, database=None)


def successes(runs: list[RunSummary]) -> list[RunSummary]:
    return [run for run in runs if run.status.value == "success"]


@some
@given(runs=runs_of_control(), data=st.data())
def test_the_order_of_the_runs_does_not_matter(runs: list[RunSummary], data: Any) -> None:
    shuffled = data.draw(st.permutations(runs))
    found, again = (
        statistics_of(given, now=NOW, max_duration=MAX, freshness=FRESH)
        for given in (runs, shuffled)
    )
    assert found == again


@some
@given(runs=runs_of_control())
def test_counts_agree_with_the_runs(runs: list[RunSummary]) -> None:
    found = statistics_of(runs, now=NOW)
    ended = [run for run in runs if run.status in ENDED]
    assert found.runs == len(runs) == sum(found.by_status.values())
    assert found.ended == len(ended)
    assert (found.success_rate or 0) * len(ended) == pytest.approx(len(successes(runs)))


@some
@given(ms=st.lists(st.integers(0, 10**9), min_size=2, max_size=40))
def test_percentiles_are_those_of_the_standard_library(ms: list[int]) -> None:
    found = statistics_of(lasting(*(number / 1000 for number in ms)), now=NOW)
    cuts = statistics.quantiles([Fraction(n, 1000) for n in ms], n=100, method="inclusive")
    assert (found.p50_seconds, found.p95_seconds) == (float(cuts[49]), float(cuts[94]))
    assert found.longest_seconds == max(ms) / 1000


@some
@given(runs=runs_of_control())
def test_what_is_too_long_agrees_with_start_and_end(runs: list[RunSummary]) -> None:
    took = {}
    for run in runs:
        end = NOW if run.status.value == "running" else run.end_time
        if run.start_time and end:
            took[run.run_id] = end - run.start_time
    found = statistics_of(runs, now=NOW, max_duration=MAX).too_long
    assert set(found) == {run_id for run_id, length in took.items() if length > MAX}
    assert [took[i] for i in found] == sorted((took[i] for i in found), reverse=True)


@some
@given(runs=runs_of_control())
def test_gaps_agree_with_a_walk_over_the_ends(runs: list[RunSummary]) -> None:
    found = statistics_of(runs, now=NOW, freshness=FRESH)
    ends: list[datetime] = sorted(run.end_time for run in successes(runs) if run.end_time)
    marks = [*ends, NOW]
    gaps = [marks[n + 1] - marks[n] for n in range(len(ends))]
    assert found.stale_gaps == len([gap for gap in gaps if gap > FRESH])
    assert found.longest_gap_seconds == max((g / SECOND for g in gaps[:-1]), default=None)
    assert found.seconds_since_success == (gaps[-1] / SECOND if gaps else None)
    assert found.is_stale == (not gaps or gaps[-1] > FRESH)
