"""Results as Arrow tables, pandas and polars frames, and rows of such frames as models.

pyarrow, pandas and polars are imported when they are used; importing this module needs none.
"""

from __future__ import annotations

import json
import math
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import pydantic

from dynamodb_wrapper.exceptions.errors import MissingDependencyError, ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.fields import peel
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    MAPS,
    SETS,
    admits_none,
    fields_of,
    is_model,
    origin,
)
from dynamodb_wrapper.serialization.decoder import stored_items
from dynamodb_wrapper.serialization.problems import Mismatch, clean_errors

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.arrow.reader import ArrowPage
    from dynamodb_wrapper.arrow.schema import Form
    from dynamodb_wrapper.serialization.decoder import DecodedPage, ItemReader
    from dynamodb_wrapper.serialization.json_body import Reply

T = TypeVar("T")


class ColumnReader(Generic[ModelT]):
    """Reads the pages of one result as record batches.

    Args:
        reader: Reads the models.
        table_name: The table as DynamoDB knows it.
        schema: The columns wanted; None for all.
        mismatch: What becomes of an item that does not fit.
        whole: Whether the items of a page are read from the table before they become rows.
        keep: Leaves out items by their models; None keeps all.

    Attributes:
        read: Reads replies: as record batches, or as stored items where these are needed.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        ValidationError: Unknown column or mismatch.
    """

    def __init__(
        self,
        reader: ItemReader[ModelT],
        table_name: str,
        schema: Any,
        mismatch: Mismatch,
        *,
        whole: bool = False,
        keep: Callable[[Any], bool] | None = None,
    ) -> None:
        known = typing.get_args(Mismatch)
        if not isinstance(mismatch, str) or mismatch not in known:
            raise ValidationError(
                f"mismatch is {arguments.shown(mismatch)}; it is one of {', '.join(known)}."
            )
        require_pyarrow()
        import pyarrow

        from dynamodb_wrapper.arrow.reader import ArrowReader

        if schema is not None and not isinstance(schema, pyarrow.Schema):
            raise ValidationError(f"schema is {arguments.shown(schema)}; it is a pyarrow.Schema.")
        key = (ArrowReader, table_name, schema, mismatch)
        if key not in reader.column_readers:
            reader.column_readers[key] = ArrowReader(reader, table_name, schema, mismatch)
        self._reader: ArrowReader[ModelT] = reader.column_readers[key]
        self._keep = keep
        self._needs_items = whole or keep is not None
        self.read: Callable[[Reply], DecodedPage[Any]] = self._reader.page
        if self._needs_items:
            self.read = stored_items

    def page(self, found: list[Any]) -> ArrowPage:
        """Return what `read` found on one page as a batch."""
        if self._needs_items:
            return self._reader.items(found, self._keep)
        page: ArrowPage = found[0]
        return page

    def table(self, batches: Iterator[Any]) -> Any:
        """Return batches as one table."""
        import pyarrow

        return pyarrow.Table.from_batches(batches, self._reader.schema)


def to_pandas(table: Any, options: dict[str, Any]) -> Any:
    """Return an Arrow table as a pandas DataFrame."""
    require("pandas", "pandas")
    return table.to_pandas(**options)


def to_polars(table: Any) -> Any:
    """Return an Arrow table as a polars DataFrame."""
    return require("polars", "polars").from_arrow(table)


def require_pyarrow() -> None:
    """Make sure that pyarrow can be imported.

    Raises:
        MissingDependencyError: It cannot; the message names the command that installs it.
    """
    require("pyarrow", "'dynamodb-wrapper[arrow]'")


