"""Connections that are used again, and when they are closed."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from dynamodb_wrapper.aws.http_pool import Pool

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class OneRoad:
    """Leads to one end of a pair of sockets."""

    reply_timeout = 10.0

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.far.settimeout(10)

    def connect(self) -> socket.socket:
        return self.near

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def road() -> Any:
    found = OneRoad()
    yield found
    found.close()


def exchanged(pool: Pool) -> threading.Thread:
    thread = threading.Thread(target=pool.exchange, args=(b"request",))
    thread.start()
    return thread


def test_a_connection_is_kept_after_its_use(road: Any) -> None:
    thread = exchanged(Pool(road, 1))
    assert road.far.recv(100) == b"request"
    road.far.sendall(REPLY)
    thread.join(10)
    assert road.near.fileno() >= 0
