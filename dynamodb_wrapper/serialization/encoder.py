"""Encode models as stored items with functions generated once per model.

They encode what the annotations lead one to expect, and what pydantic's serialization would leave
unchanged. Anything else raises `UnexpectedError`, and the generic encoder encodes the item again:
it names the problem or finds that there is none.
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Callable
from uuid import UUID

import annotated_types
from pydantic import BaseModel, RootModel

from dynamodb_wrapper.models.fields import peel, utc_text
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    MAPS,
    SETS,
    FieldShape,
    alternatives,
    cached_per_build,
    defines,
    fields_of,
    is_class,
    is_model,
    origin,
    strip,
)
from dynamodb_wrapper.serialization.problems import UnexpectedError
from dynamodb_wrapper.serialization.values import number_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.serialization.values import AttributeValue, Item

Encode = Callable[[Any], "AttributeValue"]
_CODE_OF_SERIALIZATION = ("__get_pydantic_core_schema__", "model_dump")
_CHECKS = frozenset(
    "AfterValidator BeforeValidator WrapValidator PlainValidator PydanticGeneralMetadata "
    "Strict".split()
)
"""Markers of pydantic that check a value and do not change its serialization."""
_INT_LIMIT = 10**38
_FEW_DIGITS, _MAX_DIGITS = 20, 38
_PLAIN_DECIMAL = re.compile(r"-?(?=\d)0*\d{0,19}(\.\d{1,18})?", re.ASCII)
_LEAST, _MOST = 1e-4, 1e16
"""Floats between these have no exponent in their repr."""
_SET_TAGS: dict[Any, str] = {str: "S", int: "N", float: "N", Decimal: "N", bytes: "B", UUID: "S"}


# ---- models --------------------------------------------------------------------------------------


@cached_per_build
def compile_encoder(model: type[BaseModel]) -> Callable[[BaseModel], Item] | None:
    """Return a function that encodes the fields of a model; None where only the generic one can.

    The function raises where it leaves a value to the generic encoder.
    """
    if issubclass(model, RootModel) or _serializes_itself(model):
        return None
    return _EncoderBuilder(model).build()


def _serializes_itself(model: type[BaseModel]) -> bool:
    own = model.__pydantic_decorators__
    has_serializers = bool(own.field_serializers or own.model_serializers)
    return has_serializers or defines(model, _CODE_OF_SERIALIZATION)


def _encode_nested(model: type[BaseModel], value: Any) -> AttributeValue:
    encode = compile_encoder(model)  # when it is needed: a model may hold itself
    if encode is None:
        raise UnexpectedError
    return {"M": encode(value)}


class _EncoderBuilder:
    """Generates the code for one model: calls for every value would cost more than the work.

    Names that come from outside appear in it only as their repr.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._names: dict[str, Any] = {
            "model": model,
            "UnexpectedError": UnexpectedError,
            "limit": _INT_LIMIT,
            "are_plain": _are_plain,
            "Decimal": Decimal,
            "decimal_text": _decimal_text,
            "datetime": datetime,
            "utc_text": utc_text,
        }

    def build(self) -> Callable[[BaseModel], Item]:
        code = compile("\n".join(self._lines()), f"<encoder of {self._model.__name__}>", "exec")
        exec(code, self._names)
        function: Callable[[BaseModel], Item] = self._names["encode"]
        return function

    def _lines(self) -> Iterator[str]:
        fields = [(shape, self._encode(shape)) for shape in fields_of(self._model)]
        yield "def encode(item):"
        yield "    if type(item) is not model or item.__pydantic_extra__: raise UnexpectedError"
        yield "    values = item.__dict__"
        yield "    stored = {"
        for field, encode in fields:
            if not (field.omits_none or field.is_set):
                value = self._expression(encode, "value", f"(value := values[{field.name!r}])")
                yield f"        {field.attribute!r}: {value},"
        yield "    }"
        for field, encode in fields:
            if field.omits_none or field.is_set:
                is_stored = "value is not None"
                if field.is_set:
                    is_stored = "value or type(value) not in (set, frozenset)"
                encode_present = _without_none(encode) if field.omits_none else encode
                yield f"    value = values[{field.name!r}]"
                yield f"    if {is_stored}:"
                value = self._expression(encode_present, "value")
                yield f"        stored[{field.attribute!r}] = {value}"
        yield "    return stored"

    def _encode(self, field: FieldShape) -> Encode:
        info = self._model.model_fields[field.name]
        is_always_stored = not (info.exclude or getattr(info, "exclude_if", None))
        return _encode_of(field.marked) if is_always_stored else _refuse

    def _expression(
        self, encode: Encode, value: str, first: str | None = None, depth: int = 0
    ) -> str:
        """Return the expression of an attribute value.

        Args:
            encode: Encodes the value where no expression can.
            value: The name of the value.
            first: Stands for the value where it is evaluated first.
            depth: Number of comprehensions around it.
        """
        first, inner, otherwise = first or value, f"value_{depth}", f"{self._name(encode)}({value})"
        if encode in _EXPRESSIONS:
            kind, inline = (text.format(value=value) for text in _EXPRESSIONS[encode])
            return f"({inline} if type({first}) is {kind} else {otherwise})"
        function, args = (encode.func, encode.args) if isinstance(encode, partial) else (None, ())
        if function is _optional:
            present = self._expression(args[0], value, None, depth)
            return f"({{'NULL': True}} if {first} is None else {present})"
        if function is _list:
            each = self._expression(args[1], inner, None, depth + 1)
            values = f"{{'L': [{each} for {inner} in {value}]}}"
            return f"({values} if type({first}) is {args[0].__name__} else {otherwise})"
        if function is _map:
            each = self._expression(args[0], inner, None, depth + 1)
            entries = f"{{'M': {{key: {each} for key, {inner} in {value}.items()}}}}"
            return f"({entries} if type({first}) is dict and are_plain({value}) else {otherwise})"
        return f"{self._name(encode)}({first})"

    def _name(self, encode: Encode) -> str:
        """Return the name of a function in the code."""
        for name, known in self._names.items():
            if known is encode:
                return name
        name = f"encode_{len(self._names)}"
        self._names[name] = encode
        return name


