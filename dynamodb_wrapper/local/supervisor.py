"""Runs an engine as its child and ends it when the owner asks or dies.

Run as a script: ``supervisor.py OWNER_PID PROGRAM [ARGUMENT ...]``. It writes the engine's process
id as its first line and, once the engine has ended, the last lines of the engine's output.

It exists because an owner killed hard can end nothing. The kernel's own means, the parent death
signal of Linux, fires when the *thread* that started the child ends, so an engine started in a
worker thread would die early. This process has its threads under control: it watches its parent
process, and sets that signal on the engine for the case that it is itself killed hard.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WATCH_SECONDS = 0.5
GRACE_SECONDS = 5
TAIL_LINES = 40
LINE_BYTES = 2000
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the engine until it ends; return its exit code."""
    owner, command = int(sys.argv[1]), sys.argv[2:]
    # The signal must not come between start and the moment it can be passed on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    engine = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_before_engine(),  # noqa: PLW1509 - nothing else runs in this process yet
    )
    signal.signal(signal.SIGTERM, lambda *_: _end(engine))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_watch_owner, args=(owner, engine), daemon=True).start()
    sys.stdout.write(f"{engine.pid}\n")
    sys.stdout.flush()
    tail = _last_lines(engine)
    code = engine.wait()
    sys.stdout.buffer.write(b"".join(tail))
    return code if code >= 0 else 128 - code


def _before_engine() -> Callable[[], None]:
    libc: Any = None
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare


def _last_lines(engine: subprocess.Popen[bytes]) -> deque[bytes]:
    """Read all output, so that the engine never blocks on it, and keep the end."""
    tail: deque[bytes] = deque(maxlen=TAIL_LINES)
    assert engine.stdout is not None  # noqa: S101 - for the type checker
    while True:
        line = engine.stdout.readline(LINE_BYTES)
        if not line:
            return tail
        tail.append(line)


def _watch_owner(owner: int, engine: subprocess.Popen[bytes]) -> None:
    while os.getppid() == owner:
        time.sleep(WATCH_SECONDS)
    _end(engine)


def _end(engine: subprocess.Popen[bytes]) -> None:
    engine.terminate()
    killer = threading.Timer(GRACE_SECONDS, engine.kill)
    killer.daemon = True
    killer.start()


if __name__ == "__main__":
    sys.exit(main())
