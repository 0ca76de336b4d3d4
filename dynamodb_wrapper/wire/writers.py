"""Values to attribute values: one function for each annotation that has one.

They write what annotations lead one to expect, and what pydantic's serialization would leave as it
is. Anything else raises `UnexpectedError`.
"""

from __future__ import annotations

import enum
import re
import typing
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable
from uuid import UUID

import annotated_types

from dynamodb_wrapper.models import utc_text
from dynamodb_wrapper.wire.attributes import number_text
from dynamodb_wrapper.wire.shapes import (
    LISTS,
    MAPS,
    SETS,
    UNIONS,
    is_class,
    is_model,
    origin,
    strip,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.wire.attributes import AttributeValue

Write = Callable[[Any], "AttributeValue"]

_CHECKS = frozenset(
    "AfterValidator BeforeValidator WrapValidator PlainValidator PydanticGeneralMetadata "
    "Strict".split()
)
"""Markers of pydantic that check a value and have no part in serialization."""

WHOLE_LIMIT = 10**38
_FEW_DIGITS, _MAX_DIGITS = 20, 38
_PLAIN_DECIMAL = re.compile(r"-?(?=\d)0*\d{0,19}(\.\d{1,18})?", re.ASCII)
_LEAST, _MOST = 1e-4, 1e16
"""Floats between these have no exponent in their repr."""


class UnexpectedError(Exception):
    """A value is not of the type its annotation leads one to expect."""


def leaves_alone(marker: Any) -> bool:
    """Tell whether a marker of a field is known to have no part in serialization."""
    if isinstance(marker, annotated_types.BaseMetadata):
        return True
    kind = type(marker)
    return kind.__module__.startswith("pydantic.") and kind.__name__ in _CHECKS


def writer_of(annotation: Any, nested: Callable[[type[BaseModel]], Write]) -> Write:
    """Return what writes the values of an annotation, the markers on it considered.

    Args:
        annotation: Of a field.
        nested: Returns what writes a model.
    """
    while hasattr(annotation, "__metadata__"):
        if not all(map(leaves_alone, annotation.__metadata__)):
            return refuse
        annotation = annotation.__origin__
    if typing.get_origin(annotation) not in UNIONS:
        return _member_writer(annotation, nested)
    members = typing.get_args(annotation)
    others = [member for member in members if member is not type(None)]
    if len(members) == 2 and len(others) == 1:
        return partial(optional, writer_of(others[0], nested))
    return refuse


def _member_writer(member: Any, nested: Callable[[type[BaseModel]], Write]) -> Write:
    if is_model(member):
        return nested(member)
    if is_class(member):
        if issubclass(member, enum.Enum):
            return partial(_enum, member)
        return _SCALARS.get(member, refuse)
    kind, args = origin(member), typing.get_args(member)
    if kind is typing.Literal:
        return _literal
    if kind in MAPS and args[:1] == (str,):
        return partial(map_of, writer_of(args[1], nested))
    if kind in SETS and args:
        return partial(_set, _SET_TAGS.get(strip(args[0]), ""), kind, writer_of(args[0], nested))
    if kind in LISTS and (len(args) == 1 or args[1:] == (Ellipsis,)):
        return partial(list_of, tuple if kind is tuple else list, writer_of(args[0], nested))
    return refuse


def refuse(_: Any) -> AttributeValue:
    """Refuse any value."""
    raise UnexpectedError


# ---- scalars -------------------------------------------------------------------------------------


def _text(value: Any) -> AttributeValue:
    if type(value) is not str:
        raise UnexpectedError
    if not value.isascii():
        value.encode()  # a lone surrogate raises
    return {"S": value}


def _whole(value: Any) -> AttributeValue:
    if type(value) is not int or not -WHOLE_LIMIT < value < WHOLE_LIMIT:
        raise UnexpectedError
    return {"N": str(value)}


def _float(value: Any) -> AttributeValue:
    if type(value) is float and _LEAST <= abs(value) < _MOST:
        return {"N": repr(value)}
    return {"N": number_text(value, "")} if type(value) in (int, float) else refuse(value)


def _decimal(value: Any) -> AttributeValue:
    if type(value) is not Decimal:
        raise UnexpectedError
    return {"N": decimal_text(value)}


def decimal_text(value: Decimal) -> str:
    """Return a decimal as DynamoDB takes numbers."""
    text = str(value)
    if not value:
        return number_text(value, "")
    if len(text) < _FEW_DIGITS and text.replace(".", "", 1).isdecimal():
        return text
    is_plain = len(text) < _MAX_DIGITS and _PLAIN_DECIMAL.fullmatch(text)
    return text if is_plain else number_text(value, "")


def _boolean(value: Any) -> AttributeValue:
    if type(value) is not bool:
        raise UnexpectedError
    return {"BOOL": value}


def _binary(value: Any) -> AttributeValue:
    if type(value) is not bytes:
        raise UnexpectedError
    return {"B": value}


def _moment(value: Any) -> AttributeValue:
    if not isinstance(value, datetime):
        raise UnexpectedError
    return {"S": utc_text(value)}


def _iso(kind: Any, value: Any) -> AttributeValue:
    if type(value) is not kind:
        raise UnexpectedError
    return {"S": value.isoformat()}


def _uuid(value: Any) -> AttributeValue:
    if type(value) is not UUID:
        raise UnexpectedError
    return {"S": str(value)}


_SCALARS: dict[Any, Write] = {
    str: _text,
    int: _whole,
    float: _float,
    Decimal: _decimal,
    bool: _boolean,
    bytes: _binary,
    datetime: _moment,
    date: partial(_iso, date),
    time: partial(_iso, time),
    UUID: _uuid,
}
IN_PLACE: dict[Any, tuple[str, str]] = {
    _text: ("str and {value}.isascii()", "{{'S': {value}}}"),
    _whole: ("int and -limit < {value} < limit", "{{'N': str({value})}}"),
    _boolean: ("bool", "{{'BOOL': {value}}}"),
    _decimal: ("Decimal", "{{'N': decimal_text({value})}}"),
    _moment: ("datetime", "{{'S': utc_text({value})}}"),
}
"""What a value must be, and what is written then, as expressions."""
_SET_TAGS: dict[Any, str] = {str: "S", int: "N", float: "N", Decimal: "N", bytes: "B", UUID: "S"}


def _enum(kind: type[enum.Enum], value: Any) -> AttributeValue:
    if type(value) is not kind:
        raise UnexpectedError
    return _literal(value.value)


def _literal(value: Any) -> AttributeValue:
    return _SCALARS.get(type(value), refuse)(value)


# ---- containers ----------------------------------------------------------------------------------


def optional(write: Write, value: Any) -> AttributeValue:
    """Write a value that may be None."""
    return {"NULL": True} if value is None else write(value)


def map_of(write: Write, value: Any) -> AttributeValue:
    """Write a dict with texts as keys."""
    if type(value) is not dict:
        raise UnexpectedError
    for key in value:
        _text(key)
    return {"M": {key: write(inner) for key, inner in value.items()}}


def list_of(kind: Any, write: Write, value: Any) -> AttributeValue:
    """Write a list or a tuple of values."""
    if type(value) is not kind:
        raise UnexpectedError
    return {"L": [write(inner) for inner in value]}


def _set(tag: str, kind: Any, write: Write, value: Any) -> AttributeValue:
    if not tag or type(value) is not kind:
        raise UnexpectedError
    members = sorted(write(inner)[tag] for inner in value)
    return {f"{tag}S": members} if members else {"L": []}
