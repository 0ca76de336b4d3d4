"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib import metadata
from typing import TYPE_CHECKING

from benchmarks.measure import Case, cases, chosen, measure
from benchmarks.replay_server import ReplayServer
from benchmarks.sides import ByHand, ByRepository
from benchmarks.workload import workloads

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGES = ("boto3", "botocore", "pydantic", "pydantic-core", "dynamodb-wrapper")
_ROW = "{:<17} {:<8} {:>18} {:>18} {:>7}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print the table."""
    parser = _parser()
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    flat, nested = workloads(quick=options.quick)
    repeats = options.repeats or (5 if options.quick else 20)
    with ReplayServer([*flat.recordings(), *nested.recordings()]) as server:
        found = [*cases(server.endpoint_url, flat), *cases(server.endpoint_url, nested)]
        try:
            selected = chosen(found, options.names)
        except ValueError as error:
            parser.error(str(error))
        rounds = measure(
            selected,
            repeats=repeats,
            sample_seconds=0.01 if options.quick else 0.05,
            deadline=begun + (options.seconds or (10 if options.quick else 75)),
        )
    print(_machine())
    print(f"JSON of an item: flat {flat.item_bytes} bytes, nested {nested.item_bytes} bytes")
    print(_rounds(rounds, repeats, time.monotonic() - begun))
    print()
    for line in report(selected):
        print(line)
    return 0


def report(selected: Sequence[Case]) -> list[str]:
    """Return the lines of the table."""
    theirs, ours = ByHand.name, ByRepository.name
    lines = [
        "Processor time of the client in µs: least - most of the rounds.",
        f"Ratio: least of {theirs} / least of {ours}; above 1, {ours} needs less.",
        "",
        _ROW.format("benchmark", "per", f"{theirs} + pydantic", ours, "ratio").rstrip(),
    ]
    for case in selected:
        times = (_spread(case.samples[theirs]), _spread(case.samples[ours]))
        lines.append(_ROW.format(case.name, case.unit, *times, f"{case.ratio(ours, theirs):.2f}"))
    return lines


def _spread(samples: Sequence[float]) -> str:
    digits = 0 if min(samples) >= 100 else 1
    return f"{min(samples):,.{digits}f} - {max(samples):,.{digits}f}"


def _machine() -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {versions}; {os.cpu_count()} cores, {platform.machine()}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from source"


def _rounds(done: int, wanted: int, seconds: float) -> str:
    cut = f" of {wanted}; the time was used up" if done < wanted else ""
    return f"{done} rounds{cut}; {seconds:.0f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Client CPU of boto3 with Pydantic and of this library on the same pages.",
    )
    parser.add_argument(
        "names", nargs="*", help="scan-flat, or an operation such as scan, or flat or nested"
    )
    parser.add_argument("--repeats", type=int, help="rounds")
    parser.add_argument("--seconds", type=float, help="begin no further round after this")
    parser.add_argument("--quick", action="store_true", help="small pages, few rounds")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
