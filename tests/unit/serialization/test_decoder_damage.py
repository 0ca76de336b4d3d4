"""Decoding a damaged reply gives models or an error of the library."""

from __future__ import annotations

import gc
import json
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, Optional, Union

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from dynamodb_wrapper.aws.calls import consumed_by
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import DynamoDBWrapperError, ServiceError
from dynamodb_wrapper.models import EpochSeconds, PipelineConfig, Table
from dynamodb_wrapper.models.control_tables import PIPELINE_CONFIG
from dynamodb_wrapper.repositories import BaseDynamoRepository
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader, stored_batch, stored_items
from dynamodb_wrapper.serialization.json_body import Reply
from tests.support import faults
from tests.support.decoder_comparison import body_of
from tests.support.sample_models import ORDERS, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Inner(BaseModel):
    a: float
    b: Optional[list[int]] = None


class Everything(BaseModel):
    id: str
    number: int = 0
    amount: Any = None
    inner: Optional[Inner] = None
    either: Union[Inner, int, str, None] = None
    names: set[str] = set()
    data: bytes = b""
    by_name: dict[str, Inner] = {}
    free: dict[str, Any] = {}
    expires_at: Optional[EpochSeconds] = None


class Smaller(BaseModel):
    number: int = 0


class Root(RootModel[dict[str, Any]]):
    pass


EVERYTHING = Table("t", Everything, partition_key="id", ttl="expires_at")
READERS = [
    ItemReader(Codec(EVERYTHING, Everything)),
    ItemReader(Codec(EVERYTHING, Smaller)),
    ItemReader(Codec(EVERYTHING, Root)),
    ItemReader(Codec(PIPELINE_CONFIG, PipelineConfig)),
]
ITEM: dict[str, Any] = {
    "id": {"S": "x"},
    "pipeline_id": {"S": "p"},
    "number": {"N": "1"},
    "amount": {"L": [{"N": "1.5"}, {"B": "QQ=="}]},
    "inner": {"M": {"a": {"N": "1.5"}, "b": {"L": [{"N": "1"}]}}},
    "either": {"M": {"a": {"N": "1"}}},
    "names": {"SS": ["a"]},
    "data": {"B": "QQ=="},
    "by_name": {"M": {"k": {"M": {"a": {"N": "1"}, "b": {"NULL": True}}}}},
    "free": {"M": {"k": {"NS": ["1", "2"]}}},
    "expires_at": {"N": "99999999999"},
    "unknown": {"BS": ["QQ=="]},
}
CAPACITY = {"TableName": "t", "CapacityUnits": 0.5, "Table": {"CapacityUnits": 0.5}}
KEY = {"id": {"S": "x"}, "pipeline_id": {"S": "p"}}
REPLIES: dict[str, Any] = {
    "page": {
        "Items": [ITEM, KEY],
        "Count": 2,
        "ScannedCount": 3,
        "LastEvaluatedKey": KEY,
        "ConsumedCapacity": CAPACITY,
    },
    "one": {"Item": ITEM, "ConsumedCapacity": CAPACITY},
    "batch": {
        "Responses": {"t": [ITEM, KEY]},
        "UnprocessedKeys": {"t": {"Keys": [KEY], "ConsistentRead": True}},
        "ConsumedCapacity": [CAPACITY],
    },
}


def nested(begin: str, end: str, levels: int) -> str:
    return begin * levels + "1" + end * levels


def number(text: str) -> str:
    return f'{{"N":"{text}"}}'


