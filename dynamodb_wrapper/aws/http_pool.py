"""HTTP/1.1 connections to one endpoint: made with botocore's settings, reused, read.

Failures raise botocore's exceptions. A reply is read in a tenth of the time http.client needs: a
head, then as many bytes as the head announces. Anything else is left to http.client.
"""

from __future__ import annotations

import io
import os
import re
import select
import socket
import ssl
import time
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import (
    ProxyConfiguration,
    create_urllib3_context,
    ensure_boolean,
    get_cert_path,
    mask_proxy_url,
)
from botocore.utils import get_environ_proxies

from dynamodb_wrapper.exceptions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


_FIRST_BYTES = 65_536
_LONGEST_HEAD = 262_144
_LONGEST_LENGTH = 8  # digits; DynamoDB's replies end at 16 MB
_USUAL = re.compile(rb"HTTP/1\.1 [2-9]\d\d [\t -~]*(?:\r\n[A-Za-z0-9_.-]+:[\t -~]*)*")
_USUAL_SO_FAR = re.compile(
    rb"(?:HTTP/1\.1 [2-9]\d\d [\t -~]*\r\n(?:[A-Za-z0-9_.-]+:[\t -~]*\r\n)*)?[^\n]*"
)
_WITHOUT_BODY = frozenset({204, 304})
_FIRST_FINAL = 200
_REPLY_TIMEOUTS = 3  # a whole reply may take as many times as long as a silence
_HOST_TO_PROXY = "BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER"


DEFAULT_PORTS = {"http": 80, "https": 443}


class Answer(NamedTuple):
    """A reply.

    Attributes:
        status: Of HTTP.
        headers: Their names in lower case.
        body: The part of it that arrived.
        is_whole: Whether all of it arrived.
        leaves_open: Whether the connection can be used again.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    leaves_open: bool

    @property
    def is_clean(self) -> bool:
        """Whether it is a complete success with the right checksum."""
        if self.status != 200 or not self.is_whole:
            return False
        checksum = self.headers.get("x-amz-crc32")
        return checksum is None or checksum == str(zlib.crc32(self.body))


def read_answer(connection: socket.socket, limit_seconds: float = 30.0) -> Answer:
    """Return the reply to a request that was sent.

    Args:
        connection: Its own time-out limits a silence.
        limit_seconds: Time for all of the reply. What begins within it may still be waited for.

    Raises:
        OSError: The connection broke or nothing came in time.
        HTTPException: The reply is not HTTP.
        ValueError: As well.
    """
    source = _Source(connection, limit_seconds)
    received = connection.recv(_FIRST_BYTES)
    if not received:
        raise ConnectionResetError("the connection was closed without a reply")
    end = received.find(b"\r\n\r\n")
    while end < 0:
        if not _USUAL_SO_FAR.fullmatch(received):
            return _read_with_http_client(received, source)  # which may find it complete
        more = source.recv(_FIRST_BYTES)
        if not more:
            return _read_with_http_client(received, source)
        received += more
        end = received.find(b"\r\n\r\n")
        if len(received) > _LONGEST_HEAD:
            raise HTTPException("the head of a reply does not end")
    if not _USUAL.fullmatch(received, 0, end):
        return _read_with_http_client(received, source)
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
        return _read_with_http_client(received, source)
    body = _body(received, end + 4, int(length), source)
    whole = len(body) == int(length)
    stays = whole and len(received) <= end + 4 + len(body)
    keeps = "close" not in headers.get("connection", "").lower()
    return Answer(status, headers, body, whole, stays and keeps)


class _Source:
    """A connection that is read until a time: a peer may send a byte now and then for ever.

    Args:
        connection: Its own time-out limits a silence.
        limit_seconds: No receiving begins after this.
    """

    __slots__ = ("_connection", "_until")

    def __init__(self, connection: socket.socket, limit_seconds: float) -> None:
        self._connection = connection
        self._until = time.monotonic() + limit_seconds

    def recv(self, size: int) -> bytes:
        self._check()
        return self._connection.recv(size)

    def recv_into(self, buffer: Any) -> int:
        self._check()
        return self._connection.recv_into(buffer)

    def _check(self) -> None:
        if time.monotonic() > self._until:
            raise socket.timeout("the reply did not end in time")


def _add(headers: dict[str, str], name: str, value: str) -> None:
    name, value = name.lower(), value.strip()
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


def _body(received: bytes, start: int, length: int, source: _Source) -> bytes:
    available = received[start : start + length]
    if len(available) == length:
        return available
    body = bytearray(length)
    body[: len(available)] = available
    filled, view = len(available), memoryview(body)
    while filled < length:
        count = source.recv_into(view[filled:])
        if not count:
            return bytes(view[:filled])
        filled += count
    return cast("bytes", body)  # read like bytes by all; a copy would cost as much as receiving


def _read_with_http_client(received: bytes, connection: _Source) -> Answer:
    source = _PartlyRead(received, connection)
    response = HTTPResponse(source, method="POST")  # type: ignore[arg-type]
    response.begin()
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        _add(headers, name, value)
    body = b"".join(iter(lambda: response.read(_FIRST_BYTES), b""))
    lengths = {length.strip() for length in headers.get("content-length", "").split(",")}
    if len(lengths) > 1:
        raise HTTPException("the reply has several lengths")
    if response.status < _FIRST_FINAL:
        raise HTTPException("an interim reply took the place of the final one")
    whole = not response.length
    # What follows a reply that must not have a body may be its body, still on its way.
    is_bounded = response.status not in _WITHOUT_BODY and not (
        lengths != {""} and "transfer-encoding" in headers
    )
    stays = whole and is_bounded and not response.will_close and source.is_read_to_the_end()
    return Answer(response.status, headers, body, whole, leaves_open=stays)


class _PartlyRead(io.RawIOBase):
    """A socket from which some bytes have been read already, for http.client.

    Attributes:
        ends: Whether reading it ends here.
    """

    def __init__(self, received: bytes, connection: _Source) -> None:
        self._received = received
        self._connection = connection
        self.ends = False
        self._reader = _Reader(self)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return self._reader

    def is_read_to_the_end(self) -> bool:
        """Return whether http.client has read one reply and no data follows it."""
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


class _TunnelReply(HTTPResponse):
    """A proxy's reply to CONNECT, which is limited in time as a whole."""

    def __init__(self, connection: socket.socket, *arguments: Any, **named: Any) -> None:
        limited = _Source(connection, connection.gettimeout() or 0.0)
        super().__init__(_PartlyRead(b"", limited), *arguments, **named)  # type: ignore[arg-type]


