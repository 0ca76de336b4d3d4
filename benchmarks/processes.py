"""Starts the processes of the sides, sends them requests and ends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

ROOT = Path(__file__).parents[1]
_END_SECONDS, _REPLY_SECONDS = 5.0, 60.0
_ENVIRONMENT = {
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
    "AWS_ACCESS_KEY_ID": "replay",
    "AWS_SECRET_ACCESS_KEY": "replay",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class SideFailedError(Exception):
    """A side failed to answer a request."""


class SideMissingError(Exception):
    """The library of a side cannot be imported."""


def environment() -> dict[str, str]:
    """Return the environment of all measured processes.

    Bytecode files are written, because an installed library has them and this one is imported
    from its sources.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **_ENVIRONMENT}


class RemoteSide:
    """The process of one side; it ends when the context is left.

    Args:
        side: The side.
        endpoint_url: The address of the replay server.
        quick: Whether the server has the short pages.
    """

    def __init__(self, side: Side, endpoint_url: str, *, quick: bool) -> None:
        self.side = side
        size = "quick" if quick else "whole"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", side.module, endpoint_url, size],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def begin(self) -> None:
        """Wait until the side is ready.

        Raises:
            SideMissingError: Its library is not installed.
            SideFailedError: It raised an error or ended.
        """
        self.cases = self._reply()

    def read(self, case: str) -> dict[str, Any]:
        """Run the case once; return the items it read, and the models with all their types."""
        found: dict[str, Any] = self._ask({"do": "read", "case": case})
        return found

    def seconds(self, case: str, times: int) -> float:
        """Return the processor time in seconds of that many runs of the case."""
        return float(self._ask({"do": "seconds", "case": case, "times": times}))

    def ways(self) -> dict[str, int]:
        """Return the number of items decoded by each decoder; empty if the side counts none."""
        found: dict[str, int] = self._ask({"do": "ways"})
        return found

    def settle(self) -> None:
        """Exclude the objects that exist now from later garbage collections."""
        self._ask({"do": "settle"})

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        timeout = threading.Timer(_REPLY_SECONDS, self._process.kill)
        timeout.start()
        line = self._process.stdout.readline()
        timeout.cancel()
        if not line:
            raise SideFailedError(f"{self.side.name}: its process ended without an answer.")
        message = json.loads(line)
        if "missing" in message:
            raise SideMissingError(message["missing"])
        if "error" in message:
            raise SideFailedError(f"{self.side.name}: {message['error']}")
        return message["reply"]


def started(
    stack: ExitStack, endpoint_url: str, names: Iterable[str], *, quick: bool
) -> tuple[list[RemoteSide], list[str]]:
    """Start the sides with these names.

    Returns:
        The sides that are ready, and one line for each side that is missing or failed.
    """
    wanted = [side for side in SIDES if side.name in set(names)]
    begun = [stack.enter_context(RemoteSide(s, endpoint_url, quick=quick)) for s in wanted]
    ready, notes = [], []
    for remote in begun:
        try:
            remote.begin()
        except (SideMissingError, SideFailedError) as error:
            if remote.side.required:
                raise
            notes.append(_left_out(remote.side, error))
        else:
            ready.append(remote)
    return ready, notes


def _left_out(side: Side, error: Exception) -> str:
    if isinstance(error, SideMissingError):
        how = "pip install 'dynamodb-wrapper[bench]'"
        return f"{side.name} is left out: {error}. Install it with {how}."
    return f"{side.name} is left out: {error}"
