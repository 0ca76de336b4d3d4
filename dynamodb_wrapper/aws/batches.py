"""Batches of reads and writes: split by DynamoDB's limits, resent until nothing is unprocessed."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Generic, NamedTuple, TypeVar

from dynamodb_wrapper.aws.calls import Caller, Consumed
from dynamodb_wrapper.aws.concurrency import Flow, side_by_side
from dynamodb_wrapper.exceptions.errors import (
    BatchWriteError,
    DynamoDBWrapperError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.serialization.json_body import Encoded, part_of, unreadable
from dynamodb_wrapper.serialization.values import identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dynamodb_wrapper.serialization.decoder import DecodedBatch
    from dynamodb_wrapper.serialization.json_body import Reply
    from dynamodb_wrapper.serialization.values import Item

T = TypeVar("T")
MAX_GETS = 100
MAX_WRITES = 25
_MAX_DEPTH = 31  # of an attribute; the item itself is the first of DynamoDB's 32 levels
MAX_REQUEST_BYTES = 16 * 1024 * 1024 - 64 * 1024


def batch_get(
    caller: Caller,
    keys: Sequence[Item],
    extra: dict[str, Any],
    read: Callable[[Reply, str], DecodedBatch[T]],
    flow: Flow | None = None,
) -> list[T | None]:
    """Return the items in the order of the keys, None where there is none.

    Raises:
        ThrottledError: DynamoDB left keys unprocessed until the time was used up.
    """
    flow = flow or Flow()
    names = [identity(key) for key in keys]
    distinct = dict(zip(names, keys))
    found: dict[Any, T] = {}
    chunks = list(_chunks(list(distinct.values()), MAX_GETS))
    work = partial(_get_chunk, caller, extra, read, flow)
    with closing(side_by_side(work, chunks, flow.workers_for(len(chunks)))) as parts:
        for done in parts:
            if done.result is None:
                raise done.error or AssertionError(done)
            for answer in done.result:
                found.update(answer.by_key)
                flow.advance(len(answer.by_key), answer.size_bytes, answer.used)
    if not found.keys() <= set(names):
        raise unreadable("it holds the item of another key than those asked for")
    return [found.get(name) for name in names]


@dataclass(eq=False)
class _GetResult(Generic[T]):
    by_key: dict[Any, T]
    size_bytes: int
    used: Consumed


def _get_chunk(
    caller: Caller,
    extra: dict[str, Any],
    read: Callable[[Reply, str], DecodedBatch[T]],
    flow: Flow,
    keys: list[Item],
) -> list[_GetResult[T]]:
    table, left = caller.table_name, keys
    answers: list[_GetResult[T]] = []
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            request = {"RequestItems": {table: {"Keys": left, **extra}}}
            with flow.request():
                reply, used = caller.fetch("BatchGetItem", request), Consumed()
            found = read(reply, table)
            caller.measure("BatchGetItem", found.capacity, used)
            flow.consumed(used.read_units)
            answers.append(_GetResult(found.by_key, len(reply.body or b""), used))
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


class Write(NamedTuple):
    """One write of a batch.

    Attributes:
        name: The `identity` of its key.
        request: The entry of RequestItems.
        given: What the user gave, for `BatchWriteError.unprocessed`.
        size_bytes: Size of the item as JSON; 0 for a deletion.
        values: Field values to refresh what was given with, once it is written.
    """

    name: tuple[Any, ...]
    request: dict[str, Any]
    given: Any
    size_bytes: int = 0
    values: dict[str, Any] | None = None


def put_of(name: tuple[Any, ...], body: bytes, given: Any, values: dict[str, Any]) -> Write:
    """Return the write of an item that is JSON already."""
    return Write(name, {"PutRequest": {"Item": Encoded(body)}}, given, len(body), values)


def deletion_of(name: tuple[Any, ...], key: Item, given: Any) -> Write:
    """Return the deletion of a key."""
    return Write(name, {"DeleteRequest": {"Key": key}}, given)


@dataclass
class Chunk:
    """The writes of one request.

    Attributes:
        number: Its position among the chunks.
        given: All writes it covers, in their order.
        left: The last write of each key that DynamoDB has not accepted.
        keys: The `identity` of each key.
        used: Capacity it consumed.
    """

    number: int
    given: list[Write]
    left: list[Write]
    keys: frozenset[Any]
    used: Consumed = field(default_factory=Consumed)

    def __post_init__(self) -> None:
        self.wanted = len(self.left)

    @property
    def written(self) -> int:
        """Number of its writes that were accepted."""
        return self.wanted - len(self.left)


def batch_write(
    caller: Caller,
    writes: Iterable[Write],
    flow: Flow,
    note: Callable[[list[Write]], object],
) -> int:
    """Send writes and return how many DynamoDB accepted; those of one key stay in their order.

    Of several writes of one key in one request only the last is sent: sending all in order would
    leave the same item.

    Args:
        caller: Sends the requests.
        writes: Taken as they are sent.
        flow: Workers, rate limit and progress.
        note: Called with the writes that were accepted, those replaced by a later one included.

    Raises:
        BatchWriteError: It stopped half way; the writes taken and not written are in `unprocessed`.
    """
    source = _Source(writes)
    written = 0
    stopped: list[Chunk] = []
    problem: Exception | None = None
    work = partial(_write_chunk, caller, flow)
    workers = flow.workers_for(-(-len(writes) // MAX_WRITES) if isinstance(writes, list) else None)
    for done in side_by_side(work, source, workers, apart=_have_a_common_key):
        chunk = done.part
        if done.error is not None:
            problem = problem or done.error
            source.stop()
            stopped.append(chunk)
        written += chunk.written
        still_left = set(map(id, chunk.left))
        note([write for write in chunk.given if id(write) not in still_left])
        try:
            flow.advance(chunk.written, sum(w.size_bytes for w in chunk.given), chunk.used)
        except Exception as error:  # noqa: BLE001 - the caller's; raised once all requests under way are noted
            problem = problem or error
            source.stop()
    problem = problem or source.problem
    if problem is None:
        return written
    rest = [write for chunk in sorted(stopped, key=_number) for write in chunk.left]
    rest += source.unsent()
    if not isinstance(problem, DynamoDBWrapperError) or not (written or problem.retryable):
        raise problem
    raise _stopped(caller, problem, written, rest) from problem


def _have_a_common_key(one: Chunk, other: Chunk) -> bool:
    return not one.keys.isdisjoint(other.keys)


def _number(chunk: Chunk) -> int:
    return chunk.number


def _stopped(
    caller: Caller, error: DynamoDBWrapperError, written: int, rest: list[Write]
) -> BatchWriteError:
    return BatchWriteError(
        f"BatchWriteItem on {caller.table_name!r} stopped with {written} written and "
        f"{len(rest)} left: {error.message} The rest is in .unprocessed.",
        written=written,
        unprocessed=[write.given for write in rest],
        table_name=caller.table_name,
        operation="BatchWriteItem",
        error_code=error.error_code,
        request_id=error.request_id,
        retryable=error.retryable,
    )


def _write_chunk(caller: Caller, flow: Flow, chunk: Chunk) -> None:
    """Send writes until none is left; remove accepted ones from the list."""
    table, left = caller.table_name, chunk.left
    while left:
        before = len(left)
        for _ in caller.backoff().waits():
            requests = [write.request for write in left]
            used = Consumed()
            with flow.request():
                try:
                    response = caller.call(
                        "BatchWriteItem", {"RequestItems": {table: requests}}, meter=used
                    )
                except ValidationError as error:
                    raise _too_deep(caller, left, error) or error from error.__cause__
            chunk.used.add(used)
            flow.consumed(used.write_units)
            names = [part[0] for part in left[0].name]
            refused = {
                identity(_key_of(request, names))
                for request in part_of(part_of(response, "UnprocessedItems", dict), table, list)
            }
            left[:] = [write for write in left if write.name in refused] if refused else []
            if left:
                flow.throttled()
            if len(left) < before:
                break  # progress: the waits begin anew
        else:
            raise ThrottledError(
                f"DynamoDB left {len(left)} requests unprocessed for {caller.limit_seconds:g} s.",
                table_name=table,
                operation="BatchWriteItem",
                retryable=True,
            )


def _too_deep(
    caller: Caller, writes: list[Write], error: ValidationError
) -> ValidationError | None:
    """Return the error that names the item which nests too deeply: DynamoDB's names none."""
    for write in writes:
        put = write.request.get("PutRequest")
        item = json.loads(put["Item"].body) if put else {}
        if max(map(_depth, item.values()), default=0) > _MAX_DEPTH:
            key = {name: content for name, _, content in write.name}
            return ValidationError(
                f"BatchWriteItem on table {caller.table_name!r} was refused: the item {key} nests "
                f"more than {_MAX_DEPTH} lists and mappings in one another, DynamoDB's limit.",
                table_name=caller.table_name,
                key=key,
                operation="BatchWriteItem",
                error_code=error.error_code,
                request_id=error.request_id,
            )
    return None


