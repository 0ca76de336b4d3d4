"""A peer that breaks HTTP: no caller is given the reply to another request."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import zlib
from typing import TYPE_CHECKING

import pydantic
import pytest

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import DynamoDBWrapperError, ValidationError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support import misbehaving
from tests.support.transports import ORDERS, TRANSPORTS, orders

if TYPE_CHECKING:
    from tests.support.misbehaving import Behaviour, MisbehavingServer, Request

pytestmark = pytest.mark.usefixtures("only_own_handlers")

FORGED = json.dumps({"Item": {"customer_id": {"S": "forged"}, "order_id": {"S": "o"}}}).encode()
REPLY = misbehaving.head(200, len(FORGED), x_amz_crc32=zlib.crc32(FORGED)) + FORGED


def echo(request: Request) -> bool:
    """Answer with the item of the key that is asked for."""
    body = json.dumps({"Item": json.loads(request.body)["Key"]}).encode()
    return misbehaving.answer(body)(request)


def with_another_reply_in_the_same_record(request: Request) -> bool:
    body = json.dumps({"Item": json.loads(request.body)["Key"]}).encode()
    request.send(misbehaving.head(200, len(body), x_amz_crc32=zlib.crc32(body)), body, REPLY)
    return True


def long_with_another_reply_after_it(request: Request) -> bool:
    """The end of a long body and another reply are in one record."""
    key = json.loads(request.body)["Key"]
    body = json.dumps({"Item": {**key, "note": {"S": "x" * 40_000}}}).encode()
    head = misbehaving.head(200, len(body), x_amz_crc32=zlib.crc32(body))
    request.send(head, body[:-100])
    request.send(body[-100:], REPLY)
    return True


def with_two_lengths(request: Request) -> bool:
    body = json.dumps({"Item": json.loads(request.body)["Key"]}).encode()
    lengths = f"Content-Length: {len(body)}\r\nContent-Length: {len(body) + len(REPLY)}\r\n\r\n"
    request.send(b"HTTP/1.1 200 OK\r\n", lengths.encode(), body, REPLY)
    return True


def with_length_and_chunks(request: Request) -> bool:
    body = json.dumps({"Item": json.loads(request.body)["Key"]}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    request.send(head.encode(), f"{len(body):x}\r\n".encode(), body, b"\r\n0\r\n\r\n")
    request.released.wait(0.05)
    request.send(REPLY)
    return True


def hints_first_and_the_reply_late(request: Request) -> bool:
    request.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    request.released.wait(0.05)
    request.send(REPLY)
    return True


def no_content_with_a_late_body(request: Request) -> bool:
    request.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    request.released.wait(0.05)
    request.send(REPLY)
    return True


@pytest.mark.parametrize(
    "poison",
    [
        with_another_reply_in_the_same_record,
        long_with_another_reply_after_it,
        with_two_lengths,
        with_length_and_chunks,
        hints_first_and_the_reply_late,
        no_content_with_a_late_body,
    ],
    ids=lambda behaviour: behaviour.__name__,
)
def test_what_follows_a_reply_is_no_reply_to_the_next_request(
    server: MisbehavingServer, poison: Behaviour
) -> None:
    repository = orders(server.url, "direct", max_attempts=1)
    server.does(echo)
    repository.get_or_raise(("first", "o"))
    for number in range(3):
        server.does(poison, echo)
        try:
            found = repository.get_or_raise((f"poisoned {number}", "o"))
        except DynamoDBWrapperError:
            pass
        else:
            assert found.customer_id == f"poisoned {number}"
        after = repository.get_or_raise((f"after {number}", "o"))
        assert after.customer_id == f"after {number}"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_item_of_another_key_is_an_error(plain: MisbehavingServer, transport: str) -> None:
    repository = orders(plain.url, transport, max_attempts=1)
    plain.does(misbehaving.answer(FORGED))
    with pytest.raises(DynamoDBWrapperError, match="the item of another key"):
        repository.get(("c", "o"))
    item = json.loads(FORGED)["Item"]
    plain.does(
        misbehaving.answer(json.dumps({"Responses": {repository.table_name: [item]}}).encode())
    )
    with pytest.raises(DynamoDBWrapperError, match="the item of another key"):
        repository.get_many([("c", "o"), ("d", "o")])


DATES = ["Thu, 01 Jan 99999 00:00:00 GMT", "Thu, 01 Jan 0001 00:00:00 GMT", "yesterday", "\x7f", ""]


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("status", [200, 403])
def test_a_date_that_is_none_does_no_harm(plain: MisbehavingServer, date: str, status: int) -> None:
    repository = orders(plain.url, "direct", max_attempts=1)
    refusal = json.dumps({"__type": "x#InvalidSignatureException", "message": "date"}).encode()
    body = misbehaving.FOUND if status == 200 else refusal
    plain.does(misbehaving.answer(body, status, date=date))
    if status == 200:
        assert repository.get(("c", "o")) is not None
    else:
        with pytest.raises(DynamoDBWrapperError, match="InvalidSignature"):
            repository.get(("c", "o"))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("setting", ["aws_session_token", "aws_access_key_id", "region_name"])
@pytest.mark.parametrize("control", ["\r\nX-Amz-Target: Other", "\n", "\0"])
def test_line_ends_in_headers_are_refused_before_anything_is_sent(
    plain: MisbehavingServer, transport: str, setting: str, control: str
) -> None:
    given = {"aws_session_token": "token", setting: f"us-east-1{control}"}
    with pytest.raises(pydantic.ValidationError, match=setting):
        orders(plain.url, transport, max_attempts=1, **given).get(("c", "o"))
    assert plain.requests == []


@pytest.mark.parametrize("control", ["\r\nX-Amz-Target: Other", "\n"])
def test_line_ends_in_credentials_of_the_sdk_are_not_sent(
    plain: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, control: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"token{control}")
    config = DynamoDBConfig(region_name="us-east-1", endpoint_url=plain.url, max_attempts=1)
    with pytest.raises((DynamoDBWrapperError, ValueError)):
        BaseDynamoRepository(config, ORDERS).get(("c", "o"))
    assert plain.requests == []


def forged(content: bytes) -> str:
    checksum = hashlib.sha256(content).digest()[:6]
    return base64.urlsafe_b64encode(checksum + content).decode().rstrip("=")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'[1,"t",null,"m",[]]',
        b'[1,"t",null,"m",{"a":5}]',
        b'[1,"t",null,"m",{"a":{"X":"x"}}]',
        b'[1,"t",null,"m",{"a":{"B":"not base 64"}}]',
        b"\xff",
    ],
)
def test_a_forged_page_token_is_refused(plain: MisbehavingServer, content: bytes) -> None:
    repository = orders(plain.url, "direct")
    with pytest.raises(ValidationError, match="token"):
        next(iter(repository.query("c").pages(start=forged(content))))
    assert plain.requests == []


def test_the_random_numbers_of_a_seeded_program_stay_the_same(plain: MisbehavingServer) -> None:
    repository = orders(plain.url, "direct", max_attempts=1)
    conflict = misbehaving.error("TransactionConflictException")
    plain.does(conflict, conflict, echo)
    random.seed(1)
    expected = random.Random(1).random()
    repository.get_or_raise(("c", "o"))
    assert random.random() == expected
