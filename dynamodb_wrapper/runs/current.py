"""The run that is going on in this thread or task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import NoActiveRunError

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.run import Run

_current: ContextVar[tuple[Run, ...]] = ContextVar("dynamodb_wrapper_runs", default=())


def enter(run: Run) -> None:
    """Make a run the current one of this thread or task."""
    _current.set((*enclosing_runs(), run))


def leave(run_id: str) -> None:
    """Remove a run from this thread or task, whether or not it is the innermost."""
    _current.set(tuple(run for run in _current.get() if run.run_id != run_id))


def enclosing_runs() -> tuple[Run, ...]:
    """Return the open runs of this thread or task, outermost first.

    A forked child has none. A run that was ended in another thread or task is not among them.
    """
    return tuple(run for run in _current.get() if run.internals.liveness.is_open)


def find_current_run() -> Run | None:
    """Return the innermost run of this thread or task, None outside of runs."""
    runs = enclosing_runs()
    return runs[-1] if runs else None


def is_current_or_none(run_id: str) -> bool:
    """Return whether a run is the innermost of this thread or task, or there is none at all."""
    run = find_current_run()
    return run is None or run.run_id == run_id


def current_run() -> Run:
    """Return the innermost run of this thread or task.

    Raises:
        NoActiveRunError: There is none.
    """
    run = find_current_run()
    if run is None:
        raise NoActiveRunError(
            "There is no run here: work inside RunTracker.run(...) or pipeline_run_context(...), "
            "in the same thread."
        )
    return run
