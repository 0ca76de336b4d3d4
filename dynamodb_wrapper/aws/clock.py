"""DynamoDB's clock as its replies show it, and signatures by it where this machine's is wrong."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.fields import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.aws.http_pool import Answer

logger = SafeLogger(__name__)
_SKEW_SECONDS = 30
_EARLIEST, _LATEST = 1_325_376_000, 7_258_118_400  # 2012, when DynamoDB began, and 2200
_EVERY_SECONDS = 60
_RESOLUTION_SECONDS = 1.0  # of a Date header
_JUMP_SECONDS = 1.0  # less is drift, or a server that renews its date late
_TOLERATED_SECONDS = 240  # DynamoDB refuses what was signed five minutes ago, or ahead
_CODES = (
    b"InvalidSignatureException",
    b"RequestExpired",
    b"RequestInTheFuture",
    b"RequestTimeTooSkewed",
    b"SignatureDoesNotMatch",
)


def seconds_of(date: str) -> float | None:
    """Return the seconds since 1970 of a ``Date`` header; None where it is no date, or not ours."""
    try:
        seconds = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError, OSError):
        return None
    return seconds if _EARLIEST < seconds < _LATEST else None


def boot_seconds() -> float:
    """Return seconds that go on while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ClockReading(NamedTuple):
    """What a clock shows.

    Attributes:
        now: The present moment: this machine's, moved to where DynamoDB's clock may be.
        earliest: DynamoDB's clock shows this or later; None where no reply has shown it.
        latest: DynamoDB's clock shows this or earlier.
    """

    now: datetime
    earliest: datetime | None = None
    latest: datetime | None = None

    @property
    def error_seconds(self) -> float | None:
        """By how much `now` may be behind DynamoDB's clock; None where that is not known."""
        return None if self.latest is None else (self.latest - self.now).total_seconds()


class Clock(Protocol):
    """A clock that also says where DynamoDB's is."""

    @property
    def wall(self) -> Callable[[], datetime]:
        """This machine's clock, as it is set."""

    def __call__(self) -> datetime:
        """Return the present moment."""

    def read(self) -> ClockReading:
        """Return what the clock shows."""


class GivenClock:
    """A clock that a caller gives, as tests do; it is taken for DynamoDB's.

    Args:
        wall: Returns the present moment.
    """

    def __init__(self, wall: Callable[[], datetime]) -> None:
        self.wall = wall

    def __call__(self) -> datetime:
        """Return the present moment."""
        return self.wall()

    def read(self) -> ClockReading:
        """Return what the clock shows."""
        now = self.wall()
        return ClockReading(now, now, now)


class ServiceClock:
    """DynamoDB's clock, to a second or better, as the dates of its replies show it.

    A date is kept as a difference to a clock that is never set, so that setting this machine's
    clock does not move it. Each date narrows the difference. After one that is off by more than a
    second both may be right until the next reply, so that a single wrong date ends no run.

    Args:
        wall: This machine's clock.
        elapsed: Seconds that are never set.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = utc_now,
        elapsed: Callable[[], float] = boot_seconds,
    ) -> None:
        self.wall = wall
        self._elapsed = elapsed
        self._ahead: tuple[float, float] | None = None  # bounds: DynamoDB's seconds less elapsed
        self._doubted: tuple[float, float] | None = None
        self._last_date: str | None = None
        self._next_warning = float("-inf")

    def __call__(self) -> datetime:
        """Return the present moment, within a second or so of DynamoDB's clock."""
        return self.read().now

    def read(self) -> ClockReading:
        """Return what this machine's clock shows, and where DynamoDB's is."""
        now, ahead = self.wall(), self._ahead
        if ahead is None:
            return ClockReading(now)
        elapsed, doubted = self._elapsed(), self._doubted or ahead
        earliest = _moment(min(ahead[0], doubted[0]) + elapsed)
        latest = _moment(max(ahead[1], doubted[1]) + elapsed)
        return ClockReading(min(max(now, earliest), latest), earliest, latest)

    def note(self, date: str | None, sent: float) -> None:
        """Learn from the ``Date`` header of a reply.

        Args:
            date: The header; None where the reply has none.
            sent: `time.monotonic` when its request was sent, or before.
        """
        if date is None or (date == self._last_date and self._doubted is None):
            return  # a second reply within a second shows nothing new
        seconds, elapsed = seconds_of(date), self._elapsed()
        self._last_date = date
        if seconds is None:
            return
        least = seconds - elapsed
        self._learn((least, least + _RESOLUTION_SECONDS + time.monotonic() - sent))
        self._warn(seconds, elapsed)

    def _learn(self, seen: tuple[float, float]) -> None:
        known, doubted = self._ahead, self._doubted
        self._doubted = None
        if known is None:
            self._ahead = seen
        elif seen[0] <= known[1] and known[0] <= seen[1]:
            self._ahead = max(known[0], seen[0]), min(known[1], seen[1])
        elif _near(known, seen) or (doubted is not None and _near(doubted, seen)):
            self._ahead = seen
        else:
            self._doubted = seen

    def _warn(self, theirs: float, elapsed: float) -> None:
        skew = self.wall().timestamp() - theirs
        if abs(skew) <= _SKEW_SECONDS or elapsed < self._next_warning:
            return
        self._next_warning = elapsed + _EVERY_SECONDS
        logger.warning(
            "The clock of this machine is %.0f s %s DynamoDB's. Set it: leases of runs do not "
            "depend on it, but all other moments that are stored do.",
            abs(skew),
            "ahead of" if skew > 0 else "behind",
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] - other[1] <= _JUMP_SECONDS and other[0] - one[1] <= _JUMP_SECONDS


class ClockOffset:
    """The difference between DynamoDB's clock and this machine's.

    Attributes:
        seconds: Added to this machine's clock; 0 until a refusal shows another difference.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def learn_from(self, answer: Answer) -> bool:
        """Set the difference from a refusal; return whether signing again may help."""
        if answer.status not in (400, 403) or not any(code in answer.body for code in _CODES):
            return False
        theirs = seconds_of(answer.headers.get("date", ""))
        if theirs is None:
            return False
        ours = time.time()
        if abs(theirs - ours - self.seconds) < _TOLERATED_SECONDS:
            return False
        self.seconds = theirs - ours
        return True
