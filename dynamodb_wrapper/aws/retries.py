"""Waits between attempts: exponential with jitter, within a time limit."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts: full jitter, doubling, until the time is used up.

    Attributes:
        limit_seconds: No wait begins after this.
        first_seconds: Upper end of the first wait.
        clock: Monotonic seconds.
        sleep: Waits seconds.
        uniform: Picks a number between two.
    """

    limit_seconds: float
    first_seconds: float = 0.05
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform

    def waits(self) -> Iterator[None]:
        """Yield once at once, then after each wait, until the time is used up."""
        deadline, upper = self.clock() + self.limit_seconds, self.first_seconds
        yield
        while self.clock() < deadline:
            self.sleep(min(self.uniform(0, upper), max(0.0, deadline - self.clock())))
            upper = min(upper * 2, _TOO_LONG_SECONDS)
            yield


_TOO_LONG_SECONDS = 20.0
