"""msgspec structs for attribute values: what an annotation leads one to expect on the wire."""

from __future__ import annotations

import enum
import typing
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, Union
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from dynamodb_wrapper.models import StoredAs
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


def _common_tag(values: Any) -> str | None:
    tags = {
        scalar_tag(type(value.value if isinstance(value, enum.Enum) else value)) for value in values
    }
    return tags.pop() if len(tags) == 1 else None


@lru_cache(maxsize=512)
def value_struct(tag: str, content: Any, may_be_null: bool) -> Any:
    """Return the struct of an attribute value with one type descriptor, or NULL as well."""
    if not may_be_null:
        return msgspec.defstruct(tag, [(tag, content)], forbid_unknown_fields=True, gc=False)
    fields = [(tag, Union[content, UnsetType], UNSET), ("NULL", Union[bool, UnsetType], UNSET)]
    return msgspec.defstruct(f"{tag}_or_NULL", fields, forbid_unknown_fields=True, gc=False)
