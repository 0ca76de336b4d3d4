"""Conditions, filters, projections and updates as DynamoDB expressions.

Every attribute name becomes a ``#placeholder``, because many are reserved words; every value a
``:placeholder``, encoded by the field it is compared with or stored in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.serialization.field_values import (
    encode_contained,
    encode_operand,
    encode_text_part,
    not_comparable,
)
from dynamodb_wrapper.serialization.paths import Target, resolve
from dynamodb_wrapper.serialization.values import encode_value

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.models.table import Table
    from dynamodb_wrapper.serialization.values import AttributeValue

_STEPS = re.compile(r"[^.\[\]]+|\[\d+\]")
_TYPES = ("S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL")
_MAX_IN_OPERANDS = 100


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
        return texts[0] if len(texts) == 1 else " AND ".join(map(_in_parentheses, texts)) or None

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
        if operator == "IN":
            return self._in(operands[0], target, operands[1])
        if target is not None and operator in ("=", "<>") and _is_empty(operands[1]):
            return self._empty(target, operands[1], negated=operator == "<>")
        texts = [self._operand(operand, target, operator) for operand in operands]
        return str(parts["format"].format(*texts, operator=operator))

    def _target(self, attribute: Any) -> Target | None:
        """Return the field a value is compared with; None where it is compared with a size."""
        from boto3.dynamodb.conditions import ConditionBase

        if isinstance(attribute, ConditionBase):
            return None
        return self._resolve(attribute.name)

    def _resolve(self, name: Any) -> Target:
        steps = tuple(name) if isinstance(name, (tuple, list)) else _steps_in(name)
        derived = set() if self._table is None else {d.attribute for d in self._table.derived}
        if self._table is None or (steps[:1] and steps[0] in (*derived, "kind", "schema_version")):
            return Target(steps, None, None, ())
        return resolve(self._table.model, steps)

    def _operand(self, operand: Any, target: Target | None, operator: str) -> str:
        from boto3.dynamodb.conditions import AttributeBase, ConditionBase

        if isinstance(operand, ConditionBase):  # size(path)
            inner = operand.get_expression()["values"][0]
            return f"size({self.path(self._resolve(inner.name).steps)})"
        if isinstance(operand, AttributeBase):
            return self.path(self._resolve(operand.name).steps)
        if target is None:
            return self.value(_encode_size(operand))
        if operand is None and operator != "contains":  # a list may hold None
            raise not_comparable(target, f"None has no order; {operator!r} takes a value")
        return self.value(_encode_by_operator(operator, target, operand))

    def _in(self, attribute: Any, target: Target | None, operands: Any) -> str:
        """Return the text for one of several values; DynamoDB takes 100 in one list."""
        if isinstance(operands, (str, bytes, Mapping)) or not isinstance(operands, Iterable):
            kind = type(operands).__name__
            raise ValidationError(f"is_in takes a list of values, not a {kind}.")
        left = self._operand(attribute, target, "")
        values: list[Any] = []
        texts: list[str] = []
        for operand in operands:
            if target is not None and _is_empty(operand):
                texts.append(self._empty(target, operand, negated=False))
            else:
                values.append(operand)
        for begin in range(0, len(values), _MAX_IN_OPERANDS):
            part = values[begin : begin + _MAX_IN_OPERANDS]
            members = ", ".join(self._operand(value, target, "=") for value in part)
            texts.append(f"{left} IN ({members})")
        if not texts:  # holds for no item
            path = left if target is None else self.path(target.steps)
            return f"(attribute_exists({path}) AND attribute_not_exists({path}))"
        return texts[0] if len(texts) == 1 else f"({' OR '.join(texts)})"

    def _empty(self, target: Target, value: Any, *, negated: bool) -> str:
        """Return the text for None or an empty set, which may be stored as absence."""
        path, field = self.path(target.steps), target.field
        may_be_absent = field is None or bool(target.inside)
        if value is None:
            stored = f"attribute_type({path}, {self.value({'S': 'NULL'})})"
            may_be_absent = may_be_absent or (field is not None and field.lacks_default)
        else:
            stored = f"{path} = {self.value({'L': []})}"
            may_be_absent = may_be_absent or (field is not None and field.is_set)
            if may_be_absent and field is not None and field.null_is_absent:
                stored += f" OR attribute_type({path}, {self.value({'S': 'NULL'})})"
        text = f"(attribute_not_exists({path}) OR {stored})" if may_be_absent else f"({stored})"
        return f"(NOT {text})" if negated else text


def _in_parentheses(text: str) -> str:
    """Return a text in one pair of parentheses; DynamoDB refuses redundant ones."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth and place < len(text) - 1:
            return f"({text})"
    return text


def _steps_in(name: Any) -> tuple[str | int, ...]:
    """Return the steps of a path written as text, such as ``stages.load[0]``."""
    if not isinstance(name, str) or not name:
        raise ValidationError(
            f"{name!r} is no attribute; Key and Attr take a field name, or a tuple of field names, "
            "map keys and list positions."
        )
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in _STEPS.findall(name))


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, AbstractSet) and not value)


def _encode_size(value: Any) -> AttributeValue:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValidationError(
            f"A size is compared with a whole number, not with a {type(value).__name__}."
        )
    return encode_value(value, "size")


def _encode_by_operator(operator: str, target: Target, value: Any) -> AttributeValue:
    if operator == "attribute_type":
        if value not in _TYPES:
            raise not_comparable(target, f"attribute_type takes one of {', '.join(_TYPES)}")
        return {"S": value}
    if operator == "begins_with":
        return encode_text_part(target, value)
    if operator == "contains":
        return encode_contained(target, value)
    return encode_operand(target, value)


@dataclass
class Update:
    """Builds an update expression; clauses keep their order.

    Its methods take encoded values; `check_changes` encodes values of a model's fields.
    """

    expressions: Expressions
    sets: list[str] = field(default_factory=list)
    removes: list[str] = field(default_factory=list)
    adds: list[str] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)

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

    def delete(self, steps: Sequence[str | int], value: AttributeValue) -> None:
        """Take members out of a set."""
        self.deletes.append(f"{self.expressions.path(steps)} {self.expressions.value(value)}")

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
        clauses = (
            ("SET", self.sets),
            ("REMOVE", self.removes),
            ("ADD", self.adds),
            ("DELETE", self.deletes),
        )
        return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts)


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
