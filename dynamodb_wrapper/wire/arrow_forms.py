"""What the fields of a model are in Arrow: a type, and values of models as it takes them."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable
from uuid import UUID

import pyarrow as pa
from pydantic import BaseModel, RootModel

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.wire.arrow_markers import limits_of, peel
from dynamodb_wrapper.wire.arrow_plain import (
    as_decimal,
    as_float,
    as_int,
    as_number,
    aware,
    cast,
    identity,
    is_decimal_or_float,
    naive,
)
from dynamodb_wrapper.wire.arrow_texts import (
    any_text,
    json_text,
    key_text,
    member_value,
    number_text,
)
from dynamodb_wrapper.wire.shapes import (
    LISTS,
    MAPS,
    SETS,
    fields_of,
    is_class,
    is_free,
    is_model,
    origin,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

Open = tuple[Any, ...]
Plain = Callable[[Any], Any]
UTC_TIME = pa.timestamp("us", "UTC")
_MAX_DIGITS = 38


@dataclass(frozen=True)
class Form:
    """A type of Arrow's, and how values of a model get it.

    Attributes:
        type: The type of the column.
        plain: Returns for a value of the model what `base` takes.
        base: The type the values are given first, where the column has been given another.
        is_json: Whether the column is JSON text.
        is_number: Whether the values of the model are numbers.
        parts: The forms of what is inside: of a struct's fields by name, of a list's values.
        holder: Makes the form of something with other parts.
    """

    type: Any
    plain: Plain
    base: Any = None
    is_json: bool = False
    is_number: bool = False
    parts: Mapping[str, Form] = field(default_factory=dict)
    holder: Callable[[Mapping[str, Form]], Form] | None = None

    @property
    def first(self) -> Any:
        """The type the values are given first."""
        return self.base or self.type

    def array(self, values: Sequence[Any]) -> Any:
        """Return the values of models as an array.

        Raises:
            ValueError, TypeError, OverflowError: A value does not fit; pyarrow's own errors too.
        """
        found = [None if value is None else self.plain(value) for value in values]
        made = pa.array(found, self.first)
        return cast(made, self.type)


@dataclass(frozen=True)
class FieldForm:
    """A column: a field of the model and its form."""

    name: str
    form: Form


def forms_of(model: type[BaseModel], schema: Any = None) -> tuple[FieldForm, ...]:
    """Return the columns of a model, or those of them a schema names.

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
    if missing:
        raise ValidationError(
            f"The schema names {', '.join(missing)}; {model.__name__} has the fields "
            f"{', '.join(forms)}."
        )
    return tuple(
        FieldForm(column.name, _given(forms[column.name], column.type)) for column in schema
    )


def _given(form: Form, wanted: Any) -> Form:
    """Return the form of a column whose type the caller has chosen."""
    if wanted == form.type:
        return form
    if isinstance(wanted, (pa.DictionaryType, pa.RunEndEncodedType)):
        form = _given(form, wanted.value_type)
        return replace(form, type=wanted, base=form.first)
    if form.is_number:
        return _of_number(wanted)
    if form.type == pa.string() and is_decimal_or_float(wanted):
        return Form(wanted, partial(as_number, _of_number(wanted).plain, form.plain))
    inner = _inner_types(form, wanted)
    if form.holder is not None and inner:
        form = form.holder({name: _given(form.parts[name], type_) for name, type_ in inner.items()})
    return form if wanted == form.type else replace(form, type=wanted, base=form.first)


def _of_number(wanted: Any) -> Form:
    if pa.types.is_decimal(wanted):
        return Form(wanted, as_decimal, is_number=True)
    if pa.types.is_floating(wanted):
        return Form(wanted, as_float(wanted), is_number=True)
    if pa.types.is_integer(wanted):
        return Form(wanted, as_int, is_number=True)
    return Form(wanted, number_text, base=pa.string(), is_number=True)


def _inner_types(form: Form, wanted: Any) -> dict[str, Any]:
    """Return the types of what is inside; none where that is of another kind."""
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


def _of_field(info: FieldInfo, open_types: Open = ()) -> Form:
    return form_of(info.annotation, open_types, tuple(info.metadata))


def form_of(annotation: Any, open_types: Open = (), markers: tuple[Any, ...] = ()) -> Form:
    """Return the form of an annotation; what has no type of its own is JSON text."""
    if hasattr(annotation, "__value__"):  # an alias may name itself
        if annotation in open_types:
            return JSON
        return form_of(annotation.__value__, (*open_types, annotation), markers)
    peeled = peel(annotation, markers)
    if peeled is None:
        return JSON
    member = peeled.member
    if hasattr(member, "__value__"):
        return form_of(member, open_types, peeled.markers)
    if origin(member) is typing.Literal:
        return _of_values(typing.get_args(member))
    if not is_class(member):
        return _of_container(member, open_types)
    return _of_class(member, open_types, peeled.markers)


