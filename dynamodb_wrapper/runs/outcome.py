"""Decide the outcome of a run from the exception that left its body, and describe exceptions.

The exceptions are those of any program: asking one for its text may raise, or exit. Describing it
changes nothing of what is raised, and takes bounded time and memory. All functions are pure.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import hashlib
import sys
import traceback
from collections import deque
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
from dynamodb_wrapper.runs.causes import Cause, cause_in_spark

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_MESSAGE_BYTES = 2048
_STACK_BYTES = 4096
_WHOLE_STACK_CHARACTERS = 60_000  # at most 240 KB, however many bytes a character has
_FRAMES = 12
_LIBRARY = __name__.partition(".")[0]
_TEXT_CHARACTERS = 262_144  # far more of a message than is stored
# Beyond these Python's own formatting would take too long: it grows with the square of some.
_MOST_EXCEPTIONS = 100
_MOST_FRAMES = 5000
_MOST_CHARACTERS = 1_000_000
# What is shown then.
_SHOWN_EXCEPTIONS = 20
_SHOWN_FRAMES = 25
_SHOWN_IN_GROUP = 10
_SHOWN_BYTES = 4096
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


# ---- texts of exceptions -------------------------------------------------------------------------


def error_info(error: BaseException, secrets: Iterable[str]) -> RunErrorInfo:
    """Return type, message and stack of an exception, shortened and without secrets."""
    stack, text = stack_text(error, secrets), _text(error)
    cause = cause_in_spark(error, text)
    if cause is None:
        cause = Cause(type_name(error), text)
    if not cause.places:
        cause = cause._replace(places=_places(error))
    return RunErrorInfo(
        type=redact_known(cause.type, secrets),
        message=stored_text(cause.message, secrets, _MESSAGE_BYTES),
        fingerprint=_fingerprint(cause),
        stack_head=head(stack, _STACK_BYTES),
        stack_tail=tail(stack, _STACK_BYTES),
        chunks=len(_chunks(stack)),
    )


def undescribed(error: BaseException, secrets: Iterable[str]) -> RunErrorInfo:
    """Return what is known of an exception that cannot be described."""
    kind = redact_known(type_name(error), secrets)
    return RunErrorInfo(type=kind, message="<could not be described>")


def describe(error: BaseException, secrets: Iterable[str]) -> str:
    """Return type and message of an exception in one text, shortened and without secrets."""
    return stored_text(
        f"{_of_type('__qualname__', type(error))}: {_text(error)}", secrets, _MESSAGE_BYTES
    )


def stack_text(error: BaseException, secrets: Iterable[str]) -> str:
    """Return the whole stack of an exception and its causes, without secrets.

    Of a chain of more than 100 exceptions the last 20 are shown, of very many frames the first and
    the last, of very long messages the beginning.
    """
    text = "".join(formatted_stack(error, secrets))
    return presentable(text, secrets, kept=_WHOLE_STACK_CHARACTERS // 2)


def stack_chunks(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return the whole stack in pieces to store; none where head and tail hold all of it."""
    return _chunks(stack_text(error, secrets))


def _chunks(stack: str) -> list[str]:
    return chunks_of(stack) if len(stack.encode()) > _STACK_BYTES else []


def _fingerprint(cause: Cause) -> str:
    """Return 16 characters that are the same for errors of one type from one place in the code.

    Made of the type and the innermost functions, without line numbers and messages, so that it
    survives edits elsewhere in the file and differing values.
    """
    text = "|".join([cause.type, *cause.places])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _places(error: BaseException) -> tuple[str, ...]:
    places: deque[str] = deque(maxlen=_FRAMES)
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        places.append(f"{frame.f_globals.get('__name__')}:{frame.f_code.co_name}")
        trace = trace.tb_next
    return tuple(places)


def type_name(error: BaseException) -> str:
    """Return the name of the type of an exception, with its module unless it is Python's own."""
    name, module = _of_type("__qualname__", type(error)), _of_type("__module__", type(error))
    return name if module == "builtins" else f"{module}.{name}"


def _of_type(attribute: str, kind: type) -> str:
    """Return a name of a type, past a metaclass that has another idea of it."""
    found = type.__dict__[attribute].__get__(kind)
    return found if isinstance(found, str) else "?"


