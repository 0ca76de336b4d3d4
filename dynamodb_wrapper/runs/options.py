"""`RunOptions`, the keyword arguments of a run, and the checks of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, Callable, Union

import pydantic
from typing_extensions import TypedDict

from dynamodb_wrapper.config.settings import DynamoDBConfig
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.enums import TriggerType, enum_of
from dynamodb_wrapper.models.partitions import Partition

RunKey = Union[str, date, datetime, Partition]

_CHOICES = {
    "on_conflict": ("raise", "wait", "skip"),
    "tracking": ("strict", "best_effort"),
    "exit_zero": ("success", "failed"),
    "capture_logs": (None, "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}


def checked_mapping(value: Any, name: str) -> dict[Any, Any]:
    """Return a copy of a mapping as a dict; None is an empty one.

    Raises:
        ValidationError: It is no mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refused(value, name, "a dict")
    return dict(value)


def checked_text(value: Any, name: str, wanted: str) -> str | None:
    """Return a text that is not empty, or None.

    Raises:
        ValidationError: It is anything else.
    """
    if value is not None and not isinstance(value, str):
        raise _refused(value, name, wanted)
    if value == "":
        raise ValidationError(f"{name} is empty; give {wanted}, or leave it out.")
    return value


def check_seconds(value: Any, name: str) -> None:
    """Raise unless a value is a number of seconds above 0.

    Raises:
        ValidationError: It is none.
    """
    if not _is_number(value) or not value > 0:
        raise ValidationError(f"{name} must be a number of seconds above 0.")


def check_flag(value: Any, name: str) -> None:
    """Raise unless a value is True or False: a text such as "false" would count as true.

    Raises:
        ValidationError: It is neither.
    """
    if not isinstance(value, bool):
        raise _refused(value, name, "True or False")


def checked_days(value: Any) -> float:
    """Return the number of days to look back.

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
    """Raise unless a value is a date or a datetime.

    Raises:
        ValidationError: It is neither.
    """
    if not isinstance(value, date):
        raise _refused(value, name, "a date, such as date(2026, 1, 31), or an aware datetime")


def check_environment(value: Any) -> None:
    """Raise unless a value can be the name of an environment.

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
            ``wait``, or ``skip``, which stores a run SKIPPED and raises `RunSkippedError` (the
            decorator returns None instead). ``skip`` also skips a run key that has succeeded.
        wait_seconds: How long ``wait`` waits before it raises `AlreadyRunningError`.
        rerun: Whether a run key that has succeeded is run again.
        force: Whether an inactive pipeline is run all the same.
        tracking: ``strict`` refuses to begin a run that cannot be stored; ``best_effort`` runs the
            block untracked, on pipelines without a limit of runs only. With a run key a success
            that cannot be stored raises `RunFinishError` all the same.
        exit_zero: Meaning of ``sys.exit(0)`` in the block: ``success`` or ``failed``.
        cancel_spark_jobs: Whether the run's Spark jobs are cancelled when the run is to end early:
            on a request to cancel, at its deadline, on SIGTERM and Ctrl-C.
        capture_logs: Level from which the driver's log lines are stored with the run; None stores
            none. What is printed stays the same. Loggers filter first: where the root logger is
            left at Python's own level, WARNING, nothing below that arrives at any level given
            here. Set the level of your loggers, as
            ``logging.getLogger("my_job").setLevel("INFO")`` does.
        finish_seconds: How long storing the end of a run is tried; 5 s once Ctrl-C, SIGTERM or
            the like asks the program to end.
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


class CommonArguments(TypedDict, total=False):
    """The keyword arguments of every form of a run, but for its run key."""

    parameters: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    trigger: TriggerType | str | None
    external_id: str | None
    parent: str | None
    options: RunOptions | None


class RunArguments(CommonArguments, total=False):
    """The keyword arguments of a run; each may be left out or None. See `RunTracker.run`."""

    run_key: RunKey | None


class FunctionArguments(CommonArguments, total=False):
    """The keyword arguments of `RunTracker.pipeline`; each may be left out or None."""

    run_key: RunKey | Callable[..., RunKey | None] | None


@dataclass(frozen=True)
class RunRequest:
    """A run that is to begin; the checked form of `RunArguments`."""

    pipeline_id: str
    run_key: RunKey | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    trigger: TriggerType = TriggerType.MANUAL
    external_id: str | None = None
    parent: str | None = None
    options: RunOptions = field(default_factory=RunOptions)

    @classmethod
    def of(cls, pipeline_id: str, arguments: RunArguments) -> RunRequest:
        """Return the request that the arguments of a run stand for.

        Raises:
            TypeError: An argument is unknown.
            ValidationError: An argument has another type.
        """
        _, *known = (field.name for field in fields(cls))  # the first is the pipeline
        unknown = ", ".join(sorted(set(arguments) - set(known)))
        if unknown:
            raise TypeError(f"A run has no argument {unknown}; it has {', '.join(known)}.")
        options: Any = arguments.get("options")
        trigger = arguments.get("trigger")
        if not isinstance(options, (RunOptions, type(None))):
            kind = type(options).__name__
            raise ValidationError(f"options is a {kind}; give RunOptions(rerun=True) or the like.")
        return cls(
            pipeline_id,
            arguments.get("run_key"),
            checked_mapping(arguments.get("parameters"), "parameters"),
            checked_mapping(arguments.get("tags"), "tags"),
            TriggerType.MANUAL if trigger is None else enum_of(TriggerType, trigger),
            checked_text(arguments.get("external_id"), "external_id", "a text, the id of the job"),
            checked_text(arguments.get("parent"), "parent", "the run_id of a run"),
            options or RunOptions(),
        )
