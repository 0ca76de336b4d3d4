"""How long a run may still count itself alive."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


def boot_seconds() -> float:
    """Return seconds that go on while the machine sleeps, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """A lease as its holder sees it.

    Its age is the larger of what two clocks say, wall time and time since boot: one may be set
    back, the other may not exist or stand still.

    Args:
        until: When it ends; None for a run without a lease, which always holds.
        clock: The present moment.
        elapsed: Seconds that never go back.
    """

    def __init__(
        self,
        until: datetime | None,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = boot_seconds,
    ) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._lock = threading.RLock()  # a signal handler may ask while this thread does
        self._is_lost = False
        self._until = until
        self._length = 0.0
        self._elapsed_end = 0.0
        self.renew(until)

    def renew(self, until: datetime | None, *, sent: tuple[datetime, float] | None = None) -> None:
        """Note a lease that was stored.

        Args:
            until: When it ends.
            sent: What both clocks said before the request was sent; now unless given.
        """
        wall, elapsed = sent or self.read_clocks()
        with self._lock:
            self._until = until
            if until is not None:
                self._length = (until - wall).total_seconds()
                self._elapsed_end = elapsed + self._length

    def read_clocks(self) -> tuple[datetime, float]:
        """Return what both clocks say."""
        return self._clock(), self._elapsed()

    def lose(self) -> None:
        """Note that the run is not this handle's any more."""
        self._is_lost = True

    @property
    def is_lost(self) -> bool:
        """Whether DynamoDB said that the run is not this handle's any more."""
        return self._is_lost

    def remaining_seconds(self) -> float:
        """Return for how long the lease still holds; infinite for a run without one."""
        with self._lock:
            if self._until is None:
                return float("inf")
            by_wall = (self._until - self._clock()).total_seconds()
            return min(by_wall, self._elapsed_end - self._elapsed())

    def used_share(self) -> float:
        """Return how much of the lease has passed, from 0 to 1 and beyond."""
        remaining = self.remaining_seconds()
        if remaining == float("inf") or self._length <= 0:
            return 0.0
        return 1 - remaining / self._length

    def holds(self) -> bool:
        """Tell whether the lease is known to hold."""
        return not self._is_lost and self.remaining_seconds() > 0
