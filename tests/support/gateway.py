"""A gateway in front of an engine that is quick, slow or away, and tells of requests."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Callable
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

QUICK, SLOW, AWAY, MUTE = "quick", "slow", "away", "mute"
_SLOW_SECONDS = 0.15
_TARGET = re.compile(rb"X-Amz-Target: DynamoDB_20120810\.(\w+)", re.IGNORECASE)


class Gateway:
    """Forwards the connections of one process to an engine.

    Args:
        url: The engine.

    Attributes:
        state: ``quick``, ``slow``: each request waits a moment, ``away``: connections are cut
            when something is sent, or ``mute``: replies are lost.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._engine = (str(parts.hostname), int(parts.port or 80))
        self._awaited: tuple[str, Callable[[], object]] | None = None
        self.state = QUICK

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def on_next(self, operation: str, call: Callable[[], object]) -> None:
        """Call a function when the next request of an operation has arrived; "" is any."""
        self._awaited = (operation, call)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._engine) as engine:
            threading.Thread(target=self._reply, args=(engine, client), daemon=True).start()
            while data := client.recv(1 << 20):
                found = _TARGET.search(data)
                if found is not None:
                    self._arrived(found[1].decode())
                if self.state == AWAY:
                    return
                if self.state == SLOW:
                    time.sleep(_SLOW_SECONDS)
                engine.sendall(data)

    def _arrived(self, operation: str) -> None:
        awaited = self._awaited
        if awaited is not None and awaited[0] in ("", operation):
            self._awaited = None
            awaited[1]()

    def _reply(self, engine: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := engine.recv(1 << 20):
                if self.state != MUTE:
                    client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
