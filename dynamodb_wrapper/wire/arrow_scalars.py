"""How single values get into columns, and which limits of theirs Arrow can check."""

from __future__ import annotations

import enum
import typing
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from dynamodb_wrapper.wire import arrow_kernels as kernels
from dynamodb_wrapper.wire import arrow_numbers as numbers
from dynamodb_wrapper.wire.arrow_forms import Form, decimal_places, form_of
from dynamodb_wrapper.wire.arrow_kernels import Convert
from dynamodb_wrapper.wire.arrow_markers import limits_of
from dynamodb_wrapper.wire.shapes import is_class, origin

_DECIMAL_LIMITS = frozenset({"max_digits", "decimal_places"})
_EXACT = 2**53  # below it, float has every whole number
_TEXTS: dict[Any, Convert] = {
    datetime: kernels.datetimes,
    date: kernels.dates,
    time: kernels.times,
    UUID: kernels.uuids,
}


def limits(member: Any, markers: tuple[Any, ...], form: Form) -> Convert | None:
    """Return what refuses values beyond the limits of markers; None where only the model can."""
    found = limits_of(markers)
    if found is None:
        return None
    if member is Decimal and _DECIMAL_LIMITS & found.keys():
        places = decimal_places(markers)
        if places is None or places[0] == places[1] or form.first != pa.decimal128(*places):
            return None
        found = {k: v for k, v in found.items() if k not in _DECIMAL_LIMITS}
    ordered = [limit for name, limit in found.items() if not name.endswith("length")]
    if ordered and not _are_exact(member, form.first, ordered):
        return None
    return kernels.limits(found, form.first)


def _are_exact(member: Any, type_: Any, limits: list[Any]) -> bool:
    """Tell whether comparing what is in a column is comparing what the model makes."""
    if member is int:
        return pa.types.is_integer(type_) and all(type(limit) is int for limit in limits)
    if member is not float or type_ != pa.float64():
        return False
    return all(type(n) is float or (type(n) is int and abs(n) < _EXACT) for n in limits)


def scalar(tag: str, member: Any, form: Form) -> Convert | None:
    """Return what converts scalars stored with a tag; None where only the model can."""
    type_ = form.first
    if member in (int, float, Decimal):
        return numbers.numbers(member, type_)
    if type_ != form_of(member).type:
        return None
    known = _known(member)
    if known is None:
        return kernels.binaries if tag == "B" else _TEXTS.get(member, kernels.as_it_is)
    if not _are_found_by_value(member):
        return None
    convert = numbers.numbers(int, type_) if tag == "N" else kernels.as_it_is
    return None if convert is None else kernels.members(convert, known, type_)


def _known(member: Any) -> list[Any] | None:
    """Return the values an enum or a Literal has; None for anything else."""
    if origin(member) is typing.Literal:
        return list(typing.get_args(member))
    if is_class(member) and issubclass(member, enum.Enum):
        return [value.value for value in member]
    return None


def _are_found_by_value(member: Any) -> bool:
    """Tell whether exactly the values of an enum or a Literal are taken for its members."""
    if origin(member) is typing.Literal:
        return not any(isinstance(value, enum.Enum) for value in typing.get_args(member))
    return all("_missing_" not in vars(cls) for cls in member.__mro__ if cls is not enum.Enum)
