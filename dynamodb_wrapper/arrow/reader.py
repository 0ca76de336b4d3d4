"""Turn pages into record batches: with Arrow kernels where possible, else through the models."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Generic, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from pydantic import create_model

from dynamodb_wrapper.arrow.columns import PRESENCE, Column, columns_of, refuse_present
from dynamodb_wrapper.arrow.kernels import are_utc_texts, check
from dynamodb_wrapper.arrow.rows import UNFIT, Rows
from dynamodb_wrapper.arrow.schema import FieldForm, forms_of, keeps_extra
from dynamodb_wrapper.exceptions.errors import IncompatibleItemError
from dynamodb_wrapper.models.fields import peel
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.annotations import unstored_input_names
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import Counts, DecodedPage, ItemReader
from dynamodb_wrapper.serialization.json_body import with_bytes
from dynamodb_wrapper.serialization.problems import Mismatch, Quarantined
from dynamodb_wrapper.serialization.values import seconds_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dynamodb_wrapper.serialization.json_body import Reply
    from dynamodb_wrapper.serialization.values import Item

_MARGIN_BYTES = 64
_KEY = pa.struct([("S", pa.string()), ("N", pa.string()), ("B", pa.string())])
_CAPACITY = pa.struct([("CapacityUnits", pa.float64())])
_NUMBER = pa.struct([("N", pa.string())])


class WirePage(NamedTuple):
    """The stored content of a page.

    Attributes:
        items: An array of structs: for each attribute wanted a struct of the types it may have.
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
        """Parse a body.

        Raises:
            ArrowException: It is no reply of DynamoDB's; other errors as well.
        """
        body.decode()  # Arrow accepts texts that are no UTF-8
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
    """Return a stored key from Arrow's, which has null for absent parts."""
    if found is None:
        return None
    key = {
        name: {tag: content for tag, content in value.items() if content is not None}
        for name, value in found.items()
        if value is not None
    }
    return with_bytes(key) or None


@dataclass(frozen=True)
class ArrowPage:
    """The rows of a page.

    Attributes:
        batch: The rows.
        quarantined: Values that do not fit their column, with ``mismatch="quarantine"``.
    """

    batch: Any
    quarantined: Sequence[Quarantined] = field(default=())


