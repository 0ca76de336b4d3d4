"""This library: a repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import models
from benchmarks.records import PARTITION_KEY, SORT_KEY, KeyPair, Records
from dynamodb_wrapper import BaseDynamoRepository, DynamoDBConfig, Table
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply

Orders = list[models.Order]


class ByLibrary:
    """A repository with default settings."""

    exact = staticmethod(models.exact)

    def __init__(self, endpoint_url: str, records: Records) -> None:
        config = DynamoDBConfig.for_local_development(endpoint_url)
        model = models.MODELS[records.shape]
        table: Table[models.Order] = Table(
            records.table, model, partition_key=PARTITION_KEY, sort_key=SORT_KEY
        )
        self._repository: BaseDynamoRepository[models.Order] = BaseDynamoRepository(config, table)
        self._model = model
        self._records = records
        self._reader: ItemReader[models.Order] = ItemReader(Codec(table, model))

    def decode(self, body: bytes) -> Orders:
        return self._reader.page(Reply(body)).models

    def ways(self) -> dict[str, int]:
        """Return the number of items decoded by the compiled and by the generic decoder."""
        counts = [self._repository.decoded, self._reader.counts]
        return {
            "compiled": sum(count.compiled for count in counts),
            "generic": sum(count.generic for count in counts),
        }

    def orders(self) -> Orders:
        return [self._model(**record) for record in self._records.first]

    def get(self, key: KeyPair) -> models.Order | None:
        return self._repository.get(key)

    def put(self, order: models.Order) -> None:
        self._repository.put(order)

    def get_many(self, keys: Sequence[KeyPair]) -> list[models.Order | None]:
        return self._repository.get_many(keys)

    def put_many(self, orders: Sequence[models.Order]) -> None:
        self._repository.put_many(orders)

    def query(self, customer_id: str) -> Orders:
        return list(self._repository.query(customer_id))

    def scan(self) -> Orders:
        return list(self._repository.scan())

    def arrow(self) -> Any:
        return self._repository.scan().to_arrow()

    def plain(self, found: models.Order) -> dict[str, Any]:
        return found.model_dump()
