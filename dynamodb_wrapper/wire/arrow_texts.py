"""Values of models as text: numbers without exponent, and JSON for what has no type in Arrow."""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

import pydantic_core
from pydantic import BaseModel


def number_text(value: float | Decimal) -> str:
    """Return a number as text, without exponent."""
    return str(value) if isinstance(value, int) else format(Decimal(str(value)), "f")


def member_value(value: Any) -> Any:
    """Return the value of an enum's member; anything else as it is."""
    return value.value if isinstance(value, enum.Enum) else value


def key_text(key: Any) -> str:
    """Return the key of a map as text."""
    return str(member_value(key))


def json_text(value: Any) -> str:
    """Return a value as JSON; sets are sorted, binary is base64."""
    return json.dumps(_for_json(value), ensure_ascii=False, separators=(",", ":"))


def _for_json(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return member_value(value)
    if isinstance(value, BaseModel):
        return _for_json(value.model_dump())
    if isinstance(value, Mapping):
        return {key_text(key): _for_json(content) for key, content in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(map(_for_json, value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_for_json(content) for content in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return number_text(value)
    return pydantic_core.to_jsonable_python(value)


def any_text(value: Any) -> str:
    """Return a value of a class that is stored as text."""
    found = _for_json(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
