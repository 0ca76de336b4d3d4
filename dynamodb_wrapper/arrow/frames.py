"""Results as Arrow tables, pandas and polars frames, and rows of such frames as models.

pyarrow, pandas and polars are imported when they are used; importing this module needs none.
"""

from __future__ import annotations

import json
import math
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
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
    is_record,
    keys_by_text,
    needs_members,
    origin,
    reader_of,
    record_hints,
    strip,
)
from dynamodb_wrapper.serialization.decoder import stored_items
from dynamodb_wrapper.serialization.problems import Mismatch, clean_errors
from dynamodb_wrapper.serialization.values import encode_value, python_value

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.arrow.reader import ArrowPage
    from dynamodb_wrapper.arrow.schema import Form
    from dynamodb_wrapper.serialization.decoder import DecodedPage, ItemReader
    from dynamodb_wrapper.serialization.json_body import Reply

T = TypeVar("T")
_NANOSECONDS = "it has nanoseconds, and microseconds are stored; round it first"


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
        """Return batches as one table; extra attributes are columns where any batch has them."""
        import pyarrow

        if self._reader.adds_extra:
            from dynamodb_wrapper.arrow.rows import widened

            return widened(batches, self._reader.schema)
        return pyarrow.Table.from_batches(batches, self._reader.schema)


