"""Conditions, filters, projections and updates as DynamoDB's expressions.

Every attribute name becomes a ``#placeholder``, because many are reserved words; every value a
``:placeholder``, encoded by the field it is compared with or stored in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.wire.attributes import encode_value
from dynamodb_wrapper.wire.paths import Target, encode_operand, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.models import Table
    from dynamodb_wrapper.wire.attributes import AttributeValue

_STEPS = re.compile(r"[^.\[\]]+|\[\d+\]")
_BY_TYPE = ("contains", "begins_with", "attribute_type")


class Expressions:
    """The expressions of one request; they share placeholders.

    Args:
        table: Gives conditions the fields they compare with; None compares by value type.
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
        """Join texts by AND; None where there is none."""
        texts = [text for text in conditions if text]
        return texts[0] if len(texts) == 1 else " AND ".join(f"({t})" for t in texts) or None

    def projection(self, attributes: Iterable[str]) -> str:
        """Return a projection of top-level attributes."""
        return ", ".join(self.path((name,)) for name in attributes)

    def top_names(self) -> set[str]:
        """Return the top-level attributes the expressions name."""
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
        own = set() if self._table is None else {d.attribute for d in self._table.derived}
        if self._table is None or steps[0] in own or steps[0] in ("kind", "schema_version"):
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
