"""The time, versions and tokens that writes are stamped with; a repeated transaction repeats them.

DynamoDB recognises the repetition of a transaction by its token, and refuses one whose content
differs. Requests built inside `Moment.fixed` therefore take nothing from the clock or from chance.
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from dynamodb_wrapper.models.fields import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMEMBERED = timedelta(minutes=11)  # DynamoDB remembers a token ten minutes after its first use
_FIRST, _RANGE = 10**15, 2**52  # versions of today's size that fit a float

_first_uses: dict[str, datetime] = {}


class Moment(NamedTuple):
    """What the requests of a transaction with a token are stamped with.

    Attributes:
        token: The token of the transaction.
        now: The time of the transaction.
    """

    token: str
    now: datetime

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """Stamp the requests that are built inside the block with this moment."""
        before = _moment.get()
        try:  # begun before it is set: a signal handler may raise in between
            _moment.set(self)
            yield
        finally:
            _moment.set(before)

    def digest(self) -> str:
        """Return 32 hexadecimal digits that belong to the token."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:32]


_moment: ContextVar[Moment | None] = ContextVar("moment", default=None)


def first_use(token: str) -> datetime:
    """Return when this process used a token first, within the time DynamoDB remembers it."""
    now = utc_now()
    for other, used in list(_first_uses.items()):
        if not timedelta(0) <= now - used < _REMEMBERED:
            _first_uses.pop(other, None)
    return _first_uses.setdefault(token, now)


def write_time() -> datetime:
    """Return the time that a write is stamped with."""
    moment = _moment.get()
    return utc_now() if moment is None else moment.now


def first_version() -> int:
    """Return the first version of a new item, in microseconds since 1970.

    A key that is written again so gets a version it never had, and an update by a process that
    read the earlier item is refused. In a transaction with a token, the version is a number of that
    size made from the token, which has the same effect.
    """
    moment = _moment.get()
    if moment is None:
        return int(utc_now().timestamp() * 1_000_000)
    return _FIRST + int(moment.digest(), 16) % _RANGE


def write_token() -> str:
    """Return the token of a write, which no other write has."""
    moment = _moment.get()
    return uuid.uuid4().hex if moment is None else moment.digest()
