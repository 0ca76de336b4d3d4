"""What flat attributes begin with, and how that is compared with many of them at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNIT, NUMBERS = 24, 3
"""Bytes that are compared at a time, and as how many numbers: most names fit in."""

NEXT_ATTRIBUTE, NEXT_ITEM = b",", b"},{"
"""What stands between the closing brace of an attribute and the next one."""


def number(signs: bytes) -> int:
    """Return bytes as the number they are in memory."""
    return int.from_bytes(signs, "little")


def _numbers(signs: bytes) -> Any:
    return np.frombuffer(signs.ljust(UNIT, b"\0"), "<u8")


class Unit(NamedTuple):
    """A part of what an attribute begins with.

    Attributes:
        offset: Where.
        mask: Which bits of it count.
        bits: What they are.
    """

    offset: Any
    mask: Any
    bits: Any

    def fits(self, read: Callable[[Any], Any], begins: Any) -> Any:
        """Tell which attributes have it, number by number.

        Args:
            read: Returns the units at some places.
            begins: Where the attributes begin.
        """
        return read(begins + self.offset) & self.mask == self.bits


class Pattern(NamedTuple):
    """What an attribute begins with.

    Attributes:
        signs: The bytes, up to the value.
        name: Of the attribute.
        tag: Its type.
    """

    signs: bytes
    name: str
    tag: str

    @property
    def is_text(self) -> bool:
        """Whether a text follows, instead of true or false."""
        return self.signs.endswith(b'"')

    def units(self) -> Iterator[Unit]:
        """Yield the parts that together are all of it."""
        last = max(len(self.signs) - UNIT, 0)
        for offset in (*range(0, last, UNIT), last):
            signs = self.signs[offset : offset + UNIT]
            mask, bits = _numbers(b"\xff" * len(signs)), _numbers(signs)
            yield Unit(offset, mask, bits)


class Layout(NamedTuple):
    """What the attributes of an item begin with; the first one as if an item were before it.

    Attributes:
        patterns: One for each attribute.
        lengths: Their lengths.
        are_texts: Whether each is of a text.
        passes: What is to be compared, and at which places of attributes.
    """

    patterns: Sequence[Pattern]
    lengths: Any
    are_texts: Any
    passes: Sequence[tuple[Any, Unit]]


@lru_cache(maxsize=64)
def layout(patterns: tuple[Pattern, ...]) -> Layout:
    """Return the layout of items whose attributes have these patterns."""
    found = tuple(
        pattern._replace(signs=(NEXT_ATTRIBUTE if place else NEXT_ITEM) + pattern.signs)
        for place, pattern in enumerate(patterns)
    )
    units, passes = [list(pattern.units()) for pattern in found], []
    for turn in range(max(map(len, units))):
        some = {place: of_one[turn] for place, of_one in enumerate(units) if turn < len(of_one)}
        places = slice(None) if len(some) == len(units) else np.array(list(some))
        passes.append((places, Unit(*map(np.array, zip(*some.values())))))
    lengths = np.array([len(pattern.signs) for pattern in found])
    are_texts = np.array([pattern.is_text for pattern in found])
    return Layout(found, lengths, are_texts, passes)


def merged(known: Sequence[Pattern], own: Sequence[Pattern]) -> list[Pattern]:
    """Return patterns in an order in which those of some items, and of one more, come.

    Patterns of one name stay together. Where the item contradicts the others, it is believed.
    """
    names = list(dict.fromkeys(pattern.name for pattern in known))
    place = 0
    for name in dict.fromkeys(pattern.name for pattern in own):
        before = names.index(name) if name in names else None
        if before is None:
            names.insert(place, name)
        elif before < place:
            names.insert(place, name)
            del names[before]
            place -= 1
        else:
            place = before
        place += 1
    every = dict.fromkeys((*known, *own))
    return sorted(every, key=lambda pattern: names.index(pattern.name))
