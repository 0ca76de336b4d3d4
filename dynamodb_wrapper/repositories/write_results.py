"""Handle the result of a write: refresh the model, or explain why a condition failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.calls import botocore_error
from dynamodb_wrapper.exceptions.errors import (
    ConditionFailedError,
    DynamoDBWrapperError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.repositories.item_requests import Guards
from dynamodb_wrapper.serialization.codec import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.models.table import Table
    from dynamodb_wrapper.repositories.item_requests import Write

UNKNOWN = (
    "The reply to an earlier attempt of this call was lost; it may have been applied, and may be "
    "the reason: read the item to find out."
)
"""What the message of an error with `maybe_applied` says."""

_NO_PARENT = "document path"
"""What DynamoDB says of a path into a value that is not there."""


def refreshed(item: ModelT, values: dict[str, Any]) -> ModelT:
    """Return the caller's object with the stored values; a copy if its model is frozen."""
    if item.model_config.get("frozen"):
        return item.model_copy(update=values)
    extra = item.model_extra
    for name, value in values.items():
        is_extra = extra is not None and name not in type(item).model_fields
        (extra if extra is not None and is_extra else item.__dict__)[name] = value
    item.model_fields_set.update(values)
    return item


def landed_before(write: Write, error: ConditionFailedError) -> dict[str, Any] | None:
    """Return a response when an earlier attempt of the same request was applied after all.

    The SDK sends again when a reply is lost; the second attempt then meets what the first wrote.
    Only the write's token proves that: an equal item may be another writer's.
    """
    found = botocore_error(error).get("Item")
    return {"Attributes": found} if found and has_landed(found, write.token) else None


def has_landed(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a stored item shows that an earlier attempt of a refused write was applied.

    Args:
        found: The item.
        wanted: Values that only this write gives to the item.
    """
    return bool(wanted) and all(found.get(name) == value for name, value in wanted.items())


def explain_missing_parent(write: Write, error: ValidationError) -> ValidationError | None:
    """Return the error for a path into a value that is not there; None for any other refusal."""
    if not write.nested or _NO_PARENT not in str(error):
        return None
    paths = "; ".join(
        f"{path!r} needs {(path[:-1] if len(path) > 2 else path[0])!r}" for path in write.nested
    )
    return ValidationError(
        f"The item {write.plain_key} in table {error.table_name!r} has no value at the parent of a "
        f"path ({paths}), so nothing was written. Set the parent first, as a whole.",
        table_name=error.table_name,
        key=write.plain_key,
        operation=error.operation,
        error_code=error.error_code,
        request_id=error.request_id,
    )


def explain_refusal(
    write: Write, error: ConditionFailedError, table: Table[Any]
) -> DynamoDBWrapperError:
    """Return the error that explains a refusal from the stored item, or from its absence."""
    found = botocore_error(error).get("Item")
    key = write.plain_key
    where = f"{key} in table {error.table_name!r}"
    context: dict[str, Any] = {
        "table_name": error.table_name,
        "key": key,
        "operation": error.operation,
        "error_code": error.error_code,
        "request_id": error.request_id,
        "maybe_applied": error.maybe_applied,
    }
    unknown = f" {UNKNOWN}" if error.maybe_applied else ""
    is_gone = not found or Guards(table).is_expired(found)
    if is_gone and write.must_exist:
        return ItemNotFoundError(f"There is no item {where} to {write.verb}.{unknown}", **context)
    reason = write.explain(found) if found and write.explain is not None else None
    if reason is not None:
        return reason
    current = plain(found)
    if write.must_be_new:
        return ItemAlreadyExistsError(
            f"There is an item {where} already; use put to replace it or update to change it."
            f"{unknown}",
            current=current,
            **context,
        )
    if write.expected_version is not None and table.version_field is not None:
        stored = (current or {}).get(table.attribute_of(table.version_field), 0)
        if stored != write.expected_version:
            return VersionConflictError(
                f"The item {where} was changed by another writer: it has version {stored}, yours "
                f"is {write.expected_version}. Read it again, then repeat the change.{unknown}",
                current=current,
                **context,
            )
    limits = f" It would break a limit: {'; '.join(write.limits)}." if write.limits else ""
    nothing = "." if unknown else "; nothing was written."
    return ConditionFailedError(
        f"The condition for the {write.verb} of {where} did not hold{nothing}{limits}{unknown}",
        current=current,
        **context,
    )
