"""An HTTP endpoint on 127.0.0.1 that breaks the protocol on request."""

from __future__ import annotations

import calendar
import gzip
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

ITEM = {"customer_id": {"S": "c"}, "order_id": {"S": "o"}, "note": {"S": "x" * 100}}
FOUND = json.dumps({"Item": ITEM}).encode()


@dataclass
class Request:
    """A request that arrived, and its connection."""

    connection: socket.socket
    number: int
    target: str
    headers: dict[str, str]
    body: bytes
    released: threading.Event

    def send(self, *parts: bytes) -> None:
        self.connection.sendall(b"".join(parts))

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


Behaviour = Callable[[Request], bool]
"""Answers a request and returns whether the connection stays open."""


class MisbehavingServer:
    """Answers each request with the next behaviour, and with the last one from then on.

    Args:
        tls: Certificates, for https.
        is_proxy: Answers CONNECT as a proxy would, then the request itself; refuses without `tls`.
        host: Address of this machine.
        port: Any that is free, unless given.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        is_proxy: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._host, self.port = host, port
        self._tls = tls
        self._is_proxy = is_proxy
        self._script: list[Behaviour] = [found]
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._open: set[socket.socket] = set()
        self.requests: list[Request] = []
        self.connections = 0
        self.accepted = 0
        self.tunnels: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self._host, self.port), backlog=50)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            connection.close()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._host}:{self.port}"

    def does(self, *script: Behaviour) -> None:
        """Set the behaviours from the next request on and clear the recorded requests."""
        with self._lock:
            self._script = list(script)
            self.requests.clear()

    def _next(self) -> Behaviour:
        with self._lock:
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._open.add(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._talk(connection)
        except (OSError, ValueError):
            pass  # the client is gone; it may be
        finally:
            self._open.discard(connection)

    def _talk(self, plain: socket.socket) -> None:
        if self._is_proxy:
            tunnel = _read_request(plain.makefile("rb"))
            if tunnel is None:
                return
            self.tunnels.append(tunnel[1])
            if not self._tls:
                plain.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
                return
            plain.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
        with connection:
            with self._lock:
                self.connections += 1
                number = self.connections
            stream = connection.makefile("rb")
            while True:
                read = _read_request(stream)
                if read is None:
                    return
                request = Request(connection, number, *read, self._released)
                behaviour = self._next()
                self.requests.append(request)
                if not behaviour(request):
                    return


def _read_request(stream: Any) -> tuple[str, dict[str, str], bytes] | None:
    first = stream.readline()
    if not first:
        return None
    headers = {}
    for line in iter(stream.readline, b"\r\n"):
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return first.decode().split(" ")[1], headers, stream.read(int(headers.get("content-length", 0)))


# ---- behaviours ----------------------------------------------------------------------------------


def head(status: int, length: int | None, **headers: Any) -> bytes:
    lines = [f"HTTP/1.1 {status} Because", "x-amzn-RequestId: REQUESTIDOFATEST"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: bytes, status: int = 200, *, stays: bool = True, **headers: Any) -> Behaviour:
    """Answer with a body, with its checksum unless another is given."""
    headers = {"x_amz_crc32": zlib.crc32(body), **headers}
    headers = {name: value for name, value in headers.items() if value is not None}

    def respond(request: Request) -> bool:
        request.send(head(status, len(body), **headers), body)
        return stays

    return respond


def error(code: str, status: int = 400, **more: Any) -> Behaviour:
    """Answer with an error of the service."""
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return answer(
        json.dumps({"__type": kind, "message": f"{code}, as scripted", **more}).encode(), status
    )


found = answer(FOUND)
wrong_checksum = answer(FOUND, x_amz_crc32="1")
strange_checksum = answer(FOUND, x_amz_crc32="zz")
endless_checksum = answer(FOUND, x_amz_crc32="9" * 5000)
refused_with_strange_checksum = answer(b"{}", 400, x_amz_crc32="zz")
no_checksum = answer(FOUND, x_amz_crc32=None)
announces_close = answer(FOUND, stays=False, connection="close")
closes_silently = answer(FOUND, stays=False)
garbage = answer(b"\x00\xff no json \x80")
empty = answer(b"")
a_list = answer(b"[1]")
html_error = answer(b"<html>Bad gateway</html>", 502)
html_refusal = answer(b"<html>Forbidden</html>", 403)
redirect = answer(b"", 307, location="http://127.0.0.1:9/")
no_content = answer(b"", 204, x_amz_crc32=None)
zipped = answer(gzip.compress(FOUND), content_encoding="gzip")


def reset(request: Request) -> bool:
    request.reset()
    return False


def end(request: Request) -> bool:
    return False


def silence(request: Request) -> bool:
    request.released.wait(20)
    return False


def half_a_head(request: Request) -> bool:
    request.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    return False


def half_a_body(request: Request) -> bool:
    request.send(head(200, len(FOUND), x_amz_crc32=zlib.crc32(FOUND)), FOUND[:50])
    return False


def half_a_body_without_checksum(request: Request) -> bool:
    request.send(head(200, len(FOUND)), FOUND[:50])
    return False


def half_a_body_then_reset(request: Request) -> bool:
    request.send(head(200, len(FOUND), x_amz_crc32=zlib.crc32(FOUND)), FOUND[:50])
    request.released.wait(0.2)
    request.reset()
    return False


def half_a_body_then_silence(request: Request) -> bool:
    request.send(head(200, len(FOUND)), FOUND[:50])
    request.released.wait(20)
    return False


def drips(request: Request) -> bool:
    whole = head(200, len(FOUND), x_amz_crc32=zlib.crc32(FOUND)) + FOUND
    for begin in range(0, len(whole), 40):
        request.send(whole[begin : begin + 40])
        request.released.wait(0.01)
    return True


def chunked(request: Request) -> bool:
    request.send(head(200, None, transfer_encoding="chunked", x_amz_crc32=zlib.crc32(FOUND)))
    for begin in range(0, len(FOUND), 60):
        part = FOUND[begin : begin + 60]
        request.send(f"{len(part):x}\r\n".encode(), part, b"\r\n")
    request.send(b"0\r\n\r\n")
    return True


def until_closed(request: Request) -> bool:
    request.send(head(200, None, x_amz_crc32=zlib.crc32(FOUND)), FOUND)
    return False


def bare_line_feeds(request: Request) -> bool:
    request.send(head(200, len(FOUND)).replace(b"\r\n", b"\n"), FOUND)
    return True


def of_http_1_0(request: Request) -> bool:
    request.send(head(200, len(FOUND)).replace(b"HTTP/1.1", b"HTTP/1.0"), FOUND)
    return False


def continues_first(request: Request) -> bool:
    request.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return found(request)


def says_more_than_it_announced(request: Request) -> bool:
    request.send(head(200, len(FOUND), x_amz_crc32=zlib.crc32(FOUND)), FOUND, b"and more")
    return True


def no_http(request: Request) -> bool:
    request.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    return False


def seconds_of(moment: time.struct_time) -> float:
    """Return a UTC time in seconds since the epoch."""
    return calendar.timegm(moment)


# ---- certificates --------------------------------------------------------------------------------


@dataclass
class Authority:
    """A private authority and a server certificate of it for 127.0.0.1."""

    directory: Path
    bundle: Path = field(init=False)

    def __post_init__(self) -> None:
        self.bundle = self.directory / "ca.pem"
        self._openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem"
        )
        self._openssl(
            "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr"
        )
        (self.directory / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._openssl(
            "x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
            "-extfile names -out server.pem"
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem", self.directory / "server.key")
        return context

    def _openssl(self, arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments.split()], cwd=self.directory, check=True, capture_output=True
        )


EVERY: dict[str, Behaviour] = {
    "found": found,
    "wrong checksum": wrong_checksum,
    "strange checksum": strange_checksum,
    "endless checksum": endless_checksum,
    "refused with strange checksum": refused_with_strange_checksum,
    "no checksum": no_checksum,
    "announces close": announces_close,
    "closes silently": closes_silently,
    "garbage": garbage,
    "empty": empty,
    "a list": a_list,
    "html error": html_error,
    "html refusal": html_refusal,
    "redirect": redirect,
    "no content": no_content,
    "gzip": zipped,
    "500": error("InternalServerError", 500),
    "503": error("ServiceUnavailable", 503),
    "429": answer(b"{}", 429),
    "throttled": error("ProvisionedThroughputExceededException"),
    "condition failed": error("ConditionalCheckFailedException", Item=ITEM),
    "cancelled": error(
        "TransactionCanceledException",
        CancellationReasons=[{"Code": "ConditionalCheckFailed", "Item": ITEM}, {"Code": "None"}],
    ),
    "expired token": error("ExpiredTokenException"),
    "skewed": error("InvalidSignatureException"),
    "unknown error": error("NobodyKnowsException"),
    "reset": reset,
    "end": end,
    "silence": silence,
    "half a head": half_a_head,
    "half a body": half_a_body,
    "half a body without checksum": half_a_body_without_checksum,
    "half a body then reset": half_a_body_then_reset,
    "half a body then silence": half_a_body_then_silence,
    "drips": drips,
    "chunked": chunked,
    "until closed": until_closed,
    "bare line feeds": bare_line_feeds,
    "of HTTP 1.0": of_http_1_0,
    "continues first": continues_first,
    "more than announced": says_more_than_it_announced,
    "no HTTP": no_http,
}
