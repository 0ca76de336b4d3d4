"""The text that is printed."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from benchmarks.cases import LIBRARY, SIDES
from benchmarks.memory import TARGET_BYTES, TARGET_ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.measure import Case
    from benchmarks.memory import Growth

_ROW = "{:<20} {:<8} {:<17} {:>19} {:>7} {:>15}   {:<13} {}"
_MEGABYTE = 1_000_000


def machine() -> Iterator[str]:
    """Yield the versions and the machine."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield f"{python}; {os.cpu_count()} cores, {platform.machine()}"
    packages = [package for side in SIDES for package in side.packages]
    yield ", ".join(f"{package} {_version(package)}" for package in [*packages, "pyarrow"])


def table(cases: Sequence[Case]) -> Iterator[str]:
    """Yield a row for each side of each case."""
    yield "Processor time of the client in µs: least - most of the rounds."
    yield f"Ratio: least time of the side / least time of {LIBRARY}; above 1, {LIBRARY} is faster."
    yield "Within a round: the least and the greatest ratio of one round."
    yield ""
    header = ("benchmark", "per", "side", "time", "ratio", "within a round", "target", "")
    yield _ROW.format(*header).rstrip()
    for case in cases:
        yield from _rows(case)


def ways(name: str, counts: dict[str, int]) -> str:
    """Return the line with the number of items decoded by each decoder."""
    shown = ", ".join(f"{count:,} {way}" for way, count in counts.items())
    return f"Items decoded by {name}: {shown}."


def memory(growth: Growth) -> str:
    """Return the line about the memory of a long scan."""
    verdict = "ok" if growth.grown < TARGET_BYTES else "NOT REACHED"
    if verdict == "ok" and growth.items < TARGET_ITEMS:
        verdict = f"not judged by fewer than {TARGET_ITEMS:,} items"
    return (
        f"memory: {growth.grown / _MEGABYTE:.0f} MB more at most while {growth.items:,} flat items "
        f"were scanned in {growth.seconds:.0f} s, from {growth.before / _MEGABYTE:.0f} MB; "
        f"target < {TARGET_BYTES // _MEGABYTE} MB: {verdict}"
    )


def rounds(done: int, wanted: int, seconds: float) -> str:
    """Return the line with the number of rounds and the time they took."""
    cut = f" of {wanted}; no time was left for more" if done < wanted else ""
    return f"{done} rounds{cut}; {seconds:.0f} s"


def missed(cases: Iterable[Case]) -> list[str]:
    """Return the targets that were not reached, such as ``get-flat (boto3 + Pydantic)``."""
    return [
        f"{case.spec.name} ({other})"
        for case in cases
        for other, target in case.spec.targets.items()
        if other in case.samples and not target.reached(case.ratio(other))
    ]


def _rows(case: Case) -> Iterator[str]:
    for name, samples in case.samples.items():
        cells = (case.spec.name, case.spec.unit, name, _spread(samples), *_compared(case, name))
        yield _ROW.format(*cells).rstrip()


def _compared(case: Case, name: str) -> tuple[str, str, str, str]:
    if name == LIBRARY:
        return "", "", "", ""
    ratio, within = case.ratio(name), case.ratios(name)
    shown = f"{ratio:.2f}", f"{min(within):.2f} - {max(within):.2f}"
    target = case.spec.targets.get(name)
    if target is None:
        return *shown, "", ""
    return *shown, str(target), target.verdict(ratio)


def _spread(samples: Sequence[float]) -> str:
    digits = 0 if min(samples) >= 100 else 1 if min(samples) >= 10 else 2
    return f"{min(samples):,.{digits}f} - {max(samples):,.{digits}f}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from source" if package == LIBRARY else "absent"
