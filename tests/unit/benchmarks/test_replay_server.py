"""Tests of the replay server with real clients."""

from __future__ import annotations

import json
import urllib.request
import zlib
from dataclasses import replace
from http.client import HTTPConnection
from urllib.error import HTTPError

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ChecksumError

from benchmarks.models import MODELS
from benchmarks.recordings import ENDLESS, endless, recordings
from benchmarks.records import records
from benchmarks.replay_server import Recording, ReplayServer, place_of, read_pages
from benchmarks.sides.by_boto3 import ByBoto3
from benchmarks.sides.by_library import ByLibrary

TABLES = records(quick=True)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "replay")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "replay")


@pytest.fixture(scope="module")
def server():
    with ReplayServer(recordings(TABLES["flat"])) as server:
        yield server


@pytest.fixture(scope="module")
def endpoint_url(server):
    return server.endpoint_url


def ask(endpoint_url, operation, request):
    target = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    body = json.dumps(request).encode()
    return urllib.request.urlopen(urllib.request.Request(endpoint_url, body, target), timeout=10)


def test_the_checksum_is_that_of_the_body(endpoint_url):
    with ask(endpoint_url, "Scan", {"TableName": "flat_orders"}) as response:
        body = response.read()
        assert int(response.headers["x-amz-crc32"]) == zlib.crc32(body)


def test_consumed_capacity_is_reported_only_when_asked_for(endpoint_url):
    scan = {"TableName": "flat_orders"}
    with ask(endpoint_url, "Scan", scan) as response:
        assert "ConsumedCapacity" not in json.load(response)
    with ask(endpoint_url, "Scan", {**scan, "ReturnConsumedCapacity": "TOTAL"}) as response:
        assert json.load(response)["ConsumedCapacity"]["TableName"] == "flat_orders"


def test_a_request_without_a_recording_is_refused(endpoint_url):
    with pytest.raises(HTTPError) as refused:
        ask(endpoint_url, "Scan", {"TableName": "another"})
    assert refused.value.code == 400
    assert "ResourceNotFoundException" in refused.value.read().decode()


@pytest.mark.parametrize("side", [ByBoto3, ByLibrary])
@pytest.mark.parametrize("name", TABLES)
def test_a_page_with_a_wrong_checksum_is_read_again(name, side):
    table = TABLES[name]
    order, other = table.items[0], table.items[1]
    right = [r for r in recordings(table) if r.place == place_of_order(order)]
    wrong = {r.measured: r for r in recordings(table) if r.place == place_of_order(other)}
    damaged = [replace(r, body=wrong[r.measured].body, crc32=1) for r in right]
    with ReplayServer([*damaged, *right]) as server:
        found = side(server.endpoint_url, table).get(table.keys[0])
    assert found == MODELS[table.shape](**order)


def get_damaged(retries):
    """Return the response that a client gets when every checksum is wrong."""
    here = place_of_order(TABLES["flat"].items[0])
    damaged = [replace(r, crc32=1) for r in recordings(TABLES["flat"]) if r.place == here]
    with ReplayServer(damaged) as server:
        client = boto3.client(
            "dynamodb",
            endpoint_url=server.endpoint_url,
            config=Config(retries=retries),
        )
        return client.get_item(TableName="flat_orders", Key=json.loads(here))


def test_botocore_compares_the_checksum():
    with pytest.raises(ChecksumError):
        get_damaged({"mode": "legacy", "total_max_attempts": 1})


def test_botocore_retries_while_the_checksum_is_wrong():
    response = get_damaged({"mode": "standard", "total_max_attempts": 3})
    assert response["ResponseMetadata"]["RetryAttempts"] == 2


def place_of_order(order):
    return place_of({name: {"S": order[name]} for name in ("customer_id", "order_id")})


def test_one_connection_serves_many_requests(endpoint_url):
    connection = HTTPConnection(endpoint_url[len("http://") :], timeout=10)
    connection.connect()
    socket = connection.sock
    headers = {"X-Amz-Target": "DynamoDB_20120810.PutItem"}
    for _ in range(3):
        connection.request("POST", "/", json.dumps({"TableName": "flat_orders"}), headers)
        assert connection.getresponse().read() == b"{}"
    assert connection.sock is socket
    connection.close()


def test_the_server_ends_with_its_context():
    with ReplayServer([Recording("Scan", "t", "{}")]) as server:
        with ask(server.endpoint_url, "Scan", {"TableName": "t"}) as response:
            assert json.load(response) == {}
        endpoint_url = server.endpoint_url
    with pytest.raises(OSError):
        ask(endpoint_url, "Scan", {"TableName": "t"})


def test_written_items_are_kept_only_inside_writes(server):
    item = {"customer_id": {"S": "a"}, "order_id": {"S": "b"}}
    batch = {"flat_orders": [{"PutRequest": {"Item": item}}, {"PutRequest": {"Item": item}}]}
    ask(server.endpoint_url, "PutItem", {"TableName": "flat_orders", "Item": item}).close()
    with server.writes() as written:
        ask(server.endpoint_url, "PutItem", {"TableName": "flat_orders", "Item": item}).close()
        ask(server.endpoint_url, "BatchWriteItem", {"RequestItems": batch}).close()
    assert written == [item] * 3


def test_a_repeated_page_has_another_start_key_each_time():
    with ReplayServer(endless(TABLES["flat"], pages=3)) as server:
        pages = [json.loads(page) for page in read_pages(server.endpoint_url, ENDLESS)]
    assert [len(page["Items"]) for page in pages] == [TABLES["flat"].page] * 3
    starts = [page.get("LastEvaluatedKey", {}).get("order_id") for page in pages]
    assert starts == [{"S": "page-00000000"}, {"S": "page-00000001"}, None]


def test_a_repeated_page_answers_no_other_start_key():
    start = {"customer_id": {"S": "a"}, "order_id": {"S": "b"}}
    request = {"TableName": ENDLESS, "ExclusiveStartKey": start}
    with ReplayServer(endless(TABLES["flat"], pages=3)) as server:
        with pytest.raises(HTTPError):
            ask(server.endpoint_url, "Scan", request)
