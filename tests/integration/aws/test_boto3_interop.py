"""Items we write are readable by plain boto3, items plain boto3 writes are readable by us."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Optional
from uuid import UUID

import boto3
import pytest
from boto3.dynamodb.types import Binary
from pydantic import BaseModel, Field

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.models import (
    PIPELINE_CONFIG,
    PIPELINE_RUN_LOGS,
    TABLE_CONFIG,
    DataQualityResult,
    EpochMillis,
    EpochSeconds,
    IsoDatetime,
    PipelineConfig,
    PipelineRunLog,
    StageInfo,
    Table,
    TableConfig,
    UtcDatetime,
)
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    TableConfigRepository,
    create_tables,
)
from tests.support.engines import isolated
from tests.support.sample_models import Address, own_client

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=timezone.utc)
DIGITS = Decimal("1234567890123456789012345678.9012345678")


class Color(str, Enum):
    RED = "red"


class Every(BaseModel):
    """One field of every type that can be stored."""

    id: str
    text: Optional[str] = None
    data: Optional[bytes] = None
    flag: Optional[bool] = None
    whole: Optional[int] = None
    real: Optional[float] = None
    exact: Optional[Decimal] = None
    at: Optional[datetime] = None
    utc: Optional[UtcDatetime] = None
    iso: Optional[IsoDatetime] = None
    seconds: Optional[EpochSeconds] = None
    millis: Optional[EpochMillis] = None
    day: Optional[date] = None
    clock: Optional[time] = None
    took: Optional[timedelta] = None
    uuid: Optional[UUID] = None
    color: Optional[Color] = None
    texts: set[str] = Field(default_factory=set)
    numbers: set[int] = Field(default_factory=set)
    binaries: set[bytes] = Field(default_factory=set)
    items: Optional[list[Any]] = None
    pair: Optional[tuple[int, str]] = None
    named: Optional[dict[str, int]] = None
    free: Optional[dict[str, Any]] = None
    part: Optional[Address] = None
    parts: Optional[list[Address]] = None


EVERY = Table("every", Every, partition_key="id")

# Field, our value, what the resource API of boto3 shows for it.
VALUES: list[tuple[str, Any, Any]] = [
    ("text", "t", "t"),
    ("text", "", ""),
    ("text", "Ünï \U0001f600", "Ünï \U0001f600"),
    ("data", b"\x00\xff", Binary(b"\x00\xff")),
    ("data", b"", Binary(b"")),
    ("flag", True, True),
    ("flag", False, False),
    ("whole", -5, Decimal(-5)),
    ("whole", 10**38 - 1, Decimal(10**38 - 1)),
    ("real", 0.1, Decimal("0.1")),
    ("real", -2.5e-100, Decimal("-2.5E-100")),
    ("exact", DIGITS, DIGITS),
    ("exact", Decimal("1E-130"), Decimal("1E-130")),
    ("exact", Decimal("1.50"), Decimal("1.5")),
    ("at", MOMENT, "2026-03-01T12:30:15.123456Z"),
    ("utc", MOMENT.replace(microsecond=0), "2026-03-01T12:30:15.000000Z"),
    ("iso", MOMENT, "2026-03-01T12:30:15.123456+00:00"),
    ("seconds", MOMENT.replace(microsecond=0), Decimal(1772368215)),
    ("millis", MOMENT.replace(microsecond=123000), Decimal(1772368215123)),
    ("day", date(2026, 3, 1), "2026-03-01"),
    ("clock", time(12, 30, 15, 5), "12:30:15.000005"),
    ("took", timedelta(days=1, microseconds=5), Decimal("86400.000005")),
    ("uuid", UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ("color", Color.RED, "red"),
    ("texts", {"a", "b"}, {"a", "b"}),
    ("numbers", {1, 20}, {Decimal(1), Decimal(20)}),
    ("binaries", {b"a", b"b"}, {Binary(b"a"), Binary(b"b")}),
    ("items", [1, "a", None, [True]], [Decimal(1), "a", None, [True]]),
    ("items", [], []),
    ("pair", (1, "a"), [Decimal(1), "a"]),
    ("named", {"a": 1}, {"a": Decimal(1)}),
    ("named", {}, {}),
    ("free", {"n": 1.5, "d": {"l": [1]}}, {"n": Decimal("1.5"), "d": {"l": [Decimal(1)]}}),
    ("part", Address(city="Oslo"), {"city": "Oslo"}),
    ("parts", [Address(city="a", street="b")], [{"city": "a", "street": "b"}]),
]

# DynamoDB spells these out, and boto3 cannot read more than 38 digits, zeros included.
SPELLED_OUT = [Decimal("9.99E+125"), Decimal("1E+60"), Decimal("-5E+90")]


@pytest.fixture(scope="module")
def shared_config(engine: Engine) -> DynamoDBConfig:
    config = isolated(engine.config)
    create_tables(config, EVERY, PIPELINE_CONFIG, TABLE_CONFIG, PIPELINE_RUN_LOGS)
    return config


@pytest.fixture(scope="module")
def every(shared_config: DynamoDBConfig) -> BaseDynamoRepository[Every]:
    return BaseDynamoRepository(own_client(shared_config), EVERY)


@pytest.fixture(scope="module")
def resource(shared_config: DynamoDBConfig) -> Any:
    """The resource API of boto3, for users without this library."""
    return boto3.resource(
        "dynamodb",
        region_name=shared_config.region_name,
        endpoint_url=shared_config.endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


@pytest.fixture
def plain_table(resource: Any, every: BaseDynamoRepository[Every]) -> Any:
    return resource.Table(every.table_name)


@pytest.mark.parametrize(("field", "ours", "theirs"), VALUES)
def test_what_we_write_boto3_reads_and_we_read_again(
    every: BaseDynamoRepository[Every],
    plain_table: Any,
    customer: str,
    field: str,
    ours: Any,
    theirs: Any,
) -> None:
    item = Every.model_validate({"id": customer, field: ours})
    every.put(item)
    assert plain_table.get_item(Key={"id": customer})["Item"] == {"id": customer, field: theirs}
    assert every.get(customer) == item


@pytest.mark.parametrize("way", ["auto", "boto3", "a handler", "a client of the user's"])
def test_a_batch_stores_what_single_writes_store_however_it_is_sent(
    every: BaseDynamoRepository[Every], customer: str, way: str
) -> None:
    transport = way if way in ("auto", "boto3") else "auto"
    config = every.config.model_copy(update={"transport": transport, "actor": f"{way} {customer}"})
    client = boto3_client(config) if way == "a client of the user's" else None
    repository = BaseDynamoRepository(config, every.table, client=client)
    seen: list[Any] = []
    if way == "a handler":
        event = "provide-client-params.dynamodb.BatchWriteItem"
        client_for(config).meta.events.register(
            event, lambda params, **_: seen.append(dict(params))
        )
    values = [{field: ours} for field, ours, _ in map(_content, VALUES)]
    items = [Every.model_validate({"id": f"{customer}-{n}", **v}) for n, v in enumerate(values)]
    assert repository.put_many(items) == len(items)
    batched = stored_by(every, customer)
    for item in items:
        every.put(item)
    assert batched == stored_by(every, customer)
    assert len(batched) == len(items)
    if way == "a handler":
        requests = [r for params in seen for r in params["RequestItems"][every.table_name]]
        sent = {r["PutRequest"]["Item"]["id"]["S"]: r["PutRequest"]["Item"] for r in requests}
        assert sent.keys() == batched.keys()
        binary = [item["data"] for item in sent.values() if "data" in item]
        assert binary
        assert all(isinstance(value["B"], bytes) for value in binary)


def stored_by(every: BaseDynamoRepository[Every], customer: str) -> dict[str, Any]:
    """Return all items of a test as they are stored."""
    scan = boto3_client(every.config).get_paginator("scan")
    pages = scan.paginate(TableName=every.table_name)
    found = {item["id"]["S"]: item for page in pages for item in page["Items"]}
    return {key: item for key, item in found.items() if key.startswith(f"{customer}-")}


def boto3_client(config: DynamoDBConfig) -> Any:
    return boto3.client(
        "dynamodb",
        region_name=config.region_name,
        endpoint_url=config.endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def _content(case: Any) -> Any:
    return getattr(case, "values", case)


@pytest.mark.parametrize(("field", "ours", "theirs"), VALUES)
def test_what_boto3_writes_we_read(
    every: BaseDynamoRepository[Every],
    plain_table: Any,
    customer: str,
    field: str,
    ours: Any,
    theirs: Any,
) -> None:
    plain_table.put_item(Item={"id": customer, field: theirs})
    assert every.get(customer) == Every.model_validate({"id": customer, field: ours})


@pytest.mark.parametrize("number", SPELLED_OUT, ids=str)
def test_numbers_boto3_cannot_read_itself_are_read_by_us(
    every: BaseDynamoRepository[Every], plain_table: Any, customer: str, number: Decimal
) -> None:
    every.put(Every(id=customer, exact=number))
    assert every.get_or_raise(customer).exact == number
    plain_table.put_item(Item={"id": customer, "exact": number})
    assert every.get_or_raise(customer).exact == number


@pytest.mark.parametrize(
    ("field", "theirs", "ours"),
    [
        ("utc", "2026-03-01T12:30:15+02:00", datetime(2026, 3, 1, 10, 30, 15, tzinfo=timezone.utc)),
        ("utc", "2026-03-01T12:30:15Z", datetime(2026, 3, 1, 12, 30, 15, tzinfo=timezone.utc)),
        ("seconds", Decimal("1772368215.9"), MOMENT.replace(microsecond=0)),
        ("whole", Decimal("5E+2"), 500),
        ("real", Decimal(2), 2.0),
        ("texts", ["a", "b"], {"a", "b"}),
        ("text", None, None),
        ("part", {"city": "Oslo", "street": None}, Address(city="Oslo")),
    ],
)
def test_other_forms_of_the_same_value_are_read(
    every: BaseDynamoRepository[Every],
    plain_table: Any,
    customer: str,
    field: str,
    theirs: Any,
    ours: Any,
) -> None:
    plain_table.put_item(Item={"id": customer, field: theirs})
    assert getattr(every.get_or_raise(customer), field) == ours


def test_what_boto3_writes_is_found_changed_and_deleted(
    every: BaseDynamoRepository[Every], plain_table: Any, customer: str
) -> None:
    plain_table.put_item(Item={"id": customer, "whole": 1, "strange": {"x"}})
    assert every.update(customer, add={"whole": 1}).whole == 2
    assert plain_table.get_item(Key={"id": customer})["Item"]["strange"] == {"x"}
    assert every.query(customer).first() is not None
    assert every.delete(customer) is not None


def test_a_pipeline_written_by_boto3_is_read_and_keeps_its_extras(
    shared_config: DynamoDBConfig, resource: Any, customer: str
) -> None:
    repository = PipelineConfigRepository(shared_config)
    plain = resource.Table(repository.table_name)
    plain.put_item(
        Item={"pipeline_id": customer, "team": "data", "config": {"n": 1}, "pipeline_type": "odd"}
    )
    found = repository.get_or_raise(customer)
    found.is_active = False
    repository.update(found)
    stored = plain.get_item(Key={"pipeline_id": customer})["Item"]
    assert (stored["team"], stored["pipeline_type"]) == ("data", "odd")
    assert (stored["row_version"], stored["kind"], stored["is_active"]) == (1, "PIPELINE", False)
    assert len(stored["updated_at"]) == 27
    assert repository.get_or_raise(customer).row_version == found.row_version


def test_a_pipeline_we_write_is_readable_by_name(
    shared_config: DynamoDBConfig, resource: Any, customer: str
) -> None:
    repository = PipelineConfigRepository(shared_config)
    item = PipelineConfig(
        pipeline_id=customer,
        config={"rate": 0.5, "deep": {"list": [1]}},
        spark_config={"spark.ui.enabled": False},  # type: ignore[dict-item]
        tags={"team": "data"},
    )
    repository.create(item)
    stored = resource.Table(repository.table_name).get_item(Key={"pipeline_id": customer})["Item"]
    assert stored["config"] == {"rate": Decimal("0.5"), "deep": {"list": [Decimal(1)]}}
    assert stored["spark_config"] == {"spark.ui.enabled": "false"}
    assert stored["tags"] == {"team": "data"}
    assert stored["schema_version"] == 1
    assert stored["gx_list_sort"] == f"A#{customer}"


def test_items_of_other_tools_with_other_types_under_our_names_are_not_refused(
    shared_config: DynamoDBConfig, resource: Any, customer: str
) -> None:
    repository = TableConfigRepository(shared_config)
    plain = resource.Table(repository.table_name)
    plain.put_item(Item={"table_id": customer, "environment": 5, "is_active": "yes"})
    assert plain.get_item(Key={"table_id": customer})["Item"]["environment"] == 5


def test_a_table_we_write_is_readable_by_name_and_one_boto3_writes_by_us(
    shared_config: DynamoDBConfig, resource: Any, customer: str
) -> None:
    repository = TableConfigRepository(shared_config)
    item = TableConfig(
        table_id=customer,
        pipeline_id=f"of {customer}",
        table_type="destination",  # type: ignore[arg-type]
        location="s3a://bucket/key",
        partition_columns=["day"],
        write_options={"compression": "gzip"},
    )
    repository.create(item)
    repository.update_table_statistics(customer, record_count=7, last_data_at=MOMENT)
    plain = resource.Table(repository.table_name)
    stored = plain.get_item(Key={"table_id": customer})["Item"]
    assert (stored["kind"], stored["table_type"]) == ("TABLE", "destination")
    assert (stored["partition_columns"], stored["is_active"]) == (["day"], True)
    assert stored["write_options"] == {"compression": "gzip"}
    assert (stored["record_count"], stored["last_data_at"]) == (7, "2026-03-01T12:30:15.123456Z")
    plain.put_item(Item={**stored, "table_id": f"{customer}-2", "record_count": 8})
    expected = repository.get_or_raise(customer).model_dump()
    changed = {"table_id": f"{customer}-2", "record_count": 8}
    assert repository.get_or_raise(f"{customer}-2").model_dump() == {**expected, **changed}
    found = repository.get_tables_by_pipeline(f"of {customer}")
    assert {table.table_id for table in found} == {customer, f"{customer}-2"}


def test_a_run_we_write_is_readable_by_name_and_one_boto3_writes_by_us(
    shared_config: DynamoDBConfig, resource: Any, customer: str
) -> None:
    repository = PipelineRunLogsRepository(shared_config)
    item = PipelineRunLog(
        run_id=customer,
        pipeline_id=f"of {customer}",
        status="failed",  # type: ignore[arg-type]
        start_time=MOMENT,
        duration_seconds=Decimal("1.250"),
        stages={"load": StageInfo(records_read=5)},
        metrics={"share": Decimal("0.5")},
        data_quality={"no nulls": DataQualityResult(passed=True)},
        parameters={"rate": 0.5},
        expires_at=datetime(2100, 1, 1, tzinfo=timezone.utc),
    )
    repository.create_run_log(item)
    plain = resource.Table(repository.table_name)
    stored = plain.get_item(Key={"run_id": customer})["Item"]
    assert (stored["kind"], stored["status"]) == ("RUN", "failed")
    assert stored["start_time"] == "2026-03-01T12:30:15.123456Z"
    assert (stored["duration_seconds"], stored["expires_at"]) == (Decimal("1.25"), 4102444800)
    assert stored["stages"]["load"] == {"status": "running", "records_read": 5, "metrics": {}}
    assert stored["data_quality"]["no nulls"] == {"passed": True, "severity": "error"}
    assert (stored["metrics"], stored["parameters"]) == (
        {"share": Decimal("0.5")},
        {"rate": Decimal("0.5")},
    )
    plain.put_item(Item={**stored, "run_id": f"{customer}-2"})
    again = repository.get_or_raise(f"{customer}-2")
    assert again.model_dump(exclude={"run_id"}) == item.model_dump(exclude={"run_id"})
    found = repository.get_runs_by_pipeline(f"of {customer}")
    assert {run.run_id for run in found} == {customer, f"{customer}-2"}
