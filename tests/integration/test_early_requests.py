"""Requests sent before there is a boto3 client, and what makes the client."""

from __future__ import annotations

import logging
import os
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from tests import misbehaving
from tests.misbehaving import MisbehavingServer
from tests.starts import Starts
from tests.transports import Order, orders, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.misbehaving import Authority, Request

pytestmark = [
    pytest.mark.usefixtures("only_own_handlers"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
]

ORDER = Order(customer_id="c", order_id="o", note="x" * 100)
OF_EACH_REQUEST = {"user-agent", "x-amz-date", "authorization", "amz-sdk-invocation-id"}
LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]1",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "ASIAKEY",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "_X_AMZN_TRACE_ID": "Root=1-2-3",
}


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starts]:
    with Starts(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


def senders(server: MisbehavingServer) -> list[str]:
    """Return who has sent each request: ``early`` or ``client``."""
    return [
        "early" if "Botocore" not in request.headers["user-agent"] else "client"
        for request in server.requests
    ]


# ---- without a client ----------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["auto", "direct"])
def test_a_request_that_is_answered_needs_no_botocore(
    starts: Starts, server: MisbehavingServer, transport: str
) -> None:
    program = f"""
        found = orders({server.url!r}, {transport!r})
        result = [found.get(("c", "o")) for _ in range(3)], "botocore" in sys.modules
    """
    assert run(starts, program) == ([ORDER] * 3, False)
    assert senders(server) == ["early"] * 3
    assert server.connections == 1


def test_what_only_other_methods_need_is_not_loaded(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        orders({server.url!r}, "auto").get(("c", "o"))
        others = "redaction repositories.results repositories.table_admin wire.flow".split()
        names = ["concurrent.futures", "difflib", *map("dynamodb_wrapper.".__add__, others)]
        result = [name for name in names if name in sys.modules]
    """
    assert run(starts, program) == []


@pytest.mark.parametrize("token", [None, "a+token/=="])
def test_it_is_the_request_the_client_would_send(
    starts: Starts, server: MisbehavingServer, token: str | None
) -> None:
    run(starts, f'orders({server.url!r}, "auto", aws_session_token={token!r}).get(("c", "o"))')
    orders(server.url, "boto3", aws_session_token=token).get(("c", "o"))
    early, clients = server.requests
    for request in (early, clients):  # older versions do not tell how many attempts there may be
        request.headers["amz-sdk-request"] = request.headers["amz-sdk-request"].partition(";")[0]
    assert (early.target, early.body) == (clients.target, clients.body)
    assert set(early.headers) == set(clients.headers)
    same = set(early.headers) - OF_EACH_REQUEST
    assert {n: early.headers[n] for n in same} == {n: clients.headers[n] for n in same}
    assert early.headers["authorization"] == signed_by_botocore(early, server.url, token)


def signed_by_botocore(request: Request, url: str, token: str | None) -> str:
    names = ("content-type", "x-amz-date", "x-amz-security-token", "x-amz-target")
    headers = {name: request.headers[name] for name in names if name in request.headers}
    again = AWSRequest("POST", url, headers=headers, data=request.body)
    again.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(ReadOnlyCredentials("local", "local", token), "dynamodb", "us-east-1")
    text = signer.string_to_sign(again, signer.canonical_request(again))
    signed = signer.signed_headers(signer.headers_to_sign(again))
    scope = signer.credential_scope(again)
    return (
        f"AWS4-HMAC-SHA256 Credential=local/{scope}, SignedHeaders={signed}, "
        f"Signature={signer.signature(text, again)}"
    )


def test_a_function_of_lambda_starts_without_botocore(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = """
        found = BaseDynamoRepository(DynamoDBConfig.from_env(), ORDERS)
        result = found.get(("c", "o")), "botocore" in sys.modules
    """
    environ = {**LAMBDA, "AWS_ENDPOINT_URL_DYNAMODB": server.url}
    assert run(starts, program, **environ) == (ORDER, False)
    (request,) = server.requests
    assert request.headers["x-amzn-trace-id"] == "Root=1-2-3"
    assert request.headers["x-amz-security-token"] == "token"
    assert "/eu-west-1/dynamodb/" in request.headers["authorization"]


def test_it_goes_to_the_endpoint_of_the_region(starts: Starts) -> None:
    program = """
        import errno, socket

        asked = []
        def refuse(event, arguments):
            if event == "socket.getaddrinfo":
                asked.append(arguments[:2])
                raise OSError(errno.EHOSTUNREACH, "no network here")
        sys.addaudithook(refuse)
        config = DynamoDBConfig(
            region_name="eu-west-1", aws_access_key_id="k", aws_secret_access_key="s",
            max_attempts={attempts},
        )
        found = BaseDynamoRepository(config, ORDERS)
        before = "botocore" in sys.modules
        outcome(found)
        result = before, asked
    """
    (early, first), (_, both) = (
        run(starts, program.replace("{attempts}", attempts)) for attempts in ("1", "2")
    )
    assert (early, first) == (False, [("dynamodb.eu-west-1.amazonaws.com", 443)])
    assert both == first * 2  # the second attempt is the client's


def test_every_operation_for_data_works(starts: Starts, local_config: DynamoDBConfig) -> None:
    program = f"""
        found = orders({local_config.endpoint_url!r}, "auto", table_prefix="early")
        found.create_table()
    """
    run(starts, program)
    program = f"""
        found = orders({local_config.endpoint_url!r}, "auto", table_prefix="early")
        many = [Order(customer_id="c", order_id=str(number)) for number in range(30)]
        found.put(many[0])
        found.update(("c", "0"), set={{"note": "n"}})
        changed = found.get(("c", "0")).note
        found.put_many(many)
        keys = [("c", order.order_id) for order in many]
        same = found.get_many(keys) == many
        counts = [len(list(read)) for read in (found.query("c"), found.scan())]
        found.delete(("c", "0"))
        result = changed, same, counts, found.count("c"), "botocore" in sys.modules
    """
    assert run(starts, program) == ("n", True, [30, 30], 29, False)


# ---- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def trusting(authority: Authority, tmp_path: Path) -> Iterator[Starts]:
    """Processes whose certifi has the authority of the tests."""
    (tmp_path / "certifi.py").write_text(f"def where():\n    return {str(authority.bundle)!r}\n")
    with Starts(tmp_path, PYTHONPATH=str(tmp_path)) as running:
        yield running


def test_requests_are_secured(trusting: Starts, authority: Authority) -> None:
    with MisbehavingServer(authority.server_context()) as secured:
        program = f"""
            found = orders({secured.url!r}, "auto")
            result = [found.get(("c", "o")) for _ in range(2)], "botocore" in sys.modules
        """
        assert run(trusting, program) == ([ORDER] * 2, False)
    assert secured.connections == 1


def test_a_name_the_certificate_does_not_have_is_refused(
    trusting: Starts, authority: Authority
) -> None:
    with MisbehavingServer(authority.server_context(), host="127.0.0.2") as other:
        end = run(trusting, f'result = outcome(orders({other.url!r}, "auto", max_attempts=2))')
    assert "SSLError" in end["cause"]
    assert (other.requests, other.accepted) == ([], 2)


def test_an_authority_that_is_not_trusted_is_refused(starts: Starts, authority: Authority) -> None:
    with MisbehavingServer(authority.server_context()) as other:
        end = run(starts, f'result = outcome(orders({other.url!r}, "auto", max_attempts=2))')
    assert "SSLError" in end["cause"]
    assert (other.requests, other.accepted) == ([], 2)


# ---- what makes the client at once ---------------------------------------------------------------

VARIABLES = {
    "AWS_CA_BUNDLE": os.devnull,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument",
    "AWS_ACCOUNT_ID": "123456789012",
    "AWS_RETRY_MODE": "standard",
    "AWS_USE_DUALSTACK_ENDPOINT": "false",
    "AWS_A_VARIABLE_OF_THE_FUTURE": "x",
    "BOTO_CONFIG": os.devnull,
    "BOTOCORE_EXPERIMENTAL__PLUGINS": "x=y",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "all_proxy": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_may_matter_makes_the_client_at_once(
    starts: Starts, server: MisbehavingServer, name: str
) -> None:
    environ = {name: VARIABLES[name], "NO_PROXY": "127.0.0.1"}
    assert reasons(starts, server, "", **environ) == [f"The boto3 client is made at once: {name}."]
    assert senders(server) == ["client"]


SETTINGS = {
    "a profile": ('"profile_name": "p"', "profile_name or role_arn"),
    "no keys": ('"aws_access_key_id": None, "aws_secret_access_key": None', "aws_access_key_id"),
    "a strange key": ('"aws_access_key_id": "a/b"', "aws_access_key_id"),
    "an empty secret": ('"aws_secret_access_key": ""', "aws_access_key_id"),
    "a strange token": ('"aws_session_token": "a\\r\\nx: y"', "aws_session_token"),
    "no region": ('"region_name": None', "region_name"),
    "another partition": ('"region_name": "cn-north-1"', "region_name"),
    "a region of no place": ('"region_name": "aws-global"', "region_name"),
    "a path": ('"endpoint_url": "http://127.0.0.1:9/path"', "endpoint_url"),
    "no such port": ('"endpoint_url": "http://127.0.0.1:99999"', "endpoint_url"),
    "a strange name": ('"endpoint_url": "http://a_b:9"', "endpoint_url"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_needs_the_client_makes_it_at_once(starts: Starts, setting: str) -> None:
    changed, reason = SETTINGS[setting]
    program = f"""
        from dynamodb_wrapper.config.direct.alone import setting_for_the_client

        config = DynamoDBConfig(**{{**{{
            "region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:9",
            "aws_access_key_id": "k", "aws_secret_access_key": "s",
        }}, {changed}}})
        result = setting_for_the_client(config, {{}})
        try:
            BaseDynamoRepository(config, ORDERS)
        except Exception:
            pass
        assert "botocore" in sys.modules
    """
    assert run(starts, program) == reason


def test_files_of_the_sdk_make_the_client_at_once(
    tmp_path: Path, server: MisbehavingServer
) -> None:
    (tmp_path / ".aws").mkdir()
    with Starts(tmp_path) as starts:
        assert reasons(starts, server) == ["The boto3 client is made at once: ~/.aws."]
    assert senders(server) == ["client"]


def test_the_transport_of_boto3_makes_the_client_at_once(
    starts: Starts, server: MisbehavingServer
) -> None:
    run(starts, f'orders({server.url!r}, "boto3"); assert "botocore" in sys.modules')


FINDER = """
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                return None
"""
PRESENT = {
    "botocore": ("import botocore", "botocore is imported"),
    "boto3": ("import boto3", "botocore is imported"),
    "urllib3": ("import urllib3", "urllib3 is imported"),
    "a finder": (f"{FINDER}\n        sys.meta_path.insert(0, Finder)", "finds modules"),
    "an object that finds": (f"{FINDER}\n        sys.meta_path.append(Finder())", "finds modules"),
    "a path hook": (
        "def hook(path): raise ImportError\n        sys.path_hooks.insert(0, hook)",
        "finds modules",
    ),
    "an import function": (
        "import builtins; real = builtins.__import__\n"
        "        builtins.__import__ = lambda *a, **n: real(*a, **n)",
        "builtins.__import__ was replaced",
    ),
    "a finder that was changed": (
        "from importlib.machinery import PathFinder; real = PathFinder.find_spec\n"
        "        PathFinder.find_spec = classmethod(lambda cls, *a, **n: real(*a, **n))",
        "PathFinder.find_spec was replaced",
    ),
    "a loader that was changed": (
        "from importlib.machinery import SourceFileLoader as L; real = L.exec_module\n"
        "        L.exec_module = lambda self, module: real(self, module)",
        "SourceFileLoader.exec_module was replaced",
    ),
    "a method of connections": (
        "from http.client import HTTPConnection as C; real = C.putrequest\n"
        "        C.putrequest = lambda *a, **n: real(*a, **n)",
        "HTTPConnection.putrequest was replaced",
    ),
    "the class of connections": (
        "import http.client as h\n"
        "        h.HTTPConnection = type('Recording', (h.HTTPConnection,), {})",
        "http.client.HTTPConnection was replaced",
    ),
    "a function of socket": (
        "import socket; real = socket.create_connection\n"
        "        socket.create_connection = lambda *a, **n: real(*a, **n)",
        "socket.create_connection was replaced",
    ),
    "the class of sockets": (
        "import socket; socket.socket = type('Guarded', (socket.socket,), {})",
        "socket.socket was replaced",
    ),
    "a method of responses": (
        "from http.client import HTTPResponse as R; real = R.begin\n"
        "        R.begin = lambda *a, **n: real(*a, **n)",
        "HTTPResponse.begin was replaced",
    ),
    "the class of the responses of connections": (
        "import http.client as h\n"
        "        h.HTTPConnection.response_class = type('Seen', (h.HTTPResponse,), {})",
        "HTTPConnection.response_class was replaced",
    ),
    "what is printed of connections": (
        "from http.client import HTTPConnection as C; C.debuglevel = 1",
        "http.client.HTTPConnection.debuglevel is set",
    ),
    "what connections keep to themselves": (
        "from http.client import HTTPConnection as C; real = C._output\n"
        "        C._output = lambda *a: real(*a)",
        "HTTPConnection._output was replaced",
    ),
    "a finder of files": (
        "from importlib.machinery import FileFinder as F; real = F.find_spec\n"
        "        F.find_spec = lambda *a, **n: real(*a, **n)",
        "FileFinder.find_spec was replaced",
    ),
    "a finder that does not say what it is": (
        f"{FINDER}\n        Finder.__repr__ = lambda self: 1 / 0\n"
        "        sys.meta_path.append(Finder())",
        "finds modules",
    ),
    "the files of sockets": (
        "import socket; real = socket.socket.makefile\n"
        "        socket.socket.makefile = lambda *a, **n: real(*a, **n)",
        "socket.makefile was replaced",
    ),
    "a method of sockets": (
        "import socket; real = socket.socket.connect\n"
        "        socket.socket.connect = lambda *a: real(*a)",
        "socket.connect was replaced",
    ),
}


@pytest.mark.parametrize("who", PRESENT)
def test_who_may_take_part_makes_the_client_at_once(
    starts: Starts, server: MisbehavingServer, who: str
) -> None:
    code, reason = PRESENT[who]
    (told,) = reasons(starts, server, code)
    assert told.startswith("The boto3 client is made at once: ")
    assert reason in told
    assert senders(server) == ["client"]


@pytest.mark.parametrize("who", PRESENT)
def test_who_may_take_part_from_now_on_makes_the_client_before_the_next_request(
    starts: Starts, server: MisbehavingServer, who: str
) -> None:
    program = f"""
        found = orders({server.url!r}, "auto")
        first = found.get(("c", "o"))
        {PRESENT[who][0]}
        result = first, found.get(("c", "o")), found.get(("c", "o"))
    """
    assert run(starts, program) == (ORDER, ORDER, ORDER)
    assert senders(server) == ["early", "client", "client"]


BREAKING = {
    "the class of TLS contexts": (
        "import ssl; ssl.SSLContext = type('Store', (ssl.SSLContext,), {})",
        "ssl.SSLContext was replaced",
    ),
    "the modules": (
        "sys.modules = type('Watched', (dict,), {})(sys.modules)",
        "sys.modules was replaced",
    ),
}


@pytest.mark.parametrize("who", BREAKING)
def test_what_botocore_would_hardly_survive_is_seen_as_well(starts: Starts, who: str) -> None:
    code, reason = BREAKING[who]
    program = f"""
        from dynamodb_wrapper.config.direct.alone import Surroundings

        surroundings = Surroundings()
        before = surroundings.found(), surroundings.found()
        {code}
        result = before, surroundings.found()
    """
    assert run(starts, program) == ((None, None), reason)


def test_finders_that_only_find_what_they_have_made_are_harmless(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        import six.moves
        found = orders({server.url!r}, "auto")
        result = found.get(("c", "o")), "botocore" in sys.modules
    """
    assert run(starts, program) == (ORDER, False)


# ---- what makes it later -------------------------------------------------------------------------

NEEDS = {
    "the client": "Connection(found.config).client",
    "client_for": "client_for(found.config)",
    "an operation for tables": "outcome_of(found.check_table)",
    "a table named by its ARN": (
        'Connection(found.config).direct.send("GetItem", "get_item", '
        '{"TableName": "arn:aws:dynamodb:us-east-1:123456789012:table/orders", "Key": {}})'
    ),
}


@pytest.mark.parametrize("need", NEEDS)
def test_what_needs_the_client_makes_it(
    starts: Starts, server: MisbehavingServer, need: str
) -> None:
    program = f"""
        from dynamodb_wrapper.config import Connection, client_for

        def outcome_of(function):
            try:
                return function()
            except Exception:
                pass
        found = orders({server.url!r}, "auto")
        found.get(("c", "o"))
        before = "botocore" in sys.modules
        {NEEDS[need]}
        result = before, "botocore" in sys.modules, found.get(("c", "o"))
    """
    assert run(starts, program) == (False, True, ORDER)
    assert senders(server)[0] == "early"
    assert set(senders(server)[1:]) == {"client"}


def test_a_handler_of_the_client_is_called_from_then_on(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        from dynamodb_wrapper.config import client_for

        found, result = orders({server.url!r}, "auto"), []
        found.get(("c", "o"))
        events = client_for(found.config).meta.events
        events.register("before-send.dynamodb", lambda **_: result.append("called"))
        found.get(("c", "o"))
    """
    assert run(starts, program) == ["called"]


def test_moto_that_is_started_after_the_first_request_takes_part_in_the_next(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        from dynamodb_wrapper.config import Connection

        found = orders({server.url!r}, "auto")
        found.get(("c", "o"))
        from moto import mock_aws
        mock_aws().start()
        found.get(("c", "o"))
        result = Connection(found.config).direct.listeners.found()
    """
    assert "moto" in run(starts, program)
    assert senders(server) == ["early", "client"]  # moto lets through what is not for AWS


@pytest.mark.parametrize("transport", ["auto", "direct"])
def test_a_setting_that_leaves_all_to_the_client_denies_no_attempt_that_was_made(
    starts: Starts, server: MisbehavingServer, transport: str
) -> None:
    server.does(misbehaving.error("InternalServerError", 500), misbehaving.found)
    program = f"""
        import os
        from dynamodb_wrapper.exceptions import ServiceError

        found = orders({server.url!r}, {transport!r}, max_attempts=1)
        os.environ["AWS_CSM_ENABLED"] = "true"
        try:
            first = found.get(("c", "o"))
        except ServiceError as error:
            first = error.error_code
        result = first, found.get(("c", "o"))
    """
    assert run(starts, program) == ("InternalServerError", ORDER)
    assert senders(server) == ["early", "client"]


# ---- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", misbehaving.EVERY)
@pytest.mark.parametrize("times", ["once", "always"])
def test_a_first_attempt_ends_as_the_clients_after_as_many_attempts(
    starts: Starts, server: MisbehavingServer, name: str, times: str
) -> None:
    behaviour = misbehaving.EVERY[name]
    script = [behaviour] if times == "always" else [behaviour, misbehaving.found]
    patience = 0.4 if "silence" in name else 5
    server.does(*script)
    early = run(
        starts,
        f'result = outcome(orders({server.url!r}, "auto", read_timeout_seconds={patience}))',
    )
    sent = senders(server)
    server.does(*script)
    clients = outcome(orders(server.url, "boto3", read_timeout_seconds=patience))
    assert (early, len(sent)) == (clients, len(server.requests))
    assert sent == ["early"] + ["client"] * (len(sent) - 1)


def test_an_endpoint_that_is_not_there_ends_as_with_the_client(starts: Starts) -> None:
    url = "http://127.0.0.1:9"
    early = run(starts, f'result = outcome(orders({url!r}, "auto", max_attempts=2))')
    assert early == outcome(orders(url, "boto3", max_attempts=2))


def test_no_attempt_begins_after_the_time_of_the_operation(
    starts: Starts, server: MisbehavingServer
) -> None:
    server.does(misbehaving.silence)
    given = "operation_timeout_seconds=0.5, read_timeout_seconds=0.3, max_attempts=20"
    run(starts, f'result = outcome(orders({server.url!r}, "auto", {given}))')
    assert 1 <= len(server.requests) < 5


def test_a_wrong_clock_is_corrected(starts: Starts, server: MisbehavingServer) -> None:
    def strict(request: Request) -> bool:
        theirs = time.time() + 3600
        signed = time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        date = formatdate(theirs, usegmt=True)
        if abs(misbehaving.seconds_of(signed) - theirs) > 300:
            body = b'{"__type":"x#InvalidSignatureException","message":"Signature expired"}'
            return misbehaving.answer(body, 400, date=date)(request)
        return misbehaving.answer(misbehaving.FOUND, date=date)(request)

    server.does(strict)
    assert run(starts, f'result = orders({server.url!r}, "auto").get(("c", "o"))') == ORDER


# ---- processes and threads -----------------------------------------------------------------------


def test_a_forked_process_has_connections_of_its_own(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        import os

        found = orders({server.url!r}, "auto")
        found.get(("c", "o"))
        child = os.fork()
        if child == 0:
            os._exit(found.get(("c", "o")) is None)
        result = os.waitpid(child, 0)[1], found.get(("c", "o"))
    """
    assert run(starts, program) == (0, ORDER)
    assert [request.number for request in server.requests] == [1, 2, 1]


def test_closing_the_clients_closes_idle_connections(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        from dynamodb_wrapper.config import close_clients

        found = orders({server.url!r}, "auto")
        found.get(("c", "o"))
        close_clients()
        result = found.get(("c", "o")), "botocore" in sys.modules
    """
    assert run(starts, program) == (ORDER, False)
    assert server.connections == 2


def test_connections_that_were_made_before_the_client_do_not_stay(
    starts: Starts, server: MisbehavingServer
) -> None:
    program = f"""
        import contextlib, os, stat

        def sockets():
            kinds = []
            for number in range(64):
                with contextlib.suppress(OSError):
                    kinds.append(stat.S_ISSOCK(os.fstat(number).st_mode))
            return sum(kinds)

        before = sockets()
        found = orders({server.url!r}, "auto")
        found.get(("c", "o"))
        early = sockets() - before
        import botocore
        found.get(("c", "o"))
        result = early, sockets() - before
    """
    assert run(starts, program) == (1, 1)
    assert server.connections == 2


def test_threads_that_need_the_client_make_one(starts: Starts, server: MisbehavingServer) -> None:
    server.does(*[misbehaving.error("InternalServerError", 500)] * 4, misbehaving.found)
    program = f"""
        from concurrent.futures import ThreadPoolExecutor
        from dynamodb_wrapper.config import Connection

        found = orders({server.url!r}, "auto", max_attempts=5)
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(found.get, [("c", "o")] * 8))
        result = read, len({{id(Connection(found.config).client) for _ in range(3)}})
    """
    assert run(starts, program) == ([ORDER] * 8, 1)


# ---- helpers -------------------------------------------------------------------------------------


def run(starts: Starts, program: str, **environ: str) -> Any:
    """Run a program that is indented as the tests are."""
    lines = program.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return starts.run("\n".join(line[indent:] for line in lines), **environ)


def reasons(starts: Starts, server: MisbehavingServer, code: str = "", **environ: str) -> list[str]:
    """Make a repository, read an item, and return what the log says about the client."""
    program = f"""
        import logging

        told = []
        class Notes(logging.Handler):
            def emit(self, record):
                told.append(record.getMessage())
        log = logging.getLogger("dynamodb_wrapper.config.direct.early")
        log.addHandler(Notes())
        log.setLevel({logging.DEBUG})
        {code}
        found = orders({server.url!r}, "auto")
        assert "botocore" in sys.modules
        found.get(("c", "o"))
        result = told
    """
    told: list[str] = run(starts, program, **environ)
    return told
