"""Generate code that decodes stored items of one model, once per model.

The items arrive as msgspec structs, one class per model, which C code fills from the JSON of a
reply. The generated code returns for each the dict that `read_fields` would return, for the model's
validator. It handles what the annotations lead one to expect; anything else raises, and the generic
decoder reads the item again: it names the problem or finds that there is none.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Union

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import BaseModel, RootModel, TypeAdapter

from dynamodb_wrapper.models.fields import peel
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    MAPS,
    SETS,
    FieldShape,
    cached_per_build,
    change_stored_type,
    fields_of,
    fields_seeing_raw_values,
    fields_with_serializer,
    is_class,
    is_free_form,
    is_model,
    needs_members,
    origin,
    readable_names,
    scalar_tag,
    see_raw_values,
    sees_raw_values,
    strip,
    unstored_input_names,
    uses_unknown_attributes,
    validates_itself,
)
from dynamodb_wrapper.serialization.json_body import read_body, unreadable, with_bytes
from dynamodb_wrapper.serialization.problems import UnexpectedError
from dynamodb_wrapper.serialization.values import comparable, decode_number, to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.serialization.values import Item

_CONTENT: dict[str, Any] = {
    "S": str,
    "N": str,
    "B": bytes,
    "BOOL": bool,
    "SS": list[str],
    "NS": list[str],
    "BS": list[bytes],
}
"""JSON type of the content of scalars and sets, by type descriptor."""
_NUMBERS = {int: "int", float: "float", Decimal: "decimal"}
_INDENT = "    "
_NOTHING = msgspec.Raw()


class Mark(NamedTuple):
    """The attribute that tells the items of a model from others in the same table.

    Attributes:
        attribute: Its name.
        text: Its value.
        may_be_absent: Whether items without it are of the model too.
    """

    attribute: str
    text: str
    may_be_absent: bool


class CompiledDecoder(NamedTuple):
    """Code that decodes the items of one model.

    Attributes:
        struct: The class msgspec fills.
        unwrap: Structs to the input of the model's validator.
        ttl: Struct to the text of its TTL; None where it has none.
        key: Struct to the `identity` of its key.
    """

    struct: Any
    unwrap: Callable[[Iterable[Any]], list[dict[str, Any]]]
    ttl: Callable[[Any], str | None]
    key: Callable[[Any], tuple[Any, ...]]


@cached_per_build
def compile_decoder(
    model: type[BaseModel],
    refuses_unknown: bool,
    ignored: frozenset[str],
    keys: tuple[str, ...],
    ttl: str | None,
    mark: Mark | None = None,
) -> CompiledDecoder | None:
    """Return the code for a model; None where only the generic decoder can read its items.

    Args:
        model: The model of the items.
        refuses_unknown: Whether an attribute the model does not know is left to the generic
            decoder.
        ignored: Attributes that are known to be none of the model's.
        keys: The attributes of the table's key.
        ttl: The attribute that holds the TTL.
        mark: What an item must have; others are left to the generic decoder.
    """
    beside = {name for name in (*keys, ttl, mark and mark.attribute) if name is not None}
    attributes = {shape.attribute for shape in fields_of(model)}
    if (
        issubclass(model, RootModel)
        or not _has_plain_names(model)
        or ignored & attributes
        or (beside - attributes) & readable_names(model)
        or not all(map(_is_plain, beside | ignored))
    ):
        return None
    return _DecoderBuilder(model).build(refuses_unknown, ignored, keys, ttl, mark)


@cached_per_build
def validator(model: type[BaseModel]) -> Any:
    """Return a function that validates a list of inputs of a model."""
    if validates_itself(model):
        return lambda values, **settings: [model.model_validate(v, **settings) for v in values]
    return TypeAdapter(list[model]).validate_python  # type: ignore[valid-type]


def _has_plain_names(model: type[BaseModel]) -> bool:
    """Return whether all names differ and can stand in the definition of a struct."""
    shapes = fields_of(model)
    attributes = {shape.attribute for shape in shapes}
    if len(attributes) < len(shapes) or len({s.input_key for s in shapes}) < len(shapes):
        return False
    return all(map(_is_plain, attributes | unstored_input_names(model)))


def _is_plain(attribute: str) -> bool:
    return all(sign >= " " and sign not in '"\\' for sign in attribute)


# ---- replies -------------------------------------------------------------------------------------


class Envelopes(NamedTuple):
    """Decoders of replies that hold structs of one class."""

    page: Any
    one: Any
    returned: Any
    batch: Any
    item: Any


class _Page(msgspec.Struct, gc=False):
    """A page without its items."""

    LastEvaluatedKey: msgspec.Raw = _NOTHING
    ConsumedCapacity: Any = None

    def last_key(self) -> Item | None:
        return part(self.LastEvaluatedKey) or None


class _RawPage(_Page, gc=False):
    Items: list[msgspec.Raw] = []


class _RawBatch(msgspec.Struct, gc=False):
    Responses: dict[str, list[msgspec.Raw]] = {}
    UnprocessedKeys: msgspec.Raw = _NOTHING
    ConsumedCapacity: Any = None


RAW_PAGE = msgspec.json.Decoder(_RawPage)
"""Decodes a page and leaves its items as JSON."""
RAW_BATCH = msgspec.json.Decoder(_RawBatch)
"""Decodes a batch and leaves its items as JSON."""


@lru_cache(maxsize=512)
def envelopes(struct: Any) -> Envelopes:
    """Return decoders of replies that hold structs of this class."""
    items = list[struct]
    page = msgspec.defstruct("Page", [("Items", items, [])], bases=(_Page,), gc=False)
    fields = [("Item", Union[struct, None], None), ("ConsumedCapacity", Any, None)]
    one = msgspec.defstruct("One", fields, gc=False)
    returned = msgspec.defstruct("One", fields, gc=False, rename={"Item": "Attributes"})
    batch = msgspec.defstruct(
        "Batch",
        [
            ("Responses", dict[str, items], {}),
            ("UnprocessedKeys", msgspec.Raw, _NOTHING),
            ("ConsumedCapacity", Any, None),
        ],
        gc=False,
    )
    return Envelopes(*map(msgspec.json.Decoder, (page, one, returned, batch, struct)))


def part(raw: msgspec.Raw) -> dict[str, Any]:
    """Return a part of a reply that was left as JSON, as boto3 would parse it."""
    content = bytes(raw)
    return read_body(content) if content not in (b"", b"null") else {}


def decode(decoder: Any, body: bytes) -> Any:
    """Decode a body.

    Raises:
        ServiceError: It is no reply of DynamoDB's.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from error


