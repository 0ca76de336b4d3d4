"""Processor time of the client, each side in its own process.

The server is another process. Every round measures every case on every side, in changing order,
so that other load on the machine affects all sides alike. The least time of all rounds counts; the
most is printed beside it. Before that every side runs once, and all must read the same items.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.cases import BOTO3, LIBRARY, Spec
from benchmarks.processes import RemoteSide, SideFailedError
from benchmarks.records import moment
from benchmarks.worker import items_of, loosened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.records import Record, Records
    from benchmarks.replay_server import ReplayServer

_WRITES = ("put", "batch-put")


class Sampler(Protocol):
    """A side of a case, ready to be measured."""

    def __call__(self, times: int) -> float:
        """Return the processor time in seconds of that many runs."""


@dataclass
class Case:
    """A case whose sides are ready.

    Attributes:
        spec: Its description.
        units: The number of units in one run.
        samplers: By name of the side, the library first.
        repeat: Runs in one sample, by name of the side.
        samples: Microseconds per unit, one for each round, by name of the side.
    """

    spec: Spec
    units: int
    samplers: dict[str, Sampler]
    repeat: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def calibrate(self, sample_seconds: float) -> None:
        """Set the number of runs in a sample of each side."""
        for name, seconds in self.samplers.items():
            fits = sample_seconds / max(seconds(1), 1e-6)
            self.repeat[name] = max(1, round(fits)) if self.spec.unit != "process" else 1

    def sample(self, number: int) -> None:
        """Measure every side once; each round starts with another side."""
        names = list(self.samplers)
        begin = number % len(names)
        order = names[begin:] + names[:begin]
        for name in order if number % 2 == 0 else reversed(order):
            times = self.repeat[name]
            micros = self.samplers[name](times) * 1e6 / (times * self.units)
            self.samples.setdefault(name, []).append(micros)

    def ratio(self, other: str) -> float:
        """Return the least time of the other side divided by the least time of the library."""
        return min(self.samples[other]) / min(self.samples[LIBRARY])

    def ratios(self, other: str) -> list[float]:
        """Return the ratio of each round."""
        return [b / a for a, b in zip(self.samples[LIBRARY], self.samples[other])]


def ready_case(
    spec: Spec, sides: Sequence[RemoteSide], server: ReplayServer, tables: dict[str, Records]
) -> tuple[Case, list[str]]:
    """Return the case with the sides that read the right items.

    Returns:
        The case, and one line for each side that failed.

    Raises:
        AssertionError: The library and boto3 read different models, or a side read other items.
        SideFailedError: The library or boto3 failed.
    """
    assert spec.table is not None
    expected = expected_items(spec, tables[spec.table])
    case, notes = Case(spec, spec.units(tables), {}), []
    exact: dict[str, Any] = {}
    for remote in (r for r in sides if r.side.name in spec.sides and spec.name in r.cases):
        name = remote.side.name
        try:
            found = read(spec, remote, server)
        except SideFailedError as error:
            if remote.side.required:
                raise
            notes.append(f"{spec.name} is measured without one side: {error}")
            continue
        compare(spec.name, name, found["items"], expected)
        exact[name] = found["exact"]
        case.samplers[name] = _sampler(remote, spec.name)
    if LIBRARY in exact and exact[LIBRARY] != exact.get(BOTO3):
        raise AssertionError(f"{spec.name}: {LIBRARY} and {BOTO3} read different models.")
    return case, notes


def expected_items(spec: Spec, table: Records) -> list[Record]:
    """Return the items that one run of the case reads or writes, in the order of their keys."""
    whole = {"scan": table.items, "arrow": table.items, "decode": table.items[: table.page]}
    one = table.items[:1] if spec.operation in ("get", "put") else table.first
    return [loosened(item) for item in whole.get(spec.operation, one)]


def read(spec: Spec, remote: RemoteSide, server: ReplayServer) -> dict[str, Any]:
    """Run the case once and return the items that the side read or sent."""
    if spec.operation not in _WRITES:
        return remote.read(spec.name)
    with server.writes() as written:
        remote.read(spec.name)
    return {"items": items_of(_AsSent(), written), "exact": None}


def compare(case: str, side: str, found: Sequence[Record], expected: Sequence[Record]) -> None:
    """Raise an AssertionError unless the items are the expected ones."""
    if len(found) != len(expected):
        raise AssertionError(f"{case}: {side} has {len(found)} items, not {len(expected)}.")
    for one, other in zip(found, expected):
        if one != other:
            raise AssertionError(f"{case}: {side} has the item\n{one}\ninstead of\n{other}")


def measure(
    selected: Sequence[Case], *, repeats: int, sample_seconds: float, deadline: float
) -> int:
    """Fill the samples of the cases and return the number of rounds, at least 1.

    Args:
        selected: The cases.
        repeats: The number of rounds wanted.
        sample_seconds: The length of a sample; a sample is at least one run.
        deadline: A reading of `time.monotonic`; a round that would end later is not started.
    """
    for case in selected:
        case.calibrate(sample_seconds)
    for number in range(repeats):
        begun = time.monotonic()
        for case in selected:
            case.sample(number)
        now = time.monotonic()
        if now + (now - begun) > deadline:
            return number + 1
    return repeats


def _sampler(remote: RemoteSide, case: str) -> Sampler:
    return lambda times: remote.seconds(case, times)


class _AsSent:
    """Reads the items of requests with boto3's deserializer."""

    def plain(self, found: dict[str, Any]) -> Record:
        from boto3.dynamodb.types import TypeDeserializer

        values = {name: TypeDeserializer().deserialize(typed) for name, typed in found.items()}
        return {**values, "placed_at": moment(values["placed_at"])}