def _without_none(encode: Encode) -> Encode:
    """Return the function that encodes values that are not None."""
    inner: Encode = encode
    if isinstance(encode, partial) and encode.func is _optional:
        inner = encode.args[0]
    return inner


def _are_plain(names: Any) -> bool:
    """Return whether all keys of a map are texts that can certainly be stored."""
    return all(type(name) is str and name.isascii() for name in names)


# ---- annotations ---------------------------------------------------------------------------------


def _encode_of(annotation: Any) -> Encode:
    """Return the function that encodes values of an annotation."""
    peeled = peel(annotation)
    if peeled.is_union or not all(map(_keeps_value, peeled.markers)):
        return _refuse
    encode = _encode_of_member(peeled.member)
    return partial(_optional, encode) if peeled.may_be_null else encode


def _keeps_value(marker: Any) -> bool:
    """Return whether a marker is known not to change the serialization."""
    if isinstance(marker, annotated_types.BaseMetadata):
        return True
    kind = type(marker)
    return kind.__module__.startswith("pydantic.") and kind.__name__ in _CHECKS


def _encode_of_member(member: Any) -> Encode:
    if is_model(member):
        return partial(_encode_nested, member)
    if is_class(member):
        if issubclass(member, enum.Enum):
            return partial(_enum, member)
        return _SCALARS.get(member, _refuse)
    kind, args = origin(member), typing.get_args(member)
    if kind is typing.Literal:
        return _literal
    if kind in MAPS and args[:1] == (str,):
        return partial(_map, _encode_of(args[1]))
    if kind in SETS and args:
        return partial(_set, _SET_TAGS.get(strip(args[0]), ""), kind, _encode_of(args[0]))
    if kind in LISTS and (len(args) == 1 or args[1:] == (Ellipsis,)):
        return partial(_list, tuple if kind is tuple else list, _encode_of(args[0]))
    return _refuse


def _refuse(_: Any) -> AttributeValue:
    raise UnexpectedError


# ---- scalars -------------------------------------------------------------------------------------


def _text(value: Any) -> AttributeValue:
    if type(value) is not str:
        raise UnexpectedError
    if not value.isascii():
        value.encode()  # a lone surrogate raises
    return {"S": value}


def _int(value: Any) -> AttributeValue:
    if type(value) is not int or not -_INT_LIMIT < value < _INT_LIMIT:
        raise UnexpectedError
    return {"N": str(value)}


def _float(value: Any) -> AttributeValue:
    if type(value) is float and _LEAST <= abs(value) < _MOST:
        return {"N": repr(value)}
    return {"N": number_text(value, "")} if type(value) in (int, float) else _refuse(value)


def _decimal(value: Any) -> AttributeValue:
    if type(value) is not Decimal:
        raise UnexpectedError
    return {"N": _decimal_text(value)}


def _decimal_text(value: Decimal) -> str:
    """Return a decimal as DynamoDB accepts numbers."""
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


def _datetime(value: Any) -> AttributeValue:
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


