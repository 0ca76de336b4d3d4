"""End bodies on SIGTERM and SIGHUP, and hold every signal back while a run starts or ends.

One handler serves all open runs of the process, so that runs may end in any order. Handlers can be
set, and are called, in the main thread only; elsewhere nothing is changed, and SIGTERM ends the
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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

logger = SafeLogger(__name__)
_PYSPARK = ("pyspark", "py4j")  # by name: neither is imported here
_LOOK_SECONDS = 0.2


def _known(*names: str) -> tuple[int, ...]:
    """Return the signals of these names that the system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


_EVERY = tuple(signal.valid_signals())
_ENDS_BODY = _known("SIGTERM", "SIGHUP")
_ENDS_PROCESS = (*_ENDS_BODY, signal.SIGINT)
_HURRIES = (*_ENDS_PROCESS, *_known("SIGALRM", "SIGUSR1", "SIGUSR2"))
"""Signals that ask a program to come to an end: time-outs of schedulers are among them.

Others, such as SIGCHLD or the SIGPROF of a profiler, come by the dozen and ask for nothing.
"""


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


def chained(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, its causes and contexts, and the members of groups; each once."""
    seen: set[int] = set()
    left = [error]
    while left:
        found = left.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            left += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]


class SignalGuard:
    """The signals that concern one run.

    Attributes:
        hurried_at: Monotonic seconds of the first signal that asks the program to end and is held
            back; None before.
        is_urgent: Whether another one came while the first was held back.
        is_starting: Whether the start is being sent: then another one interrupts it.
    """

    def __init__(self) -> None:
        self.hurried_at: float | None = None
        self.is_urgent = False
        self.is_starting = False
        self._raised: BaseException | None = None

    # ---- SIGTERM and SIGHUP end the body ---------------------------------------------------------

    def watch(self) -> None:
        """Raise `SystemExit` in the body on SIGTERM and SIGHUP.

        A handler of the program is called instead.
        """
        if _is_main_thread():
            _handlers.open(self)

    def unwatch(self) -> None:
        """Leave the body alone; the last open run puts the program's handlers back."""
        _handlers.close(self)

    def note(self, raised: BaseException) -> None:
        """Remember what was raised for SIGTERM or SIGHUP."""
        self._raised = raised

    def is_cause_of(self, error: BaseException | None) -> bool:
        """Return whether an exception is the one raised for a signal, or came of it.

        Not so after a body that caught that one, and failed later.
        """
        raised = self._raised
        return raised is not None and any(found is raised for found in chained(error))

    # ---- signals wait ----------------------------------------------------------------------------

    @property
    def is_holding(self) -> bool:
        """Whether signals are held back for this run."""
        return _handlers.is_held_by(self)

    def hold(self) -> None:
        """Hold back, until `release`, every signal that has a handler written in Python."""
        if _is_main_thread():
            _handlers.hold(self)

    def release(self) -> None:
        """Let signals through again; one that arrives at this moment may raise."""
        if _is_main_thread():
            _handlers.release(self)

    def deliver(self) -> None:
        """Call the handlers of what was held back; they may raise."""
        self.hurried_at, self.is_urgent = None, False
        if _is_main_thread():
            _handlers.deliver(self)

    def hurry(self, number: int) -> None:
        """Note a signal that is held back."""
        if number not in _HURRIES:
            return
        if self.hurried_at is None:
            self.hurried_at = time.monotonic()
        elif number in _ENDS_PROCESS:
            self.is_urgent = True


@dataclass(eq=False)
class _Layer:
    """A handler of the program, and the open runs that were begun while it was in place."""

    previous: Any
    runs: list[SignalGuard] = field(default_factory=list)


class _Handlers:
    """The signal handlers of this process while runs start, are open, and end."""

    def __init__(self) -> None:
        self._layers: dict[int, list[_Layer]] = {number: [] for number in _ENDS_BODY}
        self._before: dict[int, Any] = {}  # the program's handlers when the last run was closed
        self._holding: list[SignalGuard] = []
        self._replaced: dict[int, Any] = {}  # handlers to put back when no signal is held back
        self._held: list[int] = []
        self._unwinding: UnwindingStack | None = None
        self._is_reminder = False

    # ---- the bodies of open runs -----------------------------------------------------------------

    def open(self, run: SignalGuard) -> None:
        self._tidy()
        for number, layers in self._layers.items():
            handler = self._current(number)
            if handler is not signal.SIG_DFL and not callable(handler):
                continue  # ignored on purpose, or set by code that is not Python
            if handler != self._end_bodies:
                layers.append(_Layer(handler))
                self._set(number, self._end_bodies)
            elif not layers:  # put back by the program after the last run was closed
                layers.append(_Layer(self._before.get(number, signal.SIG_DFL)))
            layers[-1].runs.append(run)

    def close(self, run: SignalGuard) -> None:
        for layers in self._layers.values():
            for layer in layers:
                if run in layer.runs:
                    layer.runs.remove(run)
        if _is_main_thread():  # else the next run of the main thread does, or the next signal
            self._tidy()

    def _tidy(self) -> None:
        """Put back the program's handlers that no open run needs replaced."""
        for number, layers in self._layers.items():
            while layers and not layers[-1].runs:
                previous = self._before[number] = layers[-1].previous
                if self._current(number) == self._end_bodies:  # else the program has set another
                    self._set(number, previous)
                layers.pop()
        if not self._open_runs():
            self._unwinding = None

    def _open_runs(self) -> list[SignalGuard]:
        every = [layer for layers in self._layers.values() for layer in layers]
        return list(dict.fromkeys(run for layer in every for run in layer.runs))

    def _end_bodies(self, number: int, frame: FrameType | None) -> None:
        layers, runs = self._layers[number], self._open_runs()
        previous = self._before.get(number, signal.SIG_DFL)
        if layers:
            previous = layers[-1].previous
        if callable(previous):
            self._hand_over(previous, number, frame, runs)
        elif not runs:  # of a run that another thread has closed, or that a forked child forgot
            signal.signal(number, previous)
            os.kill(os.getpid(), number)
        else:
            self._leave_bodies(number, frame, runs)

    def _leave_bodies(self, number: int, frame: FrameType | None, runs: list[SignalGuard]) -> None:
        if self._is_reminder:
            self._is_reminder = False
            if self._unwinding is None or not self._unwinding.is_waiting_in_pyspark(frame):
                return  # the exception has left PySpark in between
        elif any(run.is_cause_of(sys.exc_info()[1]) for run in runs):
            return  # the body is cleaning up after an earlier one
        else:
            self._unwinding = unwinding = UnwindingStack(frame)
            if unwinding.crosses_pyspark():
                with suppress(RuntimeError):  # no thread can be started
                    # Not by `threading`: this thread may hold its lock.
                    _thread.start_new_thread(self._resend_until_out, (unwinding, number))
        raise _noted(SystemExit(128 + number), runs)

    def _hand_over(
        self, handler: Any, number: int, frame: FrameType | None, runs: list[SignalGuard]
    ) -> None:
        """Let a handler of the program decide; the signal counts only if it raises."""
        try:
            handler(number, frame)
        except BaseException as error:
            _noted(error, runs)
            raise

    def _resend_until_out(self, unwinding: UnwindingStack, number: int) -> None:
        """Send a signal again while PySpark waits for the action it was interrupted in."""
        main, before = threading.main_thread().ident or 0, None
        while self._unwinding is unwinding and self._open_runs():
            time.sleep(_LOOK_SECONDS)
            now = sys._current_frames().get(main)
            if now is before and unwinding.is_waiting_in_pyspark(now):
                self._is_reminder = True
                signal.pthread_kill(main, number)
            before = now

    def _current(self, number: int) -> Any:
        if number in self._replaced:
            return self._replaced[number]
        return signal.getsignal(number)

    def _set(self, number: int, handler: Any) -> None:
        if number in self._replaced:
            self._replaced[number] = handler
        else:
            signal.signal(number, handler)

    # ---- signals wait ----------------------------------------------------------------------------

    def is_held_by(self, run: SignalGuard) -> bool:
        return run in self._holding

    def hold(self, run: SignalGuard) -> None:
        if run not in self._holding:
            self._holding.append(run)
        for number in _EVERY:
            handler = signal.getsignal(number)
            if handler == self._hold_back or not _can_wait(number, handler):
                continue
            self._replaced[number] = handler
            signal.signal(number, self._hold_back)

    def release(self, run: SignalGuard) -> None:
        if run in self._holding:
            self._holding.remove(run)
        if not self._holding:
            self._put_back()

    def _put_back(self) -> None:
        try:
            for number in list(self._replaced):
                if signal.getsignal(number) == self._hold_back:
                    signal.signal(number, self._replaced[number])
                del self._replaced[number]
        finally:
            if self._replaced:  # the handler put back first has raised
                self._put_back()

    def _hold_back(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._held.append(number)
        for run in list(self._holding):
            run.hurry(number)
            if run.is_urgent and run.is_starting:
                run.is_starting = False
                self._deliver(self._taken(), run)

    def deliver(self, run: SignalGuard) -> None:
        if self._holding:
            return  # by the run that holds them back as well
        self._deliver(self._taken(), run)

    def _taken(self) -> list[int]:
        # Those that end the process come last: what they raise goes on, with the rest as context.
        held, self._held = sorted(dict.fromkeys(self._held), key=_rank), []
        return held

    def _deliver(self, held: list[int], run: SignalGuard) -> None:
        if not held:
            return
        try:
            self._answer(held[0], run)
        finally:
            self._deliver(held[1:], run)

    def _answer(self, number: int, run: SignalGuard) -> None:
        handler = self._current(number)
        if number not in _ENDS_BODY or handler == self._end_bodies:
            if callable(handler):  # not sent again: an event loop would count it twice
                handler(number, sys._getframe())
            else:
                os.kill(os.getpid(), number)
        elif handler is signal.SIG_DFL:
            raise _noted(SystemExit(128 + number), [run])
        elif callable(handler):
            self._hand_over(handler, number, sys._getframe(), [run])

    # ---- forks -----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Put back the program's handlers in a forked child: it does not own the runs."""
        for layers in self._layers.values():
            for layer in layers:
                layer.runs.clear()
        self._holding.clear()
        self._held.clear()
        self._put_back()
        self._tidy()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _can_wait(number: int, handler: Any) -> bool:
    if handler is signal.SIG_DFL:
        return number in _ENDS_PROCESS
    return callable(handler)  # one that is not Python's could not be put back


def _rank(number: int) -> int:
    return 2 if number in _ENDS_BODY else int(number == signal.SIGINT)


def _noted(error: BaseException, runs: list[SignalGuard]) -> BaseException:
    for run in runs:
        run.note(error)
    return error


_handlers = _Handlers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_handlers.forget)
