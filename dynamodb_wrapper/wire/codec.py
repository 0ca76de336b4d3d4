"""Models to stored items and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic

import pydantic

from dynamodb_wrapper.exceptions import IncompatibleItemError, ValidationError
from dynamodb_wrapper.models import STORED, Document, ModelT
from dynamodb_wrapper.wire.attributes import decode_item, decode_value, encode_value
from dynamodb_wrapper.wire.pruning import prune
from dynamodb_wrapper.wire.shapes import fields_of, read_fields

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.models import Derived, Table
    from dynamodb_wrapper.wire.attributes import AttributeValue, Item

LIBRARY_PREFIX = "gx_"
_PARTITION_KEY_BYTES, _SORT_KEY_BYTES = 2048, 1024
_CONSTANTS = ("kind", "schema_version")


class Codec(Generic[ModelT]):
    """Reads and writes the items of one table."""

    def __init__(self, table: Table[Any], model: type[ModelT]) -> None:
        self.table = table
        self.model = model
        self._own_names = {d.attribute for d in table.derived}
        if issubclass(table.model, Document):
            self._own_names |= set(_CONSTANTS)

    def encode(self, item: ModelT) -> Item:
        """Return the whole item: fields, unknown attributes that were read, derived attributes.

        Raises:
            ValidationError: A value cannot be stored; model and field are named.
        """
        dumped = item.model_dump(round_trip=True, by_alias=False, warnings=False)
        name = type(item).__name__
        stored: Item = {}
        if isinstance(item, Document):
            stored.update(item.unknown_attributes)
            stored.update(constants(item))
        for attribute, value in prune(dumped, item).items():
            stored[attribute] = encode_value(value, f"{name}.{attribute}")
        for derived in self.table.derived:
            put_derived(stored, derived, derived.value_of(item))
        self._check_keys(stored, name)
        return stored

    def decode(self, item: Mapping[str, Mapping[str, Any]]) -> ModelT:
        """Return the model of a stored item.

        Raises:
            IncompatibleItemError: The item does not fit the model; table, key and fields are named.
        """
        own = {k: v for k, v in item.items() if k not in self._own_names}
        unknown: dict[str, Any] = {}
        if issubclass(self.model, Document):
            known = _readable_names(self.model)
            unknown = {k: v for k, v in own.items() if k not in known}
            own = {k: v for k, v in own.items() if k in known}
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
        names = [self.table.attribute_of(field) for field in self.table.key_fields]
        return {name: decode_value(item[name]) for name in names if name in item}

    def _check_keys(self, stored: Item, name: str) -> None:
        for field in self.table.key_fields:
            check_key_value(self.table, field, stored.get(self.table.attribute_of(field)))
        for index in self.table.indexes:
            for key in index.keys:
                attribute = self.table.attribute_of(key)
                value = stored.get(attribute)
                if value is None:
                    continue
                if "NULL" in value:
                    del stored[attribute]
                elif value in ({"S": ""}, {"B": b""}):
                    raise ValidationError(
                        f"{name}.{attribute} is empty; it is a key of index {index.name!r}, and "
                        "DynamoDB refuses empty key values. Use None to leave it out of the index."
                    )

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


@lru_cache(maxsize=512)
def _readable_names(model: type[BaseModel]) -> frozenset[str]:
    """Return every attribute name the model can take a value from."""
    names = set()
    for field in fields_of(model):
        names.add(field.attribute)
        alias = model.model_fields[field.name].validation_alias
        choices = getattr(alias, "choices", [alias])
        names.update(choice for choice in choices if isinstance(choice, str))
    return frozenset(names)


def constants(document: Document) -> Item:
    """Return the attributes every item of ours carries."""
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


def check_key_value(table: Table[Any], field: str, value: AttributeValue | None) -> AttributeValue:
    """Return the key value, or refuse what DynamoDB would refuse.

    Raises:
        ValidationError: Missing, empty or of another type than the table declares.
    """
    attribute, tag = table.attribute_of(field), table.key_tag(field)
    where = f"Table {table.name!r}: the key {attribute!r}"
    if value is None or "NULL" in value:
        raise ValidationError(f"{where} is missing; every item needs one.")
    if tag not in value:
        raise ValidationError(f"{where} must be of type {tag}, not {next(iter(value))}.")
    if not value[tag]:
        raise ValidationError(f"{where} is empty; DynamoDB refuses empty key values.")
    limit = _SORT_KEY_BYTES if field == table.sort_key else _PARTITION_KEY_BYTES
    if len(value[tag].encode() if tag == "S" else value[tag]) > limit:
        raise ValidationError(f"{where} is longer than {limit} bytes, DynamoDB's limit.")
    return value


def explain(error: pydantic.ValidationError) -> str:
    """Return what is wrong, field by field, without the values."""
    parts = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(step) for step in problem["loc"])
        text = problem["msg"].replace("Value error, ", "")
        parts.append(f"{place}: {text}" if place else text)
    return "; ".join(parts)


def clean_errors(error: pydantic.ValidationError) -> list[dict[str, Any]]:
    """Return pydantic's errors without input values, which may be secret."""
    return [
        {"loc": tuple(problem["loc"]), "msg": problem["msg"], "type": problem["type"]}
        for problem in error.errors(include_url=False)
    ]


def plain(item: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """Return a stored item as plain values, for errors."""
    return None if item is None else decode_item(item)
