"""Leaves out of a dumped model what its absence in the stored item already says."""

from __future__ import annotations

import typing
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import BaseModel, RootModel

from dynamodb_wrapper.wire.shapes import MAPS, alternatives, fields_of, is_model, origin


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
