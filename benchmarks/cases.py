"""What is measured, between which sides, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional, Protocol

from benchmarks.known import BOTO3, LIBRARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.records import Records

PEERS = ("pydynox", "aiodynamo", "PynamoDB", "dyntastic")
MEMORY = "memory"
SHAPES = ("flat", "nested")


@dataclass(frozen=True)
class Target:
    """What a side's time divided by the library's must reach.

    Attributes:
        ratio: Theirs / ours at least; for `inverted`, ours / theirs at most.
    """

    ratio: float
    inverted: bool = False

    def reached(self, ratio: float) -> bool:
        """Tell whether theirs / ours is enough."""
        return 1 / ratio <= self.ratio if self.inverted else ratio >= self.ratio

    def verdict(self, ratio: float) -> str:
        """Return ``ok`` or ``NOT REACHED``, for `inverted` with ours / theirs."""
        words = "ok" if self.reached(ratio) else "NOT REACHED"
        return f"{words} ({1 / ratio:.2f} x)" if self.inverted else words

    def __str__(self) -> str:
        return f"ours <= {self.ratio:g} x" if self.inverted else f">= {self.ratio:g}"


@dataclass(frozen=True)
class Spec:
    """A case before anything runs.

    Attributes:
        name: Such as ``scan-flat``.
        unit: What the time is divided by: ``request``, ``item`` or ``process``.
        sides: Names of those compared, the library first.
        targets: By name of the other side.
    """

    name: str
    unit: str
    sides: tuple[str, ...]
    targets: dict[str, Target] = field(default_factory=dict)

    @property
    def operation(self) -> str:
        """The name without the shape."""
        head, _, shape = self.name.rpartition("-")
        return head if shape in SHAPES else self.name

    @property
    def shape(self) -> Optional[str]:
        """``flat`` or ``nested``; None for what has no table."""
        return self.name[len(self.operation) + 1 :] or None

    def units(self, tables: dict[str, Records]) -> int:
        """Return how many units one run has."""
        if self.unit != "item" or self.shape is None:
            return 1
        table = tables[self.shape]
        return {"scan": len(table.items), "arrow": len(table.items), "decode": table.page}.get(
            self.operation, table.partition
        )


class Sampler(Protocol):
    """A side of a case that can be measured."""

    def __call__(self, times: int) -> float:
        """Return the processor time of so many runs."""


@dataclass
class Case:
    """A case of which every side is ready.

    Attributes:
        spec: What it is.
        units: How many units one run has.
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
        """Choose how many runs of each side make a sample."""
        for name, seconds in self.samplers.items():
            fits = sample_seconds / max(seconds(1), 1e-6)
            self.repeat[name] = max(1, round(fits)) if self.spec.unit != "process" else 1

    def sample(self, number: int) -> None:
        """Measure every side once; each round begins with another side."""
        names = list(self.samplers)
        begin = number % len(names)
        order = names[begin:] + names[:begin]
        for name in order if number % 2 == 0 else reversed(order):
            times = self.repeat[name]
            micros = self.samplers[name](times) * 1e6 / (times * self.units)
            self.samples.setdefault(name, []).append(micros)

    def ratio(self, other: str) -> float:
        """Return how many times our least time the other side needs at least."""
        return min(self.samples[other]) / min(self.samples[LIBRARY])

    def ratios(self, other: str) -> list[float]:
        """Return the ratio within each round."""
        return [b / a for a, b in zip(self.samples[LIBRARY], self.samples[other])]


_ALL = (LIBRARY, BOTO3, *PEERS)
SPECS = (
    Spec("get-flat", "request", _ALL, {BOTO3: Target(4), "pydynox": Target(1.2)}),
    Spec("put-flat", "request", _ALL, {BOTO3: Target(4), "pydynox": Target(1)}),
    Spec("batch-get-flat", "item", _ALL),
    Spec("batch-put-flat", "item", _ALL, {BOTO3: Target(9), "pydynox": Target(1.1)}),
    Spec("query-flat", "item", _ALL),
    Spec(
        "scan-flat",
        "item",
        _ALL,
        {BOTO3: Target(7), "pydynox": Target(3), "aiodynamo": Target(2)},
    ),
    Spec(
        "decode-flat",
        "item",
        (LIBRARY, "orjson.loads", BOTO3),
        {"orjson.loads": Target(2.2, inverted=True)},
    ),
    Spec(
        "arrow-flat",
        "item",
        (LIBRARY, BOTO3, "orjson.loads"),
        {BOTO3: Target(15), "orjson.loads": Target(3)},
    ),
    Spec("get-nested", "request", _ALL),
    Spec("put-nested", "request", _ALL),
    Spec("batch-get-nested", "item", _ALL),
    Spec("batch-put-nested", "item", _ALL),
    Spec("query-nested", "item", _ALL),
    Spec("scan-nested", "item", _ALL, {BOTO3: Target(5), "pydynox": Target(1)}),
    Spec("import", "process", (LIBRARY, "pydantic"), {"pydantic": Target(1.3, inverted=True)}),
    Spec("first-request", "process", (LIBRARY, "boto3"), {"boto3": Target(1)}),
    Spec("first-request-aws", "process", (LIBRARY, "boto3")),
)


def chosen(names: Sequence[str]) -> list[str]:
    """Return the cases of names: whole ones, an operation or a shape; all without names.

    Raises:
        ValueError: A name chooses nothing.
    """
    for name in names:
        if name != MEMORY and not any(_answers_to(spec, name) for spec in SPECS):
            known = ", ".join([*(spec.name for spec in SPECS), MEMORY])
            raise ValueError(f"No benchmark is called {name!r}; there are: {known}.")
    found = [s.name for s in SPECS if not names or any(_answers_to(s, name) for name in names)]
    return [*found, MEMORY] if not names or MEMORY in names else found


def specs(names: Iterable[str]) -> list[Spec]:
    """Return the cases with these names."""
    wanted = set(names)
    return [spec for spec in SPECS if spec.name in wanted]


def _answers_to(spec: Spec, name: str) -> bool:
    return name in (spec.name, spec.operation, spec.shape)
