"""Resolve paths into a model: the field, the values it accepts, their stored form."""

from __future__ import annotations

import dataclasses
import typing
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Union
from uuid import UUID

import pydantic
from pydantic import BaseModel, TypeAdapter

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.serialization.annotations import (
    FieldShape,
    alternatives,
    fields_of,
    fields_with_serializer,
    fields_with_validator,
    is_model,
)
from dynamodb_wrapper.serialization.values import map_key

Path = Union[str, "tuple[str | int, ...]"]


class Target(typing.NamedTuple):
    """The place in a model that a path leads to.

    Attributes:
        steps: Attribute names and list positions, for the expression.
        owner: The innermost model on the path.
        field: The field of that model the path passes.
        inside: The steps below that field.
        annotation: The annotation of the place, with the markers that say how a value is checked
            and stored.
        is_record: Whether the steps below the field enter a dataclass or TypedDict.
        is_required: Whether a dataclass or TypedDict cannot be read without the place.
        undecided: The models of a union that disagree on the field; it can be compared, not
            changed, because which of them is stored is not known.
    """

    steps: tuple[str | int, ...]
    owner: type[BaseModel] | None
    field: FieldShape | None
    inside: tuple[Any, ...]
    annotation: Any = Any
    is_record: bool = False
    is_required: bool = False
    undecided: tuple[type[BaseModel], ...] = ()

    @property
    def text(self) -> str:
        """The path as text, such as ``stages.load[0]``."""
        text = ""
        for step in self.steps:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text

    @property
    def label(self) -> str:
        """Model and path, for error texts."""
        return f"{self.owner.__name__ if self.owner else 'item'}.{self.text}"


def resolve(model: type[BaseModel], path: Path) -> Target:
    """Resolve a path of field names, map keys and list positions.

    Raises:
        ValidationError: No such field; the nearest names are suggested.
    """
    given = _steps_of(path)
    steps: list[str | int] = []
    owner: type[BaseModel] | None = model
    field: FieldShape | None = None
    inside: list[Any] = []
    is_record = is_required = False
    undecided: tuple[type[BaseModel], ...] = ()
    current: Any = model
    for step in given:
        only = _only_member_or_self(current)
        holders = [only] if is_model(only) else _members_with(only, step)
        if len(holders) > 1:
            place, disagree = _shared_field(holders, step)
            undecided = undecided or disagree
        elif not holders:
            place = _element(only, step, given)
        if len(holders) == 1:
            entered = holders[0]
            owner, field, inside = entered, _field(entered, step, given), []
            is_record = is_required = False
            # Inside a union the attribute has the name pydantic tells the members apart by.
            name = step if field is None else field.attribute
            if entered is not only and field is not None:
                name = field.input_key
            steps.append(name)
            current = field.marked if field else Any
        else:
            steps.append(place.stored)
            inside.append(place.key)
            is_record, is_required = is_record or place.is_record, place.is_required
            current = place.annotation
    inner = tuple(inside)
    return Target(tuple(steps), owner, field, inner, current, is_record, is_required, undecided)


def _steps_of(path: Any) -> tuple[Any, ...]:
    given = (path,) if isinstance(path, str) else tuple(path) if _is_steps(path) else ()
    if path in ("", (), []):
        raise ValidationError("An empty path leads nowhere; give a field name or a tuple of steps.")
    if not given or not all(_is_step(step) for step in given):
        raise ValidationError(
            f"{path!r} is no path; give a field name, or a tuple of field names, map keys and list "
            "positions."
        )
    return given


def _is_steps(path: Any) -> bool:
    return isinstance(path, (tuple, list))


def _is_step(step: Any) -> bool:
    """Return whether a step can be a name, a position or a key of a map."""
    if isinstance(step, str):
        return step != ""
    return isinstance(step, (bool, int, float, Decimal, date, time, timedelta, UUID, Enum))


def _members_with(annotation: Any, step: str | int) -> list[type[BaseModel]]:
    """Return the models of a union of models that have a field; none for anything else."""
    members = alternatives(annotation)
    models = [member for member in members if is_model(member)]
    if len(models) < 2 or len(models) < len(members):
        return []
    return [model for model in models if step in {field.name for field in fields_of(model)}]


def _shared_field(
    holders: list[type[BaseModel]], step: Any
) -> tuple[_Entered, tuple[type[BaseModel], ...]]:
    """Return the field that several models of a union have, and the models if they disagree on it.

    Raises:
        ValidationError: They store it under different names, or one of them stores or checks it by
            code of the model.
    """
    fields = [next(f for f in fields_of(model) if f.name == step) for model in holders]
    by_code = [
        model
        for model in holders
        if step in fields_with_serializer(model) | fields_with_validator(model)
        or model.__pydantic_decorators__.model_serializers
        or model.model_fields[step].exclude
    ]
    names = ", ".join(model.__name__ for model in holders)
    if by_code or len({field.input_key for field in fields}) > 1:
        why = f"{by_code[0].__name__} has code for it" if by_code else "its alias differs"
        raise ValidationError(
            f"{step!r} is a field of several models of a union ({names}) and {why}: a path cannot "
            "enter it. Use the value around it as a whole."
        )
    kinds = tuple(field.marked for field in fields)
    is_same = all(kind == kinds[0] for kind in kinds)
    is_required = any(model.model_fields[step].is_required() for model in holders)
    entered = _Entered(
        kinds[0] if is_same else Union[kinds], fields[0].input_key, step, True, is_required
    )
    return entered, () if is_same else tuple(holders)


