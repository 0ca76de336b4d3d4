"""Delays between attempts."""

from __future__ import annotations

from dynamodb_wrapper.aws.retries import Backoff


class Waits:
    """A clock that only waiting moves; of each wait the upper end is drawn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.drawn: list[tuple[float, float]] = []

    def draw(self, low: float, high: float) -> float:
        self.drawn.append((low, high))
        return high

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def until(self, limit_seconds: float) -> Backoff:
        return Backoff(
            limit_seconds,
            first_seconds=1,
            clock=lambda: self.now,
            sleep=self.sleep,
            uniform=self.draw,
        )


def test_what_is_sent_again_waits_with_full_jitter_under_a_doubling_limit() -> None:
    waits = Waits()
    attempts = [waits.now for _ in waits.until(100).waits()]
    assert attempts == [0, 1, 3, 7, 15, 31, 51, 71, 91, 100]
    assert waits.drawn == [(0, upper) for upper in (1, 2, 4, 8, 16, 20, 20, 20, 20)]


def test_nothing_is_sent_again_once_the_time_is_used_up() -> None:
    waits = Waits()
    attempts = 0
    for _ in waits.until(10).waits():
        attempts += 1
        waits.now += 10  # the attempt took it all
    assert (attempts, waits.drawn) == (1, [])
