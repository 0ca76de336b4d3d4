"""The sides that are compared, the cases they are measured in, and the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.records import Records

LIBRARY, BOTO3 = "dynamodb-wrapper", "boto3 + Pydantic"
ORJSON, PYDANTIC = "orjson.loads", "pydantic"
PEERS = ("pydynox", "aiodynamo", "PynamoDB", "dyntastic")
MEMORY = "memory"


@dataclass(frozen=True)
class Side:
    """A library that is measured, or a way of using one.

    Attributes:
        name: Its name in the printed tables.
        module: Its module in `benchmarks.sides`.
        type_name: Its class in that module.
        packages: The packages whose versions are printed.
        required: Whether the run ends if the side is missing or fails.
    """

    name: str
    module: str
    type_name: str
    packages: tuple[str, ...]
    required: bool = False


SIDES = (
    Side(LIBRARY, "by_library", "ByLibrary", ("dynamodb-wrapper",), required=True),
    Side(
        BOTO3,
        "by_boto3",
        "ByBoto3",
        ("boto3", "botocore", "pydantic", "pydantic-core"),
        required=True,
    ),
    Side("pydynox", "by_pydynox", "ByPydynox", ("pydynox",)),
    Side("aiodynamo", "by_aiodynamo", "ByAiodynamo", ("aiodynamo", "aiohttp")),
    Side("PynamoDB", "by_pynamodb", "ByPynamoDB", ("pynamodb",)),
    Side("dyntastic", "by_dyntastic", "ByDyntastic", ("dyntastic",)),
    Side(ORJSON, "by_orjson", "ByOrjson", ("orjson",)),
)


@dataclass(frozen=True)
class Target:
    """A limit for the time of another side divided by the time of this library.

    Attributes:
        ratio: The least theirs / ours; if `inverted`, the greatest ours / theirs.
    """

    ratio: float
    inverted: bool = False

    def reached(self, ratio: float) -> bool:
        """Return whether a measured theirs / ours reaches the target."""
        return 1 / ratio <= self.ratio if self.inverted else ratio >= self.ratio

    def verdict(self, ratio: float) -> str:
        """Return ``ok`` or ``NOT REACHED``; if `inverted`, followed by ours / theirs."""
        words = "ok" if self.reached(ratio) else "NOT REACHED"
        return f"{words} ({1 / ratio:.2f} x)" if self.inverted else words

    def __str__(self) -> str:
        return f"ours <= {self.ratio:g} x" if self.inverted else f">= {self.ratio:g}"


@dataclass(frozen=True)
class Spec:
    """The description of a case.

    Attributes:
        operation: Such as ``scan``.
        table: Key in `benchmarks.records.records()`; None for a case that starts a process.
        unit: The time is given per ``request``, ``item`` or ``process``.
        sides: Names of the sides that are compared, the library first.
        targets: By name of the other side.
    """

    operation: str
    table: Optional[str]
    unit: str
    sides: tuple[str, ...]
    targets: dict[str, Target] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Operation and table, such as ``scan-flat``."""
        return self.operation if self.table is None else f"{self.operation}-{self.table}"

    def units(self, tables: dict[str, Records]) -> int:
        """Return the number of units in one run."""
        if self.unit != "item" or self.table is None:
            return 1
        table = tables[self.table]
        return {"scan": len(table.items), "arrow": len(table.items), "decode": table.page}.get(
            self.operation, table.partition
        )

    def answers_to(self, name: str) -> bool:
        """Return whether a name on the command line selects this case."""
        return name in (self.name, self.operation, self.table)


_ALL = (LIBRARY, BOTO3, *PEERS)
_SCAN = {BOTO3: Target(10), "pydynox": Target(5), "aiodynamo": Target(1.8)}
_NO_SLOWER = {BOTO3: Target(1, inverted=True)}
# In `flat` and `nested` every item has its own order of attributes, see recordings.py.
SPECS = (
    Spec("get", "flat", "request", _ALL, {BOTO3: Target(6), "pydynox": Target(1.8)}),
    Spec("put", "flat", "request", _ALL, {BOTO3: Target(6), "pydynox": Target(1.8)}),
    Spec("batch-get", "flat", "item", _ALL),
    Spec("batch-put", "flat", "item", _ALL, {BOTO3: Target(9), "pydynox": Target(1.1)}),
    Spec("query", "flat", "item", _ALL),
    Spec("scan", "flat", "item", _ALL, _SCAN),
    Spec("scan", "flat-one-order", "item", (LIBRARY, *_SCAN), _SCAN),
    Spec("decode", "flat", "item", (LIBRARY, ORJSON, BOTO3), {ORJSON: Target(2.2, inverted=True)}),
    Spec("arrow", "flat", "item", (LIBRARY, BOTO3, ORJSON), {BOTO3: Target(12)}),
    Spec("arrow", "flat-one-order", "item", (LIBRARY, BOTO3, ORJSON), {BOTO3: Target(12)}),
    Spec("get", "nested", "request", _ALL),
    Spec("put", "nested", "request", _ALL),
    Spec("batch-get", "nested", "item", _ALL),
    Spec("batch-put", "nested", "item", _ALL),
    Spec("query", "nested", "item", _ALL),
    Spec("scan", "nested", "item", _ALL, {BOTO3: Target(7), "pydynox": Target(1)}),
    Spec(
        "import", None, "process", (LIBRARY, "pydantic"), {"pydantic": Target(1.3, inverted=True)}
    ),
    Spec("first-request", None, "process", (LIBRARY, BOTO3), _NO_SLOWER),
    Spec("first-request-aws", None, "process", (LIBRARY, BOTO3), _NO_SLOWER),
)


def chosen(names: Sequence[str]) -> list[str]:
    """Return the names of the selected cases, in the order of `SPECS`; all if `names` is empty.

    Args:
        names: Names of cases, operations or tables, or ``memory``.

    Raises:
        ValueError: A name selects nothing.
    """
    for name in names:
        if name != MEMORY and not any(spec.answers_to(name) for spec in SPECS):
            known = ", ".join([*(spec.name for spec in SPECS), MEMORY])
            raise ValueError(f"No benchmark is called {name!r}; there are: {known}.")
    found = [s.name for s in SPECS if not names or any(s.answers_to(name) for name in names)]
    return [*found, MEMORY] if not names or MEMORY in names else found


def specs(names: Iterable[str]) -> list[Spec]:
    """Return the cases with these names."""
    wanted = set(names)
    return [spec for spec in SPECS if spec.name in wanted]
