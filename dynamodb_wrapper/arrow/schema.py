"""Arrow types for the fields of a model, and the conversion of model values to them.

A column may be read without building models only where pydantic's own rules and the field types of
this library decide the value; `has_field_rules_only` and `limits_of` check that.
"""

from __future__ import annotations

import base64
import enum
import inspect
import json
import math
import typing
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pydantic_core
from pydantic import BaseModel, Json, RootModel, TypeAdapter
from pydantic.fields import FieldInfo

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import (
    EpochMillis,
    EpochSeconds,
    Id,
    IsoDatetime,
    SecretFree,
    StoredAs,
    UtcDatetime,
    peel,
)
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    MAPS,
    SETS,
    change_stored_type,
    fields_of,
    is_class,
    is_free_form,
    is_model,
    is_record,
    origin,
    readable_names,
    record_hints,
)
from dynamodb_wrapper.serialization.encoder import prune
from dynamodb_wrapper.serialization.values import decode_free, encode_value, map_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_HARMLESS_SETTINGS = frozenset(
    "alias_generator arbitrary_types_allowed defer_build extra from_attributes frozen "
    "hide_input_in_errors json_encoders json_schema_extra json_schema_serialization_defaults "
    "loc_by_alias populate_by_name protected_namespaces ser_json_bytes ser_json_timedelta strict "
    "title use_attribute_docstrings use_enum_values validate_assignment validate_by_alias "
    "validate_by_name".split()
)
_OWN_CODE = frozenset({"__init__", "__new__", "model_post_init", "__get_pydantic_core_schema__"})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PRIVATE_ATTRIBUTES_HOOK = "init_private_attributes"
_HARMLESS = [
    *(marker for type_ in (UtcDatetime, IsoDatetime, Id) for marker in typing.get_args(type_)[1:]),
    SecretFree,
]
_EPOCHS = {
    name: list(typing.get_args(type_)[1:])
    for name, type_ in (("EpochSeconds", EpochSeconds), ("EpochMillis", EpochMillis))
}
_SERIALIZERS = frozenset({"PlainSerializer", "WrapSerializer", "WithJsonSchema"})
_BOUNDS = {
    "Ge": "ge",
    "Gt": "gt",
    "Le": "le",
    "Lt": "lt",
    "MinLen": "min_length",
    "MaxLen": "max_length",
}
LARGEST = {16: 65504.0, 32: 3.4028234663852886e38, 64: math.inf}
"""The largest number of a floating-point type, by its bits."""
_OpenTypes = tuple[Any, ...]
Convert = Callable[[Any], Any]
_UTC_TIME = pa.timestamp("us", "UTC")
_TYPES_OF_VALUES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), bytes: pa.binary()}
_MAX_DIGITS = 38


@dataclass(frozen=True)
class Form:
    """An Arrow type and the conversion of model values to it.

    Attributes:
        type: The type of the column.
        convert: Converts a value of the model for `first`.
        base: The type values get first, where the caller has chosen another `type`.
        is_json: Whether the column is JSON text.
        is_number: Whether the values of the model are numbers.
        is_read_from_json: Whether the model takes JSON text and holds what it says, as `Json` does.
        parts: The forms inside: of a struct's fields by name, of the values of a list or map as
            ``item``.
        rebuild: Makes the form of the same container with other parts.
    """

    type: Any
    convert: Convert
    base: Any = None
    is_json: bool = False
    is_number: bool = False
    is_read_from_json: bool = False
    parts: Mapping[str, Form] = field(default_factory=dict)
    rebuild: Callable[[Mapping[str, Form]], Form] | None = None

    @property
    def first(self) -> Any:
        """The type values get first."""
        return self.base or self.type

    def array(self, values: Sequence[Any]) -> Any:
        """Return the values of models as an array.

        Raises:
            ValueError, TypeError, OverflowError: A value does not fit; pyarrow's own errors too.
        """
        found = [None if value is None else self.convert(value) for value in values]
        return cast(pa.array(found, self.first), self.type)


@dataclass(frozen=True)
class FieldForm:
    """A column: a field of the model and its form."""

    name: str
    form: Form


