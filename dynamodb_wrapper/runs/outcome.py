"""Decide the outcome of a run from the exception that left its body; pure functions."""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from dataclasses import dataclass, field

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

_MESSAGE_BYTES = 2048
_STACK_BYTES = 4096
_WHOLE_STACK_CHARACTERS = 60_000  # at most 240 KB, however many bytes a character has
_FRAMES = 12


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
    secrets: tuple[str, ...] = field(default=(), repr=False)
    signalled: bool = False
    exit_zero: str = "success"
    skip_reason: str | None = None


def outcome_of(error: BaseException | None, around: Circumstances) -> RunOutcome:
    """Return how a run ended.

    A body that returns has succeeded, even if a signal arrived meanwhile. A script that ends with
    ``sys.exit(0)`` succeeded; Ctrl-C, SIGTERM, a closed generator and a cancelled task are
    cancellations, everything else a failure.

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
    if around.signalled:
        code = _exit_code(error) if isinstance(error, SystemExit) else None
        info = None if isinstance(error, SystemExit) else error_info(error, around.secrets)
        return RunOutcome(RunStatus.CANCELLED, "signal", info, exit_code=code)
    if isinstance(error, SystemExit):
        return _of_exit(error, around)
    about_this_run = isinstance(error, RunError) and error.run_id == around.run_id
    asked_to_stop = about_this_run and isinstance(error, RunCancelledError)
    if asked_to_stop or isinstance(error, KeyboardInterrupt):
        return RunOutcome(RunStatus.CANCELLED, "user_cancel")
    if isinstance(error, (GeneratorExit, asyncio.CancelledError)):
        return RunOutcome(RunStatus.CANCELLED, "cancelled")
    info = error_info(error, around.secrets)
    if about_this_run and isinstance(error, RunTimedOutError):
        return RunOutcome(RunStatus.TIMED_OUT, "max_runtime", info)
    lost = about_this_run and isinstance(error, LeaseLostError)
    return RunOutcome(RunStatus.FAILED, "heartbeat_lost" if lost else "exception", info)


def _of_exit(error: SystemExit, around: Circumstances) -> RunOutcome:
    code = None if isinstance(error, ProcessEndedError) else _exit_code(error)
    if code == 0 and around.exit_zero == "success":
        return RunOutcome(RunStatus.SUCCESS)
    info = error_info(error, around.secrets)
    return RunOutcome(RunStatus.FAILED, "process_exit", info, exit_code=code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


def error_info(error: BaseException, secrets: tuple[str, ...]) -> RunErrorInfo:
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


def stack_chunks(error: BaseException, secrets: tuple[str, ...]) -> list[str]:
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


def stack_text(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Return the whole stack of an exception and its causes, without secrets."""
    return presentable("".join(_formatted(error)), secrets, kept=_WHOLE_STACK_CHARACTERS // 2)


def describe(error: BaseException, secrets: tuple[str, ...]) -> str:
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
