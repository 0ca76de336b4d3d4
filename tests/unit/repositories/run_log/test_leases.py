"""Leases: by which clock they are written, and when an observer takes a run for dead."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dynamodb_wrapper.aws.clock import ClockReading
from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp, LeaseWatch

NOW = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)
LEASE, GRACE = timedelta(seconds=300), timedelta(seconds=60)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def run_of(reading: ClockReading, **fields: Any) -> PipelineRunLog:
    """Return a run whose driver has just beaten."""
    stamp = LeaseStamp.of(reading, LEASE).fields
    given = {**stamp, "lease_grace_seconds": GRACE.total_seconds(), "writer": "w", **fields}
    return PipelineRunLog(run_id="r", pipeline_id="p", **given)


class Observer:
    """A process whose clocks are set by hand; its own clock is ten minutes ahead."""

    def __init__(self, *, knows: bool = True, error: float = 0.0) -> None:
        self.passed = 0.0
        self._knows, self._error = knows, seconds(error)
        self.watch = LeaseWatch(self.read, lambda: self.passed)

    def read(self) -> ClockReading:
        now = NOW + seconds(self.passed)
        if not self._knows:
            return ClockReading(now + timedelta(minutes=10))
        return ClockReading(now, now - self._error, now + self._error)

    def takes_for_dead_after(self, passed: float, run: PipelineRunLog) -> bool:
        self.passed = passed
        return self.watch.is_dead(run)


class TestStamps:
    def test_a_lease_tells_by_how_much_its_clock_may_be_behind(self) -> None:
        reading = ClockReading(NOW, NOW - seconds(1), NOW + seconds(0.25))
        assert LeaseStamp.of(reading, LEASE) == (NOW, NOW + LEASE, 0.25)

    def test_a_clock_that_was_never_compared_leaves_no_mark(self) -> None:
        assert LeaseStamp.of(ClockReading(NOW), LEASE).clock_error_seconds is None


class TestByDynamoDBsClock:
    def test_a_run_is_dead_once_lease_and_grace_are_over(self) -> None:
        observer, run = Observer(), run_of(ClockReading(NOW, NOW, NOW))
        assert not observer.takes_for_dead_after(360, run)
        assert Observer().takes_for_dead_after(360.01, run)

    @pytest.mark.parametrize(("holders", "observers"), [(0.9, 0.0), (0.0, 0.9), (0.9, 0.9)])
    def test_what_is_not_known_of_both_clocks_is_waited_for(
        self, holders: float, observers: float
    ) -> None:
        run = run_of(ClockReading(NOW, NOW, NOW + seconds(holders)))
        error = holders + observers
        assert not Observer(error=observers).takes_for_dead_after(360 + error, run)
        assert Observer(error=observers).takes_for_dead_after(360.01 + error, run)

    def test_a_lease_of_an_unknown_clock_is_over_after_a_day(self) -> None:
        run = run_of(ClockReading(NOW))
        assert not Observer().takes_for_dead_after(86_000, run)
        assert Observer().takes_for_dead_after(87_000, run)

    def test_a_run_without_a_lease_and_one_that_has_ended_are_not_dead(self) -> None:
        known = ClockReading(NOW, NOW, NOW)
        for run in (run_of(known, lease_until=None), run_of(known, status=RunStatus.FAILED)):
            assert not Observer().takes_for_dead_after(10_000, run)


class TestByObservation:
    def test_a_run_that_is_seen_for_the_first_time_is_not_dead(self) -> None:
        assert not Observer(knows=False).takes_for_dead_after(0, run_of(ClockReading(NOW)))

    def test_a_run_is_dead_once_its_lease_was_unchanged_for_lease_and_grace(self) -> None:
        observer, run = Observer(knows=False), run_of(ClockReading(NOW))
        assert not observer.takes_for_dead_after(1000, run)
        assert not observer.takes_for_dead_after(1360, run)
        assert observer.takes_for_dead_after(1360.01, run)

    def test_every_beat_begins_the_wait_anew(self) -> None:
        observer = Observer(knows=False)
        for beat in range(100):
            run = run_of(ClockReading(NOW - timedelta(minutes=15) + seconds(beat)))
            assert not observer.takes_for_dead_after(beat * 350, run)

    def test_a_beat_of_a_clock_that_was_set_back_counts_as_well(self) -> None:
        observer = Observer(knows=False)
        assert not observer.takes_for_dead_after(0, run_of(ClockReading(NOW)))
        corrected = run_of(ClockReading(NOW - timedelta(minutes=10)))
        assert not observer.takes_for_dead_after(400, corrected)
        assert observer.takes_for_dead_after(761, corrected)

    def test_a_short_first_lease_is_waited_for_as_long_as_it_is(self) -> None:
        observer = Observer(knows=False)
        run = run_of(ClockReading(NOW), lease_until=NOW + seconds(90))
        assert not observer.takes_for_dead_after(0, run)
        assert not observer.takes_for_dead_after(150, run)
        assert observer.takes_for_dead_after(150.01, run)
