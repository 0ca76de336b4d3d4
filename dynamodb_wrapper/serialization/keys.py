"""Encode and check keys as the table declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.table import Table
from dynamodb_wrapper.serialization.paths import Target, decode_at, encode_operand, resolve

if TYPE_CHECKING:
    from dynamodb_wrapper.serialization.values import AttributeValue, Item

_PARTITION_KEY_BYTES, _SORT_KEY_BYTES = 2048, 1024
_BYTES_OF_CHARACTER = 4  # at most, in UTF-8


@dataclass(frozen=True)
class KeyPart:
    """The partition key or the sort key of a table.

    Attributes:
        table: Base name of the table, for error texts.
        field: Field name.
        attribute: Attribute name.
        tag: Type descriptor: ``S``, ``N`` or ``B``.
        limit_bytes: DynamoDB's limit.
        target: The field, for encoding.
    """

    table: str
    field: str
    attribute: str
    tag: str
    limit_bytes: int
    target: Target

    def encode(self, value: Any) -> AttributeValue:
        """Return the attribute value of a key value."""
        return self.check(None if value is None else encode_operand(self.target, value))

    def check(self, value: AttributeValue | None) -> AttributeValue:
        """Return the attribute value; refuse values that DynamoDB would refuse.

        Raises:
            ValidationError: Missing, empty, too long, or of another type than declared.
        """
        if value is not None:
            content = value.get(self.tag)
            if content and len(content) * _BYTES_OF_CHARACTER <= self.limit_bytes:
                return value
        return self._check_closely(value)

    def _check_closely(self, value: AttributeValue | None) -> AttributeValue:
        where = f"Table {self.table!r}: the key {self.attribute!r}"
        if value is None or "NULL" in value:
            raise ValidationError(f"{where} is missing; every item needs one.")
        content = value.get(self.tag)
        if content is None:
            raise ValidationError(f"{where} must be of type {self.tag}, not {next(iter(value))}.")
        if not content:
            raise ValidationError(f"{where} is empty; DynamoDB refuses empty key values.")
        if len(content.encode() if self.tag == "S" else content) > self.limit_bytes:
            raise ValidationError(
                f"{where} is longer than {self.limit_bytes} bytes, DynamoDB's limit."
            )
        return value


class Keys:
    """Encodes and checks the keys of a table and of its indexes.

    Attributes:
        parts: Partition key and, where there is one, sort key.
        names: Their attribute names.
    """

    def __init__(self, table: Table[Any]) -> None:
        self._table = table
        self.parts = tuple(
            KeyPart(
                table.name,
                field,
                table.attribute_of(field),
                table.key_tag(field),
                _SORT_KEY_BYTES if field == table.sort_key else _PARTITION_KEY_BYTES,
                resolve(table.model, field),
            )
            for field in table.key_fields
        )
        self.names = tuple(part.attribute for part in self.parts)
        self._in_order = tuple(sorted((part.attribute, part.tag) for part in self.parts))
        self._index_keys = tuple(
            (index.name, table.attribute_of(key)) for index in table.indexes for key in index.keys
        )

    def encode(self, key: Any) -> Item:
        """Return the key attributes of a key, or of a model.

        Raises:
            ValidationError: A part is missing, empty or of the wrong type.
        """
        if isinstance(key, BaseModel) and not isinstance(key, self._table.model):
            raise ValidationError(
                f"Table {self._table.name!r} holds {self._table.model.__name__}, not "
                f"{type(key).__name__}."
            )
        values = self._values(key)
        if len(values) != len(self.parts):
            names = " and ".join(part.field for part in self.parts)
            raise ValidationError(
                f"Table {self._table.name!r} has the key {names}; "
                f"{len(values)} value(s) were given. Use a tuple or a dict with all of them."
            )
        return {part.attribute: part.encode(value) for part, value in zip(self.parts, values)}

    def identity(self, stored: Item) -> tuple[Any, ...]:
        """Return the `identity` of the key of an item, which has been checked."""
        return tuple(
            [
                (name, tag, Decimal(stored[name][tag]) if tag == "N" else stored[name][tag])
                for name, tag in self._in_order
            ]
        )

    def decode(self, key: Item) -> dict[str, Any]:
        """Return field names and Python values of key attributes."""
        return {part.field: decode_at(part.target, key[part.attribute]) for part in self.parts}

    def check_stored(self, stored: Item, model: str) -> None:
        """Refuse an item whose keys DynamoDB would refuse; None leaves it out of an index."""
        for part in self.parts:
            part.check(stored.get(part.attribute))
        for index, attribute in self._index_keys:
            value = stored.get(attribute)
            if value is None:
                continue
            if "NULL" in value:
                del stored[attribute]
            else:
                _check_index_key(value, model, attribute, index)

    def check_change(self, attribute: str, value: AttributeValue, model: str) -> None:
        """Refuse a new value of an attribute that DynamoDB would refuse as a key of an index."""
        for index, name in self._index_keys:
            if name == attribute:
                _check_index_key(value, model, attribute, index)

    def _values(self, key: Any) -> list[Any]:
        if isinstance(key, self._table.model):
            return [getattr(key, part.field) for part in self.parts]
        if isinstance(key, Mapping):
            return [key.get(part.field, key.get(part.attribute)) for part in self.parts]
        return list(key) if isinstance(key, tuple) else [key]


def _check_index_key(value: AttributeValue, model: str, attribute: str, index: str) -> None:
    if value in ({"S": ""}, {"B": b""}, {"NULL": True}):
        raise ValidationError(
            f"{model}.{attribute} is empty; it is a key of index {index!r}, and "
            "DynamoDB refuses empty key values. Use None to leave it out of the index."
        )
