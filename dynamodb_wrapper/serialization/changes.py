"""Changes of single fields of an item, checked against its model.

A condition guards what a change could break: the length of a list that is appended to, the limits
of a number that is added to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.serialization.annotations import (
    alternatives,
    change_stored_type,
    fields_with_serializer,
    strip,
)
from dynamodb_wrapper.serialization.field_values import (
    encode_at,
    encode_element,
    refuse_frozen,
    validated,
    validated_elements,
)
from dynamodb_wrapper.serialization.paths import Path, Target, resolve
from dynamodb_wrapper.serialization.values import encode_value

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.serialization.expressions import Expressions, Update
    from dynamodb_wrapper.serialization.values import AttributeValue

Changes = Mapping[Path, Any]


class Guard(NamedTuple):
    """A condition that keeps a change within the limits of its field.

    Attributes:
        steps: The place.
        format: The condition, with ``{path}`` and ``{value}``.
        value: The encoded bound.
        label: The limit in words, for the error.
    """

    steps: tuple[str | int, ...]
    format: str
    value: AttributeValue
    label: str

    def text(self, expressions: Expressions) -> str:
        """Return the text of the condition."""
        path, value = expressions.path(self.steps), expressions.value(self.value)
        return self.format.format(path=path, value=value)


class CheckedChanges(NamedTuple):
    """Typed changes of one item, checked against its model.

    Attributes:
        values: Whole fields that get a value, validated.
        removed: Whole fields that are removed.
        touched: Every top-level field that changes.
        clauses: What to add to the update: method name, steps, encoded value.
        guards: Conditions without which a limit could be broken.
    """

    values: dict[str, Any]
    removed: set[str]
    touched: set[str]
    clauses: list[tuple[str, tuple[str | int, ...], AttributeValue | None]]
    guards: list[Guard]

    def nested_paths(self) -> tuple[tuple[str | int, ...], ...]:
        """Return the paths that lead into other values, which must be there."""
        return tuple(steps for _, steps, _ in self.clauses if len(steps) > 1)

    def write(self, update: Update) -> None:
        """Add the changes to an update."""
        for verb, steps, value in self.clauses:
            if value is None:
                update.remove(steps)
            else:
                getattr(update, verb)(steps, value)


def refuse_changes(*given: Any) -> None:
    """Refuse changes of single fields beside a model, which is written as a whole.

    Raises:
        ValidationError: One of the arguments is neither absent nor empty.
    """
    for value in given:
        is_empty = isinstance(value, (Mapping, Sequence, AbstractSet)) and not value
        if not (value is None or value is False or is_empty):
            raise ValidationError("Update a model, or a key with changes, not both.")


def check_changes(
    model: type[BaseModel],
    set_: Changes | None = None,
    remove: Sequence[Path] = (),
    add: Changes | None = None,
    append: Changes | None = None,
    delete: Changes | None = None,
) -> CheckedChanges:
    """Validate changes against the fields of a model.

    Raises:
        ValidationError: An unknown field, a value the field does not accept, or overlapping paths.
    """
    checked = CheckedChanges({}, set(), set(), [], [])
    targets: list[Target] = []
    verbs = {"set": set_, "add": add, "append": append, "delete": delete}
    for verb, changes in verbs.items():
        for path, value in _mapping(verb, changes).items():
            target = resolve(model, path)
            _refuse_undecided(target)
            targets.append(target)
            checked.touched.add(_first(path))
            if verb == "set":
                _set(checked, target, value, _first(path))
            else:
                _CHANGES[verb](checked, target, value)
    for path in _paths(remove):
        target = resolve(model, path)
        _refuse_undecided(target)
        targets.append(target)
        _remove(checked, model, path, target)
    _refuse_overlaps(targets)
    if not targets:
        raise ValidationError("An update without changes: give set, remove, add, append or delete.")
    return checked


def _mapping(verb: str, changes: Any) -> Mapping[Path, Any]:
    if changes is None:
        return {}
    if not isinstance(changes, Mapping):
        kind = type(changes).__name__
        raise ValidationError(f"{verb}= takes a dict of path to value, not a {kind}.")
    return changes


def _paths(remove: Any) -> Sequence[Path]:
    if isinstance(remove, str):
        return [remove]
    if isinstance(remove, Mapping) or not isinstance(remove, (Sequence, AbstractSet)):
        kind = type(remove).__name__
        raise ValidationError(f"remove= takes a list of paths, not a {kind}.")
    return list(remove)


def _first(path: Path) -> str:
    return path if isinstance(path, str) else str(path[0])


# ---- set and remove ------------------------------------------------------------------------------


def _set(checked: CheckedChanges, target: Target, value: Any, name: str) -> None:
    valid = validated(target, value)
    encoded = encode_at(target, valid)
    is_whole = len(target.steps) == 1
    if is_whole:
        checked.values[name] = valid
    is_absent = target.field is not None and not target.inside and _means_absent(target, valid)
    if is_absent and is_whole:
        checked.removed.add(name)
    checked.clauses.append(("set", target.steps, None if is_absent else encoded))


def _means_absent(target: Target, value: Any) -> bool:
    field = target.field
    return field is not None and (
        (value is None and field.omits_none)
        or (field.is_set and isinstance(value, AbstractSet) and not value)
    )


def _refuse_undecided(target: Target) -> None:
    if target.undecided:
        names = ", ".join(model.__name__ for model in target.undecided)
        raise ValidationError(
            f"{target.label} cannot be changed by a path: it is another kind of value in each of "
            f"{names}, and which of them is stored is not known. Set the value around it."
        )


def _remove(checked: CheckedChanges, model: type[BaseModel], path: Path, target: Target) -> None:
    name = _first(path)
    checked.touched.add(name)
    refuse_frozen(target)
    if target.is_required:
        raise ValidationError(
            f"{target.label} is a required field; the value around it could not be read without it."
        )
    if target.owner is not None and target.field is not None and not target.inside:
        required = target.owner.model_fields[target.field.name].is_required()
        if required and not (target.field.is_set or target.field.omits_none):
            raise ValidationError(
                f"{target.label} is a required field; an item without it could not be read."
            )
    if len(target.steps) == 1:
        checked.removed.add(name)
        info = model.model_fields.get(name)
        # A default made from other fields is known only when the item is read.
        if info is None or not getattr(info, "default_factory_takes_validated_data", False):
            default = info.get_default(call_default_factory=True) if info else None
            checked.values[name] = default
    checked.clauses.append(("remove", target.steps, None))


# ---- lists ---------------------------------------------------------------------------------------


def _append(checked: CheckedChanges, target: Target, value: Any) -> None:
    refuse_frozen(target)
    if not isinstance(value, (list, tuple)):
        raise ValidationError(f"{target.label}: append takes a list of values to append.")
    encoded = encode_at(target, validated_elements(target, list(value)))
    if "L" not in encoded:
        raise ValidationError(f"{target.label} is not a list; only lists can be appended to.")
    checked.clauses.append(("append", target.steps, encoded))
    _guard_length(checked, target, len(encoded["L"]))


def _guard_length(checked: CheckedChanges, target: Target, more: int) -> None:
    limit = _limits(target.annotation).get("max_length")
    if limit is None:
        return
    if more > limit:
        raise ValidationError(f"{target.label} has a max_length of {limit}; {more} are too many.")
    checked.guards.append(
        Guard(
            target.steps,
            "(attribute_not_exists({path}) OR size({path}) <= {value})",
            {"N": str(limit - more)},
            f"{target.label} has a max_length of {limit}",
        )
    )


# ---- numbers and sets ----------------------------------------------------------------------------


def _add(checked: CheckedChanges, target: Target, value: Any) -> None:
    refuse_frozen(target)
    if isinstance(value, AbstractSet):
        checked.clauses.append(("add", target.steps, _members(target, value)))
        _guard_length(checked, target, len(value))
        return
    encoded = _addend(target, value)
    checked.clauses.append(("add", target.steps, encoded))
    _guard_sum(checked, target, Decimal(encoded["N"]))


def _delete(checked: CheckedChanges, target: Target, value: Any) -> None:
    refuse_frozen(target)
    if not isinstance(value, AbstractSet):
        raise ValidationError(f"{target.label}: delete takes a set of values to take out of a set.")
    checked.clauses.append(("delete", target.steps, _members(target, value)))


def _members(target: Target, values: AbstractSet[Any]) -> AttributeValue:
    """Return a set of encoded members."""
    if target.field is not None and target.field.is_set is False and not _may_be_set(target):
        raise ValidationError(f"{target.label} is not a set.")
    encoded = [encode_element(target, value) for value in values]
    tags = {tag for member in encoded for tag in member}
    if len(tags) != 1 or not tags <= {"S", "N", "B"}:
        raise ValidationError(
            f"{target.label}: give a non-empty set of texts only, numbers only or bytes only."
        )
    tag = tags.pop()
    return {f"{tag}S": sorted(member[tag] for member in encoded)}


def _may_be_set(target: Target) -> bool:
    members = alternatives(target.annotation)
    classes = [getattr(member, "__origin__", member) for member in members]
    return any(
        member in (Any, object) or (isinstance(member, type) and issubclass(member, AbstractSet))
        for member in classes
    )


def _addend(target: Target, value: Any) -> AttributeValue:
    """Return the number to add, in the unit the field is stored in."""
    _refuse_own_form(target)
    members = [strip(member) for member in alternatives(target.annotation)]
    if isinstance(value, timedelta) and timedelta not in members:
        value = _in_unit_of(target, value)
    encoded = encode_value(value, target.label)
    if "N" not in encoded:
        raise ValidationError(f"{target.label}: only a number or a non-empty set can be added.")
    if target.field is None or any(member in (Any, object) for member in members):
        return encoded
    stored_as_number = _unit(target) is not None
    numbers = [m for m in members if m in (int, float, Decimal, timedelta) or stored_as_number]
    if not numbers:
        raise ValidationError(f"{target.label} is not stored as a number; nothing can be added.")
    if numbers == [int] and Decimal(encoded["N"]) % 1:
        raise ValidationError(f"{target.label} is a whole number; add an int.")
    return encoded


def _refuse_own_form(target: Target) -> None:
    """Refuse to add where a serializer decides how the number is stored: the unit is unknown."""
    if target.owner is None or target.field is None:
        return
    by_model = target.field.name in fields_with_serializer(target.owner)
    if by_model or (_unit(target) is None and change_stored_type(_markers(target.annotation))):
        raise ValidationError(
            f"{target.label} is stored in the form its serializer gives it; DynamoDB cannot "
            "add to it; set the new value."
        )


def _unit(target: Target) -> timedelta | None:
    """Return the step of a moment that is stored as a number; None for any other type."""
    units = {"EpochSeconds": timedelta(seconds=1), "EpochMillis": timedelta(milliseconds=1)}
    names = [getattr(marker, "name", None) for marker in _markers(target.annotation)]
    return next((units[name] for name in names if name in units), None)


def _in_unit_of(target: Target, value: timedelta) -> int:
    unit = _unit(target)
    if unit is None:
        raise ValidationError(
            f"{target.label} is no duration and no moment stored as a number; a timedelta cannot "
            "be added to it."
        )
    if value % unit:
        raise ValidationError(f"{target.label} is stored in steps of {unit}; {value} is no number.")
    return value // unit


_SUMS = {"le": "<=", "lt": "<", "ge": ">=", "gt": ">"}


def _guard_sum(checked: CheckedChanges, target: Target, more: Decimal) -> None:
    """Guard the limits of a number; where there is none yet, it counts as 0."""
    for name, limit in _limits(target.annotation).items():
        if name not in _SUMS or isinstance(limit, (datetime, date, time, timedelta)):
            continue
        bound, sign = Decimal(str(limit)), _SUMS[name]
        left = bound - more
        fits_alone = {"<=": left >= 0, "<": left > 0, ">=": left <= 0, ">": left < 0}[sign]
        absent = "attribute_not_exists({path}) OR " if fits_alone else ""
        checked.guards.append(
            Guard(
                target.steps,
                f"({absent}{{path}} {sign} {{value}})",
                encode_value(left, target.label),
                f"{target.label} must be {sign} {limit}",
            )
        )


def _limits(annotation: Any) -> dict[str, Any]:
    """Return the limits that the markers of an annotation set, by their names in pydantic."""
    limits: dict[str, Any] = {}
    for marker in _markers(annotation):
        for name in ("max_length", "le", "lt", "ge", "gt"):
            limit = getattr(marker, name, None)
            if limit is not None:
                limits[name] = limit
    return limits


def _markers(annotation: Any) -> list[Any]:
    found: list[Any] = []
    while hasattr(annotation, "__metadata__"):
        for marker in annotation.__metadata__:
            found += getattr(marker, "metadata", None) or [marker]
        annotation = annotation.__origin__
    for member in alternatives(annotation):
        if hasattr(member, "__metadata__"):
            found += _markers(member)
    return found


_CHANGES = {"add": _add, "append": _append, "delete": _delete}


def _refuse_overlaps(targets: list[Target]) -> None:
    seen = sorted((target.steps for target in targets), key=lambda steps: list(map(str, steps)))
    for first, second in zip(seen, seen[1:]):
        if second[: len(first)] == first:
            shown = ".".join(map(str, first))
            raise ValidationError(f"The update changes {shown!r} twice, or it and a part of it.")
