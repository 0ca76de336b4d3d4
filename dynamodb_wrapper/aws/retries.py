"""Waits between attempts, and reports of throttled attempts that botocore retried."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Callable

THROTTLES = frozenset(
    {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
)
"""Error codes of requests above a rate."""
_reporter: ContextVar[Callable[[], object] | None] = ContextVar("reporter", default=None)


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts: full jitter, doubling, until the time is used up. The one retry loop.

    Every loop that repeats a request, or looks again until something has changed, is written as
    ``for _ in Backoff(...).waits(): try once, return on success``, followed by what happens when
    the time is used up.

    Attributes:
        limit_seconds: No wait begins after this.
        first_seconds: Upper end of the first wait.
        longest_seconds: Upper end of every wait.
        shortest_seconds: Lower end of every wait.
        left: Called before each wait, returns the seconds left; replaces `limit_seconds` where the
            limit can become shorter meanwhile.
        clock: Monotonic seconds.
        sleep: Waits seconds.
        uniform: Picks a number between two.
    """

    limit_seconds: float
    first_seconds: float = 0.05
    longest_seconds: float = 20.0
    shortest_seconds: float = 0.0
    left: Callable[[], float] | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform

    def waits(self) -> Iterator[None]:
        """Yield immediately, then after each wait, until the time is used up."""
        deadline, upper = self.clock() + self.limit_seconds, self.first_seconds
        yield
        while (left := self._left(deadline)) > 0:
            self.sleep(min(self.uniform(self.shortest_seconds, upper), left))
            upper = min(upper * 2, self.longest_seconds)
            yield

    def _left(self, deadline: float) -> float:
        return deadline - self.clock() if self.left is None else self.left()


@contextmanager
def on_throttle(report: Callable[[], object]) -> Iterator[None]:
    """Call a function for each throttled attempt inside the block, if a client of ours sends it."""
    before = _reporter.set(report)
    try:
        yield
    finally:
        _reporter.reset(before)


def watch_throttles(client: Any) -> None:
    """Report the throttled attempts of a client to `on_throttle`."""
    client.meta.events.register_first("needs-retry.dynamodb", _report_throttle)


def _report_throttle(response: Any, **_: Any) -> None:
    report = _reporter.get()
    if report is None or response is None:
        return
    _http, parsed = response
    if parsed.get("Error", {}).get("Code") in THROTTLES:
        report()
