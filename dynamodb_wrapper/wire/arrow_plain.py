"""Values of models as Arrow takes them; what a column cannot hold raises."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from datetime import datetime, time

LARGEST = {16: 65504.0, 32: 3.4028234663852886e38, 64: math.inf}
"""The largest number a floating-point type has, by its bits."""


def identity(value: Any) -> Any:
    """Return a value as it is."""
    return value


def as_decimal(value: float | Decimal) -> Decimal:
    """Return a number as a decimal."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def as_int(value: float | Decimal) -> int:
    """Return a number that is whole."""
    if value != int(value):
        raise ValueError("is not whole")
    return int(value)


def as_float(type_: Any) -> Callable[[Any], float]:
    """Return what makes floating-point numbers, none of them infinite that was not."""
    return partial(_as_float, LARGEST[type_.bit_width])


def _as_float(largest: float, value: float | Decimal) -> float:
    number = float(value)
    too_large = math.isinf(number) or abs(number) > largest
    if too_large and Decimal(value).is_finite():
        raise OverflowError("is too large")
    return number


def aware(value: datetime) -> datetime:
    """Return a moment that has a time zone."""
    if value.tzinfo is None:
        raise ValueError("has no time zone")
    return value


def naive(value: time) -> time:
    """Return a time of day that has none."""
    if value.tzinfo is not None:
        raise ValueError("has a time zone")
    return value


def as_number(convert: Callable[[Any], Any], plain: Callable[[Any], Any], value: Any) -> Any:
    """Return the number a text holds, converted."""
    return convert(Decimal(plain(value)))


def is_decimal_or_float(type_: Any) -> bool:
    """Tell whether Arrow would make other numbers of texts that it cannot hold."""
    return bool(pa.types.is_decimal(type_) or pa.types.is_floating(type_))


def cast(values: Any, type_: Any) -> Any:
    """Return an array as another type, also as one that holds each value once."""
    if values.type == type_:
        return values
    if isinstance(type_, pa.DictionaryType):
        return cast(values, type_.value_type).dictionary_encode().cast(type_)
    if isinstance(type_, pa.RunEndEncodedType):
        return pc.run_end_encode(cast(values, type_.value_type), type_.run_end_type)
    return values.cast(type_)
