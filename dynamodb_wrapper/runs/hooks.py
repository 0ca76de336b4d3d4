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
from typing import TYPE_CHECKING, Any

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

    Each is called in a daemon thread and waited for as long as it may take, so that one that hangs
    never holds the program.

    Args:
        hooks: Called one after the other.
        secrets: Values to take out of what is logged.
    """

    def __init__(self, hooks: Iterable[Hook] = (), secrets: Iterable[str] = ()) -> None:
        self._hooks = tuple(hooks)
        self._secrets = secrets

    def notify(
        self,
        kind: str,
        run: PipelineRunLog,
        *,
        stored: bool = True,
        limit_seconds: float = HOOK_SECONDS,
    ) -> None:
        """Call every hook, one after the other, and wait for each.

        Args:
            kind: What happened.
            run: The run as it is now.
            stored: Whether that is stored.
            limit_seconds: How long each is waited for; it is left to itself after that.

        Raises:
            KeyboardInterrupt: A hook raised it.
        """
        for hook in self._hooks:
            call = _Call(partial(self._call, hook, kind, run, stored=stored))
            if not self._is_done(call, limit_seconds):
                logger.warning(
                    "A hook on %r of run %s has not returned after %g s; it is left to itself.",
                    kind,
                    run.run_id,
                    limit_seconds,
                )
            elif call.pressed is not None:
                raise call.pressed

    def notify_in_background(self, kind: str, run: PipelineRunLog) -> None:
        """Call every hook from a separate daemon thread: one that hangs delays nothing."""
        if not self._hooks:
            return
        name = f"dynamodb-wrapper-hooks-{run.run_id}"
        try:
            threading.Thread(target=self.notify, args=(kind, run), name=name, daemon=True).start()
        except RuntimeError as error:  # no thread can be started
            logger.warning("No hook was called on %r of run %s: %s", kind, run.run_id, error)

    def _is_done(self, call: _Call, limit_seconds: float) -> bool:
        """Let a thread make a call; return whether it returned in time."""
        caller = _idle_caller()
        if caller is None:
            call.make()
            return True
        is_done = False
        try:
            caller.calls.put(call)
            is_done = call.done.acquire(timeout=limit_seconds)
        finally:
            if is_done:
                _idle.append(caller)
            else:
                caller.calls.put(None)
        return is_done

    def _call(self, hook: Hook, kind: str, run: PipelineRunLog, *, stored: bool) -> None:
        try:
            seen = run.model_copy(deep=True)
            hook(RunEvent(kind, run.run_id, run.pipeline_id, str(run.status), seen, stored))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a hook must not fail the run
            stack = stack_text(error, self._secrets)
            logger.warning("A hook failed on %r of run %s:\n%s", kind, run.run_id, stack)


class _Call:
    """A call of a hook, which another thread makes, in the context of the thread that asks for it.

    Attributes:
        done: Free once the call has been made.
        pressed: What Ctrl-C raised in it.
    """

    def __init__(self, call: Callable[[], None]) -> None:
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


class _Caller(threading.Thread):
    """A thread that makes calls until it is given None."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()

    def run(self) -> None:
        while (call := self.calls.get()) is not None:
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
    caller = _Caller(name="dynamodb-wrapper-hooks", daemon=True)
    try:
        caller.start()
    except RuntimeError:
        return None
    return caller
