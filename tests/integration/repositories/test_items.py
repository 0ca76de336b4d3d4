"""Single items: create, put, get, exists, delete, and reading what others left there."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import BaseModel, ConfigDict, field_validator

from dynamodb_wrapper.aws.retries import THROTTLES
from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    IncompatibleItemError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.client_faults import error_response, lost_reply, refused_with
from tests.support.engines import Capability, Engine, recorded_operations
from tests.support.sample_models import (
    NEW_YEAR,
    ORDERS,
    Address,
    Line,
    Order,
    OrderSummary,
    Task,
    client_of,
)

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

Orders = BaseDynamoRepository[Order]
Tasks = BaseDynamoRepository[Task]
PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)
FUTURE = datetime(2100, 1, 1, tzinfo=timezone.utc)


def order(customer: str, **fields: Any) -> Order:
    return Order(**{"customer_id": customer, "order_id": "o1", **fields})


def full(customer: str) -> Order:
    return order(
        customer,
        total=Decimal("12.50"),
        labels={"a", "b"},
        address=Address(city="Oslo"),
        lines=[Line(sku="x", quantity=2)],
        details={"n": 1, "f": 1.5, "deep": {"list": [None, True, "t"]}},
        created_at=NEW_YEAR + timedelta(microseconds=5),
    )


# ---- create --------------------------------------------------------------------------------------


def test_what_was_created_is_read(orders: Orders, customer: str) -> None:
    created = orders.create(full(customer))
    assert orders.get((customer, "o1")) == created
    assert created.version > 0


def test_create_refreshes_the_object_in_place(orders: Orders, customer: str) -> None:
    given = order(customer)
    assert orders.create(given) is given
    assert given.version > 0


def test_create_refuses_an_existing_key_and_shows_what_is_there(
    orders: Orders, customer: str
) -> None:
    orders.create(order(customer, status="first"))
    with pytest.raises(ItemAlreadyExistsError) as caught:
        orders.create(order(customer, status="second"))
    error = caught.value
    assert error.key == {"customer_id": customer, "order_id": "o1"}
    assert error.table_name == orders.table_name
    assert error.operation == "PutItem"
    assert error.error_code == "ConditionalCheckFailedException"
    assert error.request_id
    assert error.current is not None
    assert error.current["status"] == "first"
    assert orders.get_or_raise((customer, "o1")).status == "first"


def test_a_refused_create_leaves_the_object_alone(orders: Orders, customer: str) -> None:
    orders.create(order(customer))
    given = order(customer)
    with pytest.raises(ItemAlreadyExistsError):
        orders.create(given)
    assert given.version == 0


def test_a_create_whose_reply_was_lost_says_that_it_may_be_stored(
    orders: Orders, customer: str
) -> None:
    with lost_reply(client_of(orders), "PutItem") as lost:
        with pytest.raises(ItemAlreadyExistsError, match="read the item to find out") as caught:
            orders.create(full(customer))
    assert len(lost) == 1
    assert caught.value.maybe_applied
    assert orders.exists((customer, "o1"))


@pytest.mark.parametrize("code", sorted(THROTTLES))
def test_a_create_that_meets_an_equal_item_after_a_throttle_is_refused(
    tasks: Tasks, customer: str, code: str
) -> None:
    tasks.create(Task(task_id=customer))
    with refused_with(client_of(tasks), "PutItem", error_response(code)) as sent:
        with pytest.raises(ItemAlreadyExistsError) as caught:
            tasks.create(Task(task_id=customer))
    assert len(sent) == 2
    assert not caught.value.maybe_applied
    assert "lost" not in str(caught.value)


def test_a_create_that_meets_the_item_of_another_writer_after_a_lost_reply_is_refused(
    orders: Orders, customer: str
) -> None:
    orders.create(order(customer, status="of another writer"))
    with lost_reply(client_of(orders), "PutItem"):
        with pytest.raises(ItemAlreadyExistsError) as caught:
            orders.create(order(customer, status="mine"))
    assert caught.value.current is not None
    assert caught.value.current["status"] == "of another writer"


def test_create_takes_the_place_of_an_expired_item(tasks: Tasks, customer: str) -> None:
    tasks.put(Task(task_id=customer, title="old", expires_at=PAST))
    tasks.create(Task(task_id=customer, title="new"))
    assert tasks.get_or_raise(customer).title == "new"


def test_a_model_of_another_table_is_refused(orders: Orders) -> None:
    with pytest.raises(ValidationError, match="holds Order, not Task"):
        orders.create(Task(task_id="t"))  # type: ignore[arg-type]


# ---- put -----------------------------------------------------------------------------------------


def test_put_replaces_the_whole_item(orders: Orders, customer: str) -> None:
    orders.put(full(customer))
    orders.put(order(customer, status="second"))
    found = orders.get_or_raise((customer, "o1"))
    assert (found.status, found.address, found.labels) == ("second", None, set())


def test_a_condition_that_holds_lets_put_through(orders: Orders, customer: str) -> None:
    orders.put(order(customer, status="new"))
    orders.put(order(customer, status="paid"), condition=Attr("status").eq("new"))
    assert orders.get_or_raise((customer, "o1")).status == "paid"


def test_a_condition_that_fails_refuses_put_and_shows_the_item(
    orders: Orders, customer: str
) -> None:
    orders.put(order(customer, status="paid"))
    with pytest.raises(ConditionFailedError) as caught:
        orders.put(order(customer), condition=Attr("status").eq("new"))
    assert type(caught.value) is ConditionFailedError
    assert (caught.value.current or {})["status"] == "paid"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Attr("total").eq(Decimal("12.5")), True),
        (Attr("total").between(12, 13), True),
        (Attr("total").gt(13), False),
        (Attr("created_at").gt(NEW_YEAR), True),
        (Attr("created_at").lt(NEW_YEAR.astimezone(timezone(timedelta(hours=9)))), False),
        (Attr("status").is_in(["old", "new"]), True),
        (Attr("labels").contains("a"), True),
        (Attr("labels").contains("c"), False),
        (Attr("labels").size().eq(2), True),
        (Attr("notes").not_exists(), True),
        (Attr("address.city").eq("Oslo"), True),
        (Attr("lines[0].quantity").gte(2), True),
        (Attr("details.deep.list[2]").eq("t"), True),
        (Attr("status").begins_with("n") & ~Attr("visits").eq(1), True),
        (Attr("status").eq("x") | Attr("visits").eq(0), True),
        (Attr("created_at").ne(Attr("status")), True),
        (Attr("labels").attribute_type("SS"), True),
    ],
    ids=range(17),
)
def test_a_condition_compares_as_the_field_is_stored(
    orders: Orders, customer: str, condition: Any, holds: bool
) -> None:
    orders.put(full(customer))
    found = orders.query(customer, filter=condition).all()
    assert bool(found) is holds


@pytest.mark.parametrize("name", ["statsu", "address.town", "lines[0].skuu"])
def test_an_unknown_field_in_a_condition_is_refused(
    orders: Orders, customer: str, name: str
) -> None:
    with pytest.raises(ValidationError, match="has no field"):
        orders.put(order(customer), condition=Attr(name).eq("x"))


def test_a_condition_is_made_with_key_or_attr(orders: Orders, customer: str) -> None:
    with pytest.raises(ValidationError, match="not a str"):
        orders.put(order(customer), condition="status = :new")  # type: ignore[arg-type]


@pytest.mark.parametrize("replace", ["put", "put twice", "delete and create", "upsert"])
def test_a_model_read_before_its_item_was_replaced_is_refused(
    orders: Orders, customer: str, replace: str
) -> None:
    key = (customer, "o1")
    orders.create(order(customer))
    old = orders.get_or_raise(key)
    for _ in range(1 + (replace == "put twice")):
        if replace.startswith("put"):
            orders.put(order(customer, status="replaced"))
        else:
            orders.delete(key)
    if replace == "delete and create":
        orders.create(order(customer, status="replaced"))
    elif replace == "upsert":
        orders.update(key, set={"status": "replaced"}, upsert=True)
    with pytest.raises(VersionConflictError):
        orders.update(old)
    with pytest.raises(VersionConflictError):
        orders.delete(old)
    found = orders.get_or_raise(key)
    assert found.status == "replaced"
    assert found.version > old.version


def test_put_raises_the_version_of_a_model_from_a_faster_clock(
    orders: Orders, customer: str
) -> None:
    ahead = 10**18
    assert orders.put(order(customer, version=ahead)).version == ahead + 1


# ---- get, get_or_raise, exists -------------------------------------------------------------------


def test_get_returns_none_where_there_is_no_item(orders: Orders, customer: str) -> None:
    assert orders.get((customer, "o1")) is None
    assert not orders.exists((customer, "o1"))


def test_a_repository_counts_which_way_items_were_decoded(orders: Orders, customer: str) -> None:
    orders = BaseDynamoRepository(orders.config, ORDERS)
    orders.put_many([order(customer), order(customer, order_id="o2")])
    key = {"customer_id": {"S": customer}, "order_id": {"S": "odd"}}
    odd = {**key, "priority": {"S": "5"}}
    client_of(orders).put_item(TableName=orders.table_name, Item=odd)
    assert [found.priority for found in orders.query(customer)] == [None, None, 5]
    assert orders.get((customer, "o1"), into=OrderSummary) is not None
    assert (orders.decoded.compiled, orders.decoded.generic) == (3, 1)


def test_what_writes_return_is_decoded_by_the_code_made_for_the_model(
    orders: Orders, customer: str
) -> None:
    orders = BaseDynamoRepository(orders.config, ORDERS)
    stored = orders.put(order(customer))
    changed = orders.update((customer, "o1"), set={"status": "paid"})
    assert orders.update(changed).status == "paid"
    with orders.consumed() as used:
        gone = orders.delete((customer, "o1"))
    assert gone is not None
    assert gone.total == stored.total
    assert (orders.decoded.compiled, orders.decoded.generic) == (3, 0)
    assert used.requests == 1


def test_units_of_writes_count_even_if_the_returned_item_cannot_be_read(
    engine: Engine, config: DynamoDBConfig, customer: str
) -> None:
    engine.require(Capability.EXACT_CAPACITY)

    class Picky(BaseModel):
        id: str
        n: int = 0

        @field_validator("n")
        @classmethod
        def _small(cls, n: int) -> int:
            if n > 1:
                raise RuntimeError("too large")
            return n

    table = BaseDynamoRepository(config, Table("picky", Picky, partition_key="id"))
    table.create_table()
    table.put(Picky(id=customer))
    with table.consumed() as used, pytest.raises(RuntimeError):
        table.update(customer, add={"n": 5})
    assert used.write_units == 1
    with table.consumed() as used, pytest.raises(RuntimeError):
        table.delete(customer)
    assert used.write_units == 1


def test_get_or_raise_names_table_and_key(orders: Orders, customer: str) -> None:
    with pytest.raises(ItemNotFoundError, match=customer) as caught:
        orders.get_or_raise((customer, "o1"))
    assert caught.value.key == {"customer_id": customer, "order_id": "o1"}
    assert caught.value.table_name == orders.table_name
    assert caught.value.operation == "GetItem"


@pytest.mark.parametrize("consistent", [True, False])
def test_exists_sees_an_item(orders: Orders, customer: str, consistent: bool) -> None:
    orders.put(order(customer))
    assert orders.exists((customer, "o1"), consistent=consistent)


def test_a_key_is_a_tuple_a_dict_or_a_model(orders: Orders, customer: str) -> None:
    orders.put(order(customer))
    keys = [(customer, "o1"), {"customer_id": customer, "order_id": "o1"}, order(customer)]
    assert [orders.exists(key) for key in keys] == [True] * 3


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("c", "customer_id and order_id"),
        (("c",), "customer_id and order_id"),
        (("c", "o", "x"), "customer_id and order_id"),
        (("c", ""), "'order_id' is empty"),
        (("", "o"), "'customer_id' is empty"),
        (("c", None), "'order_id' is missing"),
        ({"customer_id": "c"}, "'order_id' is missing"),
        (("c", 5), "order_id does not accept this key"),
    ],
)
def test_a_wrong_key_is_refused_naming_its_part(orders: Orders, key: Any, message: str) -> None:
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match=message):
            orders.get(key)
    assert sent == []


def test_an_item_is_read_into_a_smaller_model(orders: Orders, customer: str) -> None:
    orders.put(full(customer))
    expected = OrderSummary(order_id="o1", status="new")
    assert orders.get((customer, "o1"), into=OrderSummary) == expected
    assert orders.get_or_raise((customer, "o1"), into=OrderSummary) == expected


def test_an_expired_item_is_gone_for_readers(tasks: Tasks, customer: str) -> None:
    tasks.put(Task(task_id=customer, expires_at=PAST))
    assert tasks.get(customer) is None
    assert not tasks.exists(customer)
    assert tasks.get_many([customer]) == [None]
    with pytest.raises(ItemNotFoundError):
        tasks.update(customer, set={"title": "x"})


@pytest.mark.parametrize("ttl", [{"NULL": True}], ids=["NULL"])
def test_a_ttl_that_is_no_number_never_passes(
    tasks: Tasks, customer: str, ttl: dict[str, Any]
) -> None:
    stored = {"task_id": {"S": customer}, "owner": {"S": customer}, "expires_at": ttl}
    stored["ix_open"] = {"S": f"open#{customer}"}
    client_of(tasks).put_item(TableName=tasks.table_name, Item=stored)
    assert tasks.get_or_raise(customer).expires_at is None
    assert [task.task_id for task in tasks.query(customer)] == [customer]
    assert [task.task_id for task in tasks.scan(filter=Attr("owner").eq(customer))] == [customer]
    assert tasks.count(customer) == tasks.count(f"open#{customer}", index="open") == 1
    assert tasks.update(customer, set={"title": "x"}).title == "x"


def test_an_item_that_expires_later_is_there(tasks: Tasks, customer: str) -> None:
    tasks.put(Task(task_id=customer, expires_at=FUTURE))
    assert tasks.get_or_raise(customer).expires_at == FUTURE


def test_an_item_that_does_not_fit_is_refused_by_name(orders: Orders, customer: str) -> None:
    key = {"customer_id": {"S": customer}, "order_id": {"S": "o1"}}
    stored = {**key, "total": {"S": "a lot"}}
    client_of(orders).put_item(TableName=orders.table_name, Item=stored)
    with pytest.raises(IncompatibleItemError, match="total") as caught:
        orders.get((customer, "o1"))
    assert caught.value.key == {"customer_id": customer, "order_id": "o1"}
    assert "a lot" not in str(caught.value)


# ---- delete --------------------------------------------------------------------------------------


def test_delete_returns_what_was_there(orders: Orders, customer: str) -> None:
    stored = orders.create(full(customer))
    assert orders.delete((customer, "o1")) == stored
    assert orders.get((customer, "o1")) is None


def test_deleting_nothing_returns_none_unless_it_must_exist(orders: Orders, customer: str) -> None:
    assert orders.delete((customer, "o1")) is None
    with pytest.raises(ItemNotFoundError, match=customer):
        orders.delete((customer, "o1"), must_exist=True)


def test_a_condition_that_fails_refuses_delete(orders: Orders, customer: str) -> None:
    orders.put(order(customer))
    with pytest.raises(ConditionFailedError):
        orders.delete((customer, "o1"), condition=Attr("status").eq("paid"))
    assert orders.exists((customer, "o1"))


def test_a_model_is_deleted_in_its_own_version_only(orders: Orders, customer: str) -> None:
    mine = orders.create(order(customer))
    orders.update((customer, "o1"), set={"status": "paid"})
    message = f"has version {mine.version + 1}, yours is {mine.version}"
    with pytest.raises(VersionConflictError, match=message):
        orders.delete(mine)
    assert orders.delete(orders.get_or_raise((customer, "o1"))) is not None


def test_a_model_that_is_gone_already_is_deleted(orders: Orders, customer: str) -> None:
    mine = orders.create(order(customer))
    orders.delete((customer, "o1"))
    assert orders.delete(mine) is None


def test_an_update_that_ends_an_item_returns_it(tasks: Tasks, customer: str) -> None:
    tasks.put(Task(task_id=customer))
    assert tasks.update(customer, set={"expires_at": PAST}).expires_at == PAST
    assert tasks.get(customer) is None


def test_deleting_an_expired_item_returns_none(tasks: Tasks, customer: str) -> None:
    tasks.put(Task(task_id=customer, expires_at=PAST))
    assert tasks.delete(customer) is None


# ---- what others wrote ---------------------------------------------------------------------------


class Narrow(BaseModel):
    """Knows less of an order than is stored; pydantic drops the rest."""

    model_config = ConfigDict(extra="ignore")

    customer_id: str
    order_id: str
    status: str = "new"


NARROW = Table("orders", Narrow, partition_key="customer_id", sort_key="order_id")


def test_attributes_a_model_ignores_survive_an_update(
    orders: Orders, user_config: DynamoDBConfig, customer: str
) -> None:
    stored = orders.create(full(customer))
    narrow = BaseDynamoRepository(user_config, NARROW)
    item = narrow.get_or_raise((customer, "o1"))
    item.status = "paid"
    narrow.update(item)
    assert orders.get((customer, "o1")) == stored.model_copy(update={"status": "paid"})


class Open(BaseModel):
    """Keeps unknown attributes of an item."""

    model_config = ConfigDict(extra="allow")

    customer_id: str
    order_id: str


OPEN = Table("orders", Open, partition_key="customer_id", sort_key="order_id")


def test_an_open_model_can_be_updated_twice(user_config: DynamoDBConfig, customer: str) -> None:
    repository = BaseDynamoRepository(user_config, OPEN)
    given = Open.model_validate({"customer_id": customer, "order_id": "o1", "more": {"n": 1}})
    item = repository.create(given)
    item.more = {"n": 2}  # type: ignore[attr-defined]
    repository.update(item)
    item.more = {"n": 3}  # type: ignore[attr-defined]
    stored = repository.update(item)
    assert stored.model_extra == {"more": {"n": 3}}
    assert stored.model_dump() == repository.get_or_raise((customer, "o1")).model_dump()


def test_consumed_units_are_counted_per_repository(
    engine: Engine, orders: Orders, tasks: Tasks, customer: str
) -> None:
    with orders.consumed() as used:
        orders.put(order(customer))
        orders.get((customer, "o1"), consistent=True)
        tasks.put(Task(task_id=customer))
    assert used.requests == 2
    assert used.read_units > 0
    assert used.write_units > 0


def test_consumed_units_are_exact_where_the_engine_counts(
    engine: Engine, orders: Orders, customer: str
) -> None:
    engine.require(Capability.EXACT_CAPACITY)
    orders.put(order(customer, notes="x" * 5000))
    with orders.consumed() as used:
        orders.get((customer, "o1"), consistent=True)
        orders.get((customer, "o1"))
    assert (used.read_units, used.requests) == (3, 2)
