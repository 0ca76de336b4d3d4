"""The run that is going on in this thread or task, and the runs that are open in this process."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from dynamodb_wrapper.exceptions.errors import NoActiveRunError
from dynamodb_wrapper.runs.logs import RecordHook
from dynamodb_wrapper.runs.run import RUNS_HERE, Run

if TYPE_CHECKING:
    import logging


class _OpenRun(NamedTuple):
    run: Run
    thread: int  # that began it
    is_of_session: bool = False  # begun by `RunTracker.start`


_open: dict[str, _OpenRun] = {}  # by run id, in the order of their starts


# ---- begin and end -------------------------------------------------------------------------------


def enter(run: Run) -> None:
    """Make a run the current one of this thread or task, and begin to keep its log lines."""
    RUNS_HERE.set((*enclosing_runs(), run))
    _open[run.run_id] = _OpenRun(run, threading.get_ident())
    if run.internals.logs is not None:
        _hook.install()


def leave(run_id: str) -> None:
    """Remove a run from this thread or task, whether or not it is the innermost."""
    RUNS_HERE.set(tuple(run for run in RUNS_HERE.get() if run.run_id != run_id))
    _open.pop(run_id, None)
    if not _is_capturing():
        _hook.remove()
        if _is_capturing():  # a run that another thread has begun meanwhile
            _hook.install()


def keep_for_session(run: Run) -> None:
    """Let a run without a block stay current in the next cells of a notebook.

    A cell that awaits runs in a context of its task, and what it sets there is gone after it.
    """
    if run.run_id in _open:
        _open[run.run_id] = _open[run.run_id]._replace(is_of_session=True)


# ---- which run -----------------------------------------------------------------------------------


def enclosing_runs() -> tuple[Run, ...]:
    """Return the open runs of this thread or task, outermost first.

    A forked child has none. A run that was ended in another thread or task is not among them. In
    a notebook or at a prompt the runs of `RunTracker.start` are those of the thread.
    """
    runs = tuple(run for run in RUNS_HERE.get() if run.internals.liveness.is_open)
    if runs or not hasattr(sys, "ps1"):
        return runs
    here = threading.get_ident()
    return tuple(
        known.run for known in _open_here() if known.is_of_session and known.thread == here
    )


def find_current_run() -> Run | None:
    """Return the innermost run of this thread or task, None outside of runs."""
    runs = enclosing_runs()
    return runs[-1] if runs else None


def current_run() -> Run:
    """Return the innermost run of this thread or task.

    Raises:
        NoActiveRunError: There is none.
    """
    run = find_current_run()
    if run is None:
        raise NoActiveRunError(
            "There is no run here: work inside RunTracker.run(...) or pipeline_run_context(...), "
            "in the same thread, or hand the run to this one: `with run.attach():`."
        )
    return run


def is_open_here(run_id: str | None) -> bool:
    """Return whether a run is open in this process, in any of its threads."""
    return any(known.run.run_id == run_id for known in _open_here())


def _open_here() -> list[_OpenRun]:
    """Return the runs of this process that have not ended, in the order of their starts."""
    return [known for known in list(_open.values()) if known.run.internals.liveness.is_open]


# ---- whose log lines -----------------------------------------------------------------------------


def _receive(record: logging.LogRecord) -> bool:
    """Give a line to the run it belongs to."""
    try:
        run = _run_of_line()
        if run is not None and run.internals.logs is not None:
            run.internals.logs.keep(record)
    except Exception:  # noqa: BLE001 - the program's line must be printed all the same
        pass
    return True


def _run_of_line() -> Run | None:
    """Return the run that a line logged here belongs to.

    A thread without a run works for the program's run if there is one: another thread began it,
    and every other open run began inside of it. Of several runs it could be for any.
    """
    run = find_current_run()
    if run is not None:
        return run
    known = _open_here()
    if not known or any(
        inner.run.record.parent_run_id != outer.run.run_id for outer, inner in zip(known, known[1:])
    ):
        return None
    return None if known[-1].thread == threading.get_ident() else known[-1].run


def _is_capturing() -> bool:
    return any(known.run.internals.logs is not None for known in _open_here())


_hook = RecordHook(_receive)
