"""One engine as a process of ours: start it, see it answer, end it."""

from __future__ import annotations

import http.client
import logging
import os
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import LocalEngineError
from dynamodb_wrapper.local.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_READY_SECONDS = 60
_POLL_SECONDS = 0.02
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

logger = logging.getLogger(__name__)


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
            LocalEngineError: The engine ended, or did not answer in time; its last output is told.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(port):
            if not self.alive:
                raise LocalEngineError(f"The engine ended at once:\n{self._last_output()}")
            if time.monotonic() > deadline:
                self.stop()
                raise LocalEngineError(
                    f"The engine did not answer within {_READY_SECONDS} s:\n{self._last_output()}"
                )
            time.sleep(_POLL_SECONDS)

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
