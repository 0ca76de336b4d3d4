"""Code that takes stored items of one model out of their type descriptors, made once per model.

The items arrive as msgspec structs, one class per model, which C code fills straight from the JSON
of a reply. What is generated here returns for each the dict that `shapes.read_fields` would return,
for the model's own validator. It handles what the annotations lead one to expect; anything else
raises, and the item is read again by the general walk, which says what is wrong or finds that
nothing is.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Callable, NamedTuple, Union

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import BaseModel, RootModel

from dynamodb_wrapper.config import with_bytes
from dynamodb_wrapper.wire.attributes import decode_number
from dynamodb_wrapper.wire.identity import comparable
from dynamodb_wrapper.wire.shapes import (
    LISTS,
    MAPS,
    SETS,
    UNIONS,
    FieldShape,
    fields_of,
    is_free,
    is_model,
    origin,
    readable_names,
)
from dynamodb_wrapper.wire.wrappers import CONTENT, peel, scalar_tag, value_struct

if TYPE_CHECKING:
    from collections.abc import Iterable

_INDENT = "    "


class UnexpectedError(Exception):
    """A stored value is not of the form its annotation leads one to expect."""


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


class _Value(NamedTuple):
    """How one attribute value is declared, and the code that reads it from an expression."""

    declared: Any
    read: Callable[[str], str]


@dataclass
class _Parts:
    """Struct and function of a model while they are put together.

    Attributes:
        required: Fields of the struct that must be there.
        optional: The others.
        places: Attribute name to the name of the struct's field.
        sure: Entries every dict has.
        perhaps: Lines that add the others.
    """

    required: list[Any] = field(default_factory=list)
    optional: list[Any] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    sure: list[str] = field(default_factory=list)
    perhaps: list[str] = field(default_factory=list)

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

    def struct(self, name: str, *, refuses_unknown: bool) -> Any:
        """Return the class msgspec fills."""
        return msgspec.defstruct(
            name,
            [*self.required, *self.optional],
            rename={place: attribute for attribute, place in self.places.items()},
            forbid_unknown_fields=refuses_unknown,
            gc=False,
        )


@lru_cache(maxsize=512)
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
    if issubclass(model, RootModel):
        return None
    return _Maker(model).make(refuses_unknown, ignored, keys, ttl)


class _Maker:
    """Writes the code for one model and those inside it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._known: dict[str, Any] = {
            "UNSET": UNSET,
            "Decimal": Decimal,
            "number": decode_number,
            "null": _null,
            "ttl_text": _ttl_text,
            "key_part": _key_part,
        }
        self._made: dict[type[BaseModel], tuple[Any, str]] = {}
        self._open: set[type[BaseModel]] = set()
        self._code: list[str] = []

    def make(
        self,
        refuses_unknown: bool,
        ignored: frozenset[str],
        keys: tuple[str, ...],
        ttl: str | None,
    ) -> Unwrapping:
        parts = self._parts(self._model)
        for attribute in (*keys, ttl):
            if attribute is not None and attribute not in parts.places:
                parts.place(attribute, dict[str, Any], is_required=False)
        refuses_unknown = refuses_unknown or _looks_at_unknown(self._model)
        for attribute in sorted(ignored - parts.places.keys()) if refuses_unknown else ():
            parts.place(attribute, msgspec.Raw, is_required=False)
        self._function("item", parts)
        key = "".join(f"key_part({name!r}, s.{parts.places[name]}), " for name in sorted(keys))
        read_ttl = "None" if ttl is None else f"ttl_text(s.{parts.places[ttl]})"
        self._code.append(f"def unwrap(items):\n{_INDENT}return [item(s) for s in items]")
        self._code.append(f"def ttl(s):\n{_INDENT}return {read_ttl}")
        self._code.append(f"def key(s):\n{_INDENT}return ({key})")
        struct = parts.struct(self._model.__name__, refuses_unknown=refuses_unknown)
        name = f"<items of {self._model.__name__}>"
        exec(compile("\n".join(self._code), name, "exec"), self._known)
        return Unwrapping(struct, *(self._known[made] for made in ("unwrap", "ttl", "key")))

    # ---- models ----------------------------------------------------------------------------------

    def _parts(self, model: type[BaseModel]) -> _Parts:
        parts = _Parts()
        self._open.add(model)
        for shape in fields_of(model):
            value, key = self._field(model, shape), repr(shape.input_key)
            must_be = model.model_fields[shape.name].is_required()
            is_required = must_be and not (shape.needs_none or shape.is_set)
            place = f"s.{parts.place(shape.attribute, value.declared, is_required=is_required)}"
            if is_required:
                parts.sure.append(f"{key}: {value.read(place)}")
            elif shape.is_set or shape.needs_none:
                absent = "set()" if shape.is_set else "None"
                parts.sure.append(f"{key}: {absent} if {place} is UNSET else {value.read(place)}")
            else:
                parts.perhaps.append(f"{_INDENT}v = {place}\n{_INDENT}if v is not UNSET:")
                parts.perhaps.append(f"{_INDENT * 2}d[{key}] = {value.read('v')}")
        self._open.discard(model)
        return parts

    def _function(self, name: str, parts: _Parts) -> None:
        literal = f"{{{', '.join(parts.sure)}}}"
        body = [f"{_INDENT}return {literal}"]
        if parts.perhaps:
            body = [f"{_INDENT}d = {literal}", *parts.perhaps, f"{_INDENT}return d"]
        self._code.append("\n".join([f"def {name}(s):", *body]))

    def _field(self, model: type[BaseModel], shape: FieldShape) -> _Value:
        info = model.model_fields[shape.name]
        marked: Any = info.annotation
        for marker in info.metadata:
            marked = Annotated[marked, marker]
        is_bare = not _has_validators(model)
        return self._value(marked, is_bare) or self._general(shape.read)

    # ---- values ----------------------------------------------------------------------------------

    def _value(self, annotation: Any, is_bare: bool) -> _Value | None:
        """Return how a value is read; None where only the general walk can.

        Args:
            annotation: Of a field, or of what is in a container.
            is_bare: Whether pydantic alone checks the value, with no code of the user's, which
                would notice that a number came as a float.
        """
        member, markers, may_be_null = peeled = peel(annotation)
        if hasattr(member, "__value__") or origin(member) in UNIONS:
            return None
        if peeled.stored_tag in ("S", "N"):
            return _scalar(peeled.stored_tag, None, may_be_null)
        is_bare = is_bare and all(map(_is_constraint, markers))
        if is_model(member):
            return self._nested(member, may_be_null)
        tag = scalar_tag(member)
        if tag is not None:
            return _scalar(tag, member if is_bare or member is int else None, may_be_null)
        return self._container(member, may_be_null, is_bare)

    def _nested(self, model: type[BaseModel], may_be_null: bool) -> _Value | None:
        if model in self._open or issubclass(model, RootModel):
            return None
        if model not in self._made:
            parts, function = self._parts(model), f"m{len(self._made)}"
            struct = parts.struct(model.__name__, refuses_unknown=_looks_at_unknown(model))
            self._made[model] = struct, function
            self._function(function, parts)
        struct, function = self._made[model]
        return _tagged("M", struct, lambda content: f"{function}({content})", may_be_null)

    def _container(self, member: Any, may_be_null: bool, is_bare: bool) -> _Value | None:
        kind, args = origin(member), typing.get_args(member)
        if not args or is_free(member):
            return None
        if kind in SETS:
            return _set(args[0], may_be_null)
        is_long = kind in LISTS and (kind is not tuple or args[1:] == (Ellipsis,))
        inner = self._value(args[1] if kind in MAPS else args[0], is_bare)
        if inner is None or not (kind in MAPS or is_long):
            return None
        got = inner.read("v")
        if kind in MAPS:
            pairs: Any = dict[str, inner.declared]  # type: ignore[name-defined]
            return _tagged(
                "M", pairs, lambda c: f"{{k: {got} for k, v in {c}.items()}}", may_be_null
            )
        values: Any = list[inner.declared]  # type: ignore[name-defined]
        return _tagged("L", values, lambda content: f"[{got} for v in {content}]", may_be_null)

    def _general(self, read: Callable[[Any], Any]) -> _Value:
        name = f"r{len(self._known)}"
        self._known[name] = lambda value: read(with_bytes(value))
        return _Value(dict[str, Any], lambda place: f"{name}({place})")


