"""orjson on pages in memory: the least time in which JSON is read into Python objects."""

from __future__ import annotations

from typing import Any

import orjson

from benchmarks.records import Record, Records, moment
from benchmarks.replay_server import read_pages


class ByOrjson:
    """`orjson.loads` without a request; the values keep their DynamoDB types."""

    def __init__(self, endpoint_url: str, records: Records) -> None:
        self._pages = read_pages(endpoint_url, records.table)

    def decode(self, body: bytes) -> list[Any]:
        items: list[Any] = orjson.loads(body)["Items"]
        return items

    def arrow(self) -> list[Any]:
        return [item for page in self._pages for item in orjson.loads(page)["Items"]]

    def plain(self, found: dict[str, dict[str, Any]]) -> Record:
        values = {name: _value(typed) for name, typed in found.items()}
        return {**values, "placed_at": moment(values["placed_at"])}


def _value(typed: dict[str, Any]) -> Any:
    return float(typed["N"]) if "N" in typed else next(iter(typed.values()))
