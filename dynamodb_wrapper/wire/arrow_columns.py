"""Columns straight from the JSON of a page: how Arrow parses each field, and what kernels do.

A page is parsed with a schema of the wire's own form, a struct of one field per type descriptor.
Reading a column takes these structs off and converts what was inside. A value of another type is
null inside a struct that is there: that, a missing attribute and whatever a kernel refuses is an
`IrregularError`, and the page is read another way.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dynamodb_wrapper.wire import arrow_kernels as kernels
from dynamodb_wrapper.wire import arrow_numbers as numbers
from dynamodb_wrapper.wire.arrow_forms import FieldForm, Form
from dynamodb_wrapper.wire.arrow_kernels import Convert, check
from dynamodb_wrapper.wire.arrow_markers import decides_alone, epoch_step, peel
from dynamodb_wrapper.wire.arrow_plain import cast
from dynamodb_wrapper.wire.arrow_scalars import limits, scalar
from dynamodb_wrapper.wire.observers import lookalikes
from dynamodb_wrapper.wire.shapes import (
    LISTS,
    SETS,
    FieldShape,
    fields_of,
    is_model,
    origin,
)
from dynamodb_wrapper.wire.wrappers import scalar_tag

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY = (set, frozenset, list, tuple, dict)
ANYTHING = pa.struct([])
"""What Arrow parses where only one thing matters: whether an attribute is there."""


@dataclass(frozen=True)
class Values:
    """How attribute values of one annotation are read.

    Attributes:
        wire: What Arrow parses: the type of an attribute value.
        read: Takes attribute values, none of them absent, and returns what is in them.
    """

    wire: Any
    read: Convert


@dataclass(frozen=True)
class Column:
    """How one field is read from the items of a page.

    Attributes:
        name, attribute: The field and what it is stored as.
        wire, type: What Arrow parses, and what is returned.
        read: Takes the attribute of all items, null where it is absent.
    """

    name: str
    attribute: str
    wire: Any
    type: Any
    read: Convert


def refuse(content: Any, fields: Iterable[Any]) -> None:
    """Refuse structs in which some fields, by name or place, are there."""
    for name in fields:
        check(content.field(name).null_count == len(content))


def columns_of(
    model: type[BaseModel], forms: Iterable[FieldForm], *, sees_unknown: bool
) -> list[Column]:
    """Return how the fields of a model are read, as far as Arrow can without the model.

    Args:
        model: The model.
        forms: Its fields that are wanted.
        sees_unknown: Whether it is given attributes that are no fields of its.
    """
    if not decides_alone(model, sees_unknown=sees_unknown):
        return []
    return _columns(model, forms, (model,))


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
    """Return what an absent attribute means, as a scalar; None where it must be there."""
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
        there = given.is_valid()
        found = kernels.spread(read(given.drop_null()), there)
        return pc.if_else(there, found, absent) if absent.is_valid else found

    return read_all


# ---- values --------------------------------------------------------------------------------------


def _values(
    annotation: Any, form: Form, open_models: tuple[type, ...], around: tuple[Any, ...] = ()
) -> Values | None:
    """Return how values of an annotation are read; None where only the model can."""
    peeled = peel(annotation, around)
    if form.is_json or peeled is None:
        return None
    member, markers, may_be_null = peeled
    step = epoch_step(markers) if member is datetime else None
    if step is not None:
        return _tagged("N", pa.string(), numbers.epochs(step), may_be_null)
    limited = limits(member, markers, form)
    values = None if limited is None else _bare(member, form, may_be_null, open_models)
    if values is None or limited is None:
        return None
    inner = values.read

    def read(given: Any) -> Any:
        found = inner(given)
        limited(found)
        return cast(found, form.type)

    return Values(values.wire, read)


def _bare(
    member: Any, form: Form, may_be_null: bool, open_models: tuple[type, ...]
) -> Values | None:
    if is_model(member):
        return _record(member, form, may_be_null, open_models)
    if member is timedelta:
        return _tagged("N", pa.string(), numbers.durations, may_be_null)
    tag, kind = scalar_tag(member), origin(member)
    if tag is not None:
        convert = scalar(tag, member, form)
        content = pa.bool_() if tag == "BOOL" else pa.string()
        return None if convert is None else _tagged(tag, content, convert, may_be_null)
    if kind in SETS:
        return _set(member, form, may_be_null)
    if kind in LISTS:
        return _list(member, form, may_be_null, open_models)
    return None


def _tagged(tag: str, content: Any, convert: Convert, may_be_null: bool) -> Values:
    fields = [pa.field(tag, content)]
    if may_be_null:
        fields.append(pa.field("NULL", pa.bool_()))

    def read(values: Any) -> Any:
        found = values.field(0)
        if found.null_count:
            check(may_be_null)
            check(found.null_count == len(values) - values.field(1).null_count)
        return convert(found)

    return Values(pa.struct(fields), read)


def _record(
    model: type[BaseModel], form: Form, may_be_null: bool, open_models: tuple[type, ...]
) -> Values | None:
    if model in open_models or not decides_alone(model):
        return None
    if form.parts.keys() != model.model_fields.keys():
        return None
    forms = [FieldForm(name, part) for name, part in form.parts.items()]
    columns = _columns(model, forms, (*open_models, model))
    if len(columns) < len(forms):
        return None
    known = [pa.field(column.attribute, column.wire) for column in columns]
    unknown = [pa.field(name, ANYTHING) for name in sorted(lookalikes(model))]
    fields = [pa.field(column.name, column.type) for column in columns]

    def read(content: Any) -> Any:
        refuse(content, range(len(known), len(known) + len(unknown)))
        arrays = [column.read(content.field(n)) for n, column in enumerate(columns)]
        return pa.StructArray.from_arrays(arrays, fields=fields)

    return _tagged("M", pa.struct(known + unknown), kernels.dense(read), may_be_null)


def _list(
    member: Any, form: Form, may_be_null: bool, open_models: tuple[type, ...]
) -> Values | None:
    if not form.parts:
        return None
    inner = _values(typing.get_args(member)[0], form.parts["item"], open_models)
    if inner is None:
        return None
    found = inner

    def read(content: Any) -> Any:
        values = content.flatten()
        check(not values.null_count)
        return kernels.listed(content, found.read(values))

    return _tagged("L", pa.list_(inner.wire), kernels.dense(read), may_be_null)


def _set(member: Any, form: Form, may_be_null: bool) -> Values | None:
    peeled = peel(typing.get_args(member)[0])
    tag = None if peeled is None else scalar_tag(peeled.member)
    if peeled is None or tag not in ("S", "N", "B") or peeled.may_be_null or peeled.markers:
        return None
    convert = scalar(tag, peeled.member, form.parts["item"])
    if convert is None or convert is numbers.number_texts:  # 1 and 1.0 are one number
        return None
    made = convert

    def read(content: Any) -> Any:
        values = content.flatten()
        check(not values.null_count)
        return kernels.listed(content, kernels.sorted_within(content, made(values)))

    return _tagged(f"{tag}S", pa.list_(pa.string()), kernels.dense(read), may_be_null)
