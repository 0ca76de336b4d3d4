"""Whether something is of DynamoDB's form; asked only after reading it has failed."""

from __future__ import annotations

from typing import Any

from dynamodb_wrapper.wire.attributes import to_decimal

_LARGEST_EXPONENT = 130


def is_item(value: Any) -> bool:
    """Tell whether something is an item: attribute names and attribute values."""
    try:
        return isinstance(value, dict) and all(map(_is_value, value.values()))
    except RecursionError:
        return False  # DynamoDB nests 32 levels


def _is_value(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((tag, content),) = value.items()
    if tag == "M":
        return is_item(content)
    if tag in ("L", "SS", "NS", "BS"):
        if not isinstance(content, list):
            return False
        return all(_is_value(v) if tag == "L" else _is_scalar(tag[0], v) for v in content)
    return _is_scalar(tag, content)


def _is_scalar(tag: str, content: Any) -> bool:
    if tag == "N":
        return isinstance(content, str) and _is_number(content)
    kinds = {"S": str, "B": bytes, "BOOL": bool, "NULL": bool}
    return tag in kinds and isinstance(content, kinds[tag])


def _is_number(text: str) -> bool:
    try:
        number = to_decimal(text)
    except ArithmeticError:
        return False
    return number.is_finite() and (not number or abs(number.adjusted()) <= _LARGEST_EXPONENT)
