"""Declare a table: a frozen value with the model of its items, its keys and indexes."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union
from uuid import UUID

from pydantic import BaseModel, PlainSerializer, TypeAdapter, WrapSerializer
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticUndefined

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.document import Document
from dynamodb_wrapper.models.fields import StoredAs, peel
from dynamodb_wrapper.models.kinds import Discriminator, KeyPrefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dynamodb_wrapper.models.fields import Peeled

ModelT = TypeVar("ModelT", bound=BaseModel)
Kind = Union[Discriminator, KeyPrefix]

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

    def __post_init__(self) -> None:
        arguments.text("attribute of Derived", self.attribute, "the name of an attribute")
        place, meaning = "fields of Derived", "a tuple of field names"
        fields = tuple(arguments.several(place, self.fields, meaning))
        if not arguments.texts(place, fields, meaning):
            raise ValidationError(f"Derived {self.attribute!r} names no field it is made from.")
        object.__setattr__(self, "fields", fields)
        arguments.function("function of Derived", self.function, "called with the fields' values")

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
        arguments.text("name of GlobalIndex", name, "the name of an index")
        if not isinstance(project, str) or project not in ("all", "keys"):
            _check_projection(name, project)
        for place, key in (("partition_key", partition_key), ("sort_key", sort_key)):
            if not (isinstance(key, Derived) or (key is None and place == "sort_key")):
                arguments.text(f"Index {name!r}: {place}", key, "a field name or a Derived")
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
        kind: How the items of the model are told from those of other models in the same table;
            None where the table holds one model. Tables of one name are one table in DynamoDB.
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
    kind: Kind | None
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
        kind: Kind | None = None,
        write_token: str | None = None,
    ) -> None:
        arguments.text("name of Table", name, "the name of a table")
        arguments.model_class(f"Table {name!r}: model", model)
        arguments.text(f"Table {name!r}: partition_key", partition_key, "a field name")
        for place, field in (
            ("sort_key", sort_key),
            ("ttl", ttl),
            ("version_field", version_field),
        ):
            if field is not None:
                arguments.text(f"Table {name!r}: {place}", field, "a field name, or None")
        given = tuple(
            arguments.several(f"Table {name!r}: indexes", indexes, "a list of GlobalIndex")
        )
        for index in given:
            if not isinstance(index, GlobalIndex):
                raise ValidationError(
                    f"Table {name!r}: indexes holds {arguments.shown(index)}; it is a list of "
                    "GlobalIndex."
                )
        for attribute, value in (
            ("name", name),
            ("model", model),
            ("partition_key", partition_key),
            ("sort_key", sort_key),
            ("ttl", ttl),
            ("version_field", version_field),
            ("indexes", given),
            ("kind", kind),
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
            if isinstance(name, str) and index.name == name:
                return index
        declared = ", ".join(index.name for index in self.indexes) or "none"
        raise ValidationError(
            f"Table {self.name!r} declares no index {arguments.shown(name)}; declared: {declared}."
        )

    def attribute_of(self, key: str | Derived) -> str:
        """Return the attribute that holds a field or derived value."""
        return key.attribute if isinstance(key, Derived) else attribute_name(self.model, key)

    def key_tag(self, key: str | Derived) -> str:
        """Return the type descriptor of a key: ``S``, ``N`` or ``B``."""
        if isinstance(key, Derived):
            return "S"
        returned = _returned_by_serializer(self.model, key)
        return _key_tag(_peeled(self.model, key) if returned is None else peel(returned))

    def _check(self) -> None:
        self._check_excluded(self.model, set())
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
            self._check_ttl(self.ttl)
        if self.kind is not None:
            self._check_kind(self.kind, fields)

    def _check_ttl(self, field: str) -> None:
        self._check_field(field, "ttl")
        self._check_none(field, "ttl")
        if StoredAs("N", "EpochSeconds") not in _peeled(self.model, field).markers:
            raise ValidationError(
                f"Table {self.name!r}: ttl field {field!r} must be EpochSeconds, "
                "because DynamoDB ignores any other form."
            )

    def _check_kind(self, kind: Kind, attributes: set[str]) -> None:
        where = f"Table {self.name!r}: kind"
        if not isinstance(kind, (Discriminator, KeyPrefix)):
            raise ValidationError(
                f"{where} is a Discriminator or a KeyPrefix, not a {type(kind).__name__}."
            )
        text = kind.value if isinstance(kind, Discriminator) else kind.prefix
        for given in (kind.name, text):
            if not isinstance(given, str) or not given:
                raise ValidationError(f"{where} {kind!r} needs two texts that are not empty.")
        if issubclass(self.model, Document):
            raise ValidationError(
                f"{where}: {self.model.__name__} has the attribute 'kind' already, which marks "
                "its items."
            )
        if isinstance(kind, KeyPrefix) and kind.name not in self.key_fields:
            raise ValidationError(
                f"{where} names {kind.name!r}, which is no key; keys: {', '.join(self.key_fields)}."
            )
        if kind.name in self.model.model_fields:
            self._check_kind_field(kind.name, text, where, is_whole=isinstance(kind, Discriminator))
        elif kind.name in attributes | {derived.attribute for derived in self.derived}:
            raise ValidationError(
                f"{where} names the attribute {kind.name!r}, which holds another field or an index "
                "attribute; name the field, or choose another attribute."
            )

    def _check_kind_field(self, field: str, text: str, where: str, *, is_whole: bool) -> None:
        if self.key_tag(field) != "S":
            raise ValidationError(f"{where} {field!r} must be a field that is stored as text.")
        choices = _choices(_peeled(self.model, field).member)
        if is_whole and choices and text not in choices:
            raise ValidationError(
                f"{where}: {self.model.__name__}.{field} cannot be {text!r}; it is one of "
                f"{', '.join(map(repr, choices))}."
            )

    def _check_write_token(self, attributes: set[str]) -> None:
        if self.write_token is None:
            return
        if not isinstance(self.write_token, str):
            raise ValidationError(
                f"Table {self.name!r}: write_token is {arguments.shown(self.write_token)}; it is "
                "the name of an attribute."
            )
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

    def _check_excluded(self, model: type[BaseModel], checked: set[type[BaseModel]]) -> None:
        """Refuse a required field that is never stored, also in models inside the model."""
        checked.add(model)
        for field, info in model.model_fields.items():
            if info.exclude and info.is_required() and not peel(info.annotation).may_be_null:
                raise ValidationError(
                    f"Table {self.name!r}: {model.__name__}.{field} is required and has "
                    "exclude=True: it is never stored, so no item could be read again. Give it "
                    "a default, or store it."
                )
            alias = next(_aliases_in(info.annotation), None)
            if alias is not None:
                raise ValidationError(
                    f"Table {self.name!r}: {model.__name__}.{field} holds a {alias}: the value "
                    "would be stored under the name of the field and not be read back. Use a "
                    "model, or set populate_by_name."
                )
            for inner in _models_in(info.annotation):
                if inner not in checked:
                    self._check_excluded(inner, checked)

    def _check_field(self, field: str, where: str) -> None:
        if field not in self.model.model_fields:
            raise ValidationError(
                f"Table {self.name!r}: {where} names {field!r}, which is not a field of "
                f"{self.model.__name__}; fields: {', '.join(self.model.model_fields)}."
            )


def _check_projection(name: str, project: Any) -> None:
    if not isinstance(project, type) or not issubclass(project, BaseModel):
        wanted = repr(project) if isinstance(project, str) else arguments.shown(project)
        raise ValidationError(
            f"Index {name!r} cannot project {wanted}: use 'all', 'keys' or a model."
        )


def attribute_name(model: type[BaseModel], field: str) -> str:
    """Return the attribute a field is stored as: its serialization alias, else its name."""
    info = model.model_fields[field]
    return info.serialization_alias or info.alias or field


def _peeled(model: type[BaseModel], field: str) -> Peeled:
    info = model.model_fields[field]
    return peel(info.annotation, info.metadata)


def _choices(member: typing.Any) -> list[typing.Any]:
    """Return the stored values of a literal or enum; empty for other types."""
    values = typing.get_args(member) if typing.get_origin(member) is typing.Literal else ()
    if isinstance(member, type) and issubclass(member, Enum):
        values = tuple(member)
    return [value.value if isinstance(value, Enum) else value for value in values]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models an annotation names."""
    is_class = isinstance(annotation, type) and typing.get_origin(annotation) is None
    if is_class and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _aliases_in(annotation: Any) -> Iterator[str]:
    """Yield what has an alias in the dataclasses and TypedDicts that an annotation names."""
    kind = annotation if typing.get_origin(annotation) is None else None
    is_typed_dict = isinstance(kind, type) and issubclass(kind, dict) and "__total__" in vars(kind)
    if isinstance(kind, type) and (is_typed_dict or dataclasses.is_dataclass(kind)):
        config = getattr(kind, "__pydantic_config__", {})
        if not (config.get("populate_by_name") or config.get("validate_by_name")):
            own = getattr(kind, "__pydantic_fields__", {})
            for name, hint in typing.get_type_hints(kind, include_extras=True).items():
                infos = [own.get(name), vars(kind).get(name), *getattr(hint, "__metadata__", ())]
                if config.get("alias_generator") or any(getattr(i, "alias", None) for i in infos):
                    yield f"{kind.__name__} whose field {name!r} has an alias"
    for inner in typing.get_args(annotation):
        yield from _aliases_in(inner)


