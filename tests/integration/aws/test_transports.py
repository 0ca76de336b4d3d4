"""Both transports do the same, for every behaviour of the endpoint."""

from __future__ import annotations

import errno
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import Connection
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    ConnectionError,
    DynamoDBWrapperError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    TableNotFoundError,
)
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support import misbehaving
from tests.support.misbehaving import MisbehavingServer
from tests.support.transports import ORDERS, TRANSPORTS, Order, orders, outcome

if TYPE_CHECKING:
    from ssl import SSLContext

Chosen = BaseDynamoRepository[Order]

pytestmark = pytest.mark.usefixtures("only_own_handlers")


@pytest.mark.parametrize("times", ["once", "always"])
def test_both_transports_end_alike_after_as_many_attempts(
    tls: SSLContext | None, times: str
) -> None:
    with ThreadPoolExecutor(8) as pool:  # clients wait before they ask again
        ends = list(pool.map(partial(ends_of, tls, times), misbehaving.EVERY))
    by_transport = {t: dict(zip(misbehaving.EVERY, [end[t] for end in ends])) for t in TRANSPORTS}
    assert by_transport["direct"] == by_transport["boto3"]


def ends_of(tls: SSLContext | None, times: str, name: str) -> dict[str, Any]:
    """Return how each transport ends, and after how many requests, where a server does this."""
    behaviour = misbehaving.EVERY[name]
    script = [behaviour] if times == "always" else [behaviour, misbehaving.found]
    patience = 0.4 if "silence" in name else 30
    ends = {}
    with MisbehavingServer(tls) as server:
        for transport in TRANSPORTS:
            server.does(*script)
            end = outcome(orders(server.url, transport, read_timeout_seconds=patience))
            ends[transport] = (end, len(server.requests))
    return ends


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


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_without_an_endpoint_requests_go_to_that_of_the_region(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, Any]] = []

    def refuse(host: Any, port: Any, *_: Any, **__: Any) -> None:
        asked.append((host, port))
        raise OSError(errno.EHOSTUNREACH, "no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    config = DynamoDBConfig(
        region_name="eu-west-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        transport=transport,
        max_attempts=1,
    )
    with pytest.raises(ConnectionError):
        BaseDynamoRepository(config, ORDERS).get(("c", "o"))
    assert asked == [("dynamodb.eu-west-1.amazonaws.com", 443)]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["wrong checksum", "strange checksum", "endless checksum"])
def test_a_reply_of_another_checksum_is_asked_for_again_then_an_error(
    server: MisbehavingServer, name: str, transport: str
) -> None:
    damaged = misbehaving.EVERY[name]
    server.does(damaged, misbehaving.found)
    repository = orders(server.url, transport)
    assert repository.get(("c", "o")) is not None
    server.does(damaged)
    with pytest.raises(ConnectionError, match="damaged"):
        repository.get(("c", "o"))
    assert len(server.requests) == 3


# ---- real engines --------------------------------------------------------------------------------


@pytest.fixture(params=TRANSPORTS)
def chosen(request: pytest.FixtureRequest, config: DynamoDBConfig) -> Chosen:
    """A table on each engine in turn, by each transport."""
    repository = BaseDynamoRepository(
        config.model_copy(update={"transport": request.param}), ORDERS
    )
    repository.create_table()
    return repository


def named(*numbers: int) -> list[Order]:
    return [Order(customer_id="c", order_id=f"o{number}") for number in numbers]


def test_items_are_written_read_changed_and_deleted(chosen: Chosen) -> None:
    (order,) = named(1)
    chosen.create(order)
    assert chosen.get(("c", "o1")) == order
    assert chosen.update(("c", "o1"), set={"note": "changed"}).note == "changed"
    chosen.put(order)
    chosen.delete(("c", "o1"))
    assert chosen.get(("c", "o1")) is None


def test_batches_queries_and_scans_see_the_same(chosen: Chosen) -> None:
    written = named(*range(60))
    chosen.put_many(written)
    keys = [("c", order.order_id) for order in written]
    assert chosen.get_many(keys) == written
    by_key = sorted(written, key=lambda order: order.order_id)
    assert list(chosen.query("c")) == by_key
    assert sorted(chosen.scan(), key=lambda order: order.order_id) == by_key


def test_a_refusal_of_a_real_engine_is_the_same_error(chosen: Chosen) -> None:
    (order,) = named(1)
    chosen.create(order)
    with pytest.raises(ItemAlreadyExistsError) as refused:
        chosen.create(order.model_copy(update={"note": "another"}))
    assert refused.value.error_code == "ConditionalCheckFailedException"
    with pytest.raises(ItemNotFoundError):
        chosen.update(("c", "o2"), set={"note": "x"})


def test_a_transaction_is_all_or_nothing(chosen: Chosen) -> None:
    first, second = named(1, 2)
    with chosen.transaction() as transaction:
        transaction.create(chosen, first)
    with pytest.raises(DynamoDBWrapperError) as refused:
        with chosen.transaction() as transaction:
            transaction.put(chosen, second)
            transaction.create(chosen, first)
    assert chosen.get(("c", "o2")) is None
    assert refused.value.operation == "TransactWriteItems"


def test_a_missing_table_is_named(config: DynamoDBConfig) -> None:
    ends = {t: outcome_of(config.model_copy(update={"transport": t})) for t in TRANSPORTS}
    assert ends["direct"]["error"] is TableNotFoundError
    same = ("error", "code", "cause", "text", "Error", "status", "retries")
    assert {n: ends["direct"][n] for n in same} == {n: ends["boto3"][n] for n in same}


def outcome_of(config: DynamoDBConfig) -> Any:
    return outcome(BaseDynamoRepository(config, ORDERS))
