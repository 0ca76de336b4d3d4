"""Both transports do the same, whatever the endpoint does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import botocore.handlers
import pytest
from pydantic import BaseModel

from dynamodb_wrapper.config import Connection, DynamoDBConfig
from dynamodb_wrapper.exceptions import DynamoDBWrapperError
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests import misbehaving
from tests.misbehaving import Authority, MisbehavingServer

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSPORTS = ("boto3", "direct")


class Order(BaseModel):
    customer_id: str
    order_id: str
    note: str = ""


ORDERS = Table("orders", Order, partition_key="customer_id", sort_key="order_id")


@pytest.fixture(autouse=True)
def _only_own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what other tests have given all clients: moto, once imported, is in each."""
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
def server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MisbehavingServer]:
    """An endpoint, plainly and behind TLS with a private authority."""
    tls = None
    if request.param == "https":
        authority = request.getfixturevalue("authority")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
        tls = authority.server_context()
    with MisbehavingServer(tls) as running:
        yield running


def config_of(url: str, transport: str, **settings: Any) -> DynamoDBConfig:
    given = {"max_attempts": 3, "read_timeout_seconds": 0.4, "connect_timeout_seconds": 2}
    return DynamoDBConfig.for_local_development(url, transport=transport, **{**given, **settings})


def orders(url: str, transport: str, **settings: Any) -> BaseDynamoRepository[Order]:
    return BaseDynamoRepository(config_of(url, transport, **settings), ORDERS)


def told(error: DynamoDBWrapperError) -> dict[str, Any]:
    """Return everything an error says, but what no two requests have in common."""
    response = getattr(error.__cause__, "response", None) or {}
    metadata = response.get("ResponseMetadata", {})
    return {
        "error": type(error),
        "code": error.error_code,
        "retryable": error.retryable,
        "request": error.request_id,
        "cause": [cls.__name__ for cls in type(error.__cause__).__mro__],  # made per client
        "text": str(error),
        **{name: value for name, value in response.items() if name != "ResponseMetadata"},
        "status": metadata.get("HTTPStatusCode"),
        "retries": metadata.get("RetryAttempts"),
        "headers": metadata.get("HTTPHeaders"),
        "exhausted": metadata.get("MaxAttemptsReached"),
    }


def outcome(repository: BaseDynamoRepository[Order]) -> Any:
    try:
        return repository.get(("c", "o"))
    except DynamoDBWrapperError as error:
        return told(error)


@pytest.mark.parametrize("name", misbehaving.EVERY)
@pytest.mark.parametrize("times", ["once", "always"])
def test_both_transports_end_alike_after_as_many_attempts(
    server: MisbehavingServer, name: str, times: str
) -> None:
    behaviour = misbehaving.EVERY[name]
    script = [behaviour] if times == "always" else [behaviour, misbehaving.found]
    ends = {}
    for transport in TRANSPORTS:
        server.does(*script)
        end = outcome(orders(server.url, transport))
        ends[transport] = (end, len(server.requests))
    assert ends["direct"] == ends["boto3"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_clean_answer_comes_by_the_transport_that_was_chosen(
    server: MisbehavingServer, transport: str
) -> None:
    repository = orders(server.url, transport)
    direct = Connection(repository.config).direct
    for _ in range(3):
        assert repository.get(("c", "o")) == Order(customer_id="c", order_id="o", note="x" * 100)
    assert server.connections == 1
    assert (direct.requests if direct else 0) == (3 if transport == "direct" else 0)
