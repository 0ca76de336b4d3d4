"""A request goes through boto3 while a tool replaces a function that boto3 uses."""

from __future__ import annotations

import functools
import http.client
import socket
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import urllib3.util.connection
from botocore import awsrequest
from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.httpsession import URLLib3Session
from urllib3.connectionpool import HTTPConnectionPool

from dynamodb_wrapper.aws.client import Connection, client_for
from dynamodb_wrapper.exceptions import DynamoDBWrapperError
from tests.support.misbehaving import MisbehavingServer
from tests.support.transports import Order, orders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.repositories import BaseDynamoRepository

pytestmark = pytest.mark.usefixtures("only_own_handlers")

ORDER = Order(customer_id="c", order_id="o", note="x" * 100)
OWNERS: tuple[tuple[Any, str], ...] = (
    (BaseClient, "_make_api_call"),
    (Endpoint, "make_request prepare_request"),
    (URLLib3Session, "send"),
    (HTTPConnectionPool, "urlopen _make_request"),
    (http.client.HTTPConnection, "endheaders getresponse putrequest request"),
    (socket, "create_connection"),
    (urllib3.util.connection, "create_connection allowed_gai_family"),
)
FUNCTIONS = [(owner, name) for owner, names in OWNERS for name in names.split()]
CLASSES = [
    (awsrequest.AWSHTTPConnectionPool, "ConnectionCls"),
    (awsrequest.AWSHTTPSConnectionPool, "ConnectionCls"),
    (socket, "socket"),
]
METHODS = (
    "get_item put_item update_item delete_item query scan batch_get_item batch_write_item "
    "transact_write_items"
).split()


class Proxy:
    """Equal to what it wraps, and of its class, as the proxies of wrapt are."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    @property
    def __class__(self) -> Any:
        return type(self.wrapped)

    def __eq__(self, other: object) -> bool:
        return bool(self.wrapped == other)

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __get__(self, instance: Any, owner: Any) -> Proxy:
        return Proxy(self.wrapped.__get__(instance, owner))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.wrapped(*arguments, **named)


def traced(function: Any) -> Any:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return call


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


def intercepted_by(repository: BaseDynamoRepository[Order]) -> str | None:
    direct = Connection(repository.config).direct
    assert direct is not None
    return direct.interception.found()


def sent_directly(repository: BaseDynamoRepository[Order]) -> bool:
    """Read an item and return whether boto3 was left out."""
    direct = Connection(repository.config).direct
    assert direct is not None
    before = direct.requests
    assert repository.get(("c", "o")) == ORDER
    return direct.requests > before


@pytest.mark.parametrize("by", [traced, Proxy])
@pytest.mark.parametrize(("owner", "name"), FUNCTIONS)
def test_while_a_function_is_replaced_the_client_sends(
    server: MisbehavingServer, owner: Any, name: str, by: Any
) -> None:
    repository = orders(server.url, "direct")
    assert sent_directly(repository)
    with mock.patch.object(owner, name, by(getattr(owner, name))):
        assert not sent_directly(repository)
        later = orders(server.url, "direct", max_attempts=2)
        assert not sent_directly(later)
    assert sent_directly(repository)
    assert sent_directly(later)


@pytest.mark.parametrize(("owner", "name"), CLASSES)
def test_while_a_class_is_replaced_the_client_sends(
    server: MisbehavingServer, owner: Any, name: str
) -> None:
    repository = orders(server.url, "direct")
    assert sent_directly(repository)
    with mock.patch.object(owner, name, type("Recording", (getattr(owner, name),), {})):
        assert str(intercepted_by(repository)).endswith(f"{name} was replaced")
    assert sent_directly(repository)


def test_while_connections_print_what_is_sent_the_client_sends(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = orders(server.url, "direct")
    assert found.get(("c", "o")) is not None
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    assert found.get(("c", "o")) is not None
    assert "send:" in capsys.readouterr().out


@pytest.mark.parametrize("by", [traced, Proxy])
@pytest.mark.parametrize("name", METHODS)
def test_while_a_method_of_its_class_is_replaced_the_client_sends(
    server: MisbehavingServer, name: str, by: Any
) -> None:
    repository = orders(server.url, "direct")
    kind = type(client_for(repository.config))
    assert intercepted_by(repository) is None
    with mock.patch.object(kind, name, by(getattr(kind, name))):
        assert str(intercepted_by(repository)).endswith(f"{name} was replaced")
    assert sent_directly(repository)


def test_while_an_attribute_of_the_session_of_a_client_is_replaced_the_client_sends(
    server: MisbehavingServer,
) -> None:
    repository = orders(server.url, "direct")
    session = vars(vars(client_for(repository.config))["_endpoint"])["http_session"]
    assert sent_directly(repository)
    with mock.patch.object(session, "send", Proxy(session.send)):
        assert str(intercepted_by(repository)).endswith("send was replaced")
        assert not sent_directly(repository)
    assert sent_directly(repository)


@pytest.mark.parametrize("name", ["_endpoint", "_request_signer"])
def test_while_a_part_of_the_client_is_replaced_the_client_sends(
    server: MisbehavingServer, name: str
) -> None:
    repository = orders(server.url, "direct")
    client = client_for(repository.config)
    assert sent_directly(repository)
    with mock.patch.object(client, name, mock.Mock(wraps=getattr(client, name))):
        assert str(intercepted_by(repository)).endswith(f"{name} was replaced")
    with mock.patch.object(client, "scan"):
        assert not sent_directly(repository)
    assert sent_directly(repository)


def test_a_mock_of_what_is_below_botocore_keeps_requests_from_the_network(
    server: MisbehavingServer,
) -> None:
    repository = orders(server.url, "direct", max_attempts=1)
    assert sent_directly(repository)
    sent = len(server.requests)
    refusal = AssertionError("no network here")
    with mock.patch.object(HTTPConnectionPool, "urlopen", side_effect=refusal) as urlopen:
        with pytest.raises(DynamoDBWrapperError, match="GetItem failed"):
            repository.get(("c", "o"))
    assert urlopen.called
    assert len(server.requests) == sent
