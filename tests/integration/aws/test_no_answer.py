"""Certificates, proxies, time-outs and settings that keep an answer away are named as such."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper import DynamoDBConfig
from dynamodb_wrapper.exceptions import ConfigurationError, ConnectionError, DynamoDBWrapperError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.misbehaving import FOUND, MisbehavingServer, Request, head
from tests.support.transports import ORDERS, TRANSPORTS, orders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.misbehaving import Authority

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(autouse=True)
def no_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies count for this machine too."""
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture
def secured(authority: Authority) -> Iterator[MisbehavingServer]:
    with MisbehavingServer(authority.server_context()) as running:
        yield running


def failure(url: str, transport: str, **settings: float) -> DynamoDBWrapperError:
    with pytest.raises(DynamoDBWrapperError) as caught:
        orders(url, transport, max_attempts=1, **settings).get(("c", "o"))
    return caught.value


def test_an_authority_that_is_not_trusted(secured: MisbehavingServer, transport: str) -> None:
    error = failure(secured.url, transport)
    assert (type(error), error.retryable) == (ConnectionError, False)
    assert "certificate verify failed" in error.message
    assert "AWS_CA_BUNDLE" in error.message


def test_a_certificate_of_another_host(
    authority: Authority, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    with MisbehavingServer(authority.server_context(), host="127.0.0.2") as other:
        error = failure(other.url, transport)
    assert (type(error), error.retryable) == (ConnectionError, False)
    assert "belongs to another host" in error.message
    assert "DYNAMODB_ENDPOINT_URL" in error.message


def test_http_where_tls_is_expected(local_config: DynamoDBConfig, transport: str) -> None:
    error = failure(str(local_config.endpoint_url).replace("http:", "https:"), transport)
    assert (type(error), error.retryable) == (ConnectionError, False)
    assert "should begin with http://" in error.message


def test_a_file_of_authorities_that_is_none(
    secured: MisbehavingServer, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    error = failure(secured.url, transport)
    assert not error.retryable
    assert "AWS_CA_BUNDLE" in error.message


def test_a_proxy_that_is_not_there(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{port}")
    error = failure("http://dynamodb.test:1", transport)
    assert (type(error), error.retryable) == (ConnectionError, False)
    assert "the proxy" in error.message
    assert "NO_PROXY" in error.message
    assert "hunter2" not in error.message


def asks_for_a_password(request: Request) -> bool:
    line = b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    request.send(line + b"Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
    return True


def test_a_proxy_that_asks_for_a_password(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with MisbehavingServer() as proxy:
        proxy.does(asks_for_a_password)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        error = failure("http://dynamodb.test:1", transport)
    assert (type(error), error.retryable) == (ConnectionError, False)
    assert "407" in error.message


def drips_on(request: Request) -> bool:
    """Send a byte now and then, for a minute at most; then the rest."""
    whole = head(200, len(FOUND)) + FOUND
    for place in range(min(len(whole), 240)):
        if request.released.wait(0.25):
            return False
        try:
            request.send(whole[place : place + 1])
        except OSError:
            return False  # the client has given up, as it should
    request.send(whole[240:])
    return True


@pytest.mark.usefixtures("only_own_handlers")
def test_a_reply_that_drips_ends_as_a_time_out(transport: str) -> None:
    if transport == "boto3":
        pytest.skip("botocore limits each silence only; docs/configuration.md says so")
    with MisbehavingServer() as plain:
        plain.does(drips_on)
        error = failure(plain.url, transport, read_timeout_seconds=0.5)
    assert (type(error), error.retryable) == (ConnectionError, True)
    assert "timed out" in error.message


@pytest.mark.parametrize("region", ["us-east-1\n", "eu\r\nX-A: b", "no such region!"])
def test_a_region_that_is_none(
    transport: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    config = DynamoDBConfig(transport=transport, max_attempts=1)
    with pytest.raises(ConfigurationError, match="AWS_DEFAULT_REGION"):
        BaseDynamoRepository(config, ORDERS).get(("c", "o"))


@pytest.mark.parametrize("field", ["endpoint_url", "role_arn", "profile_name", "region_name"])
def test_settings_with_control_characters_are_refused(transport: str, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        DynamoDBConfig(transport=transport, **{field: "http://127.0.0.1:1/\r\nx"})
