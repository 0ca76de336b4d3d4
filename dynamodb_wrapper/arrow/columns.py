"""Read columns from the JSON of a page: the schema Arrow parses and the kernels it applies.

A page is parsed with a schema of DynamoDB's JSON, a struct with one field per type descriptor.
Reading a column unwraps these structs and converts the content. A value of another type is null
inside a struct that is present: that, a missing attribute and anything a kernel refuses raise
`IrregularError`, and the page is read through the models.
"""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dynamodb_wrapper.arrow import kernels
from dynamodb_wrapper.arrow.kernels import Convert, check
from dynamodb_wrapper.arrow.schema import (
    FieldForm,
    Form,
    cast,
    decimal_places,
    epoch_step,
    form_of,
    has_field_rules_only,
    limits_of,
    unchanged,
)
from dynamodb_wrapper.models.fields import peel
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    SETS,
    FieldShape,
    fields_of,
    is_class,
    is_model,
    origin,
    scalar_tag,
    unstored_input_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_DECIMAL_LIMITS = frozenset({"max_digits", "decimal_places"})
_EXACT = 2**53  # below it, float has every whole number
_TEXTS: dict[Any, Convert] = {
    datetime: kernels.datetimes,
    date: kernels.dates,
    time: kernels.times,
    UUID: kernels.uuids,
}
_EMPTY = (set, frozenset, list, tuple, dict)
PRESENCE = pa.struct([])
"""Arrow type for attributes of which only the presence matters."""


@dataclass(frozen=True)
class Column:
    """Reads one field from the items of a page.

    Attributes:
        name: Field name.
        attribute: Attribute name.
        wire: The Arrow type of its attribute values.
        type: The Arrow type of the column.
        read: Converts the attribute values of all items, null where absent, to the column.
    """

    name: str
    attribute: str
    wire: Any
    type: Any
    read: Convert


def columns_of(
    model: type[BaseModel], forms: Iterable[FieldForm], *, sees_unknown: bool
) -> list[Column]:
    """Return the columns of a model that Arrow can read without the model.

    Args:
        model: The model.
        forms: The fields wanted.
        sees_unknown: Whether the model receives attributes that are no fields.
    """
    if not has_field_rules_only(model, sees_unknown=sees_unknown):
        return []
    return _columns(model, forms, (model,))


def refuse_present(content: Any, fields: Iterable[Any]) -> None:
    """Refuse structs in which some fields, by name or place, are present."""
    for name in fields:
        check(content.field(name).null_count == len(content))


def _columns(
    model: type[BaseModel], forms: Iterable[FieldForm], open_models: tuple[type, ...]
) -> list[Column]:
    shapes = {shape.name: shape for shape in fields_of(model)}
    found = [_column(model, shapes[given.name], given.form, open_models) for given in forms]
    return [column for column in found if column is not None]


def _column(
    model: type[BaseModel], shape: FieldShape, form: Form, open_models: tuple[type, ...]
) -> Column | None:
    info = model.model_fields[shape.name]
    values = _values(info.annotation, form, open_models, tuple(info.metadata))
    if values is None:
        return None
    read = _with_absent(values.read, _absent(info, shape, form))
    return Column(shape.name, shape.attribute, values.wire, form.type, read)


# ---- attributes that are absent ------------------------------------------------------------------


def _absent(info: Any, shape: FieldShape, form: Form) -> Any:
    """Return the value of an absent attribute as a scalar; None where it must be present."""
    if shape.is_set:
        return _scalar_of(form, set())
    if info.is_required():
        return pa.scalar(None, form.type) if shape.needs_none else None
    if info.validate_default:
        return None
    if info.default_factory is not None:
        return _scalar_of(form, info.default_factory()) if info.default_factory in _EMPTY else None
    return None if info.default is PydanticUndefined else _scalar_of(form, info.default)


def _scalar_of(form: Form, value: Any) -> Any:
    try:
        return form.array([value])[0]
    except (ValueError, TypeError, OverflowError, AttributeError, pa.ArrowException):
        return None


def _with_absent(read: Convert, absent: Any) -> Convert:
    def read_all(given: Any) -> Any:
        if not given.null_count:
            return read(given)
        check(absent is not None)
        present = given.is_valid()
        found = kernels.scatter(read(given.drop_null()), present)
        return pc.if_else(present, found, absent) if absent.is_valid else found

    return read_all


# ---- values --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Values:
    """Reads the attribute values of one annotation.

    Attributes:
        wire: The Arrow type of an attribute value.
        read: Converts attribute values, none of them absent, to a column.
    """

    wire: Any
    read: Convert


def _values(
    annotation: Any, form: Form, open_models: tuple[type, ...], around: tuple[Any, ...] = ()
) -> _Values | None:
    """Return the reader of values of an annotation; None where only the model can read them."""
    peeled = peel(annotation, around)
    if form.is_json or peeled.is_union:
        return None
    member, markers, may_be_null = peeled
    step = epoch_step(markers) if member is datetime else None
    if step is not None:
        return _tagged("N", pa.string(), kernels.epochs(step), may_be_null)
    limited = _limits(member, markers, form)
    values = None if limited is None else _bare(member, form, may_be_null, open_models)
    if values is None or limited is None:
        return None
    inner = values.read

    def read(given: Any) -> Any:
        found = inner(given)
        limited(found)
        return cast(found, form.type)

    return _Values(values.wire, read)


