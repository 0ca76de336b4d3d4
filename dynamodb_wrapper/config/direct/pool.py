"""Connections that are used again: made as botocore makes them, failing with its exceptions."""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import mask_proxy_url

from dynamodb_wrapper.config.direct.replies import Answer, read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Proxy:
    """What stands between this machine and an endpoint.

    Attributes:
        url: As the environment has it.
        host: Its name.
        port: Its port.
        headers: Its credentials, if it wants any.
    """

    url: str = field(repr=False)  # it may hold a password
    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Road:
    """How an endpoint is reached.

    Attributes:
        url: The endpoint, for messages.
        host: Its name.
        port: Its port.
        tls: Trusted authorities and the rest of TLS; None without TLS.
        proxy: Connected to instead, if there is one.
        connect_timeout: Seconds.
        read_timeout: Seconds of silence.
        keeps_alive: Whether TCP looks after idle connections.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: Proxy | None
    connect_timeout: float
    read_timeout: float
    keeps_alive: bool = False

    @property
    def begin(self) -> str | None:
        """First lines of a request a proxy forwards; None where the endpoint itself reads them."""
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
        opening = HTTPConnection(hop.host, hop.port, timeout=self.connect_timeout)
        if self.proxy is not None and self.tls is not None:
            opening.set_tunnel(self.host, self.port, dict(self.proxy.headers))
        try:
            opening.connect()
        except (OSError, HTTPException) as error:
            opening.close()
            raise self._not_connected(error) from error
        return opening.sock

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
            raise self.failure(error) from error

    def failure(self, error: Exception) -> Exception:
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
        road: How they are made.
        size: Idle connections that are kept; there may be any number of busy ones.
    """

    def __init__(self, road: Road, size: int) -> None:
        self.road = road
        self._size = size
        self._idle: deque[Any] = deque()

    def exchange(self, request: bytes) -> Answer:
        """Send a request and return the reply.

        Raises:
            ConnectionError: There was none; botocore's class says why.
            HTTPClientError: As well.
        """
        connection = self._take()
        try:
            with suppress(BrokenPipeError):  # the reply may say why
                connection.sendall(request)
            answer = read_answer(connection)
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            raise self.road.failure(error) from error
        except BaseException:
            connection.close()
            raise
        if answer.leaves_open and len(self._idle) < self._size:
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
                if not _has_something(connection):
                    return connection
                connection.close()  # the other side has, or has said what nobody asked for
        return self.road.connect()


def _has_something(connection: Any) -> bool:
    """Tell whether there is something to read, be it the end."""
    if not hasattr(select, "poll"):
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()  # takes descriptors of any number, which select does not
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
