"""How a table is declared: a frozen value that names a model and its keys."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union
from uuid import UUID

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import StoredAs

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ModelT = TypeVar("ModelT", bound=BaseModel)

_UNIONS = (Union, getattr(types, "UnionType", Union))
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
        project: What the index holds besides keys: ``all``, ``keys`` or the fields of a model.
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

    Frozen, pure and picklable. Wrong declarations are refused when they are made.

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
    """

    name: str
    model: type[ModelT]
    partition_key: str
    sort_key: str | None
    ttl: str | None
    version_field: str | None
    indexes: tuple[GlobalIndex, ...]

    def __init__(
        self,
        name: str,
        model: type[ModelT],
        *,
        partition_key: str,
        sort_key: str | None = None,
        ttl: str | None = None,
        version_field: str | None = None,
        indexes: typing.Iterable[GlobalIndex] = (),
    ) -> None:
        for attribute, value in (
            ("name", name),
            ("model", model),
            ("partition_key", partition_key),
            ("sort_key", sort_key),
            ("ttl", ttl),
            ("version_field", version_field),
            ("indexes", tuple(indexes)),
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
        return _key_tag(self.model.model_fields[key]) or ""

    def _check(self) -> None:
        keys: list[tuple[str, str | Derived]] = [("key", field) for field in self.key_fields]
        keys += [(f"index {index.name!r}", key) for index in self.indexes for key in index.keys]
        for where, key in keys:
            for field in key.fields if isinstance(key, Derived) else (key,):
                self._check_field(field, where)
            if not isinstance(key, Derived) and not _key_tag(self.model.model_fields[key]):
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
        names = [index.name for index in self.indexes]
        if len(set(names)) != len(names):
            raise ValidationError(f"Table {self.name!r} declares an index twice: {names}.")
        if self.version_field is not None:
            self._check_field(self.version_field, "version_field")
            if not _is_int(self.model.model_fields[self.version_field]):
                raise ValidationError(
                    f"Table {self.name!r}: version_field {self.version_field!r} must be int."
                )
        if self.ttl is not None:
            self._check_field(self.ttl, "ttl")
            self._check_none(self.ttl, "ttl")
            if StoredAs("N", "EpochSeconds") not in _markers(self.model.model_fields[self.ttl]):
                raise ValidationError(
                    f"Table {self.name!r}: ttl field {self.ttl!r} must be EpochSeconds, "
                    "because DynamoDB ignores any other form."
                )

    def _check_none(self, field: str, where: str) -> None:
        """Refuse a field whose None, stored as an absent attribute, would read as its default."""
        info = self.model.model_fields[field]
        takes_none = typing.get_origin(info.annotation) in _UNIONS and type(
            None
        ) in typing.get_args(info.annotation)
        if takes_none and not info.is_required() and info.default is not None:
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


def _markers(info: FieldInfo) -> list[Any]:
    found = list(info.metadata)
    for annotation in _alternatives(info.annotation):
        found += getattr(annotation, "__metadata__", ())
    return found


def _alternatives(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in _UNIONS:
        return [arg for arg in typing.get_args(annotation) if arg is not type(None)]
    return [annotation]


def _is_int(info: FieldInfo) -> bool:
    (kind,) = _alternatives(info.annotation)[:1]
    kind = getattr(kind, "__origin__", kind)
    return isinstance(kind, type) and issubclass(kind, int) and kind is not bool


def _key_tag(info: FieldInfo) -> str | None:
    for marker in _markers(info):
        if isinstance(marker, StoredAs):
            return marker.tag
    tags = {_tag_of_type(annotation) for annotation in _alternatives(info.annotation)}
    return tags.pop() if len(tags) == 1 else None


def _tag_of_type(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        tags = {_tag_of_type(type(value)) for value in typing.get_args(annotation)}
        return tags.pop() if len(tags) == 1 else ""
    if getattr(annotation, "__metadata__", None) is not None:
        return _tag_of_type(annotation.__origin__)
    if not isinstance(annotation, type) or origin is not None:
        return ""
    if issubclass(annotation, Enum):
        tags = {_tag_of_type(type(member.value)) for member in annotation}
        return tags.pop() if len(tags) == 1 else ""
    return next((tag for kind, tag in _TAGS if issubclass(annotation, kind)), "")
