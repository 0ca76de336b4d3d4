"""Whose code sees stored values before pydantic has made them what they are.

Such code would notice that a number came as a float where the general walk gives int or Decimal,
that an attribute the model does not know is missing, or in which order attributes come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    PlainSerializer,
    PlainValidator,
    WrapSerializer,
)
from pydantic.fields import FieldInfo

from dynamodb_wrapper.wire.builds import per_build
from dynamodb_wrapper.wire.shapes import fields_of, readable_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

_HOOKS = ("func", "__get_pydantic_core_schema__", "__prepare_pydantic_annotations__")
_OWN_WAYS = ("__get_pydantic_core_schema__", "model_validate")
_RESHAPING = (PlainSerializer, WrapSerializer, PlainValidator, pydantic.Json)


def are_blind(markers: Iterable[Any]) -> bool:
    """Tell whether none of the markers sees a value before pydantic has checked it."""
    return all(map(_is_blind, markers))


def _is_blind(marker: Any) -> bool:
    if isinstance(marker, FieldInfo):
        return are_blind(marker.metadata)
    if marker is None or type(marker) is AfterValidator:
        return True
    module = type(marker).__module__
    if module == "annotated_types":
        return True
    return module.startswith("pydantic.") and not any(hasattr(marker, hook) for hook in _HOOKS)


def are_reshaping(markers: Iterable[Any]) -> bool:
    """Tell whether a marker makes the stored type another than the annotation suggests."""
    return any(isinstance(m, _RESHAPING) or m is pydantic.Json for m in markers)


@per_build
def is_watched(model: type[BaseModel]) -> bool:
    """Tell whether code of the user's sees the values of a model as they come."""
    own = model.__pydantic_decorators__
    if own.root_validators or any(v.info.mode != "after" for v in own.model_validators.values()):
        return True
    if getattr(model, "__pydantic_custom_init__", False):
        return True
    return validates_itself(model)


@per_build
def validates_itself(model: type[BaseModel]) -> bool:
    """Tell whether a model has its own way to be validated, which pydantic may not go in a list."""
    users = [cls for cls in model.__mro__ if not cls.__module__.startswith("pydantic.")]
    return any(name in vars(cls) for cls in users for name in _OWN_WAYS)


@per_build
def watched_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose validators see values as they come."""
    own = model.__pydantic_decorators__
    early: list[Any] = [v for v in own.field_validators.values() if v.info.mode != "after"]
    names = {name for v in [*early, *own.validators.values()] for name in v.info.fields}
    return frozenset(model.model_fields if "*" in names else names)


@per_build
def reshaped_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose stored type is for a serializer of the model's to choose."""
    own = model.__pydantic_decorators__
    names = {name for s in own.field_serializers.values() for name in s.info.fields}
    return frozenset(model.model_fields if "*" in names else names)


@per_build
def looks_at_unknown(model: type[BaseModel]) -> bool:
    """Tell whether attributes that are no fields make a difference to the model."""
    return model.model_config.get("extra") not in (None, "ignore") or is_watched(model)


@per_build
def lookalikes(model: type[BaseModel]) -> frozenset[str]:
    """Return attributes that are no fields, but that pydantic would take for one."""
    shapes = fields_of(model)
    names = {shape.name for shape in shapes if shape.input_key == shape.name}
    for info in model.model_fields.values():
        names |= _starts_of_paths(info.validation_alias)
    return (readable_names(model) | names) - {shape.attribute for shape in shapes}


def _starts_of_paths(alias: Any) -> set[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else ()
    return {str(choice.path[0]) for choice in choices if isinstance(choice, AliasPath)}
