"""Runs nobody ends end with their process."""

from __future__ import annotations

import atexit
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.ending import Ending
    from dynamodb_wrapper.runs.run import Run

_SECONDS = 5.0
_LEAST_SECONDS = 0.1

_open_runs: weakref.WeakKeyDictionary[Run, Ending] = weakref.WeakKeyDictionary()


def ended_with_the_process(run: Run, ending: Ending) -> None:
    """End the run when the process does, unless somebody has ended it by then."""
    if not _open_runs:
        atexit.unregister(_end_open_runs)
        atexit.register(_end_open_runs)
    _open_runs[run] = ending


def _end_open_runs() -> None:
    """Give all of them together the time that one is given; each is tried once at least."""
    until = time.monotonic() + _SECONDS
    for run, ending in list(_open_runs.items()):
        if run.outcome is None:
            ending.end_of_process(run, max(_LEAST_SECONDS, until - time.monotonic()))