def _scalar(tag: str, member: Any, may_be_null: bool) -> _Value:
    def read(content: str) -> str:
        if tag != "N":
            return content
        return f"{member.__name__ if member in (int, float, Decimal) else 'number'}({content})"

    return _tagged(tag, CONTENT[tag], read, may_be_null)


def _set(annotation: Any, may_be_null: bool) -> _Value | None:
    peeled = peel(annotation)
    tag = peeled.stored_tag or scalar_tag(peeled.member)
    if tag not in ("S", "N", "B") or hasattr(peeled.member, "__value__"):
        return None

    def read(content: str) -> str:
        return f"{{number(v) for v in {content}}}" if tag == "N" else f"set({content})"

    return _tagged(f"{tag}S", CONTENT[f"{tag}S"], read, may_be_null)


def _tagged(tag: str, content: Any, read: Callable[[str], str], may_be_null: bool) -> _Value:
    def read_value(place: str) -> str:
        got = read(f"{place}.{tag}")
        return f"({got} if {place}.{tag} is not UNSET else null({place}))" if may_be_null else got

    return _Value(value_struct(tag, content, may_be_null), read_value)


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


def _looks_at_unknown(model: type[BaseModel]) -> bool:
    """Tell whether attributes that are no fields make a difference to the model."""
    attributes = {shape.attribute for shape in fields_of(model)}
    return (
        model.model_config.get("extra") not in (None, "ignore")
        or bool(readable_names(model) - attributes)
        or _has_validators(model)
    )


@lru_cache(maxsize=512)
def _has_validators(model: type[BaseModel]) -> bool:
    """Tell whether code of the user's sees values before pydantic has made them what they are."""
    own = model.__pydantic_decorators__
    later: list[Any] = [*own.field_validators.values(), *own.model_validators.values()]
    if own.validators or own.root_validators or any(v.info.mode != "after" for v in later):
        return True
    users = [cls for cls in model.__mro__ if not cls.__module__.startswith("pydantic.")]
    return any("__get_pydantic_core_schema__" in vars(cls) for cls in users)


def _is_constraint(marker: Any) -> bool:
    return type(marker).__module__ == "annotated_types"
