"""What the annotations of a model say about stored values, computed once per model.

A shape says what a bare attribute value cannot: whether numbers are free-form, which absent
attributes mean an empty set, which None values are left out. A model is *watched* where code of the
user sees values before pydantic has checked them: it would notice that a number came as a float
instead of int or Decimal, that an unknown attribute is missing, or the order of attributes.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache, wraps
from typing import TYPE_CHECKING, Annotated, Any, Callable, NamedTuple, TypeVar, Union

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

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.table import attribute_name
from dynamodb_wrapper.serialization.values import decode_free, decode_value

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")
_HOOKS = ("func", "__get_pydantic_core_schema__", "__prepare_pydantic_annotations__")
_OWN_WAYS = ("__get_pydantic_core_schema__", "model_validate")
_RESHAPING = (PlainSerializer, WrapSerializer, PlainValidator, pydantic.Json)
UNIONS = (Union, getattr(types, "UnionType", Union))
Reader = typing.Callable[[Mapping[str, Any]], Any]
SETS = (set, frozenset, AbstractSet, MutableSet)
LISTS = (list, tuple, Sequence)
MAPS = (dict, Mapping)
_JSON_VALUE = getattr(pydantic, "JsonValue", None)  # since pydantic 2.5
_TIMEDELTAS = (timedelta, Union[timedelta, None])
_MICROSECOND = timedelta(microseconds=1)


def peel(annotation: Any, markers: Iterable[Any] = ()) -> Peeled | None:
    """Return what is inside ``Annotated`` and ``Optional``; None for any other union."""
    found, may_be_null = list(markers), False
    while True:
        if hasattr(annotation, "__metadata__"):
            found += annotation.__metadata__
            annotation = annotation.__origin__
        elif typing.get_origin(annotation) in UNIONS:
            inner = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            may_be_null = may_be_null or len(inner) < len(typing.get_args(annotation))
            if len(inner) != 1:
                return None
            annotation = inner[0]
        else:
            return Peeled(annotation, tuple(found), may_be_null)


class Peeled(NamedTuple):
    """An annotation without what is around it.

    Attributes:
        member: What is inside.
        markers: The markers that were around it.
        may_be_null: Whether None is allowed as well.
    """

    member: Any
    markers: tuple[Any, ...]
    may_be_null: bool


if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import ParamSpec

    P = ParamSpec("P")


def per_build(function: Callable[P, T]) -> Callable[P, T]:
    """Remember what a function makes of a model, its first argument, as the model is built now.

    Pydantic builds a model anew when a class is defined that an annotation names.
    """

    make: Callable[..., T] = function

    @lru_cache(maxsize=1024)
    def made(_build: Any, *args: Any) -> T:
        return make(*args)

    @wraps(function)
    def remembered(model: type[BaseModel], *args: Any) -> T:
        return made(model.__pydantic_validator__, model, *args)

    known: Any = remembered
    return known  # type: ignore[no-any-return]


def are_blind(markers: Iterable[Any]) -> bool:
    """Tell whether none of the markers sees a value before pydantic has checked it."""
    return all(map(_is_blind, markers))


def _is_blind(marker: Any) -> bool:
    if isinstance(marker, FieldInfo):
        return are_blind(marker.metadata)
    if marker is None or type(marker) is AfterValidator:
        return True
    module = type(marker).__module__
    if module == "annotated_types":
        return True
    return module.startswith("pydantic.") and not any(hasattr(marker, hook) for hook in _HOOKS)


def are_reshaping(markers: Iterable[Any]) -> bool:
    """Tell whether a marker makes the stored type another than the annotation suggests."""
    return any(isinstance(m, _RESHAPING) or m is pydantic.Json for m in markers)


@per_build
def is_watched(model: type[BaseModel]) -> bool:
    """Tell whether code of the user's sees the values of a model as they come."""
    own = model.__pydantic_decorators__
    if own.root_validators or any(v.info.mode != "after" for v in own.model_validators.values()):
        return True
    if getattr(model, "__pydantic_custom_init__", False):
        return True
    return validates_itself(model)


@per_build
def validates_itself(model: type[BaseModel]) -> bool:
    """Tell whether a model has its own way to be validated, which pydantic may not go in a list."""
    users = [cls for cls in model.__mro__ if not cls.__module__.startswith("pydantic.")]
    return any(name in vars(cls) for cls in users for name in _OWN_WAYS)


