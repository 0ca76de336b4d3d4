"""Engines have the capabilities that the tests claim for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dynamodb_wrapper.aws.client import client_for
from tests.support.engines import (
    Capability,
    ScanRefusedError,
    recorded_operations,
    refuse_scan,
    small_pages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine


class Table:
    """A table with a partition key ``p`` and a sort key ``s``, spoken to in plain boto3."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self.client = client_for(config)
        self.name = config.table_name("things")
        self.client.create_table(
            TableName=self.name,
            KeySchema=[
                {"AttributeName": "p", "KeyType": "HASH"},
                {"AttributeName": "s", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "p", "AttributeType": "S"},
                {"AttributeName": "s", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        self.client.get_waiter("table_exists").wait(TableName=self.name)

    def item(self, number: int, **attributes: Any) -> dict[str, Any]:
        return {"p": {"S": "p"}, "s": {"S": f"{number:03d}"}, **attributes}

    def put(self, number: int, **attributes: Any) -> Any:
        item = self.item(number, **attributes)
        return self.client.put_item(
            TableName=self.name, Item=item, ReturnConsumedCapacity="INDEXES"
        )

    def query(self, **parameters: Any) -> Any:
        wanted = {
            "KeyConditionExpression": "p = :p",
            "ExpressionAttributeValues": {":p": {"S": "p"}},
            **parameters,
        }
        return self.client.query(TableName=self.name, **wanted)

    def put_in_transaction(self, **parameters: Any) -> Any:
        put = {"Put": {"TableName": self.name, "Item": self.item(1)}}
        return self.client.transact_write_items(TransactItems=[put], **parameters)


@pytest.fixture
def table(config: DynamoDBConfig) -> Iterator[Table]:
    table = Table(config)
    yield table
    table.client.update_table(TableName=table.name, DeletionProtectionEnabled=False)
    table.client.delete_table(TableName=table.name)


def refused() -> Any:
    return pytest.raises(ClientError, match="ValidationException")


def test_an_item_written_is_read_back(table: Table) -> None:
    table.put(1, text={"S": "hello"})
    stored = table.client.get_item(TableName=table.name, Key=table.item(1))["Item"]
    assert stored == table.item(1, text={"S": "hello"})


def test_a_failed_condition_returns_the_stored_item(table: Table) -> None:
    table.put(1, text={"S": "first"})
    with pytest.raises(ClientError) as caught:
        table.client.put_item(
            TableName=table.name,
            Item=table.item(1),
            ConditionExpression="attribute_not_exists(p)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert caught.value.response["Item"] == table.item(1, text={"S": "first"})


def test_of_many_conditional_writes_at_once_one_is_applied(engine: Engine, table: Table) -> None:
    engine.require(Capability.ATOMIC_WRITES)

    def write(number: int) -> bool:
        try:
            table.client.put_item(
                TableName=table.name,
                Item=table.item(0, writer={"N": str(number)}),
                ConditionExpression="attribute_not_exists(p)",
            )
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(write, range(64))) == 1


def test_a_refused_transaction_undoes_nothing_that_others_write_meanwhile(
    engine: Engine, table: Table
) -> None:
    engine.require(Capability.ATOMIC_WRITES)
    table.put(0)
    taken = {"Put": {"TableName": table.name, "Item": table.item(0)}}
    taken["Put"]["ConditionExpression"] = "attribute_not_exists(p)"
    is_over = threading.Event()

    def be_refused() -> int:
        count = 0
        while not is_over.is_set():
            with pytest.raises(ClientError, match="TransactionCanceledException"):
                table.client.transact_write_items(TransactItems=[taken])
            count += 1
        return count

    def write_together(first: int) -> None:
        puts = [
            {"Put": {"TableName": table.name, "Item": table.item(first + n)}} for n in range(25)
        ]
        table.client.transact_write_items(TransactItems=puts)

    with ThreadPoolExecutor(1) as pool:
        refusals = pool.submit(be_refused)
        try:
            for first in range(1, 1001, 25):
                write_together(first)
        finally:
            is_over.set()
        assert refusals.result() > 0
    pages = table.client.get_paginator("query").paginate(
        TableName=table.name,
        KeyConditionExpression="p = :p",
        ExpressionAttributeValues={":p": {"S": "p"}},
        ConsistentRead=True,
    )
    assert sum(page["Count"] for page in pages) == 1001


def test_index_order(engine: Engine, config: DynamoDBConfig) -> None:
    engine.require(Capability.INDEX_ORDER)
    client, name = client_for(config), config.table_name("indexed")
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "p", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in "pgs"],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_g",
                "KeySchema": [
                    {"AttributeName": "g", "KeyType": "HASH"},
                    {"AttributeName": "s", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    client.get_waiter("table_exists").wait(TableName=name)
    for number, place in enumerate("dbeac"):
        item = {"p": {"S": str(number)}, "g": {"S": "g"}, "s": {"S": place}}
        client.put_item(TableName=name, Item=item)
    found = client.query(
        TableName=name,
        IndexName="by_g",
        KeyConditionExpression="g = :g",
        ExpressionAttributeValues={":g": {"S": "g"}},
    )
    assert [item["s"]["S"] for item in found["Items"]] == list("abcde")


def test_batch_write_limit(engine: Engine, table: Table) -> None:
    engine.require(Capability.BATCH_WRITE_LIMIT)
    requests = [{"PutRequest": {"Item": table.item(number)}} for number in range(26)]
    with refused():
        table.client.batch_write_item(RequestItems={table.name: requests})


def test_deletion_protection(engine: Engine, table: Table) -> None:
    engine.require(Capability.DELETION_PROTECTION)
    table.client.update_table(TableName=table.name, DeletionProtectionEnabled=True)
    with refused():
        table.client.delete_table(TableName=table.name)


def test_exact_capacity(engine: Engine, table: Table) -> None:
    engine.require(Capability.EXACT_CAPACITY)
    answer = table.put(1, text={"S": "x" * 3000})
    assert answer["ConsumedCapacity"]["CapacityUnits"] == 3


def test_expression_checks(engine: Engine, table: Table) -> None:
    engine.require(Capability.EXPRESSION_CHECKS)
    values = {":p": {"S": "p"}, ":low": {"N": "1"}, ":high": {"N": "9"}}
    with refused():
        table.query(ExpressionAttributeValues=values)
    with refused():
        table.query(FilterExpression="n BETWEEN :high AND :low", ExpressionAttributeValues=values)


def test_item_size_limit(engine: Engine, table: Table) -> None:
    engine.require(Capability.ITEM_SIZE_LIMIT)
    table.put(1, text={"S": "x" * (399 * 1024)})
    with refused():
        table.put(2, text={"S": "x" * (400 * 1024)})


def test_missing_index_is_validation(engine: Engine, table: Table) -> None:
    engine.require(Capability.MISSING_INDEX_IS_VALIDATION)
    with refused():
        table.query(IndexName="missing")


def test_number_precision(engine: Engine, table: Table) -> None:
    engine.require(Capability.NUMBER_PRECISION)
    table.put(1, digits={"N": "1" * 38})
    with refused():
        table.put(1, digits={"N": "1" * 39})


def test_depth_limit(engine: Engine, table: Table) -> None:
    engine.require(Capability.DEPTH_LIMIT)
    value: dict[str, object] = {"S": "x"}
    for _ in range(31):
        value = {"L": [value]}
    table.put(1, value=value)
    with refused():
        table.put(1, value={"L": [value]})


def test_point_in_time_recovery(engine: Engine, table: Table) -> None:
    engine.require(Capability.POINT_IN_TIME_RECOVERY)
    table.client.update_continuous_backups(
        TableName=table.name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    backups = table.client.describe_continuous_backups(TableName=table.name)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_sort_key_first(engine: Engine, table: Table) -> None:
    engine.require(Capability.SORT_KEY_FIRST)
    table.put(1)
    found = table.query(
        KeyConditionExpression="s = :s AND p = :p",
        ExpressionAttributeValues={":p": {"S": "p"}, ":s": {"S": "001"}},
    )
    assert found["Count"] == 1


def test_tags(engine: Engine, table: Table) -> None:
    engine.require(Capability.TAGS)
    arn = table.client.describe_table(TableName=table.name)["Table"]["TableArn"]
    tags = [{"Key": "team", "Value": "data"}]
    table.client.tag_resource(ResourceArn=arn, Tags=tags)
    assert table.client.list_tags_of_resource(ResourceArn=arn)["Tags"] == tags


def test_time_to_live(engine: Engine, table: Table) -> None:
    engine.require(Capability.TIME_TO_LIVE)
    table.client.update_time_to_live(
        TableName=table.name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"},
    )
    described = table.client.describe_time_to_live(TableName=table.name)
    assert described["TimeToLiveDescription"]["AttributeName"] == "expires"


def test_transaction_capacity(engine: Engine, table: Table) -> None:
    engine.require(Capability.TRANSACTION_CAPACITY)
    answer = table.put_in_transaction(ReturnConsumedCapacity="INDEXES")
    assert answer["ConsumedCapacity"][0]["CapacityUnits"] == 2


def test_transaction_idempotency(engine: Engine, table: Table) -> None:
    engine.require(Capability.TRANSACTION_IDEMPOTENCY)
    add = {
        "Update": {
            "TableName": table.name,
            "Key": table.item(1),
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }
    for _ in range(2):
        table.client.transact_write_items(TransactItems=[add], ClientRequestToken="same")
    assert table.query()["Items"] == [table.item(1, n={"N": "1"})]


def test_small_pages_cut_a_query_and_a_scan(table: Table) -> None:
    for number in range(5):
        table.put(number)
    with small_pages(table.client, size=2):
        assert table.query()["Count"] == 2
        assert table.client.scan(TableName=table.name)["Count"] == 2
    assert table.query()["Count"] == 5


def test_a_refused_scan_raises_and_only_inside_the_block(table: Table) -> None:
    with refuse_scan(table.client), pytest.raises(ScanRefusedError):
        table.client.scan(TableName=table.name)
    assert table.client.scan(TableName=table.name)["Count"] == 0


def test_operations_are_recorded_in_order(table: Table) -> None:
    with recorded_operations(table.client) as names:
        table.put(1)
        table.query()
    assert names == ["PutItem", "Query"]
