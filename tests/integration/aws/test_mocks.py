"""Tools of users' tests: moto's mock in any order, a stopped clock, a config that was pickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.conditions import Attr, Key

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import ConfigurationError, ConnectionError
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from dynamodb_wrapper.runs import RunTracker
from tests.support.sample_models import ORDERS, TASKS, Order, Task, own_client

if TYPE_CHECKING:
    from collections.abc import Iterator

FROZEN = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)

# ---- moto's mock --------------------------------------------------------------------------------

PARTS = {
    "start": """
import sys
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import ConfigurationError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.sample_models import ORDERS, Order

config = DynamoDBConfig(region_name="us-east-1", transport=sys.argv[1])
repositories = []
""",
    "outside": """
repositories.append(BaseDynamoRepository(config, ORDERS))
for repository in repositories:
    try:
        repository.get(("c", "o"))
    except ConfigurationError as error:
        assert "no AWS credentials were found" in str(error), error
    else:
        raise AssertionError("a request was answered outside of the mock")
""",
    "inside": """
from moto import mock_aws

with mock_aws():
    repositories.append(BaseDynamoRepository(config, ORDERS))
    for repository in repositories:
        repository.create_table()
        repository.put(Order(customer_id="c", order_id="o"))
        assert repository.get(("c", "o")) is not None
""",
}
ORDERS_OF_PARTS = {
    "outside first": ("start", "outside", "inside", "outside", "inside"),
    "inside first": ("start", "inside", "outside", "inside"),
    "inside only": ("start", "inside", "inside"),
}


@pytest.mark.parametrize("transport", ["boto3", "auto"])
@pytest.mark.parametrize("order", ORDERS_OF_PARTS)
def test_a_mock_has_clients_apart(order: str, transport: str) -> None:
    program = "".join(PARTS[name] for name in ORDERS_OF_PARTS[order])
    done = subprocess.run(
        [sys.executable, "-c", program, transport],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_client_is_made_anew_for_other_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    config = own_client(DynamoDBConfig(region_name="us-east-1"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    first = client_for(config)
    assert client_for(config) is first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
    second = client_for(config)
    assert second is not first
    assert client_for(config) is second


# ---- a config that was pickled -------------------------------------------------------------------


def test_a_pickled_config_says_that_it_lost_its_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = DynamoDBConfig.for_local_development("http://127.0.0.1:9", max_attempts=1)
    lost = pickle.loads(pickle.dumps(config))
    assert not config.lost_credentials
    assert lost.lost_credentials
    assert lost.aws_access_key_id is None
    for used in (lost, lost.impatient(), pickle.loads(pickle.dumps(lost))):
        repository = BaseDynamoRepository(used, ORDERS)
        for request in (repository.check_table, lambda r=repository: r.get(("c", "o"))):
            with pytest.raises(ConfigurationError, match=r"was pickled, .* make the config in"):
                request()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with pytest.raises(ConnectionError):
        BaseDynamoRepository(lost, ORDERS).get(("c", "o"))
    without = DynamoDBConfig(region_name="us-east-1")
    assert not pickle.loads(pickle.dumps(without)).lost_credentials
    assert pickle.loads(pickle.dumps(without)) == without


# ---- a stopped clock -----------------------------------------------------------------------------


@pytest.fixture(params=["freezegun", "time_machine"])
def stopped(request: pytest.FixtureRequest) -> Iterator[None]:
    """The time stands still at a fraction of a second."""
    tool = pytest.importorskip(request.param, reason=f"NOT TESTED: {request.param} is missing.")
    pytest.importorskip("pandas")  # imported while the time stands still, it takes minutes
    frozen = (
        tool.freeze_time(FROZEN)
        if request.param == "freezegun"
        else tool.travel(FROZEN, tick=False)
    )
    with frozen:
        yield


@pytest.fixture(params=["mock_config", "local_config"])
def any_config(request: pytest.FixtureRequest) -> DynamoDBConfig:
    """Config of a mock in this process, then of an engine."""
    config: DynamoDBConfig = own_client(request.getfixturevalue(request.param))
    create_tables(config)
    create_tables(config, ORDERS, TASKS)
    return config


def moment() -> datetime:
    return datetime.now(timezone.utc)


def test_items_are_written_and_found_while_the_time_stands_still(
    any_config: DynamoDBConfig, stopped: None
) -> None:
    orders = BaseDynamoRepository(any_config, ORDERS)
    created = orders.create(Order(customer_id="c", order_id="o", created_at=moment()))
    assert orders.get(("c", "o")) == created
    assert created.created_at == FROZEN
    later = moment() + SECOND
    changed = orders.update(("c", "o"), set={"created_at": later}, condition=not_after(later))
    assert changed.created_at == FROZEN + SECOND
    changed.status = "paid"
    assert orders.update(changed) == orders.get(("c", "o"), consistent=True)
    many = [Order(customer_id="m", order_id=str(n), created_at=moment()) for n in range(30)]
    assert orders.put_many(many) == 30
    assert orders.query("m", filter=not_after(moment())).all() == sorted(
        many, key=lambda order: order.order_id
    )
    before = Key("created_at").lte(moment())
    assert len(orders.query("new", index="by_status", sort=before).all()) == 30
    with orders.transaction() as transaction:
        transaction.put(orders, Order(customer_id="t", order_id="o", created_at=moment()))
    assert orders.get_many([("t", "o")], consistent=True)[0] is not None


def test_items_expire_by_the_stopped_clock(any_config: DynamoDBConfig, stopped: None) -> None:
    tasks = BaseDynamoRepository(any_config, TASKS)
    tasks.create(Task(task_id="later", expires_at=moment() + SECOND))
    tasks.put(Task(task_id="now", expires_at=moment()))
    assert tasks.get("later") is not None
    assert tasks.get("now") is None


def test_a_run_starts_and_ends_while_the_time_stands_still(
    any_config: DynamoDBConfig, stopped: None
) -> None:
    PipelineConfigRepository(any_config).create(PipelineConfig(pipeline_id="p"))
    with RunTracker(any_config).run("p") as run:
        with run.stage("load"):
            run.log_metric("rows", 1)
    found: Any = PipelineRunLogsRepository(any_config).get_by_run_id(run.run_id)
    assert found.status is RunStatus.SUCCESS
    assert found.start_time == found.end_time == FROZEN
    assert found.duration_seconds == 0


def not_after(latest: datetime) -> Any:
    return Attr("created_at").lte(latest)
