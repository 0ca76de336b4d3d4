"""Create tables from their declarations and report how existing ones differ."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.retries import Backoff
from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    TableBusyError,
    TableNotFoundError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.repositories.queries import projected_attributes

if TYPE_CHECKING:
    from dynamodb_wrapper.aws.calls import Caller
    from dynamodb_wrapper.models.table import Derived, GlobalIndex
    from dynamodb_wrapper.repositories.item_requests import ItemRequests

logger = logging.getLogger(__name__)
_PATIENCE_SECONDS = 600.0
_LONGEST_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Difference:
    """One way in which a table differs from its declaration.

    Attributes:
        what: Such as ``key``, ``index by_status``, ``ttl``.
        declared: The declared value.
        actual: The value DynamoDB reports.
    """

    what: str
    declared: str
    actual: str

    def __str__(self) -> str:
        return f"{self.what}: declared {self.declared}, actual {self.actual}"


def add_missing_parts(caller: Caller, requests: ItemRequests[Any], *, protect: bool) -> None:
    """Create the table or add what it lacks; see `BaseDynamoRepository.create_table`."""
    description = _describe(caller)
    if description is None:
        _create(caller, requests, protect)
        description = _wait_until_active(caller)
    actual_key = _key_text(description["KeySchema"])
    if actual_key != (declared_key := _declared_key(requests)):
        raise ValidationError(
            f"Table {caller.table_name!r} exists with the key {actual_key}, declared is "
            f"{declared_key}. A key cannot change: choose another name or prefix.",
            table_name=caller.table_name,
        )
    _add_indexes(caller, requests, description)
    _switch_on_ttl(caller, requests)
    if protect:
        _protect(caller, description)


def find_differences(caller: Caller, requests: ItemRequests[Any]) -> list[Difference]:
    """Return the differences; see `BaseDynamoRepository.check_table`."""
    description = _describe(caller)
    if description is None:
        return [Difference("table", "exists", "missing")]
    found = []
    declared_key, actual_key = _declared_key(requests), _key_text(description["KeySchema"])
    if declared_key != actual_key:
        found.append(Difference("key", declared_key, actual_key))
    actual_indexes = {i["IndexName"]: i for i in description.get("GlobalSecondaryIndexes", [])}
    for index in requests.table.indexes:
        wanted = _index(requests, index)
        actual = actual_indexes.get(index.name)
        declared_text = _index_text(wanted)
        actual_text = "missing" if actual is None else _index_text(actual)
        if declared_text != actual_text:
            found.append(Difference(f"index {index.name}", declared_text, actual_text))
    ttl = _declared_ttl(requests)
    actual_ttl = _actual_ttl(caller)
    if ttl != actual_ttl:
        found.append(Difference("ttl", ttl or "off", actual_ttl or "off"))
    return found


def _describe(caller: Caller) -> dict[str, Any] | None:
    try:
        response = caller.call("DescribeTable", {"TableName": caller.table_name})
    except TableNotFoundError:
        return None
    return dict(response["Table"])


def _create(caller: Caller, requests: ItemRequests[Any], protect: bool) -> None:
    table = requests.table
    request: dict[str, Any] = {
        "TableName": caller.table_name,
        "KeySchema": _key_schema(requests, table.key_fields),
        "AttributeDefinitions": _definitions(requests),
        "BillingMode": "PAY_PER_REQUEST",
    }
    if protect:
        request["DeletionProtectionEnabled"] = True
    if table.indexes:
        request["GlobalSecondaryIndexes"] = [_index(requests, index) for index in table.indexes]
    try:
        caller.call("CreateTable", request)
    except TableBusyError:
        logger.info("Table %s is being created by another process.", caller.table_name)


def _wait_until_active(caller: Caller) -> dict[str, Any]:
    for _ in Backoff(_PATIENCE_SECONDS, longest_seconds=_LONGEST_WAIT_SECONDS).waits():
        description = _describe(caller)
        if description is not None:
            states = [i.get("IndexStatus") for i in description.get("GlobalSecondaryIndexes", [])]
            if {description.get("TableStatus"), *states} <= {"ACTIVE", None}:
                return description
    raise TableBusyError(
        f"Table {caller.table_name!r} is not ACTIVE after {_PATIENCE_SECONDS:g} s.",
        table_name=caller.table_name,
        operation="DescribeTable",
        retryable=True,
    )


def _add_indexes(caller: Caller, requests: ItemRequests[Any], description: dict[str, Any]) -> None:
    """Add missing indexes one by one: DynamoDB takes one change at a time."""
    actual = {i["IndexName"] for i in description.get("GlobalSecondaryIndexes", [])}
    for index in requests.table.indexes:
        if index.name in actual:
            continue
        caller.call(
            "UpdateTable",
            {
                "TableName": caller.table_name,
                "AttributeDefinitions": _definitions(requests),
                "GlobalSecondaryIndexUpdates": [{"Create": _index(requests, index)}],
            },
        )
        _wait_until_active(caller)


def _switch_on_ttl(caller: Caller, requests: ItemRequests[Any]) -> None:
    ttl = _declared_ttl(requests)
    if ttl is None or _actual_ttl(caller) == ttl:
        return
    _attempt(
        caller,
        "UpdateTimeToLive",
        {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": ttl}},
        "TTL",
    )


def _protect(caller: Caller, description: dict[str, Any]) -> None:
    if not description.get("DeletionProtectionEnabled"):
        _attempt(caller, "UpdateTable", {"DeletionProtectionEnabled": True}, "deletion protection")
    _attempt(
        caller,
        "UpdateContinuousBackups",
        {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}},
        "point-in-time recovery",
    )


def _attempt(caller: Caller, operation: str, request: dict[str, Any], what: str) -> None:
    """Switch something on; an engine that has no such call is reported, not fatal."""
    try:
        caller.call(operation, {"TableName": caller.table_name, **request})
    except (ThrottledError, TableNotFoundError):
        raise
    except DynamoDBWrapperError as error:
        logger.warning("Table %s: %s could not be switched on: %s", caller.table_name, what, error)


def _declared_ttl(requests: ItemRequests[Any]) -> str | None:
    ttl = requests.table.ttl
    return None if ttl is None else requests.table.attribute_of(ttl)


def _actual_ttl(caller: Caller) -> str | None:
    try:
        response = caller.call("DescribeTimeToLive", {"TableName": caller.table_name})
    except (ThrottledError, TableNotFoundError):
        raise
    except DynamoDBWrapperError as error:
        logger.warning("Table %s: TTL cannot be read: %s", caller.table_name, error)
        return None
    ttl = response.get("TimeToLiveDescription", {})
    return ttl.get("AttributeName") if ttl.get("TimeToLiveStatus", "").startswith("ENABL") else None


def _definitions(requests: ItemRequests[Any]) -> list[dict[str, str]]:
    table = requests.table
    keys: list[str | Derived] = [*table.key_fields]
    for index in table.indexes:
        keys += index.keys
    tags = {table.attribute_of(key): table.key_tag(key) for key in keys}
    return [{"AttributeName": name, "AttributeType": tag} for name, tag in tags.items()]


def _key_schema(
    requests: ItemRequests[Any], keys: tuple[str | Derived, ...]
) -> list[dict[str, str]]:
    return [
        {"AttributeName": requests.table.attribute_of(key), "KeyType": kind}
        for key, kind in zip(keys, ("HASH", "RANGE"))
    ]


def _index(requests: ItemRequests[Any], index: GlobalIndex) -> dict[str, Any]:
    projection: dict[str, Any] = {"ProjectionType": "ALL"}
    if index.project == "keys":
        projection = {"ProjectionType": "KEYS_ONLY"}
    elif index.project != "all":
        names = projected_attributes(requests, index)
        if names:
            projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": names}
        else:  # the keys are all the model has
            projection = {"ProjectionType": "KEYS_ONLY"}
    return {
        "IndexName": index.name,
        "KeySchema": _key_schema(requests, index.keys),
        "Projection": projection,
    }


def _declared_key(requests: ItemRequests[Any]) -> str:
    return _key_text(_key_schema(requests, requests.table.key_fields))


def _key_text(schema: list[dict[str, str]]) -> str:
    parts = sorted(schema, key=lambda part: part["KeyType"])
    return ", ".join(f"{part['AttributeName']} {part['KeyType']}" for part in parts)


def _index_text(index: dict[str, Any]) -> str:
    projection = index.get("Projection", {})
    names = ", ".join(sorted(projection.get("NonKeyAttributes") or []))
    kind = projection.get("ProjectionType", "")
    return f"{_key_text(index['KeySchema'])}, {kind}{f' ({names})' if names else ''}"
