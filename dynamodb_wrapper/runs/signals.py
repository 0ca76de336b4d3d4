"""SIGTERM becomes an exception in the body; signals during a finish wait for it.

Handlers can be set in the main thread only; elsewhere nothing is changed, and SIGTERM ends the
process as it always does. SIGINT is left to Python and PySpark.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM
_HELD_BACK = (signal.SIGTERM, signal.SIGINT)


class SignalGuard:
    """Watches SIGTERM for one run.

    Attributes:
        received_at: Monotonic seconds of the first SIGTERM; None before.
    """

    def __init__(self) -> None:
        self.received_at: float | None = None
        self._previous: Any = None
        self._is_installed = False
        self._held: list[int] = []

    def install(self) -> None:
        """Raise `SystemExit` in the body on SIGTERM; a handler that is there is called instead."""
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)
        if previous is not signal.SIG_DFL and not callable(previous):
            return  # ignored on purpose, or set by code that is not Python
        self._previous = previous
        signal.signal(signal.SIGTERM, self._on_term)
        self._is_installed = True

    def restore(self) -> None:
        """Put the handler back that was there before, unless somebody has set another since."""
        if not self._is_installed or not _can_set_handlers():
            return
        if signal.getsignal(signal.SIGTERM) == self._on_term:
            signal.signal(signal.SIGTERM, self._previous)
        self._is_installed = False

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if self.received_at is None:
            self.received_at = time.monotonic()
        if callable(self._previous):
            self._previous(number, frame)
            return
        raise SystemExit(TERMINATED)

    @contextmanager
    def finish_first(self) -> Iterator[None]:
        """Hold SIGTERM and SIGINT back inside the block; they are delivered after it."""
        if not _can_set_handlers():
            yield
            return
        previous = {number: signal.getsignal(number) for number in _HELD_BACK}
        for number, handler in previous.items():
            if handler is not None:  # None: set by code that is not Python, and cannot be put back
                signal.signal(number, self._hold)
        try:
            yield
        finally:
            for number, handler in previous.items():
                if handler is not None:
                    signal.signal(number, handler)

    def _hold(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._held.append(number)
        if number == signal.SIGTERM and self.received_at is None:
            self.received_at = time.monotonic()
        logger.warning("%s waits until the end of the run is stored.", signal.Signals(number).name)

    def deliver(self) -> None:
        """Deliver what was held back; its handler may raise."""
        held, self._held = self._held, []
        for number in dict.fromkeys(held):
            handler = signal.getsignal(number)
            if number == signal.SIGTERM and handler is signal.SIG_DFL:
                raise SystemExit(TERMINATED)
            os.kill(os.getpid(), number)


def _can_set_handlers() -> bool:
    return threading.current_thread() is threading.main_thread()
