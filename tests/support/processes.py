"""Driver processes: a test starts them, exchanges messages with them, and kills them.

A program is a function of a module, called with a config, a pipe to the test, and keyword
arguments. A *forked* one starts quickly, from a server that has imported the library and used
nothing of it. A *launched* one runs in a new interpreter, including what happens at its exit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from dynamodb_wrapper.config import DynamoDBConfig

if TYPE_CHECKING:
    from typing_extensions import Self

Program = Callable[..., None]

LIMIT_SECONDS = 120.0
"""A test fails after waiting this long; far more than any step takes."""

_ROOT = Path(__file__).parents[2]
_SERVER: Any = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "boto3.session",
        "dynamodb_wrapper",
        "dynamodb_wrapper.runs",
        "pytest",
        "tests.support.processes",
    ]
)


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition returns a true value, and return it."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"The condition did not hold within {LIMIT_SECONDS:g} s.")


def in_a_thread(work: Callable[[], Any]) -> None:
    """Call a function in another thread and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class Driver:
    """A process and the pipe to it.

    Args:
        pid: The process.
        pipe: This end.
        wait: Waits up to so many seconds for the exit code; None while the process runs.
    """

    def __init__(self, pid: int, pipe: Connection, wait: Callable[[float], int | None]) -> None:
        self.pid = pid
        self._pipe = pipe
        self._wait = wait

    def hear(self) -> Any:
        """Return the next message of the process."""
        if not self._pipe.poll(LIMIT_SECONDS):
            raise AssertionError(f"Process {self.pid} sent no message.")
        return self._pipe.recv()

    def tell(self, what: Any) -> None:
        """Send a message to the process."""
        self._pipe.send(what)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it as ``kill -9`` does, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self.exit_code() == -signal.SIGKILL

    def exit_code(self) -> int:
        """Wait for the exit code; negative for the signal that killed the process."""
        code = self._wait(LIMIT_SECONDS)
        if code is None:
            raise AssertionError(f"Process {self.pid} does not end.")
        return code

    def clear_away(self) -> None:
        """Kill the process if it still runs."""
        if self._wait(0) is None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._wait(LIMIT_SECONDS)
        self._pipe.close()


class Drivers:
    """Starts driver processes and kills those that are left."""

    def __init__(self) -> None:
        self._started: list[Driver] = []

    def fork(self, program: Program, config: DynamoDBConfig, **given: Any) -> Driver:
        """Start a program in a forked process."""
        here, there = multiprocessing.Pipe()
        arguments = (program, settings_of(config), there, given)
        process = _SERVER.Process(target=_run, args=arguments, daemon=True)
        process.start()
        there.close()

        def wait(seconds: float) -> int | None:
            process.join(seconds)
            return process.exitcode  # type: ignore[no-any-return]

        return self._noted(Driver(process.pid, here, wait))

    def launch(self, program: Program, config: DynamoDBConfig, **given: Any) -> Driver:
        """Start a program in a new interpreter."""
        here, there = multiprocessing.Pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.processes", str(there.fileno())],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
        there.close()

        def wait(seconds: float) -> int | None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            return process.returncode

        driver = self._noted(Driver(process.pid, here, wait))
        driver.tell((program, settings_of(config), given))
        return driver

    def _noted(self, driver: Driver) -> Driver:
        self._started.append(driver)
        return driver

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for driver in self._started:
            driver.clear_away()


def settings_of(config: DynamoDBConfig) -> dict[str, Any]:
    """Return the settings another process needs for the same tables, without credentials."""
    return {"endpoint_url": config.endpoint_url, "table_prefix": config.table_prefix}


def _run(program: Program, settings: dict[str, Any], pipe: Connection, given: Any) -> None:
    # A shell that has started the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
    program(DynamoDBConfig.for_local_development(**settings), pipe, **given)


def _main() -> None:
    pipe = Connection(int(sys.argv[1]))
    program, settings, given = pipe.recv()
    _run(program, settings, pipe, given)


if __name__ == "__main__":
    _main()
