"""Encode models as stored items with functions generated once per model.

They write what the annotations lead one to expect, and what pydantic's serialization would leave as
it is. Anything else raises `UnexpectedError`, and the generic encoder encodes the item again: it
names the problem or finds that there is none.
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, NamedTuple
from uuid import UUID

import annotated_types
from pydantic import BaseModel, RootModel

from dynamodb_wrapper.models.fields import utc_text
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    MAPS,
    SETS,
    UNIONS,
    alternatives,
    fields_of,
    is_class,
    is_model,
    origin,
    per_build,
    strip,
)
from dynamodb_wrapper.serialization.values import number_text

if TYPE_CHECKING:
    from dynamodb_wrapper.serialization.values import AttributeValue, Item

Write = Callable[[Any], "AttributeValue"]
_CHECKS = frozenset(
    "AfterValidator BeforeValidator WrapValidator PlainValidator PydanticGeneralMetadata "
    "Strict".split()
)
"""Markers of pydantic that check a value and have no part in serialization."""
WHOLE_LIMIT = 10**38
_FEW_DIGITS, _MAX_DIGITS = 20, 38
_PLAIN_DECIMAL = re.compile(r"-?(?=\d)0*\d{0,19}(\.\d{1,18})?", re.ASCII)
_LEAST, _MOST = 1e-4, 1e16
"""Floats between these have no exponent in their repr."""
_SET_TAGS: dict[Any, str] = {str: "S", int: "N", float: "N", Decimal: "N", bytes: "B", UUID: "S"}


def prune(dumped: dict[str, Any], item: BaseModel, *, exact: bool = True) -> dict[str, Any]:
    """Return the dumped fields under attribute names, without what absence already says.

    What is not a field (extra values, the output of a model serializer) stays as it is.

    Args:
        dumped: What pydantic's serialization left.
        item: The model it was.
        exact: Whether reading will know the model. Of several in a union it will not: then names
            are those pydantic reads, and nothing is left out.
    """
    left = dict(dumped)
    kept: dict[str, Any] = {}
    for field in fields_of(type(item)):
        if field.name not in left:
            continue
        value = left.pop(field.name)
        unsaid = (value is None and field.omits_none) or (field.is_set and _is_empty_set(value))
        if unsaid and exact:
            continue
        name = field.attribute if exact else field.input_key
        kept[name] = _prune_inside(
            getattr(item, field.name), value, field.annotation if exact else None
        )
    return {**kept, **left}


def _is_empty_set(value: Any) -> bool:
    return isinstance(value, AbstractSet) and not value


def _prune_inside(value: Any, dumped: Any, annotation: Any) -> Any:
    """Prune models inside a value; an annotation of None says nothing about them."""
    if isinstance(value, RootModel):
        root = type(value).model_fields["root"].annotation
        return _prune_inside(value.root, dumped, root if annotation else None)
    member = _read_as(annotation, value)
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return prune(dumped, value, exact=is_model(member))
    args = tuple(arg for arg in typing.get_args(member) if arg is not Ellipsis)
    if isinstance(value, dict) and isinstance(dumped, dict) and value.keys() == dumped.keys():
        inner = args[1] if len(args) > 1 else None
        return {key: _prune_inside(value[key], dumped[key], inner) for key in dumped}
    both_lists = isinstance(value, (list, tuple)) and isinstance(dumped, (list, tuple))
    if both_lists and len(value) == len(dumped):
        places = [args[min(place, len(args) - 1)] if args else None for place in range(len(value))]
        return [_prune_inside(v, d, a) for v, d, a in zip(value, dumped, places)]
    return dumped


def _read_as(annotation: Any, value: Any) -> Any:
    """Return the member of a union the reader will read a value as, None where it cannot know."""
    members = () if annotation is None else alternatives(annotation)
    if len(members) == 1:
        return members[0]
    models = [member for member in members if is_model(member)]
    maps = [member for member in members if origin(member) in MAPS]
    known = len(models) + len(maps) == 1 and isinstance(value, (BaseModel, dict))
    return (models or maps)[0] if known else None


class UnexpectedError(Exception):
    """A value is not of the type its annotation leads one to expect."""


def leaves_alone(marker: Any) -> bool:
    """Tell whether a marker of a field is known to have no part in serialization."""
    if isinstance(marker, annotated_types.BaseMetadata):
        return True
    kind = type(marker)
    return kind.__module__.startswith("pydantic.") and kind.__name__ in _CHECKS


def writer_of(annotation: Any, nested: Callable[[type[BaseModel]], Write]) -> Write:
    """Return what writes the values of an annotation, the markers on it considered.

    Args:
        annotation: Of a field.
        nested: Returns what writes a model.
    """
    while hasattr(annotation, "__metadata__"):
        if not all(map(leaves_alone, annotation.__metadata__)):
            return refuse
        annotation = annotation.__origin__
    if typing.get_origin(annotation) not in UNIONS:
        return _member_writer(annotation, nested)
    members = typing.get_args(annotation)
    others = [member for member in members if member is not type(None)]
    if len(members) == 2 and len(others) == 1:
        return partial(optional, writer_of(others[0], nested))
    return refuse


def _member_writer(member: Any, nested: Callable[[type[BaseModel]], Write]) -> Write:
    if is_model(member):
        return nested(member)
    if is_class(member):
        if issubclass(member, enum.Enum):
            return partial(_enum, member)
        return _SCALARS.get(member, refuse)
    kind, args = origin(member), typing.get_args(member)
    if kind is typing.Literal:
        return _literal
    if kind in MAPS and args[:1] == (str,):
        return partial(map_of, writer_of(args[1], nested))
    if kind in SETS and args:
        return partial(_set, _SET_TAGS.get(strip(args[0]), ""), kind, writer_of(args[0], nested))
    if kind in LISTS and (len(args) == 1 or args[1:] == (Ellipsis,)):
        return partial(list_of, tuple if kind is tuple else list, writer_of(args[0], nested))
    return refuse


def refuse(_: Any) -> AttributeValue:
    """Refuse any value."""
    raise UnexpectedError


# ---- scalars -------------------------------------------------------------------------------------


def _text(value: Any) -> AttributeValue:
    if type(value) is not str:
        raise UnexpectedError
    if not value.isascii():
        value.encode()  # a lone surrogate raises
    return {"S": value}


def _whole(value: Any) -> AttributeValue:
    if type(value) is not int or not -WHOLE_LIMIT < value < WHOLE_LIMIT:
        raise UnexpectedError
    return {"N": str(value)}


def _float(value: Any) -> AttributeValue:
    if type(value) is float and _LEAST <= abs(value) < _MOST:
        return {"N": repr(value)}
    return {"N": number_text(value, "")} if type(value) in (int, float) else refuse(value)


def _decimal(value: Any) -> AttributeValue:
    if type(value) is not Decimal:
        raise UnexpectedError
    return {"N": decimal_text(value)}


def decimal_text(value: Decimal) -> str:
    """Return a decimal as DynamoDB takes numbers."""
    text = str(value)
    if not value:
        return number_text(value, "")
    if len(text) < _FEW_DIGITS and text.replace(".", "", 1).isdecimal():
        return text
    is_plain = len(text) < _MAX_DIGITS and _PLAIN_DECIMAL.fullmatch(text)
    return text if is_plain else number_text(value, "")


def _boolean(value: Any) -> AttributeValue:
    if type(value) is not bool:
        raise UnexpectedError
    return {"BOOL": value}


def _binary(value: Any) -> AttributeValue:
    if type(value) is not bytes:
        raise UnexpectedError
    return {"B": value}


def _moment(value: Any) -> AttributeValue:
    if not isinstance(value, datetime):
        raise UnexpectedError
    return {"S": utc_text(value)}


def _iso(kind: Any, value: Any) -> AttributeValue:
    if type(value) is not kind:
        raise UnexpectedError
    return {"S": value.isoformat()}


def _uuid(value: Any) -> AttributeValue:
    if type(value) is not UUID:
        raise UnexpectedError
    return {"S": str(value)}


_SCALARS: dict[Any, Write] = {
    str: _text,
    int: _whole,
    float: _float,
    Decimal: _decimal,
    bool: _boolean,
    bytes: _binary,
    datetime: _moment,
    date: partial(_iso, date),
    time: partial(_iso, time),
    UUID: _uuid,
}


IN_PLACE: dict[Any, tuple[str, str]] = {
    _text: ("str and {value}.isascii()", "{{'S': {value}}}"),
    _whole: ("int and -limit < {value} < limit", "{{'N': str({value})}}"),
    _boolean: ("bool", "{{'BOOL': {value}}}"),
    _decimal: ("Decimal", "{{'N': decimal_text({value})}}"),
    _moment: ("datetime", "{{'S': utc_text({value})}}"),
}


"""What a value must be, and what is written then, as expressions."""


def _enum(kind: type[enum.Enum], value: Any) -> AttributeValue:
    if type(value) is not kind:
        raise UnexpectedError
    return _literal(value.value)


def _literal(value: Any) -> AttributeValue:
    return _SCALARS.get(type(value), refuse)(value)


# ---- containers ----------------------------------------------------------------------------------


def optional(write: Write, value: Any) -> AttributeValue:
    """Write a value that may be None."""
    return {"NULL": True} if value is None else write(value)


def map_of(write: Write, value: Any) -> AttributeValue:
    """Write a dict with texts as keys."""
    if type(value) is not dict:
        raise UnexpectedError
    for key in value:
        _text(key)
    return {"M": {key: write(inner) for key, inner in value.items()}}


def list_of(kind: Any, write: Write, value: Any) -> AttributeValue:
    """Write a list or a tuple of values."""
    if type(value) is not kind:
        raise UnexpectedError
    return {"L": [write(inner) for inner in value]}


def _set(tag: str, kind: Any, write: Write, value: Any) -> AttributeValue:
    if not tag or type(value) is not kind:
        raise UnexpectedError
    members = sorted(write(inner)[tag] for inner in value)
    return {f"{tag}S": members} if members else {"L": []}


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
