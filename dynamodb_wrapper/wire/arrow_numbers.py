"""Stored numbers to columns by Arrow's own kernels.

Arrow reads texts as numbers more freely than the models do, and what is too large for a decimal or
a floating-point type becomes another number. Here that is refused.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dynamodb_wrapper.wire.arrow_kernels import Convert, check, content_of, every, possible
from dynamodb_wrapper.wire.arrow_plain import LARGEST

_DIGITS = {32: 9, 64: 18, 128: 38, 256: 76}
_PLAIN_NUMBER = r"^(0|-?[1-9]\d*|-?(0|[1-9]\d*)\.\d+)$"
_SECONDS = 1_000_000
_MILLISECONDS = 1_000


def numbers(kind: type, type_: Any) -> Convert | None:
    """Return what makes numbers of a type; None where the model's numbers may become others.

    Args:
        kind: What the model makes of them: int, float or Decimal.
        type_: The type of the column.
    """
    is_float = type_ in (pa.float32(), pa.float64())
    if kind is int and pa.types.is_integer(type_):
        return partial(wholes, type_=type_)
    if kind is int and is_float:
        return lambda values: wholes(values, pa.int64()).cast(type_)
    if kind in (float, Decimal) and is_float:
        return partial(floats, type_=type_)
    if kind is Decimal and pa.types.is_decimal(type_):
        return partial(decimals, type_=type_)
    return number_texts if kind is Decimal and type_ == pa.string() else None


def number_texts(values: Any) -> Any:
    """Return numbers as the texts they are stored as, which must have no exponent."""
    check(every(pc.match_substring_regex(values, _PLAIN_NUMBER)))
    return values


def wholes(values: Any, type_: Any) -> Any:
    """Return whole numbers; Arrow alone would read hexadecimal ones as well."""
    check(not _has_any(values, b"xX"))
    return values.cast(type_)


def floats(values: Any, type_: Any) -> Any:
    """Return floating-point numbers; Arrow alone would make too large ones infinite."""
    found = values.cast(pa.float64())
    check(every(pc.is_finite(found)))
    if found.type == type_:
        return found
    largest = LARGEST[type_.bit_width]
    check(every(pc.less_equal(pc.abs(found), largest)))
    return found.cast(type_)


def decimals(values: Any, type_: Any) -> Any:
    """Return decimals; Arrow alone would wrap numbers of more digits than their bits hold."""
    check(not _has_any(values, b"eE"))
    digits = _DIGITS[type_.bit_width]
    whole_digits = digits - max(type_.scale, 0)
    lengths = pc.binary_length(values)
    longest = pc.max(lengths).as_py() or 0
    if longest > whole_digits:
        check(longest <= digits)
        points = pc.find_substring(values, ".")
        before = pc.if_else(pc.less(points, 0), lengths, points)
        check(pc.max(before).as_py() <= whole_digits)
    return values.cast(type_)


def _has_any(values: Any, signs: bytes) -> bool:
    """Tell whether texts have one of some signs."""
    return any(bytes([sign]) in content for content in content_of(values) for sign in signs)


def epochs(step: str) -> Convert:
    """Return what makes moments of whole seconds or milliseconds."""
    factor = _SECONDS if step == "EpochSeconds" else _MILLISECONDS

    def convert(values: Any) -> Any:
        counted = pc.multiply_checked(wholes(values, pa.int64()), factor)
        return possible(counted.cast(pa.timestamp("us", "UTC")))

    return convert


def durations(values: Any) -> Any:
    """Return spans, stored in seconds, to the microsecond."""
    seconds = decimals(values, pa.decimal128(20, 6))
    micros = pc.multiply(seconds, pa.scalar(_SECONDS, pa.decimal128(7, 0)))
    return micros.cast(pa.int64()).cast(pa.duration("us"))
