"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.cases import LIBRARY, MEMORY, Spec, chosen, specs
from benchmarks.measure import Case, measure, ready_case
from benchmarks.memory import TARGET_ITEMS, growth
from benchmarks.processes import RemoteSide, started
from benchmarks.recordings import endless, item_bytes, recordings
from benchmarks.records import records
from benchmarks.replay_server import ReplayServer
from benchmarks.startup import startup_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.records import Records
    from benchmarks.replay_server import Recording

_SCANNED = {True: 50_000, False: TARGET_ITEMS}
_SCAN_SECONDS = {True: 8.0, False: 60.0}
_SECONDS = {True: 25.0, False: 150.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the selected cases and print the tables."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        names = chosen(options.names)
    except ValueError as error:
        parser.error(str(error))
    begun = time.monotonic()
    tables = records(quick=options.quick)
    with ReplayServer(_served(tables, names, quick=options.quick)) as server, ExitStack() as stack:
        cases, sides, notes = _ready(server, stack, tables, specs(names), quick=options.quick)
        repeats = options.repeats or (5 if options.quick else 20)
        rounds = measure(
            cases,
            repeats=repeats,
            sample_seconds=0.01 if options.quick else 0.05,
            deadline=begun + (options.seconds or _SECONDS[options.quick]),
        )
        _print_lines(report.machine())
        of_shapes = [table for table in tables.values() if not table.one_order]
        sizes = ", ".join(f"{table.shape} {item_bytes(table)} bytes" for table in of_shapes)
        print(f"JSON of an item: {sizes}")
        print(report.rounds(rounds, repeats, time.monotonic() - begun), end="\n\n")
        _print_lines(report.table(cases))
        counted = [(remote.side.name, remote.ways()) for remote in sides]
        _print_lines(["", *(report.ways(name, ways) for name, ways in counted if ways)])
        _print_lines(["", *notes] if notes else [])
        if MEMORY in names:
            grown = growth(server.endpoint_url, _SCAN_SECONDS[options.quick])
            _print_lines(["", report.memory(grown)])
    missed = report.missed(cases)
    _print_lines(["", f"Not reached: {', '.join(missed)}."] if missed else [])
    return 0


def _ready(
    server: ReplayServer,
    stack: ExitStack,
    tables: dict[str, Records],
    wanted: Sequence[Spec],
    *,
    quick: bool,
) -> tuple[list[Case], list[RemoteSide], list[str]]:
    """Start the sides; return the cases, the sides and a line for each one that is left out."""
    names = {name for spec in wanted if spec.table is not None for name in spec.sides}
    sides, notes = started(stack, server.endpoint_url, names, quick=quick)
    cases = []
    for spec in wanted:
        if spec.table is None:
            cases.append(startup_case(spec, server.endpoint_url, tables["flat"]))
            continue
        case, left_out = ready_case(spec, sides, server, tables)
        notes += left_out
        if LIBRARY in case.samplers:
            cases.append(case)
        else:
            notes.append(f"{spec.name} is left out: {LIBRARY} cannot run it.")
    for remote in sides:
        remote.settle()
    return cases, sides, notes


def _served(
    tables: dict[str, Records], names: Sequence[str], *, quick: bool
) -> Iterator[Recording]:
    for table in tables.values():
        yield from recordings(table)
    if MEMORY in names:
        yield from endless(tables["flat"], -(-_SCANNED[quick] // tables["flat"].page))


def _print_lines(lines: Iterator[str] | Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the processor time of this library, boto3 with Pydantic and others.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        help="a case (scan-flat), operation (scan) or table (flat), import, memory; default: all",
    )
    parser.add_argument("--repeats", type=int, help="number of rounds")
    parser.add_argument("--seconds", type=float, help="start no round that would end later")
    parser.add_argument("--quick", action="store_true", help="small pages, few rounds")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
