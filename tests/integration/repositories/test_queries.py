"""Queries, scans, counts and pages: all that match, in order, without gap or duplicate."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.conditions import Attr, Key
from pydantic import BaseModel, ConfigDict

from dynamodb_wrapper.exceptions import IndexNotFoundError, ValidationError
from dynamodb_wrapper.models import GlobalIndex, Table
from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.support.client_faults import sent_requests
from tests.support.engines import recorded_operations, small_pages
from tests.support.sample_models import (
    NEW_YEAR,
    ORDERS,
    Order,
    OrderSummary,
    OrderTotal,
    Task,
    client_of,
    orders_of,
    own_client,
)

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

Orders = BaseDynamoRepository[Order]
Tasks = BaseDynamoRepository[Task]
PAGE = 2
NON_MATCHING = 3 * PAGE  # three pages that hold nothing of what is wanted
WANTED = [f"o{number:02d}" for number in range(NON_MATCHING, NON_MATCHING + 7)]


@pytest.fixture(scope="module")
def stocked(user_config: DynamoDBConfig) -> str:
    """Customer with three pages of new orders, then seven paid ones; status is the customer's."""
    repository = orders_of(user_config)
    customer = "stocked"
    repository.put_many(
        Order(
            customer_id=customer,
            order_id=f"o{number:02d}",
            status=customer,
            notes="paid" if number >= NON_MATCHING else None,
            total=Decimal(number),
            visits=number,
            created_at=NEW_YEAR + timedelta(minutes=number),
        )
        for number in range(NON_MATCHING + len(WANTED))
    )
    repository.put_many(
        Order(customer_id="other", order_id=f"o{number}", status="other") for number in range(3)
    )
    return customer


@pytest.fixture
def paged(orders: Orders, stocked: str) -> Any:
    """A repository whose client gets two items per page at most."""
    with small_pages(client_of(orders), PAGE):
        yield orders


def ids(items: Any) -> list[str]:
    return [item.order_id for item in items]


# ---- what is found -------------------------------------------------------------------------------


def test_a_query_returns_the_partition_in_the_order_of_the_sort_key(
    paged: Orders, stocked: str
) -> None:
    assert ids(paged.query(stocked)) == [f"o{number:02d}" for number in range(13)]


def test_a_query_can_be_turned_around(paged: Orders, stocked: str) -> None:
    assert ids(paged.query(stocked, descending=True, limit=3)) == ["o12", "o11", "o10"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Key("order_id").eq("o03"), ["o03"]),
        (Key("order_id").lt("o02"), ["o00", "o01"]),
        (Key("order_id").lte("o01"), ["o00", "o01"]),
        (Key("order_id").gt("o11"), ["o12"]),
        (Key("order_id").gte("o11"), ["o11", "o12"]),
        (Key("order_id").between("o03", "o04"), ["o03", "o04"]),
        (Key("order_id").begins_with("o1"), ["o10", "o11", "o12"]),
    ],
    ids=["eq", "lt", "lte", "gt", "gte", "between", "begins_with"],
)
def test_a_condition_on_the_sort_key_narrows(
    orders: Orders, stocked: str, condition: Any, expected: list[str]
) -> None:
    assert ids(orders.query(stocked, sort=condition)) == expected


def test_an_index_is_queried_by_its_own_keys(orders: Orders, stocked: str) -> None:
    since = Key("created_at").gte(NEW_YEAR + timedelta(minutes=11))
    assert ids(orders.query(stocked, index="by_status", sort=since)) == ["o11", "o12"]


def test_an_index_of_keys_is_followed_to_whole_items(paged: Orders, stocked: str) -> None:
    with recorded_operations(client_of(paged)) as sent:
        found = paged.query(stocked, index="by_status_keys", limit=3).all()
    assert [(o.order_id, o.visits) for o in found] == [("o00", 0), ("o01", 1), ("o02", 2)]
    assert set(sent) == {"Query", "BatchGetItem"}


