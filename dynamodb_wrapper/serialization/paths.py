"""Resolve paths into a model: the field, the values it accepts, their stored form."""

from __future__ import annotations

import difflib
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

import pydantic
from pydantic import BaseModel, TypeAdapter

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import SecretFree, refuse_secrets
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.annotations import FieldShape, alternatives, fields_of, is_model
from dynamodb_wrapper.serialization.encoder import prune
from dynamodb_wrapper.serialization.problems import clean_errors, explain
from dynamodb_wrapper.serialization.values import decode_value, encode_value

if TYPE_CHECKING:
    from dynamodb_wrapper.serialization.values import AttributeValue

Path = Union[str, "tuple[str | int, ...]"]
_FROZEN = ("frozen_field", "frozen_instance")


class Target(typing.NamedTuple):
    """The place in a model that a path leads to.

    Attributes:
        steps: Attribute names and list positions, for the expression.
        owner: The innermost model on the path.
        field: The field of that model the path passes.
        inside: The steps below that field.
    """

    steps: tuple[str | int, ...]
    owner: type[BaseModel] | None
    field: FieldShape | None
    inside: tuple[str | int, ...]

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
    given = (path,) if isinstance(path, str) else tuple(path)
    if not given:
        raise ValidationError("An empty path leads nowhere; give a field name or a tuple of steps.")
    if any(isinstance(step, int) and step < 0 for step in given):
        raise ValidationError(
            f"The path {given!r} counts from the end; DynamoDB counts list positions from 0."
        )
    steps: list[str | int] = []
    owner: type[BaseModel] | None = model
    field: FieldShape | None = None
    inside: list[str | int] = []
    current: Any = model
    for step in given:
        entered = current if is_model(current) else _member_with(current, step)
        if entered is not None:
            owner, field, inside = entered, _field(entered, step, given), []
            # Inside a union the attribute has the name pydantic tells the members apart by.
            name = step if field is None else field.attribute
            if entered is not current and field is not None:
                name = field.input_key
            steps.append(name)
            current = field.annotation if field else Any
        else:
            steps.append(step)
            inside.append(step)
            current = _element(current, step, given)
        current = _only_member_or_self(current)
    return Target(tuple(steps), owner, field, tuple(inside))


def _member_with(annotation: Any, step: str | int) -> type[BaseModel] | None:
    """Return the one model of a union of models that has a field; None for anything else."""
    members = alternatives(annotation)
    models = [member for member in members if is_model(member)]
    if len(models) < 2 or len(models) < len(members):
        return None
    having = [model for model in models if step in {field.name for field in fields_of(model)}]
    return having[0] if len(having) == 1 else None


def _field(model: type[BaseModel], step: str | int, path: tuple[Any, ...]) -> FieldShape | None:
    names = {field.name: field for field in fields_of(model)}
    if isinstance(step, str) and step in names:
        return names[step]
    if model.model_config.get("extra") == "allow":
        return None
    near = difflib.get_close_matches(str(step), names, n=3)
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?" if near else f"fields: {', '.join(names)}"
    )
    shown = path[0] if len(path) == 1 else path
    raise ValidationError(f"{model.__name__} has no field {step!r} (path {shown!r}); {hint}")


def _element(annotation: Any, step: str | int, path: tuple[Any, ...]) -> Any:
    found = []
    for member in alternatives(annotation):
        if member in (Any, object):
            return Any
        origin, args = typing.get_origin(member) or member, typing.get_args(member)
        if isinstance(step, str) and origin in (dict, typing.Mapping):
            found.append(args[1] if args else Any)
        elif isinstance(step, int) and origin in (list, tuple):
            found.append(_place(args, step, path))
    if not found:
        raise ValidationError(
            f"The path {path!r} goes into a value that has no {step!r}: only models, dicts (by "
            "text) and lists (by position) can be entered."
        )
    return found[0] if len(found) == 1 else Any


def _place(args: tuple[Any, ...], step: int, path: tuple[Any, ...]) -> Any:
    """Return the type of one place of a list or tuple."""
    if len(args) < 2 or args[-1] is Ellipsis:
        return args[0] if args else Any
    if step >= len(args):
        raise ValidationError(f"The path {path!r} is beyond the {len(args)} places of the tuple.")
    return args[step]


def _only_member_or_self(annotation: Any) -> Any:
    members = alternatives(annotation)
    return members[0] if len(members) == 1 else annotation


