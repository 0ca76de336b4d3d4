"""How attribute values are declared to msgspec, and the code that reads them.

An annotation leads one to expect a type descriptor on the wire; what has another is read by the
general walk.
"""

from __future__ import annotations

import enum
import typing
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Callable, NamedTuple, Union
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from dynamodb_wrapper.models import StoredAs
from dynamodb_wrapper.wire.attributes import decode_number, to_decimal
from dynamodb_wrapper.wire.shapes import UNIONS, is_class, origin, strip

CONTENT: dict[str, Any] = {
    "S": str,
    "N": str,
    "B": bytes,
    "BOOL": bool,
    "SS": list[str],
    "NS": list[str],
    "BS": list[bytes],
}
"""What a type descriptor of a scalar or a set is followed by."""


class UnexpectedError(Exception):
    """A stored value is not of the form its annotation leads one to expect."""


class Value(NamedTuple):
    """How an attribute value is read.

    Attributes:
        declared: Its type for msgspec.
        read: Returns the code that reads it from an expression.
    """

    declared: Any
    read: Callable[[str], str]


_SCALARS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("BOOL", (bool,)),
    ("S", (str, datetime, date, time, UUID)),
    ("N", (int, float, Decimal)),
    ("B", (bytes,)),
)


class Peeled(NamedTuple):
    """An annotation without what is around it.

    Attributes:
        member: What is left; still a union where there are several members besides None.
        markers: What it was annotated with, inside of ``Optional`` as well.
        may_be_null: Whether it takes None.
    """

    member: Any
    markers: tuple[Any, ...]
    may_be_null: bool

    @property
    def stored_tag(self) -> str | None:
        """The type descriptor a marker says the values are stored with."""
        return next((m.tag for m in self.markers if isinstance(m, StoredAs)), None)


def peel(annotation: Any) -> Peeled:
    """Take ``Annotated`` and ``Optional`` off an annotation."""
    markers: tuple[Any, ...] = ()
    may_be_null = False
    while True:
        if hasattr(annotation, "__metadata__"):
            markers += annotation.__metadata__
            annotation = annotation.__origin__
            continue
        members = typing.get_args(annotation)
        others = [member for member in members if member is not type(None)]
        if typing.get_origin(annotation) not in UNIONS or len(others) != 1:
            return Peeled(annotation, markers, may_be_null)
        annotation, may_be_null = others[0], True


def scalar_tag(annotation: Any) -> str | None:
    """Return the type descriptor values of an annotation are stored with; None if it varies."""
    annotation = strip(annotation)
    if origin(annotation) is typing.Literal:
        return _common_tag(typing.get_args(annotation))
    if not is_class(annotation):
        return None
    if issubclass(annotation, enum.Enum):
        return _common_tag(member.value for member in annotation)
    for tag, classes in _SCALARS:
        if annotation in classes:
            return tag
    return None


_NUMBERS = {int: "int", float: "float", Decimal: "decimal"}


def _common_tag(values: Any) -> str | None:
    tags = {
        scalar_tag(type(value.value if isinstance(value, enum.Enum) else value)) for value in values
    }
    return tags.pop() if len(tags) == 1 else None


def scalar(tag: str, member: Any, may_be_null: bool) -> Value:
    """Return how a text, number, boolean or binary is read.

    Args:
        tag: Its type descriptor.
        member: int, float or Decimal makes it that; else a number is what the general walk makes.
        may_be_null: Whether it may be NULL.
    """

    def read(content: str) -> str:
        return f"{_NUMBERS.get(member, 'number')}({content})" if tag == "N" else content

    return tagged(tag, CONTENT[tag], read, may_be_null)


def set_of(annotation: Any, may_be_null: bool) -> Value | None:
    """Return how a set is read; None where its type descriptor varies."""
    peeled = peel(annotation)
    tag = peeled.stored_tag or scalar_tag(peeled.member)
    if tag not in ("S", "N", "B") or hasattr(peeled.member, "__value__"):
        return None

    def read(content: str) -> str:
        return f"{{number(v) for v in {content}}}" if tag == "N" else f"set({content})"

    return tagged(f"{tag}S", CONTENT[f"{tag}S"], read, may_be_null)


def tagged(tag: str, content: Any, read: Callable[[str], str], may_be_null: bool) -> Value:
    """Return how a value with one type descriptor is read, or NULL as well."""

    def read_value(place: str) -> str:
        got = read(f"{place}.{tag}")
        return f"({got} if {place}.{tag} is not UNSET else null({place}))" if may_be_null else got

    return Value(_struct(tag, content, may_be_null), read_value)


def _null(value: Any) -> None:
    if value.NULL is UNSET:
        raise UnexpectedError


NAMES: dict[str, Any] = {
    "UNSET": UNSET,
    "decimal": to_decimal,
    "number": decode_number,
    "null": _null,
}
"""What the code uses by name."""


@lru_cache(maxsize=512)
def _struct(tag: str, content: Any, may_be_null: bool) -> Any:
    """Return the struct of an attribute value with one type descriptor, or NULL as well."""
    if not may_be_null:
        return msgspec.defstruct(tag, [(tag, content)], forbid_unknown_fields=True, gc=False)
    fields = [(tag, Union[content, UnsetType], UNSET), ("NULL", Union[bool, UnsetType], UNSET)]
    return msgspec.defstruct(f"{tag}_or_NULL", fields, forbid_unknown_fields=True, gc=False)