@per_build
def watched_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose validators see values as they come."""
    own = model.__pydantic_decorators__
    early: list[Any] = [v for v in own.field_validators.values() if v.info.mode != "after"]
    names = {name for v in [*early, *own.validators.values()] for name in v.info.fields}
    return frozenset(model.model_fields if "*" in names else names)


@per_build
def reshaped_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose stored type is for a serializer of the model's to choose."""
    own = model.__pydantic_decorators__
    names = {name for s in own.field_serializers.values() for name in s.info.fields}
    return frozenset(model.model_fields if "*" in names else names)


@per_build
def looks_at_unknown(model: type[BaseModel]) -> bool:
    """Tell whether attributes that are no fields make a difference to the model."""
    return model.model_config.get("extra") not in (None, "ignore") or is_watched(model)


@per_build
def lookalikes(model: type[BaseModel]) -> frozenset[str]:
    """Return attributes that are no fields, but that pydantic would take for one."""
    shapes = fields_of(model)
    names = {shape.name for shape in shapes if shape.input_key == shape.name}
    for info in model.model_fields.values():
        names |= _starts_of_paths(info.validation_alias)
    return (readable_names(model) | names) - {shape.attribute for shape in shapes}


def _starts_of_paths(alias: Any) -> set[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else ()
    return {str(choice.path[0]) for choice in choices if isinstance(choice, AliasPath)}


@dataclass(frozen=True)
class FieldShape:
    """How one field of a model is stored.

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


@per_build
def fields_of(model: type[BaseModel]) -> tuple[FieldShape, ...]:
    """Return the shapes of a model's fields.

    Raises:
        ValidationError: A field takes its value from inside another one (AliasPath).
    """
    return tuple(_field_shape(model, name) for name in model.model_fields)


def _field_shape(model: type[BaseModel], name: str) -> FieldShape:
    info = model.model_fields[name]
    is_set = any(origin(alternative) in SETS for alternative in alternatives(info.annotation))
    absent_means_none = info.default is None
    if info.is_required():
        absent_means_none = _admits_none(info.annotation)
    return FieldShape(
        name=name,
        attribute=attribute_name(model, name),
        input_key=_input_key(model, name),
        annotation=info.annotation,
        read=_field_reader(info),
        marked=_marked(info),
        omits_none=absent_means_none and not is_set,
        is_set=is_set,
        needs_none=absent_means_none and not is_set and info.is_required(),
    )


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


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    if _JSON_VALUE is not None and annotation is _JSON_VALUE:
        return (Any,)
    annotation = strip(annotation)
    if typing.get_origin(annotation) in UNIONS:
        return tuple(m for arg in typing.get_args(annotation) for m in union_members(arg))
    return (annotation,)


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union without None."""
    return tuple(member for member in union_members(annotation) if member is not type(None))


def _admits_none(annotation: Any) -> bool:
    return any(member in (type(None), Any, object) for member in union_members(annotation))


def strip(annotation: Any) -> Any:
    """Return the annotation without ``Annotated`` and type aliases."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif hasattr(annotation, "__value__"):  # a PEP 695 alias
            annotation = annotation.__value__
        else:
            return annotation


def is_model(annotation: Any) -> bool:
    """Tell whether the annotation is a pydantic model."""
    return is_class(annotation) and issubclass(annotation, BaseModel)


def is_class(annotation: Any) -> bool:
    """Tell whether the annotation is a class; `list[int]` is none, whatever Python 3.9 says."""
    return isinstance(annotation, type) and typing.get_origin(annotation) is None


def origin(annotation: Any) -> Any:
    """Return the class a generic annotation is made of, else the annotation itself."""
    return typing.get_origin(annotation) or annotation


def reader_for(annotation: Any) -> Reader:
    """Return the function that reads an attribute value for an annotation."""
    if _leads_to_alias(annotation):  # which may name itself: look inside when reading
        return _Later(annotation).read
    return _reader_now(annotation)


def _reader_now(annotation: Any) -> Reader:
    if annotation in _TIMEDELTAS:
        return _read_timedelta
    members = alternatives(annotation)
    if any(member in (Any, object) for member in members):
        return decode_free
    if len(members) == 1:
        return _member_reader(members[0])
    models = [member for member in members if is_model(member)]
    maps = [member for member in members if origin(member) in MAPS]
    if len(models) + len(maps) == 1:
        return _union_reader(_member_reader((models or maps)[0]))
    return _union_reader(decode_free if any(is_free(m) for m in maps) else decode_value)


def _read_timedeltas(value: Mapping[str, Any]) -> Any:
    return {_read_timedelta({"N": text}) for text in value.get("NS", ())}


def _leads_to_alias(annotation: Any) -> bool:
    if hasattr(annotation, "__metadata__"):
        return _leads_to_alias(annotation.__origin__)
    if typing.get_origin(annotation) in UNIONS:
        return any(map(_leads_to_alias, typing.get_args(annotation)))
    return hasattr(annotation, "__value__")


@dataclass
class _Later:
    annotation: Any

    def read(self, value: Mapping[str, Any]) -> Any:
        return self._reader(value)

    @cached_property
    def _reader(self) -> Reader:
        if self.annotation is _JSON_VALUE or not hasattr(self.annotation, "__value__"):
            return _reader_now(self.annotation)
        return reader_for(self.annotation.__value__)


def _field_reader(info: FieldInfo) -> Reader:
    """Return the reader of a field; validators of its own get what is stored."""
    own_validators = any(hasattr(marker, "func") for marker in info.metadata)
    if info.annotation in _TIMEDELTAS and own_validators:
        return decode_value
    return reader_for(info.annotation)


def _read_timedelta(value: Mapping[str, Any]) -> Any:
    """Read seconds to the microsecond; pydantic goes through float, which keeps 15 digits."""
    seconds = decode_value(value)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, Decimal)):
        return seconds
    try:
        return int(Fraction(seconds) * 1_000_000) * _MICROSECOND
    except OverflowError:
        return seconds


def _member_reader(member: Any) -> Reader:
    if is_model(member):
        return _model_reader(member)
    args = tuple(arg for arg in typing.get_args(member) if arg is not Ellipsis)
    if is_free(member):
        return decode_free
    if origin(member) in MAPS:
        return _map_reader(reader_for(args[1]))
    if origin(member) in LISTS:
        return _list_reader([reader_for(arg) for arg in args])
    if origin(member) in SETS and args == (timedelta,):
        return _read_timedeltas
    return decode_value


def is_free(member: Any) -> bool:
    """Tell whether a map or list says nothing of what it holds."""
    if origin(member) not in MAPS + LISTS + SETS:
        return False
    args = typing.get_args(member)
    return not args or strip(args[-1]) in (Any, object)


def _union_reader(read_map: Reader) -> Reader:
    def read(value: Mapping[str, Any]) -> Any:
        return read_map(value) if "M" in value else decode_value(value)

    return read


def _map_reader(read_inner: Reader) -> Reader:
    def read(value: Mapping[str, Any]) -> Any:
        content = value.get("M")
        if content is None:
            return decode_value(value)
        return {key: read_inner(inner) for key, inner in content.items()}

    return read


def _list_reader(readers: list[Reader]) -> Reader:
    """A tuple may have a reader for each place; a list has one for all."""
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
        return reader_for(model.model_fields["root"].annotation)

    def read(value: Mapping[str, Any]) -> Any:
        content = value.get("M")
        return decode_value(value) if content is None else read_fields(model, content)

    return read


@per_build
def readable_names(model: type[BaseModel]) -> frozenset[str]:
    """Return every attribute name the model can take a value from."""
    names = set()
    for field in fields_of(model):
        names.add(field.attribute)
        alias = model.model_fields[field.name].validation_alias
        choices = getattr(alias, "choices", [alias])
        names.update(choice for choice in choices if isinstance(choice, str))
    return frozenset(names)


def read_fields(model: type[BaseModel], item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what pydantic validates: attributes read for their fields, others as they are."""
    left = dict(item)
    data: dict[str, Any] = {}
    for field in fields_of(model):
        stored = left.pop(field.attribute, None)
        if stored is not None:
            data[field.input_key] = field.read(stored)
        elif field.is_set:
            data[field.input_key] = set()
        elif field.needs_none:
            data[field.input_key] = None
    data.update((name, decode_free(value)) for name, value in left.items() if name not in data)
    return data
