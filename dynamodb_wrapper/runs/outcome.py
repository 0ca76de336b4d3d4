"""Decide the outcome of a run from the exception that left its body; pure functions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import hashlib
import sys
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import (
    LeaseLostError,
    RunCancelledError,
    RunError,
    RunTimedOutError,
)
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run import RunErrorInfo
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.redaction import head, presentable, redact_known, stored_text, tail
from dynamodb_wrapper.repositories.run_log.items import chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_MESSAGE_BYTES = 2048
_STACK_BYTES = 4096
_WHOLE_STACK_CHARACTERS = 60_000  # at most 240 KB, however many bytes a character has
_FRAMES = 12
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
    except Exception:  # noqa: BLE001 - describing the end must not replace it
        return _undescribed(error, around)


def _undescribed(error: BaseException | None, around: Circumstances) -> RunOutcome:
    if error is None and around.skip_reason is None:
        return RunOutcome(RunStatus.SUCCESS)
    if error is None:  # the reason of a skip could not be described
        return RunOutcome(RunStatus.SKIPPED, "nothing_to_do")
    kind = redact_known(type(error).__qualname__, around.secrets)
    info = RunErrorInfo(type=kind, message="<could not be described>")
    return RunOutcome(RunStatus.FAILED, "exception", info)


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


def _stop_of(error: BaseException | None, run_id: str | None, depth: int = 0) -> _Stop | None:
    """Return the reason why a body was stopped; None for an exception that is an error.

    A group stands for the exceptions in it, of which none may be an error; an exception that is
    raised from another stands for that one. A time-out does not: it comes of a cancellation that
    asyncio has made and handled.
    """
    if error is None or depth > _DEEPEST:
        return None
    stop = _own_stop(error, run_id)
    if stop is not None:
        return stop
    if is_group(error):
        found = [_stop_of(inner, run_id, depth + 1) for inner in error.exceptions]  # type: ignore[attr-defined]
        stops = [inner for inner in found if inner is not None]
        return min(stops) if stops and len(stops) == len(found) else None
    return None if isinstance(error, _TIME_OUTS) else _stop_of(error.__cause__, run_id, depth + 1)


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


def is_group(error: BaseException) -> bool:
    """Return whether an exception is a group: Python's from 3.11, or that of `exceptiongroup`."""
    return any(kind.__name__ == "BaseExceptionGroup" for kind in type(error).__mro__)


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


def error_info(error: BaseException, secrets: Iterable[str]) -> RunErrorInfo:
    """Return type, message and stack of an exception, shortened and without secrets."""
    stack = stack_text(error, secrets)
    return RunErrorInfo(
        type=redact_known(_type_name(error), secrets),
        message=stored_text(_text(error), secrets, _MESSAGE_BYTES),
        fingerprint=fingerprint(error),
        stack_head=head(stack, _STACK_BYTES),
        stack_tail=tail(stack, _STACK_BYTES),
        chunks=len(stack_chunks(error, secrets)),
    )


def stack_chunks(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return the whole stack in pieces to store; none where head and tail hold all of it."""
    stack = stack_text(error, secrets)
    return chunks_of(stack) if len(stack.encode()) > _STACK_BYTES else []


def fingerprint(error: BaseException) -> str:
    """Return 16 characters that are the same for errors of one type from one place in the code.

    Made of the type and the innermost functions, without line numbers and messages, so that it
    survives edits elsewhere in the file and differing values.
    """
    places = []
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        places.append(f"{frame.f_globals.get('__name__')}:{frame.f_code.co_name}")
        trace = trace.tb_next
    text = "|".join([_type_name(error), *places[-_FRAMES:]])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _type_name(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def stack_text(error: BaseException, secrets: Iterable[str]) -> str:
    """Return the whole stack of an exception and its causes, without secrets."""
    return presentable("".join(_formatted(error)), secrets, kept=_WHOLE_STACK_CHARACTERS // 2)


def describe(error: BaseException, secrets: Iterable[str]) -> str:
    """Return type and message of an exception in one text, shortened and without secrets."""
    return stored_text(f"{type(error).__qualname__}: {_text(error)}", secrets, _MESSAGE_BYTES)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide that the run failed
        return "<the message could not be read>"


def _formatted(error: BaseException) -> list[str]:
    try:
        return traceback.format_exception(type(error), error, error.__traceback__)
    except Exception:  # noqa: BLE001 - as above
        return ["<the stack could not be read>"]
