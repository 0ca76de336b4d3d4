"""Texts of a page as arrays, without a Python object for each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

QUOTE, _BACKSLASH, _U, _D = b'"\\uD'
_LONE = b"\\/bfnrt" + b'"'
_HEX = b"0123456789abcdefABCDEF"
_LOWER = 0x20  # the bit that makes letters small


class FlatTexts:
    """Makes arrays of the texts of a page.

    Args:
        content: JSON.
        has_escapes: Whether there is a backslash in it.

    Attributes:
        escaped_quotes: Where quotation marks are that belong to a text.
    """

    def __init__(self, content: memoryview, *, has_escapes: bool) -> None:
        self._content = content
        self._signs = np.frombuffer(content, np.uint8)
        self._escapes = self._escaped() if has_escapes else np.empty(0, np.int64)
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

    def are_in_texts(self, quotes: Any) -> Any:
        """Tell which quotation marks belong to a text, by their places."""
        escaped = np.zeros(len(self._signs), bool)
        escaped[self.escaped_quotes] = True
        return escaped[quotes]

    def between(self, begins: Any, ends: Any, rows: Any, count: int) -> Any:
        """Return an array of texts, without escapes, that keeps nothing else of the page.

        Args:
            begins: Where the texts begin.
            ends: Where the braces behind them are.
            rows: Where each is in the array, null elsewhere; None for an array of just these.
            count: The length of the array.
        """
        offsets = np.empty(2 * len(begins) + 1, np.int32)
        offsets[-1] = len(self._content)
        bounds = offsets[:-1].reshape(-1, 2)
        bounds[:, 0], bounds[:, 1] = begins, ends
        bounds[:, 1] -= len('"')
        # Every other text of these is one that is wanted; those between are never looked at.
        everything = pa.StringArray.from_buffers(
            bounds.size, pa.py_buffer(offsets), pa.py_buffer(self._content)
        )
        if rows is None:
            texts = everything.take(_every_other(len(begins)))
        else:
            wanted, absent = np.zeros(count, np.int64), np.ones(count, bool)
            wanted[rows], absent[rows] = np.arange(0, bounds.size, 2), False
            texts = everything.take(pa.array(wanted, mask=absent))
        return self._plain(texts, bounds, rows) if len(self._escapes) else texts

    def _plain(self, texts: Any, bounds: Any, rows: Any) -> Any:
        first, behind = np.searchsorted(self._escapes, bounds.T)
        escaped = np.flatnonzero(first < behind)
        if not len(escaped):
            return texts
        raw = b'","'.join(self._content[begin:end] for begin, end in bounds[escaped].tolist())
        mask = np.zeros(len(texts), bool)
        mask[escaped if rows is None else rows[escaped]] = True
        plain = pa.array(orjson.loads(b'["%b"]' % raw), pa.string())
        return pc.replace_with_mask(texts, pa.array(mask), plain)


def _are_in(signs: Any, known: bytes) -> Any:
    table = np.zeros(256, bool)
    table[list(known)] = True
    return table[signs]


@lru_cache(maxsize=8)
def _every_other(size: int) -> Any:
    return pa.array(np.arange(0, 2 * size, 2))