class _Reader(io.BufferedReader):
    """A buffered reader that keeps what was left in its buffer when it was closed."""

    left = b""

    def __init__(self, source: _PartlyRead) -> None:
        super().__init__(source)
        self._source = source

    def close(self) -> None:
        if not self.closed:
            self._source.ends = True
            self.left = self.peek()
        super().close()


@dataclass(frozen=True)
class Proxy:
    """A proxy between this machine and an endpoint.

    Attributes:
        url: As given by the environment.
        host: Its name.
        port: Its port.
        headers: Its credentials, if it needs any.
    """

    url: str = field(repr=False)  # it may hold a password
    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Endpoint(NamedTuple):
    """An endpoint, and how to connect to it.

    Attributes:
        url: The endpoint, for messages.
        host: Its name.
        port: Its port.
        tls: Trusted authorities and the rest of TLS; None without TLS.
        proxy: Connected to instead, if there is one.
        connect_timeout: Seconds.
        read_timeout: Seconds of silence.
        reply_timeout: Seconds for all of a reply.
        keeps_alive: Whether TCP keep-alive is on.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: Proxy | None
    connect_timeout: float
    read_timeout: float
    reply_timeout: float
    keeps_alive: bool = False

    @property
    def request_lines(self) -> str | None:
        """First lines of a request that a proxy forwards; None where the endpoint reads it."""
        if self.proxy is None or self.tls is not None:
            return None
        lines = [f"POST {self.url} HTTP/1.1", *map(": ".join, self.proxy.headers.items()), ""]
        return "\r\n".join(lines)

    def connect(self) -> socket.socket:
        """Return a connection to the endpoint.

        Raises:
            ConnectionError: There is none; botocore's class says why.
            HTTPClientError: As well.
        """
        connection = self._first_hop()
        if self.keeps_alive:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.tls is not None:
            connection = self._secured(connection, self.tls)
        connection.settimeout(self.read_timeout)
        return connection

    def _first_hop(self) -> socket.socket:
        hop = self.proxy or self
        http = HTTPConnection(hop.host, hop.port, timeout=self.connect_timeout)
        if self.proxy is not None and self.tls is not None:
            http.response_class = _TunnelReply
            http.set_tunnel(self.host, self.port, dict(self.proxy.headers))
        try:
            http.connect()
        except (OSError, HTTPException, LookupError, UnicodeError) as error:
            # The last two: a codec for names that cannot be loaded, a name that is none.
            http.close()
            raise self._not_connected(error) from error
        return http.sock

    def _not_connected(self, error: Exception) -> Exception:
        if isinstance(error, socket.timeout):
            return ConnectTimeoutError(endpoint_url=self.url, error=error)
        if self.proxy is None:
            return EndpointConnectionError(endpoint_url=self.url, error=error)
        return ProxyConnectionError(proxy_url=mask_proxy_url(self.proxy.url), error=error)

    def _secured(self, connection: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        try:
            return tls.wrap_socket(connection, server_hostname=self.host)
        except OSError as error:
            connection.close()
            raise self.as_botocore_error(error) from error

    def as_botocore_error(self, error: Exception) -> Exception:
        """Return botocore's exception for one that a connection raised."""
        if isinstance(error, socket.timeout):
            return ReadTimeoutError(endpoint_url=self.url, error=error)
        if isinstance(error, ssl.SSLError):
            return SSLError(endpoint_url=self.url, error=error)
        if isinstance(error, ValueError):
            return HTTPClientError(error=error)
        return ConnectionClosedError(endpoint_url=self.url, error=error)


