"""Compare the clock of this machine with DynamoDB's, and correct signatures when they differ."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from dynamodb_wrapper.aws.http_pool import Answer

logger = SafeLogger(__name__)
_SKEW_SECONDS = 30
_EARLIEST, _LATEST = 1_325_376_000, 7_258_118_400  # 2012, when DynamoDB began, and 2200
_EVERY_SECONDS = 60
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


class ClockMonitor:
    """Compares this machine's clock with the dates of replies, at most once a minute.

    Requests do not depend on it, but other processes see leases expire early or late.
    """

    def __init__(self) -> None:
        self._next = float("-inf")

    def compare(self, date: str | None) -> None:
        """Warn if the date of a reply is far from now."""
        now = time.monotonic()
        if now < self._next or date is None:
            return
        self._next = now + _EVERY_SECONDS
        theirs = seconds_of(date)
        if theirs is None:
            return
        skew = time.time() - theirs
        if abs(skew) > _SKEW_SECONDS:
            logger.warning(
                "The clock of this machine is %.0f s %s DynamoDB's. Set it: leases of runs are "
                "judged by it.",
                abs(skew),
                "ahead of" if skew > 0 else "behind",
            )


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
