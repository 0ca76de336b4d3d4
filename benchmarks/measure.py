"""Processor time of the client, side by side.

Only this process is counted, all its threads; the server is another one. Every round measures every
case on every side, in changing order, so that a busy machine disturbs all alike; of the rounds the
least counts, and the most is shown beside it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Callable

from benchmarks.sides import ByHand, ByRepository, Side
from benchmarks.workload import ModelT, Workload

Run = Callable[[], Any]


@dataclass
class Case:
    """One operation on one table.

    Attributes:
        name: Such as ``scan-flat``.
        unit: What the time is divided by: ``request`` or ``item``.
        units: How many of them one run does.
        runs: Side to what is measured; returns what was read.
        repeat: Runs in one sample.
        samples: Side to microseconds per unit, one for each round.
    """

    name: str
    unit: str
    units: int
    runs: dict[str, Run]
    repeat: int = 1
    samples: dict[str, list[float]] = field(default_factory=dict)

    def check(self) -> None:
        """Run every side once and compare what they read; this warms them as well."""
        read = [run() for run in self.runs.values()]
        if any(other != read[0] for other in read):
            raise AssertionError(f"{self.name}: the sides read different models.")

    def calibrate(self, sample_seconds: float) -> None:
        """Choose how many runs make a sample."""
        slowest = max(_cpu_seconds(run, 1) for run in self.runs.values())
        self.repeat = max(1, round(sample_seconds / max(slowest, 1e-6)))

    def sample(self, number: int) -> None:
        """Measure every side once."""
        names = list(self.runs)
        for name in names if number % 2 == 0 else reversed(names):
            seconds = _cpu_seconds(self.runs[name], self.repeat)
            found = self.samples.setdefault(name, [])
            found.append(seconds * 1e6 / (self.repeat * self.units))

    def ratio(self, ours: str, theirs: str) -> float:
        """Return how many times our least time the other side needs at least."""
        return min(self.samples[theirs]) / min(self.samples[ours])


def cases(endpoint_url: str, workload: Workload[ModelT]) -> list[Case]:
    """Return the cases of one table."""
    sides: list[Side[ModelT]] = [
        ByHand(endpoint_url, workload),
        ByRepository(endpoint_url, workload),
    ]
    found = [
        Case(f"{operation}-{workload.shape}", unit, units, {})
        for operation, unit, units in (
            ("get", "request", 1),
            ("put", "request", 1),
            ("batch-get", "item", workload.partition),
            ("batch-put", "item", workload.partition),
            ("query", "item", workload.partition),
            ("scan", "item", len(workload.orders)),
        )
    ]
    for side in sides:
        for case, run in zip(found, _runs(side, workload)):
            case.runs[side.name] = run
    return found


def _runs(side: Side[ModelT], workload: Workload[ModelT]) -> Iterator[Run]:
    orders = workload.first
    keys = [(order.customer_id, order.order_id) for order in orders]
    next_key, next_order = cycle(keys), cycle(orders)
    yield lambda: side.get(next(next_key))
    yield lambda: side.put(next(next_order))
    yield lambda: side.get_many(keys)
    yield lambda: side.put_many(orders)
    yield lambda: side.query(orders[0].customer_id)
    yield side.scan


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
        case.check()
        case.calibrate(sample_seconds)
    gc.freeze()  # the recordings and botocore's models would be walked before every sample
    try:
        for number in range(repeats):
            begun = time.monotonic()
            for case in selected:
                case.sample(number)
            now = time.monotonic()
            if now + (now - begun) > deadline:
                return number + 1
        return repeats
    finally:
        gc.unfreeze()


def chosen(found: Iterable[Case], names: Sequence[str]) -> list[Case]:
    """Return the cases of names: whole ones, an operation or a shape; all without names.

    Raises:
        ValueError: A name chooses nothing.
    """
    every = list(found)
    for name in names:
        if not any(_answers_to(case, name) for case in every):
            known = ", ".join(case.name for case in every)
            raise ValueError(f"No benchmark is called {name!r}; there are: {known}.")
    return [case for case in every if not names or any(_answers_to(case, n) for n in names)]


def _answers_to(case: Case, name: str) -> bool:
    operation, _, shape = case.name.rpartition("-")
    return name in (case.name, operation, shape)


def _cpu_seconds(run: Run, times: int) -> float:
    gc.collect()
    begun = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - begun
