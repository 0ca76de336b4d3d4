"""The items that are read and written, as plain values drawn from a fixed seed.

It imports the standard library only, because the process of every side imports it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

Record = dict[str, Any]
KeyPair = tuple[str, str]

PARTITION_KEY, SORT_KEY = "customer_id", "order_id"

_SEED = 2013
_PARTITION = 100
# A page has as many items as DynamoDB puts on one (1 MB by its count); in quick runs fewer.
_PAGE = {"flat": 3500, "nested": 800}
_QUICK_PAGE = {"flat": 150, "nested": 50}
_WORDS = (
    "amber basin cedar delta ember fjord grove harbor island juniper kelp lagoon meadow north "
    "ocean prairie quarry river summit tundra upland valley willow yarrow zephyr"
).split()


@dataclass(frozen=True)
class Records:
    """The items of one table.

    Attributes:
        shape: ``flat`` (ten attributes) or ``nested`` (a list of maps and two maps).
        items: All items of the table, in the order of a scan.
        partition: A query and a batch get find this many of them, from the first.
        page: Items on a full page of a scan.
        one_order: Whether all items on a page have the same order of attributes; if not, every
            item has its own.
    """

    shape: str
    items: list[Record]
    partition: int
    page: int
    one_order: bool = False

    @property
    def table(self) -> str:
        """Full name of the table."""
        return f"{self.shape}_orders{'_one_order' if self.one_order else ''}"

    @property
    def first(self) -> list[Record]:
        """The items that a query and a batch get find."""
        return self.items[: self.partition]

    @property
    def keys(self) -> list[KeyPair]:
        """The keys of `first`."""
        return [(item[PARTITION_KEY], item[SORT_KEY]) for item in self.first]


def records(*, quick: bool = False) -> dict[str, Records]:
    """Return the tables ``flat``, ``nested`` and ``flat-one-order``.

    A scan reads one full page and a short one. ``flat-one-order`` has the items of ``flat``.
    """
    draw = random.Random(_SEED)
    found = {}
    for shape, make in (("flat", _flat), ("nested", _nested)):
        page = (_QUICK_PAGE if quick else _PAGE)[shape]
        items = [make(draw, number) for number in range(page + max(page // 8, _PARTITION))]
        found[shape] = Records(shape, items, _PARTITION, page)
    return {**found, "flat-one-order": replace(found["flat"], one_order=True)}


def with_floats(value: Any) -> Any:
    """Return the value with every Decimal in it as a float, for libraries without Decimal."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: with_floats(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_floats(inner) for inner in value]
    return value


def moment(text: str) -> datetime:
    """Return the text of a date as a datetime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _keys(draw: random.Random, number: int) -> Record:
    moment = datetime(2013, 1, 1, tzinfo=timezone.utc) + timedelta(
        seconds=draw.randrange(31_536_000), microseconds=draw.randrange(1_000_000)
    )
    return {
        PARTITION_KEY: f"customer-{number // _PARTITION:06d}",
        SORT_KEY: f"order-{number:08d}",
        "placed_at": moment,
    }


def _flat(draw: random.Random, number: int) -> Record:
    return {
        **_keys(draw, number),
        "status": draw.choice(("PLACED", "PAID", "SHIPPED", "DELIVERED")),
        "email": f"{draw.choice(_WORDS)}.{draw.choice(_WORDS)}{draw.randrange(1000)}@example.com",
        "city": draw.choice(_WORDS).title(),
        "quantity": draw.randrange(1, 500),
        "total": _money(draw),
        "paid": draw.random() < 0.5,
        "note": _text(draw, 20),
    }


def _nested(draw: random.Random, number: int) -> Record:
    return {
        **_keys(draw, number),
        "address": {
            "street": f"{draw.randrange(1, 200)} {draw.choice(_WORDS).title()} Street",
            "city": draw.choice(_WORDS).title(),
            "postcode": f"{draw.randrange(100_000):05d}",
            "country": draw.choice(("DE", "FR", "JP", "US")),
        },
        "lines": [_line(draw) for _ in range(10)],
        "labels": {word: _text(draw, 2) for word in draw.sample(_WORDS, 4)},
    }


def _line(draw: random.Random) -> Record:
    line = {
        "sku": f"SKU-{draw.randrange(10**8):08d}",
        "name": _text(draw, 4),
        "quantity": draw.randrange(1, 20),
        "price": _money(draw),
    }
    if draw.random() < 0.3:
        line["discount"] = _money(draw)
    return {**line, "gift": draw.random() < 0.1, "colours": draw.sample(_WORDS, 2)}


def _money(draw: random.Random) -> Decimal:
    # a quotient has no trailing zeros, like the numbers that DynamoDB returns
    return Decimal(draw.randrange(100, 100_000)) / 100


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))
