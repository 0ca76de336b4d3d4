"""Outcomes of exceptions of any kind: decided and described in bounded time, whatever they do."""

from __future__ import annotations

import asyncio
import builtins
import sys
import time
from typing import Any

import pytest

from dynamodb_wrapper.models import RunStatus
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.runs.outcome import (
    Circumstances,
    describe,
    error_info,
    outcome_of,
    stack_chunks,
    stack_text,
)

SECRET = "hunter2-hunter2-hunter2"


def outcome(error: BaseException) -> RunOutcome:
    return outcome_of(error, Circumstances(secrets=(SECRET,)))


def raised(error: BaseException) -> BaseException:
    """Return an exception with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def chain(length: int) -> BaseException:
    """Return the last of exceptions that were raised one while another was handled."""
    last: BaseException | None = None
    for number in range(length):
        error = raised(ValueError(f"number {number}"))
        error.__context__ = last
        last = error
    assert last is not None
    return last


def unchained(error: BaseException | None) -> None:
    """Take a chain apart: Python frees a long one by recursion."""
    while error is not None:
        error.__context__, error = None, error.__context__


# ---- chains, groups and messages of any size -----------------------------------------------------


def test_a_long_chain_is_described_by_its_end_in_no_time() -> None:
    error = chain(20_000)
    begin = time.process_time()
    found = outcome(error)
    assert time.process_time() - begin < 5  # it took 86 s
    assert found.error is not None
    assert found.error.message == "number 19999"
    text = stack_text(error, ())
    assert text.startswith("[earlier exceptions are left out]")
    assert "ValueError: number 19980" in text
    assert "ValueError: number 19979" not in text
    assert "".join(stack_chunks(error, ())) in ("", text)
    unchained(error)


def test_a_chain_of_a_usual_length_is_shown_as_python_shows_it() -> None:
    text = stack_text(chain(3), ())
    assert text.count("During handling of the above exception, another exception occurred") == 2


def test_a_chain_that_leads_back_to_itself_comes_to_an_end() -> None:
    one, other = raised(ValueError("one")), raised(ValueError("other"))
    one.__context__, other.__context__ = other, one
    assert "ValueError: one" in stack_text(one, ())


def test_a_message_of_any_length_is_cut_without_a_secret_in_it() -> None:
    for length in (10_000, 2_000_000):
        error = raised(ValueError(f"{'x' * 3990} {SECRET} {'y' * length}"))
        found = error_info(error, (SECRET,))
        assert len(found.message.encode()) <= 2048
        assert len(stack_text(error, (SECRET,))) < 70_000
        assert "hunter2" not in f"{found} {stack_text(error, (SECRET,))}"


def test_a_deep_stack_is_shown_by_its_ends() -> None:
    def deep(depth: int) -> None:
        if depth == 0:
            raise ValueError("deep")
        deep(depth - 1)

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        deep(8000)
    except ValueError as error:
        text = stack_text(error, ())
    finally:
        sys.setrecursionlimit(before)
    assert "[frames are left out]" in text
    assert text.rstrip().endswith("ValueError: deep")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has groups from 3.11")
def test_a_group_that_holds_one_exception_many_times_over_is_soon_decided() -> None:
    group: Any = vars(builtins)["BaseExceptionGroup"]
    for inner, status in (
        (asyncio.CancelledError(), RunStatus.CANCELLED),
        (ValueError("why"), RunStatus.FAILED),
    ):
        error: BaseException = inner
        for _ in range(45):
            error = group("group", [error, error])
        assert outcome(error).status is status
        assert "ExceptionGroup: group" in stack_text(error, ())


# ---- exceptions that cannot be asked -------------------------------------------------------------


class _Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class _Interrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class _Fails(Exception):
    def __str__(self) -> str:
        raise MemoryError

    __repr__ = __str__


class _NoText(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class _Code(SystemExit):
    @property
    def code(self) -> int:  # type: ignore[override]
        raise GeneratorExit


@pytest.mark.parametrize("kind", [_Exits, _Interrupts, _Fails, _NoText, _Code])
def test_an_exception_that_raises_when_it_is_asked_is_a_failure_like_any(
    kind: type[BaseException],
) -> None:
    error = raised(kind("why"))
    found = outcome(error)
    assert (found.status, found.reason) == (RunStatus.FAILED, "exception")
    assert found.error is not None
    assert found.error.type.endswith(kind.__qualname__)
    assert "could not be" in found.error.message
    assert kind.__qualname__ in describe(error, ())
    assert isinstance(stack_text(error, ()), str)
