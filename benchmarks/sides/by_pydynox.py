"""pydynox: a model class for each table, with float numbers and untyped nested values.

`NumberAttribute` is measured because the exact `DecimalAttribute` is a little slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydynox import DynamoDBClient, Model, ModelConfig, SyncBatchWriter, set_default_client
from pydynox.attributes import (
    BooleanAttribute,
    DatetimeAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    StringAttribute,
)

from benchmarks.records import KeyPair, Records, with_floats


class FlatOrder(Model):
    model_config = ModelConfig(table="flat_orders")

    customer_id = StringAttribute(partition_key=True)
    order_id = StringAttribute(sort_key=True)
    placed_at = DatetimeAttribute()
    status = StringAttribute()
    email = StringAttribute()
    city = StringAttribute()
    quantity = NumberAttribute()
    total = NumberAttribute()
    paid = BooleanAttribute()
    note = StringAttribute()


class FlatOrderInOneOrder(FlatOrder):
    model_config = ModelConfig(table="flat_orders_one_order")


class NestedOrder(Model):
    model_config = ModelConfig(table="nested_orders")

    customer_id = StringAttribute(partition_key=True)
    order_id = StringAttribute(sort_key=True)
    placed_at = DatetimeAttribute()
    address = MapAttribute()
    lines = ListAttribute()
    labels = MapAttribute()


_MODELS: dict[str, type[Model]] = {
    "flat_orders": FlatOrder,
    "flat_orders_one_order": FlatOrderInOneOrder,
    "nested_orders": NestedOrder,
}


class ByPydynox:
    """The synchronous methods; the asynchronous ones need more processor time."""

    def __init__(self, endpoint_url: str, records: Records) -> None:
        self._client = DynamoDBClient(region="us-east-1", endpoint_url=endpoint_url)
        set_default_client(self._client)
        self._model = _MODELS[records.table]
        self._records = records

    def orders(self) -> list[Any]:
        return [self._model(**with_floats(record)) for record in self._records.first]

    def get(self, key: KeyPair) -> Any:
        return self._model.sync_get(customer_id=key[0], order_id=key[1])

    def put(self, order: Any) -> None:
        order.sync_save()

    def get_many(self, keys: Sequence[KeyPair]) -> list[Any]:
        wanted = [{"customer_id": key[0], "order_id": key[1]} for key in keys]
        found: list[Any] = self._model.sync_batch_get(wanted)
        return found

    def put_many(self, orders: Sequence[Any]) -> None:
        with SyncBatchWriter(self._client, self._records.table) as batch:
            for order in orders:
                batch.put(order.to_dict())

    def query(self, customer_id: str) -> list[Any]:
        return list(self._model.sync_query(partition_key=customer_id))

    def scan(self) -> list[Any]:
        return list(self._model.sync_scan())

    def plain(self, found: Any) -> dict[str, Any]:
        return {name: getattr(found, name) for name in self._records.items[0]}
