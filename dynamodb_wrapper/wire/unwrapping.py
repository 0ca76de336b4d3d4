"""Code that takes stored items of one model out of their type descriptors, made once per model.

The items arrive as msgspec structs, one class per model, which C code fills straight from the JSON
of a reply. What is generated here returns for each the dict that `shapes.read_fields` would return,
for the model's own validator. It handles what the annotations lead one to expect; anything else
raises, and the item is read again by the general walk, which says what is wrong or finds that
nothing is.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import msgspec
from msgspec import UNSET
from pydantic import BaseModel, RootModel

from dynamodb_wrapper.config import with_bytes
from dynamodb_wrapper.wire.builds import per_build
from dynamodb_wrapper.wire.identity import comparable
from dynamodb_wrapper.wire.observers import (
    are_blind,
    are_reshaping,
    is_watched,
    lookalikes,
    looks_at_unknown,
    reshaped_fields,
    watched_fields,
)
from dynamodb_wrapper.wire.parts import INDENT, Parts
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
from dynamodb_wrapper.wire.wrappers import (
    NAMES,
    UnexpectedError,
    Value,
    peel,
    scalar,
    scalar_tag,
    set_of,
    tagged,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


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
