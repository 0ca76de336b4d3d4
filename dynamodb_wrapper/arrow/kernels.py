"""Convert columns of stored scalars with Arrow kernels, without a Python object per row.

Each kernel converts a whole column, or raises where a value is not in the form that converts
exactly as the model would. Arrow reads texts as numbers more freely than the models do, and turns
what is too large for a decimal or a float into another number; both are refused here.
"""

from __future__ import annotations

import binascii
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Callable

import pyarrow as pa
import pyarrow.compute as pc

from dynamodb_wrapper.arrow.schema import LARGEST, unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = {32: 9, 64: 18, 128: 38, 256: 76}
_PLAIN_NUMBER = r"^(0|-?[1-9]\d*|-?(0|[1-9]\d*)\.\d+)$"
_SECONDS = 1_000_000
_MILLISECONDS = 1_000
Convert = Callable[[Any], Any]
_DATETIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
_UTC_TEXT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"
_TIME = r"^\d\d:\d\d:\d\d(\.\d{1,6})?$"
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_DATE_LENGTH = 10
_FIRST = datetime.min.replace(tzinfo=timezone.utc)
_LAST = datetime.max.replace(tzinfo=timezone.utc)
_LIMITS: dict[str, Callable[[dict[str, Any], Any], bool]] = {
    "ge": lambda ends, limit: ends["min"] >= limit,
    "gt": lambda ends, limit: ends["min"] > limit,
    "le": lambda ends, limit: ends["max"] <= limit,
    "lt": lambda ends, limit: ends["max"] < limit,
    "min_length": lambda ends, limit: ends["min"] >= limit,
    "max_length": lambda ends, limit: ends["max"] <= limit,
}
_LENGTHS: dict[int, Convert] = {
    pa.string().id: pc.utf8_length,
    pa.binary().id: pc.binary_length,
    pa.list_(pa.null()).id: pc.list_value_length,
}


class IrregularError(Exception):
    """Values are not of the form the kernels expect: the page is read through the models."""


def check(holds: bool) -> None:
    """Refuse a column for which something does not hold."""
    if not holds:
        raise IrregularError


def every(mask: Any) -> bool:
    """Return whether a mask is true wherever it is not null."""
    return pc.all(mask).as_py() is not False


# ---- numbers -------------------------------------------------------------------------------------


def numbers(kind: type, type_: Any) -> Convert | None:
    """Return the kernel that makes numbers of a type; None where they may differ from the model's.

    Args:
        kind: The type of the model's numbers: int, float or Decimal.
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
    """Return whether texts contain one of some signs."""
    return any(bytes([sign]) in content for content in _content_of(values) for sign in signs)


def epochs(step: str) -> Convert:
    """Return the kernel that makes timestamps of whole seconds or milliseconds."""
    factor = _SECONDS if step == "EpochSeconds" else _MILLISECONDS

    def convert(values: Any) -> Any:
        counted = pc.multiply_checked(wholes(values, pa.int64()), factor)
        return _in_range(counted.cast(pa.timestamp("us", "UTC")))

    return convert


def durations(values: Any) -> Any:
    """Return durations, stored in seconds, to the microsecond."""
    seconds = decimals(values, pa.decimal128(20, 6))
    micros = pc.multiply(seconds, pa.scalar(_SECONDS, pa.decimal128(7, 0)))
    return micros.cast(pa.int64()).cast(pa.duration("us"))


# ---- texts and binary ----------------------------------------------------------------------------


def datetimes(values: Any) -> Any:
    """Return timestamps; a text without a time zone is refused."""
    lengths = pc.min_max(pc.binary_length(values)).as_py()
    is_usual = every(pc.ends_with(values, "Z")) and (lengths["min"] or 20) >= 20
    if not is_usual:
        check(every(pc.match_substring_regex(values, _DATETIME)))
    return _in_range(values.cast(pa.timestamp("us", "UTC")))


def are_utc_texts(values: Any) -> bool:
    """Return whether all texts are moments as this library writes them."""
    return every(pc.match_substring_regex(values, _UTC_TEXT))


def _in_range(moments: Any) -> Any:
    """Return the same timestamps; refuse those that Python's datetime cannot hold."""
    found = pc.min_max(moments.cast(pa.int64())).as_py()
    if found["min"] is not None:
        check(found["min"] >= _micros(_FIRST) and found["max"] <= _micros(_LAST))
    return moments


@lru_cache(maxsize=4)
def _micros(moment: datetime) -> int:
    return int(pa.scalar(moment, pa.timestamp("us", "UTC")).cast(pa.int64()).as_py())


def dates(values: Any) -> Any:
    """Return dates."""
    check(every(pc.equal(pc.binary_length(values), _DATE_LENGTH)))
    moments = values.cast(pa.timestamp("us"))
    _in_range(moments)
    return moments.cast(pa.date32())


