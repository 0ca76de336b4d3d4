"""When the direct transport steps back, and what it does where boto3's client is not asked."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import botocore
import pytest
from botocore import awsrequest
from botocore.client import BaseClient
from botocore.history import BaseHistoryHandler, get_global_history_recorder
from botocore.httpsession import URLLib3Session
from botocore.stub import Stubber

from dynamodb_wrapper.aws.client import Connection, client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import ConfigurationError, DynamoDBWrapperError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support import misbehaving
from tests.support.misbehaving import MisbehavingServer
from tests.support.transports import ORDERS, TRANSPORTS, Order, config_of, orders, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.misbehaving import Authority, Behaviour, Request

pytestmark = pytest.mark.usefixtures("only_own_handlers")

ORDER = Order(customer_id="c", order_id="o", note="x" * 100)
VERSION = tuple(int(part) for part in botocore.__version__.split(".")[:3])
EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-call",
    "request-created",
    "before-sign",
    "before-send",
    *(["before-parse"] if VERSION >= (1, 35, 16) else []),
    "response-received",
    "needs-retry",
    "after-call",
)


def direct_of(repository: BaseDynamoRepository[Order]) -> Any:
    return Connection(repository.config).direct


@contextmanager
def sent_directly(repository: BaseDynamoRepository[Order], expected: int) -> Iterator[None]:
    before = direct_of(repository).requests
    yield
    assert direct_of(repository).requests - before == expected


# ---- mocks and instruments -----------------------------------------------------------------------

MOCKED = """
import sys
opened = []
sys.addaudithook(
    lambda event, arguments: opened.append(event)
    if event in ("socket.connect", "socket.getaddrinfo") else None
)
from dynamodb_wrapper.aws.client import Connection
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository
from pydantic import BaseModel

class Order(BaseModel):
    order_id: str

