"""Requests of the direct transport carry the signature botocore would give them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from dynamodb_wrapper.aws.clock import ClockOffset
from dynamodb_wrapper.aws.signing import Signer, UnknownSignatureError

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
URLS = st.sampled_from(
    [
        "https://dynamodb.eu-west-1.amazonaws.com/",
        "https://123456789012.ddb.us-east-1.amazonaws.com",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/",
        "https://host:443/some/path",
        "http://host:80/?x=1&y=2",
    ]
)


def request_of(url: str, operation: str, body: bytes) -> AWSRequest:
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "User-Agent": "Boto3/1 md/x",
    }
    return AWSRequest("POST", url, headers=headers, data=body)


def signed(request: AWSRequest, credentials: Any) -> AWSRequest:
    SigV4Auth(credentials, "dynamodb", "eu-west-1").add_auth(request)
    return request


@given(URLS, SECRETS, st.none() | SECRETS, st.binary(max_size=200))
def test_the_next_request_is_signed_as_botocore_signs_it(
    url: str, secret: str, token: str | None, body: bytes
) -> None:
    credentials = ReadOnlyCredentials("KEYID", secret, token)
    prepared = signed(request_of(url, "GetItem", b"{}"), credentials).prepare()
    head = Signer.like(prepared, credentials, ClockOffset()).head("PutItem", body).decode("ascii")
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])

    expected = request_of(url, "PutItem", body)
    expected.headers["X-Amz-Date"] = lines["X-Amz-Date"]
    if token is not None:
        expected.headers["X-Amz-Security-Token"] = token
    expected.context["timestamp"] = lines["X-Amz-Date"]
    signer = SigV4Auth(credentials, "dynamodb", "eu-west-1")
    text = signer.string_to_sign(expected, signer.canonical_request(expected))
    assert lines["Authorization"].endswith(f"Signature={signer.signature(text, expected)}")
    assert lines["Content-Length"] == str(len(body))
    assert lines["host"] == urlsplit(url).netloc.replace("host:443", "host").replace(
        "host:80", "host"
    )


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", "Bearer token"),
        ("Authorization", None),
        ("X-Amz-Date", "20200101T000000Z"),
        ("X-Amz-Target", "DynamoDB_20120810.Scan"),
        ("Content-Type", "text/plain"),
    ],
)
def test_a_request_that_is_signed_in_another_way_is_refused(header: str, value: str | None) -> None:
    credentials = ReadOnlyCredentials("KEYID", "secret", None)
    prepared = signed(request_of("http://host", "GetItem", b"{}"), credentials).prepare()
    del prepared.headers[header]
    if value is not None:
        prepared.headers[header] = value
    with pytest.raises(UnknownSignatureError):
        Signer.like(prepared, credentials, ClockOffset())


@pytest.mark.parametrize("credentials", [("OTHER", "secret"), ("KEYID", "other")])
def test_other_credentials_are_refused(credentials: tuple[str, str]) -> None:
    own = ReadOnlyCredentials("KEYID", "secret", None)
    prepared = signed(request_of("http://host", "GetItem", b"{}"), own).prepare()
    with pytest.raises(UnknownSignatureError):
        Signer.like(prepared, ReadOnlyCredentials(*credentials, None), ClockOffset())