def _field(model: type[BaseModel], step: str | int, path: tuple[Any, ...]) -> FieldShape | None:
    names = {field.name: field for field in fields_of(model)}
    if isinstance(step, str) and step in names:
        return names[step]
    meant = str(step).split(".")
    is_path_in_text = len(meant) > 1 and meant[0] in names
    if isinstance(step, str) and model.model_config.get("extra") == "allow" and not is_path_in_text:
        return None
    raise _no_field(model.__name__, names, step, path)


def _no_field(
    owner: str, names: Iterable[str], step: str | int, path: tuple[Any, ...]
) -> ValidationError:
    """Return the error for a step that is no field; the nearest names are suggested."""
    names = list(names)
    import difflib

    near = difflib.get_close_matches(str(step), names, n=3)
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?" if near else f"fields: {', '.join(names)}"
    )
    parts = tuple(str(step).split("."))
    if len(parts) > 1 and parts[0] in names:
        hint = f"a path is a tuple: {parts!r}"
    shown = path[0] if len(path) == 1 else path
    return ValidationError(f"{owner} has no field {step!r} (path {shown!r}); {hint}")


class _Entered(typing.NamedTuple):
    """What a step leads to.

    Attributes:
        annotation: The annotation of the place.
        stored: The step as it is stored.
        key: The step as Python has it.
        is_record: Whether it is a field of a dataclass or TypedDict.
        is_required: Whether the value around it cannot be read without it.
    """

    annotation: Any
    stored: str | int
    key: Any
    is_record: bool = False
    is_required: bool = False


def _element(annotation: Any, step: Any, path: tuple[Any, ...]) -> _Entered:
    found = []
    for member in alternatives(annotation):
        if member in (Any, object):
            _refuse_negative(step, path)
            return _Entered(Any, step, step)
        inner = _inside(member, step, path)
        if inner is not None:
            found.append(inner)
    if not found:
        raise ValidationError(
            f"The path {path!r} goes into a value that has no {step!r}: only models, dataclasses, "
            "maps (by key) and lists (by position) can be entered."
        )
    return found[0] if len(found) == 1 else found[0]._replace(annotation=Any)


def _inside(member: Any, step: Any, path: tuple[Any, ...]) -> _Entered | None:
    """Return where a step leads inside of a member; None where it has no such step."""
    kind, args = typing.get_origin(member) or member, typing.get_args(member)
    if not isinstance(kind, type):
        return None
    fields = _named_fields(kind)
    if fields is not None:
        if not isinstance(step, str):
            return None
        if step not in fields:
            raise _no_field(kind.__name__, fields, step, path)
        return _Entered(fields[step], step, step, True, step in _required_fields(kind))
    if issubclass(kind, Mapping):
        key, stored = _map_key(args[0] if args else Any, step, path)
        return _Entered(args[1] if len(args) > 1 else Any, stored, key)
    is_list = issubclass(kind, (Sequence, deque)) and not issubclass(kind, (str, bytes, bytearray))
    if is_list and isinstance(step, int):
        return _Entered(_place(args, step, path), step, step)
    return None


def _map_key(annotation: Any, step: Any, path: tuple[Any, ...]) -> tuple[Any, str]:
    """Return the key of a map as Python has it, and as it is stored.

    Raises:
        ValidationError: The map has no such keys.
    """
    if annotation in (str, Any) and type(step) is str:
        return step, step
    adapter = TypeAdapter(dict[annotation, Any])
    try:
        entry = adapter.validate_python({step: None})
        dumped = adapter.dump_python(entry, round_trip=True, by_alias=False, warnings=False)
    except (pydantic.ValidationError, TypeError) as error:
        raise ValidationError(
            f"The path {path!r}: {step!r} is no key of the map, whose keys are {annotation}."
        ) from error
    return next(iter(entry)), map_key(next(iter(dumped)), "path")


def _required_fields(kind: Any) -> frozenset[str]:
    if not dataclasses.is_dataclass(kind):
        return frozenset(kind.__required_keys__)
    missing = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    )


def _named_fields(kind: type) -> dict[str, Any] | None:
    """Return the annotations of a dataclass or TypedDict; None for any other class."""
    if not (dataclasses.is_dataclass(kind) or _is_typed_dict(kind)):
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {name: _without_qualifier(hint) for name, hint in hints.items()}


def _is_typed_dict(kind: type) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def _without_qualifier(hint: Any) -> Any:
    """Return what is inside ``Required`` and ``NotRequired``."""
    name = getattr(typing.get_origin(hint), "_name", "")
    return typing.get_args(hint)[0] if name in ("Required", "NotRequired", "ReadOnly") else hint


def _place(args: tuple[Any, ...], step: int, path: tuple[Any, ...]) -> Any:
    """Return the type of one place of a list or tuple."""
    _refuse_negative(step, path)
    if len(args) < 2 or args[-1] is Ellipsis:
        return args[0] if args else Any
    if step >= len(args):
        raise ValidationError(f"The path {path!r} is beyond the {len(args)} places of the tuple.")
    return args[step]


def _refuse_negative(step: Any, path: tuple[Any, ...]) -> None:
    if isinstance(step, int) and step < 0:
        raise ValidationError(
            f"The path {path!r} counts from the end; DynamoDB counts list positions from 0."
        )


def _only_member_or_self(annotation: Any) -> Any:
    members = alternatives(annotation)
    return members[0] if len(members) == 1 else annotation
