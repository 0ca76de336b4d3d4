"""Build rows through the models: slower than the kernels, and naming values that do not fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Generic

import pyarrow as pa
from pydantic import BaseModel, create_model

from dynamodb_wrapper.arrow.schema import extra_form
from dynamodb_wrapper.exceptions.errors import IncompatibleItemError, ValidationError
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.annotations import FieldShape, fields_of
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.json_body import unreadable
from dynamodb_wrapper.serialization.problems import Mismatch, Quarantined
from dynamodb_wrapper.serialization.values import (
    has_passed,
    identity,
    is_item,
    key_in,
    seconds_now,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dynamodb_wrapper.arrow.schema import FieldForm
    from dynamodb_wrapper.serialization.values import Item

logger = logging.getLogger(__name__)
UNFIT = (ValueError, TypeError, OverflowError, ArithmeticError, pa.ArrowException)
"""Errors of pyarrow and of conversions for a value that does not fit a column."""


@dataclass(frozen=True)
class _Problem:
    """Why an item has no row.

    Attributes:
        field: The field to blame; None where it is none in particular.
        place: The field with the path inside it.
        text: What is wrong.
    """

    field: str | None
    place: str
    text: str


class Rows(Generic[ModelT]):
    """Builds batches of models and of stored items.

    Args:
        codec: Reads the models.
        table_name: The table as DynamoDB knows it.
        forms: The columns.
        schema: The same for Arrow.
        mismatch: What becomes of an item that does not fit.
        adds_extra: Whether the extra attributes of the models become columns as well.
    """

    def __init__(
        self,
        codec: Codec[ModelT],
        table_name: str,
        forms: Sequence[FieldForm],
        schema: Any,
        mismatch: Mismatch,
        *,
        adds_extra: bool = False,
    ) -> None:
        self._codec = codec
        self._table_name = table_name
        self._forms = forms
        self._schema = schema
        self._mismatch = mismatch
        self._adds_extra = adds_extra
        self._wanted = {column.name for column in forms}
        self._shapes = {shape.name: shape for shape in fields_of(codec.model)}
        self._ttl = codec.ttl
        self._notes_keys = codec.model is codec.table.model and codec.keys.may_be_respelt

    def of_models(self, models: Sequence[ModelT]) -> Any:
        """Return a batch of models; raises one of `UNFIT` where a value does not fit."""
        self._warn_of_keys(models)
        arrays = self.arrays(models, self._wanted)
        batch = pa.RecordBatch.from_arrays(
            [arrays[name] for name in self._schema.names], schema=self._schema
        )
        return self._with_extra(batch, [_extra_of(model) for model in models])

    def _warn_of_keys(self, models: Iterable[BaseModel]) -> None:
        """Warn once of items whose key another program spelt: their columns have its value only."""
        if not self._notes_keys:
            return
        for model in models:
            if self._codec.keys.is_respelt(model):
                self._notes_keys = False
                logger.warning(
                    "Table %r has keys in another form than this library writes, such as that of "
                    "%s. Their columns hold the values alone: writing the rows back would store "
                    "new items beside these. Read them as objects to change them.",
                    self._table_name,
                    {n: getattr(model, n) for n in self._codec.table.key_fields},
                )
                return

    def arrays(self, models: Sequence[BaseModel], names: AbstractSet[str]) -> dict[str, Any]:
        """Return some of the columns; as `of_models`."""
        return {
            column.name: column.form.array([_value_of(model, column.name) for model in models])
            for column in self._forms
            if column.name in names
        }

    def of_items(
        self, items: Sequence[Item], keep: Callable[[Any], bool] | None = None
    ) -> tuple[Any, list[Quarantined]]:
        """Return a batch of stored items, and the values that do not fit with ``quarantine``.

        Raises:
            IncompatibleItemError: An item does not fit, with ``raise``.
        """
        rows: list[list[Any]] = []
        extras: list[dict[str, Any]] = []
        quarantined: list[Quarantined] = []
        now = seconds_now()
        for item in items:
            if not is_item(item):
                raise unreadable("an item is not of DynamoDB's form")
            if self._ttl is not None and has_passed(item.get(self._ttl, {}).get("N"), now):
                continue
            problems: list[_Problem] = []
            row = self._row(item, keep, problems)
            if row is not None:
                rows.append(row[:-1])
                extras.append(row[-1])
            elif problems:
                key = self._codec.key_of(item)
                quarantined += [Quarantined(key, p.place, p.text) for p in problems]
        columns = list(zip(*rows)) if rows else [()] * len(self._forms)
        return self._with_extra(self._batch(columns), extras), quarantined

    def _with_extra(self, batch: Any, extras: Sequence[dict[str, Any]]) -> Any:
        """Return a batch with a column for each extra attribute of its rows."""
        names = sorted({name for extra in extras for name in extra}) if self._adds_extra else []
        if not names:
            return batch
        twice = [name for name in names if name in self._schema.names]
        if twice:
            raise ValidationError(
                f"Items of table {self._table_name!r} have the extra attributes "
                f"{', '.join(map(repr, twice))}, which are also names of fields that are stored "
                "under an alias. Choose the columns with schema=."
            )
        arrays = [extra_form(n).form.array([extra.get(n) for extra in extras]) for n in names]
        schema = pa.schema([*self._schema, *[(name, pa.string()) for name in names]])
        return pa.RecordBatch.from_arrays([*batch.columns, *arrays], schema=schema)

    def _batch(self, columns: Sequence[Sequence[Any]]) -> Any:
        arrays = [column.form.array(values) for column, values in zip(self._forms, columns)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _row(
        self, item: Item, keep: Callable[[Any], bool] | None, problems: list[_Problem]
    ) -> list[Any] | None:
        """Return the values of a row and, last, its extra attributes.

        None for an item left out, with or without new problems.
        """
        blamed: set[str] = set()
        while True:
            model, found = self._model(item, frozenset(blamed))
            if model is not None:
                if keep is not None and not keep(model):
                    return None
                if self._notes_keys:
                    stored = key_in(item, self._codec.keys.names)
                    self._codec.keys.note_read(model, identity(stored))
                    self._warn_of_keys([model])
                row = [self._value(model, c, item, blamed, found) for c in self._forms]
                if not found:
                    return [*row, _extra_of(model)]
            new = {problem.field for problem in found if problem.field is not None}
            relevant = [p for p in found if p.field is None or p.field in self._wanted]
            if relevant and self._mismatch == "quarantine":
                problems += relevant
                return None
            if (self._mismatch == "raise" and relevant) or not new - blamed:
                raise self._error(item, found)
            blamed |= new

    def _model(self, item: Item, blamed: frozenset[str]) -> tuple[BaseModel | None, list[_Problem]]:
        """Return the model of an item without the fields to blame, or its problems."""
        codec: Codec[Any] = self._codec
        if blamed:
            codec = Codec(codec.table, _without(self._codec.model, blamed))
            attributes = {self._attribute(name) for name in blamed}
            item = {name: value for name, value in item.items() if name not in attributes}
        try:
            return codec.decode(item), []
        except IncompatibleItemError as error:
            return None, [self._problem(item, problem) for problem in error.errors()]

    def _problem(self, item: Item, problem: Mapping[str, Any]) -> _Problem:
        place = tuple(problem["loc"])
        shape = self._shape_of(place[0]) if place else None
        if shape is None:
            return _Problem(None, ".".join(map(str, place)), str(problem["msg"]))
        steps = (shape.name, *place[1:])
        text = f"{_stored(item, shape.attribute)}; {problem['msg']}"
        return _Problem(shape.name, ".".join(map(str, steps)), text)

    def _attribute(self, name: str) -> str:
        shape = self._shapes.get(name)
        return name if shape is None else shape.attribute

    def _shape_of(self, name: Any) -> FieldShape | None:
        for shape in self._shapes.values():
            if name in (shape.name, shape.input_key):
                return shape
        return None

    def _value(
        self,
        model: BaseModel,
        column: FieldForm,
        item: Item,
        blamed: set[str],
        problems: list[_Problem],
    ) -> Any:
        """Return a value of a row; one that does not fit its column is a problem."""
        value = None if column.name in blamed else _value_of(model, column.name)
        try:
            column.form.array([value])
        except UNFIT:
            stored = _stored(item, self._attribute(column.name))
            text = f"{stored}; it cannot be a {column.form.type}"
            problems.append(_Problem(column.name, column.name, text))
        return value

    def _error(self, item: Item, problems: Sequence[_Problem]) -> IncompatibleItemError:
        key = self._codec.key_of(item)
        types = {column.name: column.form.type for column in self._forms}
        described = [
            f"column {p.place!r} ({types[p.field]}): {p.text}"
            if p.field in types
            else f"the model: {p.place or 'as a whole'}: {p.text}"
            for p in problems
        ]
        return IncompatibleItemError(
            f"The item {key} of table {self._table_name!r} does not fit {'; '.join(described)}. "
            'Read with mismatch="null" or "quarantine" to go on without it.',
            table_name=self._table_name,
            key=key,
            errors=[
                {"loc": tuple(p.place.split(".")), "msg": p.text, "type": "column"}
                for p in problems
            ],
        )


def widened(batches: Iterable[Any], schema: Any) -> Any:
    """Return batches as one table with the columns of all of them, null where a batch lacks one."""
    found = list(batches)
    more = {name for batch in found for name in batch.schema.names} - set(schema.names)
    whole = pa.schema([*schema, *[(name, pa.string()) for name in sorted(more)]])
    same = [
        pa.RecordBatch.from_arrays(
            [
                batch.column(batch.schema.get_field_index(column.name))
                if column.name in batch.schema.names
                else pa.nulls(batch.num_rows, column.type)
                for column in whole
            ],
            schema=whole,
        )
        for batch in found
    ]
    return pa.Table.from_batches(same, whole)


def _extra_of(model: BaseModel) -> dict[str, Any]:
    return getattr(model, "__pydantic_extra__", None) or {}


def _value_of(model: BaseModel, name: str) -> Any:
    """Return the value of a field, or of an extra attribute; None where it is absent."""
    return getattr(model, name) if name in type(model).model_fields else _extra_of(model).get(name)


def _stored(item: Item, attribute: str) -> str:
    value = item.get(attribute)
    return "it is not stored" if value is None else f"it is stored as {next(iter(value))}"


@lru_cache(maxsize=256)
def _without(model: type[BaseModel], names: frozenset[str]) -> type[BaseModel]:
    """Return a model that accepts any value in some fields."""
    fields: dict[str, Any] = dict.fromkeys(names, (Any, None))
    return create_model(model.__name__, __base__=model, **fields)
