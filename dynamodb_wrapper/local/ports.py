"""Ports of this machine that an engine may listen on."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import LocalEngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


@contextmanager
def reserved_port(port: int) -> Iterator[int]:
    """Hold a port, or any free one for 0, until the engine that is started on it has answered.

    Linux never hands a bound port to somebody who asks for any port, yet lets a program that asks
    for this one listen on it, because both sides set SO_REUSEADDR and we do not listen. So two
    processes looking for a free port at the same time never get the same one. Other systems
    refuse the second bind; there the port is let go at once.

    Raises:
        LocalEngineError: Somebody listens on the port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise LocalEngineError(f"Port {port} cannot be used: {error}.") from error
            raise LocalEngineError(
                f"Port {port} is taken by another program; port 0 picks a free one."
            ) from error
        number: int = holder.getsockname()[1]
        if not sys.platform.startswith("linux"):
            holder.close()
        yield number


def is_taken(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((HOST, port)) == 0
