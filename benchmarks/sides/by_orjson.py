"""orjson alone, on pages already in memory: the least that reading JSON into Python takes."""

from __future__ import annotations

from typing import Any

import orjson

from benchmarks.pages import read_pages
from benchmarks.records import Record, Records, moment


class ByOrjson:
    """`orjson.loads` and nothing else; no request, no values made of the typed ones."""

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
