"""Many requests at once: order, failures, rates and progress."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable

import boto3.session
import pytest
from botocore.config import Config

from dynamodb_wrapper.aws.concurrency import Progress, RateLimiter
from dynamodb_wrapper.exceptions import (
    AccessDeniedError,
    BatchWriteError,
    DynamoDBWrapperError,
    ValidationError,
)
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support import misbehaving, transports
from tests.support.client_faults import error_response, refused_with, unprocessed
from tests.support.misbehaving import MisbehavingServer
from tests.support.processes import eventually
from tests.support.sample_models import Order, client_of, numbered, orders_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.misbehaving import Request

    Orders = BaseDynamoRepository[Order]


class Clock:
    """Time that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@pytest.fixture
def orders(local_config: DynamoDBConfig) -> Orders:
    repository = orders_of(local_config)
    repository.create_table()
    return repository


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(clock: Clock, rate: float) -> RateLimiter:
    return RateLimiter(rate, clock=clock, sleep=clock.sleep)


class TestRateLimiter:
    def test_nothing_waits_while_nothing_is_owed(self, clock: Clock) -> None:
        limiter(clock, 5).wait()
        assert clock.now == 0

    def test_what_was_consumed_is_waited_for(self, clock: Clock) -> None:
        limited = limiter(clock, 5)
        limited.consumed(20)
        limited.wait()
        assert clock.now == pytest.approx(4)

    def test_time_that_passes_unused_is_not_saved_up(self, clock: Clock) -> None:
        limited = limiter(clock, 5)
        clock.sleep(100)
        limited.consumed(10)
        limited.wait()
        assert clock.now == pytest.approx(102)

    def test_throttling_halves_the_rate_which_recovers(self, clock: Clock) -> None:
        limited = limiter(clock, 8)
        limited.throttled()
        limited.throttled()
        assert limited.units_per_second == pytest.approx(2)
        clock.sleep(60)
        assert limited.units_per_second == 8

    def test_a_rate_never_falls_to_nothing(self, clock: Clock) -> None:
        limited = limiter(clock, 64)
        for _ in range(100):
            limited.throttled()
        assert limited.units_per_second == 1

    @pytest.mark.parametrize("rate", [0, -1, float("nan"), True])
    def test_a_rate_is_a_number_above_zero(self, rate: Any) -> None:
        with pytest.raises(ValidationError, match="units per second above 0"):
            RateLimiter(rate)

    @pytest.mark.parametrize("rate", [0, -1, "x", True, [], object()])
    def test_what_is_no_rate_is_refused_by_the_name_of_the_parameter(self, rate: Any) -> None:
        repository = transports.orders("http://127.0.0.1:9", "auto")
        for read in (
            lambda: repository.get_many([("c", "o")], rate=rate),
            lambda: repository.put_many([], rate=rate),
            lambda: list(repository.scan(segments=2, rate=rate)),
        ):
            with pytest.raises(ValidationError, match=r"^rate is .* or a RateLimiter"):
                read()


ANSWERED = {
    "BatchGetItem": {"Responses": {"orders": [misbehaving.ITEM]}, "UnprocessedKeys": {}},
    "BatchWriteItem": {"UnprocessedItems": {}},
    "Scan": {"Items": [misbehaving.ITEM], "Count": 1},
    "Query": {"Items": [misbehaving.ITEM], "Count": 1},
}
THROTTLED = misbehaving.error("ProvisionedThroughputExceededException")


def answered(request: Request) -> bool:
    body = ANSWERED[request.headers["x-amz-target"].partition(".")[2]]
    return misbehaving.answer(json.dumps(body).encode())(request)


KEY = ("c", "o")
MANY: dict[str, Callable[[Any, RateLimiter], object]] = {
    "get_many": lambda orders, rate: orders.get_many([KEY], rate=rate),
    "get_many in threads": lambda orders, rate: orders.get_many([KEY], rate=rate, workers=2),
    "put_many": lambda orders, rate: orders.put_many(
        [transports.Order(customer_id="c", order_id="o")], rate=rate, workers=1
    ),
    "scan": lambda orders, rate: list(orders.scan(rate=rate)),
    "scan in segments": lambda orders, rate: list(orders.scan(segments=1, rate=rate)),
    "query": lambda orders, rate: list(orders.query("c", rate=rate)),
}


def rates_left(use: Callable[[str, RateLimiter], object]) -> dict[str, float]:
    """Return what a rate of 64 is after each operation.

    They go side by side, since a client that was throttled waits before it asks again.
    """
    limited = {operation: limiter(Clock(), 64) for operation in MANY}
    with ThreadPoolExecutor(len(MANY)) as pool:
        list(pool.map(use, limited, limited.values()))
    return {operation: rate.units_per_second for operation, rate in limited.items()}


