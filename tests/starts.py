"""Processes that have not imported botocore, without waiting for an interpreter for each."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper import BaseDynamoRepository
from dynamodb_wrapper.config import DynamoDBConfig
from tests.transports import ORDERS, Order, orders, outcome

if TYPE_CHECKING:
    from typing_extensions import Self

LIMIT_SECONDS = 60.0
_ROOT = Path(__file__).parent.parent
_KNOWN = {
    "ORDERS": ORDERS,
    "BaseDynamoRepository": BaseDynamoRepository,
    "DynamoDBConfig": DynamoDBConfig,
    "Order": Order,
    "orders": orders,
    "outcome": outcome,
    "sys": sys,
}


class Starts:
    """Forks a process for each program; nothing of the user's settings is in its environment.

    Args:
        home: Of the imaginary user.
        environ: Set from the beginning, as what the interpreter itself reads.
    """

    def __init__(self, home: Path, **environ: str) -> None:
        here, there = multiprocessing.Pipe()
        self._pipe = here
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.starts", str(there.fileno())],
            cwd=_ROOT,
            env={"HOME": str(home), "PATH": os.environ["PATH"], **environ},
            stdin=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
        there.close()

    def run(self, program: str, **environ: str) -> Any:
        """Run a program in a process of its own and return what it leaves as `result`."""
        self._pipe.send((program, environ))
        if not self._pipe.poll(LIMIT_SECONDS):
            raise AssertionError("A forked process says nothing.")
        result, failure = self._pipe.recv()
        assert not failure, failure
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.wait(LIMIT_SECONDS)


def _main() -> None:
    pipe = Connection(int(sys.argv[1]))
    assert "botocore" not in sys.modules
    with suppress(EOFError):
        while True:
            program, environ = pipe.recv()
            child = os.fork()
            if child == 0:
                pipe.send(_ran(program, environ))
                os._exit(0)
            os.waitpid(child, 0)


def _ran(program: str, environ: dict[str, str]) -> tuple[Any, str]:
    os.environ.update(environ)
    known: dict[str, Any] = {"__name__": "program", **_KNOWN}
    try:
        exec(program, known)
    except BaseException:
        return None, traceback.format_exc()
    return known.get("result"), ""


if __name__ == "__main__":
    _main()