class ArrowReader(Generic[ModelT]):
    """Reads pages as record batches.

    Args:
        reader: Reads the models.
        table_name: The table as DynamoDB knows it.
        schema: The columns wanted, and their types; None for all the model has.
        mismatch: What becomes of an item that does not fit: ``raise``, ``null`` or ``quarantine``.

    Attributes:
        schema: The columns.
        adds_extra: Whether batches have the extra attributes of their items as columns as well.
        counts: Number of rows read by Arrow itself, and through the models.
    """

    def __init__(
        self, reader: ItemReader[ModelT], table_name: str, schema: Any, mismatch: Mismatch
    ) -> None:
        codec = reader.codec
        forms = forms_of(codec.model, schema)
        self.schema = schema
        if schema is None:
            self.schema = pa.schema([(column.name, column.form.type) for column in forms])
        self._reader = reader
        self.adds_extra = schema is None and keeps_extra(codec.model)
        self._rows = Rows(
            codec, table_name, forms, self.schema, mismatch, adds_extra=self.adds_extra
        )
        self._ttl = codec.ttl
        sees_unknown = codec.model is codec.table.model and not codec.keeps_unknown
        self._columns: list[Column] = []
        if not self.adds_extra and all(c.name in codec.model.model_fields for c in forms):
            self._columns = columns_of(codec.model, forms, sees_unknown=sees_unknown)
        self._moments = self._moments_of_keys()
        self._refused = unstored_input_names(codec.model) - codec.own_names
        self._rest = self._reader_of_rest(forms)
        self._pages = self._page_reader()
        self.counts = Counts()

    def page(self, reply: Reply) -> DecodedPage[ArrowPage]:
        """Return the rows of a Query or Scan reply as one batch.

        Raises:
            IncompatibleItemError: An item does not fit a column.
            ServiceError: It is no reply of DynamoDB's.
        """
        if reply.body is not None and self._columns:
            try:
                return self._compiled(reply, reply.body)
            except Exception:  # noqa: BLE001 - the models find the problem again
                pass
        return self._modelled(reply)

    def items(self, items: Sequence[Item], keep: Callable[[Any], bool] | None) -> ArrowPage:
        """Return stored items as a batch without expired ones."""
        batch, quarantined = self._rows.of_items(items, keep)
        self.counts.add(0, batch.num_rows)
        return ArrowPage(batch, quarantined)

    # ---- by Arrow --------------------------------------------------------------------------------

    def _reader_of_rest(self, forms: Sequence[FieldForm]) -> ItemReader[Any] | None:
        """Return the reader of the fields that Arrow cannot read: by a model of these alone."""
        codec = self._reader.codec
        compiled = {column.name for column in self._columns}
        names = [given.name for given in forms if given.name not in compiled]
        if not names or not compiled:
            return None
        infos = {name: copy(codec.model.model_fields[name]) for name in names}
        fields: dict[str, Any] = {name: (info.annotation, info) for name, info in infos.items()}
        settings: Any = codec.model.model_config
        model = create_model(codec.model.__name__, __config__=settings, **fields)
        return ItemReader(Codec(codec.table, model))

    def _moments_of_keys(self) -> list[str]:
        """Return key attributes whose texts may be spelt otherwise, which a kernel reads as well.

        Pages with such a key are read through the models, which notice it.
        """
        codec = self._reader.codec
        return [
            part.attribute
            for part in codec.keys.parts
            if peel(part.target.annotation).member is datetime
            and part.tag == "S"
            and not (part.has_own_form or part.has_serializer)
            and part.attribute in {column.attribute for column in self._columns}
        ]

    def _page_reader(self) -> PageReader:
        table = self._reader.codec.table
        attributes = {column.attribute: column.wire for column in self._columns}
        if self._ttl is not None:
            attributes.setdefault(self._ttl, _NUMBER)
        for attribute in sorted(self._refused):
            attributes.setdefault(attribute, PRESENCE)
        keys = [*table.key_fields, *(key for index in table.indexes for key in index.keys)]
        return PageReader(attributes, dict.fromkeys(table.attribute_of(key) for key in keys))

    def _compiled(self, reply: Reply, body: bytes) -> DecodedPage[ArrowPage]:
        items, last_key, capacity = self._pages.page(body)
        count = len(items)
        if self._ttl is not None:
            items = self._unexpired(items)
        refuse_present(items, self._refused)
        for attribute in self._moments:
            check(are_utc_texts(items.field(attribute).field("S")))
        arrays = {c.name: c.read(items.field(c.attribute)) for c in self._columns}
        if self._rest is not None:
            models = self._rest.page(reply).models
            check(len(models) == len(items))  # none has expired in between
            arrays.update(self._rows.arrays(models, set(self.schema.names) - arrays.keys()))
        batch = pa.RecordBatch.from_arrays(
            [arrays[name] for name in self.schema.names], schema=self.schema
        )
        self.counts.add(batch.num_rows, 0)
        return DecodedPage([ArrowPage(batch)], None, last_key, capacity, count)

    def _unexpired(self, items: Any) -> Any:
        ttl = items.field(self._ttl)
        names = [ttl.type.field(n).name for n in range(ttl.type.num_fields)]
        check("N" in names)
        moments = ttl.field(names.index("N")).cast(pa.float64())
        has_passed = pc.less(moments, float(seconds_now() + 1))
        if not pc.any(has_passed).as_py():
            return items
        return items.filter(pc.invert(pc.fill_null(has_passed, False)))

    # ---- by models -------------------------------------------------------------------------------

    def _modelled(self, reply: Reply) -> DecodedPage[ArrowPage]:
        try:
            found = self._reader.page(reply)
            batch = self._rows.of_models(found.models)
        except (IncompatibleItemError, *UNFIT):
            return self._one_by_one(reply)
        self.counts.add(0, batch.num_rows)
        return DecodedPage([ArrowPage(batch)], None, found.last_key, found.capacity, found.count)

    def _one_by_one(self, reply: Reply) -> DecodedPage[ArrowPage]:
        parsed = reply.parsed()
        items = parsed.get("Items", [])
        page = self.items(items, None)
        last_key = parsed.get("LastEvaluatedKey") or None
        return DecodedPage([page], None, last_key, parsed.get("ConsumedCapacity"), len(items))