def require(package: str, installs: str) -> Any:
    """Import an optional package.

    Raises:
        MissingDependencyError: It cannot be imported; the command that installs it is named.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs {package}, which cannot be imported ({error}): pip install {installs}."
        ) from error


class Frame(Protocol):
    """A table of one of the libraries: pyarrow, pandas and polars all have this method."""

    def __dataframe__(self, nan_as_null: bool = ..., allow_copy: bool = ...) -> Any: ...


def is_frame(items: Any) -> bool:
    """Return whether something is a table of pyarrow, pandas or polars, not models."""
    marks = ("__dataframe__", "__arrow_c_stream__", "__arrow_c_array__")
    kind = type(items)
    return kind.__module__.startswith("pyarrow.") or any(hasattr(kind, mark) for mark in marks)


def map_items(
    items: Iterable[ModelT] | Frame,
    model: type[ModelT],
    convert: Callable[[ModelT], T],
) -> Iterator[T]:
    """Convert models, or those of the rows of a table, one after the other.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        ValidationError: A column is no field or there twice, or a row is no item; row, from 0,
            and column are named.
    """
    if is_frame(items):
        return _map_rows(items, model, convert)
    return map(convert, cast("Iterable[ModelT]", items))


def _map_rows(frame: Any, model: type[ModelT], convert: Callable[[ModelT], T]) -> Iterator[T]:
    require_pyarrow()
    from dynamodb_wrapper.arrow.schema import forms_of

    forms = {given.name: given.form for given in forms_of(model)}
    columns = _columns(frame)
    unknown = [name for name in columns if name not in forms]
    if unknown:
        raise ValidationError(
            f"{model.__name__} has no field {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(forms)}. Drop or rename the columns. Nothing was written."
        )
    for number, values in enumerate(zip(*columns.values())):
        item = _item(model, forms, dict(zip(columns, values)), number)
        try:
            converted = convert(item)
        except ValidationError as error:
            error.message = f"Row {number}: {error.message} Nothing was written."
            raise
        yield converted


def _columns(frame: Any) -> dict[str, list[Any]]:
    """Return the values of each column as Python's own, None for null.

    Raises:
        ValidationError: It has no columns, or two of one name.
    """
    if hasattr(frame, "isna") and hasattr(frame, "columns"):  # pandas
        columns = [(str(name), _of_pandas(column)) for name, column in frame.items()]
    elif hasattr(frame, "schema") and hasattr(frame, "get_column"):  # polars
        columns = [(name, frame.get_column(name).to_list()) for name in frame.columns]
    elif hasattr(frame, "schema") and hasattr(frame, "column"):
        names = frame.schema.names
        columns = [(name, frame.column(place).to_pylist()) for place, name in enumerate(names)]
    else:
        raise ValidationError(
            f"A {type(frame).__name__} has no columns; give a pyarrow Table or RecordBatch, or a "
            "pandas or polars DataFrame. Nothing was written."
        )
    twice = [name for name, count in Counter(name for name, _ in columns).items() if count > 1]
    if twice:
        raise ValidationError(
            f"The table has several columns {', '.join(map(repr, twice))}. Drop or rename all "
            "but one. Nothing was written."
        )
    return dict(columns)


def _of_pandas(column: Any) -> list[Any]:
    missing = column.isna().tolist()
    return [None if gone else _native(v) for gone, v in zip(missing, column.tolist())]


def _native(value: Any) -> Any:
    """Return a value without numpy arrays, in which pandas holds lists, and with None for NaN."""
    if hasattr(value, "tolist"):
        return _native(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {name: _native(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_native(inner) for inner in value]
    return value


class _UnfitError(ValueError):
    """A value does not fit its column."""


def _item(
    model: type[ModelT], forms: Mapping[str, Form], values: dict[str, Any], number: int
) -> ModelT:
    given: dict[str, Any] = {}
    shapes = {shape.name: shape for shape in fields_of(model)}
    for name, value in values.items():
        checked = _checked(model, name, forms[name], value, number)
        if checked is not None or admits_none(model.model_fields[name].annotation):
            given[shapes[name].input_key] = checked
    try:
        return model.model_validate(given, strict=False)
    except pydantic.ValidationError as error:
        names = {shape.input_key: shape.name for shape in shapes.values()}
        problems = [
            (tuple(names.get(str(step), step) for step in p["loc"][:1]) + p["loc"][1:], p["msg"])
            for p in clean_errors(error)
        ]
        raise _refusal(number, problems) from error


def _checked(model: type[BaseModel], name: str, form: Form, value: Any, number: int) -> Any:
    try:
        return (
            None if value is None else _to_input(model.model_fields[name].annotation, form, value)
        )
    except _UnfitError as error:
        raise _refusal(number, [((name,), str(error))]) from error


def _refusal(number: int, problems: list[tuple[tuple[Any, ...], str]]) -> ValidationError:
    described = "; ".join(
        f"column {'.'.join(map(str, place))!r}: {text}" for place, text in problems
    )
    return ValidationError(
        f"Row {number}, {described}. Nothing was written.",
        errors=[{"loc": (number, *place), "msg": m, "type": "row"} for place, m in problems],
    )


def _to_input(annotation: Any, form: Form, value: Any) -> Any:
    """Return a value of a column as input for the model."""
    if form.is_json:
        return _from_json(value) if isinstance(value, str) else value
    if hasattr(value, "to_pydatetime"):
        if value.nanosecond:
            raise _UnfitError("it has nanoseconds, and microseconds are stored")
        return value.to_pydatetime()
    member = peel(annotation).member
    args = typing.get_args(member)
    if is_model(member) and isinstance(value, dict):
        return _struct(member, form, value)
    if origin(member) in MAPS and len(args) > 1 and not isinstance(value, Mapping):
        return dict(map(_pair, value))
    if origin(member) in (*LISTS, *SETS) and form.parts and isinstance(value, list):
        inner = form.parts["item"]
        return [None if v is None else _to_input(args[0], inner, v) for v in value]
    return value


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _UnfitError("it is no JSON text, which this column holds") from error


def _struct(model: type[BaseModel], form: Form, value: dict[str, Any]) -> dict[str, Any]:
    fields = model.model_fields
    keys = {shape.name: shape.input_key for shape in fields_of(model)}
    given = {}
    for name, content in value.items():
        inner = content
        if inner is not None and name in form.parts:
            inner = _to_input(fields[name].annotation, form.parts[name], inner)
        if inner is not None or name not in keys or admits_none(fields[name].annotation):
            given[keys.get(name, name)] = inner
    return given


def _pair(entry: Any) -> tuple[Any, Any]:
    """Return an entry of a map: polars has no maps, but lists of structs."""
    return (entry["key"], entry["value"]) if isinstance(entry, dict) else tuple(entry)
