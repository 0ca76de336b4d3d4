"""One engine as a child process: choose a port, start it, wait for an answer, end it."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import subprocess
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dynamodb_wrapper.aws.retries import Backoff
from dynamodb_wrapper.exceptions.errors import LocalEngineError
from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = SafeLogger(__name__)
HOST = "127.0.0.1"
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_READY_SECONDS = 60
_UNTIL_READY = Backoff(
    _READY_SECONDS, first_seconds=0.02, shortest_seconds=0.02, longest_seconds=0.02
)
_END_SECONDS = 15
_LIST_TABLES = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "X-Amz-Date": "20200101T000000Z",
    # Engines look at the form of a signature only.
    "Authorization": "AWS4-HMAC-SHA256 "
    "Credential=local/20200101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=0",
}


@contextmanager
def reserved_port(port: int) -> Iterator[int]:
    """Hold a port, or any free one for 0, until the engine that is started on it has answered.

    Linux never assigns a bound port to a program that asks for any port, yet lets a program that
    asks for this one listen on it, because both set SO_REUSEADDR and this one does not listen. So
    two processes looking for a free port at the same time never get the same one. Other systems
    refuse the second bind; there the port is released at once.

    Raises:
        LocalEngineError: Another program uses the port.
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
    """Return whether a program listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((HOST, port)) == 0


class EngineProcess:
    """A running engine that ends with this object, this interpreter or this process.

    Attributes:
        pid: Process id of the engine itself.
    """

    def __init__(self, command: Sequence[str], *, folder: Path | None = None) -> None:
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # Ctrl-C in the terminal is for the owner, who may still want to write to the engine.
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._supervisor, os.getpid())
        assert self._supervisor.stdout is not None  # noqa: S101 - for the type checker
        first = self._supervisor.stdout.readline().decode(errors="replace").strip()
        if not first.isdigit():
            rest = self._last_output()
            raise LocalEngineError(f"{command[0]} could not be started:\n{first}\n{rest}".rstrip())
        self.pid = int(first)

    @property
    def alive(self) -> bool:
        """Whether the engine runs."""
        return self._supervisor.poll() is None

    def wait_until_ready(self, port: int) -> None:
        """Return once ListTables is answered.

        Raises:
            LocalEngineError: The engine ended, or did not answer in time; its last output is in
                the message.
        """
        for _ in _UNTIL_READY.waits():
            if _answers(port):
                return
            if not self.alive:
                raise LocalEngineError(f"The engine ended at once:\n{self._last_output()}")
        self.stop()
        raise LocalEngineError(
            f"The engine did not answer within {_READY_SECONDS} s:\n{self._last_output()}"
        )

    def stop(self) -> None:
        """End the engine and wait until it is gone."""
        self._end()

    def _last_output(self) -> str:
        output, _ = self._supervisor.communicate()
        return output.decode(errors="replace").strip() or "(it wrote nothing)"


def _end(supervisor: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a forked child must leave its parent's engine alone
        return
    supervisor.terminate()
    try:
        supervisor.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("The engine did not end in %s s and is killed.", _END_SECONDS)
        supervisor.kill()
        supervisor.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=_READY_SECONDS)
    try:
        connection.request("POST", "/", body=b"{}", headers=_LIST_TABLES)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