def _returned_by_serializer(model: type[BaseModel], field: str) -> Any:
    """Return the type that a serializer of the model makes of a field; None where none says it."""
    for decorator in model.__pydantic_decorators__.field_serializers.values():
        if field in decorator.info.fields or "*" in decorator.info.fields:
            return _return_type(decorator.info.return_type, decorator.func)
    return None


def _return_type(declared: Any, function: Any) -> Any:
    """Return the return type of a serializer; None where it is not known."""
    if declared is not PydanticUndefined:
        return declared
    try:
        return typing.get_type_hints(inspect.unwrap(function)).get("return")
    except (TypeError, NameError, AttributeError):
        return None


def _key_tag(peeled: Peeled) -> str:
    """Return the type descriptor of a key; an empty text where it cannot be one, or varies."""
    if peeled.stored_tag is not None:
        return peeled.stored_tag
    for marker in peeled.markers:
        if isinstance(marker, (PlainSerializer, WrapSerializer)):
            returned = _return_type(marker.return_type, marker.func)
            if returned is not None:
                return _key_tag(peel(returned))
    if hasattr(peeled.member, "__value__"):
        return _key_tag(peel(peeled.member.__value__, peeled.markers))
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
    known = next((tag for kind, tag in _TAGS if issubclass(member, kind)), None)
    return _tag_by_schema(member) if known is None else known


def _tag_by_schema(member: type) -> str:
    """Return the type descriptor of a class that pydantic stores as text, number or bytes."""
    try:
        schema = TypeAdapter(member).json_schema(mode="serialization")
    except (PydanticUserError, TypeError):
        return ""
    if schema.get("format") == "password":  # secrets are not stored
        return ""
    return {"string": "S", "integer": "N", "number": "N"}.get(str(schema.get("type")), "")


def _common_tag(members: Iterable[Peeled]) -> str:
    tags = {_key_tag(member) for member in members}
    return tags.pop() if len(tags) == 1 else ""
