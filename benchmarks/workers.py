"""The other end of the processes that measure: starting, asking and ending them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.known import SIDES, Known

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
    """A side could not do what it was asked."""


class SideMissingError(Exception):
    """The library of a side cannot be imported."""


def environment() -> dict[str, str]:
    """Return the environment all measured processes run in.

    Modules are compiled once, as an installed library's are: this one's come from the sources.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **_ENVIRONMENT}


class RemoteSide:
    """A side in a process of its own; on leaving the context the process ends.

    Args:
        known: Which side.
        endpoint_url: Where the replay server is.
        quick: Whether it serves the short pages.
    """

    def __init__(self, known: Known, endpoint_url: str, *, quick: bool) -> None:
        self.known = known
        size = "quick" if quick else "whole"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", known.module, endpoint_url, size],
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
            SideFailedError: It could not be made.
        """
        self.cases = self._reply()

    def read(self, case: str) -> dict[str, Any]:
        """Return the items a run of the case reads, and what tells them from all others."""
        found: dict[str, Any] = self._ask({"do": "read", "case": case})
        return found

    def seconds(self, case: str, times: int) -> float:
        """Return the processor time of so many runs of the case."""
        return float(self._ask({"do": "seconds", "case": case, "times": times}))

    def ways(self) -> dict[str, int]:
        """Return how many items the side has decoded which way; empty where it does not count."""
        found: dict[str, int] = self._ask({"do": "ways"})
        return found

    def settle(self) -> None:
        """Tell that what exists now stays."""
        self._ask({"do": "settle"})

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        patience = threading.Timer(_REPLY_SECONDS, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        if not line:
            raise SideFailedError(f"{self.known.name}: its process ended without an answer.")
        message = json.loads(line)
        if "missing" in message:
            raise SideMissingError(message["missing"])
        if "error" in message:
            raise SideFailedError(f"{self.known.name}: {message['error']}")
        return message["reply"]


def started(
    stack: ExitStack, endpoint_url: str, names: Iterable[str], *, quick: bool
) -> tuple[list[RemoteSide], list[str]]:
    """Start the sides of these names.

    Returns:
        The sides that are ready, and a line for each that had to be left out.
    """
    wanted = [known for known in SIDES if known.name in set(names)]
    begun = [stack.enter_context(RemoteSide(k, endpoint_url, quick=quick)) for k in wanted]
    ready, notes = [], []
    for side in begun:
        try:
            side.begin()
        except (SideMissingError, SideFailedError) as error:
            if side.known.required:
                raise
            notes.append(_left_out(side.known, error))
        else:
            ready.append(side)
    return ready, notes


def _left_out(known: Known, error: Exception) -> str:
    if isinstance(error, SideMissingError):
        how = "pip install 'dynamodb-wrapper[bench]'"
        return f"{known.name} is left out: {error}. Install it with {how}."
    return f"{known.name} is left out: {error}"
