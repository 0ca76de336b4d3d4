"""Pages of a Query or Scan, and the tokens that resume them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Callable, Generic, NamedTuple, TypeVar

from dynamodb_wrapper.aws.calls import Caller, Consumed
from dynamodb_wrapper.aws.concurrency import Done, Flow, side_by_side
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.serialization.decoder import DecodedPage
from dynamodb_wrapper.serialization.json_body import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dynamodb_wrapper.serialization.values import AttributeValue, Item

T = TypeVar("T")
ALL: Iterable[int | None] = repeat(None)
"""Pages as large as DynamoDB makes them."""
_VERSION = 1
_CHECKSUM_BYTES = 6
Read = Callable[[Reply], DecodedPage[T]]


@dataclass(eq=False)
class RawPage(Generic[T]):
    """One reply of a Query or Scan, and what was read from it.

    Attributes:
        found: The items, and the key to continue from.
        reply: The reply.
        consumed: Capacity that the request consumed.
    """

    found: DecodedPage[T]
    reply: Reply
    consumed: Consumed


def raw_pages(
    caller: Caller,
    operation: str,
    request: dict[str, Any],
    read: Read[T],
    sizes: Iterable[int | None] = ALL,
    start: Item | None = None,
    flow: Flow | None = None,
) -> Iterator[RawPage[T]]:
    """Send requests one after the other until the end; each only when its page is requested."""
    last_key, flow = start, flow or Flow()
    for size in sizes:
        part = request if size is None else {**request, "Limit": size}
        page = _page(caller, operation, part, read, flow, last_key)
        _advance(flow, page)
        yield page
        last_key = page.found.last_key
        if last_key is None:
            return


class _Segment(NamedTuple):
    """The next request of a segment."""

    request: dict[str, Any]
    last_key: Item | None


def parallel_pages(
    caller: Caller, request: dict[str, Any], read: Read[T], flow: Flow
) -> Iterator[RawPage[T]]:
    """Scan segments in threads, one request of each under way; yield pages as they arrive."""
    count = flow.workers_for(None)

    def work(segment: _Segment) -> RawPage[T]:
        return _page(caller, "Scan", segment.request, read, flow, segment.last_key)

    segments = [
        _Segment({**request, "Segment": number, "TotalSegments": count}, None)
        for number in range(count)
    ]
    with closing(side_by_side(work, segments, count, follow_up=_next_of_segment)) as pages:
        for done in pages:
            if done.result is None:
                raise done.error or AssertionError(done)
            _advance(flow, done.result)
            yield done.result


def _next_of_segment(done: Done[_Segment, RawPage[Any]]) -> _Segment | None:
    if done.result is None or done.result.found.last_key is None:
        return None
    return _Segment(done.part.request, done.result.found.last_key)


def _page(
    caller: Caller,
    operation: str,
    request: dict[str, Any],
    read: Read[T],
    flow: Flow,
    last_key: Item | None,
) -> RawPage[T]:
    if last_key is not None:
        request = {**request, "ExclusiveStartKey": last_key}
    used = Consumed()
    with flow.request():
        reply = caller.fetch(operation, request)
    found = read(reply)
    caller.measure(operation, found.capacity, used)
    flow.consumed(used.read_units)
    return RawPage(found, reply, used)


def _advance(flow: Flow, page: RawPage[Any]) -> None:
    flow.advance(page.found.count, len(page.reply.body or b""), page.consumed)


def fingerprint(operation: str, request: Mapping[str, Any]) -> str:
    """Return a fingerprint of a query without its position: operation, order, key condition.

    Filters are left out: they may hold the present time, and another filter does no harm.
    """
    known: dict[str, Any] = {
        **request.get("ExpressionAttributeNames", {}),
        **request.get("ExpressionAttributeValues", {}),
    }
    key_condition = str(request.get("KeyConditionExpression", ""))
    used = [known.get(name) for name in re.findall(r"[#:]\w+", key_condition)]
    parts = [operation, request.get("ScanIndexForward"), key_condition, used]
    text = json.dumps(parts, default=_bytes_as_text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_token(table_name: str, index: str | None, mark: str, key: Item) -> str:
    """Return an opaque text that resumes after a key."""
    content = [_VERSION, table_name, index, mark, key]
    text = json.dumps(content, separators=(",", ":"), default=_bytes_as_text).encode()
    return base64.urlsafe_b64encode(_checksum(text) + text).decode().rstrip("=")


def read_token(token: str, table_name: str, index: str | None, mark: str) -> Item:
    """Return the key in a token.

    Raises:
        ValidationError: Damaged, or made for another table, index or query.
    """
    if not isinstance(token, str):
        raise ValidationError(
            f"The page token is {arguments.shown(token)}; it is the next_token of a Page."
        )
    try:
        given = (token + "=" * (-len(token) % 4)).encode("ascii")
        content = base64.b64decode(given, altchars=b"-_", validate=True)
        checksum, text = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        if checksum != _checksum(text):
            raise ValueError("checksum")
        version, of_table, of_index, of_mark, key = json.loads(text)
        if version != _VERSION:
            raise ValueError("version")
        key = {name: _key_value(value) for name, value in key.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ValidationError("The page token is damaged; start again without one.") from error
    for what, made_for, used_on in (
        ("table", of_table, table_name),
        ("index", of_index, index),
        ("query", of_mark, mark),
    ):
        if made_for != used_on:
            shown = f" {made_for!r}, not {used_on!r}" if what != "query" else ""
            raise ValidationError(f"The page token belongs to another {what}{shown}.")
    return key


def _key_value(value: dict[str, str]) -> AttributeValue:
    """Return the value of a key attribute in a token."""
    ((tag, content),) = value.items()
    if tag not in ("S", "N", "B") or not isinstance(content, str):
        raise ValueError("not a key")
    return {tag: base64.b64decode(content) if tag == "B" else content}


def _checksum(text: bytes) -> bytes:
    """Return a checksum that reveals a damaged token; it does not protect against forgery."""
    return hashlib.sha256(text).digest()[:_CHECKSUM_BYTES]


def _bytes_as_text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} in a key")