def _bare(
    member: Any, form: Form, may_be_null: bool, open_models: tuple[type, ...]
) -> _Values | None:
    if is_model(member):
        return _record(member, form, may_be_null, open_models)
    if member is timedelta:
        return _tagged("N", pa.string(), kernels.durations, may_be_null)
    tag, kind = scalar_tag(member), origin(member)
    if tag is not None:
        convert = _scalar(tag, member, form)
        content = pa.bool_() if tag == "BOOL" else pa.string()
        return None if convert is None else _tagged(tag, content, convert, may_be_null)
    if kind in SETS:
        return _set(member, form, may_be_null)
    if kind in LISTS:
        return _list(member, form, may_be_null, open_models)
    return None


def _tagged(tag: str, content: Any, convert: Convert, may_be_null: bool) -> _Values:
    fields = [pa.field(tag, content)]
    if may_be_null:
        fields.append(pa.field("NULL", pa.bool_()))

    def read(values: Any) -> Any:
        found = values.field(0)
        if found.null_count:
            check(may_be_null)
            check(found.null_count == len(values) - values.field(1).null_count)
        return convert(found)

    return _Values(pa.struct(fields), read)


def _record(
    model: type[BaseModel], form: Form, may_be_null: bool, open_models: tuple[type, ...]
) -> _Values | None:
    if model in open_models or not has_field_rules_only(model):
        return None
    if form.parts.keys() != model.model_fields.keys():
        return None
    forms = [FieldForm(name, part) for name, part in form.parts.items()]
    columns = _columns(model, forms, (*open_models, model))
    if len(columns) < len(forms):
        return None
    known = [pa.field(column.attribute, column.wire) for column in columns]
    unknown = [pa.field(name, PRESENCE) for name in sorted(unstored_input_names(model))]
    fields = [pa.field(column.name, column.type) for column in columns]

    def read(content: Any) -> Any:
        refuse_present(content, range(len(known), len(known) + len(unknown)))
        arrays = [column.read(content.field(n)) for n, column in enumerate(columns)]
        return pa.StructArray.from_arrays(arrays, fields=fields)

    return _tagged("M", pa.struct(known + unknown), kernels.skip_nulls(read), may_be_null)


def _list(
    member: Any, form: Form, may_be_null: bool, open_models: tuple[type, ...]
) -> _Values | None:
    if not form.parts:
        return None
    inner = _values(typing.get_args(member)[0], form.parts["item"], open_models)
    if inner is None:
        return None
    values_of = inner

    def read(content: Any) -> Any:
        values = content.flatten()
        check(not values.null_count)
        return kernels.list_like(content, values_of.read(values))

    return _tagged("L", pa.list_(inner.wire), kernels.skip_nulls(read), may_be_null)


def _set(member: Any, form: Form, may_be_null: bool) -> _Values | None:
    peeled = peel(typing.get_args(member)[0])
    tag = scalar_tag(peeled.member)
    if tag not in ("S", "N", "B") or peeled.may_be_null or peeled.markers:
        return None
    convert = _scalar(tag, peeled.member, form.parts["item"])
    if convert is None or convert is kernels.number_texts:  # 1 and 1.0 are one number
        return None
    converted = convert

    def read(content: Any) -> Any:
        values = content.flatten()
        check(not values.null_count)
        return kernels.list_like(content, kernels.sorted_within(content, converted(values)))

    return _tagged(f"{tag}S", pa.list_(pa.string()), kernels.skip_nulls(read), may_be_null)


# ---- scalars and limits --------------------------------------------------------------------------


def _scalar(tag: str, member: Any, form: Form) -> Convert | None:
    """Return the kernel for scalars stored with a tag; None where only the model can convert."""
    type_ = form.first
    if form.is_json:
        return None
    if member in (int, float, Decimal):
        return kernels.numbers(member, type_)
    if type_ != form_of(member).type:
        return None
    known = _known_values(member)
    if known is None:
        return kernels.binaries if tag == "B" else _TEXTS.get(member, unchanged)
    if not _are_found_by_value(member):
        return None
    convert = kernels.numbers(int, type_) if tag == "N" else unchanged
    return None if convert is None else kernels.members(convert, known, type_)


def _known_values(member: Any) -> list[Any] | None:
    """Return the values of an enum or a Literal; None for anything else."""
    if origin(member) is typing.Literal:
        return list(typing.get_args(member))
    if is_class(member) and issubclass(member, enum.Enum):
        return [value.value for value in member]
    return None


def _are_found_by_value(member: Any) -> bool:
    """Return whether exactly the values of an enum or a Literal are accepted as its members."""
    if origin(member) is typing.Literal:
        return not any(isinstance(value, enum.Enum) for value in typing.get_args(member))
    return all("_missing_" not in vars(cls) for cls in member.__mro__ if cls is not enum.Enum)


def _limits(member: Any, markers: tuple[Any, ...], form: Form) -> Convert | None:
    """Return the check of the limits markers set; None where only the model can check them."""
    found = limits_of(markers)
    if found is None:
        return None
    if member is Decimal and _DECIMAL_LIMITS & found.keys():
        places = decimal_places(markers)
        if places is None or places[0] == places[1] or form.first != pa.decimal128(*places):
            return None
        found = {k: v for k, v in found.items() if k not in _DECIMAL_LIMITS}
    ordered = [limit for name, limit in found.items() if not name.endswith("length")]
    if ordered and not _are_exact(member, form.first, ordered):
        return None
    return kernels.limits(found, form.first)


def _are_exact(member: Any, type_: Any, limits: list[Any]) -> bool:
    """Return whether comparing the values of a column is comparing those of the model."""
    if member is int:
        return pa.types.is_integer(type_) and all(type(limit) is int for limit in limits)
    if member is not float or type_ != pa.float64():
        return False
    return all(type(n) is float or (type(n) is int and abs(n) < _EXACT) for n in limits)
