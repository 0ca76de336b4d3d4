"""boto3's resource, which returns plain values, and `model_validate` of Pydantic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key
from boto3.dynamodb.types import TypeDeserializer

from benchmarks import models
from benchmarks.records import PARTITION_KEY, SORT_KEY, KeyPair, Records


class ByBoto3:
    """Code that a user of boto3 and Pydantic writes."""

    exact = staticmethod(models.exact)

    def __init__(self, endpoint_url: str, records: Records) -> None:
        self._resource = boto3.resource("dynamodb", endpoint_url=endpoint_url)
        self._table = self._resource.Table(records.table)
        self._name = records.table
        self._model = models.MODELS[records.shape]
        self._records = records

    def orders(self) -> list[models.Order]:
        return [self._model(**record) for record in self._records.first]

    def get(self, key: KeyPair) -> models.Order | None:
        item = self._table.get_item(Key=_key(key)).get("Item")
        return None if item is None else self._model.model_validate(item)

    def put(self, order: models.Order) -> None:
        self._table.put_item(Item=_plain(order))

    def get_many(self, keys: Sequence[KeyPair]) -> list[models.Order]:
        request = {self._name: {"Keys": [_key(key) for key in keys]}}
        found = self._resource.batch_get_item(RequestItems=request)["Responses"][self._name]
        # in the order of the response; this library restores the order of the keys
        return [self._model.model_validate(item) for item in found]

    def put_many(self, orders: Sequence[models.Order]) -> None:
        with self._table.batch_writer() as batch:
            for order in orders:
                batch.put_item(Item=_plain(order))

    def query(self, customer_id: str) -> list[models.Order]:
        condition = Key(PARTITION_KEY).eq(customer_id)
        items = _items(self._table.query, {"KeyConditionExpression": condition})
        return [self._model.model_validate(item) for item in items]

    def scan(self) -> list[models.Order]:
        return [self._model.model_validate(item) for item in _items(self._table.scan, {})]

    def decode(self, body: bytes) -> list[models.Order]:
        read = TypeDeserializer().deserialize
        items = json.loads(body)["Items"]
        plain = ({name: read(value) for name, value in item.items()} for item in items)
        return [self._model.model_validate(item) for item in plain]

    def arrow(self) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(list(_items(self._table.scan, {})))

    def plain(self, found: models.Order) -> dict[str, Any]:
        return found.model_dump()


def _key(key: KeyPair) -> dict[str, str]:
    return {PARTITION_KEY: key[0], SORT_KEY: key[1]}


def _plain(order: models.Order) -> dict[str, Any]:
    item: dict[str, Any] = order.model_dump(exclude_none=True)
    item["placed_at"] = order.placed_at.isoformat()  # boto3 stores no datetime
    return item


def _items(read: Any, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while True:
        response = read(**request)
        yield from response["Items"]
        if "LastEvaluatedKey" not in response:
            return
        request["ExclusiveStartKey"] = response["LastEvaluatedKey"]