def test_a_smaller_model_is_read_from_an_index_that_holds_it(orders: Orders, stocked: str) -> None:
    with recorded_operations(client_of(orders)) as sent:
        found = orders.query(stocked, index="by_status_summary", limit=2, into=OrderSummary).all()
    assert found == [OrderSummary(order_id=f"o0{n}", status=stocked) for n in range(2)]
    assert set(sent) == {"Query"}


def test_a_smaller_model_the_index_lacks_is_read_from_the_table(
    orders: Orders, stocked: str
) -> None:
    found = orders.query(stocked, index="by_status_summary", limit=2, into=OrderTotal).all()
    assert found == [OrderTotal(order_id=f"o0{n}", total=Decimal(n)) for n in range(2)]


def test_a_projection_transfers_only_its_attributes(orders: Orders, stocked: str) -> None:
    assert orders.query(stocked, into=OrderSummary).first() == OrderSummary(
        order_id="o00", status=stocked
    )
    assert len(orders.scan(into=OrderTotal).all()) == 16


class StatusOnly(BaseModel):
    """A smaller model that refuses every attribute it does not name, even the key."""

    model_config = ConfigDict(extra="forbid")

    status: str


class OpenStatus(BaseModel):
    """A smaller model that would keep every attribute."""

    model_config = ConfigDict(extra="allow")

    status: str


INDEXES = [None, "by_status", "by_status_keys", "by_status_summary"]


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("model", [StatusOnly, OpenStatus])
def test_a_smaller_model_gets_its_own_fields_and_nothing_that_was_read_along(
    orders: Orders, stocked: str, model: Any, index: str | None
) -> None:
    expected = model(status=stocked)
    assert orders.query(stocked, index=index, limit=1, into=model).all() == [expected]
    assert expected in orders.scan(index=index, into=model).all()
    assert orders.get((stocked, "o00"), into=model) == expected


def test_nothing_is_sent_before_results_are_asked_for(orders: Orders, stocked: str) -> None:
    with recorded_operations(client_of(orders)) as sent:
        results = orders.query(stocked)
        assert sent == []
        results.first()
        results.first()
    assert sent == ["Query", "Query"]


def test_pages_are_read_only_as_far_as_needed(paged: Orders, stocked: str) -> None:
    with recorded_operations(client_of(paged)) as sent:
        iterator = iter(paged.query(stocked))
        assert [next(iterator).order_id for _ in range(3)] == ["o00", "o01", "o02"]
    assert len(sent) == 2


def test_consumed_units_are_counted_per_result(paged: Orders, stocked: str) -> None:
    results = paged.query(stocked)
    results.all()
    assert results.consumed.requests >= 7
    assert results.consumed.read_units > 0


@pytest.mark.parametrize("reading", [{}, {"index": "by_status_keys"}], ids=["table", "index"])
def test_consumed_units_are_counted_per_page(
    paged: Orders, stocked: str, reading: dict[str, Any]
) -> None:
    results = paged.query(stocked, limit=5, **reading)
    pages = list(results.pages(size=2))
    assert len(pages) == 3
    assert all(page.consumed.read_units > 0 for page in pages)
    assert sum(page.consumed.requests for page in pages) == results.consumed.requests
    assert sum(page.consumed.read_units for page in pages) == results.consumed.read_units


def test_first_is_none_where_nothing_is(orders: Orders, customer: str) -> None:
    assert orders.query(customer).first() is None
    assert orders.query(customer).all() == []


# ---- limits --------------------------------------------------------------------------------------

READINGS: list[dict[str, Any]] = [
    {},
    {"index": "by_status"},
    {"index": "by_status_summary", "into": OrderSummary},
    {"into": OrderSummary},
]


