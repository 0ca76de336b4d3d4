"""Turn SIGTERM into an exception in the body, and hold signals back while a run starts or finishes.

Handlers can be set in the main thread only; elsewhere nothing is changed, and SIGTERM ends the
process as usual. SIGINT is left to Python and PySpark. An action that is interrupted in Python goes
on in Java and keeps the thread's connection busy. Some functions of PySpark, `DataFrame.collect`
among them, make a call on that connection while the exception passes: it would keep the exception
from the body until the action is done, so the signal is sent again.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from types import FrameType

logger = SafeLogger(__name__)
_PYSPARK = ("pyspark", "py4j")  # by name: neither is imported here
TERMINATED = 128 + signal.SIGTERM
_HELD_BACK = (signal.SIGTERM, signal.SIGINT)
_LOOK_SECONDS = 0.2


class UnwindingStack:
    """The frames that an exception leaves one after the other.

    Args:
        frame: The innermost, where the signal came.
    """

    def __init__(self, frame: FrameType | None) -> None:
        self._frames = frozenset(_outwards(frame))

    def crosses_pyspark(self) -> bool:
        """Return whether any of the frames is PySpark's."""
        return any(_is_pyspark(frame) for frame in self._frames)

    def is_waiting_in_pyspark(self, now: FrameType | None) -> bool:
        """Return whether the frame being left is PySpark's, and calls another function there.

        Args:
            now: The innermost frame at the moment.
        """
        if now in self._frames:
            return False
        left = next((frame for frame in _outwards(now) if frame in self._frames), None)
        return left is not None and _is_pyspark(left)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_pyspark(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _PYSPARK


class SignalGuard:
    """Watches SIGTERM for one run.

    Attributes:
        received_at: Monotonic seconds of the first SIGTERM that ends the body or, while it waits,
            may do so; None before. A signal that a handler of the program swallows does not count.
    """

    def __init__(self) -> None:
        self.received_at: float | None = None
        self._pid = os.getpid()
        self._previous: Any = None
        self._is_installed = False
        self._unwinding: UnwindingStack | None = None
        self._is_reminder = False
        self._replaced: dict[int, Any] = {}  # handlers to restore at `release`
        self._held: list[int] = []
        self._is_only_held = False

    # ---- SIGTERM ends the body -------------------------------------------------------------------

    def install(self) -> None:
        """Raise `SystemExit` in the body on SIGTERM; an existing handler is called instead."""
        if not _can_set_handlers():
            return
        previous = self._handler_of_term()
        if previous is not signal.SIG_DFL and not callable(previous):
            return  # ignored on purpose, or set by code that is not Python
        self._previous = previous
        self._set_handler_of_term(self._on_term)
        self._is_installed = True

    def restore(self) -> None:
        """Put the previous handler back, unless the program has set another since."""
        if not self._is_installed or not _can_set_handlers():
            return
        if self._handler_of_term() == self._on_term:
            self._set_handler_of_term(self._previous)
        self._is_installed = False
        self._unwinding = None

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if self._pid != os.getpid():  # a forked child does not own the run
            signal.signal(number, self._previous)
            os.kill(os.getpid(), number)
            return
        if callable(self._previous):
            self._hand_over(self._previous, number, frame)
            return
        self._note_received()
        if self._is_reminder:
            self._is_reminder = False
            if self._unwinding is None or not self._unwinding.is_waiting_in_pyspark(frame):
                return  # the exception has left PySpark in between
        else:
            self._unwinding = UnwindingStack(frame)
            if self._unwinding.crosses_pyspark():
                # Not by `threading`: this thread may hold its lock.
                _thread.start_new_thread(self._resend_until_out, (self._unwinding,))
        raise SystemExit(TERMINATED)

    def _hand_over(self, handler: Any, number: int, frame: FrameType | None) -> None:
        """Let a handler decide; the signal counts only if it raises."""
        before = self.received_at
        self._note_received()
        handler(number, frame)
        self.received_at = before

    def _note_received(self) -> None:
        if self.received_at is None:
            self.received_at = time.monotonic()

    def _resend_until_out(self, unwinding: UnwindingStack) -> None:
        """Send SIGTERM again while PySpark waits for the action it was interrupted in."""
        main, before = threading.main_thread().ident or 0, None
        while self._is_installed:
            time.sleep(_LOOK_SECONDS)
            now = sys._current_frames().get(main)
            if now is before and unwinding.is_waiting_in_pyspark(now):
                self._is_reminder = True
                signal.pthread_kill(main, signal.SIGTERM)
            before = now

    def _handler_of_term(self) -> Any:
        if self._replaced:
            return self._replaced.get(signal.SIGTERM)
        return signal.getsignal(signal.SIGTERM)

    def _set_handler_of_term(self, handler: Any) -> None:
        if self._replaced:
            self._replaced[signal.SIGTERM] = handler
        else:
            signal.signal(signal.SIGTERM, handler)

    # ---- signals wait ----------------------------------------------------------------------------

    @contextmanager
    def finish_first(self) -> Iterator[None]:
        """Hold SIGTERM and SIGINT back inside the block; `deliver` delivers them."""
        try:
            self.hold()
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """Hold SIGTERM and SIGINT back until `release`."""
        if not _can_set_handlers() or self._replaced:
            return
        handlers = {number: signal.getsignal(number) for number in _HELD_BACK}
        # None: set by code that is not Python, and could not be put back.
        leave = (None, signal.SIG_IGN)
        self._replaced = {n: handler for n, handler in handlers.items() if handler not in leave}
        for number in list(self._replaced):
            signal.signal(number, self._hold)

    def release(self) -> None:
        """Let signals through again; one that arrives at this moment may raise."""
        try:
            for number in list(self._replaced):
                signal.signal(number, self._replaced[number])
                del self._replaced[number]
        finally:
            if self._replaced:  # the handler put back first has raised
                self.release()

    def _hold(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._held.append(number)
        if number == signal.SIGTERM and self.received_at is None:
            self._note_received()
            self._is_only_held = True
        logger.warning("%s waits until the end of the run is stored.", signal.Signals(number).name)

    def deliver(self) -> None:
        """Deliver what was held back; its handler may raise."""
        held, self._held = self._held, []
        if self._is_only_held:
            self.received_at, self._is_only_held = None, False
        for number in dict.fromkeys(held):
            handler = signal.getsignal(number)
            if number == signal.SIGTERM and handler is signal.SIG_DFL:
                self._note_received()
                raise SystemExit(TERMINATED)
            if number == signal.SIGTERM and callable(handler):
                self._hand_over(handler, number, sys._getframe())
            else:
                os.kill(os.getpid(), number)


def _can_set_handlers() -> bool:
    return threading.current_thread() is threading.main_thread()
