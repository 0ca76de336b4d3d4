"""PynamoDB: a model class for each table, with typed maps in typed lists and float numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    Attribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.models import Model

from benchmarks.records import KeyPair, Records, with_floats


class IsoDateTimeAttribute(Attribute[datetime]):
    """A datetime as ISO text; PynamoDB's UTCDateTimeAttribute reads only the offset +0000."""

    attr_type = "S"

    def serialize(self, value: datetime) -> str:
        return value.isoformat()

    def deserialize(self, value: str) -> datetime:
        return datetime.fromisoformat(value)


class FlatOrder(Model):
    class Meta:
        table_name = "flat_orders"
        region = "us-east-1"
        host: str

    customer_id = UnicodeAttribute(hash_key=True)
    order_id = UnicodeAttribute(range_key=True)
    placed_at = IsoDateTimeAttribute()
    status = UnicodeAttribute()
    email = UnicodeAttribute()
    city = UnicodeAttribute()
    quantity = NumberAttribute()
    total = NumberAttribute()
    paid = BooleanAttribute()
    note = UnicodeAttribute()


class Address(MapAttribute[str, Any]):
    street = UnicodeAttribute()
    city = UnicodeAttribute()
    postcode = UnicodeAttribute()
    country = UnicodeAttribute()


class Line(MapAttribute[str, Any]):
    sku = UnicodeAttribute()
    name = UnicodeAttribute()
    quantity = NumberAttribute()
    price = NumberAttribute()
    discount = NumberAttribute(null=True)
    gift = BooleanAttribute()
    colours: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute)


class NestedOrder(Model):
    class Meta:
        table_name = "nested_orders"
        region = "us-east-1"
        host: str

    customer_id = UnicodeAttribute(hash_key=True)
    order_id = UnicodeAttribute(range_key=True)
    placed_at = IsoDateTimeAttribute()
    address = Address()
    lines: ListAttribute[Line] = ListAttribute(of=Line)
    labels: MapAttribute[str, str] = MapAttribute()


_MODELS: dict[str, Any] = {"flat": FlatOrder, "nested": NestedOrder}


class ByPynamoDB:
    """The methods of the model class."""

    def __init__(self, endpoint_url: str, records: Records) -> None:
        self._model = _MODELS[records.shape]
        self._model.Meta.host = endpoint_url
        self._records = records

    def orders(self) -> list[Any]:
        return [self._model(**_values(with_floats(record))) for record in self._records.first]

    def get(self, key: KeyPair) -> Any:
        return self._model.get(*key)

    def put(self, order: Any) -> None:
        order.save()

    def get_many(self, keys: Sequence[KeyPair]) -> list[Any]:
        return list(self._model.batch_get(keys))

    def put_many(self, orders: Sequence[Any]) -> None:
        with self._model.batch_write() as batch:
            for order in orders:
                batch.save(order)

    def query(self, customer_id: str) -> list[Any]:
        return list(self._model.query(customer_id))

    def scan(self) -> list[Any]:
        return list(self._model.scan())

    def plain(self, found: Any) -> dict[str, Any]:
        values: dict[str, Any] = _plain(found)
        return values


def _values(record: dict[str, Any]) -> dict[str, Any]:
    if "lines" not in record:
        return record
    lines = [Line(**line) for line in record["lines"]]
    return {**record, "address": Address(**record["address"]), "lines": lines}


def _plain(value: Any) -> Any:
    if isinstance(value, (Model, MapAttribute)):
        return {name: _plain(inner) for name, inner in value.attribute_values.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
