"""Write leases by DynamoDB's clock, and decide which runs are dead; no I/O."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.aws.clock import ClockReading, boot_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from dynamodb_wrapper.models.run import PipelineRunLog

_UNCOMPARED_SECONDS = 86_400.0
_LEASE_SECONDS = 300.0
_MOST_SEEN = 10_000
_MILLISECONDS = 1000


class LeaseStamp(NamedTuple):
    """What a beat writes: a lease, and by which clock.

    Attributes:
        heartbeat_at: When it was made.
        lease_until: When the lease ends.
        clock_error_seconds: By how much the clock of both may be behind DynamoDB's; None where that
            is not known.
    """

    heartbeat_at: datetime
    lease_until: datetime
    clock_error_seconds: float | None

    @classmethod
    def of(cls, reading: ClockReading, length: timedelta) -> LeaseStamp:
        """Return the stamp of a lease that begins now."""
        error = reading.error_seconds
        if error is not None:
            error = math.ceil(max(error, 0.0) * _MILLISECONDS) / _MILLISECONDS
        return cls(reading.now, reading.now + length, error)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a run that hold it."""
        return self._asdict()


class LeaseWatch:
    """Decides which runs are dead, and never by the clock of this machine alone.

    A run is dead when its lease and the grace after it are over by DynamoDB's clock, by which they
    were written as well. It is also dead when its lease has not changed during lease and grace, on
    a clock of this process that is never set: each call remembers the lease it has seen. A lease
    that was not written by DynamoDB's clock (the holder never saw a date in a reply, or has an
    older version of this library) is judged by that alone, until it is over by a day.

    What ends a run must still make the lease that was seen a condition.

    Args:
        read_clock: Reads DynamoDB's clock.
        elapsed: Seconds that are never set.
    """

    def __init__(
        self, read_clock: Callable[[], ClockReading], elapsed: Callable[[], float] = boot_seconds
    ) -> None:
        self.read_clock = read_clock
        self._elapsed = elapsed
        self._seen: dict[str, tuple[object, float]] = {}

    def is_dead(self, run: PipelineRunLog) -> bool:
        """Return whether the driver of a live run is gone; remember its lease."""
        if run.status.is_terminal or run.lease_until is None:
            self._seen.pop(run.run_id, None)
            return False
        left = self._left_by_sight(run)  # always, because it remembers
        return left < 0 or self.is_over(run)

    def is_over(self, run: PipelineRunLog) -> bool:
        """Return whether lease and grace are over by DynamoDB's clock."""
        return self._left_by_clock(run) < 0

    def seconds_left(self, run: PipelineRunLog) -> float:
        """Return the seconds until a run that was seen is dead, unless its driver beats."""
        return min(self._left_by_clock(run), self._left_by_sight(run))

    def _left_by_clock(self, run: PipelineRunLog) -> float:
        earliest = self.read_clock().earliest
        if earliest is None or run.lease_until is None:
            return math.inf
        error = run.clock_error_seconds
        margin = _UNCOMPARED_SECONDS if error is None else error
        left = (run.lease_until - earliest).total_seconds()
        return left + margin + (run.lease_grace_seconds or 0.0)

    def _left_by_sight(self, run: PipelineRunLog) -> float:
        lease = run.writer, run.lease_until, run.heartbeat_at
        now = self._elapsed()
        seen = self._seen.get(run.run_id)
        if seen is None or seen[0] != lease:
            seen = lease, now
            self._remember(run.run_id, seen)
        return seen[1] + _lease_seconds(run) + (run.lease_grace_seconds or 0.0) - now

    def _remember(self, run_id: str, seen: tuple[object, float]) -> None:
        self._seen[run_id] = seen
        if len(self._seen) > _MOST_SEEN:
            with suppress(RuntimeError):  # another thread does so as well
                self._seen.pop(next(iter(self._seen)), None)


def _lease_seconds(run: PipelineRunLog) -> float:
    if run.lease_until is None or run.heartbeat_at is None:
        return _LEASE_SECONDS  # another program wrote it
    return max(0.0, (run.lease_until - run.heartbeat_at).total_seconds())
