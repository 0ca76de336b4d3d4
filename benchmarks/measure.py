"""Processor time of the client, side by side, each side in a process of its own.

The server is yet another process. Every round measures every case on every side, in changing order,
so that a busy machine disturbs all alike; of the rounds the least counts, and the most is shown
beside it. Before that, every side reads once and must read what the others read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.cases import Case, Sampler, Spec
from benchmarks.known import BOTO3, LIBRARY
from benchmarks.operations import items_of, loosened
from benchmarks.workers import RemoteSide, SideFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.records import Record, Records
    from benchmarks.replay_server import ReplayServer

_WRITES = ("put", "batch-put")


def ready_case(
    spec: Spec, sides: Sequence[RemoteSide], server: ReplayServer, tables: dict[str, Records]
) -> tuple[Case, list[str]]:
    """Return the case with the sides that read what they should, and a line for each other.

    Raises:
        AssertionError: The library and boto3 read different models, or a side other items.
        SideFailedError: The library or boto3 failed.
    """
    assert spec.shape is not None
    expected = expected_items(spec, tables[spec.shape])
    case, notes = Case(spec, spec.units(tables), {}), []
    exact: dict[str, Any] = {}
    for side in (s for s in sides if s.known.name in spec.sides and spec.name in s.cases):
        name = side.known.name
        try:
            found = read(spec, side, server)
        except SideFailedError as error:
            if side.known.required:
                raise
            notes.append(f"{spec.name} leaves a side out: {error}")
            continue
        compare(spec.name, name, found["items"], expected)
        exact[name] = found["exact"]
        case.samplers[name] = _sampler(side, spec.name)
    if LIBRARY in exact and exact[LIBRARY] != exact.get(BOTO3):
        raise AssertionError(f"{spec.name}: {LIBRARY} and {BOTO3} read different models.")
    return case, notes


def expected_items(spec: Spec, table: Records) -> list[Record]:
    """Return the items a run of the case reads or writes, in the order of their keys."""
    whole = {"scan": table.items, "arrow": table.items, "decode": table.items[: table.page]}
    one = table.items[:1] if spec.operation in ("get", "put") else table.first
    return [loosened(item) for item in whole.get(spec.operation, one)]


def read(spec: Spec, side: RemoteSide, server: ReplayServer) -> dict[str, Any]:
    """Run once and return what the side read, or what it sent."""
    if spec.operation not in _WRITES:
        return side.read(spec.name)
    with server.writes() as written:
        side.read(spec.name)
    return {"items": items_of(_AsSent(), written), "exact": None}


def compare(case: str, side: str, found: Sequence[Record], expected: Sequence[Record]) -> None:
    """Raise unless the items are those expected."""
    if len(found) != len(expected):
        raise AssertionError(f"{case}: {side} has {len(found)} items, not {len(expected)}.")
    for one, other in zip(found, expected):
        if one != other:
            raise AssertionError(f"{case}: {side} has another item:\n{one}\nthan\n{other}")


def measure(
    selected: Sequence[Case], *, repeats: int, sample_seconds: float, deadline: float
) -> int:
    """Fill the samples of the cases; return the number of rounds, at least 1.

    Args:
        selected: What is measured.
        repeats: Rounds wanted.
        sample_seconds: Aim for one sample; a sample is one run at least.
        deadline: Monotonic time; no round begins that would pass it.
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


def _sampler(side: RemoteSide, case: str) -> Sampler:
    return lambda times: side.seconds(case, times)


class _AsSent:
    """Reads the items of requests, with boto3's deserializer."""

    def plain(self, found: dict[str, Any]) -> Record:
        from boto3.dynamodb.types import TypeDeserializer

        from benchmarks.records import moment

        values = {name: TypeDeserializer().deserialize(typed) for name, typed in found.items()}
        return {**values, "placed_at": moment(values["placed_at"])}
