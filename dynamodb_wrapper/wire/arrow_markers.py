"""What the annotations of a model leave to code: whether columns can be read without the model.

A column read by Arrow has to be what the model would have made of it. That can be known where
pydantic alone turns a stored value into the field's, and for the field types of this library.
"""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from dynamodb_wrapper.models import EpochMillis, EpochSeconds, IsoDatetime, StoredAs, UtcDatetime
from dynamodb_wrapper.models.fields import Id, SecretFree
from dynamodb_wrapper.wire.shapes import UNIONS, fields_of, readable_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HARMLESS_SETTINGS = frozenset(
    "alias_generator arbitrary_types_allowed defer_build extra from_attributes frozen "
    "hide_input_in_errors json_encoders json_schema_extra json_schema_serialization_defaults "
    "loc_by_alias populate_by_name protected_namespaces ser_json_bytes ser_json_timedelta strict "
    "title use_attribute_docstrings use_enum_values validate_assignment validate_by_alias "
    "validate_by_name".split()
)
_OWN_CODE = frozenset({"__init__", "__new__", "model_post_init", "__get_pydantic_core_schema__"})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OF_PRIVATE_ATTRIBUTES = "init_private_attributes"
_HARMLESS = [
    *(marker for type_ in (UtcDatetime, IsoDatetime, Id) for marker in typing.get_args(type_)[1:]),
    SecretFree,
]
_EPOCHS = {
    name: list(typing.get_args(type_)[1:])
    for name, type_ in (("EpochSeconds", EpochSeconds), ("EpochMillis", EpochMillis))
}
_SERIALIZERS = frozenset({"PlainSerializer", "WrapSerializer", "WithJsonSchema"})
_BOUNDS = {"Ge": "ge", "Gt": "gt", "Le": "le", "Lt": "lt", "MinLen": "min_length"}
_BOUNDS["MaxLen"] = "max_length"


class Peeled(NamedTuple):
    """An annotation without what is around it.

    Attributes:
        member: What is inside.
        markers: The markers that were around it.
        may_be_null: Whether None is allowed as well.
    """

    member: Any
    markers: tuple[Any, ...]
    may_be_null: bool


def peel(annotation: Any, markers: Iterable[Any] = ()) -> Peeled | None:
    """Return what is inside ``Annotated`` and ``Optional``; None for any other union."""
    found, may_be_null = list(markers), False
    while True:
        if hasattr(annotation, "__metadata__"):
            found += annotation.__metadata__
            annotation = annotation.__origin__
        elif typing.get_origin(annotation) in UNIONS:
            inner = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            may_be_null = may_be_null or len(inner) < len(typing.get_args(annotation))
            if len(inner) != 1:
                return None
            annotation = inner[0]
        else:
            return Peeled(annotation, tuple(found), may_be_null)


def epoch_step(markers: tuple[Any, ...]) -> str | None:
    """Return which of the library's types stored as a number the markers make."""
    for name, own in _EPOCHS.items():
        if list(markers) == own:
            return name
    return None


def limits_of(markers: Iterable[Any]) -> dict[str, Any] | None:
    """Return the limits markers set, by their names in pydantic; None where they do more."""
    limits: dict[str, Any] = {}
    for marker in _inside(markers):
        kind = type(marker)
        if marker in _HARMLESS or isinstance(marker, StoredAs) or kind.__name__ in _SERIALIZERS:
            continue
        if kind.__module__ == "annotated_types" and kind.__name__ in _BOUNDS:
            name = _BOUNDS[kind.__name__]
            found = {name: getattr(marker, name)}
        elif kind.__name__.lstrip("_") == "PydanticGeneralMetadata":
            found = dict(marker.__dict__)
        else:
            return None
        if any(limits.get(name, limit) != limit for name, limit in found.items()):
            return None
        limits.update(found)
    limits.pop("allow_inf_nan", None)  # DynamoDB has neither
    return limits


def _inside(markers: Iterable[Any]) -> Iterator[Any]:
    """Yield markers; those ``Field`` sets in place of what it returns."""
    for marker in markers:
        if isinstance(marker, FieldInfo) and marker.discriminator is None:
            yield from marker.metadata
        else:
            yield marker


def decides_alone(model: type[BaseModel], *, sees_unknown: bool = True) -> bool:
    """Tell whether pydantic's own rules for single fields make the model what it is.

    Args:
        model: The model.
        sees_unknown: Whether it is given attributes that are no fields of its.
    """
    if issubclass(model, RootModel) or set(model.model_config) - _HARMLESS_SETTINGS:
        return False
    if sees_unknown and model.model_config.get("extra") == "forbid":
        return False
    own = model.__pydantic_decorators__
    if own.validators or own.field_validators or own.root_validators or own.model_validators:
        return False
    if any(map(_has_own_code, model.__mro__)) or any(
        map(_sees_others, model.model_fields.values())
    ):
        return False
    return _has_names_of_its_own(model)


def _has_names_of_its_own(model: type[BaseModel]) -> bool:
    """Tell whether every attribute is taken for one field."""
    shapes = fields_of(model)
    attributes = {shape.attribute: shape.name for shape in shapes}
    by_name = {shape.name for shape in shapes if shape.input_key == shape.name}
    if any(name in by_name and name != own for name, own in attributes.items()):
        return False
    return len(attributes) == len(shapes) and readable_names(model) <= attributes.keys()


def _has_own_code(cls: type) -> bool:
    if cls is object or cls.__module__.startswith("pydantic."):
        return False
    found = [vars(cls)[name] for name in _OWN_CODE & vars(cls).keys()]
    return any(getattr(code, "__name__", "") != _OF_PRIVATE_ATTRIBUTES for code in found)


def _sees_others(info: FieldInfo) -> bool:
    """Tell whether code of the field may look at the other fields."""
    if getattr(info, "default_factory_takes_validated_data", False):
        return True
    own = [marker for markers in _EPOCHS.values() for marker in markers] + _HARMLESS
    markers = [*info.metadata, *_markers_inside(info.annotation)]
    return any(_takes_more(marker) for marker in markers if marker not in own)


def _markers_inside(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for inner in typing.get_args(annotation):
        yield from _markers_inside(inner)


def _takes_more(marker: Any) -> bool:
    """Tell whether a validator is given more than the value, and the handler it wraps."""
    function = getattr(marker, "func", None)
    try:
        parameters = inspect.signature(function).parameters.values() if function else ()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    return len(needed) > 1 + (type(marker).__name__ == "WrapValidator")