def forms_of(model: type[BaseModel], schema: Any = None) -> tuple[FieldForm, ...]:
    """Return the columns of a model, or those of them a schema names.

    A model that keeps extra attributes may have a column for any name.

    Raises:
        ValidationError: The schema names what is no field of the model.
    """
    forms = {
        shape.name: _of_field(model.model_fields[shape.name], (model,))
        for shape in fields_of(model)
    }
    if schema is None:
        return tuple(FieldForm(name, form) for name, form in forms.items())
    missing = [name for name in schema.names if name not in forms]
    if keeps_extra(model):
        forms.update((name, _of_extra(schema.field(name).type)) for name in missing)
    elif missing:
        raise ValidationError(
            f"The schema names {', '.join(missing)}; {model.__name__} has the fields "
            f"{', '.join(forms)}."
        )
    return tuple(
        FieldForm(column.name, _with_type(forms[column.name], column.type)) for column in schema
    )


def keeps_extra(model: type[BaseModel]) -> bool:
    """Return whether a model keeps attributes that are no fields."""
    return model.model_config.get("extra") == "allow"


def extra_form(name: str) -> FieldForm:
    """Return the column of an extra attribute: JSON text."""
    return FieldForm(name, _JSON)


def _of_extra(wanted: Any) -> Form:
    """Return the form of an extra attribute for a type the caller has chosen."""
    if pa.types.is_temporal(wanted):
        return Form(wanted, _any_text, base=pa.string())
    if pa.types.is_nested(wanted) or pa.types.is_binary(wanted):
        return Form(wanted, unchanged)
    return _JSON


def form_of(annotation: Any, open_types: _OpenTypes = (), markers: tuple[Any, ...] = ()) -> Form:
    """Return the form of an annotation; what has no Arrow type is JSON text."""
    if hasattr(annotation, "__value__"):  # an alias may name itself
        if annotation in open_types:
            return _JSON
        return form_of(annotation.__value__, (*open_types, annotation), markers)
    peeled = peel(annotation, markers)
    if any(_is_json(marker) for marker in peeled.markers):
        others = tuple(m for m in peeled.markers if not _is_json(m))
        return replace(form_of(peeled.member, open_types, others), is_read_from_json=True)
    if peeled.is_union:
        return _of_union(peeled.member)
    member = peeled.member
    if hasattr(member, "__value__"):
        return form_of(member, open_types, peeled.markers)
    if origin(member) is typing.Literal:
        return _of_values(typing.get_args(member))
    if not is_class(member):
        return _of_container(member, open_types)
    return _of_class(member, open_types, peeled.markers)


def _of_union(annotation: Any) -> Form:
    """Return JSON text; of what is stored, where the type of a value does not say its member."""
    markers = [marker for part in typing.get_args(annotation) for marker in peel(part).markers]
    if not change_stored_type(markers):
        return _JSON
    dump = partial(
        TypeAdapter(annotation).dump_python, round_trip=True, by_alias=False, warnings=False
    )
    return replace(_JSON, convert=lambda value: json_text(dump(value)))


def _is_json(marker: Any) -> bool:
    """Return whether a marker or class is pydantic's `Json`."""
    kind: Any = Json
    return marker is kind or isinstance(marker, kind)


def _of_field(info: FieldInfo, open_types: _OpenTypes = ()) -> Form:
    return form_of(info.annotation, open_types, tuple(info.metadata))


def _of_class(member: Any, open_types: _OpenTypes, markers: tuple[Any, ...]) -> Form:
    if issubclass(member, enum.Enum):
        return _of_values(tuple(member))
    if is_model(member):
        return _of_model(member, open_types)
    if is_record(member):
        return _of_record(member, open_types)
    if _is_json(member):
        return replace(_JSON, is_read_from_json=True)
    places = decimal_places(markers) if member is Decimal else None
    if places is not None:
        return Form(pa.decimal128(*places), unchanged, is_number=True)
    if member in _SCALARS:
        return _SCALARS[member]
    is_container = issubclass(member, (Mapping, AbstractSet, list, tuple, deque))
    return _JSON if is_container or member in (*LISTS, *SETS, Any, object) else _TEXT


def decimal_places(markers: Sequence[Any]) -> tuple[int, int] | None:
    """Return precision and scale of a field's decimals, where it limits the places."""
    limits = limits_of([marker for marker in markers if limits_of([marker])]) or {}
    places, digits = limits.get("decimal_places"), limits.get("max_digits")
    digits = _MAX_DIGITS if digits is None else digits
    if places is None or not 0 <= places <= digits <= _MAX_DIGITS:
        return None
    return digits, places


def _of_values(values: tuple[Any, ...]) -> Form:
    kinds = {type(_member_value(value)) for value in values}
    for kind, type_ in _TYPES_OF_VALUES.items():
        if kinds == {kind}:
            return Form(type_, _member_value)
    return _JSON