@pytest.mark.usefixtures("only_own_handlers")
class TestThrottlesThatTheClientRetries:
    @pytest.mark.parametrize("transport", transports.TRANSPORTS)
    def test_each_slows_down(self, transport: str) -> None:
        def use(operation: str, limited: RateLimiter) -> None:
            with MisbehavingServer() as server:
                server.does(THROTTLED, THROTTLED, answered)
                MANY[operation](transports.orders(server.url, transport), limited)

        assert rates_left(use) == dict.fromkeys(MANY, 16)

    @pytest.mark.parametrize("transport", transports.TRANSPORTS)
    def test_the_last_counts_once(self, transport: str) -> None:
        def use(operation: str, limited: RateLimiter) -> None:
            with MisbehavingServer() as server:
                server.does(THROTTLED)
                orders = transports.orders(server.url, transport, max_attempts=2)
                with pytest.raises(DynamoDBWrapperError):
                    MANY[operation](orders, limited)

        assert rates_left(use) == dict.fromkeys(MANY, 16)

    def test_of_a_client_that_was_passed_in_the_error_counts(self) -> None:
        def use(operation: str, limited: RateLimiter) -> None:
            with MisbehavingServer() as server:
                config = transports.config_of(server.url, "auto")
                client = client_of_one_attempt(server.url)
                server.does(THROTTLED)
                with pytest.raises(DynamoDBWrapperError):
                    MANY[operation](
                        BaseDynamoRepository(config, transports.ORDERS, client=client), limited
                    )

        assert rates_left(use) == dict.fromkeys(MANY, 32)

    def test_what_is_no_throttle_does_not_slow_down(self) -> None:
        def use(operation: str, limited: RateLimiter) -> None:
            with MisbehavingServer() as server:
                server.does(misbehaving.error("InternalServerError", 500), answered)
                MANY[operation](transports.orders(server.url, "direct"), limited)

        assert rates_left(use) == dict.fromkeys(MANY, 64)


def client_of_one_attempt(url: str) -> Any:
    return boto3.session.Session().client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


class TestWrites:
    def test_of_many_writes_of_one_key_the_last_stays(self, orders: Orders, customer: str) -> None:
        items = [item for _ in range(12) for item in numbered(customer, 30)]
        for number, item in enumerate(items):
            item.notes = f"write {number}"
        orders.put_many(items, workers=8)
        stored = {item.order_id: item.notes for item in orders.query(customer)}
        assert stored == {item.order_id: item.notes for item in items[-30:]}

    def test_no_more_is_taken_than_what_is_under_way(self, orders: Orders, customer: str) -> None:
        taken: list[Order] = []
        ahead: list[int] = []

        def source() -> Iterator[Order]:
            for item in numbered(customer, 500):
                taken.append(item)
                yield item

        orders.put_many(
            source(), workers=3, on_progress=lambda now: ahead.append(len(taken) - now.items)
        )
        assert len(taken) == orders.count(customer) == 500
        assert max(ahead) <= 4 * 25 + 1

    def test_what_a_failure_left_and_what_is_stored_are_everything(
        self, orders: Orders, customer: str
    ) -> None:
        items = numbered(customer, 500)
        refusals = [None, None, error_response("AccessDeniedException"), None]
        with refused_with(client_of(orders), "BatchWriteItem", *refusals):
            with pytest.raises(BatchWriteError) as caught:
                orders.put_many(items, workers=4)
        left = {item.order_id for item in caught.value.unprocessed}
        stored = {item.order_id for item in orders.query(customer)}
        assert isinstance(caught.value.__cause__, AccessDeniedError)
        assert caught.value.written == len(stored) < 500
        assert left | stored == {item.order_id for item in items}
        assert not left & stored
        assert caught.value.unprocessed == [item for item in items if item.order_id in left]

    def test_an_iterator_stops_at_an_item_that_cannot_be_stored(
        self, orders: Orders, customer: str
    ) -> None:
        items = numbered(customer, 40)
        items[30].details = {"n": float("nan")}
        source = iter(items)
        with pytest.raises(BatchWriteError, match="details") as caught:
            orders.put_many(source, workers=2)
        assert caught.value.written == orders.count(customer) == 25
        assert caught.value.unprocessed == items[25:30]
        assert list(source) == items[31:]

    def test_progress_is_reported_in_the_callers_thread_up_to_the_end(
        self, orders: Orders, customer: str
    ) -> None:
        reported: list[tuple[Progress, str]] = []

        def note(now: Progress) -> None:
            reported.append((now, threading.current_thread().name))

        items = numbered(customer, 60)
        orders.put_many(items, workers=4, on_progress=note)
        last, _ = reported[-1]
        assert [now.requests for now, _ in reported] == [1, 2, 3]
        assert {name for _, name in reported} == {threading.current_thread().name}
        assert last.items == 60
        assert last.units >= 60
        assert last.bytes > 60 * 20

    @pytest.mark.parametrize("workers", [1, 4])
    def test_what_was_stored_is_refreshed_though_progress_cannot_be_reported(
        self, orders: Orders, customer: str, workers: int
    ) -> None:
        items = numbered(customer, 200)

        def refuse(now: Progress) -> None:
            raise OSError("the terminal is gone")

        with pytest.raises(OSError, match="the terminal is gone"):
            orders.put_many(items, workers=workers, on_progress=refuse)
        stored = {item.order_id: item.version for item in orders.query(customer)}
        assert 25 <= len(stored) < len(items)
        assert {i.order_id: i.version for i in items if i.order_id in stored} == stored
        orders.update(items[0])

    def test_writes_keep_to_their_rate(self, orders: Orders, customer: str, clock: Clock) -> None:
        with orders.consumed() as used:
            orders.put_many(numbered(customer, 100), workers=1, rate=limiter(clock, 10))
        before_the_last = used.write_units * 3 / 4
        assert clock.now == pytest.approx(before_the_last / 10)

    def test_what_is_left_unprocessed_slows_writes_down(
        self, orders: Orders, customer: str, clock: Clock
    ) -> None:
        limited = limiter(clock, 1_000_000)
        with unprocessed(client_of(orders), "BatchWriteItem", [10]):
            orders.put_many(numbered(customer, 20), workers=1, rate=limited)
        assert limited.units_per_second == pytest.approx(500_000, rel=0.01)

    def test_deletions_go_side_by_side_too(self, orders: Orders, customer: str) -> None:
        items = numbered(customer, 200)
        orders.put_many(items)
        assert orders.delete_many([(customer, item.order_id) for item in items], workers=8) == 200
        assert orders.count(customer) == 0

    @pytest.mark.parametrize("workers", [0, -1, 257, 1.5, True])
    def test_a_number_of_workers_that_makes_no_sense_is_refused(
        self, orders: Orders, customer: str, workers: Any
    ) -> None:
        with pytest.raises(ValidationError, match="1 to 256"):
            orders.put_many(numbered(customer, 1), workers=workers)