@pytest.mark.parametrize("reading", READINGS[:2], ids=["table", "index"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
def test_a_limit_is_reached_although_the_filter_leaves_items_out(
    paged: Orders, stocked: str, reading: dict[str, Any], limit: int
) -> None:
    found = paged.query(stocked, filter=Attr("notes").eq("paid"), limit=limit, **reading)
    assert ids(found) == WANTED[:limit]


def test_a_limit_beyond_what_exists_returns_what_exists(paged: Orders, stocked: str) -> None:
    assert ids(paged.query(stocked, filter=Attr("notes").eq("paid"), limit=50)) == WANTED


def test_a_limit_is_reached_when_scanning(paged: Orders, stocked: str) -> None:
    assert len(paged.scan(filter=Attr("notes").eq("paid"), limit=5).all()) == 5


@pytest.mark.parametrize("limit", [1, 5, 7, 50])
def test_a_limit_is_reached_when_segments_are_scanned_side_by_side(
    paged: Orders, stocked: str, limit: int
) -> None:
    found = ids(paged.scan(filter=Attr("notes").eq("paid"), limit=limit, segments=3))
    assert len(found) == len(set(found)) == min(limit, len(WANTED))
    assert set(found) <= set(WANTED)


def test_first_passes_pages_without_a_match(paged: Orders, stocked: str) -> None:
    found = paged.query(stocked, filter=Attr("notes").eq("paid")).first()
    assert found is not None
    assert found.order_id == WANTED[0]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_at_least_one(orders: Orders, limit: int) -> None:
    with pytest.raises(ValidationError, match=f"limit is {limit}"):
        orders.query("c", limit=limit)


# ---- counts and scans ----------------------------------------------------------------------------


def test_count_counts_every_page(paged: Orders, stocked: str) -> None:
    assert paged.count(stocked) == 13
    assert paged.count(stocked, filter=Attr("notes").eq("paid")) == 7
    assert paged.count(stocked, sort=Key("order_id").gt("o10")) == 2
    assert paged.count(stocked, index="by_status") == 13
    assert paged.count("nobody") == 0


@pytest.mark.parametrize("segments", [1, 3])
def test_a_scan_returns_every_item_once(paged: Orders, stocked: str, segments: int) -> None:
    found = [(item.customer_id, item.order_id) for item in paged.scan(segments=segments)]
    assert len(found) == len(set(found)) == 16


def test_an_index_is_scanned(paged: Orders, stocked: str) -> None:
    assert len(paged.scan(index="by_status_keys").all()) == 16


def test_a_scan_of_several_segments_cannot_resume(orders: Orders, stocked: str) -> None:
    results = orders.scan(segments=2)
    assert {page.next_token for page in results.pages()} == {None}
    with pytest.raises(ValidationError, match="cannot resume"):
        next(results.pages(start="x"))


# ---- pages ---------------------------------------------------------------------------------------


def resumed(results: Any, **options: Any) -> list[str]:
    """Return the ids of all pages, each asked for with the token of the one before."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = next(results.pages(start=token, **options))
        found += ids(page.items)
        token = page.next_token
        if token is None:
            return found


@pytest.mark.parametrize("reading", [*READINGS, {"index": "by_status_keys"}], ids=range(5))
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [None, 3])
def test_tokens_resume_without_gap_or_duplicate(
    orders: Orders, stocked: str, reading: dict[str, Any], descending: bool, limit: int | None
) -> None:
    results = orders.query(stocked, limit=limit, descending=descending, **reading)
    expected = [f"o{number:02d}" for number in range(13)]
    assert resumed(results) == expected[:: -1 if descending else 1]


@pytest.mark.parametrize(("limit", "size"), [(1, 1), (2, 4), (3, 2), (3, 100), (5, 3)])
def test_a_limit_in_the_middle_of_a_page_resumes_after_the_last_item_returned(
    orders: Orders, stocked: str, limit: int, size: int
) -> None:
    results = orders.query(stocked, filter=Attr("notes").eq("paid"), limit=limit)
    found: list[str] = []
    token: str | None = None
    for _ in range(20):
        pages = list(results.pages(size=size, start=token))
        found += [item.order_id for page in pages for item in page.items]
        token = pages[-1].next_token
        if token is None:
            break
    assert found == WANTED


@pytest.mark.parametrize("index", INDEXES)
def test_a_scan_resumes(orders: Orders, stocked: str, index: str | None) -> None:
    found: list[Any] = []
    token: str | None = None
    for _ in range(20):
        page = next(orders.scan(index=index).pages(size=3, start=token))
        found += [(item.customer_id, item.order_id) for item in page.items]
        token = page.next_token
        if token is None:
            break
    assert len(found) == len(set(found)) == 16


def token_of(results: Any) -> str:
    token = next(results.pages(size=2)).next_token
    assert token is not None
    return str(token)


@pytest.mark.parametrize("position", [0, 10, 40, 60, 80, -10])
def test_a_changed_token_is_refused(orders: Orders, stocked: str, position: int) -> None:
    token = token_of(orders.query(stocked))
    changed = "A" if token[position] != "A" else "B"
    position %= len(token)
    with pytest.raises(ValidationError, match="page token"):
        next(orders.query(stocked).pages(start=token[:position] + changed + token[position + 1 :]))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "é",
        "....",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(b'[1,"t",null,"m",5]').decode(),
    ],
)
def test_a_damaged_token_is_refused(orders: Orders, stocked: str, token: str) -> None:
    with pytest.raises(ValidationError, match="page token"):
        next(orders.query(stocked).pages(start=token))


def test_a_cut_token_is_refused(orders: Orders, stocked: str) -> None:
    token = token_of(orders.query(stocked))
    with pytest.raises(ValidationError, match="page token"):
        next(orders.query(stocked).pages(start=token[:-3]))


def test_a_token_of_another_table_is_refused(
    orders: Orders, user_config: DynamoDBConfig, stocked: str
) -> None:
    other = orders_of(user_config, table_prefix="other")
    with pytest.raises(ValidationError, match="another table"):
        next(other.query(stocked).pages(start=token_of(orders.query(stocked))))


def test_a_token_of_another_index_is_refused(orders: Orders, stocked: str) -> None:
    token = token_of(orders.query(stocked))
    with pytest.raises(ValidationError, match="another index"):
        next(orders.query(stocked, index="by_status").pages(start=token))


@pytest.mark.parametrize(
    "options",
    [{"partition": "other"}, {"descending": True}, {"sort": Key("order_id").gt("o00")}],
    ids=["partition", "order", "sort"],
)
def test_a_token_of_another_query_is_refused(
    orders: Orders, stocked: str, options: dict[str, Any]
) -> None:
    token = token_of(orders.query(stocked))
    with pytest.raises(ValidationError, match="another query"):
        next(orders.query(**{"partition": stocked, **options}).pages(start=token))


# ---- what is left out and refused ----------------------------------------------------------------


class Owned(BaseModel):
    task_id: str
    owner: str


OWNED = Table(
    "owned",
    Task,
    partition_key="task_id",
    ttl="expires_at",
    indexes=[GlobalIndex("by_owner", "owner", project=Owned)],
)


def test_an_index_that_holds_the_ttl_counts_what_a_query_returns(config: DynamoDBConfig) -> None:
    create_tables(config, OWNED)
    tasks = BaseDynamoRepository(config, OWNED)
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    tasks.put(Task(task_id="1", owner="o", expires_at=past))
    tasks.put(Task(task_id="2", owner="o", expires_at=past.replace(year=2100)))
    tasks.put(Task(task_id="3", owner="o"))
    assert len(tasks.query("o", index="by_owner").all()) == 2
    assert tasks.count("o", index="by_owner") == 2


def test_expired_items_are_left_out(tasks: Tasks, customer: str) -> None:
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    tasks.put(Task(task_id=f"{customer}1", owner=customer, expires_at=past))
    kept = Task(task_id=f"{customer}2", owner=customer, expires_at=past.replace(year=2100))
    tasks.put(kept)
    assert tasks.query(f"open#{customer}", index="open").all() == [kept]
    assert tasks.scan(filter=Attr("owner").eq(customer)).all() == [kept]
    assert tasks.count(f"open#{customer}", index="open") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": ""}, "'customer_id' is empty"),
        ({"partition": None}, "'customer_id' is empty"),
        ({"partition": 5}, "customer_id does not accept this key"),
        ({"index": "by_name"}, "declares no index 'by_name'"),
        ({"filter": Attr("statsu").eq(1)}, "did you mean 'status'"),
        ({"filter": "x"}, "not a str"),
        ({"sort": Key("status").eq("x")}, "sort key 'order_id', not on status"),
        ({"sort": Key("orderid").eq("x")}, "has no field"),
        ({"index": "by_status", "consistent": True}, "cannot be read consistently"),
        ({"index": "by_status_keys", "filter": Attr("notes").eq("x")}, "does not hold notes"),
        (
            {"index": "by_status_summary", "into": OrderSummary, "filter": Attr("notes").eq("x")},
            "does not hold notes",
        ),
    ],
    ids=range(11),
)
def test_a_wrong_query_is_refused(orders: Orders, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        orders.query(**{"partition": "c", **options}).all()


def test_a_table_without_sort_key_takes_no_condition_on_it(tasks: Tasks) -> None:
    with pytest.raises(ValidationError, match="no sort key"):
        tasks.query("t", sort=Key("title").eq("x"))


@pytest.mark.parametrize("segments", [0, -1, 1_000_001])
def test_segments_have_bounds(orders: Orders, segments: int) -> None:
    with pytest.raises(ValidationError, match=f"segments is {segments}"):
        orders.scan(segments=segments)


def test_a_consistent_query_sees_the_newest_state(orders: Orders, customer: str) -> None:
    orders.put(Order(customer_id=customer, order_id="o1"))
    assert ids(orders.query(customer, consistent=True)) == ["o1"]
    assert orders.get_many([(customer, "o1")], consistent=True)[0] is not None


READS: dict[str, Any] = {
    "GetItem": [
        lambda r, consistent: r.get(("c", "o"), consistent=consistent),
        lambda r, consistent: r.get(("c", "o"), consistent=consistent, into=OrderSummary),
        lambda r, consistent: r.exists(("c", "o"), consistent=consistent),
    ],
    "BatchGetItem": [lambda r, consistent: r.get_many([("c", "o")], consistent=consistent)],
    "Query": [lambda r, consistent: r.query("c", consistent=consistent).all()],
    "Scan": [
        lambda r, consistent: r.scan(consistent=consistent).first(),
        lambda r, consistent: r.scan(consistent=consistent, segments=2).first(),
    ],
}


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("operation", READS)
def test_a_read_is_consistent_when_and_only_when_asked_for(
    orders: Orders, stocked: str, operation: str, consistent: bool
) -> None:
    with sent_requests(client_of(orders), operation) as requests:
        for read in READS[operation]:
            read(orders, consistent)
    bodies = [json.loads(request.body) for request in requests]
    read_parts = [part for body in bodies for part in body.get("RequestItems", {"": body}).values()]
    assert len(read_parts) >= len(READS[operation])
    assert {part.get("ConsistentRead", False) for part in read_parts} == {consistent}


def test_items_behind_an_index_of_keys_are_read_consistently_when_asked_for(
    orders: Orders, stocked: str
) -> None:
    with sent_requests(client_of(orders), "BatchGetItem") as requests:
        orders.query(stocked, index="by_status_keys", consistent=True).first()
    (part,) = json.loads(requests[0].body)["RequestItems"].values()
    assert part["ConsistentRead"] is True


WIDER = Table(
    "orders",
    Order,
    partition_key="customer_id",
    sort_key="order_id",
    indexes=[*ORDERS.indexes, GlobalIndex("by_total", "total")],
)


def test_an_index_the_table_lacks_is_named(user_config: DynamoDBConfig) -> None:
    wider = BaseDynamoRepository(own_client(user_config), WIDER)
    with pytest.raises(IndexNotFoundError, match=r"'by_total'.*create_table") as caught:
        wider.query(5, index="by_total").all()
    assert caught.value.index_name == "by_total"
    assert caught.value.table_name == wider.table_name


def test_a_faulty_query_of_an_index_that_is_there_keeps_its_own_error(orders: Orders) -> None:
    condition = Attr("created_at").contains("x")
    with pytest.raises(ValidationError) as caught:
        orders.query("s", index="by_status", sort=condition).all()
    assert not isinstance(caught.value, IndexNotFoundError)
