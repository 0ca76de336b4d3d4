"""Validate and encode the value of one field, or of a part of it that a path names.

Every way into DynamoDB asks here: updates, keys, conditions, batches, transactions. A value so has
one stored form, the one that storing the whole model gives it.
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    RootModel,
    TypeAdapter,
    WrapValidator,
    create_model,
)
from typing_extensions import ParamSpec

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import SecretFree, peel, refuse_secrets
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.annotations import (
    READ_AS_LISTS,
    SETS,
    alternatives,
    cached_per_build,
    defines,
    fields_of,
    fields_with_serializer,
    fields_with_validator,
    is_model,
    origin,
    strip,
)
from dynamodb_wrapper.serialization.encoder import prune_value
from dynamodb_wrapper.serialization.paths import Target
from dynamodb_wrapper.serialization.problems import clean_errors, explain
from dynamodb_wrapper.serialization.values import decode_value, encode_value, python_value

if TYPE_CHECKING:
    from dynamodb_wrapper.serialization.values import AttributeValue

P = ParamSpec("P")
T = TypeVar("T")
_VALIDATORS: dict[str, Any] = {
    "after": AfterValidator,
    "before": BeforeValidator,
    "plain": PlainValidator,
    "wrap": WrapValidator,
}
_OF_WHOLE_MODELS = frozenset(
    "alias_generator defer_build extra field_title_generator from_attributes frozen "
    "json_schema_extra json_schema_serialization_defaults_required loc_by_alias "
    "model_title_generator populate_by_name protected_namespaces serialize_by_alias title "
    "use_attribute_docstrings validate_assignment validate_by_alias validate_by_name "
    "validate_default".split()
)
"""Settings of a model that say nothing about the values of a single field."""
_OF_TEXTS = (
    "str_max_length",
    "str_min_length",
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
)
"""Settings of a model that check or change texts."""
_NUMBERS = (int, float, Decimal, timedelta)
_LENGTHS = frozenset({"too_short", "too_long"})
_CONSTRAINTS = _LENGTHS | frozenset(
    "bytes_too_long bytes_too_short decimal_max_digits decimal_max_places decimal_whole_digits "
    "greater_than greater_than_equal less_than less_than_equal multiple_of "
    "string_pattern_mismatch string_too_long string_too_short".split()
)
"""Errors of values that have the type of the field; comparing the field with them is meaningful."""
_READS_OTHERS = (AttributeError, IndexError, KeyError, TypeError)


def _refusing_depth(function: Callable[P, T]) -> Callable[P, T]:
    """Name the place of a value that nests too deeply, or holds itself."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RecursionError as error:
            target: Any = args[0]
            raise ValidationError(
                f"{target.label} nests too deeply, or holds itself; DynamoDB takes 32 levels."
            ) from error

    return checked


# ---- validating ----------------------------------------------------------------------------------


@_refusing_depth
def validated(target: Target, value: Any, *, managed: bool = False) -> Any:
    """Validate a value for its place in the model and return it.

    The field's type, constraints and validators apply; rules between fields need the whole model.

    Args:
        target: Where the value goes.
        value: The value.
        managed: Whether a frozen field may change, because the library's method for it asks.

    Raises:
        ValidationError: The field does not accept the value; the value is not shown.
    """
    if target.owner is None or target.field is None:
        return value
    value = python_value(value, target.label)
    if not managed:
        refuse_frozen(target)
    _refuse_secrets(target, value)
    is_whole = not target.is_record and all(isinstance(step, str) for step in target.inside)
    if managed or not is_whole:
        return _adapted(target, target.annotation, value)
    wrapped = value
    for step in reversed(target.inside):
        wrapped = {step: wrapped}
    try:
        found = _validate_field(target, wrapped)
    except pydantic.ValidationError as error:
        lengths_only = all(
            p["type"] in _LENGTHS and len(p["loc"]) <= len(target.inside) for p in error.errors()
        )
        if target.inside and lengths_only:  # of the map, which has more entries than this one
            return _adapted(target, target.annotation, value)
        raise refused(target, error) from error
    for _ in target.inside:
        (found,) = found.values()  # the only entry, under the key that validation made of it
    return found


