"""The difference of the clocks, learned from a refusal for its sake."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamodb_wrapper.config.direct.replies import Answer

_TOLERATED_SECONDS = 240  # DynamoDB refuses what was signed five minutes ago, or ahead
_CODES = (
    b"InvalidSignatureException",
    b"RequestExpired",
    b"RequestInTheFuture",
    b"RequestTimeTooSkewed",
    b"SignatureDoesNotMatch",
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
