"""Conditions, filters, projections and updates as DynamoDB expressions.

Every attribute name becomes a ``#placeholder``, because many are reserved words; every value a
``:placeholder``, encoded by the field it is compared with or stored in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.serialization.annotations import alternatives, strip
from dynamodb_wrapper.serialization.paths import (
    Path,
    Target,
    encode_at,
    encode_operand,
    resolve,
    validated,
)
from dynamodb_wrapper.serialization.values import encode_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from boto3.dynamodb.conditions import ConditionBase
    from pydantic import BaseModel

    from dynamodb_wrapper.models.table import Table
    from dynamodb_wrapper.serialization.values import AttributeValue

Changes = Mapping[Path, Any]
_STEPS = re.compile(r"[^.\[\]]+|\[\d+\]")
_BY_TYPE = ("contains", "begins_with", "attribute_type")


class Expressions:
    """Builds the expressions of one request, which share placeholders.

    Args:
        table: Conditions encode values by the fields of its model; None encodes by value type.
    """

    def __init__(self, table: Table[Any] | None = None) -> None:
        self._table = table
        self._names: dict[str, str] = {}
        self._values: dict[str, AttributeValue] = {}
        self._tops: set[str] = set()

    def path(self, steps: Iterable[str | int]) -> str:
        """Return the placeholder path of attribute names and list positions."""
        text = ""
        for step in steps:
            if isinstance(step, int):
                text += f"[{step}]"
            else:
                if not text:
                    self._tops.add(step)
                name = self._names.setdefault(step, f"#n{len(self._names)}")
                text += f".{name}" if text else name
        return text

    def value(self, value: AttributeValue) -> str:
        """Return the placeholder of an encoded value."""
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = value
        return placeholder

    def condition(self, condition: ConditionBase) -> str:
        """Return the text of a boto3 condition.

        Raises:
            ValidationError: Not a condition, an unknown field, or a value that cannot be stored.
        """
        from boto3.dynamodb.conditions import ConditionBase

        if not isinstance(condition, ConditionBase):
            raise ValidationError(
                f"A condition is made with Key(...) or Attr(...), not a {type(condition).__name__}."
            )
        return self._condition(condition)

    def all_of(self, conditions: Iterable[str | None]) -> str | None:
        """Join texts with AND; return None where there are none."""
        texts = [text for text in conditions if text]
        return texts[0] if len(texts) == 1 else " AND ".join(f"({t})" for t in texts) or None

    def projection(self, attributes: Iterable[str]) -> str:
        """Return a projection of top-level attributes."""
        return ", ".join(self.path((name,)) for name in attributes)

    def top_names(self) -> set[str]:
        """Return the names of the top-level attributes in the expressions."""
        return set(self._tops)

    def into(self, request: dict[str, Any]) -> dict[str, Any]:
        """Add the placeholders to a request."""
        if self._names:
            request["ExpressionAttributeNames"] = {v: k for k, v in self._names.items()}
        if self._values:
            request["ExpressionAttributeValues"] = dict(self._values)
        return request

    def _condition(self, condition: Any) -> str:
        from boto3.dynamodb.conditions import AttributeBase, ConditionBase

        parts = condition.get_expression()
        operator, operands = parts["operator"], parts["values"]
        if isinstance(operands[0], ConditionBase) and not isinstance(operands[0], AttributeBase):
            texts = [self._condition(operand) for operand in operands]
            return str(parts["format"].format(*texts, operator=operator))
        target = self._target(operands[0])
        texts = [self._operand(operand, target, operator) for operand in operands]
        return str(parts["format"].format(*texts, operator=operator))

    def _target(self, attribute: Any) -> Target | None:
        """Return the field a value is compared with; None where it is compared with a size."""
        from boto3.dynamodb.conditions import ConditionBase

        if isinstance(attribute, ConditionBase):
            return None
        return self._resolve(attribute.name)

    def _resolve(self, name: str) -> Target:
        steps: list[str | int] = [
            int(step[1:-1]) if step.startswith("[") else step for step in _STEPS.findall(name)
        ]
        derived = set() if self._table is None else {d.attribute for d in self._table.derived}
        if self._table is None or steps[0] in derived or steps[0] in ("kind", "schema_version"):
            return Target(tuple(steps), None, None, ())
        return resolve(self._table.model, tuple(steps))

    def _operand(self, operand: Any, target: Target | None, operator: str) -> str:
        from boto3.dynamodb.conditions import AttributeBase, ConditionBase

        if isinstance(operand, ConditionBase):  # size(path)
            return f"size({self._operand(operand.get_expression()['values'][0], None, '')})"
        if isinstance(operand, AttributeBase):
            return self.path(self._resolve(operand.name).steps)
        if operator == "IN":
            return "(" + ", ".join(self._operand(v, target, "") for v in operand) + ")"
        if target is None or operator in _BY_TYPE:
            return self.value(encode_value(operand, target.text if target else "condition"))
        return self.value(encode_operand(target, operand))


@dataclass
class Update:
    """Builds an update expression; clauses keep their order.

    Its methods take encoded values; `check_changes` encodes values of a model's fields.
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
        """Add to a number or a set; an absent one counts as 0 or empty."""
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


