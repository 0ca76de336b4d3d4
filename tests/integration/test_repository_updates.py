"""Updates: of a whole model in its version, and of single fields without reading."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import BaseModel

from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    DynamoDBWrapperError,
    ItemNotFoundError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.engines import Capability, recorded_operations
from tests.injected import lost_reply
from tests.samples import NEW_YEAR, Address, Line, Order, Task, client_of, orders_of

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.engines import Engine

Orders = BaseDynamoRepository[Order]
Tasks = BaseDynamoRepository[Task]


@pytest.fixture
def key(orders: Orders, customer: str) -> tuple[str, str]:
    """Key of a stored order."""
    orders.create(
        Order(
            customer_id=customer,
            order_id="o1",
            total=Decimal(10),
            labels={"a"},
            address=Address(city="Oslo", street="Main"),
            lines=[Line(sku="x")],
            details={"spark.sql.x": 1, "deep": {"n": 1}},
        )
    )
    return customer, "o1"


# ---- a whole model -------------------------------------------------------------------------------


def test_an_object_can_be_updated_again_and_again(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    for status in ("paid", "sent", "done"):
        item.status = status
        assert orders.update(item) is item
    assert item.version == 4
    assert orders.get_or_raise(key) == item


def test_a_field_set_to_none_or_empty_is_removed(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    item.address, item.labels = None, set()
    orders.update(item)
    stored = client_of(orders).get_item(
        TableName=orders.table_name,
        Key={"customer_id": {"S": key[0]}, "order_id": {"S": key[1]}},
    )["Item"]
    assert {"address", "labels"} & set(stored) == set()


def test_the_second_writer_of_a_version_is_refused(orders: Orders, key: Any) -> None:
    first, second = orders.get_or_raise(key), orders.get_or_raise(key)
    orders.update(first)
    with pytest.raises(VersionConflictError, match="has version 2, yours is 1") as caught:
        orders.update(second)
    assert caught.value.key == {"customer_id": key[0], "order_id": key[1]}
    assert caught.value.current is not None
    assert second.version == 1


def test_of_two_writers_at_once_exactly_one_is_refused(
    engine: Engine, user_config: DynamoDBConfig, orders: Orders, key: Any
) -> None:
    engine.require(Capability.ATOMIC_WRITES)
    writers = [orders_of(user_config) for _ in range(2)]
    items = [writer.get_or_raise(key) for writer in writers]
    barrier = Barrier(2)

    def write(position: int) -> type[Any]:
        items[position].status = f"of {position}"
        barrier.wait()
        try:
            return type(writers[position].update(items[position]))
        except DynamoDBWrapperError as error:
            return type(error)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(write, range(2)))
    assert sorted(outcome.__name__ for outcome in outcomes) == ["Order", "VersionConflictError"]
    assert orders.get_or_raise(key).version == 2


def test_updating_an_absent_model_says_so(orders: Orders, customer: str) -> None:
    with pytest.raises(ItemNotFoundError, match=customer):
        orders.update(Order(customer_id=customer, order_id="o1"))


def test_a_condition_counts_besides_the_version(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    with pytest.raises(ConditionFailedError) as caught:
        orders.update(item, condition=Attr("status").eq("paid"))
    assert type(caught.value) is ConditionFailedError


def test_an_update_whose_reply_was_lost_counts_as_stored(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    item.status = "paid"
    with lost_reply(client_of(orders), "UpdateItem") as lost:
        orders.update(item)
    assert len(lost) == 1
    assert orders.get_or_raise(key) == item


def test_a_model_and_changes_do_not_go_together(orders: Orders, key: Any) -> None:
    with pytest.raises(ValidationError, match="not both"):
        orders.update(orders.get_or_raise(key), set={"status": "x"})  # type: ignore[call-overload]


# ---- single fields -------------------------------------------------------------------------------


def test_an_update_by_key_sends_one_request_and_never_reads(orders: Orders, key: Any) -> None:
    with recorded_operations(client_of(orders)) as sent:
        orders.update(key, set={"status": "paid"})
        orders.update(orders.table.model(customer_id=key[0], order_id="o1", version=2))
    assert sent == ["UpdateItem", "UpdateItem"]


def test_an_update_by_key_returns_the_item_as_it_is_now(orders: Orders, key: Any) -> None:
    found = orders.update(
        key,
        set={"status": "paid", ("address", "city"): "Rome"},
        remove=["notes", ("details", "deep", "n")],
        add={"visits": 2, "labels": {"b"}},
        append={"lines": [Line(sku="y")]},
    )
    assert (found.status, found.visits, found.labels) == ("paid", 2, {"a", "b"})
    assert found.address == Address(city="Rome", street="Main")
    assert found.lines == [Line(sku="x"), Line(sku="y")]
    assert found.details == {"spark.sql.x": 1, "deep": {}}
    assert found.version == 2
    assert orders.get_or_raise(key) == found


def test_an_element_of_a_list_is_changed_by_its_position(orders: Orders, key: Any) -> None:
    found = orders.update(key, set={("lines", 0, "quantity"): 5})
    assert found.lines == [Line(sku="x", quantity=5)]


def test_a_name_with_dots_in_a_path_is_one_step(orders: Orders, key: Any) -> None:
    found = orders.update(key, set={("details", "spark.sql.x"): 2})
    assert found.details["spark.sql.x"] == 2


def test_a_decimal_is_added_by_dynamodb(orders: Orders, key: Any) -> None:
    for _ in range(3):
        found = orders.update(key, add={"total": Decimal("0.1")})
    assert found.total == Decimal("10.3")


def test_a_value_is_stored_as_its_field_says(orders: Orders, key: Any) -> None:
    moment = NEW_YEAR + timedelta(hours=1)
    assert orders.update(key, set={"created_at": moment}).created_at == moment


def test_setting_none_or_an_empty_set_removes(orders: Orders, key: Any) -> None:
    found = orders.update(key, set={"address": None, "labels": set()})
    assert (found.address, found.labels) == (None, set())


def test_a_condition_that_fails_refuses_the_update(orders: Orders, key: Any) -> None:
    with pytest.raises(ConditionFailedError) as caught:
        orders.update(key, set={"status": "paid"}, condition=Attr("status").eq("old"))
    assert type(caught.value) is ConditionFailedError
    assert (caught.value.current or {})["status"] == "new"
    assert orders.get_or_raise(key).status == "new"


@pytest.mark.parametrize(
    "changes",
    [{"set": {"status": "x"}}, {"remove": ["notes"]}, {"add": {"visits": 1}}],
    ids=lambda changes: next(iter(changes)),
)
def test_an_absent_item_is_refused_and_not_made(
    orders: Orders, customer: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ItemNotFoundError, match=customer):
        orders.update((customer, "o1"), **changes)
    assert not orders.exists((customer, "o1"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"set": {"statsu": "x"}}, "did you mean 'status'"),
        ({"set": {("address", "town"): "x"}}, "Address has no field 'town'"),
        ({"set": {("lines", 0, "skuu"): "x"}}, "did you mean 'sku'"),
        ({"set": {("lines", "first"): "x"}}, "no 'first'"),
        ({"set": {("status", "inner"): "x"}}, "no 'inner'"),
        ({"set": {(): "x"}}, "empty path"),
        ({"remove": ["statsu"]}, "did you mean 'status'"),
        ({"add": {"visit": 1}}, "did you mean 'visits'"),
        ({"append": {"line": []}}, "did you mean 'lines'"),
        ({"set": {"visits": "many"}}, "visits"),
        ({"set": {"total": float("nan")}}, "total"),
        ({"set": {"created_at": NEW_YEAR.replace(tzinfo=None)}}, "no time zone"),
        ({"set": {"customer_id": "x"}}, "is a key"),
        ({"set": {"version": 5}}, "raised by every update"),
        ({"remove": ["status", "total", "order_id"]}, "order_id"),
        ({"remove": [("address", "city")]}, "required"),
        ({"append": {"lines": Line(sku="x")}}, "takes a list"),
        ({"append": {"status": ["x"]}}, "status"),
        ({"append": {"lines": [{"quantity": 1}]}}, "sku"),
        ({"add": {"visits": "1"}}, "only a number"),
        ({"add": {"visits": 0.5}}, "whole number"),
        ({"add": {"visits": Decimal("0.5")}}, "whole number"),
        ({"add": {"priority": 0.5}}, "whole number"),
        ({"add": {"status": 1}}, "status"),
        ({"add": {"labels": 1}}, "labels"),
        ({"add": {"visits": {1}}}, "visits"),
        ({"add": {"labels": {1}}}, "labels"),
        ({"set": {"status": "x"}, "remove": ["status"]}, "twice"),
        ({"set": {"address": None, ("address", "city"): "x"}}, "part of it"),
        ({}, "without changes"),
    ],
    ids=range(30),
)
def test_a_wrong_change_is_refused_before_sending(
    orders: Orders, key: Any, changes: dict[str, Any], told: str
) -> None:
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match=told):
            orders.update(key, **changes)
    assert sent == []


def test_a_path_into_nothing_is_refused_by_dynamodb(orders: Orders, customer: str) -> None:
    orders.create(Order(customer_id=customer, order_id="o1"))
    with pytest.raises(ValidationError):
        orders.update((customer, "o1"), set={("address", "city"): "Rome"})


# ---- upsert --------------------------------------------------------------------------------------


def test_an_upsert_makes_a_whole_item(orders: Orders, customer: str) -> None:
    found = orders.update((customer, "o1"), set={"status": "paid"}, upsert=True)
    assert found == Order(customer_id=customer, order_id="o1", status="paid", version=1)
    assert orders.get((customer, "o1")) == found


def test_an_upsert_changes_an_item_that_is_there(orders: Orders, key: Any) -> None:
    found = orders.update(key, set={"status": "paid"}, add={"visits": 1}, upsert=True)
    assert (found.status, found.total, found.visits, found.version) == ("paid", 10, 1, 2)


class Needy(BaseModel):
    customer_id: str
    order_id: str
    amount: int
    visits: int = 0


NEEDY = Table("orders", Needy, partition_key="customer_id", sort_key="order_id")


def test_an_upsert_that_would_not_make_a_whole_item_is_refused(
    user_config: DynamoDBConfig, customer: str
) -> None:
    repository = BaseDynamoRepository(user_config, NEEDY)
    with pytest.raises(ValidationError, match="amount"):
        repository.update((customer, "o1"), add={"visits": 1}, upsert=True)


# ---- derived attributes --------------------------------------------------------------------------


def test_an_index_attribute_follows_the_fields_it_is_made_from(tasks: Tasks, customer: str) -> None:
    tasks.create(Task(task_id=customer, owner=f"a{customer}"))
    tasks.update(customer, set={"owner": f"b{customer}", "is_done": False})
    assert tasks.query(f"open#a{customer}", index="open").all() == []
    assert [t.task_id for t in tasks.query(f"open#b{customer}", index="open")] == [customer]


def test_an_index_attribute_that_becomes_none_leaves_the_index(tasks: Tasks, customer: str) -> None:
    tasks.create(Task(task_id=customer, owner=customer))
    tasks.update(customer, set={"owner": customer, "is_done": True})
    assert tasks.query(f"open#{customer}", index="open").all() == []


def test_a_whole_model_carries_its_index_attributes(tasks: Tasks, customer: str) -> None:
    item = tasks.create(Task(task_id=customer, owner=customer))
    item.is_done = True
    tasks.update(item)
    assert tasks.query(f"open#{customer}", index="open").all() == []
    item.is_done = False
    tasks.update(item)
    assert tasks.query(f"open#{customer}", index="open").all() == [item]


@pytest.mark.parametrize(
    "changes", [{"set": {"owner": "x"}}, {"set": {"is_done": True}}, {"remove": ["is_done"]}]
)
def test_touching_some_fields_of_an_index_attribute_is_refused_naming_the_others(
    tasks: Tasks, customer: str, changes: dict[str, Any]
) -> None:
    tasks.create(Task(task_id=customer))
    with pytest.raises(ValidationError, match=r"'ix_open'.*set (owner|is_done) as well"):
        tasks.update(customer, **changes)


def test_an_update_of_other_fields_leaves_index_attributes_alone(
    tasks: Tasks, customer: str
) -> None:
    tasks.create(Task(task_id=customer, owner=customer))
    tasks.update(customer, set={"title": "x"})
    assert len(tasks.query(f"open#{customer}", index="open").all()) == 1


def test_an_upsert_of_other_fields_leaves_index_attributes_alone(
    tasks: Tasks, customer: str
) -> None:
    tasks.create(Task(task_id=customer, owner=customer, is_done=True))
    tasks.update(customer, set={"title": "x", "owner": customer, "is_done": True}, upsert=True)
    assert tasks.query("open#nobody", index="open", where=Attr("title").eq(customer)).all() == []
    assert tasks.query(f"open#{customer}", index="open").all() == []


def test_an_upsert_names_the_fields_an_index_attribute_needs(tasks: Tasks, customer: str) -> None:
    tasks.create(Task(task_id=customer, owner=customer, is_done=True))
    with pytest.raises(ValidationError, match=r"'ix_open'.*owner, is_done"):
        tasks.update(customer, set={"title": "x"}, upsert=True)