def to_pandas(table: Any, options: dict[str, Any]) -> Any:
    """Return an Arrow table as a pandas DataFrame.

    Raises:
        ValidationError: pyarrow does not take the options.
    """
    require("pandas", "pandas")
    if not options:
        return table.to_pandas()
    try:
        return table.to_pandas(**options)
    except (TypeError, ValueError) as error:
        names = ", ".join(options)
        raise ValidationError(f"pyarrow refused to_pandas with {names}: {error}") from error


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
    from dynamodb_wrapper.arrow.schema import extra_form, forms_of, keeps_extra

    forms = {given.name: given.form for given in forms_of(model)}
    columns = _columns(frame)
    unknown = [name for name in columns if name not in forms]
    if keeps_extra(model):
        forms.update((name, extra_form(name).form) for name in unknown)
    elif unknown:
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

    In the place of a value that would lose nanoseconds there is the error to raise.

    Raises:
        ValidationError: It has no columns, or two of one name.
    """
    if hasattr(frame, "isna") and hasattr(frame, "columns"):  # pandas
        columns = [(str(name), _of_pandas(column)) for name, column in frame.items()]
    elif hasattr(frame, "schema") and hasattr(frame, "get_column"):  # polars
        columns = [(name, _of_polars(frame.get_column(name))) for name in frame.columns]
    elif hasattr(frame, "schema") and hasattr(frame, "column"):
        names = frame.schema.names
        columns = [(name, _of_arrow(frame.column(place))) for place, name in enumerate(names)]
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


def _of_arrow(column: Any) -> list[Any]:
    import pyarrow

    micros = _in_micros(column.type)
    if micros == column.type:
        return cast("list[Any]", column.to_pylist())
    try:
        return cast("list[Any]", column.cast(micros).to_pylist())
    except pyarrow.ArrowInvalid:
        pass  # in which rows?
    values: list[Any] = []
    for place in range(len(column)):
        try:
            values += column.take(pyarrow.array([place])).cast(micros).to_pylist()
        except pyarrow.ArrowInvalid:
            values.append(_UnfitError(_NANOSECONDS))
    return values


def _in_micros(type_: Any) -> Any:
    """Return an Arrow type with microseconds in the place of nanoseconds."""
    import pyarrow as pa

    if getattr(type_, "unit", None) == "ns":
        if pa.types.is_timestamp(type_):
            return pa.timestamp("us", type_.tz)
        return pa.duration("us") if pa.types.is_duration(type_) else pa.time64("us")
    if pa.types.is_struct(type_):
        fields = [type_.field(place) for place in range(type_.num_fields)]
        return pa.struct([field.with_type(_in_micros(field.type)) for field in fields])
    if pa.types.is_map(type_):
        return pa.map_(_in_micros(type_.key_type), _in_micros(type_.item_type))
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        made = pa.list_ if pa.types.is_list(type_) else pa.large_list
        return made(type_.value_field.with_type(_in_micros(type_.value_type)))
    if pa.types.is_dictionary(type_) and _in_micros(type_.value_type) != type_.value_type:
        return _in_micros(type_.value_type)
    return type_


def _of_polars(column: Any) -> list[Any]:
    kind = str(column.dtype)
    # polars drops nanoseconds, and gives maps as dicts, which are a user's in pandas
    if any(mark in kind for mark in ("'ns'", "Time", "Map")):
        return _of_arrow(column.to_arrow())
    return cast("list[Any]", column.to_list())


def _of_pandas(column: Any) -> list[Any]:
    if hasattr(column.dtype, "pyarrow_dtype") and "[ns" in str(column.dtype):
        return _of_arrow(column.array.__arrow_array__())
    missing = column.isna().tolist()
    return [None if gone else _of_cell(v) for gone, v in zip(missing, column.tolist())]


def _of_cell(value: Any) -> Any:
    try:
        return _native(value)
    except ValidationError:
        return _UnfitError(_NANOSECONDS)


def _native(value: Any) -> Any:
    """Return a value without numpy arrays, in which pandas holds lists, and with None for NaN."""
    value = python_value(value, "")
    if hasattr(value, "tolist"):  # an array
        has_times = value.dtype.kind in "mM"  # of which tolist makes numbers
        return [_native(inner) for inner in (value if has_times else value.tolist())]
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
        if name not in shapes:
            extra = _checked(Any, name, forms[name], value, number)
            given.update({} if extra is None else {name: extra})
            continue
        annotation = model.model_fields[name].annotation
        checked = _checked(annotation, name, forms[name], value, number)
        if checked is not None or admits_none(annotation):
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


def _checked(annotation: Any, name: str, form: Form, value: Any, number: int) -> Any:
    try:
        if isinstance(value, _UnfitError):
            raise value
        return None if value is None else _to_input(annotation, form, value)
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
    if form.is_read_from_json:
        from dynamodb_wrapper.arrow.schema import json_text

        return value if form.is_json and isinstance(value, str) else json_text(value)
    if form.is_json:
        return _as_stored(annotation, _from_json(value)) if isinstance(value, str) else value
    member = strip(peel(annotation).member)
    args = typing.get_args(member)
    if needs_members(member):
        return _as_stored(annotation, value)
    if is_model(member) and isinstance(value, dict):
        return _struct(member, form, value)
    if is_record(member) and isinstance(value, dict):
        return _record(member, form, value)
    if origin(member) in MAPS and len(args) > 1:
        return _map(args, form, value)
    if origin(member) in (*LISTS, *SETS) and form.parts and isinstance(value, list):
        inner = form.parts["item"]
        return [None if v is None else _to_input(args[0], inner, v) for v in value]
    return value


def _as_stored(annotation: Any, value: Any) -> Any:
    """Return a value as reading gives it to the model, such as the member of an enum."""
    try:
        return _reader_for(annotation)(encode_value(value, "it"))
    except ValidationError as error:
        raise _UnfitError(f"it cannot be stored: {error.message}") from error


def _map(args: tuple[Any, ...], form: Form, value: Any) -> Any:
    """Return a map as input; a dict is the user's own, not one that reading made.

    A column of structs has every key in every row: null, where the values of the map are never
    None, is a key that the row does not have.
    """
    keys, inner = keys_by_text(args[0]), form.parts.get("item")
    if isinstance(value, Mapping) or inner is None:
        may_be_none = admits_none(args[1])
        entries = dict(value).items()
        return {keys.get(k, k): v for k, v in entries if may_be_none or v is not None}
    return {
        keys.get(key, key): None if v is None else _to_input(args[1], inner, v)
        for key, v in map(_pair, value)
    }


def _reader_for(annotation: Any) -> Callable[[Any], Any]:
    try:
        return _cached_reader(annotation)
    except TypeError:  # unhashable metadata
        return reader_of(annotation)


@lru_cache(maxsize=1024)
def _cached_reader(annotation: Any) -> Callable[[Any], Any]:
    return reader_of(annotation)


def _exact(text: str) -> float | Decimal:
    """Return a number with a fraction or exponent; a Decimal where a float would change it."""
    number, nearest = Decimal(text), float(text)
    is_same = math.isfinite(nearest) and Decimal(repr(nearest)) == number
    return nearest if is_same else number


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_exact)
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


def _record(member: Any, form: Form, value: dict[str, Any]) -> Any:
    """Return a struct as input for a dataclass, TypedDict or NamedTuple."""
    hints, is_tuple = record_hints(member), hasattr(origin(member), "_fields")
    given = {}
    for name, content in value.items():
        inner = content
        if inner is not None and name in form.parts:
            inner = _to_input(hints[name], form.parts[name], inner)
        if inner is not None or is_tuple or admits_none(hints.get(name, Any)):
            given[name] = inner
    return list(given.values()) if is_tuple else given


def _pair(entry: Any) -> tuple[Any, Any]:
    """Return an entry of a map: polars has no maps, but lists of structs."""
    return (entry["key"], entry["value"]) if isinstance(entry, dict) else tuple(entry)
