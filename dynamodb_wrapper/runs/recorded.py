"""Functions whose calls are runs."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from typing_extensions import Concatenate, ParamSpec

from dynamodb_wrapper.exceptions import ConfigurationError
from dynamodb_wrapper.runs.context import BegunRun

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.run import Run

P = ParamSpec("P")
R = TypeVar("R")

_PROMISES = (inspect.isawaitable, inspect.isgenerator, inspect.isasyncgen)


class Recording:
    """The decorator `RunTracker.pipeline` returns.

    Args:
        begin: Begins a run; returns None where the call is to be skipped.
    """

    def __init__(self, begin: Callable[[], Run | None]) -> None:
        self._begin = begin

    @overload
    def __call__(self, function: Callable[Concatenate[Run, P], R]) -> Callable[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, each call of it a run."""
        if not callable(function):
            raise ConfigurationError(
                f"A {type(function).__name__} cannot be called, so it cannot be a run; of "
                "decorators such as staticmethod, pipeline(...) goes below."
            )
        if _is(function, inspect.isgeneratorfunction) or _is(function, inspect.isasyncgenfunction):
            raise ConfigurationError(
                f"{_name(function)} is a generator: a call of it runs nothing yet. Record "
                "the code that uses it up, with RunTracker.run(...)."
            )
        signature = _signature(function)
        given = [] if signature is None else list(signature.parameters.values())
        wants_run = bool(given) and given[0].name == "run"
        make = self._awaited if _is(function, inspect.iscoroutinefunction) else self._called
        wrapper = functools.wraps(function)(make(function, wants_run=wants_run))
        if signature is not None:
            # The signature is the one callers use, not that of the function inside.
            own = signature.replace(parameters=given[1:] if wants_run else given)
            wrapper.__signature__ = own  # type: ignore[attr-defined]
        return wrapper

    def _called(self, function: Callable[..., Any], *, wants_run: bool) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            run = self._begin()
            if run is None:
                return None
            with BegunRun(run):
                return _done(function, function(*([run] if wants_run else []), *args, **kwargs))

        return called

    def _awaited(self, function: Callable[..., Any], *, wants_run: bool) -> Callable[..., Any]:
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            run = self._begin()
            if run is None:
                return None
            with BegunRun(run):
                result = await function(*([run] if wants_run else []), *args, **kwargs)
                return _done(function, result)

        return awaited


def _done(function: Callable[..., Any], result: Any) -> Any:
    """Return what a function returned, unless that is a promise: it has done nothing yet then.

    A run of it must not succeed before its work begins.
    """
    if not any(kind(result) for kind in _PROMISES):
        return result
    if inspect.iscoroutine(result):
        result.close()  # it has not begun, and never will
    raise ConfigurationError(
        f"{_name(function)} returned a {type(result).__name__}: its work would be done after the "
        "run. Put pipeline(...) on the async function itself, make what it decorates async and "
        "await inside, or record the code that uses the result up, with RunTracker.run(...)."
    )


def _is(function: Callable[..., Any], kind: Callable[[Any], bool]) -> bool:
    """Tell whether a function, or the `__call__` of an object, is of a kind."""
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None


def _name(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return str(getattr(inner, "__qualname__", type(inner).__name__))