@_refusing_depth
def validated_elements(target: Target, values: list[Any]) -> Any:
    """Validate values to append to a list, without the limits of its length.

    Returns:
        The values in a container of the annotated type, which serializers of it expect.

    Raises:
        ValidationError: The list does not accept a value; the value is not shown.
    """
    _refuse_secrets(target, values)
    values = [python_value(value, target.label) for value in values]
    try:
        if target.owner is not None and target.field is not None and not target.inside:
            return _validate_field(target, values)
    except pydantic.ValidationError as error:
        if any(p["type"] not in _LENGTHS or len(p["loc"]) > 1 for p in error.errors()):
            raise refused(target, error) from error
    element = element_of(target.annotation)
    return _contained(target.annotation, [_adapted(target, element, value) for value in values])


def _contained(annotation: Any, values: list[Any]) -> Any:
    """Return values in the tuple, deque or root model that an annotation asks for."""
    for member in alternatives(annotation):
        if origin(member) in (tuple, deque):
            return origin(member)(values)
        if is_model(member) and issubclass(member, RootModel):
            root = fields_of(member)[0].marked
            return member.model_construct(root=_contained(root, values))
    return values


def refuse_frozen(target: Target) -> None:
    """Refuse to change a frozen field.

    Raises:
        ValidationError: The field is frozen.
    """
    if target.owner is None or target.field is None:
        return
    if target.owner.model_fields[target.field.name].frozen:
        raise ValidationError(
            f"{target.label} is frozen and cannot be set; the library's method for it changes it."
        )


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


def _validate_field(target: Target, value: Any) -> Any:
    """Validate the value of a whole field.

    Raises:
        pydantic.ValidationError: The field does not accept it.
        ValidationError: A validator of the field reads other fields.
    """
    assert target.owner is not None  # noqa: S101 - callers ask for fields only
    assert target.field is not None  # noqa: S101
    name = target.field.name
    try:
        made = _model_of_field(target.owner, name).model_validate({name: value})
    except _READS_OTHERS as error:
        raise ValidationError(
            f"{target.label} cannot be set alone: its validator raised "
            f"{type(error).__name__}, as one that reads other fields does. Update with the whole "
            "model."
        ) from error
    return getattr(made, name)


@cached_per_build
def _model_of_field(owner: type[BaseModel], name: str) -> type[BaseModel]:
    """Return a model of one field with its type, constraints and validators only."""
    info = owner.model_fields[name]
    own = owner.__pydantic_decorators__
    validators = [
        _VALIDATORS[decorator.info.mode](decorator.func)
        for decorator in own.field_validators.values()
        if name in decorator.info.fields or "*" in decorator.info.fields
    ]
    annotation: Any = info.annotation
    for marker in (*info.metadata, *validators):
        annotation = Annotated[annotation, marker]
    field: Any = Field(discriminator=info.discriminator) if info.discriminator else ...
    config = {k: v for k, v in owner.model_config.items() if k not in _OF_WHOLE_MODELS}
    fields: dict[str, Any] = {name: (annotation, field)}
    return create_model(
        owner.__name__,
        __config__=typing.cast("ConfigDict", {**config, "protected_namespaces": ()}),
        **fields,
    )


def _adapted(target: Target, annotation: Any, value: Any, *, strict: bool | None = None) -> Any:
    try:
        return _adapter(annotation).validate_python(value, strict=strict)
    except pydantic.ValidationError as error:
        raise refused(target, error) from error


