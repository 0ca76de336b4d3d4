"""Create tables from their declarations and report how existing ones differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.aws.retries import Backoff
from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    TableBusyError,
    TableNotFoundError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.repositories.queries import projected_attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynamodb_wrapper.aws.calls import Caller
    from dynamodb_wrapper.models.table import Derived, GlobalIndex
    from dynamodb_wrapper.repositories.item_requests import ItemRequests

logger = SafeLogger(__name__)
_PATIENCE_SECONDS = 600.0
_LONGEST_WAIT_SECONDS = 5.0


class Difference(NamedTuple):
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


class Layout(NamedTuple):
    """Keys, indexes and TTL of a table in DynamoDB, as one or several declarations want them.

    Attributes:
        key: Key schema of the table.
        indexes: Requests for the indexes, by name.
        types: Type descriptors of all key attributes, by name.
        ttl: Attribute that holds the TTL; None where it is off or not declared.
        is_shared: Whether the table holds other models too, which may declare more.
    """

    key: list[dict[str, str]]
    indexes: dict[str, dict[str, Any]]
    types: dict[str, str]
    ttl: str | None
    is_shared: bool

    @property
    def key_text(self) -> str:
        """The key for messages."""
        return _key_text(self.key)

    @property
    def definitions(self) -> list[dict[str, str]]:
        """The types of all key attributes as CreateTable takes them."""
        return [{"AttributeName": name, "AttributeType": tag} for name, tag in self.types.items()]


def layout_of(requests: ItemRequests[Any]) -> Layout:
    """Return what one declaration wants."""
    table = requests.table
    keys: list[str | Derived] = [*table.key_fields]
    for index in table.indexes:
        keys += index.keys
    return Layout(
        _key_schema(requests, table.key_fields),
        {index.name: _index(requests, index) for index in table.indexes},
        {table.attribute_of(key): table.key_tag(key) for key in keys},
        None if table.ttl is None else table.attribute_of(table.ttl),
        table.kind is not None,
    )


def common_layout(name: str, layouts: Sequence[Layout]) -> Layout:
    """Return what several declarations of one table want together.

    Raises:
        ValidationError: They contradict each other; both values are named.
    """
    first = layouts[0]
    indexes, types, ttl = dict(first.indexes), dict(first.types), first.ttl
    for layout in layouts[1:]:
        _refuse_contradiction(name, "the key", first.key_text, layout.key_text)
        for index, wanted in layout.indexes.items():
            known = indexes.setdefault(index, wanted)
            _refuse_contradiction(name, f"index {index!r}", _index_text(known), _index_text(wanted))
        for attribute, tag in layout.types.items():
            known_tag = types.setdefault(attribute, tag)
            _refuse_contradiction(name, f"the type of key {attribute!r}", known_tag, tag)
        if layout.ttl is not None:
            _refuse_contradiction(name, "the TTL", ttl or layout.ttl, layout.ttl)
            ttl = layout.ttl
    is_shared = any(layout.is_shared for layout in layouts)
    return Layout(first.key, indexes, types, ttl, is_shared)


def _refuse_contradiction(name: str, what: str, one: str, other: str) -> None:
    if one != other:
        raise ValidationError(
            f"The declarations of table {name!r} contradict each other: {what} is {one} in one, "
            f"{other} in another. Models that share a table name its keys, indexes and TTL alike; "
            "serialization_alias gives a field the attribute of another model's."
        )


def add_missing_parts(caller: Caller, layout: Layout, *, protect: bool) -> None:
    """Create the table or add what it lacks; see `BaseDynamoRepository.create_table`."""
    description = _describe(caller)
    if description is None:
        _create(caller, layout, protect)
        description = _wait_until_active(caller)
    actual_key = _key_text(description["KeySchema"])
    if actual_key != (declared_key := layout.key_text):
        raise ValidationError(
            f"Table {caller.table_name!r} exists with the key {actual_key}, declared is "
            f"{declared_key}. A key cannot change: choose another name or prefix.",
            table_name=caller.table_name,
        )
    _add_indexes(caller, layout, description)
    _switch_on_ttl(caller, layout)
    if protect:
        _protect(caller, description)


def find_differences(caller: Caller, layout: Layout) -> list[Difference]:
    """Return the differences; see `BaseDynamoRepository.check_table`."""
    description = _describe(caller)
    if description is None:
        return [Difference("table", "exists", "missing")]
    found = []
    declared_key, actual_key = layout.key_text, _key_text(description["KeySchema"])
    if declared_key != actual_key:
        found.append(Difference("key", declared_key, actual_key))
    actual_indexes = {i["IndexName"]: i for i in description.get("GlobalSecondaryIndexes", [])}
    for name, wanted in layout.indexes.items():
        actual = actual_indexes.get(name)
        declared_text = _index_text(wanted)
        actual_text = "missing" if actual is None else _index_text(actual)
        if declared_text != actual_text:
            found.append(Difference(f"index {name}", declared_text, actual_text))
    ttl, actual_ttl = layout.ttl, _actual_ttl(caller)
    if ttl != actual_ttl and not (ttl is None and layout.is_shared):
        found.append(Difference("ttl", ttl or "off", actual_ttl or "off"))
    return found


def _describe(caller: Caller) -> dict[str, Any] | None:
    try:
        response = caller.call("DescribeTable", {"TableName": caller.table_name})
    except TableNotFoundError:
        return None
    return dict(response["Table"])


def _create(caller: Caller, layout: Layout, protect: bool) -> None:
    request: dict[str, Any] = {
        "TableName": caller.table_name,
        "KeySchema": layout.key,
        "AttributeDefinitions": layout.definitions,
        "BillingMode": "PAY_PER_REQUEST",
    }
    if protect:
        request["DeletionProtectionEnabled"] = True
    if layout.indexes:
        request["GlobalSecondaryIndexes"] = list(layout.indexes.values())
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


def _add_indexes(caller: Caller, layout: Layout, description: dict[str, Any]) -> None:
    """Add missing indexes one by one: DynamoDB takes one change at a time."""
    actual = {i["IndexName"] for i in description.get("GlobalSecondaryIndexes", [])}
    for name, index in layout.indexes.items():
        if name in actual:
            continue
        caller.call(
            "UpdateTable",
            {
                "TableName": caller.table_name,
                "AttributeDefinitions": layout.definitions,
                "GlobalSecondaryIndexUpdates": [{"Create": index}],
            },
        )
        _wait_until_active(caller)


def _switch_on_ttl(caller: Caller, layout: Layout) -> None:
    ttl = layout.ttl
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


def _key_text(schema: list[dict[str, str]]) -> str:
    parts = sorted(schema, key=lambda part: part["KeyType"])
    return ", ".join(f"{part['AttributeName']} {part['KeyType']}" for part in parts)


def _index_text(index: dict[str, Any]) -> str:
    projection = index.get("Projection", {})
    names = ", ".join(sorted(projection.get("NonKeyAttributes") or []))
    kind = projection.get("ProjectionType", "")
    return f"{_key_text(index['KeySchema'])}, {kind}{f' ({names})' if names else ''}"
