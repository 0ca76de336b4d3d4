"""Read from the annotations of a model how its values are stored, once per model.

A `FieldShape` holds what a bare attribute value does not say: whether numbers are free-form, which
absent attributes mean an empty set, which None values are left out.

Code of the user may see values before pydantic has checked them ("raw values"). It would notice
that a number is a float instead of an int or a Decimal, that an unknown attribute is missing, or
another order of the attributes. The functions here find such models, fields and markers.
"""

from __future__ import annotations

import enum
import typing
from collections import deque
from collections.abc import Iterable, Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache, wraps
from typing import Annotated, Any, Callable, NamedTuple, TypeVar, Union
from uuid import UUID

import pydantic
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    PlainSerializer,
    PlainValidator,
    RootModel,
    WrapSerializer,
)
from pydantic.fields import FieldInfo
from typing_extensions import ParamSpec, get_type_hints, is_typeddict

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import UNIONS
from dynamodb_wrapper.models.table import attribute_name
from dynamodb_wrapper.serialization.values import decode_free, decode_value, encode_value, map_key

P = ParamSpec("P")
T = TypeVar("T")
Reader = Callable[[Mapping[str, Any]], Any]
SETS = (set, frozenset, AbstractSet, MutableSet)
LISTS = (list, tuple, Sequence)
MAPS = (dict, Mapping)
READ_AS_LISTS = (*LISTS, MutableSequence, deque)
_JSON_VALUE = getattr(pydantic, "JsonValue", None)  # since pydantic 2.5
_CODE_OF_MARKERS = ("func", "__get_pydantic_core_schema__", "__prepare_pydantic_annotations__")
_CODE_OF_VALIDATION = ("__get_pydantic_core_schema__", "model_validate")
_SERIALIZERS = (PlainSerializer, WrapSerializer, PlainValidator, pydantic.Json)
_SCALARS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("BOOL", (bool,)),
    ("S", (str, datetime, date, time, UUID)),
    ("N", (int, float, Decimal)),
    ("B", (bytes,)),
)
_READ_BY_VALUE = (str, int, bool, bytes, type(None))
_TIMEDELTAS = (timedelta, Union[timedelta, None])
_LIST_TAGS = frozenset({"L", "SS", "NS", "BS"})
_MICROSECOND = timedelta(microseconds=1)


# ---- annotations ---------------------------------------------------------------------------------


def strip(annotation: Any) -> Any:
    """Return the annotation without ``Annotated``, ``NewType`` and type aliases."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif hasattr(annotation, "__value__"):  # a PEP 695 alias
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return annotation


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union without None, those of unions inside it as well."""
    return tuple(member for member in _union_members(annotation) if member is not type(None))


def admits_none(annotation: Any) -> bool:
    """Return whether an annotation allows None."""
    return any(member in (type(None), Any, object) for member in _union_members(annotation))


def _union_members(annotation: Any) -> tuple[Any, ...]:
    if _JSON_VALUE is not None and annotation is _JSON_VALUE:
        return (Any,)
    annotation = strip(annotation)
    if typing.get_origin(annotation) in UNIONS:
        return tuple(m for arg in typing.get_args(annotation) for m in _union_members(arg))
    return (annotation,)


def is_model(annotation: Any) -> bool:
    """Return whether the annotation is a pydantic model."""
    return is_class(annotation) and issubclass(annotation, BaseModel)


def is_class(annotation: Any) -> bool:
    """Return whether the annotation is a class; `list[int]` is none, also on Python 3.9."""
    return isinstance(annotation, type) and typing.get_origin(annotation) is None


def is_free_form(member: Any) -> bool:
    """Return whether the annotation is a map, list or set with contents of any type."""
    if origin(member) not in MAPS + LISTS + SETS:
        return False
    args = typing.get_args(member)
    return not args or strip(args[-1]) in (Any, object)


def origin(annotation: Any) -> Any:
    """Return the class a generic annotation is made of, else the annotation itself."""
    return typing.get_origin(annotation) or annotation


