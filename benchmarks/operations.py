"""What is run of a side, and what it read in a form that can be compared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from itertools import cycle
from typing import Any, Callable

from benchmarks.pages import read_pages
from benchmarks.records import PARTITION_KEY, Record, Records, moment

Run = Callable[[], Any]


def runs(side: Any, endpoint_url: str, records: Records) -> dict[str, Run]:
    """Return what the side can do, by the name of the case without the shape."""
    return dict(_runs(side, endpoint_url, records))


def _runs(side: Any, endpoint_url: str, records: Records) -> Iterator[tuple[str, Run]]:
    if hasattr(side, "get"):
        orders, keys = side.orders(), records.keys
        next_key, next_order = cycle(keys), cycle(orders)
        yield "get", lambda: side.get(next(next_key))
        yield "put", lambda: side.put(next(next_order))
        yield "batch-get", lambda: side.get_many(keys)
        yield "batch-put", lambda: side.put_many(orders)
        yield "query", lambda: side.query(records.first[0][PARTITION_KEY])
        yield "scan", side.scan
    if records.shape == "flat" and hasattr(side, "decode"):
        page = read_pages(endpoint_url, records.table)[0]
        yield "decode", lambda: side.decode(page)
    if records.shape == "flat" and hasattr(side, "arrow"):
        yield "arrow", side.arrow


def run_once(side: Any, run: Run) -> Any:
    """Run, and wait for it where it is a coroutine."""
    found = run()
    loop = getattr(side, "loop", None)
    return loop.run_until_complete(found) if loop and asyncio.iscoroutine(found) else found


def run_often(side: Any, run: Run, times: int) -> None:
    """Run so many times, coroutines one after the other in one run of their loop."""
    loop = getattr(side, "loop", None)
    if loop is not None:
        loop.run_until_complete(_await_often(run, times))
        return
    for _ in range(times):
        run()


async def _await_often(run: Run, times: int) -> None:
    for _ in range(times):
        await run()


def items_of(side: Any, found: Any) -> list[Record]:
    """Return the values of what a run read, loosened and in the order of their keys."""
    if found is None:
        return []
    if hasattr(found, "to_pylist"):
        values = [_of_row(row) for row in found.to_pylist()]
    else:
        values = [side.plain(one) for one in _as_list(found)]
    return sorted((loosened(one) for one in values), key=_sort_key)


def exact_of(side: Any, found: Any) -> list[Any] | None:
    """Return what tells the models from all others; None where the side has other objects."""
    if found is None or not hasattr(side, "exact") or hasattr(found, "to_pylist"):
        return None
    return sorted((side.exact(one) for one in _as_list(found)), key=repr)


def loosened(value: Any) -> Any:
    """Return the value in the form all sides can give: floats, moments as text, no None."""
    if isinstance(value, dict):
        return {name: loosened(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [loosened(inner) for inner in value]
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return value


def _as_list(found: Any) -> list[Any]:
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _of_row(row: Record) -> Record:
    """Return a row with the values some sides have as text: boto3 moments, the library decimals."""
    placed_at = row["placed_at"]
    at = moment(placed_at) if isinstance(placed_at, str) else placed_at
    return {**row, "placed_at": at, "total": Decimal(row["total"])}


def _sort_key(item: Record) -> tuple[str, str]:
    return item["customer_id"], item["order_id"]
