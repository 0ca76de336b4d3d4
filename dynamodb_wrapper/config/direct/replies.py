"""Replies of HTTP/1.1, read from a socket.

What DynamoDB sends is read here, in a tenth of the time http.client needs for it: a head, then as
many bytes as the head says. Anything else is left to http.client.
"""

from __future__ import annotations

import io
import re
import zlib
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import socket

_FIRST_BYTES = 65_536
_LONGEST_HEAD = 262_144
_LONGEST_LENGTH = 8  # digits; DynamoDB's replies end at 16 MB
_USUAL = re.compile(rb"HTTP/1\.1 [2-9]\d\d [\t -~]*(?:\r\n[A-Za-z0-9_.-]+:[\t -~]*)*")
_USUAL_SO_FAR = re.compile(
    rb"(?:HTTP/1\.1 [2-9]\d\d [\t -~]*\r\n(?:[A-Za-z0-9_.-]+:[\t -~]*\r\n)*)?[^\n]*"
)
_WITHOUT_BODY = frozenset({204, 304})


class Answer(NamedTuple):
    """A reply.

    Attributes:
        status: Of HTTP.
        headers: Their names in lower case.
        body: As much of it as arrived.
        is_whole: Whether all of it did.
        leaves_open: Whether the connection can be used again.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    leaves_open: bool

    @property
    def is_clean(self) -> bool:
        """Whether it is what was asked for, undamaged."""
        if self.status != 200 or not self.is_whole:
            return False
        checksum = self.headers.get("x-amz-crc32")
        return checksum is None or checksum == str(zlib.crc32(self.body))


def read_answer(connection: socket.socket) -> Answer:
    """Return the reply to a request that was sent.

    Raises:
        OSError: The connection broke or nothing came in time.
        HTTPException: What came is no HTTP.
        ValueError: As well.
    """
    received = connection.recv(_FIRST_BYTES)
    if not received:
        raise ConnectionResetError("the connection was closed without a reply")
    end = received.find(b"\r\n\r\n")
    while end < 0:
        if not _USUAL_SO_FAR.fullmatch(received):
            return _by_http_client(received, connection)  # for which it may be whole
        more = connection.recv(_FIRST_BYTES)
        if not more:
            return _by_http_client(received, connection)
        received += more
        end = received.find(b"\r\n\r\n")
        if len(received) > _LONGEST_HEAD:
            raise HTTPException("the head of a reply does not end")
    if not _USUAL.fullmatch(received, 0, end):
        return _by_http_client(received, connection)
    first, *lines = received[:end].decode("ascii").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        _add(headers, name, value)
    status, length = int(first[9:12]), headers.get("content-length", "")
    if (
        not length.isdecimal()
        or len(length) > _LONGEST_LENGTH
        or "transfer-encoding" in headers
        or status in _WITHOUT_BODY
    ):
        return _by_http_client(received, connection)
    body = _body(received, end + 4, int(length), connection)
    whole = len(body) == int(length)
    stays = whole and len(received) <= end + 4 + len(body)
    keeps = "close" not in headers.get("connection", "").lower()
    return Answer(status, headers, body, whole, stays and keeps)


def _add(headers: dict[str, str], name: str, value: str) -> None:
    name, value = name.lower(), value.strip()
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


def _body(received: bytes, begin: int, length: int, connection: socket.socket) -> bytes:
    there = received[begin : begin + length]
    if len(there) == length:
        return there
    body = bytearray(length)
    body[: len(there)] = there
    filled, view = len(there), memoryview(body)
    while filled < length:
        count = connection.recv_into(view[filled:])
        if not count:
            return bytes(view[:filled])
        filled += count
    return cast("bytes", body)  # read like bytes by all; a copy would cost as much as receiving


def _by_http_client(received: bytes, connection: socket.socket) -> Answer:
    begun = _Begun(received, connection)
    response = HTTPResponse(begun, method="POST")  # type: ignore[arg-type]
    response.begin()
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        _add(headers, name, value)
    body = b"".join(iter(lambda: response.read(_FIRST_BYTES), b""))
    whole = not response.length
    stays = whole and not response.will_close and begun.is_read_to_the_end()
    return Answer(response.status, headers, body, whole, leaves_open=stays)


class _Begun(io.RawIOBase):
    """A socket of which some bytes have been read; what http.client takes for one.

    Attributes:
        ends: No more is read from it.
    """

    def __init__(self, received: bytes, connection: socket.socket) -> None:
        self._received = received
        self._connection = connection
        self.ends = False
        self._reader = _Reader(self)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return self._reader

    def is_read_to_the_end(self) -> bool:
        """Whether http.client has read one reply, and nothing has arrived behind it."""
        return self._reader.closed and not self._reader.left and not self._received

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.ends:
            return 0
        if not self._received:
            return self._connection.recv_into(buffer)
        count = min(len(buffer), len(self._received))
        buffer[:count], self._received = self._received[:count], self._received[count:]
        return count


class _Reader(io.BufferedReader):
    """Knows whether something was left in its buffer when it was closed."""

    left = b""

    def __init__(self, begun: _Begun) -> None:
        super().__init__(begun)
        self._begun = begun

    def close(self) -> None:
        if not self.closed:
            self._begun.ends = True
            self.left = self.peek()
        super().close()
