"""The run that is going on in this thread or task."""

from __future__ import annotations

import getpass
import os
import platform
import socket
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import NoActiveRunError
from dynamodb_wrapper.models import RuntimeInfo

if TYPE_CHECKING:
    from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog


@dataclass(frozen=True)
class Run:
    """A run as its body sees it.

    Attributes:
        record: The run as it was stored at its start.
        pipeline: The pipeline's configuration the run began with.
    """

    record: PipelineRunLog
    pipeline: PipelineConfig

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self.record.run_id

    @property
    def pipeline_id(self) -> str:
        """Id of the pipeline."""
        return self.record.pipeline_id

    @property
    def fence(self) -> int | None:
        """Number that only grows within an exclusive pipeline; None for others."""
        return self.record.fence


_current: ContextVar[tuple[Run, ...]] = ContextVar("dynamodb_wrapper_runs", default=())


def enter(run: Run) -> None:
    """Make a run the current one of this thread or task."""
    _current.set((*_current.get(), run))


def leave(run: Run) -> None:
    """Take a run out again, wherever it stands."""
    _current.set(tuple(other for other in _current.get() if other is not run))


def find_current_run() -> Run | None:
    """Return the innermost run of this thread or task, None outside of runs."""
    runs = _current.get()
    return runs[-1] if runs else None


def current_run() -> Run:
    """Return the innermost run of this thread or task.

    Raises:
        NoActiveRunError: There is none.
    """
    run = find_current_run()
    if run is None:
        raise NoActiveRunError(
            "There is no run here: work inside pipeline_run_context(...), in the same thread."
        )
    return run


def describe_runtime() -> RuntimeInfo:
    """Return where this process runs."""
    return RuntimeInfo(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=_user(),
        python_version=platform.python_version(),
        library_version=_library_version(),
    )


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may know no user
        return None


def _library_version() -> str | None:
    try:
        return metadata.version("dynamodb-wrapper")
    except metadata.PackageNotFoundError:
        return None
