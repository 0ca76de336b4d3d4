"""Batches: everything is written or named, everything is read in the order asked for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.exceptions import (
    AccessDeniedError,
    BatchWriteError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.client_faults import (
    always_refused_with,
    error_response,
    refused_with,
    unprocessed,
)
from tests.support.engines import recorded_operations
from tests.support.sample_models import Order, client_of, numbered, orders_of

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

Orders = BaseDynamoRepository[Order]
NEVER = [0] * 1000


def keys_of(items: list[Order]) -> list[tuple[str, str]]:
    return [(item.customer_id, item.order_id) for item in items]


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 25, 26, 60])
def test_put_many_stores_everything(orders: Orders, customer: str, count: int) -> None:
    items = numbered(customer, count)
    assert orders.put_many(items) == count
    assert keys_of(orders.query(customer).all()) == keys_of(items)


def test_put_many_refreshes_what_it_stored(orders: Orders, customer: str) -> None:
    (item,) = numbered(customer, 1)
    orders.put_many([item])
    item.status = "paid"
    orders.update(item)
    assert orders.get(keys_of([item])[0]) == item


def test_put_many_takes_an_iterator(orders: Orders, customer: str) -> None:
    assert orders.put_many(iter(numbered(customer, 3))) == 3


def test_of_two_items_with_one_key_the_last_stays(orders: Orders, customer: str) -> None:
    first, second = numbered(customer, 1, status="first"), numbered(customer, 1, status="second")
    orders.put_many([*first, *numbered(customer, 30)[1:], *second])
    assert orders.get_or_raise((customer, "o000")).status == "second"
    assert orders.count(customer) == 30


def test_two_items_with_one_key_in_one_request_count_once(orders: Orders, customer: str) -> None:
    assert orders.put_many(numbered(customer, 2) + numbered(customer, 2)) == 2


def test_an_item_that_cannot_be_stored_stops_the_batch_before_it_is_sent(
    orders: Orders, customer: str
) -> None:
    items = numbered(customer, 30)
    items[-1].details = {"n": float("nan")}
    with recorded_operations(client_of(orders)) as sent:
        with pytest.raises(ValidationError, match="details"):
            orders.put_many(items, workers=1)
    assert sent == []


def test_what_is_left_unprocessed_is_sent_again(orders: Orders, customer: str) -> None:
    items = numbered(customer, 30)
    with unprocessed(client_of(orders), "BatchWriteItem", [10, 5, 3]) as sizes:
        assert orders.put_many(items, workers=1) == 30
    assert sizes == [25, 15, 10, 7, 5]
    assert orders.count(customer) == 30


def test_delete_many_deletes_and_counts_keys_without_items(orders: Orders, customer: str) -> None:
    items = numbered(customer, 30)
    orders.put_many(items)
    assert orders.delete_many([*keys_of(items), (customer, "none")]) == 31
    assert orders.count(customer) == 0


def test_deletes_left_unprocessed_are_sent_again(orders: Orders, customer: str) -> None:
    items = numbered(customer, 10)
    orders.put_many(items)
    with unprocessed(client_of(orders), "BatchWriteItem", [4, 1]) as sizes:
        orders.delete_many(keys_of(items), workers=1)
    assert sizes == [10, 6, 5]
    assert orders.count(customer) == 0


def test_what_was_not_written_when_time_ran_out_is_named_exactly(
    user_config: DynamoDBConfig, customer: str
) -> None:
    hurried = orders_of(user_config, operation_timeout_seconds=0.2)
    items = numbered(customer, 60)
    with unprocessed(client_of(hurried), "BatchWriteItem", [25, 10, *NEVER]):
        with pytest.raises(BatchWriteError, match="stopped with 35 written and 25 left") as caught:
            hurried.put_many(items, workers=1)
    error = caught.value
    assert error.written == 35
    assert error.unprocessed == items[35:]
    assert error.table_name == hurried.table_name
    assert error.operation == "BatchWriteItem"
    assert error.retryable


def test_what_was_not_written_can_be_written_later(
    user_config: DynamoDBConfig, orders: Orders, customer: str
) -> None:
    hurried = orders_of(user_config, operation_timeout_seconds=0.2)
    with unprocessed(client_of(hurried), "BatchWriteItem", [25, *NEVER]):
        with pytest.raises(BatchWriteError) as caught:
            hurried.put_many(numbered(customer, 40), workers=1)
    orders.put_many(caught.value.unprocessed)
    assert orders.count(customer) == 40


def test_keys_not_deleted_are_named_as_they_were_given(
    user_config: DynamoDBConfig, customer: str
) -> None:
    hurried = orders_of(user_config, operation_timeout_seconds=0.2)
    keys = keys_of(numbered(customer, 3))
    with unprocessed(client_of(hurried), "BatchWriteItem", [1, *NEVER]):
        with pytest.raises(BatchWriteError) as caught:
            hurried.delete_many(keys, workers=1)
    assert (caught.value.written, caught.value.unprocessed) == (1, keys[1:])


def test_a_batch_that_fails_half_way_says_what_is_done(orders: Orders, customer: str) -> None:
    items = numbered(customer, 60)
    responses = [None, error_response("AccessDeniedException")]
    with refused_with(client_of(orders), "BatchWriteItem", *responses):
        with pytest.raises(BatchWriteError) as caught:
            orders.put_many(items, workers=1)
    assert caught.value.written == 25
    assert caught.value.unprocessed == items[25:]
    assert caught.value.error_code == "AccessDeniedException"
    assert isinstance(caught.value.__cause__, AccessDeniedError)
    assert orders.count(customer) == 25


def test_a_batch_that_fails_at_once_raises_what_is_wrong(orders: Orders, customer: str) -> None:
    with always_refused_with(client_of(orders), "BatchWriteItem", "AccessDeniedException"):
        with pytest.raises(AccessDeniedError):
            orders.put_many(numbered(customer, 3))


# ---- reading -------------------------------------------------------------------------------------


def test_get_many_keeps_order_number_and_gaps_of_the_keys(orders: Orders, customer: str) -> None:
    items = numbered(customer, 3)
    orders.put_many(items)
    wanted = [(customer, name) for name in ("o002", "none", "o000", "o002", "o001", "none")]
    found = orders.get_many(wanted)
    assert [item and item.order_id for item in found] == [
        "o002",
        None,
        "o000",
        "o002",
        "o001",
        None,
    ]


def test_get_many_of_nothing_sends_nothing(orders: Orders) -> None:
    with recorded_operations(client_of(orders)) as sent:
        assert orders.get_many([]) == []
    assert sent == []


def test_get_many_splits_by_100_distinct_keys(orders: Orders, customer: str) -> None:
    items = numbered(customer, 120)
    orders.put_many(items)
    with recorded_operations(client_of(orders)) as sent:
        found = orders.get_many(keys_of(items) * 2, workers=1)
    assert sent == ["BatchGetItem"] * 2
    assert [item and item.order_id for item in found] == [item.order_id for item in items] * 2


def test_keys_left_unprocessed_are_asked_for_again(orders: Orders, customer: str) -> None:
    items = numbered(customer, 20)
    orders.put_many(items)
    with unprocessed(client_of(orders), "BatchGetItem", [7, 1, 4]) as sizes:
        found = orders.get_many(keys_of(items), workers=1)
    assert sizes == [20, 13, 12, 8]
    assert keys_of([item for item in found if item]) == keys_of(items)


def test_keys_left_until_time_ran_out_are_an_error(
    user_config: DynamoDBConfig, customer: str
) -> None:
    hurried = orders_of(user_config, operation_timeout_seconds=0.2)
    with unprocessed(client_of(hurried), "BatchGetItem", NEVER):
        with pytest.raises(ThrottledError, match="5 keys unprocessed") as caught:
            hurried.get_many([(customer, f"o{n}") for n in range(5)], workers=1)
    assert caught.value.table_name == hurried.table_name
    assert caught.value.retryable


def test_a_batch_of_large_items_is_split_by_size(orders: Orders, customer: str) -> None:
    items = numbered(customer, 12, details={"text": "x" * 100_000}, total=Decimal("1.5"))
    orders.put_many(items)
    assert [item and item.total for item in orders.get_many(keys_of(items))] == [
        Decimal("1.5")
    ] * 12
