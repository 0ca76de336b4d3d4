"""Compare the clock of this machine with DynamoDB's, and correct signatures when they differ."""

from __future__ import annotations

import logging
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamodb_wrapper.aws.http_pool import Answer

logger = logging.getLogger(__name__)
_SKEW_SECONDS = 30
_EVERY_SECONDS = 60
_TOLERATED_SECONDS = 240  # DynamoDB refuses what was signed five minutes ago, or ahead
_CODES = (
    b"InvalidSignatureException",
    b"RequestExpired",
    b"RequestInTheFuture",
    b"RequestTimeTooSkewed",
    b"SignatureDoesNotMatch",
)


class Clock:
    """Compares the clock with the dates of replies, once a minute at most.

    Nothing depends on the clocks agreeing, but leases run out early or late for everybody else.
    """

    def __init__(self) -> None:
        self._next = float("-inf")

    def compare(self, date: str | None) -> None:
        """Warn if the date of a reply is far from now."""
        now = time.monotonic()
        if now < self._next or date is None:
            return
        self._next = now + _EVERY_SECONDS
        try:
            skew = time.time() - parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError):
            return
        if abs(skew) > _SKEW_SECONDS:
            logger.warning(
                "The clock of this machine is %.0f s %s DynamoDB's. Set it: leases of runs are "
                "judged by it.",
                abs(skew),
                "ahead of" if skew > 0 else "behind",
            )


class Skew:
    """What has to be added to this machine's clock to get DynamoDB's.

    Attributes:
        seconds: The difference; 0 until a refusal has told another.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def explains(self, answer: Answer) -> bool:
        """Learn the difference from a refusal; say whether signing anew may help."""
        if answer.status not in (400, 403) or not any(code in answer.body for code in _CODES):
            return False
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (TypeError, ValueError, IndexError):
            return False
        ours = time.time()
        if abs(theirs - ours - self.seconds) < _TOLERATED_SECONDS:
            return False
        self.seconds = theirs - ours
        return True
