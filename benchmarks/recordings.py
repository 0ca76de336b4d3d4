"""The responses of the replay server.

They are made with boto3's serializer, so that they do not depend on the code that is measured.
Every item, and every map in it, has its own order of attributes, as in the responses of the engine
dynoxide. In tables with `one_order` all items have the order of the model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from benchmarks.records import PARTITION_KEY, SORT_KEY, Record, Records
from benchmarks.replay_server import FIRST_PAGE, Recording, page_key, place_of

ENDLESS = "endless_orders"
_BATCHES = ("BatchGetItem", "BatchWriteItem")
_WRITTEN_BY_A_BATCH = 25


def recordings(table: Records) -> Iterator[Recording]:
    """Yield the response to every request of the sides, with and without consumed capacity."""
    items = _stored(table, table.items)
    for operation, place, response, units in _responses(table, items):
        for measured in (False, True):
            capacity: Any = {"TableName": table.table, "CapacityUnits": units}
            consumed = {"ConsumedCapacity": [capacity] if operation in _BATCHES else capacity}
            body = _json({**response, **(consumed if measured else {})})
            yield Recording(operation, table.table, body, place, measured)


def endless(table: Records, pages: int) -> Iterator[Recording]:
    """Yield a table with that many pages, each a repetition of the first page of `table`."""
    items = _stored(table, table.items[: table.page])
    page = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    more = {**page, "LastEvaluatedKey": page_key(PARTITION_KEY, SORT_KEY, FIRST_PAGE)}
    last = place_of(page_key(PARTITION_KEY, SORT_KEY, pages - 2))
    for measured in (False, True):
        yield Recording("Scan", ENDLESS, _json(more), measured=measured, repeated=True)
        yield Recording("Scan", ENDLESS, _json(page), last, measured)


def item_bytes(table: Records) -> int:
    """Return the mean size of an item as JSON."""
    return sum(len(_json(item)) for item in _stored(table, table.first)) // len(table.first)


def _stored(table: Records, items: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the items as DynamoDB returns them, with every value under its type."""
    serializer = TypeSerializer()
    found = []
    for item in items:
        text = item["placed_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        values = {**item, "placed_at": text}
        typed = {name: serializer.serialize(value) for name, value in values.items()}
        # the key is the seed, so an item has the same order in all responses of all runs
        draw = random.Random(f"{item[PARTITION_KEY]} {item[SORT_KEY]}")
        found.append(typed if table.one_order else _shuffled(typed, draw))
    return found


def _shuffled(attributes: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Return the attributes in a random order, and those of every map in them."""
    names = list(attributes)
    draw.shuffle(names)
    return {name: _shuffled_value(attributes[name], draw) for name in names}


def _shuffled_value(typed: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    if "M" in typed:
        return {"M": _shuffled(typed["M"], draw)}
    if "L" in typed:
        return {"L": [_shuffled_value(inner, draw) for inner in typed["L"]]}
    return typed


def _responses(
    table: Records, items: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, str, dict[str, Any], float]]:
    first = items[: table.partition]
    for item in first:
        yield "GetItem", place_of(_key(item)), {"Item": item}, 0.5
    yield "PutItem", "", {}, 1.0
    batch = {"Responses": {table.table: first}, "UnprocessedKeys": {}}
    yield "BatchGetItem", "", batch, len(first) / 2
    yield "BatchWriteItem", "", {"UnprocessedItems": {}}, float(_WRITTEN_BY_A_BATCH)
    yield "Query", "", _page(first, more=False), len(first) / 8
    start = ""
    for begin in range(0, len(items), table.page):
        end = begin + table.page
        yield "Scan", start, _page(items[begin:end], more=end < len(items)), 128.0
        start = place_of(_key(items[begin:end][-1]))


def _page(items: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    page = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    return {**page, "LastEvaluatedKey": _key(items[-1])} if more else page


def _key(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in (PARTITION_KEY, SORT_KEY)}


def _json(response: Any) -> str:
    return json.dumps(response, separators=(",", ":"))
