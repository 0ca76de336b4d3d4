"""Changes of an item in place, as an update expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.wire.attributes import encode_value
from dynamodb_wrapper.wire.paths import Path, Target, encode_at, resolve, validated
from dynamodb_wrapper.wire.shapes import alternatives, strip

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.wire.attributes import AttributeValue
    from dynamodb_wrapper.wire.expressions import Expressions

Changes = Mapping[Path, Any]


@dataclass
class Update:
    """An update expression in the making; clauses keep their order.

    The methods with a path and an encoded value are for callers that know the stored form; the
    functions below build from checked fields.
    """

    expressions: Expressions
    sets: list[str] = field(default_factory=list)
    removes: list[str] = field(default_factory=list)
    adds: list[str] = field(default_factory=list)

    def set(self, steps: Sequence[str | int], value: AttributeValue) -> None:
        """Set an attribute."""
        self.sets.append(f"{self.expressions.path(steps)} = {self.expressions.value(value)}")

    def set_if_absent(self, steps: Sequence[str | int], value: AttributeValue) -> None:
        """Set an attribute only where there is none."""
        path = self.expressions.path(steps)
        self.sets.append(f"{path} = if_not_exists({path}, {self.expressions.value(value)})")

    def remove(self, steps: Sequence[str | int]) -> None:
        """Remove an attribute."""
        self.removes.append(self.expressions.path(steps))

    def add(self, steps: Sequence[str | int], value: AttributeValue) -> None:
        """Add to a number or a set; an absent one begins at nothing."""
        self.adds.append(f"{self.expressions.path(steps)} {self.expressions.value(value)}")

    def increase(self, steps: Sequence[str | int], *, start: int = 0) -> None:
        """Raise a counter by one; an absent one counts as `start`."""
        path = self.expressions.path(steps)
        first = self.expressions.value({"N": str(start)})
        one = self.expressions.value({"N": "1"})
        self.sets.append(f"{path} = if_not_exists({path}, {first}) + {one}")

    def append(self, steps: Sequence[str | int], values: AttributeValue) -> None:
        """Append to a list; an absent one begins empty."""
        path = self.expressions.path(steps)
        empty = self.expressions.value({"L": []})
        more = self.expressions.value(values)
        self.sets.append(f"{path} = list_append(if_not_exists({path}, {empty}), {more})")

    @property
    def text(self) -> str:
        """The update expression."""
        clauses = (("SET", self.sets), ("REMOVE", self.removes), ("ADD", self.adds))
        return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts)


@dataclass(frozen=True)
class CheckedChanges:
    """Typed changes of one item, checked against its model.

    Attributes:
        values: Whole fields that get a value, validated.
        removed: Whole fields that are removed.
        touched: Every top-level field concerned.
        clauses: What to add to the update: method name, steps, encoded value.
    """

    values: dict[str, Any]
    removed: set[str]
    touched: set[str]
    clauses: list[tuple[str, tuple[str | int, ...], AttributeValue | None]]

    def write(self, update: Update) -> None:
        """Add the changes to an update."""
        for verb, steps, value in self.clauses:
            if value is None:
                update.remove(steps)
            else:
                getattr(update, verb)(steps, value)


def check_changes(
    model: type[BaseModel], set_: Changes, remove: Sequence[Path], add: Changes, append: Changes
) -> CheckedChanges:
    """Validate changes against the fields of a model.

    Raises:
        ValidationError: An unknown field, a value the field does not take, or overlapping paths.
    """
    checked = CheckedChanges({}, set(), set(), [])
    targets: list[Target] = []
    for verb, changes in (("set", set_), ("add", add), ("append", append)):
        for path, value in changes.items():
            target = resolve(model, path)
            targets.append(target)
            _take(checked, verb, path, target, value)
    for path in [remove] if isinstance(remove, str) else remove:
        target = resolve(model, path)
        targets.append(target)
        _take_removal(checked, model, path, target)
    _refuse_overlaps(targets)
    if not targets:
        raise ValidationError("An update without changes: give set, remove, add or append.")
    return checked


def _take(checked: CheckedChanges, verb: str, path: Path, target: Target, value: Any) -> None:
    name = path if isinstance(path, str) else str(path[0])
    checked.touched.add(name)
    if verb == "set":
        taken = validated(target, value)
        encoded = encode_at(target, taken)
        whole = len(target.steps) == 1
        if whole:
            checked.values[name] = taken
        absent = target.field is not None and not target.inside and _means_absent(target, taken)
        if absent and whole:
            checked.removed.add(name)
        checked.clauses.append(("set", target.steps, None if absent else encoded))
    elif verb == "append":
        _refuse_frozen(target)
        if not isinstance(value, (list, tuple)):
            raise ValidationError(f"{target.label}: append takes a list of values to append.")
        encoded = encode_at(target, validated(target, list(value)))
        if "L" not in encoded:
            raise ValidationError(f"{target.label} is not a list; only lists can be appended to.")
        checked.clauses.append(("append", target.steps, encoded))
    else:
        checked.clauses.append(("add", target.steps, _addend(target, value)))


def _means_absent(target: Target, value: Any) -> bool:
    field = target.field
    return field is not None and (
        (value is None and field.omits_none)
        or (field.is_set and isinstance(value, AbstractSet) and not value)
    )


def _addend(target: Target, value: Any) -> AttributeValue:
    """Return what to add; limits of the field are for its sum, which only DynamoDB knows."""
    _refuse_frozen(target)
    encoded = encode_value(value, target.label)
    if next(iter(encoded)) not in ("N", "SS", "NS", "BS"):
        raise ValidationError(f"{target.label}: only a number or a non-empty set can be added.")
    members = () if target.field is None or target.inside else alternatives(target.field.annotation)
    if not members or any(member in (Any, object) for member in members):
        return encoded
    if "N" not in encoded:
        return encode_at(target, validated(target, value))
    numbers = [strip(m) for m in members if strip(m) in (int, float, Decimal, datetime, timedelta)]
    if not numbers:
        raise ValidationError(f"{target.label} is no number; nothing can be added to it.")
    if numbers == [int] and value % 1:
        raise ValidationError(f"{target.label} is a whole number; add an int.")
    return encoded


def _refuse_frozen(target: Target) -> None:
    if target.owner is None or target.field is None:
        return
    if target.owner.model_fields[target.field.name].frozen:
        raise ValidationError(f"{target.label} is frozen; a method of its own changes it.")


def _take_removal(
    checked: CheckedChanges, model: type[BaseModel], path: Path, target: Target
) -> None:
    name = path if isinstance(path, str) else str(path[0])
    checked.touched.add(name)
    _refuse_frozen(target)
    if target.owner is not None and target.field is not None and not target.inside:
        required = target.owner.model_fields[target.field.name].is_required()
        if required and not (target.field.is_set or target.field.omits_none):
            raise ValidationError(
                f"{target.label} is a required field; an item without it could not be read."
            )
    if len(target.steps) == 1:
        info = model.model_fields.get(name)
        checked.removed.add(name)
        checked.values[name] = info.get_default(call_default_factory=True) if info else None
    checked.clauses.append(("remove", target.steps, None))


def _refuse_overlaps(targets: list[Target]) -> None:
    seen = sorted((target.steps for target in targets), key=lambda steps: list(map(str, steps)))
    for first, second in zip(seen, seen[1:]):
        if second[: len(first)] == first:
            shown = ".".join(map(str, first))
            raise ValidationError(f"The update changes {shown!r} twice, or it and a part of it.")
