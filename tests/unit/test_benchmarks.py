"""The benchmarks compare like with like; no timing decides a test."""

from __future__ import annotations

import json
import urllib.request
import zlib
from dataclasses import replace
from http.client import HTTPConnection
from urllib.error import HTTPError

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config
from botocore.exceptions import ChecksumError

from benchmarks.__main__ import report
from benchmarks.measure import cases, chosen, measure
from benchmarks.replay_server import Recording, ReplayServer, place_of
from benchmarks.sides import ByHand, ByRepository
from benchmarks.workload import workloads
from dynamodb_wrapper.config import client_for

TABLES = workloads(quick=True)
SIDES = (ByHand, ByRepository)
each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.shape)
each_side = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def endpoint_url():
    with ReplayServer(r for table in TABLES for r in table.recordings()) as server:
        yield server.endpoint_url


def keys(orders):
    return [(order.customer_id, order.order_id) for order in orders]


def sent_items(client, operation, run):
    """Run, and return the items of the request bodies that were sent."""
    bodies = []

    def note(params, **_):
        bodies.append(json.loads(params["body"]))

    event = f"before-call.dynamodb.{operation}"
    client.meta.events.register(event, note)
    run()
    client.meta.events.unregister(event, note)
    return [item for body in bodies for item in items_of(body)]


def items_of(body):
    if "Item" in body:
        return [body["Item"]]
    (entries,) = body["RequestItems"].values()
    return [entry["PutRequest"]["Item"] for entry in entries]


def client_of(side):
    return side.client if isinstance(side, ByHand) else client_for(side.repository.config)


def read_back(table, items):
    read = TypeDeserializer().deserialize
    return [table.table.model.model_validate({k: read(v) for k, v in i.items()}) for i in items]


# ---- both sides do the same ----------------------------------------------------------------------


@each_side
@each_table
def test_get_reads_the_order(endpoint_url, table, side):
    order = table.orders[7]
    assert side(endpoint_url, table).get(keys([order])[0]) == order


@each_side
@each_table
def test_batch_get_reads_the_orders(endpoint_url, table, side):
    assert side(endpoint_url, table).get_many(keys(table.first)) == table.first


@each_side
@each_table
def test_query_reads_the_partition(endpoint_url, table, side):
    assert side(endpoint_url, table).query(table.first[0].customer_id) == table.first


@each_side
@each_table
def test_scan_reads_every_page(endpoint_url, table, side):
    assert len(table.orders) > table.page
    assert side(endpoint_url, table).scan() == table.orders


@each_side
@each_table
def test_put_sends_the_whole_order(endpoint_url, table, side):
    chosen_side, order = side(endpoint_url, table), table.orders[3]
    sent = sent_items(client_of(chosen_side), "PutItem", lambda: chosen_side.put(order))
    assert read_back(table, sent) == [order]


@each_side
@each_table
def test_batch_put_sends_every_order(endpoint_url, table, side):
    chosen_side = side(endpoint_url, table)
    run = lambda: chosen_side.put_many(table.first)  # noqa: E731
    sent = sent_items(client_of(chosen_side), "BatchWriteItem", run)
    assert read_back(table, sent) == table.first


def test_workloads_are_the_same_every_time():
    assert workloads(quick=True) == TABLES


def test_items_have_the_sizes_they_are_said_to_have():
    flat, nested = TABLES
    assert 380 < flat.item_bytes < 480
    assert 2200 < nested.item_bytes < 2500


# ---- the server is one a client must take seriously ----------------------------------------------


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


def test_what_is_not_recorded_is_refused(endpoint_url):
    with pytest.raises(HTTPError) as refused:
        ask(endpoint_url, "Scan", {"TableName": "another"})
    assert refused.value.code == 400
    assert "ResourceNotFoundException" in refused.value.read().decode()


@each_side
@each_table
def test_a_page_with_a_wrong_checksum_is_read_again(table, side):
    order, other = table.orders[0], table.orders[1]
    right = [r for r in table.recordings() if r.place == place_of_order(order)]
    wrong = {r.measured: r for r in table.recordings() if r.place == place_of_order(other)}
    damaged = [replace(r, body=wrong[r.measured].body, crc32=1) for r in right]
    with ReplayServer([*damaged, *right]) as server:
        assert side(server.endpoint_url, table).get(keys([order])[0]) == order


def get_damaged(retries):
    """Return what a client gets whose every answer has a wrong checksum."""
    order = TABLES[0].orders[0]
    here = place_of_order(order)
    damaged = [replace(r, crc32=1) for r in TABLES[0].recordings() if r.place == here]
    with ReplayServer(damaged) as server:
        client = boto3.client(
            "dynamodb",
            endpoint_url=server.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="replay",
            aws_secret_access_key="replay",
            config=Config(retries=retries),
        )
        return client.get_item(TableName="flat_orders", Key=json.loads(here))


def test_botocore_compares_the_checksum():
    with pytest.raises(ChecksumError):
        get_damaged({"mode": "legacy", "total_max_attempts": 1})


def test_botocore_asks_again_as_long_as_the_checksum_is_wrong():
    response = get_damaged({"mode": "standard", "total_max_attempts": 3})
    assert response["ResponseMetadata"]["RetryAttempts"] == 2


def place_of_order(order):
    return place_of({"customer_id": {"S": order.customer_id}, "order_id": {"S": order.order_id}})


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


# ---- the table that is printed -------------------------------------------------------------------


def test_the_table_shows_every_case_once(endpoint_url):
    found = chosen(cases(endpoint_url, TABLES[0]), ["get", "query-flat"])
    assert measure(found, repeats=2, sample_seconds=0, deadline=0) == 1
    rows = report(found)[-2:]
    assert [row.split()[:2] for row in rows] == [["get-flat", "request"], ["query-flat", "item"]]


def test_sides_that_read_different_models_are_refused(endpoint_url):
    (case,) = chosen(cases(endpoint_url, TABLES[0]), ["scan-flat"])
    case.runs["another"] = list
    with pytest.raises(AssertionError, match="scan-flat"):
        case.check()


def test_an_unknown_name_lists_the_known_ones(endpoint_url):
    with pytest.raises(ValueError, match="batch-put-flat"):
        chosen(cases(endpoint_url, TABLES[0]), ["guess"])
