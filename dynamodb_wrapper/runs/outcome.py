"""Decide the outcome of a run from the exception that left its body; pure functions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import (
    LeaseLostError,
    RunCancelledError,
    RunError,
    RunTimedOutError,
)
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.redaction import stored_text
from dynamodb_wrapper.runs.stacks import error_info, is_group, is_of_library, undescribed

if TYPE_CHECKING:
    from collections.abc import Iterable

_MESSAGE_BYTES = 2048
_DEEPEST = 50  # of groups and causes inside of each other
_COMMAND_LINES = ("click", "typer", "asyncclick")
_CANCELLED = (GeneratorExit, asyncio.CancelledError, concurrent.futures.CancelledError)
_CANCELLED_ELSEWHERE = (("trio", "Cancelled"), ("greenlet", "GreenletExit"))
_TIME_OUTS = (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError)


class ProcessEndedError(SystemExit):
    """The process ended before its run did; its exit code is not known."""


@dataclass(frozen=True)
class Circumstances:
    """The facts, besides its exception, that decide how a body ended.

    Attributes:
        run_id: The run; a request to stop another run is an ordinary exception to this one.
        secrets: Values to take out of texts.
        signalled: Whether SIGTERM came.
        exit_zero: Meaning of ``sys.exit(0)``: ``success`` or ``failed``.
        skip_reason: Why there was nothing to do.
    """

    run_id: str | None = None
    secrets: Iterable[str] = field(default=(), repr=False)
    signalled: bool = False
    exit_zero: str = "success"
    skip_reason: str | None = None


def outcome_of(error: BaseException | None, around: Circumstances) -> RunOutcome:
    """Return how a run ended.

    A body that returns has succeeded, even if a signal arrived meanwhile. A script that ends with
    ``sys.exit(0)`` or `typer.Exit` succeeded; Ctrl-C, SIGTERM, a closed generator and a cancelled
    task are cancellations, also in a group or as the cause of what left the body; everything else
    is a failure.

    Args:
        error: The exception that left the body; None for a normal end.
        around: What else decides.
    """
    try:
        return _of_return(around) if error is None else _classified(error, around)
    except BaseException as raised:  # describing the end must not replace it
        if not isinstance(raised, Exception) and is_of_library(raised):
            raise
        return _undescribed(error, around)


def _undescribed(error: BaseException | None, around: Circumstances) -> RunOutcome:
    if error is None and around.skip_reason is None:
        return RunOutcome(RunStatus.SUCCESS)
    if error is None:  # the reason of a skip could not be described
        return RunOutcome(RunStatus.SKIPPED, "nothing_to_do")
    return RunOutcome(RunStatus.FAILED, "exception", undescribed(error, around.secrets))


def _of_return(around: Circumstances) -> RunOutcome:
    if around.skip_reason is None:
        return RunOutcome(RunStatus.SUCCESS)
    detail = stored_text(around.skip_reason, around.secrets, _MESSAGE_BYTES)
    return RunOutcome(RunStatus.SKIPPED, "nothing_to_do", fields={"status_detail": detail})


def _classified(error: BaseException, around: Circumstances) -> RunOutcome:
    code = exit_code_of(error)
    if around.signalled:
        info = None if code is not None else error_info(error, around.secrets)
        return RunOutcome(RunStatus.CANCELLED, "signal", info, exit_code=code)
    if code is not None:
        return _of_exit(error, code, around)
    stop = _stop_of(error, around.run_id)
    if stop is _Stop.USER:
        return RunOutcome(RunStatus.CANCELLED, "user_cancel")
    if stop is _Stop.CANCELLED:
        return RunOutcome(RunStatus.CANCELLED, "cancelled")
    info = error_info(error, around.secrets)
    if stop is _Stop.TIMED_OUT:
        return RunOutcome(RunStatus.TIMED_OUT, "max_runtime", info)
    reason = "heartbeat_lost" if stop is _Stop.LEASE_LOST else "exception"
    return RunOutcome(RunStatus.FAILED, reason, info, exit_code=_code_of_message(error))


class _Stop(enum.IntEnum):
    """Why a body was stopped; of several reasons the first counts."""

    LEASE_LOST = 0
    TIMED_OUT = 1
    USER = 2
    CANCELLED = 3


def _stop_of(
    error: BaseException | None,
    run_id: str | None,
    depth: int = 0,
    known: dict[int, _Stop | None] | None = None,
) -> _Stop | None:
    """Return the reason why a body was stopped; None for an exception that is an error.

    A group stands for the exceptions in it, of which none may be an error; an exception that is
    raised from another stands for that one. A time-out does not: it comes of a cancellation that
    asyncio has made and handled.
    """
    if error is None or depth > _DEEPEST:
        return None
    known = {} if known is None else known  # a group may hold one exception many times over
    if id(error) not in known:
        known[id(error)] = None
        own = _own_stop(error, run_id)
        known[id(error)] = _stop_within(error, run_id, depth, known) if own is None else own
    return known[id(error)]


def _stop_within(
    error: BaseException, run_id: str | None, depth: int, known: dict[int, _Stop | None]
) -> _Stop | None:
    if is_group(error):
        inside = error.exceptions  # type: ignore[attr-defined]
        found = [_stop_of(inner, run_id, depth + 1, known) for inner in inside]
        stops = [inner for inner in found if inner is not None]
        return min(stops) if stops and len(stops) == len(found) else None
    if isinstance(error, _TIME_OUTS):
        return None
    return _stop_of(error.__cause__, run_id, depth + 1, known)


def _own_stop(error: BaseException, run_id: str | None) -> _Stop | None:
    if isinstance(error, RunError) and error.run_id == run_id:
        if isinstance(error, LeaseLostError):
            return _Stop.LEASE_LOST
        if isinstance(error, RunTimedOutError):
            return _Stop.TIMED_OUT
        if isinstance(error, RunCancelledError):
            return _Stop.USER
    if isinstance(error, KeyboardInterrupt) or _is_of_command_line(error, "Abort"):
        return _Stop.USER
    elsewhere = (getattr(sys.modules.get(name), kind, ()) for name, kind in _CANCELLED_ELSEWHERE)
    is_cancelled = isinstance(error, (*_CANCELLED, *filter(None, elsewhere)))
    return _Stop.CANCELLED if is_cancelled else None


def exit_code_of(error: BaseException) -> int | None:
    """Return the code an exception ends a script with; None for one that is no exit.

    Exits are `SystemExit`, and those of click and typer.
    """
    if isinstance(error, SystemExit):
        code = error.code
    elif _is_of_command_line(error, "Exit"):
        code = getattr(error, "exit_code", None)
    else:
        return None
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _code_of_message(error: BaseException) -> int | None:
    """Return the code of an error that click shows as a message before it exits."""
    code = getattr(error, "exit_code", None) if _is_of_command_line(error, "ClickException") else 0
    return code if code and isinstance(code, int) else None


def _is_of_command_line(error: BaseException, name: str) -> bool:
    """Return whether an exception is one of click or typer, by its name: none is imported here."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] in _COMMAND_LINES
        for kind in type(error).__mro__
    )


def _of_exit(error: BaseException, code: int, around: Circumstances) -> RunOutcome:
    known = None if isinstance(error, ProcessEndedError) else code
    if known == 0 and around.exit_zero == "success":
        return RunOutcome(RunStatus.SUCCESS)
    info = error_info(error, around.secrets)
    return RunOutcome(RunStatus.FAILED, "process_exit", info, exit_code=known)
