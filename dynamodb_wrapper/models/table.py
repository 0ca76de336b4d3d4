"""Declare a table: a frozen value with the model of its items, its keys and indexes."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Callable, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import StoredAs, peel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.models.fields import Peeled

ModelT = TypeVar("ModelT", bound=BaseModel)

_TAGS: tuple[tuple[type, str], ...] = (
    (bool, ""),
    (str, "S"),
    (datetime, "S"),
    (date, "S"),
    (time, "S"),
    (UUID, "S"),
    (bytes, "B"),
    (int, "N"),
    (float, "N"),
    (Decimal, "N"),
    (timedelta, "N"),
)


@dataclass(frozen=True)
class Derived:
    """An index attribute computed from fields and stored beside them.

    Attributes:
        attribute: Name of the attribute; it holds text.
        fields: The fields it is made from.
        function: Takes their values in this order. Returns None to leave the item out of the
            index. A module-level function, so that tables can be pickled.
    """

    attribute: str
    fields: tuple[str, ...]
    function: Callable[..., str | None]

    def value_of(self, item: BaseModel) -> str | None:
        """Return the attribute's value for an item, None when it is absent."""
        return self.function(*(getattr(item, field) for field in self.fields))


@dataclass(frozen=True, init=False)
class GlobalIndex:
    """A global secondary index.

    Attributes:
        name: Name of the index.
        partition_key: A field name or a `Derived`.
        sort_key: The same, or None.
        project: Attributes in the index besides keys: ``all``, ``keys`` or the fields of a model.
    """

    name: str
    partition_key: str | Derived
    sort_key: str | Derived | None
    project: str | type[BaseModel]

    def __init__(
        self,
        name: str,
        partition_key: str | Derived,
        sort_key: str | Derived | None = None,
        *,
        project: str | type[BaseModel] = "all",
    ) -> None:
        if isinstance(project, str) and project not in ("all", "keys"):
            raise ValidationError(
                f"Index {name!r} cannot project {project!r}: use 'all', 'keys' or a model."
            )
        for attribute, value in (
            ("name", name),
            ("partition_key", partition_key),
            ("sort_key", sort_key),
            ("project", project),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def keys(self) -> tuple[str | Derived, ...]:
        """Partition key and, where there is one, sort key."""
        return (
            (self.partition_key,) if self.sort_key is None else (self.partition_key, self.sort_key)
        )


@dataclass(frozen=True, init=False)
class Table(Generic[ModelT]):
    """A table: its name, the model of its items and its keys.

    Frozen and picklable. The constructor refuses wrong declarations.

    Attributes:
        name: Base name; `DynamoDBConfig.table_name` makes the full one.
        model: Pydantic model of the items.
        partition_key: Field name.
        sort_key: Field name, or None.
        ttl: Field DynamoDB's TTL reads; its type must be `EpochSeconds`.
        version_field: Field of type int that guards `update` against lost changes. `create` and
            `put` store the microseconds since 1970 (about 10**15), `update` adds 1: a version
            never returns, even when an item is replaced or deleted and created again.
        indexes: Global secondary indexes.
        write_token: Attribute, such as ``gx_write``, in which `create`, `put` and `update` store a
            random text of their own; the model does not see it. A write whose reply was lost is
            recognised by it when the SDK sends it again: it succeeds where it would raise an error
            with `maybe_applied`, and `add` and `append` are applied once. Batches store none.
    """

    name: str
    model: type[ModelT]
    partition_key: str
    sort_key: str | None
    ttl: str | None
    version_field: str | None
    indexes: tuple[GlobalIndex, ...]
    write_token: str | None

    def __init__(
        self,
        name: str,
        model: type[ModelT],
        *,
        partition_key: str,
        sort_key: str | None = None,
        ttl: str | None = None,
        version_field: str | None = None,
        indexes: Iterable[GlobalIndex] = (),
        write_token: str | None = None,
    ) -> None:
        for attribute, value in (
            ("name", name),
            ("model", model),
            ("partition_key", partition_key),
            ("sort_key", sort_key),
            ("ttl", ttl),
            ("version_field", version_field),
            ("indexes", tuple(indexes)),
            ("write_token", write_token),
        ):
            object.__setattr__(self, attribute, value)
        self._check()

    @property
    def key_fields(self) -> tuple[str, ...]:
        """Partition key and, where there is one, sort key."""
        return (
            (self.partition_key,) if self.sort_key is None else (self.partition_key, self.sort_key)
        )

    @property
    def derived(self) -> tuple[Derived, ...]:
        """The derived attributes of all indexes, each once."""
        found = {
            key.attribute: key
            for index in self.indexes
            for key in index.keys
            if isinstance(key, Derived)
        }
        return tuple(found.values())

    def index(self, name: str) -> GlobalIndex:
        """Return the declared index of this name.

        Raises:
            ValidationError: There is none; the declared ones are named.
        """
        for index in self.indexes:
            if index.name == name:
                return index
        declared = ", ".join(index.name for index in self.indexes) or "none"
        raise ValidationError(
            f"Table {self.name!r} declares no index {name!r}; declared: {declared}."
        )

    def attribute_of(self, key: str | Derived) -> str:
        """Return the attribute that holds a field or derived value."""
        return key.attribute if isinstance(key, Derived) else attribute_name(self.model, key)

    def key_tag(self, key: str | Derived) -> str:
        """Return the type descriptor of a key: ``S``, ``N`` or ``B``."""
        if isinstance(key, Derived):
            return "S"
        return _key_tag(_peeled(self.model, key))

    def _check(self) -> None:
        keys: list[tuple[str, str | Derived]] = [("key", field) for field in self.key_fields]
        keys += [(f"index {index.name!r}", key) for index in self.indexes for key in index.keys]
        for where, key in keys:
            for field in key.fields if isinstance(key, Derived) else (key,):
                self._check_field(field, where)
            if not isinstance(key, Derived) and not self.key_tag(key):
                raise ValidationError(
                    f"Table {self.name!r}: {where} {key!r} must be text, a number or bytes."
                )
            if where != "key" and not isinstance(key, Derived):
                self._check_none(key, where)
        fields = {attribute_name(self.model, field) for field in self.model.model_fields}
        for derived in self.derived:
            if derived.attribute in fields:
                raise ValidationError(
                    f"Table {self.name!r}: the derived attribute {derived.attribute!r} is a field "
                    f"of {self.model.__name__}; choose another name."
                )
        self._check_write_token(fields)
        names = [index.name for index in self.indexes]
        if len(set(names)) != len(names):
            raise ValidationError(f"Table {self.name!r} declares an index twice: {names}.")
        if self.version_field is not None:
            self._check_field(self.version_field, "version_field")
            kind = _peeled(self.model, self.version_field).member
            if not (isinstance(kind, type) and issubclass(kind, int) and kind is not bool):
                raise ValidationError(
                    f"Table {self.name!r}: version_field {self.version_field!r} must be int."
                )
        if self.ttl is not None:
            self._check_field(self.ttl, "ttl")
            self._check_none(self.ttl, "ttl")
            if StoredAs("N", "EpochSeconds") not in _peeled(self.model, self.ttl).markers:
                raise ValidationError(
                    f"Table {self.name!r}: ttl field {self.ttl!r} must be EpochSeconds, "
                    "because DynamoDB ignores any other form."
                )

    def _check_write_token(self, attributes: set[str]) -> None:
        used = {"", "kind", "schema_version", *attributes, *(d.attribute for d in self.derived)}
        if self.write_token in used:
            raise ValidationError(
                f"Table {self.name!r}: write_token {self.write_token!r} must be the name of an "
                "attribute that nothing else uses, such as 'gx_write'."
            )

    def _check_none(self, field: str, where: str) -> None:
        """Refuse a field whose None, stored as an absent attribute, would read as its default."""
        info = self.model.model_fields[field]
        if (
            peel(info.annotation).may_be_null
            and not info.is_required()
            and info.default is not None
        ):
            raise ValidationError(
                f"Table {self.name!r}: {where} {field!r} takes None, which is stored as an absent "
                "attribute, but its default is another value; make the default None."
            )

    def _check_field(self, field: str, where: str) -> None:
        if field not in self.model.model_fields:
            raise ValidationError(
                f"Table {self.name!r}: {where} names {field!r}, which is not a field of "
                f"{self.model.__name__}; fields: {', '.join(self.model.model_fields)}."
            )


def attribute_name(model: type[BaseModel], field: str) -> str:
    """Return the attribute a field is stored as: its serialization alias, else its name."""
    info = model.model_fields[field]
    return info.serialization_alias or info.alias or field


def _peeled(model: type[BaseModel], field: str) -> Peeled:
    info = model.model_fields[field]
    return peel(info.annotation, info.metadata)


def _key_tag(peeled: Peeled) -> str:
    """Return the type descriptor of a key; an empty text where it cannot be one, or varies."""
    if peeled.stored_tag is not None:
        return peeled.stored_tag
    if peeled.is_union:
        members = typing.get_args(peeled.member)
        return _common_tag(peel(member) for member in members if member is not type(None))
    member, origin = peeled.member, typing.get_origin(peeled.member)
    if origin is typing.Literal:
        return _common_tag(peel(type(value)) for value in typing.get_args(member))
    if not isinstance(member, type) or origin is not None:
        return ""
    if issubclass(member, Enum):
        return _common_tag(peel(type(value.value)) for value in member)
    return next((tag for kind, tag in _TAGS if issubclass(member, kind)), "")


def _common_tag(members: Iterable[Peeled]) -> str:
    tags = {_key_tag(member) for member in members}
    return tags.pop() if len(tags) == 1 else ""