class TestReads:
    def test_get_many_keeps_the_order_of_keys_read_side_by_side(
        self, orders: Orders, customer: str
    ) -> None:
        items = numbered(customer, 450)
        orders.put_many(items)
        reported: list[Progress] = []
        keys = [(customer, item.order_id) for item in reversed(items)]
        found = orders.get_many(keys, workers=4, on_progress=reported.append)
        assert [item and item.order_id for item in found] == [key[1] for key in keys]
        assert (reported[-1].items, reported[-1].requests) == (450, 5)
        assert reported[-1].bytes > 450 * 20

    def test_a_scan_in_segments_keeps_to_its_rate_and_reports_its_progress(
        self, orders: Orders, customer: str, clock: Clock
    ) -> None:
        items = numbered(customer, 60)
        orders.put_many(items)
        reported: list[Progress] = []
        with orders.consumed() as used:
            found = list(
                orders.scan(segments=4, rate=limiter(clock, 0.01), on_progress=reported.append)
            )
        assert {item.order_id for item in found} >= {item.order_id for item in items}
        assert reported[-1].requests == used.requests >= 4
        assert reported[-1].units == used.read_units > 0

    @pytest.mark.parametrize("transport", transports.TRANSPORTS)
    def test_no_more_pages_are_read_than_one_of_each_segment(self, transport: str) -> None:
        key = {"customer_id": {"S": "c"}, "order_id": {"S": "o"}}
        endless = {**ANSWERED["Scan"], "LastEvaluatedKey": key}
        with MisbehavingServer() as server:
            server.does(misbehaving.answer(json.dumps(endless).encode()))
            pages = transports.orders(server.url, transport).scan(segments=4).pages()
            for _ in range(10):
                next(pages)
            eventually(lambda: len(server.requests) >= 10 + 4)
            pages.close()
            assert len(server.requests) == 10 + 4

    def test_pages_of_a_query_keep_to_their_rate(
        self, orders: Orders, customer: str, clock: Clock
    ) -> None:
        orders.put_many(numbered(customer, 30))
        results = orders.query(customer, rate=limiter(clock, 0.5))
        pages = list(results.pages(size=10))
        before_the_last = sum(page.consumed.read_units for page in pages[:-1])
        assert clock.now == pytest.approx(before_the_last / 0.5)
