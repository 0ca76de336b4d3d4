"""How a run begins and ends, where the default does not serve."""

from __future__ import annotations

from dataclasses import dataclass

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.runs import arguments

_CHOICES = {
    "on_conflict": ("raise", "wait", "skip"),
    "tracking": ("strict", "best_effort"),
    "exit_zero": ("success", "failed"),
    "capture_logs": (None, "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}


@dataclass(frozen=True)
class RunOptions:
    """Options of a run; the same for the block, `start` and the decorator.

    Attributes:
        on_conflict: What to do when a live run holds the pipeline or the run key: ``raise``,
            ``wait``, or ``skip`` (the decorator only: the function is not called, a run SKIPPED is
            stored). ``skip`` also skips a run key that has succeeded.
        wait_seconds: How long ``wait`` waits before it raises.
        rerun: Whether a run key that has succeeded is run again.
        force: Whether an inactive pipeline is run all the same.
        tracking: ``strict`` refuses to begin a run that cannot be stored; ``best_effort`` runs the
            block untracked, on pipelines without a limit of runs only. With a run key a success
            that cannot be stored raises `RunFinishError` all the same.
        exit_zero: What ``sys.exit(0)`` in the block means: ``success`` or ``failed``.
        cancel_spark_jobs: Whether the run's Spark jobs are cancelled when the run is to end early:
            on a request to cancel, at its deadline, on SIGTERM and Ctrl-C.
        capture_logs: Level from which the driver's log lines are stored with the run; None stores
            none. Loggers filter first: where the root logger is left at Python's own level,
            WARNING, nothing below that arrives whatever is given here. Set the level of your
            loggers, as ``logging.getLogger("my_job").setLevel("INFO")`` does.
        finish_seconds: How long the end of a run is tried to be stored.
    """

    on_conflict: str = "raise"
    wait_seconds: float = 600
    rerun: bool = False
    force: bool = False
    tracking: str = "strict"
    exit_zero: str = "success"
    cancel_spark_jobs: bool = False
    capture_logs: str | None = "WARNING"
    finish_seconds: float = 60

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                shown = ", ".join(str(choice) for choice in choices)
                raise ValidationError(f"RunOptions.{name} is {value!r}; use one of {shown}.")
        for name in ("wait_seconds", "finish_seconds"):
            arguments.seconds(getattr(self, name), f"RunOptions.{name}")
        for name in ("rerun", "force", "cancel_spark_jobs"):
            arguments.flag(getattr(self, name), f"RunOptions.{name}")
