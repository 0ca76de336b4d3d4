"""Generate code that decodes stored items of one model, once per model.

The items arrive as msgspec structs, one class per model, which C code fills from the JSON of a
reply. The generated code returns for each the dict that `read_fields` would return, for the model's
validator. It handles what the annotations lead one to expect; anything else raises, and the generic
decoder reads the item again: it names the problem or finds that there is none.
"""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Union
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import BaseModel, RootModel, TypeAdapter

from dynamodb_wrapper.models.fields import StoredAs
from dynamodb_wrapper.serialization.annotations import (
    LISTS,
    MAPS,
    SETS,
    UNIONS,
    FieldShape,
    are_blind,
    are_reshaping,
    fields_of,
    is_class,
    is_free,
    is_model,
    is_watched,
    lookalikes,
    looks_at_unknown,
    origin,
    per_build,
    readable_names,
    reshaped_fields,
    strip,
    validates_itself,
    watched_fields,
)
from dynamodb_wrapper.serialization.json_body import read_body, unreadable, with_bytes
from dynamodb_wrapper.serialization.values import comparable, decode_number, to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.serialization.values import Item

INDENT = "    "
CONTENT: dict[str, Any] = {
    "S": str,
    "N": str,
    "B": bytes,
    "BOOL": bool,
    "SS": list[str],
    "NS": list[str],
    "BS": list[bytes],
}
"""What a type descriptor of a scalar or a set is followed by."""
_SCALARS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("BOOL", (bool,)),
    ("S", (str, datetime, date, time, UUID)),
    ("N", (int, float, Decimal)),
    ("B", (bytes,)),
)
_NUMBERS = {int: "int", float: "float", Decimal: "decimal"}
_NOTHING = msgspec.Raw()


@dataclass
class Parts:
    """Struct and function of a model while they are put together.

    Attributes:
        required: Fields of the struct that must be there.
        optional: The others.
        places: Attribute name to the name of the struct's field.
        keeps_order: Whether the entries of the dict come in the order of the fields.
        sure: Entries every dict has, put into it first.
        later: Lines that add the others.
    """

    keeps_order: bool
    required: list[Any] = field(default_factory=list)
    optional: list[Any] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    sure: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)

    def place(self, attribute: str, declared: Any, *, is_required: bool) -> str:
        """Add a field to the struct and return its name."""
        place = self.places[attribute] = f"f{len(self.places)}"
        if is_required:
            self.required.append((place, declared))
        elif declared is msgspec.Raw:  # takes anything by itself
            self.optional.append((place, declared, UNSET))
        else:
            self.optional.append((place, Union[declared, UnsetType], UNSET))
        return place

    def refuse(self, attributes: frozenset[str]) -> None:
        """Refuse items that have one of these attributes, unless it is a field already."""
        for attribute in sorted(attributes - self.places.keys()):
            self.place(attribute, int, is_required=False)  # no attribute value is one

    def add(self, key: str, got: str) -> None:
        """Add an entry every dict has."""
        if self.keeps_order and self.later:
            self.later.append(f"{INDENT}d[{key!r}] = {got}")
        else:
            self.sure.append(f"{key!r}: {got}")

    def add_where_set(self, key: str, place: str, got: str) -> None:
        """Add an entry that is left out where the attribute is absent."""
        self.later += [
            f"{INDENT}v = {place}",
            f"{INDENT}if v is not UNSET:",
            f"{INDENT * 2}d[{key!r}] = {got}",
        ]

    def function(self, name: str) -> str:
        """Return the code that makes the dict of a struct."""
        lines = [f"{INDENT}return {{{', '.join(self.sure)}}}"]
        if self.later:
            lines = [f"{INDENT}d = {{{', '.join(self.sure)}}}", *self.later, f"{INDENT}return d"]
        return "\n".join([f"def {name}(s):", *lines])

    def struct(self, name: str, *, refuses_unknown: bool) -> Any:
        """Return the class msgspec fills."""
        return msgspec.defstruct(
            name,
            [*self.required, *self.optional],
            rename={place: attribute for attribute, place in self.places.items()},
            forbid_unknown_fields=refuses_unknown,
            gc=False,
        )


class UnexpectedError(Exception):
    """A stored value is not of the form its annotation leads one to expect."""


class Value(NamedTuple):
    """How an attribute value is read.

    Attributes:
        declared: Its type for msgspec.
        read: Returns the code that reads it from an expression.
    """

    declared: Any
    read: Callable[[str], str]


