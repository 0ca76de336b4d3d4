"""Bad input: each error names the thing that is wrong."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError as PydanticError

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    ConfigurationError,
    ConnectionError,
    IndexNotFoundError,
    ItemTooLargeError,
    TableNotFoundError,
    ValidationError,
)
from dynamodb_wrapper.models import GlobalIndex, PipelineConfig, Table, TableConfig
from dynamodb_wrapper.repositories import BaseDynamoRepository, PipelineConfigRepository
from tests.support.client_faults import refused_with
from tests.support.engines import isolated, recorded_operations
from tests.support.sample_models import ORDERS, Order, client_of, orders_of, own_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engines import Engine

Orders = BaseDynamoRepository[Order]


def order(customer: str, **fields: Any) -> Order:
    return Order(**{"customer_id": customer, "order_id": "o1", **fields})


# ---- places that are not there -------------------------------------------------------------------

CALLS: list[Any] = [
    lambda r: r.get(("c", "o")),
    lambda r: r.put(Order(customer_id="c", order_id="o")),
    lambda r: r.create(Order(customer_id="c", order_id="o")),
    lambda r: r.update(("c", "o"), set={"status": "x"}),
    lambda r: r.delete(("c", "o")),
    lambda r: r.query("c").all(),
    lambda r: r.scan().all(),
    lambda r: r.get_many([("c", "o")]),
    lambda r: r.put_many([Order(customer_id="c", order_id="o")]),
    lambda r: r.query("x", index="by_status").all(),
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_a_missing_table_is_named_with_region_and_endpoint(engine: Engine, call: Any) -> None:
    repository = orders_of(isolated(engine.config))
    with pytest.raises(TableNotFoundError) as caught:
        call(repository)
    assert type(caught.value) is TableNotFoundError
    for named in (repository.table_name, "us-east-1", str(engine.config.endpoint_url)):
        assert named in str(caught.value)
    assert caught.value.table_name == repository.table_name


def test_a_missing_index_is_named_with_the_way_out(user_config: DynamoDBConfig) -> None:
    declared = Table(
        "orders",
        Order,
        partition_key="customer_id",
        sort_key="order_id",
        indexes=[GlobalIndex("by_visits", "visits")],
    )
    repository = BaseDynamoRepository(own_client(user_config), declared)
    with pytest.raises(IndexNotFoundError, match=r"'by_visits'.*create_table\(\)"):
        repository.query(1, index="by_visits").all()


def test_a_wrong_region_is_named() -> None:
    config = own_client(
        DynamoDBConfig(
            region_name="xx-nowhere-1",
            aws_access_key_id="k",  # type: ignore[arg-type]
            aws_secret_access_key="s",  # type: ignore[arg-type]
            max_attempts=1,
        )
    )
    with pytest.raises(ConnectionError, match="xx-nowhere-1"):
        BaseDynamoRepository(config, ORDERS).get(("c", "o"))


def test_a_malformed_region_names_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        DynamoDBConfig.from_env({"AWS_REGION": "Europe West"})


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("no_credentials")
def test_missing_credentials_are_named_and_nothing_is_sent() -> None:
    config = DynamoDBConfig(region_name="eu-west-1", endpoint_url="http://127.0.0.1:9")
    repository = BaseDynamoRepository(own_client(config), ORDERS)
    with refused_with(client_of(repository), "GetItem") as sent:
        with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
            repository.get(("c", "o"))
    assert sent == []


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_endpoint_that_does_not_answer_is_named(silent_endpoint: str) -> None:
    config = DynamoDBConfig.for_local_development(silent_endpoint, operation_timeout_seconds=0.3)
    with pytest.raises(ConnectionError, match=silent_endpoint) as caught:
        BaseDynamoRepository(config, ORDERS).get(("c", "o"))
    assert "timed out" in str(caught.value)
    assert caught.value.retryable


def test_an_endpoint_without_a_listener_is_named() -> None:
    config = DynamoDBConfig.for_local_development("http://127.0.0.1:9", max_attempts=1)
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9"):
        BaseDynamoRepository(config, ORDERS).get(("c", "o"))


# ---- values that cannot be stored ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order_id": ""}, "'order_id' is empty"),
        ({"details": {"rate": float("nan")}}, r"Order\.details\.rate: NaN"),
        ({"details": {"rate": [float("inf")]}}, r"Order\.details\.rate\[0\]"),
        ({"total": Decimal("1" * 39)}, r"Order\.total: .*39 significant digits"),
        ({"visits": 10**38 + 1}, r"Order\.visits: .*39 significant digits"),
        ({"details": {"at": datetime(2026, 1, 1)}}, r"Order\.details\.at: .*no time zone"),
        ({"status": ""}, r"Order\.status is empty; it is a key of index 'by_status'"),
        ({"notes": "\ud800"}, r"Order\.notes: .*surrogate"),
    ],
)
def test_a_value_that_cannot_be_stored_is_named_before_sending(
    orders: Orders, customer: str, fields: dict[str, Any], message: str
) -> None:
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match=message):
            orders.put(order(customer, **fields))
    assert sent == []


@pytest.mark.parametrize("write", ["create", "put", "update"])
def test_an_item_of_500_kb_is_refused_naming_attribute_and_key(
    orders: Orders, customer: str, write: str
) -> None:
    item = order(customer, notes="x" * 500_000)
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ItemTooLargeError, match=r"'notes' with 500,000 bytes") as caught:
            getattr(orders, write)(item)
    assert sent == []
    assert caught.value.key == {"customer_id": customer, "order_id": "o1"}
    assert caught.value.table_name == orders.table_name
    assert (caught.value.size_bytes or 0) > 500_000


def test_an_unknown_field_in_an_update_is_named_with_the_nearest(
    orders: Orders, customer: str
) -> None:
    with pytest.raises(ValidationError, match=r"no field 'totl'.*did you mean 'total'"):
        orders.update((customer, "o1"), set={"totl": 5})


def test_a_naive_datetime_is_named(orders: Orders, customer: str) -> None:
    with pytest.raises(PydanticError, match=r"created_at\n.*has no time zone"):
        order(customer, created_at=datetime(2026, 1, 1))
    with pytest.raises(ValidationError, match=r"created_at.*has no time zone"):
        orders.update((customer, "o1"), set={"created_at": datetime(2026, 1, 1)})


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda **f: PipelineConfig(pipeline_id="p", **f), "source_config"),
        (
            lambda **f: TableConfig(table_id="t", table_type="source", location="/t", **f),  # type: ignore[arg-type]
            "connection_config",
        ),
    ],
    ids=["pipeline", "table"],
)
def test_a_literal_password_is_named_and_not_shown(make: Any, field: str) -> None:
    with pytest.raises(PydanticError, match=r"db\.password") as caught:
        make(**{field: {"db": {"password": "hunter2"}}})
    assert field in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_document_that_came_to_contradict_itself_is_refused_when_written(
    mock_config: DynamoDBConfig,
) -> None:
    from dynamodb_wrapper.repositories import TableConfigRepository

    item = TableConfig(table_id="t", table_type="source", location="/t")  # type: ignore[arg-type]
    item.location = None
    with pytest.raises(ValidationError, match="location is needed"):
        TableConfigRepository(mock_config).put(item)


def test_a_repository_needs_a_table(mock_config: DynamoDBConfig) -> None:
    with pytest.raises(ValidationError, match="needs a table"):
        BaseDynamoRepository(mock_config)
    assert PipelineConfigRepository(mock_config).table.name == "pipeline_config"
