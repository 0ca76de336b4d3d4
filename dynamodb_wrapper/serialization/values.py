"""Convert Python values to DynamoDB's typed attribute values and back.

An attribute value is a dict with one entry, type descriptor to content: ``{"S": "text"}``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Underflow
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

import pydantic_core
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticUserError

from dynamodb_wrapper.exceptions.errors import ItemTooLargeError, ValidationError
from dynamodb_wrapper.models.fields import free_number, refuse_nanoseconds, utc_now, utc_text
from dynamodb_wrapper.serialization.json_body import unreadable, write_body

AttributeValue = dict[str, Any]
Item = dict[str, AttributeValue]
MAX_ITEM_BYTES = 400 * 1024
_MAX_DIGITS = 38
_LARGEST_EXPONENT = 130
_OUT_OF_RANGE = "the number is beyond ±9.99e125, DynamoDB's range."
_LARGEST = Decimal("9.9999999999999999999999999999999999999E+125")
_SMALLEST = Decimal("1E-130")
_MICROSECOND = timedelta(microseconds=1)
to_decimal = Context(
    prec=1000,
    Emax=9999,
    Emin=-9999,
    traps=[InvalidOperation, Overflow, Underflow, Inexact],
).create_decimal
"""Makes a Decimal of a stored number, exactly. Refuses exponents of millions, which only a damaged
reply has: an int of such a number would take hours and all memory."""


def encode_value(value: Any, path: str) -> AttributeValue:
    """Return the attribute value of a Python value.

    Args:
        value: The output of pydantic's serialization: scalars, containers, models.
        path: Names the place in error texts; the value itself is never shown.

    Raises:
        ValidationError: DynamoDB cannot hold the value.
    """
    kind = type(value)
    if kind is str:
        return {"S": _checked_text(value, path)}
    if kind is int:
        return {"N": number_text(value, path)}
    if value is None:
        return {"NULL": True}
    scalar = _encode_scalar(value, path)
    if scalar is not None:
        return scalar
    if isinstance(value, Mapping):
        return {"M": _encode_map(value, path)}
    if isinstance(value, AbstractSet):
        return _encode_set(value, path)
    if isinstance(value, (list, tuple, deque)):
        return {"L": [encode_value(inner, f"{path}[{i}]") for i, inner in enumerate(value)]}
    if isinstance(value, BaseModel):
        dumped = value.model_dump(round_trip=True, by_alias=False, warnings=False)
        return encode_value(dumped, path)
    return _encode_foreign(value, path)


def _encode_scalar(value: Any, path: str) -> AttributeValue | None:
    if isinstance(value, Enum):
        return encode_value(value.value, path)
    if isinstance(value, str):
        return {"S": _checked_text(value, path)}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float, Decimal)):
        return {"N": number_text(value, path)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"B": bytes(value)}
    if isinstance(value, (datetime, date, time, timedelta)):
        return _encode_time(value, path)
    return {"S": str(value)} if isinstance(value, UUID) else None


def _encode_time(value: datetime | date | time | timedelta, path: str) -> AttributeValue:
    if value != value:  # only NaT of pandas
        return {"NULL": True}
    if isinstance(value, datetime):
        try:
            return {"S": utc_text(value)}
        except ValueError as error:
            raise ValidationError(f"{path}: the datetime {error}.") from error
    if isinstance(value, timedelta):
        try:
            refuse_nanoseconds(value)
        except ValueError as error:
            raise ValidationError(f"{path}: the duration {error}.") from error
        return {"N": number_text(Decimal(f"{value // _MICROSECOND}E-6"), path)}
    return {"S": value.isoformat()}


def _encode_foreign(value: Any, path: str) -> AttributeValue:
    refusal = f"{path}: a {type(value).__name__} cannot be stored"
    if isinstance(value, (SecretStr, SecretBytes)):
        raise ValidationError(f"{refusal}: secrets stay out of tables; store a reference.")
    plain = python_value(value, path)
    if plain is not value:
        return encode_value(plain, path)
    try:
        return encode_value(_serialized(value), path)
    except (pydantic_core.PydanticSerializationError, PydanticUserError) as error:
        raise ValidationError(f"{refusal}; give the field a pydantic serializer.") from error


def _serialized(value: Any) -> Any:
    """Return what pydantic makes of a value in JSON."""
    kind: Any = type(value)
    try:
        return pydantic_core.to_jsonable_python(value)
    except pydantic_core.PydanticSerializationError:
        if not hasattr(kind, "__get_pydantic_core_schema__"):
            raise
    return _adapter(kind).dump_python(value, mode="json")


@lru_cache(maxsize=256)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def python_value(value: Any, path: str) -> Any:
    """Return the Python value of a scalar of numpy or pandas; anything else as it is.

    Args:
        value: Of any type.
        path: Names the place in error texts.

    Raises:
        ValidationError: It is a moment or duration with nanoseconds, which would be lost.
    """
    kind: Any = type(value)
    library = kind.__module__.partition(".")[0]
    if library not in ("numpy", "pandas") or getattr(value, "ndim", None):
        return value
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    try:
        refuse_nanoseconds(value)
        if kind.__name__ in ("datetime64", "timedelta64"):
            return _time_of_numpy(value, kind.__name__)
    except (ValueError, TypeError) as error:
        raise ValidationError(f"{path}: the {kind.__name__} {error}.") from error
    for method in ("to_pydatetime", "to_pytimedelta", "item"):
        if hasattr(value, method):
            found = getattr(value, method)()
            return value if type(found) is kind else found
    return value


def _time_of_numpy(value: Any, kind: str) -> Any:
    """Return a date, datetime or timedelta of numpy as Python's; None for NaT."""
    found = value.item()
    if not isinstance(found, int):
        return found
    if value.dtype.str.endswith(("m8[M]", "m8[Y]")):
        raise ValueError("counts months or years, which have no fixed length; give days")
    rounded = value.astype(f"{kind}[us]")  # a unit that Python lacks
    if rounded != value:
        raise ValueError("has nanoseconds, and microseconds are stored; round it first")
    found = rounded.item()
    if isinstance(found, int):
        raise ValueError("is beyond what Python's own type holds")
    return found