def validated(target: Target, value: Any, *, managed: bool = False) -> Any:
    """Validate a value for its place in the model and return it.

    Only the rules of the field apply: rules between fields need the whole model.

    Args:
        target: Where the value goes.
        value: The value.
        managed: Whether a frozen field may change, because the library's method for it asks.

    Raises:
        ValidationError: The field does not accept the value; the value is not shown.
    """
    if target.owner is None or target.field is None:
        return value
    _refuse_secrets(target, value)
    if managed or any(isinstance(step, int) for step in target.inside):
        return _adapted(_annotation_at(target), target, value)
    wrapped = value
    for step in reversed(target.inside):
        wrapped = {step: wrapped}
    found = _assigned(target.owner, target.field, target, wrapped)
    for step in target.inside:
        found = found[step] if isinstance(found, dict) else getattr(found, str(step))
    return found


def _refuse_secrets(target: Target, value: Any) -> None:
    """Refuse a literal secret; any name on the path may mark it as one."""
    if target.owner is None or target.field is None:
        return
    if SecretFree not in target.owner.model_fields[target.field.name].metadata:
        return
    wrapped = value
    for step in reversed(target.inside):
        wrapped = {str(step): wrapped}
    try:
        refuse_secrets({target.field.name: wrapped})
    except ValueError as error:
        raise ValidationError(f"{target.label} cannot be set: {error}.") from error


def _assigned(owner: type[BaseModel], field: FieldShape, target: Target, value: Any) -> Any:
    """Validate one field with the model's own validators, without a whole model."""
    try:
        partial = owner.model_construct()
        owner.__pydantic_validator__.validate_assignment(partial, field.name, value)
        return getattr(partial, field.name)
    except pydantic.ValidationError as error:
        own = [p for p in error.errors(include_url=False) if p["loc"][:1] == (field.name,)]
        if own and not (own[0]["type"] in _FROZEN and owner.model_config.get("frozen")):
            raise refused(target, error) from error
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # a rule between fields met the fields a partial model lacks
    whole = target._replace(inside=())
    return _adapted(_annotation_at(whole), target, value)


def _adapted(annotation: Any, target: Target, value: Any, *, strict: bool | None = None) -> Any:
    try:
        return _adapter(annotation).validate_python(value, strict=strict)
    except pydantic.ValidationError as error:
        raise refused(target, error) from error


def refused(target: Target, error: pydantic.ValidationError) -> ValidationError:
    """Return the error for a value that a field does not accept."""
    return ValidationError(
        f"{target.label} cannot be set: {explain(error)}.", errors=clean_errors(error)
    )


def _annotation_at(target: Target) -> Any:
    """Return the annotation of the place, with the markers that say how a field is stored."""
    if target.owner is None or target.field is None:
        return Any
    if not target.inside:
        return target.field.marked
    current: Any = target.field.annotation
    for step in target.inside:
        current = _only_member_or_self(_element(current, step, target.steps))
    return current


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # unhashable metadata
        return TypeAdapter(annotation)


@lru_cache(maxsize=1024)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def encode_at(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value of a validated value at its place in the model."""
    return encode_value(_dumped(_annotation_at(target), value), target.label)


def _dumped(annotation: Any, value: Any) -> Any:
    dumped = _adapter(annotation).dump_python(
        value, round_trip=True, by_alias=False, warnings=False
    )
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return prune(dumped, value)
    return dumped


def encode_operand(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value to compare a field with.

    Encoded as the field stores it where it accepts the value, else by the type of the value: a
    condition may compare with any value.
    """
    if target.field is None or value is None:
        return encode_value(value, target.label)
    annotation = _annotation_at(target)
    if annotation is str and type(value) is str and value.isascii():
        return {"S": value}  # as the adapter would; most keys are such texts
    try:
        valid = _adapter(annotation).validate_python(value)
    except pydantic.ValidationError:
        return encode_value(value, target.label)
    return encode_value(_dumped(annotation, valid), target.label)


def decode_at(target: Target, value: AttributeValue) -> Any:
    """Return the Python value of a stored value at its place in the model."""
    annotation = _annotation_at(target)
    read = target.field.read if target.field and not target.inside else decode_value
    return _adapted(annotation, target, read(value), strict=False)


def validate_whole(model: type[ModelT], values: dict[str, Any]) -> ModelT:
    """Return the model of field values.

    Raises:
        ValidationError: Fields are missing or do not fit each other.
    """
    names = {field.name: field.input_key for field in fields_of(model)}
    try:
        return model.model_validate({names.get(k, k): v for k, v in values.items()})
    except pydantic.ValidationError as error:
        raise ValidationError(
            f"{model.__name__}: the item would not be whole: {explain(error)}.",
            errors=clean_errors(error),
        ) from error