config = DynamoDBConfig(
    region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s",
    transport={transport!r}, max_attempts=1, connect_timeout_seconds=1,
)
made = lambda: BaseDynamoRepository(config, Table("orders", Order, partition_key="order_id"))
{steps}
orders.create_table()
orders.put(Order(order_id="o"))
assert orders.get("o") == Order(order_id="o")
assert list(orders.scan()) == [Order(order_id="o")]
assert opened == [], opened
"""
STEPS = {
    "before the repository": "from moto import mock_aws; mock_aws().start(); orders = made()",
    "after the repository": "from moto import mock_aws; orders = made(); mock_aws().start()",
    "imported after the repository": (
        "orders = made(); from moto import mock_aws; mock_aws().start()"
    ),
}


@pytest.mark.parametrize("transport", ["auto", "direct"])
@pytest.mark.parametrize("when", STEPS)
def test_under_mock_aws_no_socket_is_opened(when: str, transport: str) -> None:
    program = MOCKED.format(steps=STEPS[when], transport=transport)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("event", EVENTS)
def test_a_handler_of_others_is_called_as_by_the_client(
    plain: MisbehavingServer, event: str
) -> None:
    repository, called = orders(plain.url, "direct"), []

    def note(**_: Any) -> None:
        called.append(event)

    with sent_directly(repository, 1):
        assert repository.get(("c", "o")) == ORDER
    client_for(repository.config).meta.events.register(f"{event}.dynamodb", note)
    with sent_directly(repository, 0):
        assert repository.get(("c", "o")) == ORDER
    assert called == [event]
    client_for(repository.config).meta.events.unregister(f"{event}.dynamodb", note)
    with sent_directly(repository, 1):
        assert repository.get(("c", "o")) == ORDER
    assert called == [event]


def test_a_stubbed_client_answers(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct")
    with Stubber(client_for(repository.config)) as stubber:
        stubber.add_response(
            "get_item", {"Item": {"customer_id": {"S": "stub"}, "order_id": {"S": "o"}}}
        )
        assert repository.get(("stub", "o")) == Order(customer_id="stub", order_id="o")
    assert plain.requests == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [(BaseClient, "_make_api_call"), (URLLib3Session, "send")],
    ids=["_make_api_call", "send"],
)
def test_what_tracers_put_in_the_place_of_botocores_functions_is_called(
    plain: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    repository, called, real = orders(plain.url, "direct"), [], getattr(owner, name)
    repository.get(("c", "o"))

    def traced(*arguments: Any, **named: Any) -> Any:
        called.append(name)
        return real(*arguments, **named)

    with sent_directly(repository, 0), mock.patch.object(owner, name, traced):
        repository.get(("c", "o"))
        later = orders(plain.url, "direct", max_attempts=2)  # its client is made while traced
        with sent_directly(later, 0):
            later.get(("c", "o"))
    assert called == [name, name]
    with sent_directly(repository, 1):
        repository.get(("c", "o"))


def test_classes_of_connections_that_were_replaced_are_used(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct")
    repository.get(("c", "o"))

    class Recording(awsrequest.AWSHTTPConnection):  # type: ignore[misc]
        pass

    with sent_directly(repository, 0):
        with mock.patch.object(awsrequest.AWSHTTPConnectionPool, "ConnectionCls", Recording):
            repository.get(("c", "o"))


def test_a_method_of_the_client_that_was_replaced_is_called(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct")
    answer = {"Item": {"customer_id": {"S": "mock"}, "order_id": {"S": "o"}}}
    client = client_for(repository.config)
    with mock.patch.object(client, "get_item", return_value=answer):
        assert repository.get(("mock", "o")) == Order(customer_id="mock", order_id="o")
    assert plain.requests == []


def test_botocores_history_is_recorded(plain: MisbehavingServer) -> None:
    class Notes(BaseHistoryHandler):  # type: ignore[misc]
        def emit(self, event_type: str, payload: Any, source: str) -> None:
            noted.append(event_type)

    noted: list[str] = []
    repository, recorder = orders(plain.url, "direct"), get_global_history_recorder()
    handler = Notes()
    recorder.add_handler(handler)
    recorder.enable()
    try:
        repository.get(("c", "o"))
    finally:
        recorder.disable()
    assert {"API_CALL", "HTTP_REQUEST", "HTTP_RESPONSE"} <= set(noted)
    with sent_directly(repository, 1):
        repository.get(("c", "o"))


@pytest.mark.parametrize("transport", ["auto", "direct"])
def test_a_client_that_was_passed_in_sends_everything_itself(
    plain: MisbehavingServer, transport: str
) -> None:
    client = boto3.client(
        "dynamodb",
        endpoint_url=plain.url,
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    assert Connection(config_of(plain.url, transport), client).direct is None


# ---- which transport -----------------------------------------------------------------------------


def test_auto_is_direct_where_every_setting_is_supported_and_says_so(
    plain: MisbehavingServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "dynamodb_wrapper"):
        repository = orders(plain.url, "auto")
        repository.get(("c", "o"))
        repository.get(("c", "o"))
    assert [text for text in caplog.messages if "transport" in text] == [
        f"The client of {plain.url} uses transport 'direct': every setting is supported."
    ]


UNSUPPORTED = {
    "AWS_CSM_ENABLED": ({"AWS_CSM_ENABLED": "true"}, None),
    "AWS_ENDPOINT_DISCOVERY_ENABLED": ({"AWS_ENDPOINT_DISCOVERY_ENABLED": "true"}, None),
    "AWS_CA_BUNDLE": ({"AWS_CA_BUNDLE": "/nowhere/ca.pem"}, None),
    "HTTPS_PROXY": ({"HTTPS_PROXY": "https://127.0.0.1:9"}, "https://example.test"),
}


@pytest.mark.parametrize("setting", UNSUPPORTED)
def test_a_setting_that_is_not_supported_is_named_or_leaves_all_to_boto3(
    setting: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment, url = UNSUPPORTED[setting]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given = {"region_name": "us-east-1", "endpoint_url": url, "aws_access_key_id": setting}
    config = DynamoDBConfig(**given, aws_secret_access_key="s")  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG, "dynamodb_wrapper"):
        assert Connection(config).direct is None
    assert any("'boto3'" in text and setting in text for text in caplog.messages)
    with pytest.raises(ConfigurationError, match=setting):
        Connection(config.model_copy(update={"transport": "direct"}))


def test_a_table_named_by_its_arn_is_left_to_the_client(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct")
    with sent_directly(repository, 0):
        repository.table_name = "arn:aws:dynamodb:us-east-1:123456789012:table/orders"
        direct_of(repository).send(
            "GetItem", "get_item", {"TableName": repository.table_name, "Key": {}}
        )


# ---- TLS and proxies -----------------------------------------------------------------------------


@pytest.fixture
def secured(authority: Authority) -> Iterator[MisbehavingServer]:
    with MisbehavingServer(authority.server_context()) as running:
        yield running


def test_an_authority_that_is_not_trusted_ends_alike(secured: MisbehavingServer) -> None:
    ends = {t: outcome(orders(secured.url, t, max_attempts=2)) for t in TRANSPORTS}
    assert ends["direct"] == ends["boto3"]
    assert "SSLError" in ends["direct"]["cause"]
    assert (secured.requests, secured.accepted) == ([], 2 + 2)


def test_a_name_the_certificate_does_not_have_ends_alike(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    with MisbehavingServer(authority.server_context(), host="127.0.0.2") as other:
        ends = {t: outcome(orders(other.url, t, max_attempts=2)) for t in TRANSPORTS}
    assert ends["direct"] == ends["boto3"]
    assert "SSLError" in ends["direct"]["cause"]


def test_silence_instead_of_tls_ends_alike() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        given = {"max_attempts": 2, "connect_timeout_seconds": 0.3}
        ends = {t: outcome(orders(url, t, **given)) for t in TRANSPORTS}
    assert ends["direct"] == ends["boto3"]


def test_an_endpoint_that_takes_no_more_connections_ends_alike() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(address)
        given = {"max_attempts": 2, "connect_timeout_seconds": 0.3}
        url = f"http://127.0.0.1:{address[1]}"
        ends = {t: outcome(orders(url, t, **given)) for t in TRANSPORTS}
        for connection in waiting:
            connection.close()
    assert ends["direct"] == ends["boto3"]
    assert "ConnectTimeoutError" in ends["direct"]["cause"]


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_authorities_are_read_where_botocore_reads_them(
    secured: MisbehavingServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, str(authority.bundle))
    repository = orders(secured.url, "direct", max_attempts=1)
    with sent_directly(repository, 2):
        assert [repository.get(("c", "o")), repository.get(("c", "o"))] == [ORDER, ORDER]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proxy_forwards_plain_requests(
    plain: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", plain.url.replace("//", "//me:secret@"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    repository = orders("http://dynamodb.test:8000", transport)
    assert repository.get(("c", "o")) == ORDER
    (request,) = plain.requests
    assert request.target == "http://dynamodb.test:8000/"
    assert request.headers["host"] == "dynamodb.test:8000"
    assert request.headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tls_goes_through_the_tunnel_of_a_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with MisbehavingServer(authority.server_context(), is_proxy=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
        repository = orders("https://localhost:1", transport)
        assert [repository.get(("c", "o")), repository.get(("c", "o"))] == [ORDER, ORDER]
    assert [tunnel["proxy-authorization"] for tunnel in proxy.tunnels] == ["Basic bWU6c2VjcmV0"]
    assert all("proxy-authorization" not in request.headers for request in proxy.requests)


@pytest.mark.parametrize("url", ["http://dynamodb.test:8000", "https://dynamodb.test:8000"])
def test_a_proxy_that_is_not_there_ends_alike(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    ends = {t: outcome(orders(url, t, max_attempts=2)) for t in TRANSPORTS}
    assert ends["direct"] == ends["boto3"]
    assert "ProxyConnectionError" in ends["direct"]["cause"]


def test_a_proxy_that_refuses_is_asked_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    ends = {}
    for transport in TRANSPORTS:
        with MisbehavingServer(is_proxy=True) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            end = outcome(orders(f"https://dynamodb.test:{proxy.port}", transport))
            ends[transport] = (end["error"], end["cause"], end["retryable"], proxy.accepted)
    assert ends["direct"] == ends["boto3"]
    assert ends["direct"][-1] == 3


def test_a_connection_that_is_refused_once_is_made_at_the_second_attempt() -> None:
    with MisbehavingServer() as gone:
        pass
    repository = orders(gone.url, "direct", max_attempts=20, operation_timeout_seconds=20)
    server = MisbehavingServer(port=gone.port)
    waker = threading.Timer(0.1, server.__enter__)
    waker.start()
    try:
        assert repository.get(("c", "o")) == ORDER
    finally:
        waker.join()
        server.__exit__()


def test_no_proxy_is_used_for_hosts_that_need_none(
    plain: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert orders(plain.url, "direct").get(("c", "o")) == ORDER


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nowhere.invalid:80"])
def test_an_endpoint_that_is_not_there_ends_alike(url: str) -> None:
    ends = {t: outcome(orders(url, t, max_attempts=2)) for t in TRANSPORTS}
    assert ends["direct"] == ends["boto3"]
    assert "EndpointConnectionError" in ends["direct"]["cause"]


# ---- connections ---------------------------------------------------------------------------------


def test_a_connection_the_server_has_closed_is_not_used_again(plain: MisbehavingServer) -> None:
    plain.does(misbehaving.closes_silently)
    repository = orders(plain.url, "direct", max_attempts=1)
    for _ in range(3):
        assert repository.get(("c", "o")) == ORDER
        time.sleep(0.05)
    assert plain.connections == 3


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("behaviour", [misbehaving.found, misbehaving.chunked])
def test_a_connection_is_used_again_after_each_reply(
    plain: MisbehavingServer, transport: str, behaviour: Behaviour
) -> None:
    plain.does(behaviour)
    repository = orders(plain.url, transport, max_attempts=1)
    for _ in range(3):
        assert repository.get(("c", "o")) == ORDER
    assert plain.connections == 1


def test_threads_have_their_own_answers(plain: MisbehavingServer) -> None:
    def echo(request: Request) -> bool:
        body = json.dumps({"Item": json.loads(request.body)["Key"]}).encode()
        return misbehaving.answer(body)(request)

    plain.does(echo)
    repository = orders(plain.url, "direct", max_pool_connections=3)
    keys = [(f"c{number}", "o") for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(repository.get_or_raise, keys))
    assert [(order.customer_id, order.order_id) for order in found] == keys


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_makes_connections_of_its_own(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct")
    repository.get(("c", "o"))
    child = os.fork()
    if child == 0:  # the child says by its exit code whether it was answered, and nothing else
        with mock.patch.object(sys, "stderr"):
            answered = repository.get(("c", "o")) == ORDER and direct_of(repository).requests == 1
        os._exit(0 if answered else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    repository.get(("c", "o"))
    assert [request.number for request in plain.requests] == [1, 2, 1]


def test_closing_the_clients_closes_idle_connections(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct")
    repository.get(("c", "o"))
    direct = direct_of(repository)
    direct.close()
    assert repository.get(("c", "o")) == ORDER
    assert plain.connections == 2


# ---- attempts ------------------------------------------------------------------------------------


def test_no_attempt_begins_after_the_time_of_the_operation(plain: MisbehavingServer) -> None:
    plain.does(misbehaving.silence)
    repository = orders(
        plain.url,
        "direct",
        operation_timeout_seconds=0.5,
        read_timeout_seconds=0.3,
        max_attempts=20,
    )
    with pytest.raises(DynamoDBWrapperError):
        repository.get(("c", "o"))
    assert 1 <= len(plain.requests) < 5


@pytest.mark.newest_only  # older versions of botocore wait a second before the second attempt
def test_successes_give_the_quota_of_retries_back(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct", max_attempts=2)
    broken = misbehaving.error("InternalServerError", 500)

    def attempts() -> int:
        plain.does(broken)
        outcome(repository)
        return len(plain.requests)

    assert 1 in (attempts() for _ in range(150))  # the quota is used up
    plain.does(misbehaving.found)
    with sent_directly(repository, 30):
        for _ in range(30):
            repository.get(("c", "o"))
    assert attempts() == 2


# ---- signatures ----------------------------------------------------------------------------------


def test_a_wrong_clock_is_corrected_when_dynamodb_refuses_for_its_sake(
    plain: MisbehavingServer,
) -> None:
    ahead = 3600.0
    busy = iter([True])

    def strict(request: Request) -> bool:
        theirs = time.time() + ahead
        signed = time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        date = formatdate(theirs, usegmt=True)
        if abs(misbehaving.seconds_of(signed) - theirs) > 300:
            body = b'{"__type":"x#InvalidSignatureException","message":"Signature expired"}'
            return misbehaving.answer(body, 400, date=date)(request)
        if next(busy, False):  # the client's own attempts are signed by that clock as well
            return misbehaving.error("InternalServerError", 500)(request)
        return misbehaving.answer(misbehaving.FOUND, date=date)(request)

    plain.does(strict)
    repository = orders(plain.url, "direct")
    assert repository.get(("c", "o")) == ORDER
    assert len(plain.requests) == 3
    with sent_directly(repository, 1):
        assert repository.get(("c", "o")) == ORDER
    assert len(plain.requests) == 4


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_requests_name_the_invocation_of_a_lambda_function_they_belong_to(
    plain: MisbehavingServer, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    repository = orders(plain.url, transport)
    for trace in ("Root=1-0;Sampled=1", "Root=2-0 \n"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
        repository.get(("c", "o"))
    monkeypatch.delenv("_X_AMZN_TRACE_ID")
    repository.get(("c", "o"))
    traces = [request.headers.get("x-amzn-trace-id") for request in plain.requests]
    assert traces == ["Root=1-0;Sampled=1", "Root=2-0%20%0A", None]


EXPIRING = """
import datetime, json, pathlib, sys
seen = pathlib.Path(sys.argv[1])
number = len(seen.read_text()) if seen.exists() else 0
seen.write_text("x" * (number + 1))
minutes = 60 if number >= 2 else 1  # botocore renews what expires in less than ten minutes
expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
print(json.dumps({
    "Version": 1, "AccessKeyId": f"KEY{number}", "SecretAccessKey": "s",
    "SessionToken": f"token{number}", "Expiration": expires.isoformat(),
}))
"""


def test_renewed_credentials_sign_the_next_request(
    plain: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys.py").write_text(EXPIRING)
    process = f"{sys.executable} {tmp_path / 'keys.py'} {tmp_path / 'seen'}"
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = {process}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    given = {"region_name": "us-east-1", "endpoint_url": plain.url, "profile_name": "p"}
    config = DynamoDBConfig(**given, transport="direct")  # type: ignore[arg-type]
    repository = BaseDynamoRepository(config, ORDERS)
    for _ in range(4):
        assert repository.get(("c", "o")) == ORDER
    keys = [r.headers["authorization"].split("KEY")[1].split("/")[0] for r in plain.requests]
    tokens = [request.headers["x-amz-security-token"] for request in plain.requests]
    assert keys[-2:] == ["2", "2"]
    assert tokens == [f"token{key}" for key in keys]
    assert direct_of(repository).requests >= 2
