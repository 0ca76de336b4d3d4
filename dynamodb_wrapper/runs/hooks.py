"""Callables that receive the events of runs; an exception of theirs never fails a run."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.runs.outcome import stack_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.models.run import PipelineRunLog

logger = SafeLogger(__name__)

STARTED = "started"
FINISHED = "finished"
FAILED = "failed"
LOST = "lost"
LEASE_AT_RISK = "lease_at_risk"
HOOK_SECONDS = 5.0
"""How long a hook is waited for."""
HURRIED_SECONDS = 1.0
"""The same where a signal asks the program to end."""


@dataclass(frozen=True)
class RunEvent:
    """An event of a run, as hooks receive it.

    Attributes:
        kind: ``started``, ``finished`` (however it ended), ``failed`` (FAILED or TIMED_OUT, after
            ``finished``), ``lost`` (taken for dead, by any process) or ``lease_at_risk``.
        run_id: The run.
        pipeline_id: Its pipeline.
        status: Its status now.
        run: The run as far as it is known; each hook gets its own copy.
        stored: Whether `run` is stored in DynamoDB; False for an end that is kept in the spool.
    """

    kind: str
    run_id: str
    pipeline_id: str
    status: str
    run: PipelineRunLog
    stored: bool = True


Hook = Callable[[RunEvent], object]


class Hooks:
    """Calls hooks; an exception of a hook, `SystemExit` included, is logged and not raised.

    They are called in a daemon thread and waited for as long as they may take, so that one that
    hangs never holds the program.

    Args:
        hooks: Called one after the other.
        secrets: Values to take out of what is logged.
    """

    def __init__(self, hooks: Iterable[Hook] = (), secrets: Iterable[str] = ()) -> None:
        self._hooks = tuple(hooks)
        self._secrets = secrets

    def notify(self, kind: str, run: PipelineRunLog) -> None:
        """Call every hook, one after the other, and wait for each.

        Raises:
            KeyboardInterrupt: A hook raised it.
        """
        self.begin([kind], run).wait(HOOK_SECONDS)

    def notify_in_background(self, kind: str, run: PipelineRunLog) -> None:
        """Call every hook, and wait for none: one that hangs delays nothing."""
        if not self.begin([kind], run).leave():
            logger.warning(
                "No thread can be started to tell hooks of %r of run %s.", kind, run.run_id
            )

    def begin(self, kinds: Iterable[str], run: PipelineRunLog, *, stored: bool = True) -> Round:
        """Let a thread call every hook for each of these events, and return at once.

        Args:
            kinds: What happened.
            run: The run as it is now.
            stored: Whether that is stored.
        """
        calls = [
            Call(f"{kind!r} of run {run.run_id}", partial(self._call, hook, kind, run, stored))
            for kind in kinds
            for hook in self._hooks
        ]
        return Round(calls)

    def _call(self, hook: Hook, kind: str, run: PipelineRunLog, stored: bool) -> None:
        try:
            seen = run.model_copy(deep=True)
            hook(RunEvent(kind, run.run_id, run.pipeline_id, str(run.status), seen, stored))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a hook must not fail the run
            stack = stack_text(error, self._secrets)
            logger.warning("A hook failed on %r of run %s:\n%s", kind, run.run_id, stack)


class Call:
    """A call of a hook, which another thread makes, in the context of the thread that asks for it.

    Attributes:
        subject: The event and the run, for the log.
        done: Free once the call has been made.
        pressed: What Ctrl-C raised in it.
    """

    def __init__(self, subject: str, call: Callable[[], None]) -> None:
        self.subject = subject
        self._call = call
        self._context = contextvars.copy_context()
        self.done = threading.Lock()
        self.done.acquire()
        self.pressed: KeyboardInterrupt | None = None

    def make(self) -> None:
        """Make the call."""
        try:
            self._context.run(self._call)
        except KeyboardInterrupt as pressed:
            self.pressed = pressed
        except BaseException:  # noqa: BLE001 - of a log handler
            logger.debug("The failure of a hook could not be logged.")
        finally:
            self.done.release()


class Round:
    """Calls that a thread makes one after the other, to the last even if it is not waited for.

    Args:
        calls: The calls.
    """

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls
        self._left = deque(calls)
        self._caller: _Caller | None = None
        self._hand_over()

    def wait(self, limit_seconds: float) -> None:
        """Wait for each call in turn; one that takes longer is left to itself.

        Raises:
            KeyboardInterrupt: A hook raised it.
        """
        is_done = False
        try:
            for call in self._calls:
                if self._caller is None:  # none could be started
                    _make(self._left)
                elif not call.done.acquire(timeout=limit_seconds):
                    logger.warning(
                        "A hook on %s has not returned after %g s; it is left to itself.",
                        call.subject,
                        limit_seconds,
                    )
                    self._caller.rounds.put(None)
                    self._hand_over()
                if call.pressed is not None:
                    raise call.pressed
            is_done = True
        finally:
            if self._caller is not None:
                if is_done:
                    _idle.append(self._caller)
                else:
                    self._caller.rounds.put(None)

    def leave(self) -> bool:
        """Wait for none; return whether a thread makes the calls."""
        if self._caller is not None:
            self._caller.rounds.put(None)
        return self._caller is not None or not self._calls

    def _hand_over(self) -> None:
        self._caller = _idle_caller() if self._left else None
        if self._caller is not None:
            self._caller.rounds.put(self._left)


class _Caller(threading.Thread):
    """A thread that makes rounds of calls until it is given None."""

    def __init__(self) -> None:
        super().__init__(name="dynamodb-wrapper-hooks", daemon=True)
        self.rounds: SimpleQueue[deque[Call] | None] = SimpleQueue()

    def run(self) -> None:
        while (calls := self.rounds.get()) is not None:
            _make(calls)


def _make(calls: deque[Call]) -> None:
    while True:
        try:
            call = calls.popleft()
        except IndexError:
            return
        call.make()


_idle: deque[_Caller] = deque()
"""Threads that wait for a call; kept, because Python may start none while the interpreter exits."""


def _idle_caller() -> _Caller | None:
    """Return a thread that waits for a call; None if none can be started."""
    while _idle:
        with suppress(IndexError):  # another thread has taken it
            caller = _idle.pop()
            if caller.is_alive():  # not so in a forked child
                return caller
    caller = _Caller()
    try:
        caller.start()
    except RuntimeError:
        return None
    return caller
