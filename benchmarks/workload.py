"""The items that are read and written, and the pages the replay server answers with.

Everything is drawn from a fixed seed. The pages are made with boto3's own serializer, so that they
owe nothing to the code under test.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Generic, Optional, TypeVar, Union

from boto3.dynamodb.types import TypeSerializer
from pydantic import BaseModel

from benchmarks.replay_server import Recording, place_of
from dynamodb_wrapper.models import Table

_SEED = 2013
_WRITTEN_BY_A_BATCH = 25
_WORDS = (
    "amber basin cedar delta ember fjord grove harbor island juniper kelp lagoon meadow north "
    "ocean prairie quarry river summit tundra upland valley willow yarrow zephyr"
).split()


class FlatOrder(BaseModel):
    """Ten attributes, about 300 bytes."""

    customer_id: str
    order_id: str
    placed_at: datetime
    status: str
    email: str
    city: str
    quantity: int
    total: Decimal
    paid: bool
    note: str


class Address(BaseModel):
    street: str
    city: str
    postcode: str
    country: str


class Line(BaseModel):
    sku: str
    name: str
    quantity: int
    price: Decimal
    discount: Optional[Decimal] = None
    gift: bool
    colours: list[str]


class NestedOrder(BaseModel):
    """A list of maps, a map and a model, about 1.3 kilobytes."""

    customer_id: str
    order_id: str
    placed_at: datetime
    address: Address
    lines: list[Line]
    labels: dict[str, str]


ModelT = TypeVar("ModelT", FlatOrder, NestedOrder)


@dataclass(frozen=True)
class Workload(Generic[ModelT]):
    """One table of one shape.

    Attributes:
        shape: ``flat`` or ``nested``.
        table: The declaration.
        orders: Every item of the table, in pages of a scan.
        partition: How many of them, from the first, a query and a batch get find.
        page: Items on a page of a scan.
    """

    shape: str
    table: Table[ModelT]
    orders: list[ModelT]
    partition: int
    page: int

    @property
    def name(self) -> str:
        """Name of the table; there is no prefix."""
        return self.table.name

    @property
    def first(self) -> list[ModelT]:
        """What a query and a batch get find."""
        return self.orders[: self.partition]

    @property
    def item_bytes(self) -> int:
        """Mean size of an item on the wire, as JSON."""
        sample = [json.dumps(_stored(order), separators=(",", ":")) for order in self.first]
        return sum(map(len, sample)) // len(sample)

    def recordings(self) -> Iterator[Recording]:
        """Yield the response to every request of both sides, with and without capacity."""
        for measured in (False, True):
            for operation, place, response, units in self._responses():
                if measured:
                    capacity = {"TableName": self.name, "CapacityUnits": units}
                    response["ConsumedCapacity"] = (
                        [capacity] if operation.startswith("Batch") else capacity
                    )
                body = json.dumps(response, separators=(",", ":"))
                yield Recording(operation, self.name, body, place, measured)

    def _responses(self) -> Iterator[tuple[str, str, dict[str, Any], float]]:
        items = [_stored(order) for order in self.first]
        for item in items:
            yield "GetItem", place_of(_key(item)), {"Item": item}, 0.5
        yield "PutItem", "", {}, 1.0
        batch = {"Responses": {self.name: items}, "UnprocessedKeys": {}}
        yield "BatchGetItem", "", batch, len(items) / 2
        yield "BatchWriteItem", "", {"UnprocessedItems": {}}, float(_WRITTEN_BY_A_BATCH)
        yield ("Query", "", _page(items, more=False), len(items) / 8)
        start = ""
        for begin in range(0, len(self.orders), self.page):
            end = begin + self.page
            items = [_stored(order) for order in self.orders[begin:end]]
            yield "Scan", start, _page(items, more=end < len(self.orders)), 128.0
            start = place_of(_key(items[-1]))


def workloads(*, quick: bool = False) -> tuple[Workload[FlatOrder], Workload[NestedOrder]]:
    """Return the flat and the nested table; both have two pages of a scan."""
    draw = random.Random(_SEED)
    flat_page, nested_page = (150, 50) if quick else (600, 150)
    flat = [_flat_order(draw, number) for number in range(2 * flat_page)]
    nested = [_nested_order(draw, number) for number in range(2 * nested_page)]
    return (
        Workload("flat", _table("flat_orders", FlatOrder), flat, 100, flat_page),
        Workload("nested", _table("nested_orders", NestedOrder), nested, 100, nested_page),
    )


def _table(name: str, model: type[ModelT]) -> Table[ModelT]:
    return Table(name, model, partition_key="customer_id", sort_key="order_id")


def _page(items: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    page = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    return {**page, "LastEvaluatedKey": _key(items[-1])} if more else page


def _key(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("customer_id", "order_id")}


def _stored(order: Union[FlatOrder, NestedOrder]) -> dict[str, Any]:
    values = order.model_dump(exclude_none=True)
    values["placed_at"] = order.placed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    serializer = TypeSerializer()
    return {name: serializer.serialize(value) for name, value in values.items()}


def _key_values(draw: random.Random, number: int) -> dict[str, Any]:
    moment = datetime(2013, 1, 1, tzinfo=timezone.utc) + timedelta(
        seconds=draw.randrange(31_536_000), microseconds=draw.randrange(1_000_000)
    )
    return {
        "customer_id": f"customer-{number // 100:06d}",
        "order_id": f"order-{number:08d}",
        "placed_at": moment,
    }


def _flat_order(draw: random.Random, number: int) -> FlatOrder:
    return FlatOrder(
        **_key_values(draw, number),
        status=draw.choice(("PLACED", "PAID", "SHIPPED", "DELIVERED")),
        email=f"{draw.choice(_WORDS)}.{draw.choice(_WORDS)}{draw.randrange(1000)}@example.com",
        city=draw.choice(_WORDS).title(),
        quantity=draw.randrange(1, 500),
        total=_money(draw),
        paid=draw.random() < 0.5,
        note=_text(draw, 20),
    )


def _nested_order(draw: random.Random, number: int) -> NestedOrder:
    return NestedOrder(
        **_key_values(draw, number),
        address=Address(
            street=f"{draw.randrange(1, 200)} {draw.choice(_WORDS).title()} Street",
            city=draw.choice(_WORDS).title(),
            postcode=f"{draw.randrange(100_000):05d}",
            country=draw.choice(("DE", "FR", "JP", "US")),
        ),
        lines=[_line(draw) for _ in range(10)],
        labels={word: _text(draw, 2) for word in draw.sample(_WORDS, 4)},
    )


def _line(draw: random.Random) -> Line:
    return Line(
        sku=f"SKU-{draw.randrange(10**8):08d}",
        name=_text(draw, 4),
        quantity=draw.randrange(1, 20),
        price=_money(draw),
        discount=_money(draw) if draw.random() < 0.3 else None,
        gift=draw.random() < 0.1,
        colours=draw.sample(_WORDS, 2),
    )


def _money(draw: random.Random) -> Decimal:
    # a quotient has no trailing zeros, and neither has a number DynamoDB returns
    return Decimal(draw.randrange(100, 100_000)) / 100


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))
