"""What the end of a body means: pure decisions from the exception that left it."""

from __future__ import annotations

import asyncio
import traceback

from dynamodb_wrapper.models import RunErrorInfo, RunStatus
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.redaction import head, presentable, stored_text, tail

_MESSAGE_BYTES = 2048
_STACK_BYTES = 4096


def outcome_of(error: BaseException | None, secrets: tuple[str, ...]) -> RunOutcome:
    """Return how a run ended.

    A script that ends with ``sys.exit(0)`` succeeded; Ctrl-C, a closed generator and a cancelled
    task are cancellations, everything else a failure.

    Args:
        error: What left the body; None for a normal end.
        secrets: Values to take out of texts.
    """
    if error is None:
        return RunOutcome(RunStatus.SUCCESS)
    try:
        return _classified(error, secrets)
    except Exception:  # noqa: BLE001 - describing the error must not replace it
        info = RunErrorInfo(type=type(error).__qualname__, message="<could not be described>")
        return RunOutcome(RunStatus.FAILED, "exception", info)


def _classified(error: BaseException, secrets: tuple[str, ...]) -> RunOutcome:
    if isinstance(error, SystemExit):
        return _of_exit(error, secrets)
    if isinstance(error, KeyboardInterrupt):
        return RunOutcome(RunStatus.CANCELLED, "user_cancel")
    if isinstance(error, (GeneratorExit, asyncio.CancelledError)):
        return RunOutcome(RunStatus.CANCELLED, "cancelled")
    return RunOutcome(RunStatus.FAILED, "exception", error_info(error, secrets))


def _of_exit(error: SystemExit, secrets: tuple[str, ...]) -> RunOutcome:
    if error.code in (None, 0):
        return RunOutcome(RunStatus.SUCCESS)
    code = error.code if isinstance(error.code, int) else 1
    info = error_info(error, secrets)
    return RunOutcome(RunStatus.FAILED, "process_exit", info, exit_code=code)


def error_info(error: BaseException, secrets: tuple[str, ...]) -> RunErrorInfo:
    """Return type, message and stack of an exception, shortened and without secrets."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    stack = presentable("".join(_formatted(error)), secrets)
    return RunErrorInfo(
        type=f"{module}{kind.__qualname__}",
        message=stored_text(_text(error), secrets, _MESSAGE_BYTES),
        stack_head=head(stack, _STACK_BYTES),
        stack_tail=tail(stack, _STACK_BYTES),
    )


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