def times(values: Any) -> Any:
    """Return times of day; a text with a time zone is refused."""
    check(every(pc.match_substring_regex(values, _TIME)))
    day = pa.scalar("1970-01-01T", pa.string())
    whole = pc.binary_join_element_wise(day, values, "")
    return whole.cast(pa.timestamp("us")).cast(pa.time64("us"))


def uuids(values: Any) -> Any:
    """Return the texts of UUIDs in their usual form."""
    check(every(pc.match_substring_regex(values, _UUID)))
    return values


def members(convert: Convert, known: list[Any], type_: Any) -> Convert:
    """Return the kernel that converts values and refuses unknown ones."""
    value_set = pa.array(known, type_)

    def converted(values: Any) -> Any:
        found = convert(values)
        unknown = pc.and_(pc.is_valid(found), pc.invert(pc.is_in(found, value_set=value_set)))
        check(not pc.any(unknown).as_py())
        return found

    return converted


def binaries(values: Any) -> Any:
    """Return binary out of base64: all texts are decoded at once, then the padding is cut off."""
    texts = values.cast(pa.binary())
    if texts.null_count:
        texts = pc.fill_null(texts, b"")
    lengths = pc.binary_length(texts)
    check(every(pc.equal(pc.bit_wise_and(lengths, 3), 0)))
    joined = b"".join(_content_of(texts))
    pads = pc.add(
        pc.cast(pc.ends_with(texts, "="), pa.int32()),
        pc.cast(pc.ends_with(texts, "=="), pa.int32()),
    )
    check(joined.count(b"=") == (pc.sum(pads).as_py() or 0))
    try:
        decoded = binascii.a2b_base64(joined.replace(b"=", b"A"))
    except binascii.Error as error:
        raise IrregularError from error
    check(len(decoded) == len(joined) // 4 * 3)
    cut = _cut(decoded, pc.multiply(pc.divide(lengths, 4), 3))
    for width in (1, 2):
        shorter = pc.binary_replace_slice(cut, -width, 2**31 - 1, b"")
        cut = pc.if_else(pc.equal(pads, width), shorter, cut)
    return pc.if_else(values.is_valid(), cut, None) if values.null_count else cut


def _content_of(texts: Any) -> list[bytes]:
    """Return the bytes of all texts of an array."""
    offsets = pa.Array.from_buffers(
        pa.int32(), len(texts) + 1, [None, texts.buffers()[1]], offset=texts.offset
    )
    begin, end = offsets[0].as_py(), offsets[-1].as_py()
    data = texts.buffers()[2]
    return [] if data is None or begin == end else [data.slice(begin, end - begin).to_pybytes()]


def _cut(content: bytes, lengths: Any) -> Any:
    """Cut bytes into binary values of these lengths."""
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    return pa.Array.from_buffers(
        pa.binary(), len(lengths), [None, offsets.buffers()[1], pa.py_buffer(content)]
    )


# ---- limits --------------------------------------------------------------------------------------


def limits(wanted: Mapping[str, Any], type_: Any) -> Convert | None:
    """Return the check of limits; None where the limits of a type are not supported."""
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    of_length = _LENGTHS.get(type_.id)
    measures: dict[str, Convert] = {}
    for name in wanted:
        measure = of_length if name.endswith("length") else unchanged if is_number else None
        if measure is None or name not in _LIMITS:
            return None
        measures[name] = measure

    def refuse(values: Any) -> None:
        for name, measure in measures.items():
            ends = pc.min_max(measure(values)).as_py()
            if ends["min"] is not None:
                check(_LIMITS[name](ends, wanted[name]))

    return refuse


# ---- lists and nulls -----------------------------------------------------------------------------


def sorted_within(lists: Any, values: Any) -> Any:
    """Return the values of lists sorted within each list; refuse a value that is there twice."""
    parents = pc.list_parent_indices(lists)
    table = pa.table({"parent": parents, "value": values})
    order = pc.sort_indices(table, [("parent", "ascending"), ("value", "ascending")])
    found, parents = values.take(order), parents.take(order)
    is_same = pc.and_(
        pc.equal(found.slice(1), found.slice(0, max(len(found) - 1, 0))),
        pc.equal(parents.slice(1), parents.slice(0, max(len(found) - 1, 0))),
    )
    check(not pc.any(is_same).as_py())
    return found


def list_like(content: Any, values: Any) -> Any:
    """Return lists of the lengths of those given, with other values."""
    offsets = content.offsets
    return pa.ListArray.from_arrays(pc.subtract(offsets, offsets[0]), values)


def skip_nulls(read: Convert) -> Convert:
    """Return a kernel that applies another one to the values that are not null."""

    def read_any(content: Any) -> Any:
        if not content.null_count:
            return read(content)
        return scatter(read(content.drop_null()), content.is_valid())

    return read_any


def scatter(values: Any, is_present: Any) -> Any:
    """Return values at the places that are true, null elsewhere."""
    number = pc.subtract(pc.cumulative_sum(is_present.cast(pa.int64())), 1)
    return values.take(pc.if_else(is_present, number, pa.scalar(None, pa.int64())))
