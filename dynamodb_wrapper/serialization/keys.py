"""Encode and check keys as the table declares them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import peel
from dynamodb_wrapper.models.table import Table
from dynamodb_wrapper.serialization.annotations import change_stored_type, fields_with_serializer
from dynamodb_wrapper.serialization.field_values import (
    decode_at,
    encode_field,
    encode_key,
    is_plain_text,
)
from dynamodb_wrapper.serialization.paths import Target, resolve
from dynamodb_wrapper.serialization.values import number_text

if TYPE_CHECKING:
    from dynamodb_wrapper.serialization.values import AttributeValue, Item

_PARTITION_KEY_BYTES, _SORT_KEY_BYTES = 2048, 1024
_BYTES_OF_CHARACTER = 4  # at most, in UTF-8
_CANONICAL: dict[type, re.Pattern[str]] = {
    datetime: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII),
    UUID: re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}
"""Texts that are stored for values of a type, as this library spells them."""


class KeyPart(NamedTuple):
    """The partition key or the sort key of a table.

    Attributes:
        table: Base name of the table, for error texts.
        field: Field name.
        attribute: Attribute name.
        tag: Type descriptor: ``S``, ``N`` or ``B``.
        limit_bytes: DynamoDB's limit.
        target: The field, for encoding.
        has_serializer: Whether a serializer of the model decides how the field is stored.
        has_own_form: Whether a marker of the field does.
        is_plain_text: Whether every text is stored as it is.
    """

    table: str
    field: str
    attribute: str
    tag: str
    limit_bytes: int
    target: Target
    has_serializer: bool = False
    has_own_form: bool = False
    is_plain_text: bool = False

    def encode(self, value: Any, *, is_field: bool = False) -> AttributeValue:
        """Return the attribute value of a key value.

        Args:
            value: The value.
            is_field: Whether it is the field of a model, which was validated before.
        """
        if self.is_plain_text and type(value) is str and value.isascii():
            return self.check({"S": value})  # as below, faster
        if value is None:
            return self.check(None)
        encode = encode_field if is_field else encode_key
        return self.check(encode(self.target, value))

    def spells(self, item: BaseModel, tag: str, content: Any) -> bool:
        """Return whether a field is surely stored as this; False where that is not known."""
        value = getattr(item, self.field, None)
        kind = type(value)
        if self.has_serializer:
            return False
        if kind is str or kind is bytes:
            return bool(value == content)
        if kind is int:
            return tag == "N" and bool(value == content)
        pattern = _CANONICAL.get(kind) if tag == "S" and not self.has_own_form else None
        return pattern is not None and pattern.fullmatch(content) is not None

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


class _Spelling(NamedTuple):
    """The key under which an object was read, where its fields would be stored otherwise."""

    table: str
    canonical: tuple[Any, ...]
    stored: Item


class _FieldsSet(set[str]):
    """The names of the fields set of an object, and the key it was read under.

    Pydantic keeps this set beside the values, and hands it to copies and pickles of the object.
    """

    spelling: _Spelling


def _spelling_of(item: BaseModel) -> _Spelling | None:
    return getattr(getattr(item, "__pydantic_fields_set__", None), "spelling", None)


class Keys:
    """Encodes and checks the keys of a table and of its indexes.

    Other programs may spell a key otherwise: ``…00.000Z`` for a moment, an upper-case UUID. An
    object that was read under such a key keeps it, as its copies and pickles do, as long as its key
    fields stay the same.

    Attributes:
        parts: Partition key and, where there is one, sort key.
        names: Their attribute names.
        may_be_respelt: Whether a value of the key has several forms that can be read.
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
                target := resolve(table.model, field),
                field in fields_with_serializer(table.model),
                change_stored_type(peel(target.annotation).markers),
                is_plain_text(target),
            )
            for field in table.key_fields
        )
        self.names = tuple(part.attribute for part in self.parts)
        self._in_order = tuple(sorted((part.attribute, part.tag) for part in self.parts))
        self.may_be_respelt = not all(part.is_plain_text for part in self.parts)
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
        is_field = isinstance(key, BaseModel)
        encoded = {
            part.attribute: part.encode(value, is_field=is_field)
            for part, value in zip(self.parts, values)
        }
        if is_field and self.may_be_respelt:
            return self.as_read(key, encoded) or encoded
        return encoded

    def as_read(self, item: BaseModel, encoded: Item) -> Item | None:
        """Return the key an object was read under; None where its fields are stored like that.

        Args:
            item: The object.
            encoded: Its key as its fields are stored now.
        """
        spelling = _spelling_of(item)
        if spelling is None or spelling.table != self._table.name:
            return None
        return spelling.stored if spelling.canonical == self.identity(encoded) else None

    def under_key_read(self, item: BaseModel, stored: Item) -> Item:
        """Return an encoded item under the key that its object was read under."""
        if not self.is_respelt(item):
            return stored
        key = self.as_read(item, {name: stored[name] for name in self.names})
        return stored if key is None else {**stored, **key}

    def note_read(self, item: BaseModel, stored: tuple[Any, ...]) -> None:
        """Note the key an object was read under, if its fields would be stored otherwise.

        Args:
            item: The object.
            stored: The `identity` of the stored key.
        """
        if not isinstance(item, self._table.model):
            return
        contents = {name: (tag, content) for name, tag, content in stored}
        if all(part.spells(item, *contents[part.attribute]) for part in self.parts):
            return
        try:
            values = self._values(item)
            encoded = {
                part.attribute: part.encode(value, is_field=True)
                for part, value in zip(self.parts, values)
            }
        except ValidationError:
            return  # what cannot be stored now cannot be written either
        canonical = self.identity(encoded)
        if canonical == tuple(sorted(stored)):
            return
        found = {name: {tag: _content(tag, content)} for name, tag, content in stored}
        names = _FieldsSet(item.model_fields_set)
        names.spelling = _Spelling(self._table.name, canonical, found)
        object.__setattr__(item, "__pydantic_fields_set__", names)

    def is_respelt(self, item: BaseModel) -> bool:
        """Return whether an object was read under a key that its fields would not give it."""
        return self.may_be_respelt and _spelling_of(item) is not None

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


def _content(tag: str, content: Any) -> Any:
    return number_text(content, "key") if tag == "N" else content


def _check_index_key(value: AttributeValue, model: str, attribute: str, index: str) -> None:
    if value in ({"S": ""}, {"B": b""}, {"NULL": True}):
        raise ValidationError(
            f"{model}.{attribute} is empty; it is a key of index {index!r}, and "
            "DynamoDB refuses empty key values. Use None to leave it out of the index."
        )