def _depth(value: dict[str, Any]) -> int:
    """Return how many lists and mappings an attribute value nests in one another."""
    ((tag, content),) = value.items()
    if tag not in ("L", "M"):
        return 0
    inner = content if tag == "L" else content.values()
    return 1 + max(map(_depth, inner), default=0)


def _key_of(request: dict[str, Any], names: list[str]) -> Item:
    if "DeleteRequest" in request:
        return dict(request["DeleteRequest"]["Key"])
    return {name: request["PutRequest"]["Item"][name] for name in names}


class _Source:
    """Splits writes into chunks, one at a time.

    Attributes:
        problem: The error that taking a write raised; no further chunk follows.
    """

    def __init__(self, writes: Iterable[Write]) -> None:
        self._is_list = isinstance(writes, list)
        self._writes = iter(writes)
        self._taken: list[Write] = []
        self._is_stopped = False
        self.problem: Exception | None = None

    def stop(self) -> None:
        """Make no further chunk."""
        self._is_stopped = True

    def unsent(self) -> list[Write]:
        """Return the writes in no chunk: the rest of a list, or those taken from an iterator."""
        return [*self._taken, *(self._writes if self._is_list else ())]

    def __iter__(self) -> Iterator[Chunk]:
        for number in itertools.count():
            chunk = None if self._is_stopped else self._next(number)
            if chunk is None:
                return
            yield chunk

    def _next(self, number: int) -> Chunk | None:
        given, self._taken = self._taken, []
        last = {write.name: write for write in given}
        size = sum(write.size_bytes for write in given)
        try:
            for write in self._writes:
                if len(last) == MAX_WRITES or size + write.size_bytes > MAX_REQUEST_BYTES:
                    self._taken = [write]
                    break
                last.pop(write.name, None)
                last[write.name] = write
                given.append(write)
                size += write.size_bytes
        except Exception as problem:  # noqa: BLE001 - raised when the requests under way have ended
            self.problem, self._taken = problem, given
            return None
        return Chunk(number, given, list(last.values()), frozenset(last)) if given else None
