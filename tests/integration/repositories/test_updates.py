"""Updates: of a whole model in its version, and of single fields without reading."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import TYPE_CHECKING, Any, Union

import boto3
import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import BaseModel, Field

from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    ConnectionError,
    DynamoDBWrapperError,
    IncompatibleItemError,
    ItemNotFoundError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.client_faults import error_response, lost_reply, refused_with
from tests.support.engines import Capability, recorded_operations
from tests.support.sample_models import NEW_YEAR, Address, Line, Order, Task, client_of, orders_of

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

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
    before = item.version
    for status in ("paid", "sent", "done"):
        item.status = status
        assert orders.update(item) is item
    assert item.version == before + 3
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
    seen = second.version
    orders.update(first)
    message = f"has version {seen + 1}, yours is {seen}"
    with pytest.raises(VersionConflictError, match=message) as caught:
        orders.update(second)
    assert caught.value.key == {"customer_id": key[0], "order_id": key[1]}
    assert caught.value.current is not None
    assert second.version == seen


def test_of_two_writers_at_once_exactly_one_is_refused(
    engine: Engine, user_config: DynamoDBConfig, orders: Orders, key: Any
) -> None:
    engine.require(Capability.ATOMIC_WRITES)
    writers = [orders_of(user_config) for _ in range(2)]
    items = [writer.get_or_raise(key) for writer in writers]
    before = items[0].version
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
    assert orders.get_or_raise(key).version == before + 1


def test_updating_an_absent_model_says_so(orders: Orders, customer: str) -> None:
    with pytest.raises(ItemNotFoundError, match=customer):
        orders.update(Order(customer_id=customer, order_id="o1"))


def test_a_condition_counts_besides_the_version(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    with pytest.raises(ConditionFailedError) as caught:
        orders.update(item, condition=Attr("status").eq("paid"))
    assert type(caught.value) is ConditionFailedError


def test_an_update_whose_reply_was_lost_says_that_it_may_be_stored(
    orders: Orders, key: Any
) -> None:
    item = orders.get_or_raise(key)
    item.status = "paid"
    with lost_reply(client_of(orders), "UpdateItem") as lost:
        with pytest.raises(VersionConflictError, match="read the item to find out") as caught:
            orders.update(item)
    assert len(lost) == 1
    assert caught.value.maybe_applied
    assert orders.get_or_raise(key).status == "paid"


def test_an_update_after_a_conflict_is_no_lost_reply(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    orders.update(key, set={"status": "paid"})
    conflict = error_response("TransactionConflictException")
    with refused_with(client_of(orders), "UpdateItem", conflict) as sent:
        with pytest.raises(VersionConflictError) as caught:
            orders.update(item)
    assert len(sent) == 2
    assert not caught.value.maybe_applied


def test_a_conflict_after_a_lost_reply_does_not_hide_it(orders: Orders, key: Any) -> None:
    item = orders.get_or_raise(key)
    error = error_response("InternalServerError", status=500)
    conflict = error_response("TransactionConflictException")
    orders.update(key, set={"status": "paid"})
    with refused_with(client_of(orders), "UpdateItem", error, conflict) as sent:
        with pytest.raises(VersionConflictError) as caught:
            orders.update(item)
    assert len(sent) == 3
    assert caught.value.maybe_applied


@pytest.mark.parametrize("retried", [False, True])
def test_with_a_client_of_the_caller_every_retry_counts_as_a_lost_reply(
    orders: Orders, key: Any, retried: bool
) -> None:
    config = orders.config
    client = boto3.client(
        "dynamodb",
        endpoint_url=config.endpoint_url,
        region_name=config.region_name,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    own = BaseDynamoRepository(config, orders.table, client=client)
    throttles = [error_response("ThrottlingException")] if retried else []
    item = own.get_or_raise(key)
    orders.update(key, set={"status": "paid"})
    with refused_with(client, "UpdateItem", *throttles):
        with pytest.raises(VersionConflictError) as caught:
            own.update(item)
    assert caught.value.maybe_applied is retried


def test_an_outage_says_whether_the_change_may_be_stored(orders: Orders, key: Any) -> None:
    impatient = orders_of(orders.config, max_attempts=1)
    for error, expected in (("InternalServerError", True), ("ThrottlingException", False)):
        response = error_response(error, status=500 if expected else 400)
        with refused_with(client_of(impatient), "UpdateItem", response):
            with pytest.raises(DynamoDBWrapperError) as caught:
                impatient.update(key, set={"status": "paid"})
        assert caught.value.maybe_applied is expected
    with lost_reply(client_of(impatient), "UpdateItem"), pytest.raises(ConnectionError) as lost:
        impatient.update(key, set={"status": "paid"})
    assert lost.value.maybe_applied
    with lost_reply(client_of(impatient), "GetItem"), pytest.raises(ConnectionError) as read:
        impatient.get(key)
    assert not read.value.maybe_applied


def test_a_deletion_of_what_an_earlier_attempt_deleted_says_so(orders: Orders, key: Any) -> None:
    with lost_reply(client_of(orders), "DeleteItem"):
        with pytest.raises(ItemNotFoundError, match="read the item to find out") as caught:
            orders.delete(key, must_exist=True)
    assert caught.value.maybe_applied
    assert not orders.exists(key)


def test_a_model_and_changes_do_not_go_together(orders: Orders, key: Any) -> None:
    with pytest.raises(ValidationError, match="not both"):
        orders.update(orders.get_or_raise(key), set={"status": "x"})  # type: ignore[call-overload]


# ---- single fields -------------------------------------------------------------------------------


def test_an_update_by_key_sends_one_request_and_never_reads(orders: Orders, key: Any) -> None:
    with recorded_operations(client_of(orders)) as sent:
        version = orders.update(key, set={"status": "paid"}).version
        orders.update(orders.table.model(customer_id=key[0], order_id="o1", version=version))
    assert sent == ["UpdateItem", "UpdateItem"]


def test_an_update_by_key_returns_the_item_as_it_is_now(orders: Orders, key: Any) -> None:
    before = orders.get_or_raise(key).version
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
    assert found.version == before + 1
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
    [
        {"set": {"status": "x"}},
        {"remove": ["notes"]},
        {"add": {"visits": 1}},
        {"append": {"lines": [{"sku": "x"}]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_absent_item_is_refused_and_not_made(
    orders: Orders, customer: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ItemNotFoundError, match=customer):
        orders.update((customer, "o1"), **changes)
    assert not orders.exists((customer, "o1"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": {"statsu": "x"}}, "did you mean 'status'"),
        ({"set": {("address", "town"): "x"}}, "Address has no field 'town'"),
        ({"set": {("lines", 0, "skuu"): "x"}}, "did you mean 'sku'"),
        ({"set": {("lines", "first"): "x"}}, "no 'first'"),
        ({"set": {("status", "inner"): "x"}}, "no 'inner'"),
        ({"set": {(): "x"}}, "empty path"),
        ({"set": {("lines", -1, "sku"): "x"}}, "counts from the end"),
        ({"set": {("details", "l", -1): "x"}}, "counts from the end"),
        ({"remove": [("lines", -1)]}, "counts from the end"),
        ({"remove": ["statsu"]}, "did you mean 'status'"),
        ({"add": {"visit": 1}}, "did you mean 'visits'"),
        ({"append": {"line": []}}, "did you mean 'lines'"),
        ({"set": {"visits": "many"}}, "visits"),
        ({"set": {"total": float("nan")}}, "total"),
        ({"set": {"created_at": NEW_YEAR.replace(tzinfo=None)}}, "no time zone"),
        ({"set": {"customer_id": "x"}}, "is a key"),
        ({"set": {"version": 5}}, "raised by every update"),
        ({"set": {"status": ""}}, "status is empty; it is a key of index 'by_status'"),
        ({"set": {"status": None}}, "status"),
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
    ids=range(35),
)
def test_a_wrong_change_is_refused_before_sending(
    orders: Orders, key: Any, changes: dict[str, Any], message: str
) -> None:
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match=message):
            orders.update(key, **changes)
    assert sent == []


def test_an_object_of_another_table_is_no_key(orders: Orders) -> None:
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match="holds Order, not Task"):
            orders.update(Task(task_id="t"))
        with pytest.raises(ValidationError, match="holds Order, not Task"):
            orders.delete(Task(task_id="t"))
    assert sent == []


class Card(BaseModel):
    number: str
    holder: str = Field(default="", alias="h")


class Transfer(BaseModel):
    iban: str
    holder: str = ""


class Payment(BaseModel):
    customer_id: str
    order_id: str
    by: Union[Card, Transfer]
    place: tuple[int, str] = (0, "")


PAYMENTS = Table("orders", Payment, partition_key="customer_id", sort_key="order_id")


def test_a_path_takes_the_types_of_the_places_and_members_it_leads_through(
    user_config: DynamoDBConfig, customer: str
) -> None:
    payments = BaseDynamoRepository(user_config, PAYMENTS)
    payments.create(Payment(customer_id=customer, order_id="o1", by=Card(number="1")))
    key = (customer, "o1")
    found = payments.update(key, set={("by", "number"): "2", ("place", 1): "x", ("place", 0): 7})
    assert (found.by, found.place) == (Card(number="2"), (7, "x"))
    for path, value in ((("place", 1), 5), (("place", 2), "x"), (("by", "holder"), "x")):
        with pytest.raises(ValidationError):
            payments.update(key, set={path: value})


def test_a_path_into_nothing_is_refused_by_dynamodb(orders: Orders, customer: str) -> None:
    orders.create(Order(customer_id=customer, order_id="o1"))
    with pytest.raises(ValidationError):
        orders.update((customer, "o1"), set={("address", "city"): "Rome"})


def test_a_change_that_was_written_is_not_denied_because_the_item_does_not_fit(
    orders: Orders, key: Any
) -> None:
    where = {
        "TableName": orders.table_name,
        "Key": {"customer_id": {"S": key[0]}, "order_id": {"S": key[1]}},
    }
    client_of(orders).update_item(
        **where,
        UpdateExpression="SET #t = :v",
        ExpressionAttributeNames={"#t": "total"},
        ExpressionAttributeValues={":v": {"S": "many"}},
    )
    with pytest.raises(IncompatibleItemError, match=r"change was written.*total") as caught:
        orders.update(key, set={"status": "paid"})
    assert caught.value.key == {"customer_id": key[0], "order_id": key[1]}
    assert client_of(orders).get_item(**where)["Item"]["status"] == {"S": "paid"}


# ---- upsert --------------------------------------------------------------------------------------


def test_an_upsert_makes_a_whole_item(orders: Orders, customer: str) -> None:
    found = orders.update((customer, "o1"), set={"status": "paid"}, upsert=True)
    assert found == Order(customer_id=customer, order_id="o1", status="paid", version=found.version)
    assert orders.get((customer, "o1")) == found


def test_an_upsert_changes_an_item_that_is_there(orders: Orders, key: Any) -> None:
    before = orders.get_or_raise(key).version
    found = orders.update(key, set={"status": "paid"}, add={"visits": 1}, upsert=True)
    assert (found.status, found.total, found.visits) == ("paid", 10, 1)
    assert found.version == before + 1


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


def test_an_upsert_leaves_nothing_of_an_expired_item(tasks: Tasks, customer: str) -> None:
    where = {"TableName": tasks.table_name, "Key": {"task_id": {"S": customer}}}
    past = NEW_YEAR.replace(year=2020)
    tasks.put(Task(task_id=customer, owner="gone", title="old", expires_at=past))
    found = tasks.update(customer, set={"owner": "me", "is_done": False}, upsert=True)
    assert found == Task(task_id=customer, owner="me")
    assert "expires_at" not in client_of(tasks).get_item(**where)["Item"]


def test_an_upsert_keeps_what_an_unexpired_item_holds(tasks: Tasks, customer: str) -> None:
    stored = tasks.put(Task(task_id=customer, title="t", expires_at=NEW_YEAR.replace(year=2100)))
    found = tasks.update(customer, set={"owner": "me", "is_done": False}, upsert=True)
    assert found == stored.model_copy(update={"owner": "me"})


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
    assert tasks.query("open#nobody", index="open", filter=Attr("title").eq(customer)).all() == []
    assert tasks.query(f"open#{customer}", index="open").all() == []


def test_an_upsert_names_the_fields_an_index_attribute_needs(tasks: Tasks, customer: str) -> None:
    tasks.create(Task(task_id=customer, owner=customer, is_done=True))
    with pytest.raises(ValidationError, match=r"'ix_open'.*owner, is_done"):
        tasks.update(customer, set={"title": "x"}, upsert=True)
