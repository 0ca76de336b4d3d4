"""Convert models to stored items and back, one item at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic

import pydantic

from dynamodb_wrapper.exceptions.errors import IncompatibleItemError
from dynamodb_wrapper.models.document import Document
from dynamodb_wrapper.models.fields import STORED
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.annotations import fields_of, read_fields, readable_names
from dynamodb_wrapper.serialization.encoder import compile_encoder, prune
from dynamodb_wrapper.serialization.keys import Keys
from dynamodb_wrapper.serialization.kinds import declared_kind
from dynamodb_wrapper.serialization.problems import clean_errors, explain
from dynamodb_wrapper.serialization.values import decode_item, decode_value, encode_value

if TYPE_CHECKING:
    from dynamodb_wrapper.models.table import Derived, Table
    from dynamodb_wrapper.serialization.values import Item

LIBRARY_PREFIX = "gx_"
_CONSTANTS = ("kind", "schema_version")


class Codec(Generic[ModelT]):
    """Encodes and decodes the items of one table.

    Args:
        table: The table.
        model: The model of the items; that of the table, or one with fewer fields.

    Attributes:
        table: The table.
        model: The model of the items.
        keys: The keys of the table.
        ttl: Attribute that holds the TTL; None where the table has none.
        own_names: Attributes the library writes and models do not see.
        kind: How items are told from those of other models; None where the table holds one.
        keeps_unknown: Whether attributes the model does not know are kept with it.
    """

    def __init__(self, table: Table[Any], model: type[ModelT]) -> None:
        self.table = table
        self.model = model
        self.keys = Keys(table)
        self.ttl = None if table.ttl is None else table.attribute_of(table.ttl)
        self._derived = table.derived
        own = {d.attribute for d in self._derived}
        if table.write_token is not None:
            own.add(table.write_token)
        if issubclass(table.model, Document):
            own |= set(_CONSTANTS)
        self.kind = declared_kind(table)
        if self.kind is not None:
            own |= {self.kind.attribute} - {shape.attribute for shape in fields_of(model)}
        self.own_names = frozenset(own)
        self.keeps_unknown = issubclass(model, Document)

    def encode(self, item: ModelT) -> Item:
        """Return the whole item: fields, unknown attributes that were read, derived attributes.

        Raises:
            ValidationError: A value cannot be stored; model and field are named.
        """
        stored = self._fields(item)
        if isinstance(item, Document):
            stored = {**item.unknown_attributes, **_constants(item), **stored}
        for derived in self._derived:
            put_derived(stored, derived, derived.value_of(item))
        if self.kind is not None:
            self.kind.mark(stored, type(item).__name__)
        self.keys.check_stored(stored, type(item).__name__)
        return self.keys.under_key_read(item, stored)

    def _fields(self, item: ModelT) -> Item:
        encode = compile_encoder(type(item))
        if encode is not None:
            try:
                return encode(item)
            except Exception:  # noqa: BLE001 - the generic encoder finds the problem again
                pass
        return self.encode_generic(item)

    def encode_generic(self, item: ModelT) -> Item:
        """Return the stored fields of an item, encoded through pydantic's serialization.

        Raises:
            ValidationError: A value cannot be stored; model and field are named.
        """
        dumped = item.model_dump(round_trip=True, by_alias=False, warnings=False)
        name = type(item).__name__
        return {
            attribute: encode_value(value, f"{name}.{attribute}")
            for attribute, value in prune(dumped, item).items()
        }

    def decode(self, item: Mapping[str, Mapping[str, Any]]) -> ModelT:
        """Return the model of a stored item.

        Raises:
            IncompatibleItemError: The item does not fit the model; table, key and fields are named.
        """
        own: Mapping[str, Any] = item
        unknown: dict[str, Any] = {}
        if self.own_names:
            own = {k: v for k, v in item.items() if k not in self.own_names}
        if self.keeps_unknown:
            known = readable_names(self.model)
            unknown = {k: v for k, v in own.items() if k not in known}
            own = {k: v for k, v in own.items() if k in known}
        elif self.model is not self.table.model:  # keys and TTL are read along with a smaller model
            own = {k: v for k, v in own.items() if k in readable_names(self.model)}
        try:
            # Strict models take what DynamoDB can hold: it has no dates, tuples or UUIDs.
            values = read_fields(self.model, own)
            found = self.model.model_validate(values, strict=False, context=STORED)
        except pydantic.ValidationError as error:
            raise self._incompatible(item, error) from error
        if isinstance(found, Document):
            found.keep_unknown_attributes(unknown)
        return found

    def key_of(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the key attributes of a stored item, decoded."""
        return {name: decode_value(item[name]) for name in self.keys.names if name in item}

    def _incompatible(
        self, item: Mapping[str, Any], error: pydantic.ValidationError
    ) -> IncompatibleItemError:
        key = self.key_of(item)
        return IncompatibleItemError(
            f"The item {key} of table {self.table.name!r} does not fit "
            f"{self.model.__name__}: {explain(error)}.",
            key=key,
            errors=clean_errors(error),
        )


def _constants(document: Document) -> Item:
    """Return the attributes of every item of the control tables."""
    return {
        "kind": {"S": document.KIND},
        "schema_version": {"N": str(document.SCHEMA_VERSION)},
    }


def put_derived(stored: Item, derived: Derived, value: str | None) -> None:
    """Set or remove a derived attribute."""
    if value:
        stored[derived.attribute] = {"S": value}
    else:
        stored.pop(derived.attribute, None)


def plain(item: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """Return a stored item as plain values, for errors."""
    return None if item is None else decode_item(item)
