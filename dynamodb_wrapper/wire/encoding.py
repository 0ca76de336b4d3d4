"""Models to stored items by functions made once per model.

They write what annotations lead one to expect, and what pydantic's serialization would leave as it
is. Anything else raises, and the item is written again the general way, which says what is wrong
or finds that nothing is.
"""

from __future__ import annotations

import typing
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from pydantic import BaseModel, RootModel

from dynamodb_wrapper.models import utc_text
from dynamodb_wrapper.wire.builds import per_build
from dynamodb_wrapper.wire.shapes import fields_of
from dynamodb_wrapper.wire.writers import (
    IN_PLACE,
    WHOLE_LIMIT,
    UnexpectedError,
    Write,
    decimal_text,
    leaves_alone,
    list_of,
    map_of,
    optional,
    refuse,
    writer_of,
)

if TYPE_CHECKING:
    from dynamodb_wrapper.wire.attributes import AttributeValue, Item


class _Field(NamedTuple):
    name: str
    attribute: str
    write: Write
    omits_none: bool
    is_set: bool


@per_build
def writer(model: type[BaseModel]) -> Callable[[BaseModel], Item] | None:
    """Return what writes the fields of a model; None where only the general way can.

    The function raises where a value is for the general way.
    """
    if issubclass(model, RootModel) or _serializes_itself(model):
        return None
    return _Maker(model).make()


class _Maker:
    """Writes the code for one model: calls for every value would cost more than the work.

    Of names that come from outside nothing but their repr stands in it.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._known: dict[str, Any] = {
            "model": model,
            "UnexpectedError": UnexpectedError,
            "limit": WHOLE_LIMIT,
            "are_plain": _are_plain,
            "Decimal": Decimal,
            "decimal_text": decimal_text,
            "datetime": datetime,
            "utc_text": utc_text,
        }

    def make(self) -> Callable[[BaseModel], Item]:
        code = compile("\n".join(self._lines()), f"<writer of {self._model.__name__}>", "exec")
        exec(code, self._known)
        made: Callable[[BaseModel], Item] = self._known["write"]
        return made

    def _lines(self) -> typing.Iterator[str]:
        fields = tuple(_fields(self._model))
        yield "def write(item):"
        yield "    if type(item) is not model or item.__pydantic_extra__: raise UnexpectedError"
        yield "    values = item.__dict__"
        yield "    stored = {"
        for field in fields:
            if not (field.omits_none or field.is_set):
                value = self._written(field.write, "value", f"(value := values[{field.name!r}])")
                yield f"        {field.attribute!r}: {value},"
        yield "    }"
        for field in fields:
            if field.omits_none or field.is_set:
                is_said = "value or type(value) not in (set, frozenset)"
                write = _of_one(field.write) if field.omits_none else field.write
                yield f"    value = values[{field.name!r}]"
                yield f"    if {is_said if field.is_set else 'value is not None'}:"
                yield f"        stored[{field.attribute!r}] = {self._written(write, 'value')}"
        yield "    return stored"

    def _written(self, write: Write, value: str, first: str | None = None, depth: int = 0) -> str:
        """Return the expression of an attribute value.

        Args:
            write: What makes it otherwise.
            value: The name of the value.
            first: What stands for the value where it is evaluated first.
            depth: How many comprehensions it stands in.
        """
        first, inner, otherwise = first or value, f"value_{depth}", f"{self._name(write)}({value})"
        if write in IN_PLACE:
            kind, made = (text.format(value=value) for text in IN_PLACE[write])
            return f"({made} if type({first}) is {kind} else {otherwise})"
        what, args = (write.func, write.args) if isinstance(write, partial) else (None, ())
        if what is optional:
            given = self._written(args[0], value, None, depth)
            return f"({{'NULL': True}} if {first} is None else {given})"
        if what is list_of:
            each = self._written(args[1], inner, None, depth + 1)
            listed = f"{{'L': [{each} for {inner} in {value}]}}"
            return f"({listed} if type({first}) is {args[0].__name__} else {otherwise})"
        if what is map_of:
            each = self._written(args[0], inner, None, depth + 1)
            named = f"{{'M': {{key: {each} for key, {inner} in {value}.items()}}}}"
            return f"({named} if type({first}) is dict and are_plain({value}) else {otherwise})"
        return f"{self._name(write)}({first})"

    def _name(self, write: Write) -> str:
        """Return the name a write has in the code."""
        for name, known in self._known.items():
            if known is write:
                return name
        name = f"write_{len(self._known)}"
        self._known[name] = write
        return name


def _of_one(write: Write) -> Write:
    """Return what writes a value that is not None."""
    inner: Write = write
    if isinstance(write, partial) and write.func is optional:
        inner = write.args[0]
    return inner


def _are_plain(names: Any) -> bool:
    """Tell whether keys of a map are texts that surely can be stored."""
    return all(type(name) is str and name.isascii() for name in names)


def _fields(model: type[BaseModel]) -> typing.Iterator[_Field]:
    for shape in fields_of(model):
        info = model.model_fields[shape.name]
        write: Write = refuse
        is_always_stored = not (info.exclude or getattr(info, "exclude_if", None))
        if is_always_stored and all(map(leaves_alone, info.metadata)):
            write = writer_of(info.annotation, _nested)
        yield _Field(shape.name, shape.attribute, write, shape.omits_none, shape.is_set)


def _serializes_itself(model: type[BaseModel]) -> bool:
    own = model.__pydantic_decorators__
    users = [cls for cls in model.__mro__ if not cls.__module__.startswith("pydantic.")]
    hooks = ("__get_pydantic_core_schema__", "model_dump")
    return bool(own.field_serializers or own.model_serializers) or any(
        name in vars(cls) for cls in users for name in hooks
    )


def _nested(model: type[BaseModel]) -> Write:
    return partial(_write_nested, model)


def _write_nested(model: type[BaseModel], value: Any) -> AttributeValue:
    write = writer(model)  # made when it is needed: a model may hold itself
    if write is None:
        raise UnexpectedError
    return {"M": write(value)}
