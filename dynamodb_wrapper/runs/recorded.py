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
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{function.__qualname__} is a generator: a call of it runs nothing yet. Record "
                "the code that uses it up, with RunTracker.run(...)."
            )
        wants_run = next(iter(inspect.signature(function).parameters), None) == "run"
        make = self._awaited if inspect.iscoroutinefunction(function) else self._called
        wrapper = functools.wraps(function)(make(function, wants_run=wants_run))
        # The signature is the one callers use, not that of the function inside.
        wrapper.__signature__ = _without_run(function, wants_run=wants_run)  # type: ignore[attr-defined]
        return wrapper

    def _called(self, function: Callable[..., Any], *, wants_run: bool) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            run = self._begin()
            if run is None:
                return None
            with BegunRun(run):
                return function(*([run] if wants_run else []), *args, **kwargs)

        return called

    def _awaited(self, function: Callable[..., Any], *, wants_run: bool) -> Callable[..., Any]:
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            run = self._begin()
            if run is None:
                return None
            with BegunRun(run):
                return await function(*([run] if wants_run else []), *args, **kwargs)

        return awaited


def _without_run(function: Callable[..., Any], *, wants_run: bool) -> inspect.Signature:
    signature = inspect.signature(function)
    given = list(signature.parameters.values())
    return signature.replace(parameters=given[1:] if wants_run else given)
