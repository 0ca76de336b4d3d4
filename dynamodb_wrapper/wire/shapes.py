"""What a model's annotations say about stored values, computed once per model.

A shape tells the codec what a bare attribute value cannot: whether numbers are free-form, which
absent attributes mean an empty set, and which None values are left out.
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
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Union

import pydantic
from pydantic import AliasChoices, AliasPath, BaseModel, RootModel

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import attribute_name
from dynamodb_wrapper.wire.attributes import decode_free, decode_value
from dynamodb_wrapper.wire.builds import per_build

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

UNIONS = (Union, getattr(types, "UnionType", Union))
Reader = typing.Callable[[Mapping[str, Any]], Any]

SETS = (set, frozenset, AbstractSet, MutableSet)
LISTS = (list, tuple, Sequence)
MAPS = (dict, Mapping)
_JSON_VALUE = getattr(pydantic, "JsonValue", None)  # since pydantic 2.5
_TIMEDELTAS = (timedelta, Union[timedelta, None])
_MICROSECOND = timedelta(microseconds=1)


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