class Pool:
    """Idle connections to one endpoint; threads share it without a lock.

    Args:
        endpoint: Makes the connections.
        size: Idle connections that are kept; there may be any number of busy ones.
    """

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self.endpoint = endpoint
        self._size = size
        self._idle: deque[Any] = deque()

    def exchange(self, request: bytes, *, is_new: bool = False) -> Answer:
        """Send a request and return the reply.

        Args:
            request: Head and body.
            is_new: Whether to make a new connection: idle ones may be what has failed.

        Raises:
            ConnectionError: There was none; botocore's class says why.
            HTTPClientError: As well.
        """
        connection = self.endpoint.connect() if is_new else self._take()
        try:
            with suppress(BrokenPipeError):  # the reply may say why
                connection.sendall(request)
            answer = read_answer(connection, self.endpoint.reply_timeout)
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            raise self.endpoint.as_botocore_error(error) from error
        except BaseException:
            connection.close()
            raise
        if (
            answer.leaves_open
            and len(self._idle) < self._size
            and not _has_decrypted_data(connection)
        ):
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections; new ones can be made."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _take(self) -> Any:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if not _has_unread_data(connection):
                    return connection
                connection.close()  # the server has, or has sent unrequested data
        return self.endpoint.connect()


def _has_decrypted_data(connection: Any) -> bool:
    """Return whether TLS has data that was received, and which polling the socket does not show."""
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _has_unread_data(connection: Any) -> bool:
    """Return whether there is something to read, or the connection has ended."""
    if _has_decrypted_data(connection):
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()  # takes descriptors of any number, which select does not
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class ConnectionSettings(NamedTuple):
    """Settings of the connections of one client.

    Attributes:
        connect_timeout: Seconds.
        read_timeout: Seconds of silence.
        reply_timeout: Seconds for all of a reply.
        pool_size: Idle connections that are kept.
        keeps_alive: Whether TCP keep-alive is on.
        proxies: Scheme to address.
        authorities: Certificates that are trusted, a file or a directory.
    """

    connect_timeout: float
    read_timeout: float
    reply_timeout: float
    pool_size: int
    keeps_alive: bool
    proxies: Mapping[str, str]
    authorities: str

    def endpoint_for(self, url: str) -> Endpoint:
        """Return the endpoint of a request.

        Raises:
            OSError: The authorities cannot be read.
        """
        parts = urlsplit(url)
        return Endpoint(
            url=url,
            host=str(parts.hostname),
            port=parts.port or DEFAULT_PORTS[parts.scheme],
            tls=_tls(self.authorities) if parts.scheme == "https" else None,
            proxy=_proxy_for(url, self.proxies),
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            reply_timeout=self.reply_timeout,
            keeps_alive=self.keeps_alive,
        )


def connection_settings_of(
    client: Any, session: Any, operation_timeout: float
) -> ConnectionSettings:
    """Return the connection settings of a client.

    Args:
        client: The client.
        session: The botocore session it was made with.
        operation_timeout: Seconds after which no further attempt of an operation starts.

    Raises:
        ConfigurationError: One of them is not supported; it is named.
    """
    chosen, url = client.meta.config, client.meta.endpoint_url
    proxies = get_environ_proxies(url)
    _check_proxy(url, proxies)
    return ConnectionSettings(
        connect_timeout=chosen.connect_timeout,
        read_timeout=chosen.read_timeout,
        reply_timeout=min(chosen.read_timeout * _REPLY_TIMEOUTS, operation_timeout),
        pool_size=chosen.max_pool_connections,
        keeps_alive=bool(getattr(chosen, "tcp_keepalive", None)),
        proxies=proxies,
        authorities=_authorities(session),
    )


def _check_proxy(url: str, proxies: Mapping[str, str]) -> None:
    proxy: str | None = ProxyConfiguration(proxies).proxy_url_for(url)
    if proxy is None:
        return
    if proxy.startswith("https:"):
        raise ConfigurationError(
            "HTTPS_PROXY or HTTP_PROXY names a proxy that is itself reached by https."
        )
    if ensure_boolean(os.environ.get(_HOST_TO_PROXY, "")):
        raise ConfigurationError(f"{_HOST_TO_PROXY} is set.")


def _proxy_for(url: str, proxies: Mapping[str, str]) -> Proxy | None:
    configuration = ProxyConfiguration(proxies)
    proxy: str | None = configuration.proxy_url_for(url)
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    headers = configuration.proxy_headers_for(proxy)
    return Proxy(proxy, str(parts.hostname), parts.port or DEFAULT_PORTS["http"], headers)


def _authorities(session: Any) -> str:
    bundle = session.get_config_variable("ca_bundle")
    if bundle is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    path = str(get_cert_path(True) if bundle is None else bundle)
    if not os.path.exists(path):
        raise ConfigurationError(
            f"AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle names {path!r}, which is not there."
        )
    return path


@lru_cache(maxsize=8)
def _tls(authorities: str) -> ssl.SSLContext:
    context: ssl.SSLContext = create_urllib3_context()
    if os.path.isdir(authorities):
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    context.check_hostname = True
    return context
