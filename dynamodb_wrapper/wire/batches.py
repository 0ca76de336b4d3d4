"""Batches: split by DynamoDB's limits, resent until everything was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from dynamodb_wrapper.exceptions import (
    BatchWriteError,
    DynamoDBWrapperError,
    ThrottledError,
)
from dynamodb_wrapper.wire.attributes import Item
from dynamodb_wrapper.wire.bodies import part_of
from dynamodb_wrapper.wire.decoding import Batch
from dynamodb_wrapper.wire.identity import identity
from dynamodb_wrapper.wire.requests import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dynamodb_wrapper.wire.bodies import Reply

T = TypeVar("T")

MAX_GETS = 100
MAX_WRITES = 25
MAX_REQUEST_BYTES = 16 * 1024 * 1024 - 64 * 1024


def batch_get(
    caller: Caller,
    keys: Sequence[Item],
    extra: dict[str, Any],
    read: Callable[[Reply, str], Batch[T]],
) -> dict[Any, T]:
    """Return what was found, by the `identity` of its key.

    Raises:
        ThrottledError: DynamoDB left keys unprocessed until the time was used up.
    """
    distinct = {identity(key): key for key in keys}
    found: dict[Any, T] = {}
    for chunk in _chunks(list(distinct.values()), MAX_GETS):
        for part in _get_chunk(caller, chunk, extra, read):
            found.update(part)
    return found


def _get_chunk(
    caller: Caller,
    keys: list[Item],
    extra: dict[str, Any],
    read: Callable[[Reply, str], Batch[T]],
) -> Iterator[dict[Any, T]]:
    table, left = caller.table_name, keys
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            request = {"RequestItems": {table: {"Keys": left, **extra}}}
            found = read(caller.fetch("BatchGetItem", request), table)
            caller.measure("BatchGetItem", found.capacity)
            yield found.by_key
            left = part_of(part_of(found.left, table, dict), "Keys", list)
            if len(left) < before:
                break  # progress: the waits begin anew
        else:
            raise ThrottledError(
                f"BatchGetItem on {table!r}: DynamoDB left {len(left)} keys unprocessed for "
                f"{caller.limit_seconds:g} s. Try again later, or raise the table's capacity.",
                table_name=table,
                operation="BatchGetItem",
                retryable=True,
            )


@dataclass(frozen=True)
class Write:
    """One write of a batch.

    Attributes:
        key: Key attributes as stored.
        item: The item to put; None deletes.
        given: What the user gave, for `BatchWriteError.unprocessed`.
        size_bytes: Size of the item; 0 for a deletion.
    """

    key: Item
    item: Item | None
    given: Any
    size_bytes: int = 0

    def as_request(self) -> dict[str, Any]:
        """Return the entry of RequestItems."""
        if self.item is None:
            return {"DeleteRequest": {"Key": self.key}}
        return {"PutRequest": {"Item": self.item}}


def batch_write(caller: Caller, writes: Sequence[Write]) -> int:
    """Send writes in their order and return how many DynamoDB accepted.

    Of several for the same key in one request only the last is sent, which is what sending all in
    order would leave.

    Raises:
        BatchWriteError: It stopped half way; the rest is in `unprocessed`.
    """
    written = 0
    chunks = list(_write_chunks(writes))
    for position, chunk in enumerate(chunks):
        left = list(chunk)
        try:
            _write_chunk(caller, left)
        except DynamoDBWrapperError as error:
            rest = [write for part in [left, *chunks[position + 1 :]] for write in part]
            written += len(chunk) - len(left)
            if not written and not error.retryable:
                raise
            raise _stopped(caller, error, written, rest) from error
        written += len(chunk)
    return written


def _stopped(
    caller: Caller, error: DynamoDBWrapperError, written: int, rest: list[Write]
) -> BatchWriteError:
    return BatchWriteError(
        f"BatchWriteItem on {caller.table_name!r} stopped after {written} of "
        f"{written + len(rest)} requests: {error.message} The rest is in .unprocessed.",
        written=written,
        unprocessed=[write.given for write in rest],
        table_name=caller.table_name,
        operation="BatchWriteItem",
        error_code=error.error_code,
        request_id=error.request_id,
        retryable=error.retryable,
    )


def _write_chunk(caller: Caller, left: list[Write]) -> None:
    """Send writes until none is left; what was accepted is taken from the list."""
    table = caller.table_name
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            requests = [write.as_request() for write in left]
            response = caller.call("BatchWriteItem", {"RequestItems": {table: requests}})
            names = list(left[0].key)
            refused = {
                identity(_key_of(request, names))
                for request in part_of(part_of(response, "UnprocessedItems", dict), table, list)
            }
            left[:] = [w for w in left if identity(w.key) in refused] if refused else []
            if len(left) < before:
                break  # progress: the waits begin anew
        else:
            raise ThrottledError(
                f"DynamoDB left {len(left)} requests unprocessed for {caller.limit_seconds:g} s.",
                table_name=table,
                operation="BatchWriteItem",
                retryable=True,
            )


def _key_of(request: dict[str, Any], names: list[str]) -> Item:
    if "DeleteRequest" in request:
        return dict(request["DeleteRequest"]["Key"])
    return {name: request["PutRequest"]["Item"][name] for name in names}


def _write_chunks(writes: Sequence[Write]) -> Iterator[list[Write]]:
    chunk: dict[Any, Write] = {}
    size = 0
    for write in writes:
        more = write.size_bytes
        if len(chunk) == MAX_WRITES or (chunk and size + more > MAX_REQUEST_BYTES):
            yield list(chunk.values())
            chunk, size = {}, 0
        same = identity(write.key)
        chunk.pop(same, None)
        chunk[same] = write
        size += more
    if chunk:
        yield list(chunk.values())


def _chunks(values: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