def scalar_tag(annotation: Any) -> str | None:
    """Return the type descriptor of stored scalars of an annotation; None if it varies."""
    annotation = strip(annotation)
    if origin(annotation) is typing.Literal:
        return _common_tag(typing.get_args(annotation))
    if not is_class(annotation):
        return None
    if issubclass(annotation, enum.Enum):
        return _common_tag(member.value for member in annotation)
    for tag, classes in _SCALARS:
        if annotation in classes:
            return tag
    return None


def needs_members(annotation: Any) -> bool:
    """Return whether values of an enum or Literal are read by its members.

    Pydantic compares what is stored with the values of an enum: a stored date is a text, and a
    stored number a Decimal. Members of an enum inside a Literal it takes only as such.
    """
    members = _enum_members(annotation)
    if origin(strip(annotation)) is typing.Literal:
        return any(isinstance(member, enum.Enum) for member in members)
    return any(type(member.value) not in _READ_BY_VALUE for member in members)


def _enum_members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of an enum or Literal; nothing for other annotations."""
    annotation = strip(annotation)
    if origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if is_class(annotation) and issubclass(annotation, enum.Enum):
        return tuple(annotation)
    return ()


def _common_tag(values: Iterable[Any]) -> str | None:
    tags = {
        scalar_tag(type(value.value if isinstance(value, enum.Enum) else value)) for value in values
    }
    return tags.pop() if len(tags) == 1 else None


# ---- models --------------------------------------------------------------------------------------


def cached_per_build(function: Callable[P, T]) -> Callable[P, T]:
    """Cache the results of a function of a model, its first argument, until pydantic rebuilds it.

    Pydantic rebuilds a model when a class is defined that an annotation names.
    """
    call: Callable[..., T] = function

    @lru_cache(maxsize=1024)
    def cached(_build: Any, *args: Any) -> T:
        return call(*args)

    @wraps(function)
    def wrapper(model: type[BaseModel], *args: Any) -> T:
        return cached(model.__pydantic_validator__, model, *args)

    return typing.cast("Callable[P, T]", wrapper)


def defines(model: type[BaseModel], names: Iterable[str]) -> bool:
    """Return whether a model, or a base that is not pydantic's, defines one of these names."""
    users = [cls for cls in model.__mro__ if not cls.__module__.startswith("pydantic.")]
    return any(name in vars(cls) for cls in users for name in names)


@cached_per_build
def sees_raw_values(model: type[BaseModel]) -> bool:
    """Return whether code of the model sees values before pydantic has checked them."""
    own = model.__pydantic_decorators__
    if own.root_validators or any(v.info.mode != "after" for v in own.model_validators.values()):
        return True
    if getattr(model, "__pydantic_custom_init__", False):
        return True
    return validates_itself(model)


@cached_per_build
def validates_itself(model: type[BaseModel]) -> bool:
    """Return whether a model overrides its validation, which a list of it would not call."""
    return defines(model, _CODE_OF_VALIDATION)


@cached_per_build
def uses_unknown_attributes(model: type[BaseModel]) -> bool:
    """Return whether attributes that are no fields make a difference to the model."""
    return model.model_config.get("extra") not in (None, "ignore") or sees_raw_values(model)


