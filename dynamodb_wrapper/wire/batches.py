"""Batches of keys: split by DynamoDB's limits, resent until everything was answered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from dynamodb_wrapper.exceptions import ThrottledError
from dynamodb_wrapper.wire.bodies import part_of
from dynamodb_wrapper.wire.flow import Flow, side_by_side
from dynamodb_wrapper.wire.identity import identity
from dynamodb_wrapper.wire.requests import Caller, Consumed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dynamodb_wrapper.wire.attributes import Item
    from dynamodb_wrapper.wire.bodies import Reply
    from dynamodb_wrapper.wire.decoding import Batch

T = TypeVar("T")

MAX_GETS = 100


def batch_get(
    caller: Caller,
    keys: Sequence[Item],
    extra: dict[str, Any],
    read: Callable[[Reply, str], Batch[T]],
    flow: Flow | None = None,
) -> list[T | None]:
    """Return what was found in the order of the keys, None where there was nothing.

    Raises:
        ThrottledError: DynamoDB left keys unprocessed until the time was used up.
    """
    flow = flow or Flow()
    names = [identity(key) for key in keys]
    distinct = dict(zip(names, keys))
    found: dict[Any, T] = {}
    chunks = list(_chunks(list(distinct.values()), MAX_GETS))
    work = partial(_get_chunk, caller, extra, read, flow)
    for done in side_by_side(work, chunks, flow.workers_for(len(chunks))):
        if done.result is None:
            raise done.error or AssertionError(done)
        for part in done.result:
            found.update(part.by_key)
            flow.advance(len(part.by_key), part.size_bytes, part.used)
    return [found.get(name) for name in names]


@dataclass(frozen=True)
class _Answer(Generic[T]):
    by_key: dict[Any, T]
    size_bytes: int
    used: Consumed


def _get_chunk(
    caller: Caller,
    extra: dict[str, Any],
    read: Callable[[Reply, str], Batch[T]],
    flow: Flow,
    keys: list[Item],
) -> list[_Answer[T]]:
    table, left = caller.table_name, keys
    answers: list[_Answer[T]] = []
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            request = {"RequestItems": {table: {"Keys": left, **extra}}}
            with flow.request():
                reply, used = caller.fetch("BatchGetItem", request), Consumed()
            found = read(reply, table)
            caller.measure("BatchGetItem", found.capacity, used)
            flow.consumed(used.read_units)
            answers.append(_Answer(found.by_key, len(reply.body or b""), used))
            left = part_of(part_of(found.left, table, dict), "Keys", list)
            if left:
                flow.throttled()
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
    return answers


def _chunks(values: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
