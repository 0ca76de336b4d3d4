"""Report throttled attempts, including those that botocore retried with success."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

THROTTLES = frozenset(
    {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
)
"""The codes of refusals for the sake of a rate."""
_tell: ContextVar[Callable[[], object] | None] = ContextVar("tell", default=None)


@contextmanager
def told_of_throttles(tell: Callable[[], object]) -> Iterator[None]:
    """Call a function for each attempt inside the block that a client of ours sees throttled."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


def tell_of_throttles(client: Any) -> None:
    """Let attempts of a client be told."""
    client.meta.events.register_first("needs-retry.dynamodb", _look)


def _look(response: Any, **_: Any) -> None:
    tell = _tell.get()
    if tell is None or response is None:
        return
    _http, parsed = response
    if parsed.get("Error", {}).get("Code") in THROTTLES:
        tell()