def _encode_map(value: Mapping[Any, Any], path: str) -> Item:
    entries = {map_key(k, path): encode_value(v, f"{path}.{k}") for k, v in value.items()}
    if len(entries) < len(value):
        raise ValidationError(f"{path}: two keys of the map are stored as the same text.")
    return entries


def map_key(key: Any, path: str) -> str:
    """Return the text a key of a map is stored as.

    Raises:
        ValidationError: It is of a type that cannot be a key.
    """
    if type(key) is str:
        return _checked_text(key, path)
    if isinstance(key, timedelta):  # pydantic reads ISO 8601 from a text, not seconds
        key = pydantic_core.to_jsonable_python(key)
    encoded = encode_value(key, f"{path} (key)")
    text = encoded.get("S", encoded.get("N"))
    if text is None and "BOOL" in encoded:
        text = str(encoded["BOOL"])
    if not isinstance(text, str):
        raise ValidationError(f"{path}: a {type(key).__name__} cannot be the key of a map.")
    return text


def _encode_set(value: AbstractSet[Any], path: str) -> AttributeValue:
    members = [encode_value(inner, f"{path}{{}}") for inner in value]
    if not members:
        return {"L": []}  # DynamoDB has no empty set; a set field reads a list as well
    tags = {tag for member in members for tag in member}
    if len(tags) > 1 or not tags <= {"S", "N", "B"}:
        raise ValidationError(
            f"{path}: a set holds text only, numbers only or bytes only, not {sorted(tags)}."
        )
    tag = tags.pop()
    return {f"{tag}S": sorted(member[tag] for member in members)}


def number_text(value: float | Decimal, path: str) -> str:
    """Return a number as DynamoDB writes it.

    Raises:
        ValidationError: Not finite, more than 38 digits, or out of DynamoDB's range.
    """
    if type(value) is int and abs(value) < 10**_MAX_DIGITS:
        return str(value)
    number = _as_decimal(value, path)
    if number == 0:
        return "0"
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    if len(digits) > _MAX_DIGITS:
        raise ValidationError(
            f"{path}: the number has {len(digits)} significant digits; DynamoDB keeps "
            f"{_MAX_DIGITS}. Round it, or store it as text."
        )
    if number.copy_abs() > _LARGEST:  # abs() would round to the caller's decimal context
        raise ValidationError(f"{path}: {_OUT_OF_RANGE}")
    if number.copy_abs() < _SMALLEST:
        raise ValidationError(f"{path}: the number is closer to zero than 1e-130 allows.")
    return str(number)


def _as_decimal(value: float | Decimal, path: str) -> Decimal:
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int):
        if value.bit_length() > 420:
            raise ValidationError(f"{path}: {_OUT_OF_RANGE}")
        number = Decimal(int(value))
    else:
        number = Decimal(repr(float(value)))
    if not number.is_finite():
        raise ValidationError(f"{path}: NaN and infinity cannot be stored in DynamoDB.")
    return number