def refused(target: Target, error: pydantic.ValidationError) -> ValidationError:
    """Return the error for a value that a field does not accept."""
    return ValidationError(
        f"{target.label} cannot be set: {explain(error)}.", errors=clean_errors(error)
    )


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # unhashable metadata
        return TypeAdapter(annotation)


@lru_cache(maxsize=1024)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


# ---- encoding ------------------------------------------------------------------------------------


@_refusing_depth
def encode_at(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value of a validated value at its place in the model.

    Raises:
        ValidationError: DynamoDB cannot hold the value, or only the whole model knows its form.
    """
    if target.owner is not None and target.field is not None:
        _refuse_form_of_whole(target)
    return encode_field(target, value)


@_refusing_depth
def encode_element(target: Target, value: Any) -> AttributeValue:
    """Validate and encode one element of the list or set at a place."""
    element = element_of(target.annotation)
    value = python_value(value, target.label)
    return encode_value(_dumped(element, _adapted(target, element, value)), target.label)


def element_of(annotation: Any) -> Any:
    """Return the annotation of the elements of a list or set; Any where it does not say."""
    for member in _containers(annotation):
        if origin(member) in (*READ_AS_LISTS, *SETS):
            args = typing.get_args(member)
            return args[0] if args else Any
    return Any


def _containers(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, and what is inside of a root model without serializers."""
    for member in alternatives(annotation):
        is_root = is_model(member) and issubclass(member, RootModel)
        if is_root and not fields_with_serializer(member):
            yield from _containers(fields_of(member)[0].marked)
        else:
            yield member


def _refuse_form_of_whole(target: Target) -> None:
    owner, field = target.owner, target.field
    assert owner is not None  # noqa: S101 - the caller asks for fields only
    assert field is not None  # noqa: S101
    if owner.__pydantic_decorators__.model_serializers or defines(owner, ("model_dump",)):
        raise ValidationError(
            f"{target.label} cannot be set alone: a serializer of {owner.__name__} decides how the "
            "whole model is stored. Update with the whole model."
        )
    if target.inside and field.name in fields_with_serializer(owner):
        raise ValidationError(
            f"{target.label} cannot be set alone: a serializer of {owner.__name__}.{field.name} "
            f"decides how the field is stored. Set {field.name!r} as a whole."
        )
    if owner.model_fields[field.name].exclude:
        raise ValidationError(f"{target.label} is excluded from what is stored; it cannot be set.")


def _dumped_by_field(target: Target, value: Any) -> Any:
    """Return a value as the serializer of its field leaves it."""
    assert target.owner is not None  # noqa: S101 - the caller asks for fields only
    assert target.field is not None  # noqa: S101
    name = target.field.name
    partial = target.owner.model_construct()
    partial.__dict__[name] = value
    partial.__pydantic_fields_set__.add(name)
    try:
        dumped = partial.model_dump(
            include={name}, round_trip=True, by_alias=False, warnings=False
        )[name]
    except pydantic.PydanticUserError:
        raise
    except Exception as error:
        raise ValidationError(
            f"{target.label} cannot be stored alone: its serializer raised "
            f"{type(error).__name__}, as one that reads other fields does. Update with the whole "
            "model."
        ) from error
    return prune_value(value, dumped, target.field.annotation)


def _dumped(annotation: Any, value: Any) -> Any:
    dumped = _adapter(annotation).dump_python(
        value, round_trip=True, by_alias=False, warnings=False
    )
    return prune_value(value, dumped, annotation)


def encode_field(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value of a validated value, as its field or its part of it is stored."""
    owner, field = target.owner, target.field
    is_part = bool(target.inside)
    if owner is None or field is None or is_part or field.name not in fields_with_serializer(owner):
        return encode_value(_dumped(target.annotation, value), target.label)
    return encode_value(_dumped_by_field(target, value), target.label)


@_refusing_depth
def encode_key(target: Target, value: Any) -> AttributeValue:
    """Validate and encode a value of a key field.

    Raises:
        ValidationError: The field does not accept it; the value is not shown.
    """
    value = python_value(value, target.label)
    try:
        return encode_field(target, _validate_field(target, value))
    except pydantic.ValidationError as error:
        raise ValidationError(
            f"{target.label} does not accept this key: {explain(error)}.",
            errors=clean_errors(error),
        ) from error


def is_plain_text(target: Target) -> bool:
    """Return whether a field takes every text and stores it as it is."""
    owner, field = target.owner, target.field
    if owner is None or field is None or target.annotation is not str:
        return False
    settings = any(owner.model_config.get(name) for name in _OF_TEXTS)
    changed = fields_with_validator(owner) | fields_with_serializer(owner)
    return not settings and field.name not in changed


# ---- comparing -----------------------------------------------------------------------------------


@_refusing_depth
def encode_operand(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value to compare a field with, as the field stores it.

    Constraints do not count: a price above 0 may be compared with 0.

    Raises:
        ValidationError: The value has not the type of the field.
    """
    if target.owner is None or target.field is None:
        return encode_value(value, target.label)
    name, annotation = target.field.name, target.annotation
    has_serializer = name in fields_with_serializer(target.owner)
    if annotation is str and type(value) is str and value.isascii() and not has_serializer:
        return {"S": value}  # as the adapter would
    value = python_value(value, target.label)
    try:
        if target.inside:
            valid = _adapter(annotation).validate_python(value)
        else:
            valid = _validate_field(target, value)
    except pydantic.ValidationError as error:
        if any(problem["type"] not in _CONSTRAINTS for problem in error.errors()):
            raise not_comparable(target, explain(error), clean_errors(error)) from error
        valid = _adapter(strip(annotation)).validate_python(value)
    return encode_field(target, valid)


def encode_text_part(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value of a part of a text or of binary, such as a prefix.

    Raises:
        ValidationError: It is neither, or the field is stored as something else.
    """
    if not isinstance(value, (str, bytes)):
        raise not_comparable(target, f"a part of a text is a text, not a {type(value).__name__}")
    if target.owner is None or target.field is None:
        return encode_value(value, target.label)
    members = [strip(member) for member in alternatives(target.annotation)]
    is_number = peel(target.annotation).stored_tag == "N"
    if is_number or (members and all(member in _NUMBERS for member in members)):
        raise not_comparable(target, "it is stored as a number, which has no parts")
    is_own_form = target.field.name in fields_with_serializer(target.owner) and not target.inside
    if is_own_form and members == [str]:
        return encode_value(_dumped_by_field(target, value), target.label)
    return encode_value(value, target.label)


@_refusing_depth
def encode_contained(target: Target, value: Any) -> AttributeValue:
    """Return the attribute value of what a list, a set or a text may contain.

    Raises:
        ValidationError: The field cannot contain it.
    """
    if target.owner is None or target.field is None:
        return encode_value(value, target.label)
    members = tuple(_containers(target.annotation))
    if any(member in (Any, object) for member in members):
        return encode_value(value, target.label)
    if any(origin(member) in (*READ_AS_LISTS, *SETS) for member in members):
        try:
            return encode_element(target, value)
        except ValidationError as error:
            raise not_comparable(target, str(error), error.errors()) from error
    return encode_text_part(target, value)


def not_comparable(
    target: Target, why: str, errors: Sequence[Mapping[str, Any]] = ()
) -> ValidationError:
    """Return the error for a value that a field cannot be compared with."""
    return ValidationError(f"{target.label} cannot be compared with it: {why}.", errors=errors)


# ---- reading -------------------------------------------------------------------------------------


def decode_at(target: Target, value: AttributeValue) -> Any:
    """Return the Python value of a stored value at its place in the model."""
    read: Callable[[Any], Any] = decode_value
    if target.field is not None and not target.inside:
        read = target.field.read
    return _adapted(target, target.annotation, read(value), strict=False)


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
