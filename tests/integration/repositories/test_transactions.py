"""Transactions: together or not at all, over repositories, with a reason per action."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional

import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import BaseModel, ConfigDict

from dynamodb_wrapper.exceptions import ThrottledError, TransactionCanceledError, ValidationError
from dynamodb_wrapper.models import (
    PIPELINE_CONFIG,
    PIPELINE_RUN_LOGS,
    EpochSeconds,
    PipelineConfig,
    PipelineRunLog,
    Table,
)
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from tests.support.client_faults import (
    always_refused_with,
    error_response,
    lost_reply,
    refused_with,
    sent_requests,
)
from tests.support.engines import Capability, Engine, isolated, recorded_operations
from tests.support.sample_models import NEW_YEAR, ORDERS, Order, Task, client_of, orders_of

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

Orders = BaseDynamoRepository[Order]
Tasks = BaseDynamoRepository[Task]


@pytest.fixture(scope="module")
def local(engine: Engine) -> DynamoDBConfig:
    """Config of each engine in turn, with tables whose items are stamped."""
    config = isolated(engine.config)
    create_tables(config, STAMPED, PIPELINE_CONFIG, PIPELINE_RUN_LOGS)
    return config


def order(customer: str, order_id: str = "o1", **fields: Any) -> Order:
    return Order(**{"customer_id": customer, "order_id": order_id, **fields})


def canceled(*codes: str) -> Any:
    reasons = [{"Code": code} for code in codes]
    return error_response("TransactionCanceledException", CancellationReasons=reasons)


def test_actions_of_several_repositories_happen_together(
    orders: Orders, tasks: Tasks, customer: str
) -> None:
    kept, gone = orders.create(order(customer)), orders.create(order(customer, "gone"))
    kept.status = "paid"
    with orders.transaction() as tx:
        tx.create(orders, order(customer, "made"))
        tx.put(tasks, Task(task_id=customer, title="send"))
        tx.update(orders, kept)
        tx.delete(orders, gone)
    assert [o.order_id for o in orders.query(customer)] == ["made", "o1"]
    assert tasks.get_or_raise(customer).title == "send"
    assert orders.get((customer, "o1")) == kept


def test_a_check_demands_something_of_another_item(
    orders: Orders, tasks: Tasks, customer: str
) -> None:
    orders.create(order(customer, status="paid"))
    with orders.transaction() as tx:
        tx.check(orders, (customer, "o1"), Attr("status").eq("paid"))
        tx.put(tasks, Task(task_id=customer))
    assert tasks.exists(customer)


def test_an_expired_item_passes_no_check(orders: Orders, tasks: Tasks, customer: str) -> None:
    tasks.put(Task(task_id=customer, title="t", expires_at=NEW_YEAR.replace(year=2020)))
    with pytest.raises(TransactionCanceledError), orders.transaction() as tx:
        tx.check(tasks, customer, Attr("title").eq("t"))
        tx.put(orders, order(customer))
    assert not orders.exists((customer, "o1"))


def test_single_fields_are_updated_by_key(orders: Orders, customer: str) -> None:
    version = orders.create(order(customer)).version
    with orders.transaction() as tx:
        tx.update(orders, (customer, "o1"), set={"status": "paid"}, add={"visits": 2})
        tx.update(orders, (customer, "o2"), set={"status": "made"}, upsert=True)
    found = orders.query(customer).all()
    assert [(o.status, o.visits) for o in found] == [("paid", 2), ("made", 0)]
    assert found[0].version == version + 1
    assert found[1].version > version


def test_nothing_is_sent_before_the_end_of_the_block(orders: Orders, customer: str) -> None:
    with recorded_operations(client_of(orders)) as sent, orders.transaction() as tx:
        tx.create(orders, order(customer))
        assert sent == []
    assert sent == ["TransactWriteItems"]


def test_an_exception_in_the_block_sends_nothing(orders: Orders, customer: str) -> None:
    def fail() -> None:
        with orders.transaction() as tx:
            tx.create(orders, order(customer))
            raise RuntimeError("of the user")

    with recorded_operations(client_of(orders)) as sent, pytest.raises(RuntimeError):
        fail()
    assert sent == []


def test_an_empty_transaction_sends_nothing(orders: Orders) -> None:
    with recorded_operations(client_of(orders)) as sent, orders.transaction():
        pass
    assert sent == []


def test_objects_are_refreshed_after_dynamodb_accepted(orders: Orders, customer: str) -> None:
    item = order(customer)
    with orders.transaction() as tx:
        tx.create(orders, item)
        assert item.version == 0
    item.status = "paid"
    stored = item.version
    assert orders.update(item).version == stored + 1


class Note(BaseModel):
    """A model that keeps attributes it does not know."""

    model_config = ConfigDict(extra="allow")

    note_id: str
    text: Optional[str] = None
    version: int = 0


NOTES = Table("notes", Note, partition_key="note_id", version_field="version")
OBJECTS: dict[str, tuple[Table[Any], Callable[[], BaseModel]]] = {
    "a document": (PIPELINE_CONFIG, lambda: PipelineConfig(pipeline_id="p", description="d")),
    "a model of the user": (ORDERS, lambda: order("c")),
    "a model with extra fields": (NOTES, lambda: Note(note_id="n", colour="red")),
}
STAMPS = {"created_at", "updated_at", "row_version", "version"}


def state_of(item: BaseModel) -> dict[str, Any]:
    """Return all that can be seen of an object; of stamps, which differ, whether they are set."""

    def plain(values: dict[str, Any]) -> dict[str, Any]:
        return {name: bool(v) if name in STAMPS else v for name, v in values.items()}

    return {
        "whole": plain(item.model_dump()),
        "set": plain(item.model_dump(exclude_unset=True)),
        "fields_set": set(item.model_fields_set),
        "extra": dict(item.__pydantic_extra__ or {}),
    }


@pytest.mark.parametrize("name", OBJECTS)
def test_a_transaction_leaves_an_object_as_the_same_write_outside_does(
    user_config: DynamoDBConfig, name: str
) -> None:
    table, make = OBJECTS[name]
    create_tables(user_config, table)
    repository = BaseDynamoRepository(user_config, table)

    def in_a_transaction(verb: str, item: BaseModel) -> None:
        with repository.transaction() as tx:
            getattr(tx, verb)(repository, item)

    def outside(verb: str, item: BaseModel) -> None:
        getattr(repository, verb)(item)

    states = []
    for write in (outside, in_a_transaction):
        item, of_each = make(), {}
        for verb in ("create", "put", "update"):
            write(verb, item)
            of_each[verb] = state_of(item)
        key = getattr(item, table.partition_key)
        repository.delete((key, "o1") if table.sort_key else key)
        states.append(of_each)
    assert states[0] == states[1]


def test_a_refused_transaction_changes_nothing_and_gives_a_reason_per_action(
    orders: Orders, tasks: Tasks, customer: str
) -> None:
    there = orders.create(order(customer, status="there"))
    mine = order(customer)
    tx = orders.transaction()
    tx.put(tasks, Task(task_id=customer))
    tx.create(orders, mine)
    tx.check(orders, (customer, "o9"), Attr("status").eq("paid"))
    with pytest.raises(TransactionCanceledError) as caught:
        tx.send()
    first, second, third = caught.value.reasons
    assert [r.action for r in caught.value.reasons] == ["put", "put", "check"]
    assert [r.position for r in caught.value.reasons] == [0, 1, 2]
    assert (first.code, first.table_name) == (None, tasks.table_name)
    assert (second.code, third.code) == ("ConditionalCheckFailed",) * 2
    assert second.key == {"customer_id": customer, "order_id": "o1"}
    assert second.current is not None
    assert second.current["status"] == there.status
    assert third.current is None
    assert customer in str(caught.value)
    assert not tasks.exists(customer)
    assert mine.version == 0


def test_the_version_of_a_model_is_guarded(orders: Orders, customer: str) -> None:
    mine = orders.create(order(customer))
    orders.update((customer, "o1"), set={"status": "changed"})
    tx = orders.transaction()
    tx.update(orders, mine)
    with pytest.raises(TransactionCanceledError):
        tx.send()


@pytest.mark.parametrize(
    "code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
)
def test_a_conflict_or_throttle_is_sent_again_until_it_passes(
    orders: Orders, customer: str, code: str
) -> None:
    responses = [canceled(code, "None"), canceled("None", code)]
    client = client_of(orders)
    with refused_with(client, "TransactWriteItems", *responses) as requests:
        with orders.transaction() as tx:
            tx.create(orders, order(customer))
            tx.create(orders, order(customer, "o2"))
    assert len(requests) == 3
    assert orders.count(customer) == 2


def test_a_conflict_with_a_failed_condition_is_not_sent_again(
    orders: Orders, customer: str
) -> None:
    response = canceled("TransactionConflict", "ConditionalCheckFailed")
    tx = orders.transaction()
    tx.create(orders, order(customer))
    tx.create(orders, order(customer, "o2"))
    with refused_with(client_of(orders), "TransactWriteItems", response) as requests:
        with pytest.raises(TransactionCanceledError):
            tx.send()
    assert len(requests) == 1


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "DeleteItem"])
def test_a_single_write_that_meets_a_transaction_is_sent_again(
    orders: Orders, customer: str, operation: str
) -> None:
    orders.create(order(customer))
    calls: dict[str, Any] = {
        "PutItem": lambda: orders.put(order(customer)),
        "UpdateItem": lambda: orders.update((customer, "o1"), set={"status": "x"}),
        "DeleteItem": lambda: orders.delete((customer, "o1")),
    }
    conflict = error_response("TransactionConflictException")
    with refused_with(client_of(orders), operation, conflict, conflict) as requests:
        calls[operation]()
    assert len(requests) == 3


def test_conflicts_that_last_end_as_throttled(user_config: DynamoDBConfig, customer: str) -> None:
    hurried = orders_of(user_config, operation_timeout_seconds=0.2)
    tx = hurried.transaction()
    tx.create(hurried, order(customer))
    reasons = [{"Code": "TransactionConflict"}]
    code = "TransactionCanceledException"
    with always_refused_with(
        client_of(hurried), "TransactWriteItems", code, CancellationReasons=reasons
    ):
        with pytest.raises(ThrottledError) as caught:
            tx.send()
    assert caught.value.error_code == "TransactionConflict"
    assert caught.value.retryable


def test_a_transaction_whose_reply_was_lost_happens_once(
    engine: Engine, orders: Orders, customer: str
) -> None:
    engine.require(Capability.TRANSACTION_IDEMPOTENCY)
    orders.create(order(customer))
    with lost_reply(client_of(orders), "TransactWriteItems") as lost:
        with orders.transaction() as tx:
            tx.update(orders, (customer, "o1"), add={"visits": 1})
    assert len(lost) == 1
    assert orders.get_or_raise((customer, "o1")).visits == 1


def test_each_transaction_has_a_token_of_its_own(orders: Orders, customer: str) -> None:
    with sent_requests(client_of(orders), "TransactWriteItems") as requests:
        for order_id in ("o1", "o2"):
            with orders.transaction() as tx:
                tx.create(orders, order(customer, order_id))
    assert len({request.body for request in requests}) == 2
    assert all(b"ClientRequestToken" in request.body for request in requests)


def test_a_given_token_makes_a_repeated_block_harmless(
    engine: Engine, orders: Orders, customer: str
) -> None:
    engine.require(Capability.TRANSACTION_IDEMPOTENCY)
    orders.create(order(customer))
    tokens = [customer[:32]] * 2
    for token in tokens:
        with orders.transaction(token=token) as tx:
            tx.update(orders, (customer, "o1"), add={"visits": 1})
    assert orders.get_or_raise((customer, "o1")).visits == 1


class Stamped(BaseModel):
    id: str
    expires_at: Optional[EpochSeconds] = None
    version: int = 0


STAMPED = Table(
    "stamped",
    Stamped,
    partition_key="id",
    version_field="version",
    ttl="expires_at",
    write_token="gx_write",
)


def test_a_token_covers_versions_time_stamps_ttl_and_write_tokens(
    engine: Engine, local: DynamoDBConfig, customer: str
) -> None:
    engine.require(Capability.TRANSACTION_IDEMPOTENCY)
    stamped, pipelines = BaseDynamoRepository(local, STAMPED), PipelineConfigRepository(local)
    runs = PipelineRunLogsRepository(local)
    stamped.create(Stamped(id=f"{customer}-b"))
    for _ in range(2):
        with stamped.transaction(token=customer[:32]) as tx:
            tx.create(stamped, Stamped(id=customer))
            tx.update(stamped, f"{customer}-b", set={"expires_at": NEW_YEAR.replace(year=2100)})
            tx.update(stamped, f"{customer}-c", set={"expires_at": None}, upsert=True)
            tx.create(pipelines, PipelineConfig(pipeline_id=customer, pipeline_name="n"))
            tx.create(runs, PipelineRunLog(run_id=customer, pipeline_id=customer))
        time.sleep(1.1)  # a TTL is compared in whole seconds
    assert stamped.get_or_raise(customer).version > 10**15
    other = Stamped(id=f"{customer}-d")
    with stamped.transaction(token=f"{customer[:32]}-2") as tx:
        tx.create(stamped, other)
    assert other.version != stamped.get_or_raise(customer).version


def test_with_a_time_a_token_covers_a_repetition_in_another_process(
    engine: Engine, local: DynamoDBConfig, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.require(Capability.TRANSACTION_IDEMPOTENCY)
    assert local.aws_access_key_id is not None  # a pickled config has no keys
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", local.aws_access_key_id.get_secret_value())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    block = partial(repeated_block, local, customer)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        other.submit(block, NEW_YEAR).result()
    block(NEW_YEAR)
    found = PipelineConfigRepository(local).get_or_raise(customer)
    assert found.created_at == NEW_YEAR
    with pytest.raises(ValidationError, match=f"(?s){customer[:32]}.*accepted it before.*at=") as e:
        block(NEW_YEAR + timedelta(seconds=1))
    assert e.value.error_code == "IdempotentParameterMismatchException"


def repeated_block(config: DynamoDBConfig, name: str, at: datetime) -> None:
    pipelines = PipelineConfigRepository(config)
    with pipelines.transaction(token=name[:32], at=at) as tx:
        tx.create(pipelines, PipelineConfig(pipeline_id=name, pipeline_name="n"))


def test_a_token_used_for_another_block_is_refused_with_the_reason(
    engine: Engine, orders: Orders, customer: str
) -> None:
    engine.require(Capability.TRANSACTION_IDEMPOTENCY)
    for order_id in ("o1", "o2"):
        with ExitStack() as stack:
            if order_id == "o2":
                stack.enter_context(pytest.raises(ValidationError, match="use another token"))
            tx = stack.enter_context(orders.transaction(token=customer[:32]))
            tx.create(orders, order(customer, order_id))
    assert not orders.exists((customer, "o2"))


@pytest.mark.parametrize(
    "given", [{"at": NEW_YEAR}, {"token": "t", "at": NEW_YEAR.replace(tzinfo=None)}]
)
def test_a_time_needs_a_token_and_a_zone(orders: Orders, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="at"):
        orders.transaction(**given)


def test_a_refusal_after_a_lost_reply_says_that_it_may_be_applied(
    orders: Orders, customer: str
) -> None:
    orders.create(order(customer))
    failure = error_response("InternalServerError", status=500)
    for failures, expected in (([failure], True), ([], False)):
        with refused_with(client_of(orders), "TransactWriteItems", *failures):
            with pytest.raises(TransactionCanceledError) as caught:
                with orders.transaction() as tx:
                    tx.create(orders, order(customer))
        assert caught.value.maybe_applied is expected
        assert ("nothing was written" in str(caught.value)) is not expected


def test_consumed_units_are_counted(engine: Engine, orders: Orders, customer: str) -> None:
    engine.require(Capability.TRANSACTION_CAPACITY)
    with orders.consumed() as used, orders.transaction() as tx:
        tx.create(orders, order(customer))
    assert tx.consumed.write_units >= 2
    assert used.write_units == tx.consumed.write_units


def test_100_actions_are_taken(engine: Engine, orders: Orders, customer: str) -> None:
    with orders.transaction() as tx:
        for number in range(100):
            tx.put(orders, order(customer, f"o{number:03d}"))
    assert orders.count(customer) == 100


def test_more_than_100_actions_are_refused_before_sending(orders: Orders, customer: str) -> None:
    tx = orders.transaction()
    for number in range(101):
        tx.put(orders, order(customer, f"o{number}"))
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match="101 actions"):
            tx.send()
    assert sent == []


def test_two_actions_on_one_item_are_refused_naming_it(orders: Orders, customer: str) -> None:
    tx = orders.transaction()
    tx.put(orders, order(customer))
    tx.delete(orders, (customer, "o1"))
    with pytest.raises(ValidationError, match=rf"two actions on the item.*{customer}") as caught:
        tx.send()
    assert caught.value.key == {"customer_id": customer, "order_id": "o1"}


def test_a_transaction_is_sent_once(orders: Orders, customer: str) -> None:
    tx = orders.transaction()
    tx.put(orders, order(customer))
    tx.send()
    with pytest.raises(ValidationError, match="sent already"):
        tx.send()


def test_a_transaction_stays_in_one_endpoint(
    orders: Orders, user_config: DynamoDBConfig, customer: str
) -> None:
    elsewhere = orders_of(user_config, region_name="eu-west-1")
    with pytest.raises(ValidationError, match="stays in one region"):
        orders.transaction().put(elsewhere, order(customer))


def test_a_model_and_changes_do_not_go_together(orders: Orders, customer: str) -> None:
    with pytest.raises(ValidationError, match="not both"):
        orders.transaction().update(orders, order(customer), set={"status": "x"})


@pytest.mark.parametrize("token", ["", "x" * 37])
def test_a_token_has_1_to_36_characters(orders: Orders, token: str) -> None:
    with pytest.raises(ValidationError, match="36"):
        orders.transaction(token=token)


def test_a_wrong_change_is_refused_when_it_is_added(orders: Orders, customer: str) -> None:
    with pytest.raises(ValidationError, match="did you mean 'status'"):
        orders.transaction().update(orders, (customer, "o1"), set={"statsu": "x"})