def _of_model(model: type[BaseModel], open_types: _OpenTypes) -> Form:
    if model in open_types or issubclass(model, RootModel) or not model.model_fields:
        return _JSON
    forms = {
        name: _of_field(info, (*open_types, model)) for name, info in model.model_fields.items()
    }
    return _struct(forms)


def _of_record(member: Any, open_types: _OpenTypes) -> Form:
    """Return the form of a dataclass, TypedDict or NamedTuple."""
    hints = record_hints(member)
    if member in open_types or not hints:
        return _JSON
    return _struct({name: form_of(hint, (*open_types, member)) for name, hint in hints.items()})


def _of_container(member: Any, open_types: _OpenTypes) -> Form:
    kind, args = origin(member), typing.get_args(member)
    if is_record(member):
        return _of_record(member, open_types)
    if not args or (is_free_form(member) and not any(map(_is_json, peel(args[-1]).markers))):
        return _JSON
    inner = form_of(args[1] if kind in MAPS else args[0], open_types)
    if kind in MAPS:
        return _map({"item": inner})
    if kind in SETS:
        return _list(_as_sorted, {"item": inner})
    if kind in LISTS and (kind is not tuple or args[1:] == (Ellipsis,)):
        return _list(_as_list, {"item": inner})
    return _JSON


def _struct(parts: Mapping[str, Form]) -> Form:
    type_ = pa.struct([pa.field(name, form.first) for name, form in parts.items()])
    return Form(type_, partial(_as_struct, parts), parts=parts, rebuild=_struct)


def _map(parts: Mapping[str, Form]) -> Form:
    inner = parts["item"]
    type_ = pa.map_(pa.string(), inner.first)
    return Form(type_, partial(_as_pairs, inner), parts=parts, rebuild=_map)


def _list(convert: Callable[[Form, Any], Any], parts: Mapping[str, Form]) -> Form:
    inner = parts["item"]
    type_, rebuild = pa.list_(inner.first), partial(_list, convert)
    return Form(type_, partial(convert, inner), parts=parts, rebuild=rebuild)


# ---- types chosen by the caller ------------------------------------------------------------------


def _with_type(form: Form, wanted: Any) -> Form:
    """Return the form for a type the caller has chosen."""
    if wanted == form.type:
        return form
    if isinstance(wanted, (pa.DictionaryType, pa.RunEndEncodedType)):
        form = _with_type(form, wanted.value_type)
        return replace(form, type=wanted, base=form.first)
    if form.is_number:
        return _of_number(wanted)
    if form.type == pa.string() and _is_decimal_or_float(wanted):
        return Form(wanted, partial(_as_number, _of_number(wanted).convert, form.convert))
    inner = _inner_types(form, wanted)
    if form.rebuild is not None and inner:
        form = form.rebuild(
            {name: _with_type(form.parts[name], type_) for name, type_ in inner.items()}
        )
    return form if wanted == form.type else replace(form, type=wanted, base=form.first)


def _of_number(wanted: Any) -> Form:
    if pa.types.is_decimal(wanted):
        return Form(wanted, _as_decimal, is_number=True)
    if pa.types.is_floating(wanted):
        return Form(wanted, _as_float(wanted), is_number=True)
    if pa.types.is_integer(wanted):
        return Form(wanted, _as_int, is_number=True)
    return Form(wanted, _plain_number, base=pa.string(), is_number=True)


def _inner_types(form: Form, wanted: Any) -> dict[str, Any]:
    """Return the types inside a container; none where it is of another kind."""
    if pa.types.is_struct(form.type) and pa.types.is_struct(wanted):
        inner = {wanted.field(n).name: wanted.field(n).type for n in range(wanted.num_fields)}
        missing = inner.keys() - form.parts.keys()
        if missing:
            raise ValidationError(
                f"The schema names {', '.join(sorted(missing))} inside a struct; it has the "
                f"fields {', '.join(form.parts)}."
            )
        return inner
    if pa.types.is_map(form.type):
        return {"item": wanted.item_type} if pa.types.is_map(wanted) else {}
    is_list = pa.types.is_list(form.type) and hasattr(wanted, "value_type")
    return {"item": wanted.value_type} if is_list else {}


# ---- conversion of values ------------------------------------------------------------------------


def cast(values: Any, type_: Any) -> Any:
    """Convert an array to another type, dictionaries and run-ends included."""
    if values.type == type_:
        return values
    if isinstance(type_, pa.DictionaryType):
        return cast(values, type_.value_type).dictionary_encode().cast(type_)
    if isinstance(type_, pa.RunEndEncodedType):
        return pc.run_end_encode(cast(values, type_.value_type), type_.run_end_type)
    return values.cast(type_)


