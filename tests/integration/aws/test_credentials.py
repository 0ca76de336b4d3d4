"""Credentials that are got and renewed by clients botocore makes in the middle of a request."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import AccessDeniedError, ConfigurationError, ConnectionError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support import misbehaving
from tests.support.misbehaving import MisbehavingServer
from tests.support.transports import ORDERS, Order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.misbehaving import Behaviour, Request

pytestmark = pytest.mark.usefixtures("only_own_handlers")

ORDER = Order(customer_id="c", order_id="o", note="x" * 100)
ROLE = "arn:aws:iam::123456789012:role/writer"
PROFILES = f"""
[profile base]
aws_access_key_id = AKIABASE
aws_secret_access_key = s
[profile writer]
role_arn = {ROLE}
source_profile = base
region = us-east-1
"""
GIVEN = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>token{number}</SessionToken><Expiration>{expires}</Expiration></Credentials>
</AssumeRoleResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</AssumeRoleResponse>"""
REFUSED = b"""<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>not for you</Message></Error><RequestId>r</RequestId></ErrorResponse>"""


def gives_keys(minutes: float) -> Behaviour:
    """Answer with new keys each time; botocore renews those of less than ten minutes at once."""
    numbers = count()

    def respond(request: Request) -> bool:
        expires = datetime.now(timezone.utc) + timedelta(minutes=minutes)
        body = GIVEN.format(number=next(numbers), expires=expires.isoformat()).encode()
        return misbehaving.answer(body, content_type="text/xml")(request)

    return respond


@pytest.fixture
def table() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """The endpoint that gives the keys of roles."""
    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # between others botocore would wait for seconds
    with MisbehavingServer() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        yield running


def orders_by(role: str, table: MisbehavingServer, transport: str) -> BaseDynamoRepository[Order]:
    given = {
        "profile": {"profile_name": "writer"},
        "role": {"profile_name": "base", "role_arn": ROLE},
    }[role]
    config = DynamoDBConfig(
        endpoint_url=table.url,
        region_name="us-east-1",
        transport=transport,  # type: ignore[arg-type]
        max_attempts=2,
        **given,  # type: ignore[arg-type]
    )
    return BaseDynamoRepository(config, ORDERS)


@pytest.mark.parametrize("minutes", [5, 60])
@pytest.mark.parametrize("transport", ["boto3", "auto"])
@pytest.mark.parametrize("role", ["profile", "role"])
def test_keys_of_a_role_are_renewed_while_a_request_is_signed(
    table: MisbehavingServer, roles: MisbehavingServer, role: str, transport: str, minutes: int
) -> None:
    roles.does(gives_keys(minutes))
    repository = orders_by(role, table, transport)
    for _ in range(4):
        assert repository.get(("c", "o")) == ORDER
    keys = [request.headers["authorization"].split("/")[0] for request in table.requests]
    assert all("Credential=ASIA" in key for key in keys)
    assert len(set(keys)) == (4 if minutes == 5 else 1)
    assert len(roles.requests) >= len(set(keys))


FAILURES = {
    "refused": (misbehaving.answer(REFUSED, 403, content_type="text/xml"), AccessDeniedError),
    "unreadable": (misbehaving.answer(b"<half", content_type="text/xml"), AccessDeniedError),
    "empty": (misbehaving.answer(b"<a></a>", content_type="text/xml"), AccessDeniedError),
    "expired already": (gives_keys(-5), AccessDeniedError),
    "no answer": (misbehaving.reset, ConnectionError),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("transport", ["boto3", "auto"])
@pytest.mark.parametrize("role", ["profile", "role"])
def test_a_failure_to_get_credentials_is_one_of_our_errors(
    table: MisbehavingServer, roles: MisbehavingServer, role: str, transport: str, failure: str
) -> None:
    behaviour, expected = FAILURES[failure]
    roles.does(behaviour)
    with pytest.raises(expected, match="GetItem was not sent: its credentials could not") as caught:
        orders_by(role, table, transport).get(("c", "o"))
    assert type(caught.value) is expected
    assert caught.value.table_name == "orders"
    assert caught.value.retryable == (expected is ConnectionError)
    assert caught.value.error_code == ("AccessDenied" if failure == "refused" else None)
    assert table.requests == []


def test_credentials_that_are_missing_when_the_client_is_made_are_reported(
    table: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile broken]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    config = DynamoDBConfig(endpoint_url=table.url, region_name="us-east-1", profile_name="broken")
    with pytest.raises(ConfigurationError, match="credentials cannot be used"):
        BaseDynamoRepository(config, ORDERS)
