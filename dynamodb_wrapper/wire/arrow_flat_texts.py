"""Texts of a page as arrays, without a Python object for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUOTE, _BACKSLASH, _U, _D = b'"\\uD'
_LONE = b"\\/bfnrt" + b'"'
_HEX = b"0123456789abcdefABCDEF"
_LOWER = 0x20  # the bit that makes letters small


class FlatTexts:
    """Makes arrays of the texts of a page.

    Args:
        body: JSON.
        begin, end: The part of it in which all places are, counted from its begin.

    Attributes:
        escaped_quotes: Where quotation marks are that belong to a text.
    """

    def __init__(self, body: bytes, begin: int, end: int) -> None:
        self._content = memoryview(body)[begin:end]
        self._signs = np.frombuffer(self._content, np.uint8)
        has_none = body.find(b"\\", begin, end) < 0
        self._escapes = np.empty(0, np.int64) if has_none else self._escaped()
        self.escaped_quotes = self._escapes[self._signs[self._escapes] == QUOTE]

    def _escaped(self) -> Any:
        """Return where the characters are that a backslash stands before."""
        found = np.flatnonzero(self._signs == _BACKSLASH)
        number = np.arange(len(found))
        is_first = np.concatenate(([True], np.diff(found) > 1))
        in_a_row = number - np.maximum.accumulate(np.where(is_first, number, 0))
        return found[in_a_row % 2 == 0] + 1

    def are_escaped_well(self) -> bool:
        """Tell whether every escape is one of JSON's, and none is half of a character."""
        signs = self._signs[self._escapes]
        codes = self._escapes[signs == _U]
        if not (_are_in(signs, _LONE) | (signs == _U)).all():
            return False
        if not len(codes):
            return True
        digits = [self._signs[codes + place] for place in range(1, 5)]
        is_half = (digits[0] & ~np.uint8(_LOWER) == _D) & ~_are_in(digits[1], b"01234567")
        return bool(all(_are_in(some, _HEX).all() for some in digits)) and not is_half.any()

    def between(self, spans: Sequence[tuple[Any, Any]]) -> Iterator[Any]:
        """Yield arrays of texts, without escapes.

        Args:
            spans: Of each array where its texts begin and where the braces behind them are.
        """
        sizes = [len(begins) for begins, _ in spans]
        offsets = np.empty(2 * sum(sizes) + 1, np.int32)
        offsets[-1] = len(self._content)
        bounds, place = offsets[:-1].reshape(-1, 2), 0
        for (begins, ends), size in zip(spans, sizes):
            bounds[place : place + size, 0], bounds[place : place + size, 1] = begins, ends
            place += size
        bounds[:, 1] -= len('"')
        # Every other text of these is one that is wanted; those between are never looked at.
        everything = pa.StringArray.from_buffers(
            bounds.size, pa.py_buffer(offsets), pa.py_buffer(self._content)
        )
        texts = everything.take(pa.array(np.arange(0, bounds.size, 2)))
        place = 0
        for size in sizes:
            found = texts.slice(place, size)
            own = bounds[place : place + size]
            yield self._plain(found, own) if len(self._escapes) else found
            place += size

    def _plain(self, texts: Any, bounds: Any) -> Any:
        first, behind = np.searchsorted(self._escapes, bounds.T)
        mask = first < behind
        if not mask.any():
            return texts
        raw = b'","'.join(self._content[begin:end] for begin, end in bounds[mask].tolist())
        plain = pa.array(orjson.loads(b'["%b"]' % raw), pa.string())
        return pc.replace_with_mask(texts, pa.array(mask), plain)


def _are_in(signs: Any, known: bytes) -> Any:
    return np.isin(signs, np.frombuffer(known, np.uint8))
