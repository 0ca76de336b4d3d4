"""Batches: split by DynamoDB's limits, resent until everything was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import (
    BatchWriteError,
    DynamoDBWrapperError,
    ThrottledError,
)
from dynamodb_wrapper.wire.attributes import Item, item_size
from dynamodb_wrapper.wire.requests import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_GETS = 100
MAX_WRITES = 25
MAX_REQUEST_BYTES = 16 * 1024 * 1024 - 64 * 1024

Identity = "tuple[tuple[str, Any], ...]"


def identity(key: Item) -> tuple[Any, ...]:
    """Return a key in a form that can be compared and put into a dict."""
    return tuple(sorted((name, *next(iter(value.items()))) for name, value in key.items()))


def batch_get(caller: Caller, keys: Sequence[Item], extra: dict[str, Any]) -> dict[Any, Item]:
    """Return the items found, by the `identity` of their key.

    Raises:
        ThrottledError: DynamoDB left keys unprocessed until the time was used up.
    """
    names = list(keys[0]) if keys else []
    distinct = {identity(key): key for key in keys}
    found: dict[Any, Item] = {}
    for chunk in _chunks(list(distinct.values()), MAX_GETS):
        for item in _get_chunk(caller, chunk, extra):
            found[identity({name: item[name] for name in names})] = item
    return found


def _get_chunk(caller: Caller, keys: list[Item], extra: dict[str, Any]) -> Iterator[Item]:
    table, left = caller.table_name, keys
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            response = caller.call(
                "BatchGetItem", {"RequestItems": {table: {"Keys": left, **extra}}}
            )
            yield from response.get("Responses", {}).get(table, [])
            left = response.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
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


def batch_write(caller: Caller, requests: Sequence[tuple[dict[str, Any], Any]]) -> int:
    """Send write requests in their order and return how many DynamoDB accepted.

    A later request for the same key takes the place of an earlier one in the same batch, which is
    what sending both in order would leave.

    Args:
        caller: Sends.
        requests: Pairs of a write request and what the user gave for it.

    Raises:
        BatchWriteError: It stopped half way; the rest is in `unprocessed`.
    """
    written = 0
    chunks = list(_write_chunks(requests))
    for position, chunk in enumerate(chunks):
        left = chunk
        try:
            for left in _write_chunk(caller, chunk):
                pass
        except DynamoDBWrapperError as error:
            rest = [given for part in [left, *chunks[position + 1 :]] for _, given in part]
            written += len(chunk) - len(left)
            if not written and not error.retryable:
                raise
            raise BatchWriteError(
                f"BatchWriteItem on {caller.table_name!r} stopped after {written} of "
                f"{written + len(rest)} requests: {error.message} The rest is in .unprocessed.",
                written=written,
                unprocessed=rest,
                table_name=caller.table_name,
                operation="BatchWriteItem",
                error_code=error.error_code,
                request_id=error.request_id,
                retryable=error.retryable,
            ) from error
        written += len(chunk)
    return written


def _write_chunk(
    caller: Caller, chunk: list[tuple[dict[str, Any], Any]]
) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Send a chunk; yields what is left after each response."""
    table, left = caller.table_name, chunk
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            requests = [request for request, _ in left]
            response = caller.call("BatchWriteItem", {"RequestItems": {table: requests}})
            unprocessed = response.get("UnprocessedItems", {}).get(table, [])
            left = [pair for pair in left if pair[0] in unprocessed]
            yield left
            if len(left) < before:
                break  # progress: the waits begin anew
        else:
            raise ThrottledError(
                f"DynamoDB left {len(left)} requests unprocessed for {caller.limit_seconds:g} s.",
                table_name=table,
                operation="BatchWriteItem",
                retryable=True,
            )


def _write_chunks(
    requests: Sequence[tuple[dict[str, Any], Any]],
) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    chunk: dict[Any, tuple[dict[str, Any], Any]] = {}
    size = 0
    for request, (given, key) in requests:
        item = request["PutRequest"]["Item"] if "PutRequest" in request else key
        more = item_size(item)
        if len(chunk) == MAX_WRITES or (chunk and size + more > MAX_REQUEST_BYTES):
            yield list(chunk.values())
            chunk, size = {}, 0
        chunk.pop(identity(key), None)
        chunk[identity(key)] = (request, given)
        size += more
    if chunk:
        yield list(chunk.values())


def _chunks(values: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
