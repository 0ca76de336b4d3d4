"""Handlers of others see requests and replies as boto3 shows them, and may change them."""

from __future__ import annotations

import copy
import json
import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.aws.raw_replies import reply_of, send_through_client
from tests.support import misbehaving
from tests.support.misbehaving import ITEM, MisbehavingServer
from tests.support.transports import TRANSPORTS, Order, orders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.repositories import BaseDynamoRepository

pytestmark = pytest.mark.usefixtures("only_own_handlers")

ORDER = Order(customer_id="c", order_id="o", note="x" * 100)
OTHER = {"Item": {**ITEM, "note": {"S": "changed"}}}
CHANGED = Order(customer_id="c", order_id="o", note="changed")


@pytest.fixture
def table() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


@pytest.fixture(params=TRANSPORTS)
def repository(
    request: pytest.FixtureRequest, table: MisbehavingServer
) -> BaseDynamoRepository[Order]:
    return orders(table.url, request.param)


@contextmanager
def handled(
    repository: BaseDynamoRepository[Order],
    event: str,
    handler: Callable[..., Any],
    register: str = "register",
) -> Iterator[None]:
    events = client_for(repository.config).meta.events
    getattr(events, register)(event, handler)
    try:
        yield
    finally:
        events.unregister(event, handler)


@pytest.mark.parametrize("register", ["register_first", "register", "register_last"])
@pytest.mark.parametrize(
    "event",
    [
        "provide-client-params.dynamodb.GetItem",
        "before-parameter-build",
        "before-parameter-build.dynamodb",
        "before-parameter-build.dynamodb.GetItem",
    ],
)
def test_a_handler_of_parameters_sees_and_changes_all_of_them(
    repository: BaseDynamoRepository[Order], table: MisbehavingServer, event: str, register: str
) -> None:
    seen: list[dict[str, Any]] = []

    def change(params: dict[str, Any], **_: Any) -> None:
        seen.append(copy.deepcopy(params))
        params["ConsistentRead"] = True

    with handled(repository, event, change, register):
        assert repository.get(("c", "o")) == ORDER
    (parameters,) = seen
    assert parameters["Key"] == {"customer_id": {"S": "c"}, "order_id": {"S": "o"}}
    sent = json.loads(table.requests[-1].body)
    assert sent == {**parameters, "ConsistentRead": True}


def replaced(parsed: dict[str, Any]) -> None:
    parsed.clear()
    parsed.update(OTHER)


def taken_back(parsed: dict[str, Any]) -> None:
    while "Item" in parsed:
        parsed.popitem()


CHANGES: dict[str, tuple[Callable[[Any], object], Order | None]] = {
    "|=": (lambda parsed: parsed.__ior__(OTHER), CHANGED),
    "|= of pairs": (lambda parsed: parsed.__ior__(OTHER.items()), CHANGED),
    "update": (lambda parsed: parsed.update(OTHER), CHANGED),
    "an entry": (lambda parsed: parsed.__setitem__("Item", OTHER["Item"]), CHANGED),
    "clear": (lambda parsed: parsed.clear(), None),
    "clear and update": (replaced, CHANGED),
    "popitem": (taken_back, None),
    "pop": (lambda parsed: parsed.pop("Item"), None),
    "del": (lambda parsed: parsed.__delitem__("Item"), None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_handler_changes_in_a_reply_counts(
    repository: BaseDynamoRepository[Order], change: str
) -> None:
    make, expected = CHANGES[change]

    def handler(parsed: Any, **_: Any) -> None:
        make(parsed)

    with handled(repository, "after-call.dynamodb.GetItem", handler):
        assert repository.get(("c", "o")) == expected


LOOKS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda parsed: pickle.loads(pickle.dumps(parsed)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "dict": dict,
    "|": lambda parsed: parsed | {},
    "| of another": lambda parsed: {} | parsed,
    "json": lambda parsed: json.loads(json.dumps(parsed)),
    "reversed": lambda parsed: {name: parsed[name] for name in reversed(parsed)},
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_handler_that_looks_at_a_reply_sees_a_whole_dict(
    repository: BaseDynamoRepository[Order], look: str
) -> None:
    seen: list[dict[str, Any]] = []

    def handler(parsed: Any, **_: Any) -> None:
        seen.append(LOOKS[look](parsed))

    with handled(repository, "after-call.dynamodb.GetItem", handler):
        assert repository.get(("c", "o")) == ORDER
    (found,) = seen
    assert type(found) is dict
    assert sorted(found) == ["Item", "ResponseMetadata"]
    assert found["Item"] == ITEM


def test_a_reply_no_handler_looks_at_is_not_parsed(table: MisbehavingServer) -> None:
    client = client_for(orders(table.url, "boto3").config)
    key = {"customer_id": {"S": "c"}, "order_id": {"S": "o"}}
    response = send_through_client(client, "get_item", {"TableName": "orders", "Key": key})
    assert reply_of(response).body == misbehaving.FOUND


def test_a_call_a_handler_makes_in_the_middle_is_answered_as_usual(
    repository: BaseDynamoRepository[Order], table: MisbehavingServer
) -> None:
    client, seen = client_for(repository.config), []

    def call(**_: Any) -> None:
        if not seen:
            seen.append("under way")
            seen.append(client.get_item(TableName="orders", Key={"customer_id": {"S": "c"}}))

    table.does(misbehaving.found)
    with handled(repository, "request-created.dynamodb.GetItem", call):
        assert repository.get(("c", "o")) == ORDER
    assert seen[1]["Item"] == ITEM