class Peeled(NamedTuple):
    """An annotation without what is around it.

    Attributes:
        member: What is left; still a union where there are several members besides None.
        markers: What it was annotated with, inside of ``Optional`` as well.
        may_be_null: Whether it takes None.
    """

    member: Any
    markers: tuple[Any, ...]
    may_be_null: bool

    @property
    def stored_tag(self) -> str | None:
        """The type descriptor a marker says the values are stored with."""
        return next((m.tag for m in self.markers if isinstance(m, StoredAs)), None)


def peel(annotation: Any) -> Peeled:
    """Take ``Annotated`` and ``Optional`` off an annotation."""
    markers: tuple[Any, ...] = ()
    may_be_null = False
    while True:
        if hasattr(annotation, "__metadata__"):
            markers += annotation.__metadata__
            annotation = annotation.__origin__
            continue
        members = typing.get_args(annotation)
        others = [member for member in members if member is not type(None)]
        if typing.get_origin(annotation) not in UNIONS or len(others) != 1:
            return Peeled(annotation, markers, may_be_null)
        annotation, may_be_null = others[0], True


def scalar_tag(annotation: Any) -> str | None:
    """Return the type descriptor values of an annotation are stored with; None if it varies."""
    annotation = strip(annotation)
    if origin(annotation) is typing.Literal:
        return _common_tag(typing.get_args(annotation))
    if not is_class(annotation):
        return None
    if issubclass(annotation, enum.Enum):
        return _common_tag(member.value for member in annotation)
    for tag, classes in _SCALARS:
        if annotation in classes:
            return tag
    return None


def _common_tag(values: Any) -> str | None:
    tags = {
        scalar_tag(type(value.value if isinstance(value, enum.Enum) else value)) for value in values
    }
    return tags.pop() if len(tags) == 1 else None


def scalar(tag: str, member: Any, may_be_null: bool) -> Value:
    """Return how a text, number, boolean or binary is read.

    Args:
        tag: Its type descriptor.
        member: int, float or Decimal makes it that; else a number is what the general walk makes.
        may_be_null: Whether it may be NULL.
    """

    def read(content: str) -> str:
        return f"{_NUMBERS.get(member, 'number')}({content})" if tag == "N" else content

    return tagged(tag, CONTENT[tag], read, may_be_null)


def set_of(annotation: Any, may_be_null: bool) -> Value | None:
    """Return how a set is read; None where its type descriptor varies."""
    peeled = peel(annotation)
    tag = peeled.stored_tag or scalar_tag(peeled.member)
    if tag not in ("S", "N", "B") or hasattr(peeled.member, "__value__"):
        return None

    def read(content: str) -> str:
        return f"{{number(v) for v in {content}}}" if tag == "N" else f"set({content})"

    return tagged(f"{tag}S", CONTENT[f"{tag}S"], read, may_be_null)


def tagged(tag: str, content: Any, read: Callable[[str], str], may_be_null: bool) -> Value:
    """Return how a value with one type descriptor is read, or NULL as well."""

    def read_value(place: str) -> str:
        got = read(f"{place}.{tag}")
        return f"({got} if {place}.{tag} is not UNSET else null({place}))" if may_be_null else got

    return Value(_struct(tag, content, may_be_null), read_value)


def _null(value: Any) -> None:
    if value.NULL is UNSET:
        raise UnexpectedError


NAMES: dict[str, Any] = {
    "UNSET": UNSET,
    "decimal": to_decimal,
    "number": decode_number,
    "null": _null,
}


"""What the code uses by name."""


@lru_cache(maxsize=512)
def _struct(tag: str, content: Any, may_be_null: bool) -> Any:
    """Return the struct of an attribute value with one type descriptor, or NULL as well."""
    if not may_be_null:
        return msgspec.defstruct(tag, [(tag, content)], forbid_unknown_fields=True, gc=False)
    fields = [(tag, Union[content, UnsetType], UNSET), ("NULL", Union[bool, UnsetType], UNSET)]
    return msgspec.defstruct(f"{tag}_or_NULL", fields, forbid_unknown_fields=True, gc=False)


class Envelopes(NamedTuple):
    """Decoders of replies that hold structs of one class."""

    page: Any
    one: Any
    returned: Any
    batch: Any
    item: Any


class _Page(msgspec.Struct, gc=False):
    """What every page has besides its items."""

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


