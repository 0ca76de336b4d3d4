"""Values of watermarks: typed, stored as what DynamoDB holds, and in order."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dynamodb_wrapper.models.fields import to_utc, utc_text

_JSON_TYPES = (dict, list)
_SHORT_BYTES = 1024


def pack(value: Any) -> tuple[str, Any]:
    """Return the type and the stored form of a watermark's value.

    Raises:
        ValueError: The value has a type that is not kept, or cannot be stored.
    """
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "text", str(value)
    if isinstance(value, int):
        return "integer", int(value)
    if isinstance(value, Decimal):
        return "decimal", value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("is not a finite number")
        return "float", repr(value)
    if isinstance(value, datetime):
        return "datetime", utc_text(to_utc(value))
    if isinstance(value, date):
        return "date", value.isoformat()
    if isinstance(value, bytes):
        return "binary", value
    if isinstance(value, _JSON_TYPES):
        return "json", _json_text(value)
    raise ValueError(
        f"is a {type(value).__name__}; a watermark is text, a number, a boolean, an aware "
        "datetime, a date, bytes, or a dict or list that JSON can say"
    )


def unpack(value_type: str, stored: Any) -> Any:
    """Return the value `pack` was given."""
    if value_type == "integer":
        return int(stored)
    if value_type == "decimal":
        return Decimal(stored)
    if value_type == "float":
        return float(stored)
    if value_type == "datetime":
        return datetime.fromisoformat(stored.replace("Z", "+00:00"))
    if value_type == "date":
        return date.fromisoformat(stored)
    if value_type == "json":
        return json.loads(stored)
    return bytes(stored) if value_type == "binary" else stored


def if_short(stored: Any) -> Any:
    """Return a stored value, None where it has over 1 KB: not to be kept twice."""
    content = stored.encode() if isinstance(stored, str) else stored
    too_long = isinstance(content, bytes) and len(content) > _SHORT_BYTES
    return None if too_long else stored


def is_behind(new: Any, old: Any) -> bool:
    """Tell whether a value lies before another of its kind; values without an order never do."""
    if isinstance(new, _JSON_TYPES) or isinstance(old, _JSON_TYPES):
        return False
    try:
        return bool(new < old)
    except TypeError:  # the pipeline has changed to another type
        return False


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"holds what JSON cannot say: {error}") from None