def _checked_text(text: str, path: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValidationError(f"{path}: the text holds a lone surrogate, not UTF-8.") from error
    return text if type(text) is str else str(text)


# ---- decoding ------------------------------------------------------------------------------------


def decode_item(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return attribute names and Python values of a stored item."""
    return {name: decode_value(value) for name, value in item.items()}


def decode_value(value: Mapping[str, Any]) -> Any:
    """Return the Python value of an attribute value; numbers as int or Decimal."""
    ((tag, content),) = value.items()
    if tag == "S" or tag == "BOOL":
        return content
    if tag == "N":
        return decode_number(content)
    if tag == "M":
        return {key: decode_value(inner) for key, inner in content.items()}
    if tag == "L":
        return [decode_value(inner) for inner in content]
    if tag == "NULL":
        return None
    if tag == "B":
        return bytes(content)
    return _decode_set(tag, content)


def decode_free(value: Mapping[str, Any]) -> Any:
    """Return the Python value for a free-form field; numbers as `free_number`."""
    ((tag, content),) = value.items()
    if tag == "N":
        return free_number(decode_number(content))
    if tag == "M":
        return {key: decode_free(inner) for key, inner in content.items()}
    if tag == "L":
        return [decode_free(inner) for inner in content]
    if tag == "NS":
        return {free_number(decode_number(text)) for text in content}
    return decode_value(value)


def decode_number(text: str) -> int | Decimal:
    """Return int for a number written without fraction and exponent, else Decimal.

    Raises:
        ArithmeticError: It is no number, or far beyond DynamoDB's.
    """
    if "." not in text and "E" not in text:
        try:
            number = int(text)
        except ValueError:
            return to_decimal(text)
        if number or "-" not in text:  # else a negative zero
            return number
    return to_decimal(text)


def _decode_set(tag: str, content: Sequence[Any]) -> set[Any]:
    if tag == "SS":
        return set(content)
    if tag == "NS":
        return {decode_number(text) for text in content}
    if tag == "BS":
        return {bytes(inner) for inner in content}
    raise ValidationError(f"DynamoDB returned a value of the unknown type {tag!r}.")


# ---- keys and TTL --------------------------------------------------------------------------------


def identity(key: Item) -> tuple[Any, ...]:
    """Return a key in a form that can be compared and put into a dict."""
    parts = []
    for name, value in key.items():
        ((tag, content),) = value.items()
        parts.append((name, tag, Decimal(content) if tag == "N" else content))
    parts.sort()
    return tuple(parts)


def comparable(value: AttributeValue) -> tuple[str, Any]:
    """Return type descriptor and content of a key value; numbers by their value."""
    ((tag, content),) = value.items()
    return (tag, Decimal(content) if tag == "N" else content)


def key_in(item: Item, names: Iterable[str]) -> Item:
    """Return the key of an item.

    Raises:
        ServiceError: The item lacks a part of its key.
    """
    names = dict.fromkeys(names)
    key = {name: item[name] for name in names if name in item} if isinstance(item, dict) else {}
    if len(key) < len(names) or not is_item(key):
        raise unreadable(f"an item is without its key {', '.join(names)}")
    return key


def seconds_now() -> int:
    """Return the seconds since 1970, which a TTL is compared with."""
    return int(utc_now().timestamp())


def has_passed(ttl: str | None, now: int) -> bool:
    """Return whether a stored TTL has passed; None never has."""
    return ttl is not None and int(float(ttl)) <= now


# ---- items ---------------------------------------------------------------------------------------


def is_item(value: Any) -> bool:
    """Return whether a value is an item: attribute names and attribute values."""
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


def item_body(item: Item, table_name: str, key_names: Iterable[str]) -> bytes:
    """Return an item as JSON; refuse one that is too large.

    Args:
        item: The item.
        table_name: For the error.
        key_names: The attributes of the key, for the error.

    Raises:
        ItemTooLargeError: The item is over 400 KB.
    """
    body = write_body(item)
    if len(body) <= MAX_ITEM_BYTES:  # JSON is larger than DynamoDB's own count
        return body
    size = item_size(item)
    if size > MAX_ITEM_BYTES:
        largest = max(item, key=lambda name: _size(item[name]))
        key = decode_item({name: item[name] for name in key_names})
        raise ItemTooLargeError(
            f"The item {key} for {table_name!r} has {size:,} bytes; DynamoDB takes "
            f"{MAX_ITEM_BYTES:,}. "
            f"Its largest attribute is {largest!r} with {_size(item[largest]):,} bytes: keep large "
            "data in S3 and store the address.",
            table_name=table_name,
            key=key,
            size_bytes=size,
        )
    return body


def item_size(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the size of an item in bytes, as DynamoDB counts it (to a few bytes)."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    ((tag, content),) = value.items()
    if tag == "S":
        return len(content.encode())
    if tag == "N":
        return _number_size(content)
    if tag == "B":
        return len(content)
    if tag == "L":
        return 3 + sum(1 + _size(inner) for inner in content)
    if tag == "M":
        return 3 + sum(1 + len(key.encode()) + _size(inner) for key, inner in content.items())
    if tag in ("SS", "NS", "BS"):
        return sum(_size({tag[0]: inner}) for inner in content)
    return 1


def _number_size(text: str) -> int:
    digits = text.split("E")[0].lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")
