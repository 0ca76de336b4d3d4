"""dyntastic: a Pydantic model for each table, on boto3's resource."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from dyntastic import Dyntastic

from benchmarks.models import Address, Line
from benchmarks.records import KeyPair, Records


class FlatOrder(Dyntastic):
    __table_name__ = "flat_orders"
    __hash_key__ = "customer_id"
    __range_key__ = "order_id"

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


class NestedOrder(Dyntastic):
    __table_name__ = "nested_orders"
    __hash_key__ = "customer_id"
    __range_key__ = "order_id"

    customer_id: str
    order_id: str
    placed_at: datetime
    address: Address
    lines: list[Line]
    labels: dict[str, str]


_MODELS: dict[str, Any] = {"flat": FlatOrder, "nested": NestedOrder}


class ByDyntastic:
    """The methods of the model class."""

    def __init__(self, endpoint_url: str, records: Records) -> None:
        self._model = _MODELS[records.shape]
        self._model.__table_host__ = endpoint_url
        self._model.__table_region__ = "us-east-1"
        self._records = records

    def orders(self) -> list[Any]:
        return [self._model(**record) for record in self._records.first]

    def get(self, key: KeyPair) -> Any:
        return self._model.get(*key)

    def put(self, order: Any) -> None:
        order.save()

    def get_many(self, keys: Sequence[KeyPair]) -> list[Any]:
        found: list[Any] = self._model.batch_get(list(keys))
        return found

    def put_many(self, orders: Sequence[Any]) -> None:
        with self._model.batch_writer():
            for order in orders:
                order.save()

    def query(self, customer_id: str) -> list[Any]:
        return list(self._model.query(customer_id))

    def scan(self) -> list[Any]:
        return list(self._model.scan())

    def plain(self, found: Any) -> dict[str, Any]:
        values: dict[str, Any] = found.model_dump()
        return values
