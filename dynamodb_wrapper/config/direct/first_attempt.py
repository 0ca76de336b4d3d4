"""What the boto3 client sees of an attempt made without it.

The client prepares a request and does not send it; or it takes what came of the request for its own
first attempt, and decides what that means: an error, and which, or another attempt, and when.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse

from dynamodb_wrapper.config.direct.replies import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class PreparedOnly(Exception):
    """A request was prepared and not sent.

    Attributes:
        request: What would have been sent.
    """

    def __init__(self, request: Any) -> None:
        super().__init__("a request was prepared and not sent")
        self.request = request


class _Call(threading.local):
    """What is known of the call this thread makes of the client."""

    is_prepared_only = False
    outcome: Any = None
    begun: float | None = None


_call = _Call()


def register(client: Any) -> None:
    """Let first attempts of a client be made without it."""
    client.meta.events.register_first("before-send.dynamodb", _stand_in)


def _stand_in(request: Any, **_: Any) -> Any:
    if _call.is_prepared_only:
        raise PreparedOnly(request)
    outcome, _call.outcome = _call.outcome, None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def begun() -> float | None:
    """Return when the first attempt of this thread's call began, if it was made without it."""
    return _call.begun


def is_prepared_only() -> bool:
    """Whether this thread's call only prepares a request."""
    return _call.is_prepared_only


@contextmanager
def prepared_only() -> Iterator[None]:
    """Have the call inside the block raise `PreparedOnly` instead of sending."""
    _call.is_prepared_only = True
    try:
        yield
    finally:
        _call.is_prepared_only = False


@contextmanager
def attempted(outcome: Answer | Exception, begun: float, url: str) -> Iterator[None]:
    """Have the call inside the block take an outcome for that of its first attempt.

    Args:
        outcome: An answer, or botocore's exception that there was instead.
        begun: When the attempt began, in monotonic seconds.
        url: Where it went.
    """
    came: Any = outcome
    if isinstance(outcome, Answer):
        came = response(url, outcome.status, outcome.headers, outcome.body)
    _call.outcome, _call.begun = came, begun
    try:
        yield
    finally:
        _call.outcome = _call.begun = None


def response(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return a response as the client's own connections give it."""
    return AWSResponse(url, status, headers, _Content(body))  # type: ignore[arg-type]  # any mapping


class _Content:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content

    def read(self, *_: Any) -> bytes:
        return self._content
