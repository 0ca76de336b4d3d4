"""Waits between attempts: exponential with jitter, within a time limit. The one retry loop."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts: full jitter, doubling, until the time is used up.

    Every loop that repeats a request, or looks again until something has changed, is written as
    ``for _ in Backoff(...).waits(): try once, return on success``, followed by what happens when
    the time is used up.

    Attributes:
        limit_seconds: No wait begins after this.
        first_seconds: Upper end of the first wait.
        longest_seconds: Upper end of every wait.
        shortest_seconds: Lower end of every wait.
        left: Seconds left, asked before each wait; replaces `limit_seconds` where the limit can
            become shorter meanwhile.
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
        """Yield once at once, then after each wait, until the time is used up."""
        deadline, upper = self.clock() + self.limit_seconds, self.first_seconds
        yield
        while (left := self._left(deadline)) > 0:
            self.sleep(min(self.uniform(self.shortest_seconds, upper), left))
            upper = min(upper * 2, self.longest_seconds)
            yield

    def _left(self, deadline: float) -> float:
        return deadline - self.clock() if self.left is None else self.left()
