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

INTERRUPTIONS = int(os.environ.get("INTERRUPTIONS", "300"))
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
    assert driver.hear() == []
