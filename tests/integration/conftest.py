"""The user's tables on each engine, repositories with separate clients, driver processes."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

import botocore.handlers
import pytest

from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.support.engines import isolated
from tests.support.misbehaving import Authority, MisbehavingServer
from tests.support.processes import Drivers
from tests.support.sample_models import ORDERS, TASKS, Order, Task, orders_of, own_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine


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
    """A unique partition key."""
    return uuid.uuid4().hex


@pytest.fixture
def drivers() -> Iterator[Drivers]:
    """Starts driver processes; they end with the test."""
    with Drivers() as drivers:
        yield drivers


@pytest.fixture
def only_own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove proxies and the handlers that an imported moto adds to all clients."""
    own = [entry for entry in botocore.handlers.BUILTIN_HANDLERS if "moto" not in repr(entry[1])]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", own)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: TLS. There is no openssl to make certificates with.")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SSLContext | None:
    """None for plain HTTP, then the context of a server behind TLS with a private authority."""
    if request.param == "http":
        return None
    authority = request.getfixturevalue("authority")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    return authority.server_context()


@pytest.fixture
def server(tls: SSLContext | None) -> Iterator[MisbehavingServer]:
    """A misbehaving endpoint over HTTP, then over HTTPS."""
    with MisbehavingServer(tls) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running
