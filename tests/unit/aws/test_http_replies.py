"""HTTP replies are read as http.client reads them."""

from __future__ import annotations

import socket
import threading
from http.client import HTTPException, HTTPResponse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_wrapper.aws.http_pool import Answer, read_answer
from tests.support.misbehaving import FOUND, head

NAMES = st.sampled_from(["Content-Length", "Connection", "X-Amz-Crc32", "Transfer-Encoding", "Via"])
VALUES = st.sampled_from(
    ["0", "7", "139", "close", "keep-alive", "chunked", "1, 2", "", " x ", "²"]
)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Replies that are nearly right."""
    whole = bytearray(head(draw(st.sampled_from([200, 204, 304, 400, 500])), len(FOUND)) + FOUND)
    if draw(st.booleans()):
        line = f"{draw(NAMES)}: {draw(VALUES)}\r\n".encode("latin-1")
        place = whole.index(b"\r\n") + 2
        whole[place:place] = line
    if draw(st.booleans()):
        whole = whole.replace(b"\r\n", b"\n", draw(st.integers(1, 9)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(whole) - 1))
        whole[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(whole[: draw(st.integers(0, len(whole) + 50))])


def received(sent: bytes, read: Any) -> Any:
    """Return what a reader makes of bytes that arrive in two parts, then end."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            theirs.sendall(sent[: len(sent) // 2])
            theirs.sendall(sent[len(sent) // 2 :])

    with ours:
        ours.settimeout(5)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            return read(ours)
        except (OSError, HTTPException, ValueError) as error:
            return type(error).__name__
        finally:
            sender.join()


def by_http_client(connection: socket.socket) -> Any:
    response = HTTPResponse(connection, method="POST")
    response.begin()
    headers: dict[str, str] = {}
    for given_name, given_value in response.getheaders():
        name, value = given_name.lower(), given_value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body = b"".join(iter(lambda: response.read(65536), b""))
    return response.status, headers, body


def by_us(connection: socket.socket) -> Any:
    answer = read_answer(connection)
    return answer.status, answer.headers, answer.body


@settings(max_examples=400, deadline=None)
@given(replies())
def test_replies_that_are_nearly_right_are_read_alike(sent: bytes) -> None:
    ours, theirs = received(sent, by_us), received(sent, by_http_client)
    if isinstance(theirs, str):
        assert isinstance(ours, (str, tuple))
        return
    status, headers, _ = theirs
    lengths = {length.strip() for length in headers.get("content-length", "").split(",")}
    if len(lengths) > 1 or status < 200:  # http.client takes the first length, and any status
        assert ours == "HTTPException"
        return
    assert ours == theirs


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_fail(sent: bytes) -> None:
    assert isinstance(received(sent, read_answer), (str, Answer))


LINES = [b"HTTP/1.1 200 OK", b"Content-Length: 2", b"Via: 1", b""]
UNUSUAL = {
    "bare line feeds": b"\n".join([*LINES, b"{}"]),
    "a bare line feed at the end": b"\r\n".join(LINES) + b"\n{}",
    "a bare line feed in the middle": b"\r\n".join([*LINES, b"{}"]).replace(b"\r\n", b"\n", 1),
    "bare line feeds, then others": b"\n".join(LINES[:3]) + b"\r\n\r\n{}",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("parts", [1, 2, 40])
def test_what_is_unusual_is_read_without_waiting_for_more(name: str, parts: int) -> None:
    ours, theirs = socket.socketpair()
    sent = UNUSUAL[name]
    with ours, theirs:
        ours.settimeout(5)
        step = -(-len(sent) // parts)
        for begin in range(0, len(sent), step):
            theirs.sendall(sent[begin : begin + step])
        if name == "no HTTP":
            with pytest.raises(HTTPException):
                read_answer(ours)
        else:
            assert read_answer(ours).body == b"{}"


BODY = b"2\r\n{}\r\n0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY
LEFT_OPEN = {
    "chunked": (CHUNKED, True),
    "chunked with a trailer": (CHUNKED[:-2] + b"X: y\r\n\r\n", True),
    "more than one reply": (CHUNKED + b"HTTP/1.1", False),
    "many bytes more": (CHUNKED + bytes(20_000), False),
    "to be closed": (CHUNKED.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), False),
    "of HTTP 1.0": (CHUNKED.replace(b"1.1", b"1.0"), False),
    "no content, whose body may follow": (b"HTTP/1.1 204 No\r\n\r\n", False),
    "bare line feeds": (UNUSUAL["bare line feeds"], True),
    "bare line feeds and more": (UNUSUAL["bare line feeds"] + b"x", False),
}


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_a_connection_stays_open_after_a_reply_that_was_read_whole(name: str) -> None:
    sent, stays = LEFT_OPEN[name]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.sendall(sent)
        if name == "of HTTP 1.0":
            theirs.shutdown(socket.SHUT_WR)
        assert read_answer(ours).leaves_open == stays