def _enum(kind: type[enum.Enum], value: Any) -> AttributeValue:
    if type(value) is not kind:
        raise UnexpectedError
    return _literal(value.value)


def _literal(value: Any) -> AttributeValue:
    return _SCALARS.get(type(value), _refuse)(value)


_SCALARS: dict[Any, Encode] = {
    str: _text,
    int: _int,
    float: _float,
    Decimal: _decimal,
    bool: _boolean,
    bytes: _binary,
    datetime: _datetime,
    date: partial(_iso, date),
    time: partial(_iso, time),
    UUID: _uuid,
}
_EXPRESSIONS: dict[Any, tuple[str, str]] = {
    _text: ("str and {value}.isascii()", "{{'S': {value}}}"),
    _int: ("int and -limit < {value} < limit", "{{'N': str({value})}}"),
    _boolean: ("bool", "{{'BOOL': {value}}}"),
    _decimal: ("Decimal", "{{'N': decimal_text({value})}}"),
    _datetime: ("datetime", "{{'S': utc_text({value})}}"),
}
"""Expressions that replace a call: the type and condition of the value, and its attribute value."""


# ---- containers ----------------------------------------------------------------------------------


def _optional(encode: Encode, value: Any) -> AttributeValue:
    return {"NULL": True} if value is None else encode(value)


def _map(encode: Encode, value: Any) -> AttributeValue:
    if type(value) is not dict:
        raise UnexpectedError
    for key in value:
        _text(key)
    return {"M": {key: encode(inner) for key, inner in value.items()}}


def _list(kind: Any, encode: Encode, value: Any) -> AttributeValue:
    if type(value) is not kind:
        raise UnexpectedError
    return {"L": [encode(inner) for inner in value]}


def _set(tag: str, kind: Any, encode: Encode, value: Any) -> AttributeValue:
    if not tag or type(value) is not kind:
        raise UnexpectedError
    members = sorted(encode(inner)[tag] for inner in value)
    return {f"{tag}S": members} if members else {"L": []}


# ---- the generic encoder -------------------------------------------------------------------------


def prune(dumped: dict[str, Any], item: BaseModel, *, exact: bool = True) -> dict[str, Any]:
    """Return the dumped fields under attribute names, without those that absence already says.

    Other entries (extra values, the output of a model serializer) stay as they are.

    Args:
        dumped: The output of pydantic's serialization.
        item: The model it was made of.
        exact: Whether the reader will know the model. Of several in a union it will not: then names
            are those pydantic reads, and nothing is left out.
    """
    left = dict(dumped)
    kept: dict[str, Any] = {}
    for field in fields_of(type(item)):
        if field.name not in left:
            continue
        value = left.pop(field.name)
        is_default = (value is None and field.omits_none) or (field.is_set and _is_empty_set(value))
        if is_default and exact:
            continue
        name = field.attribute if exact else field.input_key
        kept[name] = prune_value(
            getattr(item, field.name), value, field.annotation if exact else None
        )
    return {**kept, **left}


def _is_empty_set(value: Any) -> bool:
    return isinstance(value, AbstractSet) and not value


def prune_value(value: Any, dumped: Any, annotation: Any) -> Any:
    """Prune models inside a value; with the annotation None their type is unknown to the reader."""
    if isinstance(value, RootModel):
        root = type(value).model_fields["root"].annotation
        return prune_value(value.root, dumped, root if annotation else None)
    member = _member_for_reader(annotation, value)
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return prune(dumped, value, exact=is_model(member))
    args = tuple(arg for arg in typing.get_args(member) if arg is not Ellipsis)
    if isinstance(value, dict) and isinstance(dumped, dict) and value.keys() == dumped.keys():
        inner = args[1] if len(args) > 1 else None
        return {key: prune_value(value[key], dumped[key], inner) for key in dumped}
    both_lists = isinstance(value, (list, tuple)) and isinstance(dumped, (list, tuple))
    if both_lists and len(value) == len(dumped):
        places = [args[min(place, len(args) - 1)] if args else None for place in range(len(value))]
        return [prune_value(v, d, a) for v, d, a in zip(value, dumped, places)]
    return dumped


def _member_for_reader(annotation: Any, value: Any) -> Any:
    """Return the member of a union the reader will read a value as, None where it cannot know."""
    members = () if annotation is None else alternatives(annotation)
    if len(members) == 1:
        return members[0]
    models = [member for member in members if is_model(member)]
    maps = [member for member in members if origin(member) in MAPS]
    is_known = len(models) + len(maps) == 1 and isinstance(value, (BaseModel, dict))
    return (models or maps)[0] if is_known else None