# ---- changes of an item --------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckedChanges:
    """Typed changes of one item, checked against its model.

    Attributes:
        values: Whole fields that get a value, validated.
        removed: Whole fields that are removed.
        touched: Every top-level field that changes.
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
        ValidationError: An unknown field, a value the field does not accept, or overlapping paths.
    """
    checked = CheckedChanges({}, set(), set(), [])
    targets: list[Target] = []
    for verb, changes in (("set", set_), ("add", add), ("append", append)):
        for path, value in changes.items():
            target = resolve(model, path)
            targets.append(target)
            _add_change(checked, verb, path, target, value)
    for path in [remove] if isinstance(remove, str) else remove:
        target = resolve(model, path)
        targets.append(target)
        _add_removal(checked, model, path, target)
    _refuse_overlaps(targets)
    if not targets:
        raise ValidationError("An update without changes: give set, remove, add or append.")
    return checked


def _add_change(checked: CheckedChanges, verb: str, path: Path, target: Target, value: Any) -> None:
    name = path if isinstance(path, str) else str(path[0])
    checked.touched.add(name)
    if verb == "set":
        valid = validated(target, value)
        encoded = encode_at(target, valid)
        whole = len(target.steps) == 1
        if whole:
            checked.values[name] = valid
        absent = target.field is not None and not target.inside and _means_absent(target, valid)
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
    """Return the value to add; limits apply to the sum, which only DynamoDB knows."""
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


def _add_removal(
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


def _refuse_frozen(target: Target) -> None:
    if target.owner is None or target.field is None:
        return
    if target.owner.model_fields[target.field.name].frozen:
        raise ValidationError(
            f"{target.label} is frozen; only the repository's method for it changes it."
        )


def _refuse_overlaps(targets: list[Target]) -> None:
    seen = sorted((target.steps for target in targets), key=lambda steps: list(map(str, steps)))
    for first, second in zip(seen, seen[1:]):
        if second[: len(first)] == first:
            shown = ".".join(map(str, first))
            raise ValidationError(f"The update changes {shown!r} twice, or it and a part of it.")


# ---- key conditions ------------------------------------------------------------------------------


def begins_with(attribute: str, prefix: str) -> ConditionBase:
    """Return the key condition that an attribute begins with a text."""
    from boto3.dynamodb.conditions import Key

    return Key(attribute).begins_with(prefix)


def between(attribute: str, low: str | None, high: str | None) -> ConditionBase | None:
    """Return the key condition that an attribute lies between two texts; None sets no bound."""
    from boto3.dynamodb.conditions import Key

    if low is not None and high is not None:
        return Key(attribute).between(low, high)
    if low is not None:
        return Key(attribute).gte(low)
    return None if high is None else Key(attribute).lte(high)


def field_absent(name: str) -> ConditionBase:
    """Return the condition that an attribute is absent."""
    from boto3.dynamodb.conditions import Attr

    return Attr(name).not_exists()
