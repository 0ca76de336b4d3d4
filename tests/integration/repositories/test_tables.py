"""Tables: created from their declaration, completed, compared with it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import (
    PIPELINE_CONFIG,
    PIPELINE_RUN_LOGS,
    TABLE_CONFIG,
    GlobalIndex,
    Table,
)
from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.support.engines import Capability, Engine, recorded_operations
from tests.support.sample_models import ORDERS, TASKS, Order, OrderTotal, Task, client_of

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

THREE = [PIPELINE_CONFIG, TABLE_CONFIG, PIPELINE_RUN_LOGS]


def described(repository: BaseDynamoRepository[Any]) -> dict[str, Any]:
    response = client_of(repository).describe_table(TableName=repository.table_name)
    return dict(response["Table"])


def bare(table: Table[Any], **changes: Any) -> Table[Any]:
    """Return the declaration without indexes and TTL, or with others."""
    options = {"partition_key": table.partition_key, "sort_key": table.sort_key, **changes}
    return Table(table.name, table.model, **options)


@pytest.mark.parametrize("declared", [*THREE, ORDERS, TASKS], ids=lambda table: table.name)
def test_a_created_table_is_as_declared(config: DynamoDBConfig, declared: Table[Any]) -> None:
    repository = BaseDynamoRepository(config, declared)
    repository.create_table()
    assert repository.check_table() == []
    found = described(repository)
    assert found["TableStatus"] == "ACTIVE"
    assert {index["IndexName"] for index in found.get("GlobalSecondaryIndexes", [])} == {
        index.name for index in declared.indexes
    }


def test_creating_a_table_again_changes_nothing(config: DynamoDBConfig) -> None:
    repository = BaseDynamoRepository(config, ORDERS)
    repository.create_table()
    item = repository.create(Order(customer_id="c", order_id="o"))
    with recorded_operations(client_of(repository)) as sent:
        repository.create_table()
    assert {"CreateTable", "UpdateTable"} & set(sent) == set()
    assert repository.get(("c", "o")) == item


def test_the_three_tables_are_created_together(config: DynamoDBConfig) -> None:
    create_tables(config)
    repositories = [BaseDynamoRepository(config, table) for table in THREE]
    assert [repository.check_table() for repository in repositories] == [[], [], []]


def test_a_missing_table_is_the_only_difference(config: DynamoDBConfig) -> None:
    (difference,) = BaseDynamoRepository(config, ORDERS).check_table()
    assert str(difference) == "table: declared exists, actual missing"


def test_missing_indexes_are_reported_then_added(local_config: DynamoDBConfig) -> None:
    """On one engine only: DynamoDB Local 3 at times leaves an added index in CREATING for good."""
    create_tables(local_config, bare(ORDERS))
    repository = BaseDynamoRepository(local_config, ORDERS)
    repository.put(Order(customer_id="c", order_id="o", status="old"))
    found = repository.check_table()
    assert [(d.what, d.actual) for d in found] == [
        ("index by_status", "missing"),
        ("index by_status_keys", "missing"),
        ("index by_status_summary", "missing"),
    ]
    repository.create_table()
    assert repository.check_table() == []
    assert repository.query("old", index="by_status").first() is not None


def test_an_index_with_other_keys_or_projection_is_reported(config: DynamoDBConfig) -> None:
    indexes = [GlobalIndex("by_status", "status"), *ORDERS.indexes[1:2]]
    indexes.append(GlobalIndex("by_status_summary", "status", "visits", project=OrderTotal))
    create_tables(config, bare(ORDERS, indexes=indexes))
    found = BaseDynamoRepository(config, ORDERS).check_table()
    assert [d.what for d in found] == ["index by_status", "index by_status_summary"]
    assert "total" in found[1].actual


def test_a_table_with_another_key_is_reported_and_not_touched(config: DynamoDBConfig) -> None:
    create_tables(config, bare(ORDERS, sort_key=None))
    repository = BaseDynamoRepository(config, bare(ORDERS))
    (difference,) = repository.check_table()
    assert difference.what == "key"
    with pytest.raises(ValidationError, match=r"exists with the key customer_id HASH, declared"):
        repository.create_table()


def test_ttl_is_reported_then_switched_on(engine: Engine, config: DynamoDBConfig) -> None:
    engine.require(Capability.TIME_TO_LIVE)
    create_tables(config, bare(TASKS, indexes=TASKS.indexes))
    repository = BaseDynamoRepository(config, TASKS)
    assert [str(d) for d in repository.check_table()] == ["ttl: declared expires_at, actual off"]
    repository.create_table()
    assert repository.check_table() == []


def test_protection_is_off_on_this_machine_unless_wanted(
    engine: Engine, config: DynamoDBConfig
) -> None:
    engine.require(Capability.DELETION_PROTECTION)
    repository = BaseDynamoRepository(config, bare(TASKS))
    repository.create_table()
    assert not described(repository).get("DeletionProtectionEnabled")
    repository.create_table(protect=True)
    assert described(repository)["DeletionProtectionEnabled"]
    client_of(repository).update_table(
        TableName=repository.table_name, DeletionProtectionEnabled=False
    )


def test_what_an_engine_cannot_switch_on_is_reported_and_not_fatal(
    local_config: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    repository = BaseDynamoRepository(local_config, bare(TASKS))
    with caplog.at_level(logging.WARNING):
        repository.create_table(protect=True)
    assert "point-in-time recovery could not be switched on" in caplog.text
    repository.put(Task(task_id="t"))
    client_of(repository).update_table(
        TableName=repository.table_name, DeletionProtectionEnabled=False
    )