@cached_per_build
def fields_seeing_raw_values(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose validators run before pydantic has checked the value."""
    own = model.__pydantic_decorators__
    early: list[Any] = [v for v in own.field_validators.values() if v.info.mode != "after"]
    return _fields_named(model, [*early, *own.validators.values()])


@cached_per_build
def fields_with_serializer(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose stored type a serializer of the model decides."""
    return _fields_named(model, model.__pydantic_decorators__.field_serializers.values())


@cached_per_build
def fields_with_validator(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields that validators of the model check."""
    own = model.__pydantic_decorators__
    validators: list[Any] = [*own.field_validators.values(), *own.validators.values()]
    return _fields_named(model, validators)


def _fields_named(model: type[BaseModel], decorators: Iterable[Any]) -> frozenset[str]:
    names = {name for decorator in decorators for name in decorator.info.fields}
    return frozenset(model.model_fields if "*" in names else names)


def see_raw_values(markers: Iterable[Any]) -> bool:
    """Return whether one of the markers sees a value before pydantic has checked it."""
    return any(map(_sees_raw_values, markers))


def _sees_raw_values(marker: Any) -> bool:
    if isinstance(marker, FieldInfo):
        return see_raw_values(marker.metadata)
    if marker is None or type(marker) is AfterValidator:
        return False
    module = type(marker).__module__
    if module == "annotated_types":
        return False
    is_pydantic = module.startswith("pydantic.")
    return not is_pydantic or any(hasattr(marker, name) for name in _CODE_OF_MARKERS)


def change_stored_type(markers: Iterable[Any]) -> bool:
    """Return whether a marker makes the stored type another than the annotation suggests."""
    return any(isinstance(m, _SERIALIZERS) or m is pydantic.Json for m in markers)


# ---- fields --------------------------------------------------------------------------------------


class FieldShape(NamedTuple):
    """Stored form of one field of a model.

    Attributes:
        name: Field name.
        attribute: Attribute name.
        input_key: Under which name pydantic expects the value.
        annotation: The field's annotation.
        marked: The same with the markers that say how the field is checked and stored.
        read: Reads the field's attribute value.
        omits_none: Whether None is left out, because None is what an absent attribute means.
        is_set: Whether an absent attribute means the empty set.
        needs_none: Whether pydantic must be given None where the attribute is absent.
        null_is_absent: Whether NULL is read as an absent attribute: the field has a default, and
            None is no value of it.
        lacks_default: Whether an absent attribute means None, or an item without a value.
    """

    name: str
    attribute: str
    input_key: str
    annotation: Any
    marked: Any
    read: Reader
    omits_none: bool
    is_set: bool
    needs_none: bool
    null_is_absent: bool
    lacks_default: bool


@cached_per_build
def fields_of(model: type[BaseModel]) -> tuple[FieldShape, ...]:
    """Return the shapes of a model's fields.

    Raises:
        ValidationError: A field takes its value from inside another one (AliasPath).
    """
    return tuple(_field_shape(model, name) for name in model.model_fields)


@cached_per_build
def readable_names(model: type[BaseModel]) -> frozenset[str]:
    """Return every attribute name the model can take a value from."""
    names = set()
    for field in fields_of(model):
        names.add(field.attribute)
        alias = model.model_fields[field.name].validation_alias
        choices = getattr(alias, "choices", [alias])
        names.update(choice for choice in choices if isinstance(choice, str))
    return frozenset(names)


@cached_per_build
def unstored_input_names(model: type[BaseModel]) -> frozenset[str]:
    """Return names that pydantic takes for a field, although no field is stored under them."""
    shapes = fields_of(model)
    names = {shape.name for shape in shapes if shape.input_key == shape.name}
    for info in model.model_fields.values():
        names |= _starts_of_paths(info.validation_alias)
    return (readable_names(model) | names) - {shape.attribute for shape in shapes}


def _starts_of_paths(alias: Any) -> set[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else ()
    return {str(choice.path[0]) for choice in choices if isinstance(choice, AliasPath)}


def _field_shape(model: type[BaseModel], name: str) -> FieldShape:
    info = model.model_fields[name]
    is_set = any(origin(alternative) in SETS for alternative in alternatives(info.annotation))
    sees_raw = name in fields_seeing_raw_values(model) or see_raw_values(info.metadata)
    absent_means_none = info.default is None
    if info.is_required():
        absent_means_none = admits_none(info.annotation)
    return FieldShape(
        name=name,
        attribute=attribute_name(model, name),
        input_key=_input_key(model, name),
        annotation=info.annotation,
        read=_field_reader(info, sees_raw_values=sees_raw),
        marked=_marked(info),
        omits_none=absent_means_none and not is_set,
        is_set=is_set,
        needs_none=absent_means_none and not is_set and info.is_required(),
        null_is_absent=(is_set or not info.is_required())
        and not (_may_accept_none(model, info, name) or admits_none(info.annotation)),
        lacks_default=not is_set and (absent_means_none or info.is_required()),
    )


def _may_accept_none(model: type[BaseModel], info: FieldInfo, name: str) -> bool:
    """Return whether code of the user may make something of None; markers of ours do not."""
    markers = [m for m in info.metadata if not _is_of_this_package(m)]
    return name in fields_seeing_raw_values(model) or see_raw_values(markers)


def _is_of_this_package(marker: Any) -> bool:
    function = getattr(marker, "func", None)
    module = getattr(function, "__module__", None) or type(marker).__module__
    return str(module).partition(".")[0] == __name__.partition(".")[0]


def _marked(info: FieldInfo) -> Any:
    marked: Any = info.annotation
    for marker in info.metadata:
        marked = Annotated[marked, marker]
    return marked


def _input_key(model: type[BaseModel], name: str) -> str:
    alias = model.model_fields[name].validation_alias
    config = model.model_config
    if alias is None or config.get("populate_by_name") or config.get("validate_by_name"):
        return name
    if isinstance(alias, AliasChoices):
        texts = [choice for choice in alias.choices if isinstance(choice, str)]
        return name if name in texts else texts[0]
    if isinstance(alias, AliasPath):
        raise ValidationError(
            f"{model.__name__}.{name} uses AliasPath, which has no counterpart in a stored item."
        )
    return alias


# ---- reading -------------------------------------------------------------------------------------


def read_fields(model: type[BaseModel], item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the input of pydantic: attributes read for their fields, others as they are."""
    left = dict(item)
    data: dict[str, Any] = {}
    for field in fields_of(model):
        stored = left.pop(field.attribute, None)
        if stored is not None and not (field.null_is_absent and "NULL" in stored):
            data[field.input_key] = field.read(stored)
        elif field.is_set:
            data[field.input_key] = set()
        elif field.needs_none:
            data[field.input_key] = None
    data.update((name, decode_free(value)) for name, value in left.items() if name not in data)
    return data


def _field_reader(info: FieldInfo, *, sees_raw_values: bool) -> Reader:
    """Return the reader of a field; its own validators receive the stored value."""
    own_validators = any(hasattr(marker, "func") for marker in info.metadata)
    if info.annotation in _TIMEDELTAS and own_validators:
        return decode_value
    if sees_raw_values and any(map(needs_members, alternatives(info.annotation))):
        return decode_value
    return reader_of(info.annotation)


def reader_of(annotation: Any) -> Reader:
    """Return the function that reads an attribute value for an annotation."""
    if _leads_to_alias(annotation):
        return _LazyReader(annotation).read
    return _reader_without_alias(annotation)


def _leads_to_alias(annotation: Any) -> bool:
    if hasattr(annotation, "__metadata__"):
        return _leads_to_alias(annotation.__origin__)
    if typing.get_origin(annotation) in UNIONS:
        return any(map(_leads_to_alias, typing.get_args(annotation)))
    return hasattr(annotation, "__value__")


@dataclass
class _LazyReader:
    """Reader of a PEP 695 alias, made at the first value because an alias may name itself."""

    annotation: Any

    def read(self, value: Mapping[str, Any]) -> Any:
        return self._read(value)

    @cached_property
    def _read(self) -> Reader:
        if self.annotation is _JSON_VALUE or not hasattr(self.annotation, "__value__"):
            return _reader_without_alias(self.annotation)
        return reader_of(self.annotation.__value__)


def _reader_without_alias(annotation: Any) -> Reader:
    if annotation in _TIMEDELTAS:
        return _read_timedelta
    return _members_in_union_reader(alternatives(annotation))


def _members_in_union_reader(members: tuple[Any, ...]) -> Reader:
    if any(member in (Any, object) for member in members):
        return decode_free
    return _member_reader(members[0]) if len(members) == 1 else _union_reader(members)


def _member_reader(member: Any) -> Reader:
    if is_model(member):
        return _model_reader(member)
    kind, args = origin(member), tuple(a for a in typing.get_args(member) if a is not Ellipsis)
    if needs_members(member):
        return _members_reader(_enum_members(member))
    if is_record(member):
        return _RecordReader(member).read
    if _is_map(member) and args:
        return _map_reader(args[0], reader_of(args[1]) if len(args) > 1 else decode_value)
    if is_free_form(member) or (kind is deque and not args):
        return decode_free
    if kind in READ_AS_LISTS:
        return _list_reader([reader_of(arg) for arg in args])
    if kind in SETS and args == (timedelta,):
        return _read_timedeltas
    if kind in SETS and needs_members(args[0]):
        return _set_reader(reader_of(args[0]))
    return decode_value


def _is_map(member: Any) -> bool:
    kind = origin(member)
    return kind in MAPS or (isinstance(kind, type) and issubclass(kind, Mapping))


def is_record(member: Any) -> bool:
    """Return whether the annotation is a dataclass, TypedDict or NamedTuple."""
    kind = origin(member)
    if not isinstance(kind, type) or is_model(kind):
        return False
    return is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields")


def record_hints(member: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, TypedDict or NamedTuple and their annotations."""
    kind = origin(member)
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError):  # a name of a function's own
        hints = {}
    names = getattr(kind, "_fields", None) or getattr(kind, "__dataclass_fields__", None) or hints
    return {name: hints.get(name, Any) for name in names}


def _union_reader(members: tuple[Any, ...]) -> Reader:
    """Return the reader of a union, which chooses the member by the type descriptor."""
    models = [member for member in members if is_model(member)]
    maps = [member for member in members if _is_map(member)]
    records = [member for member in members if is_record(member)]
    lists = [member for member in members if origin(member) in (*READ_AS_LISTS, *SETS)]
    read_map, read_list = _chosen([*models, *records, *maps]), _chosen([*records, *lists])
    if len(models) > 1 and not (maps or records) and not any(map(_is_root_model, models)):
        read_map = _ModelsReader(models).read
    enums = [member for member in members if needs_members(member)]
    read_other: Reader = decode_value
    if enums:
        read_other = _members_reader([m for annotation in enums for m in _enum_members(annotation)])

    def read(value: Mapping[str, Any]) -> Any:
        if "M" in value:
            return read_map(value)
        is_list = not _LIST_TAGS.isdisjoint(value)
        return read_list(value) if is_list else read_other(value)

    return read


def _chosen(members: list[Any]) -> Reader:
    """Return the reader of the one member that fits, else one for contents of any type."""
    if len(members) == 1:
        return _member_reader(members[0])
    return decode_free if any(map(is_free_form, members)) else decode_value


def _is_root_model(model: type[BaseModel]) -> bool:
    return issubclass(model, RootModel)


def keys_by_text(annotation: Any) -> dict[str, Any]:
    """Return the keys of a map by their stored texts, where the text alone is none of them."""
    keys: dict[str, Any] = {}
    for member in _enum_members(annotation):
        value = member.value if isinstance(member, enum.Enum) else member
        if needs_members(annotation) or type(value) is not str:
            keys.setdefault(_text_of_key(member), member)
            keys.setdefault(_text_of_key(value), member)
    return keys


def _map_reader(key_annotation: Any, read_inner: Reader) -> Reader:
    keys = keys_by_text(key_annotation)

    def read(value: Mapping[str, Any]) -> Any:
        content = value.get("M")
        if content is None:
            return decode_value(value)
        if not keys:
            return {key: read_inner(inner) for key, inner in content.items()}
        return {keys.get(key, key): read_inner(inner) for key, inner in content.items()}

    return read


def _text_of_key(value: Any) -> str:
    try:
        return map_key(value, "key")
    except ValidationError:
        return ""  # cannot be stored as a key


def _members_reader(members: Iterable[Any]) -> Reader:
    """Return the reader that gives the members of an enum for their stored values."""
    by_stored: dict[Any, Any] = {}
    for member in members:
        value = member.value if isinstance(member, enum.Enum) else member
        try:
            by_stored.setdefault(_hashable(encode_value(value, "")), member)
        except ValidationError:
            continue  # cannot be stored

    def read(value: Mapping[str, Any]) -> Any:
        found = by_stored.get(_hashable(value), by_stored)
        return decode_value(value) if found is by_stored else found

    return read


def _hashable(value: Mapping[str, Any]) -> Any:
    """Return an attribute value in a form that can be compared; numbers by their value."""
    ((tag, content),) = value.items()
    if tag == "N":
        return tag, Decimal(content)
    if tag == "L":
        return tag, tuple(map(_hashable, content))
    if tag == "M":
        return tag, frozenset((key, _hashable(inner)) for key, inner in content.items())
    if tag in ("SS", "NS", "BS"):
        return tag, frozenset(_hashable({tag[0]: inner}) for inner in content)
    return tag, content


def _set_reader(read_inner: Reader) -> Reader:
    def read(value: Mapping[str, Any]) -> Any:
        ((tag, content),) = value.items()
        if tag not in ("SS", "NS", "BS"):
            return decode_value(value)
        return {read_inner({tag[0]: inner}) for inner in content}

    return read


@dataclass
class _RecordReader:
    """Reader of a dataclass, TypedDict or NamedTuple, made at the first value: it may hold itself.

    Attributes:
        member: The class.
    """

    member: Any

    @cached_property
    def _readers(self) -> dict[str, Reader]:
        return {name: reader_of(hint) for name, hint in record_hints(self.member).items()}

    def read(self, value: Mapping[str, Any]) -> Any:
        readers = self._readers
        if "M" in value:
            content = value["M"].items()
            return {name: readers.get(name, decode_value)(inner) for name, inner in content}
        if "L" in value and hasattr(origin(self.member), "_fields"):
            places = [*readers.values(), *[decode_value] * len(value["L"])]
            return [read(inner) for read, inner in zip(places, value["L"])]
        return decode_value(value)


@dataclass
class _ModelsReader:
    """Reader of a union of models: an attribute is read as the models that have it agree on.

    Attributes:
        models: The members of the union.
    """

    models: list[type[BaseModel]]

    @cached_property
    def _with_default(self) -> set[str]:
        """The names of fields whose NULL every model reads as its default."""
        shapes = [shape for model in self.models for shape in fields_of(model)]
        return {shape.input_key for shape in shapes if shape.null_is_absent} - {
            shape.input_key for shape in shapes if not shape.null_is_absent
        }

    @cached_property
    def _readers(self) -> dict[str, Reader]:
        found: dict[str, list[FieldShape]] = {}
        for model in self.models:
            for shape in fields_of(model):
                found.setdefault(shape.input_key, []).append(shape)
        return {name: self._common(shapes) for name, shapes in found.items()}

    def _common(self, shapes: list[FieldShape]) -> Reader:
        annotations = [shape.annotation for shape in shapes]
        if all(annotation == annotations[0] for annotation in annotations):
            return shapes[0].read
        parts = [part for annotation in annotations for part in alternatives(annotation)]
        return _members_in_union_reader(tuple(parts))

    def read(self, value: Mapping[str, Any]) -> Any:
        readers, with_default = self._readers, self._with_default
        return {
            name: readers.get(name, decode_free)(inner)
            for name, inner in value["M"].items()
            if not ("NULL" in inner and name in with_default)
        }


def _list_reader(readers: list[Reader]) -> Reader:
    """Return the reader of a list, or of a tuple with a reader for each place."""
    only, last = readers[0], len(readers) - 1

    def read(value: Mapping[str, Any]) -> Any:
        content = value.get("L")
        if content is None:
            return decode_value(value)
        if last == 0:
            return [only(inner) for inner in content]
        return [readers[min(place, last)](inner) for place, inner in enumerate(content)]

    return read


def _model_reader(model: type[BaseModel]) -> Reader:
    if issubclass(model, RootModel):
        return reader_of(model.model_fields["root"].annotation)

    def read(value: Mapping[str, Any]) -> Any:
        content = value.get("M")
        return decode_value(value) if content is None else read_fields(model, content)

    return read


def _read_timedelta(value: Mapping[str, Any]) -> Any:
    """Read seconds to the microsecond; pydantic goes through float, which keeps 15 digits."""
    seconds = decode_value(value)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, Decimal)):
        return seconds
    try:
        return int(Fraction(seconds) * 1_000_000) * _MICROSECOND
    except OverflowError:
        return seconds


def _read_timedeltas(value: Mapping[str, Any]) -> Any:
    return {_read_timedelta({"N": text}) for text in value.get("NS", ())}