def _of_class(member: Any, open_types: Open, markers: tuple[Any, ...]) -> Form:
    if issubclass(member, enum.Enum):
        return _of_values(tuple(member))
    if is_model(member):
        return _of_model(member, open_types)
    places = decimal_places(markers) if member is Decimal else None
    if places is not None:
        return Form(pa.decimal128(*places), identity, is_number=True)
    if member in _SCALARS:
        return _SCALARS[member]
    return JSON if member in (*LISTS, *SETS, *MAPS, Any, object) else _TEXT


def decimal_places(markers: Sequence[Any]) -> tuple[int, int] | None:
    """Return precision and scale of a field's decimals, where it limits the places."""
    limits = limits_of([marker for marker in markers if limits_of([marker])]) or {}
    places, digits = limits.get("decimal_places"), limits.get("max_digits")
    digits = _MAX_DIGITS if digits is None else digits
    if places is None or not 0 <= places <= digits <= _MAX_DIGITS:
        return None
    return digits, places


def _of_values(values: tuple[Any, ...]) -> Form:
    kinds = {type(member_value(value)) for value in values}
    for kind, type_ in ((str, pa.string()), (bool, pa.bool_()), (int, pa.int64())):
        if kinds == {kind}:
            return Form(type_, member_value)
    return JSON


def _of_model(model: type[BaseModel], open_types: Open) -> Form:
    if model in open_types or issubclass(model, RootModel) or not model.model_fields:
        return JSON
    forms = {
        name: _of_field(info, (*open_types, model)) for name, info in model.model_fields.items()
    }
    return _struct(forms)


def _of_container(member: Any, open_types: Open) -> Form:
    kind, args = origin(member), typing.get_args(member)
    if not args or is_free(member):
        return JSON
    inner = form_of(args[1] if kind in MAPS else args[0], open_types)
    if kind in MAPS:
        return _map({"item": inner})
    if kind in SETS:
        return _list(_as_sorted, {"item": inner})
    if kind in LISTS and (kind is not tuple or args[1:] == (Ellipsis,)):
        return _list(_as_list, {"item": inner})
    return JSON


def _struct(parts: Mapping[str, Form]) -> Form:
    type_ = pa.struct([pa.field(name, form.first) for name, form in parts.items()])
    return Form(type_, partial(_as_struct, parts), parts=parts, holder=_struct)


def _map(parts: Mapping[str, Form]) -> Form:
    inner = parts["item"]
    type_ = pa.map_(pa.string(), inner.first)
    return Form(type_, partial(_as_pairs, inner), parts=parts, holder=_map)


def _list(plain: Callable[[Form, Any], Any], parts: Mapping[str, Form]) -> Form:
    inner = parts["item"]
    type_, holder = pa.list_(inner.first), partial(_list, plain)
    return Form(type_, partial(plain, inner), parts=parts, holder=holder)


# ---- values --------------------------------------------------------------------------------------


def _as_struct(forms: Mapping[str, Form], value: BaseModel) -> dict[str, Any]:
    return {name: _optional(form, getattr(value, name)) for name, form in forms.items()}


def _as_pairs(inner: Form, value: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return [(key_text(key), _optional(inner, content)) for key, content in value.items()]


def _as_list(inner: Form, value: Any) -> list[Any]:
    return [_optional(inner, content) for content in value]


def _as_sorted(inner: Form, value: Any) -> list[Any]:
    return sorted(map(inner.plain, value))


def _optional(form: Form, value: Any) -> Any:
    return None if value is None else form.plain(value)


JSON = Form(pa.string(), json_text, is_json=True)
_TEXT = Form(pa.string(), any_text)
_SCALARS: dict[type, Form] = {
    bool: Form(pa.bool_(), identity),
    int: Form(pa.int64(), identity, is_number=True),
    float: Form(pa.float64(), identity, is_number=True),
    Decimal: Form(pa.string(), number_text, is_number=True),
    str: Form(pa.string(), identity),
    bytes: Form(pa.binary(), identity),
    datetime: Form(UTC_TIME, aware),
    date: Form(pa.date32(), identity),
    time: Form(pa.time64("us"), naive),
    timedelta: Form(pa.duration("us"), identity),
    UUID: Form(pa.string(), str),
}
