"""A proxy on 127.0.0.1 in front of an engine that spoils first attempts of writes."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import zlib
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

TIME_OUT_SECONDS = 2.0
"""For clients that are to time out; others wait much longer, however busy the machine is."""
KINDS = (
    "throttle",
    "500 before",
    "500 after",
    "reset before",
    "reset after",
    "time-out before",
    "time-out after",
    "damaged reply",
)
"""Failures of a first attempt: ``before`` the engine sees it, or ``after`` it has answered."""
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems")
_ANSWERED_AFTER = ("500 after", "reset after", "time-out after", "damaged reply")


class FaultProxy:
    """Forwards requests; spoils a share of the first attempts of writes.

    Args:
        url: The engine.

    Attributes:
        kind: One of `KINDS`; None spoils nothing.
        share: Share of the first attempts that are spoiled.
        unseen: Writes the engine accepted although their client was told otherwise, by operation.
        spoiled: Number of attempts that were spoiled.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.engine = (str(parts.hostname), int(parts.port or 80))
        self.kind: str | None = None
        self.share = 1.0
        self.unseen: Counter[str] = Counter()
        self.spoiled = 0
        self._random = random.Random(7)
        self._lock = threading.Lock()
        self.released = threading.Event()

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def spoil(self, kind: str | None, share: float = 1.0) -> None:
        """Spoil first attempts from now on, and forget what was counted."""
        with self._lock:
            self.kind, self.share = kind, share
            self.unseen.clear()
            self.spoiled = 0

    def fault_of(self, operation: str, headers: Any) -> str | None:
        """Return the failure of an attempt, None for one that is let through."""
        is_first = "attempt=1" in headers.get("amz-sdk-request", "attempt=1")
        if self.kind is None or operation not in WRITES or not is_first:
            return None
        with self._lock:
            if self._random.random() >= self.share:
                return None
            self.spoiled += 1
            return self.kind

    def note_unseen(self, operation: str) -> None:
        with self._lock:
            self.unseen[operation] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Ignore a client that has hung up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    proxy: FaultProxy

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        fault = self.proxy.fault_of(operation, self.headers)
        if fault is None:
            self._answer(*self._forwarded(body))
        elif fault in _ANSWERED_AFTER:
            status, reply = self._forwarded(body)
            if status < 300:
                self.proxy.note_unseen(operation)
            self._spoil(fault, reply, status)
        else:
            self._spoil(fault, b"")

    def _forwarded(self, body: bytes) -> tuple[int, bytes]:
        connection = HTTPConnection(*self.proxy.engine)
        names = [name for name in self.headers if name.lower() not in ("host", "connection")]
        connection.request("POST", "/", body, {name: self.headers[name] for name in names})
        response = connection.getresponse()
        reply = response.read()
        connection.close()
        return response.status, reply

    def _spoil(self, fault: str, reply: bytes, status: int = 0) -> None:
        if fault == "throttle":
            self._answer(400, _error("ThrottlingException"))
        elif fault.startswith("500"):
            self._answer(500, _error("InternalServerError"))
        elif fault == "damaged reply":
            self._answer(status, reply, checksum=zlib.crc32(reply) ^ 1)
        else:
            if fault.startswith("time-out"):
                self.proxy.released.wait(TIME_OUT_SECONDS + 0.5)
            linger = struct.pack("ii", 1, 0)
            with suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True

    def _answer(self, status: int, reply: bytes, *, checksum: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(reply)))
        self.send_header("x-amzn-RequestId", "THROUGHAPROXY")
        self.send_header("x-amz-crc32", str(zlib.crc32(reply) if checksum is None else checksum))
        self.end_headers()
        self.wfile.write(reply)


def _error(code: str) -> bytes:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return json.dumps({"__type": kind, "message": f"{code}, by the proxy"}).encode()
