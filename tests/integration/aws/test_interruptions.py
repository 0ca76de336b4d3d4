"""Signal handlers and exceptions from outside in the middle of requests."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

import dynamodb_wrapper.aws
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import ItemAlreadyExistsError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support import misbehaving, transports
from tests.support.transports import ORDERS, TRANSPORTS, Order

if TYPE_CHECKING:
    from types import FrameType

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.misbehaving import MisbehavingServer, Request
    from tests.support.processes import Drivers

INTERRUPTIONS = int(os.environ.get("INTERRUPTIONS", "150"))
HERE = str(Path(dynamodb_wrapper.aws.__file__).parent)

# ---- signal handlers -----------------------------------------------------------------------------


class Requests:
    """Requests of one customer, each with the only right end."""

    def __init__(self, config: DynamoDBConfig, customer: str) -> None:
        self._orders = BaseDynamoRepository(config, ORDERS)
        self._stored = Order(customer_id=customer, order_id="o", note=customer * 20)
        self._key = (customer, "o")
        self._kinds = [self._get, self._miss, self._query, self._describe, self._conflict]

    def store(self) -> None:
        self._orders.put(self._stored)

    def wrong(self) -> str | None:
        """Send a request of any kind and return what is wrong with its end."""
        kind = random.choice(self._kinds)
        try:
            is_right = kind()
        except Exception as error:
            return f"{kind.__name__} raised {error!r}"
        return None if is_right else f"{kind.__name__} returned something else"

    def _get(self) -> bool:
        return self._orders.get(self._key) == self._stored

    def _miss(self) -> bool:
        return self._orders.get((self._stored.customer_id, "another")) is None

    def _query(self) -> bool:
        return list(self._orders.query(self._stored.customer_id)) == [self._stored]

    def _describe(self) -> bool:
        self._orders.check_table()
        return True

    def _conflict(self) -> bool:
        try:
            self._orders.create(self._stored.model_copy(update={"note": "another"}))
        except ItemAlreadyExistsError:
            return True
        return False


def interrupt(config: DynamoDBConfig, pipe: Any, transport: str, times: int) -> None:
    """Send requests that a signal handler interrupts to send others; report wrong ends."""
    config = config.model_copy(update={"transport": transport})
    outer, inner = Requests(config, "outer"), Requests(config, "inner")
    outer.store()
    inner.store()
    wrong: list[str] = []
    handled = 0

    def handle(*_: object) -> None:
        nonlocal handled
        found = inner.wrong()
        if found is not None:
            wrong.append(f"handler: {found}")
        handled += 1
        if handled % 500 == 0:
            pipe.send("under way")
        if handled < times:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.003))

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while handled < times:
        found = outer.wrong()
        if found is not None:
            wrong.append(found)
    pipe.send(wrong)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_signal_handler_that_sends_requests_disturbs_none(
    local_config: DynamoDBConfig, drivers: Drivers, transport: str
) -> None:
    BaseDynamoRepository(local_config, ORDERS).create_table()
    driver = drivers.fork(interrupt, local_config, transport=transport, times=INTERRUPTIONS)
    while (heard := driver.hear()) == "under way":
        pass
    assert heard == []


# ---- exceptions from outside ---------------------------------------------------------------------


class Interruption(BaseException):
    """Raised in the middle of a request, as by a signal handler."""


def interrupted_at(number: int, send: Callable[[], object]) -> bool:
    """Raise an exception at a line of this library's package `aws`; return whether there was one.

    Args:
        number: The line, counted in the order of execution.
        send: Sends a request.
    """
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interruption
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        send()
    except Interruption:
        return True
    except Exception:
        return left <= 0
    finally:
        sys.settrace(before)
    return left <= 0


def echo(request: Request) -> bool:
    """Answer with the item of the key that is asked for, or with what one key is known for."""
    asked = json.loads(request.body)
    if request.headers["x-amz-target"].endswith("DescribeTable"):
        body = {"Table": {"TableName": asked["TableName"]}}
    elif asked["Key"]["customer_id"]["S"] == "conflict":
        return misbehaving.error("ConditionalCheckFailedException")(request)
    else:
        body = {"Item": asked["Key"]}
    return misbehaving.answer(json.dumps(body).encode())(request)


@pytest.mark.usefixtures("only_own_handlers")
@pytest.mark.parametrize("customer", ["before", "conflict"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_request_that_is_broken_off_at_any_line_changes_no_other(
    plain: MisbehavingServer, transport: str, customer: str
) -> None:
    plain.does(echo)
    repository = transports.orders(plain.url, transport, max_attempts=1)
    client = client_for(repository.config)
    repository.get(("warm", "o"))
    key = {"customer_id": {"S": "own"}, "order_id": {"S": "o"}}
    for number in range(1, 10_000):
        if not interrupted_at(number, lambda: repository.get((customer, "o"))):
            break
        if number % 3 == 0:
            described = client.describe_table(TableName=repository.table_name)
            assert described["Table"]["TableName"] == repository.table_name, number
        if number % 3 == 1:
            own = client.get_item(TableName=repository.table_name, Key=key)
            assert (type(own), own["Item"]) == (dict, key), number
        for name in (f"after {number}", f"and after {number}"):
            assert repository.get_or_raise((name, "o")).customer_id == name, number
    assert number > 100