def unchanged(value: Any) -> Any:
    """Return a value as it is."""
    return value


def _as_decimal(value: float | Decimal) -> Decimal:
    """Return a number as a decimal."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _as_int(value: float | Decimal) -> int:
    """Return a number as an int; refuse fractions."""
    if value != int(value):
        raise ValueError("is not whole")
    return int(value)


def _as_float(type_: Any) -> Callable[[Any], float]:
    """Return the conversion to floats, which refuses numbers that would become infinite."""
    return partial(_to_float, LARGEST[type_.bit_width])


def _to_float(largest: float, value: float | Decimal) -> float:
    number = float(value)
    too_large = math.isinf(number) or abs(number) > largest
    if too_large and Decimal(value).is_finite():
        raise OverflowError("is too large")
    return number


def _aware(value: datetime) -> datetime:
    """Return a datetime; refuse one without a time zone."""
    if value.tzinfo is None:
        raise ValueError("has no time zone")
    return value


def _naive(value: time) -> time:
    """Return a time of day; refuse one with a time zone."""
    if value.tzinfo is not None:
        raise ValueError("has a time zone")
    return value


def _as_number(to_number: Convert, convert: Convert, value: Any) -> Any:
    """Return the number a text holds, converted."""
    return to_number(Decimal(convert(value)))


def _is_decimal_or_float(type_: Any) -> bool:
    """Return whether Arrow changes the number in a text that does not fit this type."""
    return bool(pa.types.is_decimal(type_) or pa.types.is_floating(type_))


def _plain_number(value: float | Decimal) -> str:
    """Return a number as text, without exponent."""
    return str(value) if isinstance(value, int) else format(Decimal(str(value)), "f")


def _member_value(value: Any) -> Any:
    """Return the value of an enum's member; anything else as it is."""
    return value.value if isinstance(value, enum.Enum) else value


def _key_text(key: Any) -> str:
    """Return the key of a map as the text it is stored as."""
    return key if type(key) is str else map_key(key, "the key")


def json_text(value: Any) -> str:
    """Return a value as JSON; numbers keep their digits, sets are sorted, binary is base64."""
    return _written(_for_json(value))


