"""Pages of flat items as columns of texts, found by their punctuation instead of by a parser.

DynamoDB writes JSON without spaces: an attribute that holds a text ends with ``"}``, one that holds
true or false with ``e}``. All these ends are found at once. What stands behind each is compared,
many bytes of all attributes at a time, with what an attribute begins with, such as
``,"name":{"S":"``, and what is left is the value. So every byte is either known or part of a value
without quotation marks. A page on which anything else stands, such as a nested value, is not flat.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from dynamodb_wrapper.wire.arrow_flat_page import Cells, FlatPage
from dynamodb_wrapper.wire.arrow_flat_patterns import (
    NEXT_ATTRIBUTE,
    NEXT_ITEM,
    NUMBERS,
    UNIT,
    Pattern,
    layout,
    merged,
    number,
)
from dynamodb_wrapper.wire.arrow_flat_texts import QUOTE, FlatTexts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ITEMS = b'"Items":['
_ATTRIBUTE = re.compile(rb'"([^"\\]+)":\{"(?:(S|N|B)":"|(BOOL|NULL)":(?=[tf]))')
_OPENING, _CLOSING, _E, _SPACE = b"{}e "
_TRUE, _FALSE = number(b'L":true'), number(b'L":false')
_QUOTES_OF_TEXT, _QUOTES_OF_TRUTH = 6, 4
_BEFORE_FIRST = np.array([1 - len(NEXT_ITEM)])
"""Where the first attribute would begin if there were an item before."""
_RARE = 64
"""Escapes are one in so many bytes at most; more are parsed faster."""
_MOST_ATTRIBUTES = 100
"""Wider items are parsed faster."""
_TRIES, _FEWER, _FEW = 8, 0.75, 50
"""So are items in many orders: from the second on each try must leave fewer, or hardly any."""


class _NotFlatError(Exception):
    """Something on a page is not what flat items consist of."""


def flat_page(body: bytes) -> FlatPage | None:
    """Return the items of the reply to a Query or Scan; None where they are not flat.

    It is for the caller to check that the body is UTF-8 and the envelope a reply with one item.
    """
    begin, end = body.find(_ITEMS) + len(_ITEMS), body.rfind(b"}]") + 1
    if begin < len(_ITEMS) or end <= begin:
        return None
    escapes = body.count(b"\\", begin, end)
    if escapes * _RARE > end - begin:
        return None
    envelope = body[:begin] + b"0" + body[end:]
    if envelope.count(b'"Items"') > 1 or b"\\" in envelope:  # it may say so in other words
        return None
    if len(body) - end < UNIT:  # so that a unit can be read wherever an item can end
        body = body + b" " * UNIT  # not in place: a bytearray is the caller's
    try:
        return _Cut(body, begin, end, has_escapes=escapes > 0).page(envelope)
    except (_NotFlatError, IndexError):  # IndexError: units beyond the end of a broken page
        return None


class _Cut:
    """Takes the items of a page apart.

    Args:
        body: The reply.
        begin: Where its first item begins.
        end: Where its last item ends.
        has_escapes: Whether there is a backslash between.
    """

    def __init__(self, body: bytes, begin: int, end: int, *, has_escapes: bool) -> None:
        self._items = memoryview(body)[begin:end]
        self._signs = np.frombuffer(self._items, np.uint8)
        places = len(body) - begin - UNIT + 1
        self._units = np.ndarray((places,), f"V{UNIT}", body, begin, strides=(1,))
        self._texts = FlatTexts(self._items, has_escapes=has_escapes)
        self._found: dict[str, dict[str, Cells]] = {}

    def page(self, envelope: bytes) -> FlatPage:
        _check(self._signs[0] == _OPENING and self._signs.min() >= _SPACE)
        _check(self._texts.are_escaped_well())
        ends, are_texts = self._ends()
        _check(len(ends) > 0 and ends[-1] == len(self._signs) - 2)
        quotes, count = self._in_rows(ends, are_texts) or self._in_order(ends, are_texts)
        all_quotes = np.count_nonzero(self._signs == QUOTE)
        _check(quotes == all_quotes - len(self._texts.escaped_quotes))
        return FlatPage(envelope, count, self._found, self._texts)

    def _ends(self) -> tuple[Any, Any]:
        """Return where the attributes end, and whether a text ends there."""
        ends = np.flatnonzero(self._signs == _CLOSING)
        before = self._signs[ends - 1]
        is_text, truths = before == QUOTE, np.flatnonzero(before == _E)
        if len(self._texts.escaped_quotes):
            is_text &= ~self._texts.are_in_texts(ends - 1)
        is_end = is_text.copy()
        is_end[truths] = self._are_truths(ends[truths])
        return ends[is_end], is_text[is_end]

    def _are_truths(self, ends: Any) -> Any:
        """Tell which braces have true or false, and the end of a type, before them."""
        before = self._read(ends - len('L":false'))[:, 0]
        return (before == _FALSE) | (before >> np.uint64(8) == _TRUE)

    def _read(self, places: Any) -> Any:
        """Return the units at some places, in numbers."""
        found = self._units[np.ascontiguousarray(places)]
        return found.view("<u8").reshape(*places.shape, NUMBERS)

    # ---- items that all have the same attributes in the same order ----------------------------

    def _in_rows(self, ends: Any, are_texts: Any) -> tuple[int, int] | None:
        """Find all values; return how many quotation marks are around them, and the items.

        None where some item is not like the first one.
        """
        expected = layout(tuple(self._patterns_of_first_item(ends)))
        width = len(expected.patterns)
        count, left = divmod(len(ends), width)
        if left or len({pattern.name for pattern in expected.patterns}) < width:
            return None
        begins = np.concatenate((_BEFORE_FIRST, ends[:-1] + 1)).reshape(count, width)
        for places, unit in expected.passes:
            if not unit.fits(self._read, begins[1:, places]).all():
                return None
        ends, values = ends.reshape(count, width), begins + expected.lengths
        sizes = ends - values
        _check(bool((are_texts.reshape(count, width) == expected.are_texts).all()))
        _check(bool((sizes > 0).all()))
        quotes = 0
        for place, pattern in enumerate(expected.patterns):
            column = (None, values[:, place], ends[:, place], sizes[:, place])
            quotes += self._keep(pattern, *column)
        return quotes, count

    def _patterns_of_first_item(self, ends: Any) -> Iterator[Pattern]:
        place = 1
        for end in ends[:_MOST_ATTRIBUTES].tolist():
            pattern = self._pattern(place)
            yield pattern
            _check(place + len(pattern.signs) < end)
            place = end + 1 + len(NEXT_ATTRIBUTE)
            if self._items[end + 1 : place] != NEXT_ATTRIBUTE:
                return
        raise _NotFlatError

    # ---- items that lack some of the attributes others have -----------------------------------

    def _in_order(self, ends: Any, are_texts: Any) -> tuple[int, int]:
        """Find all values, as `_in_rows`, where attributes come in one order in all items."""
        after = self._read(ends[:-1] + 1)[:, 0]
        is_next = after & np.uint64(0xFFFFFF) == number(NEXT_ITEM)
        _check(bool((is_next | (after & np.uint64(0xFF) == number(NEXT_ATTRIBUTE))).all()))
        lengths = np.where(is_next, len(NEXT_ITEM), len(NEXT_ATTRIBUTE))
        begins = np.concatenate(([1], ends[:-1] + 1 + lengths))
        first = np.concatenate(([0], np.flatnonzero(is_next) + 1))
        behind = np.append(first[1:], len(ends))
        known: list[Pattern] = []
        item = int((behind - first).argmax())
        before = len(first)
        for number_of_try in range(_TRIES):
            known = merged(known, self._patterns(begins, int(first[item]), int(behind[item])))
            found, left = self._along(known, begins, ends, first, behind)
            if not len(left):
                break
            _check(not number_of_try or len(left) <= max(before * _FEWER, _FEW))
            before, item = len(left), int(left[(behind - first)[left].argmax()])
        else:
            raise _NotFlatError
        quotes = 0
        for pattern, rows, places in found:
            _check(bool((are_texts[places] == pattern.is_text).all()))
            values, own = begins[places] + len(pattern.signs), ends[places]
            some = None if len(rows) == len(first) else rows
            quotes += self._keep(pattern, some, values, own, own - values)
        for tags in self._found.values():
            self._check_once(list(tags.values()), len(first))
        return quotes, len(first)

    def _patterns(self, begins: Any, first: int, behind: int) -> list[Pattern]:
        """Return what the attributes of an item begin with."""
        _check(behind - first <= _MOST_ATTRIBUTES)
        return [self._pattern(begin) for begin in begins[first:behind].tolist()]

    def _along(
        self, known: Sequence[Pattern], begins: Any, ends: Any, first: Any, behind: Any
    ) -> tuple[list[tuple[Pattern, Any, Any]], Any]:
        """Go along all items at once, pattern by pattern.

        Returns:
            Of each pattern the items that have it and the places of their attributes; and the items
            that have something else.
        """
        at, lengths, found = first.copy(), np.append(ends - begins, 0), []
        for pattern in known:
            # Whoever is at its end is at the first attribute of the next item.
            rows = np.flatnonzero((at < behind) & (lengths[at] > len(pattern.signs)))
            for unit in pattern.units():
                read = self._read(begins[at[rows]] + unit.offset).T
                rows = rows[reduce(np.logical_and, map(_have, read, unit.mask, unit.bits))]
            found.append((pattern, rows, at[rows]))
            at[rows] += 1
        return found, np.flatnonzero(at < behind)

    def _check_once(self, tags: Sequence[Cells], count: int) -> None:
        """Refuse items that have an attribute twice, with two types."""
        if len(tags) > 1:
            _check(all(cells.rows is not None for cells in tags))
            there = np.concatenate([cells.rows for cells in tags])
            _check(np.bincount(there, minlength=count).max() == 1)

    # ---- attributes ---------------------------------------------------------------------------

    def _pattern(self, begin: int) -> Pattern:
        """Return what the attribute at a place begins with."""
        found = _ATTRIBUTE.match(self._items, begin)
        if found is None:
            raise _NotFlatError
        return Pattern(found[0], found[1].decode(), (found[2] or found[3]).decode())

    def _keep(self, pattern: Pattern, rows: Any, values: Any, ends: Any, sizes: Any) -> int:
        """Keep the values of an attribute; return how many quotation marks are around them."""
        if pattern.is_text:
            cells, quotes = Cells(rows, values, ends), _QUOTES_OF_TEXT
        else:
            is_true = sizes == len("true")
            _check(bool((is_true | (sizes == len("false"))).all()))
            _check(pattern.tag == "BOOL" or bool(is_true.all()))
            cells, quotes = Cells(rows, is_true, None), _QUOTES_OF_TRUTH
        self._found.setdefault(pattern.name, {})[pattern.tag] = cells
        return quotes * len(ends)


def _check(holds: bool) -> None:
    if not holds:
        raise _NotFlatError


def _have(numbers: Any, mask: Any, bits: Any) -> Any:
    return numbers & mask == bits
