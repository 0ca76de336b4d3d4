"""Leases: when a run may still write."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from dynamodb_wrapper.runs.liveness import Lease

NOW = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)


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
