"""Tables of the imaginary user on each engine, repositories whose client nobody shares, drivers."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.engines import isolated
from tests.processes import Drivers
from tests.samples import ORDERS, TASKS, Order, Task, orders_of, own_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.engines import Engine


@pytest.fixture(scope="module")
def user_config(engine: Engine) -> DynamoDBConfig:
    """Config of each engine in turn; the tables of the user exist."""
    config = isolated(engine.config)
    create_tables(config, ORDERS, TASKS)
    return config


@pytest.fixture
def orders(user_config: DynamoDBConfig) -> BaseDynamoRepository[Order]:
    return orders_of(user_config)


@pytest.fixture
def tasks(user_config: DynamoDBConfig) -> BaseDynamoRepository[Task]:
    return BaseDynamoRepository(own_client(user_config), TASKS)


@pytest.fixture
def customer() -> str:
    """A partition no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def drivers() -> Iterator[Drivers]:
    """Starts processes that drive runs; none of them outlives the test."""
    with Drivers() as drivers:
        yield drivers