def is_of_library(raised: BaseException) -> bool:
    """Return whether an exception comes from a line of this library, not of what it has called.

    So does one that a signal handler, or another thread, raises in between: it must go on.
    """
    trace = raised.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = None if trace is None else trace.tb_frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == _LIBRARY


def _text(error: BaseException) -> str:
    """Return the message of an exception, of a very long one the beginning."""
    try:
        return str.__getitem__(str(error), slice(_TEXT_CHARACTERS))
    except BaseException as raised:
        if not isinstance(raised, Exception) and is_of_library(raised):
            raise
        return "<the message could not be read>"


# ---- the stack -----------------------------------------------------------------------------------


def formatted_stack(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return the lines of a stack; a shortened one is without secrets, another as Python has it."""
    try:
        if _is_moderate(error):
            return traceback.format_exception(type(error), error, error.__traceback__)
        return _shortened(error, secrets)
    except BaseException as raised:
        if not isinstance(raised, Exception) and is_of_library(raised):
            raise
        return ["<the stack could not be read>"]


def _is_moderate(error: BaseException) -> bool:
    """Return whether an exception, with all that is chained to it or in it, is soon formatted."""
    ahead, seen = [error], {id(error)}
    exceptions = frames = characters = 0
    while ahead:
        one = ahead.pop()
        inner = _of_group(one)
        exceptions += 1
        characters += len(_text(one)) + _note_characters(one)
        frames += _count_frames(one.__traceback__)
        if (
            exceptions + len(inner) > _MOST_EXCEPTIONS
            or frames > _MOST_FRAMES
            or characters > _MOST_CHARACTERS
        ):
            return False
        ahead += inner
        for before in (one.__cause__, one.__context__):
            if before is not None and id(before) not in seen:
                seen.add(id(before))
                ahead.append(before)
    return True


def is_group(error: BaseException) -> bool:
    """Return whether an exception is a group: Python's from 3.11, or that of `exceptiongroup`."""
    kinds = type(error).__mro__
    return any(_of_type("__name__", kind) == "BaseExceptionGroup" for kind in kinds)


def _of_group(error: BaseException) -> tuple[BaseException, ...]:
    return tuple(error.exceptions) if is_group(error) else ()  # type: ignore[attr-defined]


def _note_characters(error: BaseException) -> int:
    notes = getattr(error, "__notes__", None)
    listed = notes if isinstance(notes, (list, tuple)) else ()
    return sum(len(note) for note in listed if isinstance(note, str))


def _count_frames(trace: TracebackType | None) -> int:
    count = 0
    while trace is not None and count <= _MOST_FRAMES:
        count += 1
        trace = trace.tb_next
    return count


def _shortened(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return the last exceptions of a chain, each with the ends of its stack and message."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen and len(chain) < _SHOWN_EXCEPTIONS:
        seen.add(id(one))
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    lines = ["[earlier exceptions are left out]\n\n"] if one is not None else []
    for number, shown in enumerate(reversed(chain)):
        if number:
            lines.append("\n[after which this exception occurred]\n\n")
        lines += _one(shown, secrets)
    return lines


def _one(error: BaseException, secrets: Iterable[str]) -> list[str]:
    lines = ["Traceback (most recent call last):\n", *_frames(error.__traceback__)]
    lines.append(_line(error, secrets))
    inner = _of_group(error)
    lines += [f"  - {_line(one, secrets)}" for one in inner[:_SHOWN_IN_GROUP]]
    if len(inner) > _SHOWN_IN_GROUP:
        lines.append(f"  - [and {len(inner) - _SHOWN_IN_GROUP:,} more]\n")
    return lines


def _frames(trace: TracebackType | None) -> list[str]:
    if _count_frames(trace) <= 2 * _SHOWN_FRAMES:
        return traceback.format_tb(trace)
    first = traceback.format_tb(trace, _SHOWN_FRAMES)
    return [*first, "  [frames are left out]\n", *traceback.format_tb(trace, -_SHOWN_FRAMES)]


def _line(error: BaseException, secrets: Iterable[str]) -> str:
    text = stored_text(_text(error)[: 4 * _SHOWN_BYTES], secrets, _SHOWN_BYTES)
    return f"{type_name(error)}: {text}\n"