def _written(value: Any) -> str:
    """Return JSON; Decimals, which the standard library does not write, as numbers."""
    if isinstance(value, Decimal):
        return _plain_number(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except TypeError:  # there are Decimals inside
        if isinstance(value, dict):
            entries = (f"{_written(key)}:{_written(inner)}" for key, inner in value.items())
            return f"{{{','.join(entries)}}}"
        return f"[{','.join(map(_written, value))}]"


def _for_json(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return _member_value(value)
    if isinstance(value, BaseModel):
        dumped = value.model_dump(round_trip=True, by_alias=False, warnings=False)
        return _for_json(prune(dumped, value, exact=False) if isinstance(dumped, dict) else dumped)
    if is_dataclass(value):
        return {part.name: _for_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {_key_text(key): _for_json(content) for key, content in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(map(_for_json, value), key=repr)
    if isinstance(value, (list, tuple, deque)):
        return [_for_json(content) for content in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return value
    if isinstance(value, enum.Enum):
        return _for_json(decode_free(encode_value(value, "the value")))
    try:
        return pydantic_core.to_jsonable_python(value)
    except pydantic_core.PydanticSerializationError:
        return decode_free(encode_value(value, "the value"))


def _any_text(value: Any) -> str:
    """Return a value of a class that is stored as text."""
    found = _for_json(value)
    return found if isinstance(found, str) else _written(found)


def _as_struct(forms: Mapping[str, Form], value: Any) -> dict[str, Any]:
    """Return the fields of a model, dataclass or NamedTuple, or the entries of a TypedDict."""
    if isinstance(value, dict):
        return {name: _optional(form, value.get(name)) for name, form in forms.items()}
    return {name: _optional(form, getattr(value, name)) for name, form in forms.items()}


def _as_pairs(inner: Form, value: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return [(_key_text(key), _optional(inner, content)) for key, content in value.items()]


def _as_list(inner: Form, value: Any) -> list[Any]:
    return [_optional(inner, content) for content in value]


def _as_sorted(inner: Form, value: Any) -> list[Any]:
    return sorted(map(inner.convert, value))


def _optional(form: Form, value: Any) -> Any:
    return None if value is None else form.convert(value)


_JSON = Form(pa.string(), json_text, is_json=True)


_TEXT = Form(pa.string(), _any_text)


_SCALARS: dict[type, Form] = {
    bool: Form(pa.bool_(), unchanged),
    int: Form(pa.int64(), unchanged, is_number=True),
    float: Form(pa.float64(), unchanged, is_number=True),
    Decimal: Form(pa.string(), _plain_number, is_number=True),
    str: Form(pa.string(), unchanged),
    bytes: Form(pa.binary(), unchanged),
    datetime: Form(_UTC_TIME, _aware),
    date: Form(pa.date32(), unchanged),
    time: Form(pa.time64("us"), _naive),
    timedelta: Form(pa.duration("us"), unchanged),
    UUID: Form(pa.string(), str),
}


# ---- models that Arrow can read ------------------------------------------------------------------


def has_field_rules_only(model: type[BaseModel], *, sees_unknown: bool = True) -> bool:
    """Return whether only pydantic's rules for single fields decide the values of a model.

    Args:
        model: The model.
        sees_unknown: Whether the model receives attributes that are no fields.
    """
    if issubclass(model, RootModel) or set(model.model_config) - _HARMLESS_SETTINGS:
        return False
    if sees_unknown and model.model_config.get("extra") == "forbid":
        return False
    own = model.__pydantic_decorators__
    if own.validators or own.field_validators or own.root_validators or own.model_validators:
        return False
    if any(map(_has_own_code, model.__mro__)) or any(
        map(_sees_others, model.model_fields.values())
    ):
        return False
    return _has_unambiguous_names(model)


def limits_of(markers: Iterable[Any]) -> dict[str, Any] | None:
    """Return the limits that markers set, by their names in pydantic; None where they do more."""
    limits: dict[str, Any] = {}
    for marker in _inside(markers):
        kind = type(marker)
        if marker in _HARMLESS or isinstance(marker, StoredAs) or kind.__name__ in _SERIALIZERS:
            continue
        if kind.__module__ == "annotated_types" and kind.__name__ in _BOUNDS:
            name = _BOUNDS[kind.__name__]
            found = {name: getattr(marker, name)}
        elif kind.__name__.lstrip("_") == "PydanticGeneralMetadata":
            found = dict(marker.__dict__)
        else:
            return None
        if any(limits.get(name, limit) != limit for name, limit in found.items()):
            return None
        limits.update(found)
    limits.pop("allow_inf_nan", None)  # DynamoDB has neither
    return limits


def epoch_step(markers: tuple[Any, ...]) -> str | None:
    """Return the name of the epoch type that the markers make; None for other markers."""
    for name, own in _EPOCHS.items():
        if list(markers) == own:
            return name
    return None


def _inside(markers: Iterable[Any]) -> Iterator[Any]:
    """Yield markers; for ``Field(...)`` the markers it sets."""
    for marker in markers:
        if isinstance(marker, FieldInfo) and marker.discriminator is None:
            yield from marker.metadata
        else:
            yield marker


def _has_unambiguous_names(model: type[BaseModel]) -> bool:
    """Return whether every attribute belongs to exactly one field."""
    shapes = fields_of(model)
    attributes = {shape.attribute: shape.name for shape in shapes}
    by_name = {shape.name for shape in shapes if shape.input_key == shape.name}
    if any(name in by_name and name != own for name, own in attributes.items()):
        return False
    return len(attributes) == len(shapes) and readable_names(model) <= attributes.keys()


def _has_own_code(cls: type) -> bool:
    if cls is object or cls.__module__.startswith("pydantic."):
        return False
    found = [vars(cls)[name] for name in _OWN_CODE & vars(cls).keys()]
    return any(getattr(code, "__name__", "") != _PRIVATE_ATTRIBUTES_HOOK for code in found)


def _sees_others(info: FieldInfo) -> bool:
    """Return whether code of the field may see other fields."""
    if getattr(info, "default_factory_takes_validated_data", False):
        return True
    own = [marker for markers in _EPOCHS.values() for marker in markers] + _HARMLESS
    markers = [*info.metadata, *_markers_inside(info.annotation)]
    return any(_takes_more(marker) for marker in markers if marker not in own)


def _markers_inside(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for inner in typing.get_args(annotation):
        yield from _markers_inside(inner)


def _takes_more(marker: Any) -> bool:
    """Return whether a validator receives more than the value and the handler it wraps."""
    function = getattr(marker, "func", None)
    try:
        parameters = inspect.signature(function).parameters.values() if function else ()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    return len(needed) > 1 + (type(marker).__name__ == "WrapValidator")
