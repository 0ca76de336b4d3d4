"""Whether the clock of this machine agrees with DynamoDB's."""

from __future__ import annotations

import logging
import time
from email.utils import parsedate_to_datetime

logger = logging.getLogger(__name__)

_SKEW_SECONDS = 30
_EVERY_SECONDS = 60


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
