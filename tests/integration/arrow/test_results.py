"""Results as columns, and tables written, with an engine: the same rows as iterating."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import BaseModel, ConfigDict

from dynamodb_wrapper.exceptions import (
    IncompatibleItemError,
    MissingDependencyError,
    ValidationError,
)
from dynamodb_wrapper.models import PipelineConfig, Table
from dynamodb_wrapper.repositories import BaseDynamoRepository, PipelineConfigRepository
from tests.support.column_models import WIDE, Wide, a_wide, plain
from tests.support.engines import recorded_operations, small_pages
from tests.support.sample_models import (
    NEW_YEAR,
    TASKS,
    Address,
    Line,
    Order,
    OrderTotal,
    Task,
    client_of,
    orders_of,
    own_client,
)

pa = pytest.importorskip("pyarrow")

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

Orders = BaseDynamoRepository[Order]
COUNT = 23


def an_order(number: int) -> Order:
    return Order(
        customer_id="c",
        order_id=f"o{number:02d}",
        status="even" if number % 2 == 0 else "odd",
        total=Decimal(number) / 4,
        visits=number,
        priority=number if number % 3 else None,
        labels={"x", f"l{number}"} if number % 4 else set(),
        notes='new\nline, "quoted", \u00fc\U0001f600' if number % 5 else None,
        address=Address(city="Oslo", street=None if number % 2 else "Gate") if number % 3 else None,
        lines=[Line(sku=f"s{n}", quantity=n) for n in range(number % 4)],
        details={"deep": [number, {"x": None}]} if number % 2 else {},
        created_at=NEW_YEAR + timedelta(minutes=number),
    )


@pytest.fixture
def orders(local_config: DynamoDBConfig) -> Orders:
    repository = orders_of(local_config)
    repository.create_table()
    repository.put_many(map(an_order, range(COUNT)))
    return repository


def expected(models: Any) -> list[dict[str, Any]]:
    found = [{name: plain(getattr(m, name)) for name in type(m).model_fields} for m in models]
    for row in found:
        if "details" in row:
            row["details"] = json.dumps(row["details"], separators=(",", ":"))
    return found


def rows(table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pylist()
    for row in found:
        row["total"] = Decimal(row["total"])
    return found


READS: dict[str, Any] = {
    "a scan": lambda repository: repository.scan(),
    "a query": lambda repository: repository.query("c", descending=True),
    "a limit": lambda repository: repository.query("c", limit=5),
    "a limit with a filter": lambda r: r.query("c", filter=Attr("status").eq("odd"), limit=7),
    "an index": lambda repository: repository.query("odd", index="by_status"),
    "whole items behind an index": lambda r: r.query("odd", index="by_status_keys", limit=6),
    "an index that holds part": lambda r: r.query("even", index="by_status_summary"),
    "a smaller model": lambda repository: repository.query("c", into=OrderTotal),
    "nothing": lambda repository: repository.query("missing"),
}


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("what", READS)
def test_the_rows_are_those_iterating_gives(orders: Orders, what: str, size: Any) -> None:
    with small_pages(client_of(orders), size or 1000):
        results = READS[what](orders)
        wanted = expected(results)
        assert rows(results.to_arrow()) == wanted
        consumed = results.consumed
        list(results)
        assert consumed == results.consumed


def test_segments_are_read_side_by_side(orders: Orders) -> None:
    found = rows(orders.scan(segments=3).to_arrow())
    wanted = expected(orders.scan())
    assert sorted(found, key=lambda row: row["order_id"]) == sorted(
        wanted, key=lambda row: row["order_id"]
    )


def test_a_client_given_by_the_user_leads_to_the_same_table(orders: Orders) -> None:
    import boto3

    config = orders.config
    client = boto3.client(
        "dynamodb",
        region_name=config.region_name,
        endpoint_url=config.endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    injected = BaseDynamoRepository(config, orders.table, client=client)
    assert injected.query("c").to_arrow().equals(orders.query("c").to_arrow())


def test_a_batch_is_a_page_and_only_one_is_read_ahead_of_the_next(orders: Orders) -> None:
    with recorded_operations(client_of(orders)) as sent:
        batches = orders.query("c").arrow_batches(size=5)
        assert next(batches).num_rows == 5
        assert sent == ["Query"]
        assert [batch.num_rows for batch in batches] == [5, 5, 5, 3]


def test_an_empty_result_has_the_columns(orders: Orders) -> None:
    table = orders.query("missing").to_arrow()
    assert (table.num_rows, table.schema.names) == (0, list(Order.model_fields))


def test_what_does_not_fit_is_raised_null_or_kept_apart(orders: Orders) -> None:
    client_of(orders).put_item(
        TableName=orders.table_name,
        Item={"customer_id": {"S": "c"}, "order_id": {"S": "x"}, "priority": {"S": "high"}},
    )
    results = orders.query("c")
    with pytest.raises(IncompatibleItemError, match=r"'priority'.*stored as S") as refusal:
        results.to_arrow()
    assert refusal.value.key == {"customer_id": "c", "order_id": "x"}
    table = results.to_arrow(mismatch="null")
    assert table.num_rows == COUNT + 1
    assert table.to_pylist()[-1]["priority"] is None
    assert results.to_arrow(mismatch="quarantine").num_rows == COUNT
    (apart,) = results.quarantined
    assert (apart.key["order_id"], apart.column) == ("x", "priority")
    assert results.to_arrow(schema=pa.schema([("status", pa.string())])).num_rows == COUNT + 1
    assert results.quarantined == []


def test_what_does_not_fit_behind_an_index_is_kept_apart(orders: Orders) -> None:
    client_of(orders).put_item(
        TableName=orders.table_name,
        Item={
            "customer_id": {"S": "c"},
            "order_id": {"S": "x"},
            "status": {"S": "odd"},
            "visits": {"N": "1"},
            "priority": {"S": "high"},
        },
    )
    results = orders.query("odd", index="by_status_keys")
    assert results.to_arrow(mismatch="quarantine").num_rows == 11
    assert [entry.column for entry in results.quarantined] == ["priority"]


def test_a_mismatch_policy_that_is_none_is_refused(orders: Orders) -> None:
    with pytest.raises(ValidationError, match="ignore"):
        orders.scan().arrow_batches(mismatch="ignore")  # type: ignore[arg-type]


def test_what_has_expired_is_no_row(local_config: DynamoDBConfig) -> None:
    tasks: BaseDynamoRepository[Task] = BaseDynamoRepository(own_client(local_config), TASKS)
    tasks.create_table()
    now = datetime.now(timezone.utc)
    for number in range(6):
        moment = now + timedelta(hours=1 if number % 2 else -1)
        tasks.put(Task(task_id=f"t{number}", owner="o", expires_at=moment))
    results = tasks.query("open#o", index="open")
    assert results.to_arrow().column("task_id").to_pylist() == ["t1", "t3", "t5"]
    assert expected(results) == results.to_arrow().to_pylist()


def test_lists_that_leave_models_out_leave_rows_out(local_config: DynamoDBConfig) -> None:
    repository = PipelineConfigRepository(own_client(local_config))
    repository.create_table()
    for number in range(3):
        repository.create(PipelineConfig(pipeline_id=f"p{number}", tags={"n": str(number)}))
    found = repository.scan().to_arrow()
    assert sorted(found.column("pipeline_id").to_pylist()) == ["p0", "p1", "p2"]
    assert set(found.schema.names) == set(PipelineConfig.model_fields)


# ---- pandas and polars ---------------------------------------------------------------------------


def test_a_pandas_frame_has_the_same_rows(orders: Orders) -> None:
    pandas = pytest.importorskip("pandas")
    frame = orders.query("c").to_pandas(types_mapper=pandas.ArrowDtype)
    assert frame["visits"].tolist() == list(range(COUNT))
    assert list(frame.columns) == list(Order.model_fields)
    assert frame["priority"].isna().sum() == sum(an_order(n).priority is None for n in range(COUNT))


def test_a_polars_frame_has_the_same_rows(orders: Orders) -> None:
    pytest.importorskip("polars")
    frame = orders.query("c").to_polars()
    assert frame["visits"].to_list() == list(range(COUNT))
    assert frame.columns == list(Order.model_fields)


@pytest.mark.parametrize(
    ("package", "method", "command"),
    [
        ("pyarrow", "to_arrow", r"pip install 'dynamodb-wrapper\[arrow\]'"),
        ("pandas", "to_pandas", "pip install pandas"),
        ("polars", "to_polars", "pip install polars"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, package: str, method: str, command: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=command):
        getattr(orders.scan(), method)()


# ---- tables that are written ---------------------------------------------------------------------


def as_arrow(table: Any) -> Any:
    return table


def as_batch(table: Any) -> Any:
    return table.combine_chunks().to_batches()[0]


def as_pandas(table: Any) -> Any:
    pytest.importorskip("pandas")
    return table.to_pandas()


def as_polars(table: Any) -> Any:
    return pytest.importorskip("polars").from_arrow(table)


FRAMES = [as_arrow, as_batch, as_pandas, as_polars]


@pytest.fixture
def wides(local_config: DynamoDBConfig) -> BaseDynamoRepository[Wide]:
    repository: BaseDynamoRepository[Wide] = BaseDynamoRepository(own_client(local_config), WIDE)
    repository.create_table()
    return repository


@pytest.mark.parametrize("made", FRAMES)
def test_a_table_that_was_read_can_be_written_back(orders: Orders, made: Any) -> None:
    before, table = orders.query("c").all(), orders.query("c").to_arrow()
    orders.delete_many([("c", order.order_id) for order in before])
    assert orders.put_many(made(table)) == COUNT
    after = orders.query("c").all()
    assert [order.model_copy(update={"version": 0}) for order in after] == [
        order.model_copy(update={"version": 0}) for order in before
    ]


@pytest.mark.parametrize("made", FRAMES)
def test_every_type_can_be_written_back(wides: BaseDynamoRepository[Wide], made: Any) -> None:
    models = [a_wide(key="a"), a_wide(key="b", maybe_place=None, needed=True, parts=[])]
    wides.put_many(models)
    table = wides.scan().to_arrow()
    wides.delete_many(["a", "b"])
    assert wides.put_many(made(table)) == 2
    assert sorted(wides.scan(), key=lambda wide: wide.key) == models


@pytest.mark.parametrize("made", FRAMES)
def test_a_row_that_is_no_item_is_named_and_nothing_is_written(orders: Orders, made: Any) -> None:
    table = pa.table(
        {"customer_id": ["new", "new"], "order_id": ["a", "b"], "priority": ["1", "many"]}
    )
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match=r"Row 1, column 'priority'.*Nothing") as refusal:
            orders.put_many(made(table))
    assert sent == []
    assert refusal.value.errors()[0]["loc"] == (1, "priority")


@pytest.mark.parametrize("made", FRAMES)
def test_null_is_none_where_the_field_admits_it_else_the_default(orders: Orders, made: Any) -> None:
    table = pa.table(
        {
            "customer_id": ["new"],
            "order_id": ["a"],
            "status": pa.array([None], pa.string()),
            "priority": pa.array([None], pa.float64()),
        }
    )
    orders.put_many(made(table))
    found = orders.get_or_raise(("new", "a"))
    assert (found.status, found.priority) == ("new", None)


def test_a_missing_key_and_nan_are_refused_with_their_row(
    wides: BaseDynamoRepository[Wide],
) -> None:
    wides.put(a_wide(key="a"))
    table = wides.scan().to_arrow()
    without = table.set_column(0, "key", pa.array([None], pa.string()))
    with pytest.raises(ValidationError, match="Row 0, column 'key'"):
        wides.put_many(without)
    place = table.schema.names.index("real")
    with pytest.raises(ValidationError, match=r"Row 0.*real.*NaN"):
        wides.put_many(table.set_column(place, "real", pa.array([float("nan")])))


def test_a_column_that_is_no_field_is_refused(orders: Orders) -> None:
    with pytest.raises(ValidationError, match="'colour'"):
        orders.put_many(pa.table({"customer_id": ["c"], "order_id": ["o"], "colour": ["red"]}))


def test_two_columns_of_one_name_are_refused(orders: Orders) -> None:
    columns = [["c"], ["o"], ["first"], ["second"]]
    table = pa.table(columns, names=["customer_id", "order_id", "status", "status"])
    with recorded_operations(client_of(orders)) as sent:
        for made in (as_arrow, as_batch):
            with pytest.raises(ValidationError, match=r"several columns 'status'.*Nothing"):
                orders.put_many(made(table))
    assert sent == []


def test_two_columns_of_a_pandas_frame_that_become_one_are_refused(orders: Orders) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["c", "o", "s", "t"]])
    frame.columns = ["customer_id", "order_id", "status", "status"]
    with pytest.raises(ValidationError, match="several columns 'status'"):
        orders.put_many(frame)


@pytest.mark.parametrize("made", [pa.array, lambda values: pa.chunked_array([values])])
def test_what_has_no_columns_is_refused(orders: Orders, made: Any) -> None:
    values = made([{"customer_id": "c", "order_id": "o"}])
    with pytest.raises(ValidationError, match=r"Array has no columns; give a pyarrow Table"):
        orders.put_many(values)


def test_text_that_is_no_json_is_refused_where_json_is_held(orders: Orders) -> None:
    table = pa.table({"customer_id": ["c"], "order_id": ["o"], "details": ["{"]})
    with pytest.raises(ValidationError, match="Row 0, column 'details'"):
        orders.put_many(table)


class Free(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    v: Union[list[Any], dict[str, Any], None] = None


@pytest.mark.parametrize("made", FRAMES)
def test_free_numbers_and_extra_attributes_are_written_back(
    local_config: DynamoDBConfig, made: Any
) -> None:
    repository = BaseDynamoRepository(
        own_client(local_config), Table("free", Free, partition_key="id")
    )
    repository.create_table()
    digits = Decimal("0.12345678901234567891")
    models = [
        Free.model_validate({"id": "a", "v": [1.5, digits], "color": "red"}),
        Free.model_validate({"id": "b", "v": {"x": digits}, "size": 2}),
    ]
    repository.put_many(models)
    table = repository.scan().to_arrow()
    assert sorted(table.schema.names) == ["color", "id", "size", "v"]
    assert "[1.5,0.12345678901234567891]" in table.column("v").to_pylist()
    repository.delete_many(["a", "b"])
    assert repository.put_many(made(table)) == 2
    assert sorted(repository.scan(), key=lambda item: item.id) == models
    (batch,) = repository.scan(limit=1).arrow_batches()
    assert batch.num_columns == 3


# ---- the page about it ---------------------------------------------------------------------------


def test_the_examples_of_the_documentation_run(
    local_config: DynamoDBConfig, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("pandas")
    for name, value in (
        ("DYNAMODB_ENDPOINT_URL", str(local_config.endpoint_url)),
        ("DYNAMODB_TABLE_PREFIX", str(local_config.table_prefix)),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ):
        monkeypatch.setenv(name, value)
    page = (Path(__file__).parents[3] / "docs" / "arrow.md").read_text()
    names: dict[str, Any] = {"__name__": "documented"}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/arrow.md", "exec", dont_inherit=True), names)
    assert capsys.readouterr().out == "100\n"
    assert names["totals"].schema.names == ["order_id", "total"]
    assert len(names["frame"]) == names["good"].num_rows == 100