JUNK = [
    *("null", "true", "0", "-1", "1.5", '""', '"x"', '"1"', "[]", "{}", "[[]]", "[null]", "[1]"),
    *("1e999", "NaN", "1" + "0" * 400, "-1e-999", "9" * 25, '"\\ud800"', '"\\u0000"', '"\x00"'),
    *('{"S":"a","S":"b"}', '{"S":"a","N":"1"}', '{"NULL":true,"S":"a"}', '{"X":1}', '{"S":null}'),
    *map(number, ["NaN", "-Infinity", "", "1e5", " 1_0 ", "٣", "0x1", "--1", "9" * 400]),
    *map(number, ["1E+999999999", "-1E-999999999", "0E-999999999", "1E+400", "9" * 5000]),
    *('{"N":1}', '{"N":null}', '{"NS":["x"]}', '{"NS":"1"}', '{"SS":[1]}', '{"SS":{}}'),
    *('{"B":"%"}', '{"B":"QQ"}', '{"B":1}', '{"BS":["=",1]}', '{"BOOL":"true"}', '{"NULL":false}'),
    *('{"M":[]}', '{"M":null}', '{"M":{"a":1}}', '{"L":{}}', '{"L":[1]}', '{"L":[{}]}'),
    *(nested("[", "]", levels) for levels in (40, 900, 100_000)),
    *(nested('{"L":[', "]}", levels) for levels in (40, 300, 100_000)),
    *(nested('{"M":{"a":', "}}", levels) for levels in (40, 300, 100_000)),
    *("[" * 1000, '{"M":{"a":', '"', "}", "\x00", "1,2", "//"),
]
MARK = "put here"


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Return every value inside, as its container and its place in it."""
    if not isinstance(value, (dict, list)):
        return []
    inside = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [
        *((value, place) for place, _ in inside),
        *(found for _, inner in inside for found in places_in(inner)),
    ]


@st.composite
def damaged_replies(draw: Any, replies: dict[str, Any]) -> tuple[str, bytes]:
    """A kind of reply and the body of one with something else in one or two places."""
    kind = draw(st.sampled_from(sorted(replies)))
    reply = deepcopy(replies[kind])
    junk = draw(st.lists(st.sampled_from([*JUNK, None]), min_size=1, max_size=2))
    for number, content in enumerate(junk):
        places = places_in(reply)
        if not places:
            break
        holder, place = draw(st.sampled_from(places))
        if content is None:
            del holder[place]
        else:
            holder[place] = f"{MARK}{number}"
    text = json.dumps(reply, ensure_ascii=False)
    for number, content in enumerate(junk):
        text = text.replace(f'"{MARK}{number}"', content or "")
    return kind, text.encode("utf-8", "surrogatepass")


@st.composite
def torn_replies(draw: Any) -> tuple[str, bytes]:
    """A kind of reply and the body of one whose bytes were changed."""
    kind = draw(st.sampled_from(sorted(REPLIES)))
    body = json.dumps(REPLIES[kind]).encode()
    start = draw(st.integers(0, len(body)))
    length = draw(st.integers(0, 8) | st.integers(0, len(body)))
    return kind, body[:start] + draw(st.binary(max_size=4)) + body[start + length :]


def read_all_ways(body: bytes) -> None:
    """Read a body as every kind of reply, by every reader."""
    for reader in READERS:
        for read in (reader.page, reader.one, lambda reply, r=reader: r.batch(reply, "t")):
            reads(read, body)
        for even_expired in (True, False):
            reads(partial(reader.returned, even_expired=even_expired), body)
    reads(stored_items, body)
    reads(lambda reply: stored_batch(["id"], reply, "t"), body)


def reads(read: Callable[[Reply], Any], body: bytes) -> None:
    """Read; accept a result or an error of the library."""
    try:
        found = read(Reply(body))
    except DynamoDBWrapperError:
        return
    consumed_by("Query", found.capacity)
    if hasattr(found, "last_key"):
        assert found.last_key is None or isinstance(found.last_key, dict)


@pytest.fixture(autouse=True)
def _no_garbage_of_others() -> None:
    """Leave nothing whose finalizer would run, and fail, at the bottom of a deep recursion."""
    gc.collect()


often = settings(
    max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@often
@given(body=st.binary(max_size=200) | st.sampled_from(JUNK).map(str.encode))
@example(body=b"")
@example(body=b"\xef\xbb\xbf{}")
@example(body=b"{}" * 2)
@example(body=nested("[", "]", 3_000_000).encode())
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    read_all_ways(body)


@pytest.mark.slow
@often
@given(made=damaged_replies(REPLIES))
def test_replies_with_something_else_inside_are_read_or_refused(made: Any) -> None:
    read_all_ways(made[1])


@pytest.mark.slow
@often
@given(made=torn_replies())
def test_torn_replies_are_read_or_refused(made: Any) -> None:
    read_all_ways(made[1])


@pytest.mark.slow
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:20]))
def test_anything_at_any_place_of_a_reply_is_read_or_refused(junk: str) -> None:
    for reply in REPLIES.values():
        for number in range(len(places_in(reply))):
            changed = deepcopy(reply)
            holder, place = places_in(changed)[number]
            holder[place] = MARK
            reads_as_itself(changed, junk)


def reads_as_itself(reply: Any, junk: str) -> None:
    text = json.dumps(reply, ensure_ascii=False).replace(f'"{MARK}"', junk)
    body = text.encode("utf-8", "surrogatepass")
    reader = READERS[0]
    if "Items" in text:
        reads(reader.page, body)
    elif "Responses" in text:
        reads(lambda found: reader.batch(found, "t"), body)
    else:
        reads(reader.one, body)
        written = body.replace(b'"Item"', b'"Attributes"')
        reads(partial(reader.returned, even_expired=True), written)


def test_a_reply_that_is_none_says_so() -> None:
    with pytest.raises(ServiceError, match=r"DynamoDB's reply cannot be read: .*\.") as refusal:
        READERS[0].page(Reply(b"<html>"))
    assert refusal.value.retryable


def test_a_user_s_own_exception_stays_what_it_is() -> None:
    class Raising(BaseModel):
        id: str

        def model_post_init(self, context: Any, /) -> None:
            raise LookupError("of the user")

    reader = ItemReader(Codec(Table("t", Raising, partition_key="id"), Raising))
    with pytest.raises(LookupError, match="of the user"):
        reader.page(Reply(body_of({"Items": [{"id": {"S": "x"}}]})))


# ---- through a repository ------------------------------------------------------------------------


ORDER: dict[str, Any] = {
    "customer_id": {"S": "c"},
    "order_id": {"S": "o"},
    "total": {"N": "1.5"},
    "labels": {"SS": ["a"]},
    "address": {"M": {"city": {"S": "x"}}},
    "status": {"S": "new"},
    "created_at": {"S": "2026-01-01T00:00:00.000000Z"},
}
ORDER_KEY = {"customer_id": {"S": "c"}, "order_id": {"S": "o"}}
ORDER_PAGE = {
    "Items": [ORDER, ORDER],
    "LastEvaluatedKey": ORDER_KEY,
    "ConsumedCapacity": CAPACITY,
}
ORDER_REPLIES: dict[str, Any] = {
    "get": {"Item": ORDER, "ConsumedCapacity": CAPACITY},
    "get_many": {
        "Responses": {"orders": [ORDER]},
        "UnprocessedKeys": {"orders": {"Keys": [ORDER_KEY]}},
        "ConsumedCapacity": [CAPACITY],
    },
    "query": ORDER_PAGE,
    "first": ORDER_PAGE,
    "scan": ORDER_PAGE,
    "whole": ORDER_PAGE,
    "count": {"Count": 2, "LastEvaluatedKey": ORDER_KEY, "ConsumedCapacity": CAPACITY},
}


def used(orders: BaseDynamoRepository[Order], method: str) -> Any:
    if method == "get":
        return orders.get(("c", "o"))
    if method == "get_many":
        return orders.get_many([("c", "o"), ("c", "p")])
    if method == "query":
        return [page.next_token for page in orders.query("c").pages()]
    if method == "first":
        return [page.next_token for page in orders.query("c", limit=1).pages()]
    if method == "whole":
        return orders.query("new", index="by_status_keys").all()
    if method == "count":
        return orders.count("c")
    return orders.scan(segments=2).all()


@pytest.fixture(scope="module")
def orders() -> BaseDynamoRepository[Order]:
    """A repository whose requests go nowhere."""
    config = DynamoDBConfig(
        endpoint_url="http://127.0.0.1:1",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        max_attempts=1,
        operation_timeout_seconds=0.1,
        table_prefix=None,
    )
    return BaseDynamoRepository(config, ORDERS)


@contextmanager
def answered(orders: BaseDynamoRepository[Order], first: bytes) -> Iterator[None]:
    """Answer the first request with a body, the following ones with nothing found."""
    left = [first]
    client = client_for(orders.config)

    def answer(request: Any, **_: Any) -> AWSResponse:
        body = left.pop() if left else b"{}"
        headers = {"content-length": str(len(body))}
        return AWSResponse(request.url, 200, headers, faults.Body(body))

    client.meta.events.register("before-send.dynamodb", answer)
    try:
        yield
    finally:
        client.meta.events.unregister("before-send.dynamodb", answer)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(made=damaged_replies(ORDER_REPLIES))
def test_a_repository_reads_damaged_replies_or_refuses_them(
    orders: BaseDynamoRepository[Order], made: Any
) -> None:
    method, body = made
    with answered(orders, body):
        with suppress(DynamoDBWrapperError):
            used(orders, method)


@pytest.mark.parametrize("method", ORDER_REPLIES)
def test_a_repository_reads_the_replies_that_are_damaged_here(
    orders: BaseDynamoRepository[Order], method: str
) -> None:
    with answered(orders, json.dumps(ORDER_REPLIES[method]).encode()):
        assert used(orders, method) or method == "whole"  # whose items are gone
