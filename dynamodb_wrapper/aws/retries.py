"""Waits between attempts, and what is known of the attempts that botocore retried."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Callable, NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

THROTTLES = frozenset(
    {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
)
"""Error codes of requests above a rate."""
_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
_WITHOUT_ANSWER = (BotoConnectionError, HTTPClientError, ChecksumError)
_FIRST_ERROR = 300
own_random = random.SystemRandom()
"""Draws the library's random numbers, so that a program that has set a seed stays the same."""
_NOTE = "dynamodb_wrapper_maybe_applied"
_reporter: ContextVar[Callable[[], object] | None] = ContextVar("reporter", default=None)


class Backoff(NamedTuple):
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
    uniform: Callable[[float, float], float] = own_random.uniform

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
    before = _reporter.get()
    try:  # begun before it is set: a signal handler may raise in between
        _reporter.set(report)
        yield
    finally:
        _reporter.set(before)


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


def watch_lost_replies(client: Any) -> None:
    """Let a client note on its errors whether an attempt may have been applied.

    `maybe_applied` reads the note.
    """
    events = client.meta.events
    events.register_first("needs-retry.dynamodb", _note_attempt)
    events.register("after-call.dynamodb", _note_on_response)
    events.register("after-call-error.dynamodb", _note_on_exception)


def _note_attempt(
    response: Any, caught_exception: Any, request_dict: dict[str, Any], **_: Any
) -> None:
    if caught_exception is not None:
        is_unclear = _may_have_arrived(caught_exception)
    else:  # a reply of success counts as well: it is damaged if there is another attempt
        is_unclear = not _is_refusal(response[0].status_code)
    if is_unclear:
        request_dict["context"][_NOTE] = True


def _note_on_response(http_response: Any, parsed: Any, context: dict[str, Any], **_: Any) -> None:
    if http_response.status_code >= _FIRST_ERROR:
        parsed["ResponseMetadata"][_NOTE] = _NOTE in context


def _note_on_exception(exception: Any, context: dict[str, Any], **_: Any) -> None:
    setattr(exception, _NOTE, _NOTE in context)


def maybe_applied(error: BaseException) -> bool:
    """Return whether a write that raised one of botocore's errors may have been applied.

    It may if an attempt ended without an answer (reset, time-out, damaged reply) or with an error
    of the server. A throttle, or another refusal, wrote nothing. A client that was passed in notes
    nothing: then every refusal that was retried counts.
    """
    response = getattr(error, "response", None) or {}
    metadata = response.get("ResponseMetadata", {})
    noted = getattr(error, _NOTE, metadata.get(_NOTE))
    if noted is not None:
        return bool(noted)
    if isinstance(error, BotoCoreError):
        return _may_have_arrived(error)
    is_refused = _is_refusal(metadata.get("HTTPStatusCode", 0))
    return bool(response) and (bool(metadata.get("RetryAttempts")) or not is_refused)


def _may_have_arrived(error: Exception) -> bool:
    """Return whether the request of an attempt without an answer may have reached DynamoDB."""
    if isinstance(error, _NEVER_SENT):
        return False
    return isinstance(error, _WITHOUT_ANSWER) or not isinstance(error, BotoCoreError)


def _is_refusal(status: int) -> bool:
    return 400 <= status < 500
