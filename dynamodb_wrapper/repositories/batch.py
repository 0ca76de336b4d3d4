"""Read, write and delete many items of a table: concurrently and at a rate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.arrow.frames import is_frame, map_items
from dynamodb_wrapper.aws.batches import Write, batch_get, batch_write, deletion_of, put_of
from dynamodb_wrapper.aws.concurrency import Flow, limiter_of
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.repositories.write_results import refreshed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dynamodb_wrapper.arrow.frames import Frame
    from dynamodb_wrapper.aws.calls import Caller
    from dynamodb_wrapper.aws.concurrency import Progress, RateLimiter
    from dynamodb_wrapper.models.table import ModelT
    from dynamodb_wrapper.repositories.item_requests import ItemRequests
    from dynamodb_wrapper.serialization.values import Item


def flow_of(
    workers: int | None,
    rate: float | RateLimiter | None,
    on_progress: Callable[[Progress], object] | None,
) -> Flow:
    """Return concurrency, rate and progress; see `BaseDynamoRepository.put_many`."""
    return Flow(workers, limiter_of(rate), on_progress)


def check_items(items: Any) -> None:
    """Refuse what is neither a list, generator or other iterable of models nor a table."""
    if not is_frame(items):
        arguments.several("items", items, "a list or another iterable of models, or a table")


def keys_of(method: str, keys: Iterable[Any]) -> Iterable[Any]:
    """Return the keys given to a method; refuse a single key, and a table.

    Raises:
        ValidationError: It is no list, set, generator or other iterable of keys.
    """
    if is_frame(keys):
        raise ValidationError(
            f"{method} takes keys, not a table. Give the values of its key columns as a list: "
            "list(zip(frame['a'], frame['b'])) for two, frame['a'].to_list() for one."
        )
    meaning = "a list or another iterable of keys, each a value, a tuple, a dict or a model"
    return arguments.several("keys", keys, meaning)


def get_items(
    caller: Caller,
    requests: ItemRequests[ModelT],
    keys: list[Item],
    flow: Flow,
    *,
    consistent: bool,
) -> list[ModelT | None]:
    """Return the items of stored keys, in their order; None where there is none."""
    extra = {"ConsistentRead": True} if consistent else {}
    return batch_get(caller, keys, extra, requests.reader.batch, flow)


def put_items(
    caller: Caller, requests: ItemRequests[ModelT], items: Iterable[ModelT] | Frame, flow: Flow
) -> int:
    """Store models, or the rows of a table; return the number DynamoDB accepted."""
    check_items(items)
    writes = map_items(items, requests.table.model, partial(_put, requests))
    return batch_write(caller, _all_or_lazily(writes, items), flow, _refresh)


def delete_items(
    caller: Caller, requests: ItemRequests[Any], keys: Iterable[Any], flow: Flow
) -> int:
    """Delete the items of keys; return the number of requests DynamoDB accepted."""
    keys = keys_of("delete_many", keys)
    writes = map(partial(_deletion, requests), keys)
    return batch_write(caller, _all_or_lazily(writes, keys), flow, lambda _: None)


def _put(requests: ItemRequests[ModelT], item: ModelT) -> Write:
    stored, body, values = requests.whole(item)
    return put_of(requests.codec.keys.identity(stored), body, item, values)


def _deletion(requests: ItemRequests[Any], key: Any) -> Write:
    stored = requests.key(key)
    return deletion_of(requests.codec.keys.identity(stored), stored, key)


def _refresh(written: list[Write]) -> None:
    for write in written:
        if write.values:
            refreshed(write.given, write.values)


def _all_or_lazily(writes: Iterable[Write], given: Any) -> Iterable[Write]:
    """Return all writes of a list, tuple or table: an invalid one is found before any is sent."""
    is_whole = isinstance(given, (list, tuple)) or is_frame(given)
    return list(writes) if is_whole else writes
