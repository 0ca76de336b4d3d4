"""Pages as structs of what is stored: cut up where their items are flat, else parsed by Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import pyarrow as pa
import pyarrow.json as pj

from dynamodb_wrapper.config import with_bytes
from dynamodb_wrapper.wire.arrow_kernels import check
from dynamodb_wrapper.wire.envelopes import RAW_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dynamodb_wrapper.wire.arrow_flat_page import FlatPage
    from dynamodb_wrapper.wire.attributes import Item

_MARGIN_BYTES = 64
_PATIENCE, _PAUSE, _SMALL_BYTES = 3, 32, 1000
_KEY = pa.struct([("S", pa.string()), ("N", pa.string()), ("B", pa.string())])
_CAPACITY = pa.struct([("CapacityUnits", pa.float64())])
_FLAT = frozenset({"S", "N", "B", "BOOL", "NULL"})
"""The types of attributes that a flat page can have."""


class WirePage(NamedTuple):
    """What a page holds, as it is stored.

    Attributes:
        items: An array of structs: of each attribute wanted a struct of the types it may have.
        last_key: Exclusive start key of the next page; None at the end.
        capacity: The reply's ``ConsumedCapacity``.
    """

    items: Any
    last_key: Item | None
    capacity: Any


class PageReader:
    """Reads the pages of one table.

    Args:
        attributes: The attributes wanted, and the structs they are read as.
        keys: The attributes an exclusive start key may have.

    Attributes:
        cut, parsed: How many pages were read which way; of several threads not all may count.
    """

    def __init__(self, attributes: Mapping[str, Any], keys: Iterable[str]) -> None:
        self._names = list(attributes)
        self._fields = [_fields_of(wire) for wire in attributes.values()]
        self._wire = pa.schema(
            [
                ("Items", pa.list_(pa.struct(list(attributes.items())))),
                ("LastEvaluatedKey", pa.struct([(name, _KEY) for name in keys])),
                ("ConsumedCapacity", _CAPACITY),
            ]
        )
        types = {field.name for fields in self._fields for field in fields}
        self._cut = _cutter() if types <= _FLAT else None
        self._misses = self.cut = self.parsed = 0

    def page(self, body: bytes) -> WirePage:
        """Return what a body holds.

        Raises:
            ArrowException: It is no reply of DynamoDB's; other errors as well.
        """
        body.decode()  # Arrow takes texts that are no UTF-8
        page = self._cut_up(body)
        if page is None:
            self.parsed += 1
            return self._parsed(body)
        self.cut += 1
        return self._flat(page)

    def _cut_up(self, body: bytes) -> FlatPage | None:
        """Cut a page up, unless several could not be; then some are parsed without a try."""
        if self._cut is None:
            return None
        page = self._cut(body) if self._misses % _PAUSE < _PATIENCE else None
        if page is not None:
            self._misses = 0
        elif len(body) > _SMALL_BYTES:  # smaller pages, the empty ones among them, say nothing
            self._misses += 1
        return page

    def _flat(self, page: FlatPage) -> WirePage:
        envelope = RAW_PAGE.decode(page.envelope)
        check(list(map(bytes, envelope.Items)) == [b"0"])
        arrays = page.attributes(zip(self._names, self._fields))
        items = pa.StructArray.from_arrays(arrays, self._names)
        return WirePage(items, envelope.last_key(), envelope.ConsumedCapacity)

    def _parsed(self, body: bytes) -> WirePage:
        table = pj.read_json(
            pa.BufferReader(body),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(body) + _MARGIN_BYTES),
            parse_options=pj.ParseOptions(
                explicit_schema=self._wire,
                newlines_in_values=True,
                unexpected_field_behavior="ignore",
            ),
        )
        check(table.num_rows == 1)
        found, last_key, capacity = (table.column(name).chunk(0) for name in self._wire.names)
        items = found.flatten()
        check(not items.null_count)
        return WirePage(items, _stored_key(last_key[0].as_py()), capacity[0].as_py())


def _cutter() -> Callable[[bytes], FlatPage | None] | None:
    """Return what cuts flat pages up; None without numpy."""
    try:
        from dynamodb_wrapper.wire.arrow_flat import flat_page
    except ImportError:
        return None
    return flat_page


def _fields_of(wire: Any) -> list[Any]:
    return [wire.field(place) for place in range(wire.num_fields)]


def _stored_key(found: dict[str, Any] | None) -> Item | None:
    """Return a key as it is stored out of what Arrow made of it: null for what is not there."""
    if found is None:
        return None
    key = {
        name: {tag: content for tag, content in value.items() if content is not None}
        for name, value in found.items()
        if value is not None
    }
    return with_bytes(key) or None
