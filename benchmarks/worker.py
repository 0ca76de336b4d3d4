"""The process of one side: it imports the side's library, runs the cases and measures them.

Requests and replies are lines of JSON, on standard input and on the original standard output;
everything else that is printed goes to standard error. The process ends when its input ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from datetime import datetime, timezone
from decimal import Decimal
from importlib import import_module
from itertools import cycle
from typing import IO, Any, Callable

from benchmarks.cases import SIDES, SPECS, Side
from benchmarks.records import PARTITION_KEY, Record, Records, moment, records
from benchmarks.replay_server import read_pages

Run = Callable[[], Any]


class Worker:
    """One side on all tables it is compared on.

    Args:
        side: The side.
        endpoint_url: The address of the replay server.
        quick: Whether the server has the short pages.
    """

    def __init__(self, side: Side, endpoint_url: str, *, quick: bool) -> None:
        made = getattr(import_module(f"benchmarks.sides.{side.module}"), side.type_name)
        self._cases: dict[str, tuple[Any, Run]] = {}
        self._of_tables: list[Any] = []
        for name, table in records(quick=quick).items():
            specs = [s for s in SPECS if s.table == name and side.name in s.sides]
            if not specs:
                continue
            of_table = made(endpoint_url, table)
            self._of_tables.append(of_table)
            runs = _runs(of_table, endpoint_url, table)
            for spec in (spec for spec in specs if spec.operation in runs):
                self._cases[spec.name] = (of_table, runs[spec.operation])

    def cases(self) -> list[str]:
        """Return the names of the cases that the side can run."""
        return list(self._cases)

    def read(self, case: str) -> dict[str, Any]:
        """Run the case once and return the items it read."""
        of_table, run = self._cases[case]
        found = _run_once(of_table, run)
        return {"items": items_of(of_table, found), "exact": _exact_of(of_table, found)}

    def seconds(self, case: str, times: int) -> float:
        """Return the processor time, of all threads, of that many runs."""
        of_table, run = self._cases[case]
        gc.collect()
        begun = time.process_time()
        _run_often(of_table, run, times)
        return time.process_time() - begun

    def ways(self) -> dict[str, int]:
        """Return the number of items decoded by each decoder, if the side counts them."""
        total: dict[str, int] = {}
        for of_table in self._of_tables:
            for way, count in of_table.ways().items() if hasattr(of_table, "ways") else ():
                total[way] = total.get(way, 0) + count
        return total

    def settle(self) -> None:
        """Exclude the objects that exist now (botocore's models, pages) from later collections."""
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Close the sides that have a `close` method."""
        for of_table in self._of_tables:
            if hasattr(of_table, "close"):
                of_table.close()


def _runs(of_table: Any, endpoint_url: str, table: Records) -> dict[str, Run]:
    """Return a function for each operation the side has, by name of the operation."""
    runs: dict[str, Run] = {}
    if hasattr(of_table, "get"):
        orders, keys = of_table.orders(), table.keys
        next_key, next_order = cycle(keys), cycle(orders)
        runs["get"] = lambda: of_table.get(next(next_key))
        runs["put"] = lambda: of_table.put(next(next_order))
        runs["batch-get"] = lambda: of_table.get_many(keys)
        runs["batch-put"] = lambda: of_table.put_many(orders)
        runs["query"] = lambda: of_table.query(table.first[0][PARTITION_KEY])
        runs["scan"] = of_table.scan
    if hasattr(of_table, "decode"):
        page = read_pages(endpoint_url, table.table)[0]
        runs["decode"] = lambda: of_table.decode(page)
    if hasattr(of_table, "arrow"):
        runs["arrow"] = of_table.arrow
    return runs


def _run_once(of_table: Any, run: Run) -> Any:
    """Run once; a coroutine is run in the loop of its side."""
    found = run()
    loop = getattr(of_table, "loop", None)
    return loop.run_until_complete(found) if loop and asyncio.iscoroutine(found) else found


def _run_often(of_table: Any, run: Run, times: int) -> None:
    """Run that many times, coroutines one after the other in one run of their loop."""
    loop = getattr(of_table, "loop", None)
    if loop is not None:
        loop.run_until_complete(_await_often(run, times))
        return
    for _ in range(times):
        run()


async def _await_often(run: Run, times: int) -> None:
    for _ in range(times):
        await run()


# ---- values that all sides can be compared by ----------------------------------------------------


def items_of(of_table: Any, found: Any) -> list[Record]:
    """Return the items of a result, loosened and in the order of their keys."""
    if found is None:
        return []
    if hasattr(found, "to_pylist"):
        values = [_of_row(row) for row in found.to_pylist()]
    else:
        values = [of_table.plain(one) for one in _as_list(found)]
    return sorted((loosened(one) for one in values), key=_sort_key)


def loosened(value: Any) -> Any:
    """Return the value in the form all sides can give: floats, dates as text, no None."""
    if isinstance(value, dict):
        return {name: loosened(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [loosened(inner) for inner in value]
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return value


def _exact_of(of_table: Any, found: Any) -> list[Any] | None:
    """Return the models with all their types; None if the side has other objects."""
    if found is None or not hasattr(of_table, "exact") or hasattr(found, "to_pylist"):
        return None
    return sorted((of_table.exact(one) for one in _as_list(found)), key=repr)


def _as_list(found: Any) -> list[Any]:
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _of_row(row: Record) -> Record:
    """Return a row of a table with text parsed: boto3 has dates as text, the library decimals."""
    placed_at = row["placed_at"]
    at = moment(placed_at) if isinstance(placed_at, str) else placed_at
    return {**row, "placed_at": at, "total": Decimal(row["total"])}


def _sort_key(item: Record) -> tuple[str, str]:
    return item["customer_id"], item["order_id"]


# ---- the process ---------------------------------------------------------------------------------


def main() -> None:
    """Answer the requests on standard input."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module, endpoint_url, size = sys.argv[1:]
    side = next(side for side in SIDES if side.module == module)
    try:
        worker = Worker(side, endpoint_url, quick=size == "quick")
    except ImportError as error:
        _reply(replies, {"missing": str(error)})
        return
    _reply(replies, {"reply": worker.cases()})
    for line in sys.stdin:
        try:
            _reply(replies, {"reply": _answer(worker, json.loads(line))})
        except Exception as error:  # noqa: BLE001  the measuring process decides what to do
            _reply(replies, {"error": f"{type(error).__name__}: {error}"})
    worker.close()


def _answer(worker: Worker, request: dict[str, Any]) -> Any:
    if request["do"] == "read":
        return worker.read(request["case"])
    if request["do"] == "seconds":
        return worker.seconds(request["case"], request["times"])
    if request["do"] == "ways":
        return worker.ways()
    return worker.settle()


def _reply(replies: IO[str], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