# ---- code of models ------------------------------------------------------------------------------


class _DecoderBuilder:
    """Generates the code for one model and those inside it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._names = {**_NAMES, "ttl_text": _ttl_text, "key_part": _key_part}
        self._nested_models: dict[tuple[type[BaseModel], bool], tuple[Any, str]] = {}
        self._open: set[type[BaseModel]] = set()
        self._code: list[str] = []

    def build(
        self,
        refuses_unknown: bool,
        ignored: frozenset[str],
        keys: tuple[str, ...],
        ttl: str | None,
        mark: Mark | None,
    ) -> CompiledDecoder:
        struct = self._struct(self._model, is_bare=True)
        if mark is not None:
            struct.require(mark)
        for attribute in (*keys, ttl):
            if attribute is not None and attribute not in struct.places:
                struct.place(attribute, dict[str, Any], is_required=False)
        refuses_unknown = refuses_unknown or uses_unknown_attributes(self._model)
        for attribute in sorted(ignored - struct.places.keys()) if refuses_unknown else ():
            struct.place(attribute, msgspec.Raw, is_required=False)
        struct.refuse(unstored_input_names(self._model) - ignored)
        key = "".join(f"key_part({name!r}, s.{struct.places[name]}), " for name in sorted(keys))
        read_ttl = "None" if ttl is None else f"ttl_text(s.{struct.places[ttl]})"
        self._code.append(struct.function_of_many("unwrap"))
        self._code.append(f"def ttl(s):\n{_INDENT}return {read_ttl}")
        self._code.append(f"def key(s):\n{_INDENT}return ({key})")
        class_ = struct.define(self._model.__name__, refuses_unknown=refuses_unknown)
        name = f"<items of {self._model.__name__}>"
        exec(compile("\n".join(self._code), name, "exec"), self._names)
        return CompiledDecoder(class_, *(self._names[name] for name in ("unwrap", "ttl", "key")))

    def _struct(self, model: type[BaseModel], *, is_bare: bool) -> _Struct:
        is_bare = is_bare and not sees_raw_values(model)
        struct = _Struct(keeps_order=not is_bare)
        self._open.add(model)
        for shape in fields_of(model):
            value, key = self._field(model, shape, is_bare), shape.input_key
            must_be = model.model_fields[shape.name].is_required()
            is_required = must_be and not (shape.needs_none or shape.is_set)
            place = f"s.{struct.place(shape.attribute, value.type, is_required=is_required)}"
            if is_required:
                struct.add(key, value.read(place))
            elif shape.is_set or shape.needs_none:
                absent = "set()" if shape.is_set else "None"
                struct.add(key, f"{absent} if {place} is UNSET else {value.read(place)}")
            else:
                struct.add_where_set(key, place, value.read("v"))
        self._open.discard(model)
        return struct

    def _field(self, model: type[BaseModel], shape: FieldShape, is_bare: bool) -> _Value:
        value = None
        if shape.name not in fields_with_serializer(model):
            is_bare = is_bare and shape.name not in fields_seeing_raw_values(model)
            value = self._value(shape.marked, is_bare)
        return value or self._generic(shape.read)

    def _value(self, annotation: Any, is_bare: bool) -> _Value | None:
        """Return how a value is read; None where only the generic decoder can.

        Args:
            annotation: Of a field, or of the contents of a container.
            is_bare: Whether no code sees the value before pydantic has converted it.
        """
        member, markers, may_be_null = peeled = peel(annotation)
        if hasattr(member, "__value__") or peeled.is_union:
            return None
        if peeled.stored_tag in ("S", "N"):
            return _scalar(peeled.stored_tag, None, may_be_null)
        if peeled.stored_tag is not None or change_stored_type(markers):
            return None
        is_bare = is_bare and not see_raw_values(markers)
        if is_model(member):
            return self._nested(member, may_be_null, is_bare)
        tag = scalar_tag(member)
        if needs_members(member):
            return None
        if tag is not None:
            return _scalar(tag, member if is_bare else None, may_be_null)
        return self._container(member, may_be_null, is_bare)

    def _nested(self, model: type[BaseModel], may_be_null: bool, is_bare: bool) -> _Value | None:
        if (
            model in self._open
            or issubclass(model, RootModel)
            or not _has_plain_names(model)
            or model.__pydantic_decorators__.model_serializers
        ):
            return None
        if (model, is_bare) not in self._nested_models:
            struct = self._struct(model, is_bare=is_bare)
            function = f"m{len(self._nested_models)}"
            struct.refuse(unstored_input_names(model))
            refuses_unknown = not is_bare or uses_unknown_attributes(model)
            class_ = struct.define(model.__name__, refuses_unknown=refuses_unknown)
            self._nested_models[model, is_bare] = class_, function
            self._code.append(struct.function(function))
        class_, function = self._nested_models[model, is_bare]
        return _tagged("M", class_, lambda content: f"{function}({content})", may_be_null)

    def _container(self, member: Any, may_be_null: bool, is_bare: bool) -> _Value | None:
        kind, args = origin(member), typing.get_args(member)
        if not args or is_free_form(member):
            return None
        if kind in SETS:
            if needs_members(args[0]):
                return None
            return _set(args[0], may_be_null)
        is_long = kind in LISTS and (kind is not tuple or args[1:] == (Ellipsis,))
        inner = self._value(args[1] if kind in MAPS else args[0], is_bare)
        if inner is None or not (kind in MAPS or is_long) or _has_enum_keys(member):
            return None
        read = inner.read("v")
        if kind in MAPS:
            pairs: Any = dict[str, inner.type]  # type: ignore[name-defined]
            return _tagged(
                "M", pairs, lambda c: f"{{k: {read} for k, v in {c}.items()}}", may_be_null
            )
        values: Any = list[inner.type]  # type: ignore[name-defined]
        return _tagged("L", values, lambda content: f"[{read} for v in {content}]", may_be_null)

    def _generic(self, read: Callable[[Any], Any]) -> _Value:
        name = f"r{len(self._names)}"
        self._names[name] = lambda value: read(with_bytes(value))
        return _Value(dict[str, Any], lambda place: f"{name}({place})")


@dataclass
class _Struct:
    """Struct of a model and the function that makes a dict of it, while they are generated.

    Attributes:
        keeps_order: Whether the entries of the dict are in the order of the fields.
        required: Fields of the struct that must be there.
        optional: The others.
        places: Attribute name to the name of the struct's field.
        entries: Entries every dict has, put into it first.
        lines: Code that adds the others.
    """

    keeps_order: bool
    required: list[Any] = field(default_factory=list)
    optional: list[Any] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def place(self, attribute: str, type_: Any, *, is_required: bool) -> str:
        """Add a field to the struct and return its name."""
        place = self.places[attribute] = f"f{len(self.places)}"
        if is_required:
            self.required.append((place, type_))
        elif type_ is msgspec.Raw:  # holds any JSON, absent included
            self.optional.append((place, type_, UNSET))
        else:
            self.optional.append((place, Union[type_, UnsetType], UNSET))
        return place

    def refuse(self, attributes: frozenset[str]) -> None:
        """Refuse items that have one of these attributes, unless it is a field already."""
        for attribute in sorted(attributes - self.places.keys()):
            self.place(attribute, int, is_required=False)  # no attribute value is an int

    def require(self, mark: Mark) -> None:
        """Refuse items with another text in an attribute; it may be a field already."""
        text: Any = typing.Literal[mark.text]
        place = self.places.get(mark.attribute)
        known = {entry[0]: entry[1] for entry in (*self.required, *self.optional)}.get(place)
        parts = (known, *typing.get_args(known))
        is_map = any(typing.get_origin(part) is dict for part in parts)
        type_: Any = dict[str, text] if is_map else _struct_of_value("S", text, False)
        was_optional = place is None or place in {entry[0] for entry in self.optional}
        self.required = [entry for entry in self.required if entry[0] != place]
        self.optional = [entry for entry in self.optional if entry[0] != place]
        if place is None:
            place = self.places[mark.attribute] = f"f{len(self.places)}"
        if mark.may_be_absent and was_optional:
            self.optional.append((place, Union[type_, UnsetType], UNSET))
        else:
            self.required.append((place, type_))

    def add(self, key: str, code: str) -> None:
        """Add an entry every dict has."""
        if self.keeps_order and self.lines:
            self.lines.append(f"{_INDENT}d[{key!r}] = {code}")
        else:
            self.entries.append(f"{key!r}: {code}")

    def add_where_set(self, key: str, place: str, code: str) -> None:
        """Add an entry that is left out where the attribute is absent."""
        self.lines += [
            f"{_INDENT}v = {place}",
            f"{_INDENT}if v is not UNSET:",
            f"{_INDENT * 2}d[{key!r}] = {code}",
        ]

    def function(self, name: str) -> str:
        """Return the code that makes the dict of a struct."""
        entries = f"{{{', '.join(self.entries)}}}"
        lines = [f"{_INDENT}return {entries}"]
        if self.lines:
            lines = [f"{_INDENT}d = {entries}", *self.lines, f"{_INDENT}return d"]
        return "\n".join([f"def {name}(s):", *lines])

    def function_of_many(self, name: str) -> str:
        """Return the code that makes the dicts of structs, without a call for each if possible."""
        if self.lines:
            many = f"def {name}(items):\n{_INDENT}return list(map(item, items))"
            return "\n".join([self.function("item"), many])
        entries = ", ".join(self.entries)
        return f"def {name}(items):\n{_INDENT}return [{{{entries}}} for s in items]"

    def define(self, name: str, *, refuses_unknown: bool) -> Any:
        """Return the class msgspec fills."""
        return msgspec.defstruct(
            name,
            [*self.required, *self.optional],
            rename={place: attribute for attribute, place in self.places.items()},
            forbid_unknown_fields=refuses_unknown,
            gc=False,
        )


# ---- code of values ------------------------------------------------------------------------------


class _Value(NamedTuple):
    """Reads an attribute value.

    Attributes:
        type: Its type for msgspec.
        read: Returns the code that reads it from an expression.
    """

    type: Any
    read: Callable[[str], str]


def _scalar(tag: str, member: Any, may_be_null: bool) -> _Value:
    """Return how a text, number, boolean or binary is read.

    Args:
        tag: Its type descriptor.
        member: For int, float and Decimal a number is converted to that type; otherwise as the
            generic decoder does.
        may_be_null: Whether it may be NULL.
    """

    def read(content: str) -> str:
        return f"{_NUMBERS.get(member, 'number')}({content})" if tag == "N" else content

    return _tagged(tag, _CONTENT[tag], read, may_be_null)


def _has_enum_keys(member: Any) -> bool:
    """Return whether a map has keys whose texts the generic decoder turns into members."""
    key = strip(typing.get_args(member)[0])
    is_enum = is_class(key) and issubclass(key, Enum)
    return origin(member) in MAPS and (is_enum or origin(key) is typing.Literal)


def _set(annotation: Any, may_be_null: bool) -> _Value | None:
    """Return how a set is read; None where its type descriptor varies."""
    peeled = peel(annotation)
    tag = peeled.stored_tag or scalar_tag(peeled.member)
    if tag not in ("S", "N", "B") or hasattr(peeled.member, "__value__"):
        return None

    def read(content: str) -> str:
        return f"{{number(v) for v in {content}}}" if tag == "N" else f"set({content})"

    return _tagged(f"{tag}S", _CONTENT[f"{tag}S"], read, may_be_null)


def _tagged(tag: str, content: Any, read: Callable[[str], str], may_be_null: bool) -> _Value:
    """Return how a value with one type descriptor is read, or NULL as well."""

    def read_value(place: str) -> str:
        code = read(f"{place}.{tag}")
        return f"({code} if {place}.{tag} is not UNSET else null({place}))" if may_be_null else code

    return _Value(_struct_of_value(tag, content, may_be_null), read_value)


@lru_cache(maxsize=512)
def _struct_of_value(tag: str, content: Any, may_be_null: bool) -> Any:
    """Return the struct of an attribute value with one type descriptor, or NULL as well."""
    if not may_be_null:
        return msgspec.defstruct(tag, [(tag, content)], forbid_unknown_fields=True, gc=False)
    fields = [(tag, Union[content, UnsetType], UNSET), ("NULL", Union[bool, UnsetType], UNSET)]
    return msgspec.defstruct(f"{tag}_or_NULL", fields, forbid_unknown_fields=True, gc=False)


# ---- functions the generated code calls ----------------------------------------------------------


def _null(value: Any) -> None:
    if value.NULL is UNSET:
        raise UnexpectedError


def _ttl_text(value: Any) -> str | None:
    """Return the content of a TTL; what is no number is none."""
    if value is UNSET:
        return None
    found = value.get("N") if isinstance(value, dict) else getattr(value, "N", None)
    return found if isinstance(found, str) else None


def _key_part(name: str, value: Any) -> tuple[str, str, Any]:
    if isinstance(value, dict):
        return (name, *comparable(with_bytes(value)))
    for tag in ("S", "N", "B"):
        content = getattr(value, tag, UNSET)
        if content is not UNSET:
            return (name, *comparable({tag: content}))
    raise UnexpectedError


_NAMES: dict[str, Any] = {
    "UNSET": UNSET,
    "decimal": to_decimal,
    "number": decode_number,
    "null": _null,
}
