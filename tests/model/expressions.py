"""The part of DynamoDB's expressions run control uses, evaluated as DynamoDB does.

What is not in this part raises: a checker that guesses proves nothing. Items are never changed, an
update returns a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Union

Value = Mapping[str, Any]
Item = Mapping[str, Value]


class UnknownExpressionError(AssertionError):
    """The expression is not of the part that is understood, or DynamoDB would not take it."""


# ---- conditions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Absent:
    """``attribute_not_exists(name)``."""

    name: str

    def holds(self, item: Item) -> bool:
        return self.name not in item

    def __str__(self) -> str:
        return f"attribute_not_exists({self.name})"


@dataclass(frozen=True)
class Compared:
    """``name = value``, ``<`` or ``<=``: false where the attribute is absent or of another type."""

    name: str
    operator: str
    value: Value

    def holds(self, item: Item) -> bool:
        if self.name not in item:
            return False
        (tag, found), (wanted_tag, wanted) = _parts(item[self.name]), _parts(self.value)
        if self.operator == "=":
            return tag == wanted_tag and bool(found == wanted)
        if tag != wanted_tag or tag not in ("S", "N", "B"):
            return False
        return bool(found < wanted or (self.operator == "<=" and found == wanted))

    def __str__(self) -> str:
        return f"{self.name} {self.operator} ?"


@dataclass(frozen=True)
class OneOf:
    """``name IN (values)``."""

    name: str
    values: tuple[Value, ...]

    def holds(self, item: Item) -> bool:
        return any(Compared(self.name, "=", value).holds(item) for value in self.values)

    def __str__(self) -> str:
        shown = (str(next(iter(value.values()))) for value in self.values)
        return f"{self.name} IN ({', '.join(shown)})"


@dataclass(frozen=True)
class AllOf:
    """Conditions joined by ``AND``."""

    parts: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """The attributes the parts ask for."""
        return " and ".join(part.name for part in self.parts)

    def holds(self, item: Item) -> bool:
        return all(part.holds(item) for part in self.parts)

    def __str__(self) -> str:
        return " AND ".join(f"({p})" if isinstance(p, AnyOf) else str(p) for p in self.parts)


@dataclass(frozen=True)
class AnyOf:
    """Conditions joined by ``OR``."""

    parts: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """The attributes the parts ask for."""
        return " or ".join(part.name for part in self.parts)

    def holds(self, item: Item) -> bool:
        return any(part.holds(item) for part in self.parts)

    def __str__(self) -> str:
        return " OR ".join(map(str, self.parts))


Condition = Union[Absent, Compared, OneOf, AllOf, AnyOf]


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """Return what must all hold for a condition to hold."""
    if isinstance(condition, AllOf):
        return tuple(inner for part in condition.parts for inner in conjuncts(part))
    return (condition,)


# ---- updates -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Literal:
    """A value of the request."""

    value: Value

    def on(self, item: Item) -> Value:
        return self.value


@dataclass(frozen=True)
class IfAbsent:
    """``if_not_exists(name, value)``."""

    name: str
    value: Value

    def on(self, item: Item) -> Value:
        return item.get(self.name, self.value)


@dataclass(frozen=True)
class Sum:
    """The sum of two numbers."""

    left: Operand
    right: Operand

    def on(self, item: Item) -> Value:
        terms = [_parts(side.on(item)) for side in (self.left, self.right)]
        if {tag for tag, _ in terms} != {"N"}:
            raise UnknownExpressionError("DynamoDB adds numbers only.")
        return {"N": f"{sum(number for _, number in terms).normalize():f}"}


Operand = Union[Literal, IfAbsent, Sum]


@dataclass(frozen=True)
class Update:
    """An update expression: every right side is taken of the item as it was before."""

    sets: tuple[tuple[str, Operand], ...]
    removes: tuple[str, ...]

    @property
    def names(self) -> set[str]:
        """The attributes it changes."""
        return {*dict(self.sets), *self.removes}

    def on(self, item: Item) -> Item:
        """Return the item after the update; of an absent item, the key is given."""
        new = {name: operand.on(item) for name, operand in self.sets}
        kept = {name: value for name, value in item.items() if name not in self.removes}
        return {**kept, **new}


def _parts(value: Value) -> tuple[str, Any]:
    """Return type and content of a value, in a form that compares as DynamoDB does."""
    ((tag, content),) = value.items()
    if tag == "N":
        return tag, Decimal(content)
    return tag, content.encode() if tag == "S" else content
