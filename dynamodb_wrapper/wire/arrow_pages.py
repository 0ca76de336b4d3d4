"""Pages as structs of what is stored, parsed by Arrow with a schema of DynamoDB's own form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.json as pj

from dynamodb_wrapper.config import with_bytes
from dynamodb_wrapper.wire.arrow_kernels import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dynamodb_wrapper.wire.attributes import Item

_MARGIN_BYTES = 64
_KEY = pa.struct([("S", pa.string()), ("N", pa.string()), ("B", pa.string())])
_CAPACITY = pa.struct([("CapacityUnits", pa.float64())])


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
    """

    def __init__(self, attributes: Mapping[str, Any], keys: Iterable[str]) -> None:
        self._wire = pa.schema(
            [
                ("Items", pa.list_(pa.struct(list(attributes.items())))),
                ("LastEvaluatedKey", pa.struct([(name, _KEY) for name in keys])),
                ("ConsumedCapacity", _CAPACITY),
            ]
        )

    def page(self, body: bytes) -> WirePage:
        """Return what a body holds.

        Raises:
            ArrowException: It is no reply of DynamoDB's; other errors as well.
        """
        body.decode()  # Arrow takes texts that are no UTF-8
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
