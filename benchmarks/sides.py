"""The two ways that are compared: boto3 by hand, and a repository.

Each gives the same operations on the same table, as its users write them, with the settings each
has by itself. Both end in validated models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol

import boto3
from boto3.dynamodb.conditions import Key

from benchmarks.workload import ModelT, Workload
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.repositories import BaseDynamoRepository

KeyPair = tuple[str, str]


class Side(Protocol[ModelT]):
    """What is measured."""

    name: str

    def get(self, key: KeyPair) -> ModelT | None: ...
    def put(self, order: ModelT) -> None: ...
    def get_many(self, keys: Sequence[KeyPair]) -> list[ModelT | None]: ...
    def put_many(self, orders: Sequence[ModelT]) -> None: ...
    def query(self, customer_id: str) -> list[ModelT]: ...
    def scan(self) -> list[ModelT]: ...


class ByHand(Generic[ModelT]):
    """boto3's resource, whose TypeDeserializer makes plain values, and `model_validate`."""

    name = "boto3"

    def __init__(self, endpoint_url: str, workload: Workload[ModelT]) -> None:
        self._resource = boto3.resource(
            "dynamodb",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="replay",
            aws_secret_access_key="replay",
        )
        self.client = self._resource.meta.client
        self._table = self._resource.Table(workload.name)
        self._name = workload.name
        self._model: type[ModelT] = workload.table.model

    def get(self, key: KeyPair) -> ModelT | None:
        item = self._table.get_item(Key=_key(key)).get("Item")
        return None if item is None else self._model.model_validate(item)

    def put(self, order: ModelT) -> None:
        self._table.put_item(Item=_plain(order))

    def get_many(self, keys: Sequence[KeyPair]) -> list[ModelT | None]:
        request = {self._name: {"Keys": [_key(key) for key in keys]}}
        found = self._resource.batch_get_item(RequestItems=request)["Responses"][self._name]
        # as they came: by hand, nobody restores the order of the keys without need
        return [self._model.model_validate(item) for item in found]

    def put_many(self, orders: Sequence[ModelT]) -> None:
        with self._table.batch_writer() as batch:
            for order in orders:
                batch.put_item(Item=_plain(order))

    def query(self, customer_id: str) -> list[ModelT]:
        condition = Key("customer_id").eq(customer_id)
        items = _items(self._table.query, {"KeyConditionExpression": condition})
        return [self._model.model_validate(item) for item in items]

    def scan(self) -> list[ModelT]:
        return [self._model.model_validate(item) for item in _items(self._table.scan, {})]


class ByRepository(Generic[ModelT]):
    """This library."""

    name = "dynamodb-wrapper"

    def __init__(self, endpoint_url: str, workload: Workload[ModelT]) -> None:
        config = DynamoDBConfig.for_local_development(endpoint_url)
        self.repository: BaseDynamoRepository[ModelT] = BaseDynamoRepository(config, workload.table)

    def get(self, key: KeyPair) -> ModelT | None:
        return self.repository.get(key)

    def put(self, order: ModelT) -> None:
        self.repository.put(order)

    def get_many(self, keys: Sequence[KeyPair]) -> list[ModelT | None]:
        return self.repository.get_many(keys)

    def put_many(self, orders: Sequence[ModelT]) -> None:
        self.repository.put_many(orders)

    def query(self, customer_id: str) -> list[ModelT]:
        return list(self.repository.query(customer_id))

    def scan(self) -> list[ModelT]:
        return list(self.repository.scan())


def _key(key: KeyPair) -> dict[str, str]:
    return {"customer_id": key[0], "order_id": key[1]}


def _plain(order: Any) -> dict[str, Any]:
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
