"""`RunOptions`, and the checks of arguments to run control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pydantic

from dynamodb_wrapper.config.settings import DynamoDBConfig
from dynamodb_wrapper.exceptions.errors import ValidationError

_CHOICES = {
    "on_conflict": ("raise", "wait", "skip"),
    "tracking": ("strict", "best_effort"),
    "exit_zero": ("success", "failed"),
    "capture_logs": (None, "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}


def checked_mapping(value: Any, name: str) -> dict[Any, Any]:
    """Return a mapping as a dict of its own; None is an empty one.

    Raises:
        ValidationError: It is no mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refused(value, name, "a dict")
    return dict(value)


def check_seconds(value: Any, name: str) -> None:
    """Refuse what is no number of seconds above 0.

    Raises:
        ValidationError: It is none.
    """
    if not _is_number(value) or not value > 0:
        raise ValidationError(f"{name} must be a number of seconds above 0.")


def check_flag(value: Any, name: str) -> None:
    """Refuse what is neither True nor False: a text such as "false" would count as true.

    Raises:
        ValidationError: It is neither.
    """
    if not isinstance(value, bool):
        raise _refused(value, name, "True or False")


def checked_days(value: Any) -> float:
    """Return how many days to look back.

    Raises:
        ValidationError: It is no number above 0, or more than 100 years.
    """
    if not _is_number(value) or not 0 < value <= 36_500:
        raise ValidationError(f"days is {value!r}; give how many days to look back.")
    return float(value)


def checked_count(value: Any, name: str) -> int:
    """Return a count from 1.

    Raises:
        ValidationError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refused(value, name, "a whole number from 1")
    return value


def check_moment(value: Any, name: str) -> None:
    """Refuse what is neither a date nor a datetime.

    Raises:
        ValidationError: It is neither.
    """
    if not isinstance(value, date):
        raise _refused(value, name, "a date, such as date(2026, 1, 31), or an aware datetime")


def check_environment(value: Any) -> None:
    """Refuse what a config would not take as the name of its environment.

    Raises:
        ValidationError: It is no such name.
    """
    try:
        DynamoDBConfig(environment=value)
    except pydantic.ValidationError:
        raise ValidationError(
            f"{value!r} is no environment; use a lower-case letter, then up to 31 lower-case "
            "letters, digits and -, such as prod."
        ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refused(value: Any, name: str, wanted: str) -> ValidationError:
    return ValidationError(f"{name} is a {type(value).__name__}; give {wanted}.")


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
            check_seconds(getattr(self, name), f"RunOptions.{name}")
        for name in ("rerun", "force", "cancel_spark_jobs"):
            check_flag(getattr(self, name), f"RunOptions.{name}")
