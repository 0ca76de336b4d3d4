"""The process of one side: it imports that side's library, does what it is told, and tells.

Requests and replies are lines of JSON, on standard input and on what was standard output; anything
else that is printed goes to standard error. It ends when its input ends.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from importlib import import_module
from typing import IO, Any

from benchmarks.known import SIDES, Known
from benchmarks.operations import Run, exact_of, items_of, run_often, run_once, runs
from benchmarks.records import records


class Worker:
    """One side on both tables.

    Args:
        known: Which side.
        endpoint_url: Where the replay server is.
        quick: Whether it serves the short pages.
    """

    def __init__(self, known: Known, endpoint_url: str, *, quick: bool) -> None:
        made = getattr(import_module(f"benchmarks.sides.{known.module}"), known.type_name)
        self._cases: dict[str, tuple[Any, Run]] = {}
        self._sides: list[Any] = []
        for shape, table in records(quick=quick).items():
            side = made(endpoint_url, table)
            self._sides.append(side)
            for operation, run in runs(side, endpoint_url, table).items():
                self._cases[f"{operation}-{shape}"] = (side, run)

    def cases(self) -> list[str]:
        """Return the names of the cases it can measure."""
        return list(self._cases)

    def read(self, case: str) -> dict[str, Any]:
        """Run once and return what was read."""
        side, run = self._cases[case]
        found = run_once(side, run)
        return {"items": items_of(side, found), "exact": exact_of(side, found)}

    def seconds(self, case: str, times: int) -> float:
        """Return the processor time, of all threads, of so many runs."""
        side, run = self._cases[case]
        gc.collect()
        begun = time.process_time()
        run_often(side, run, times)
        return time.process_time() - begun

    def ways(self) -> dict[str, int]:
        """Return how many items were decoded which way, by a side that counts them."""
        total: dict[str, int] = {}
        for side in self._sides:
            for way, count in side.ways().items() if hasattr(side, "ways") else ():
                total[way] = total.get(way, 0) + count
        return total

    def settle(self) -> None:
        """Keep the collector from walking what stays: botocore's models, the pages."""
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Close what a side wants closed."""
        for side in self._sides:
            if hasattr(side, "close"):
                side.close()


def answer(worker: Worker, request: dict[str, Any]) -> Any:
    """Return the reply to a request."""
    if request["do"] == "read":
        return worker.read(request["case"])
    if request["do"] == "seconds":
        return worker.seconds(request["case"], request["times"])
    if request["do"] == "ways":
        return worker.ways()
    return worker.settle()


def main() -> None:
    """Serve the requests on standard input."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module, endpoint_url, size = sys.argv[1:]
    known = next(side for side in SIDES if side.module == module)
    try:
        worker = Worker(known, endpoint_url, quick=size == "quick")
    except ImportError as error:
        _reply(replies, {"missing": str(error)})
        return
    _reply(replies, {"reply": worker.cases()})
    for line in sys.stdin:
        try:
            _reply(replies, {"reply": answer(worker, json.loads(line))})
        except Exception as error:  # noqa: BLE001  told to the other process, which decides
            _reply(replies, {"error": f"{type(error).__name__}: {error}"})
    worker.close()


def _reply(replies: IO[str], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
