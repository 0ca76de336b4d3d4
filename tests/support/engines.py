"""The engines of the tests, their capabilities, and handlers that steer a boto3 client."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig


class Capability(Enum):
    """A behaviour of DynamoDB that some engines lack; test_engines.py proves each but speed."""

    ATOMIC_WRITES = "checks a condition and writes in one step, also under concurrent requests"
    BATCH_WRITE_LIMIT = "refuses more than 25 requests in one BatchWriteItem"
    DEPTH_LIMIT = "refuses more than 31 lists and maps in one another"
    DELETION_PROTECTION = "refuses to delete a protected table"
    EXACT_CAPACITY = "counts consumed capacity by the size of the items"
    EXPRESSION_CHECKS = "refuses unused values and BETWEEN with bounds in the wrong order"
    FAST_TRANSACTIONS = "answers a transaction without copying its tables"
    INDEX_ORDER = "returns the entries of an index in the order of its sort key"
    ITEM_SIZE_LIMIT = "accepts an item just below 400 KB and refuses one above"
    MISSING_INDEX_IS_VALIDATION = "answers a query of a missing index with ValidationException"
    NUMBER_PRECISION = "refuses a number of more than 38 digits"
    POINT_IN_TIME_RECOVERY = "has the calls of point-in-time recovery"
    SORT_KEY_FIRST = "accepts a key condition that names the sort key first"
    TAGS = "has the calls of tags"
    TIME_TO_LIVE = "has the calls of time to live (nothing is ever deleted)"
    TRANSACTION_CAPACITY = "reports consumed capacity of transactions"
    TRANSACTION_IDEMPOTENCY = "applies a transaction once per ClientRequestToken"


_STRICT = frozenset(
    {
        Capability.ATOMIC_WRITES,
        Capability.BATCH_WRITE_LIMIT,
        Capability.DEPTH_LIMIT,
        Capability.DELETION_PROTECTION,
        Capability.EXACT_CAPACITY,
        Capability.FAST_TRANSACTIONS,
        Capability.INDEX_ORDER,
        Capability.ITEM_SIZE_LIMIT,
        Capability.MISSING_INDEX_IS_VALIDATION,
        Capability.NUMBER_PRECISION,
        Capability.TIME_TO_LIVE,
        Capability.TRANSACTION_CAPACITY,
        Capability.TRANSACTION_IDEMPOTENCY,
    }
)

# What the oldest supported version of an engine has counts.
CAPABILITIES: dict[str, frozenset[Capability]] = {
    "dynoxide": _STRICT | {Capability.TAGS},
    "dynamodb-local": _STRICT | {Capability.EXPRESSION_CHECKS, Capability.SORT_KEY_FIRST},
    "moto": frozenset(
        {
            Capability.ATOMIC_WRITES,
            Capability.POINT_IN_TIME_RECOVERY,
            Capability.SORT_KEY_FIRST,
            Capability.TAGS,
            Capability.TIME_TO_LIVE,
        }
    ),
}
ENGINE_NAMES = tuple(CAPABILITIES)


@dataclass(frozen=True)
class Engine:
    """A running engine.

    Attributes:
        name: Name as LocalDynamoDB knows it; for messages, not for decisions.
        config: Config without a table prefix.
        capabilities: The behaviours of DynamoDB it has.
    """

    name: str
    config: DynamoDBConfig
    capabilities: frozenset[Capability]

    def has(self, capability: Capability) -> bool:
        """Return whether the engine has a capability."""
        return capability in self.capabilities

    def require(self, *capabilities: Capability) -> None:
        """Skip the test unless the engine has all of these capabilities."""
        for capability in capabilities:
            if not self.has(capability):
                pytest.skip(f"{self.name} lacks: {capability.value}")


def isolated(config: DynamoDBConfig) -> DynamoDBConfig:
    """Return the config with a unique table prefix."""
    return config.model_copy(update={"table_prefix": f"t{uuid.uuid4().hex[:10]}"})


@contextmanager
def small_pages(client: Any, size: int = 2) -> Iterator[None]:
    """Limit every Query and Scan of the client to `size` items per page."""

    def limit(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "Limit": min(size, params.get("Limit", size))}

    events = ("provide-client-params.dynamodb.Query", "provide-client-params.dynamodb.Scan")
    with _registered(client, limit, *events):
        yield


class ScanRefusedError(AssertionError):
    """The code under test scanned."""


@contextmanager
def refuse_scan(client: Any) -> Iterator[None]:
    """Raise `ScanRefusedError` at every Scan of the client."""

    def refuse(params: dict[str, Any], **_: Any) -> None:
        raise ScanRefusedError(f"Scan of {params.get('TableName')}")

    with _registered(client, refuse, "before-parameter-build.dynamodb.Scan"):
        yield


@contextmanager
def recorded_operations(client: Any) -> Iterator[list[str]]:
    """Collect the names of the operations the client sends, in order."""
    names: list[str] = []

    def record(model: Any, **_: Any) -> None:
        names.append(model.name)

    with _registered(client, record, "before-parameter-build.dynamodb"):
        yield names


@contextmanager
def _registered(client: Any, handler: Any, *events: str) -> Iterator[None]:
    for event in events:
        client.meta.events.register(event, handler)
    try:
        yield
    finally:
        for event in events:
            client.meta.events.unregister(event, handler)
