"""aiodynamo: items are plain dictionaries with floats and dates as text, for it has no models.

It uses aiohttp, the faster of the two HTTP clients in its documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiodynamo.client import Client, Table
from aiodynamo.credentials import Credentials
from aiodynamo.expressions import HashKey
from aiodynamo.http.aiohttp import AIOHTTP
from aiodynamo.models import BatchGetRequest, BatchWriteRequest
from aiohttp import ClientSession
from yarl import URL

from benchmarks.records import (
    PARTITION_KEY,
    SORT_KEY,
    KeyPair,
    Record,
    Records,
    moment,
    with_floats,
)

_PER_REQUEST = 25


class ByAiodynamo:
    """A table of a client, on one session."""

    def __init__(self, endpoint_url: str, records: Records) -> None:
        self.loop = asyncio.new_event_loop()
        self._session = self.loop.run_until_complete(_session())
        self._client = Client(
            AIOHTTP(self._session), Credentials.auto(), "us-east-1", endpoint=URL(endpoint_url)
        )
        self._table: Table = self._client.table(records.table)
        self._records = records

    def orders(self) -> list[Record]:
        items: list[Record] = with_floats(self._records.first)
        return [{**item, "placed_at": item["placed_at"].isoformat()} for item in items]

    async def get(self, key: KeyPair) -> Record:
        return await self._table.get_item(_key(key))

    async def put(self, order: Record) -> None:
        await self._table.put_item(order)

    async def get_many(self, keys: Sequence[KeyPair]) -> list[Record]:
        request = BatchGetRequest([_key(key) for key in keys])
        found = await self._client.batch_get({self._table.name: request})
        return found.items[self._table.name]

    async def put_many(self, orders: Sequence[Record]) -> None:
        for begin in range(0, len(orders), _PER_REQUEST):
            request = BatchWriteRequest(items_to_put=list(orders[begin : begin + _PER_REQUEST]))
            await self._client.batch_write({self._table.name: request})

    async def query(self, customer_id: str) -> list[Record]:
        return [item async for item in self._table.query(HashKey(PARTITION_KEY, customer_id))]

    async def scan(self) -> list[Record]:
        return [item async for item in self._table.scan()]

    def plain(self, found: Record) -> Record:
        return {**found, "placed_at": moment(found["placed_at"])}

    def close(self) -> None:
        self.loop.run_until_complete(self._session.close())
        self.loop.close()


async def _session() -> ClientSession:
    return ClientSession()  # in a coroutine, because it needs a running loop


def _key(key: KeyPair) -> dict[str, Any]:
    return {PARTITION_KEY: key[0], SORT_KEY: key[1]}
