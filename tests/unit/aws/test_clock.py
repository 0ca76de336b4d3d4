"""DynamoDB's clock, as the dates of replies show it."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamodb_wrapper.aws.clock import GivenClock, ServiceClock

TRUE = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)
ROUND = timedelta(milliseconds=1)


class Machine:
    """A machine whose clock is off by some time, and a service whose clock is right."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.true, self.ahead, self.booted = TRUE, ahead, 1000.0
        self.clock = ServiceClock(lambda: self.true + self.ahead, lambda: self.booted)

    def pass_by(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)
        self.booted += seconds

    def hear(self, wrong_by: timedelta = timedelta(), took: float = 0.0) -> None:
        """Receive a reply that was on its way for half of so many seconds."""
        self.pass_by(took / 2)
        date = format_datetime((self.true + wrong_by).replace(microsecond=0), usegmt=True)
        self.pass_by(took / 2)
        self.clock.note(date, time.monotonic() - took)

    def check(self, error: float) -> None:
        """Check that the true time lies within what is read, and how wide that is."""
        reading = self.clock.read()
        assert reading.earliest is not None
        assert reading.latest is not None
        assert reading.earliest - ROUND <= self.true <= reading.latest + ROUND
        assert reading.earliest <= reading.now <= reading.latest
        assert (reading.latest - reading.earliest).total_seconds() <= error


def test_a_clock_that_was_never_compared_is_this_machines() -> None:
    machine = Machine(timedelta(minutes=10))
    assert machine.clock() == TRUE + timedelta(minutes=10)
    assert machine.clock.read()[1:] == (None, None)
    assert machine.clock.read().error_seconds is None


@pytest.mark.parametrize("minutes", [-15, -1, 0, 1, 15])
def test_one_reply_shows_the_time_to_a_second_and_the_time_it_took(minutes: int) -> None:
    machine = Machine(timedelta(minutes=minutes))
    machine.pass_by(0.7)
    machine.hear(took=0.4)
    machine.check(1.5)


def test_a_clock_that_is_right_is_left_as_it_is() -> None:
    machine = Machine()
    machine.pass_by(0.3)
    machine.hear()
    assert machine.clock() == machine.true


def test_setting_the_clock_of_the_machine_does_not_move_it() -> None:
    machine = Machine(timedelta(minutes=10))
    machine.hear()
    before = machine.clock.read()
    machine.ahead = timedelta(hours=-3)
    assert machine.clock.read()[1:] == before[1:]
    machine.check(1.1)


@given(
    st.integers(-900, 900),
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 2)), min_size=1, max_size=30),
)
def test_more_replies_narrow_it_and_never_exclude_the_true_time(
    ahead: int, replies: list[tuple[float, float]]
) -> None:
    machine = Machine(timedelta(seconds=ahead))
    for wait, took in replies:
        machine.pass_by(wait)
        machine.hear(took=took)
        machine.check(1.1 + max(took for _, took in replies))


def test_after_a_wrong_date_both_may_be_right_until_the_next_reply() -> None:
    machine = Machine()
    machine.hear()
    for minutes in (10, -10, 30):
        machine.pass_by(5)
        machine.hear(timedelta(minutes=minutes))
        machine.check(60 * abs(minutes) + 1.1)
        machine.pass_by(5)
        machine.hear()
        machine.check(1.1)
    machine.hear(timedelta(hours=1))
    assert machine.clock() == machine.true
    machine.hear(timedelta(hours=1))
    assert machine.clock() > machine.true + timedelta(minutes=59)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_what_is_no_date_shows_nothing(date: str | None) -> None:
    machine = Machine()
    machine.clock.note(date, time.monotonic())
    assert machine.clock.read().earliest is None


def test_a_machine_whose_clock_is_wrong_is_warned_about_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="dynamodb_wrapper")
    machine = Machine(timedelta(minutes=10))
    for _ in range(50):
        machine.hear()
        machine.pass_by(1)
    assert [record.getMessage().partition(". ")[0] for record in caplog.records] == [
        "The clock of this machine is 600 s ahead of DynamoDB's"
    ]


def test_a_given_clock_is_exact() -> None:
    assert GivenClock(lambda: TRUE).read().error_seconds == 0.0
