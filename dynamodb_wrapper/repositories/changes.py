"""What changes of single fields may not do to an item, told before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Document

if TYPE_CHECKING:
    from dynamodb_wrapper.models import Table
    from dynamodb_wrapper.wire.keys import Keys
    from dynamodb_wrapper.wire.updates import CheckedChanges


def check_changes_of(table: Table[Any], keys: Keys, changes: CheckedChanges) -> None:
    """Refuse changes of keys and counters, and what would take an item out of a list or a rule.

    Raises:
        ValidationError: They do; the field is named, and what to do instead.
    """
    _check_keys(table, keys, changes)
    if issubclass(table.model, Document):
        _check_environment(table.model, changes)
        _check_rules(table.model, changes)


def _check_keys(table: Table[Any], keys: Keys, changes: CheckedChanges) -> None:
    for name in table.key_fields:
        if name in changes.touched:
            raise ValidationError(
                f"{name!r} is a key of table {table.name!r} and cannot change: create "
                "the item anew and delete the old one, in a transaction."
            )
    for _, steps, value in changes.clauses:
        if len(steps) == 1 and value is not None:
            keys.check_change(str(steps[0]), value, table.model.__name__)
    if table.version_field in changes.touched:
        raise ValidationError(f"{table.version_field!r} is raised by every update.")


def _check_environment(model: type[Document], changes: CheckedChanges) -> None:
    """Refuse to take a document out of every list."""
    if "environment" in changes.touched and not changes.values.get("environment"):
        raise ValidationError(
            f"{model.__name__}.environment cannot be removed: what has none is in "
            "no list. Set the environment it belongs to."
        )


def _check_rules(model: type[Document], changes: CheckedChanges) -> None:
    """Refuse changes of single fields that break, or may break, a rule between fields."""
    for rule in model.RULES:
        known = {name: changes.values[name] for name in rule.fields if name in changes.values}
        if not changes.touched & set(rule.fields) or rule.is_safe(known):
            continue
        missing = [name for name in rule.fields if name not in known]
        if missing:
            raise ValidationError(
                f"{model.__name__} has a rule between {', '.join(rule.fields)}: set "
                f"{', '.join(missing)} as well, or update with the whole model."
            )
        try:
            rule.check(*(known[name] for name in rule.fields))
        except ValueError as error:
            raise ValidationError(f"{model.__name__}: {error}.") from error
