"""Runs nobody ends end with their process."""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.ending import Ending
    from dynamodb_wrapper.runs.run import Run

_open_runs: weakref.WeakKeyDictionary[Run, Ending] = weakref.WeakKeyDictionary()


def ended_with_the_process(run: Run, ending: Ending) -> None:
    """End the run when the process does, unless somebody has ended it by then."""
    if not _open_runs:
        atexit.unregister(_end_open_runs)
        atexit.register(_end_open_runs)
    _open_runs[run] = ending


def _end_open_runs() -> None:
    for run, ending in list(_open_runs.items()):
        if run.outcome is None:
            ending.end_of_process(run)