"""Decodes a page whose items are left as they are."""


RAW_BATCH = msgspec.json.Decoder(_RawBatch)


"""Decodes a batch in the same way."""


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


@per_build
def validator(model: type[BaseModel]) -> Any:
    """Return what validates a list of a model's values."""
    if validates_itself(model):
        return lambda values, **settings: [model.model_validate(v, **settings) for v in values]
    return TypeAdapter(list[model]).validate_python  # type: ignore[valid-type]


def part(raw: msgspec.Raw) -> dict[str, Any]:
    """Return a part of a reply that was left as it is, as boto3 would."""
    content = bytes(raw)
    return read_body(content) if content not in (b"", b"null") else {}


def decode(decoder: Any, body: bytes) -> Any:
    """Return what a decoder makes of a body.

    Raises:
        ServiceError: It is no reply of DynamoDB's.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from error


class Unwrapping(NamedTuple):
    """How the items of a model are taken apart.

    Attributes:
        struct: The class msgspec fills.
        unwrap: Structs to what the model validates.
        ttl: Struct to the text of its TTL; None where it has none.
        key: Struct to the `identity` of its key.
    """

    struct: Any
    unwrap: Callable[[Iterable[Any]], list[dict[str, Any]]]
    ttl: Callable[[Any], str | None]
    key: Callable[[Any], tuple[Any, ...]]


@per_build
def unwrapping(
    model: type[BaseModel],
    refuses_unknown: bool,
    ignored: frozenset[str],
    keys: tuple[str, ...],
    ttl: str | None,
) -> Unwrapping | None:
    """Return how items are taken apart; None where only the general walk can.

    Args:
        model: What they are read into.
        refuses_unknown: Whether an attribute the model does not know is for the general walk.
        ignored: Attributes that are known to be none of the model's.
        keys: The attributes of the table's key.
        ttl: The attribute that holds the TTL.
    """
    beside = {name for name in (*keys, ttl) if name is not None}
    attributes = {shape.attribute for shape in fields_of(model)}
    if (
        issubclass(model, RootModel)
        or not _has_plain_names(model)
        or ignored & attributes
        or (beside - attributes) & readable_names(model)
        or not all(map(_is_plain, beside | ignored))
    ):
        return None
    return _Maker(model).make(refuses_unknown, ignored, keys, ttl)


def _has_plain_names(model: type[BaseModel]) -> bool:
    """Tell whether names can be told apart and stand in a struct."""
    shapes = fields_of(model)
    for names in ([s.attribute for s in shapes], [s.input_key for s in shapes]):
        if len(set(names)) < len(names):
            return False
    return all(_is_plain(name) for name in {s.attribute for s in shapes} | lookalikes(model))


def _is_plain(attribute: str) -> bool:
    return all(sign >= " " and sign not in '"\\' for sign in attribute)


class _Maker:
    """Writes the code for one model and those inside it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._known = {**NAMES, "ttl_text": _ttl_text, "key_part": _key_part}
        self._made: dict[tuple[type[BaseModel], bool], tuple[Any, str]] = {}
        self._open: set[type[BaseModel]] = set()
        self._code: list[str] = []

    def make(
        self,
        refuses_unknown: bool,
        ignored: frozenset[str],
        keys: tuple[str, ...],
        ttl: str | None,
    ) -> Unwrapping:
        parts = self._parts(self._model, is_bare=True)
        for attribute in (*keys, ttl):
            if attribute is not None and attribute not in parts.places:
                parts.place(attribute, dict[str, Any], is_required=False)
        refuses_unknown = refuses_unknown or looks_at_unknown(self._model)
        for attribute in sorted(ignored - parts.places.keys()) if refuses_unknown else ():
            parts.place(attribute, msgspec.Raw, is_required=False)
        parts.refuse(lookalikes(self._model) - ignored)
        self._code.append(parts.function("item"))
        key = "".join(f"key_part({name!r}, s.{parts.places[name]}), " for name in sorted(keys))
        read_ttl = "None" if ttl is None else f"ttl_text(s.{parts.places[ttl]})"
        self._code.append(f"def unwrap(items):\n{INDENT}return [item(s) for s in items]")
        self._code.append(f"def ttl(s):\n{INDENT}return {read_ttl}")
        self._code.append(f"def key(s):\n{INDENT}return ({key})")
        struct = parts.struct(self._model.__name__, refuses_unknown=refuses_unknown)
        name = f"<items of {self._model.__name__}>"
        exec(compile("\n".join(self._code), name, "exec"), self._known)
        return Unwrapping(struct, *(self._known[made] for made in ("unwrap", "ttl", "key")))

    # ---- models ----------------------------------------------------------------------------------

    def _parts(self, model: type[BaseModel], *, is_bare: bool) -> Parts:
        is_bare = is_bare and not is_watched(model)
        parts = Parts(keeps_order=not is_bare)
        self._open.add(model)
        for shape in fields_of(model):
            value, key = self._field(model, shape, is_bare), shape.input_key
            must_be = model.model_fields[shape.name].is_required()
            is_required = must_be and not (shape.needs_none or shape.is_set)
            place = f"s.{parts.place(shape.attribute, value.declared, is_required=is_required)}"
            if is_required:
                parts.add(key, value.read(place))
            elif shape.is_set or shape.needs_none:
                absent = "set()" if shape.is_set else "None"
                parts.add(key, f"{absent} if {place} is UNSET else {value.read(place)}")
            else:
                parts.add_where_set(key, place, value.read("v"))
        self._open.discard(model)
        return parts

    def _field(self, model: type[BaseModel], shape: FieldShape, is_bare: bool) -> Value:
        value = None
        if shape.name not in reshaped_fields(model):
            is_bare = is_bare and shape.name not in watched_fields(model)
            value = self._value(shape.marked, is_bare)
        return value or self._general(shape.read)

    # ---- values ----------------------------------------------------------------------------------

    def _value(self, annotation: Any, is_bare: bool) -> Value | None:
        """Return how a value is read; None where only the general walk can.

        Args:
            annotation: Of a field, or of what is in a container.
            is_bare: Whether nobody sees the value before pydantic has made it what it is.
        """
        member, markers, may_be_null = peeled = peel(annotation)
        if hasattr(member, "__value__") or origin(member) in UNIONS:
            return None
        if peeled.stored_tag in ("S", "N"):
            return scalar(peeled.stored_tag, None, may_be_null)
        if peeled.stored_tag is not None or are_reshaping(markers):
            return None
        is_bare = is_bare and are_blind(markers)
        if is_model(member):
            return self._nested(member, may_be_null, is_bare)
        tag = scalar_tag(member)
        if tag is not None:
            return scalar(tag, member if is_bare else None, may_be_null)
        return self._container(member, may_be_null, is_bare)

    def _nested(self, model: type[BaseModel], may_be_null: bool, is_bare: bool) -> Value | None:
        if (
            model in self._open
            or issubclass(model, RootModel)
            or not _has_plain_names(model)
            or model.__pydantic_decorators__.model_serializers
        ):
            return None
        if (model, is_bare) not in self._made:
            parts, function = self._parts(model, is_bare=is_bare), f"m{len(self._made)}"
            parts.refuse(lookalikes(model))
            refuses_unknown = not is_bare or looks_at_unknown(model)
            struct = parts.struct(model.__name__, refuses_unknown=refuses_unknown)
            self._made[model, is_bare] = struct, function
            self._code.append(parts.function(function))
        struct, function = self._made[model, is_bare]
        return tagged("M", struct, lambda content: f"{function}({content})", may_be_null)

    def _container(self, member: Any, may_be_null: bool, is_bare: bool) -> Value | None:
        kind, args = origin(member), typing.get_args(member)
        if not args or is_free(member):
            return None
        if kind in SETS:
            return set_of(args[0], may_be_null)
        is_long = kind in LISTS and (kind is not tuple or args[1:] == (Ellipsis,))
        inner = self._value(args[1] if kind in MAPS else args[0], is_bare)
        if inner is None or not (kind in MAPS or is_long):
            return None
        got = inner.read("v")
        if kind in MAPS:
            pairs: Any = dict[str, inner.declared]  # type: ignore[name-defined]
            return tagged(
                "M", pairs, lambda c: f"{{k: {got} for k, v in {c}.items()}}", may_be_null
            )
        values: Any = list[inner.declared]  # type: ignore[name-defined]
        return tagged("L", values, lambda content: f"[{got} for v in {content}]", may_be_null)

    def _general(self, read: Callable[[Any], Any]) -> Value:
        name = f"r{len(self._known)}"
        self._known[name] = lambda value: read(with_bytes(value))
        return Value(dict[str, Any], lambda place: f"{name}({place})")


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
