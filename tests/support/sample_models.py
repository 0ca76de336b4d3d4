"""Models, tables and repositories of an imaginary user: orders and tasks."""

from __future__ import annotations

import inspect
import uuid
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Optional

from pydantic import BaseModel, ConfigDict, Field

from dynamodb_wrapper.models import Derived, EpochSeconds, GlobalIndex, Table, UtcDatetime
from dynamodb_wrapper.repositories import BaseDynamoRepository

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Address(BaseModel):
    city: str
    street: Optional[str] = None


class Line(BaseModel):
    sku: str
    quantity: int = 1


class Order(BaseModel):
    customer_id: str
    order_id: str
    status: str = "new"
    total: Decimal = Decimal(0)
    visits: int = 0
    priority: Optional[int] = None
    labels: set[str] = Field(default_factory=set)
    notes: Optional[str] = None
    address: Optional[Address] = None
    lines: list[Line] = Field(default_factory=list)
    details: dict[str, Any] = Field(default_factory=dict)
    created_at: UtcDatetime = NEW_YEAR
    version: int = 0


class OrderSummary(BaseModel):
    order_id: str
    status: str


class OrderTotal(BaseModel):
    order_id: str
    total: Decimal


ORDERS = Table(
    "orders",
    Order,
    partition_key="customer_id",
    sort_key="order_id",
    version_field="version",
    indexes=[
        GlobalIndex("by_status", "status", "created_at"),
        GlobalIndex("by_status_keys", "status", "order_id", project="keys"),
        GlobalIndex("by_status_summary", "status", "visits", project=OrderSummary),
    ],
)


def open_list(owner: str, is_done: bool) -> Optional[str]:
    """Partition of the index of open tasks; done ones are absent."""
    return None if is_done else f"open#{owner}"


class Task(BaseModel):
    """A model with an index attribute made from two fields, a TTL and no version."""

    model_config = ConfigDict(extra="ignore")

    task_id: str
    owner: str = "nobody"
    is_done: bool = False
    title: str = ""
    expires_at: Optional[EpochSeconds] = None


TASKS = Table(
    "tasks",
    Task,
    partition_key="task_id",
    ttl="expires_at",
    indexes=[GlobalIndex("open", Derived("ix_open", ("owner", "is_done"), open_list), "task_id")],
)


def own_client(config: DynamoDBConfig, **settings: Any) -> DynamoDBConfig:
    """Return a config with a separate client, for tests that interfere with the client."""
    return config.model_copy(update={"actor": f"test-{uuid.uuid4().hex}", **settings})


def orders_of(config: DynamoDBConfig, **settings: Any) -> BaseDynamoRepository[Order]:
    """Return a repository of orders with a separate client."""
    return BaseDynamoRepository(own_client(config, **settings), ORDERS)


def client_of(repository: BaseDynamoRepository[Any]) -> Any:
    """Return the boto3 client a repository shares with everything of an equal config."""
    from dynamodb_wrapper.aws.client import client_for

    return client_for(repository.config)


def methods_of(repository: BaseDynamoRepository[Any]) -> set[str]:
    """Return the names of the public methods of a repository."""
    found = inspect.getmembers(type(repository), inspect.isfunction)
    return {name for name, _ in found if not name.startswith("_")}


def use_every_common_method(repository: BaseDynamoRepository[Any], items: list[Any]) -> set[str]:
    """Call the methods all repositories have but `scan`, and return their names.

    Args:
        repository: One of the three.
        items: Three items that are not stored; they are not stored afterwards.
    """
    first, second, third = items
    keys = [getattr(item, repository.table.partition_key) for item in items]
    repository.create_table()
    assert repository.check_table() == []
    repository.create(first)
    repository.put(second)
    repository.put_many([third])
    with repository.consumed(), repository.transaction() as transaction:
        transaction.update(repository, keys[0], set={"tags": {"a": "b"}})
    assert repository.update(keys[0], set={"tags": {}}).tags == {}
    assert repository.update(repository.get_or_raise(keys[0], consistent=True))
    assert repository.get(keys[1]) is not None
    assert repository.exists(keys[1])
    assert None not in repository.get_many(keys)
    assert repository.query(keys[1]).first() is not None
    assert repository.count(keys[1]) == 1
    repository.delete(keys[0])
    repository.delete_many(keys[1:])
    return set(
        "check_table consumed count create create_table delete delete_many exists get get_many "
        "get_or_raise put put_many query transaction update".split()
    )


def numbered(customer: str, count: int, **fields: Any) -> list[Order]:
    """Return orders of one customer, one after the other."""
    return [
        Order(**{"customer_id": customer, "order_id": f"o{n:03d}", **fields}) for n in range(count)
    ]
