"""Run a block or a function as a run: started in one transaction, finished in another."""

from __future__ import annotations

import functools
import inspect
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable, NoReturn, TypeVar, overload

from typing_extensions import Concatenate, ParamSpec

from dynamodb_wrapper.exceptions.errors import (
    ConfigurationError,
    InvalidTransitionError,
    RunSkippedError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from types import TracebackType

    from dynamodb_wrapper.runs.finish import RunFinisher
    from dynamodb_wrapper.runs.options import RunRequest
    from dynamodb_wrapper.runs.run import Run
    from dynamodb_wrapper.runs.start import RunStarter

logger = SafeLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
_PROMISES = (inspect.isawaitable, inspect.isgenerator, inspect.isasyncgen)
_LAZY = (map, filter, zip, enumerate, type(iter(int, 1)))
_FUTURES = frozenset(
    {"Future", "AsyncResult", "ApplyResult", "IMapIterator", "Greenlet", "Delayed"}
)
_FUTURES_OF = frozenset(
    "asyncio concurrent multiprocessing celery dask distributed gevent ipyparallel".split()
)


class RunContext(AbstractContextManager["Run"]):
    """Records the run of a pipeline around a block of code, and yields its handle.

    The block is entered only if the start was stored. Its exception leaves it as the same object,
    and trouble in storing the end never changes the result of the block. Once its block has ended
    it may be entered again, which is another run.

    ::

        with tracker.run("orders-daily") as run:
            run.log_rows(read=17)
    """

    def __init__(self, starter: RunStarter, finisher: RunFinisher, request: RunRequest) -> None:
        self._starter = starter
        self._finisher = finisher
        self._request = request
        self._run: Run | None = None
        self._entered = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            f"A block of pipeline {self._request.pipeline_id!r} cannot be pickled or copied: its "
            "run belongs to the process that begins it. Pass the config, and call "
            "RunTracker(config).run(...) there."
        )

    def __enter__(self) -> Run:
        if not self._entered.acquire(blocking=False):
            raise ValidationError(
                f"This block of pipeline {self._request.pipeline_id!r} has been entered and not "
                "left: its run goes on. Call RunTracker.run(...) once for every block."
            )
        try:
            self._run = self._starter.start(self._request, watch_signals=True)
            return self._run
        except BaseException as error:
            if self._run is None:
                self._entered.release()
            else:  # raised in between by a signal or another thread
                self._end(error)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end(error)
        except BaseException:
            self._end(error)  # does nothing unless this came from outside, before the end began
            raise

    def _end(self, error: BaseException | None) -> None:
        run = self._run
        if run is None:
            return
        parts = run.internals
        try:
            self._finisher.finish(parts, error)
        except InvalidTransitionError:
            if error is None:
                raise  # else: the body called finish() or fail(), and its exception goes on
        finally:
            has_begun = parts.ending is not None or not parts.liveness.is_own_process
            if has_begun and not parts.signals.is_holding:
                self._run = None
                self._entered.release()


class RunDecorator:
    """Records every call of a function as a run; `RunTracker.pipeline` returns it.

    Args:
        context: Makes the block of a call; given the arguments of the call.
    """

    def __init__(self, context: Callable[..., RunContext]) -> None:
        self._context = context

    @overload
    def __call__(self, function: Callable[Concatenate[Run, P], R]) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[S, Run, P], R]
    ) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose every call is a run."""
        if not callable(function) or isinstance(function, (staticmethod, classmethod)):
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
        handle = _Handle(given)
        make = self._awaited if _is(function, inspect.iscoroutinefunction) else self._called
        wrapper = functools.wraps(function)(make(function, handle))
        if signature is not None:
            # The signature is the one callers use, not that of the function inside.
            own = signature.replace(parameters=handle.others())
            wrapper.__signature__ = own  # type: ignore[attr-defined]
        return wrapper

    def _called(self, function: Callable[..., Any], handle: _Handle) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            is_entered = False
            try:
                with self._context(*args, **kwargs) as run:
                    is_entered = True
                    result = handle.call(function, run, args, kwargs)
                    return _checked_result(function, result)
            except RunSkippedError as skipped:
                if is_entered:
                    raise  # from a run inside of the function
                logger.info("The function is not called: %s", skipped)
                return None

        return called

    def _awaited(self, function: Callable[..., Any], handle: _Handle) -> Callable[..., Any]:
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            is_entered = False
            try:
                with self._context(*args, **kwargs) as run:
                    is_entered = True
                    result = await handle.call(function, run, args, kwargs)
                    return _checked_result(function, result)
            except RunSkippedError as skipped:
                if is_entered:
                    raise  # from a run inside of the function
                logger.info("The function is not called: %s", skipped)
                return None

        return awaited


class _Handle:
    """The parameter of a function that takes its run, if it has one.

    Args:
        parameters: Those of the function.
    """

    def __init__(self, parameters: list[inspect.Parameter]) -> None:
        self._parameters = parameters
        names = [parameter.name for parameter in parameters[:2]]
        self._place = None  # among the positional arguments
        if names[:1] == ["run"]:
            self._place = 0
        elif names[1:] == ["run"] and names[0] in ("self", "cls"):
            self._place = 1
        self._is_keyword = any(
            parameter.name == "run" and parameter.kind is parameter.KEYWORD_ONLY
            for parameter in parameters
        )

    def others(self) -> list[inspect.Parameter]:
        """Return the parameters that are left to the caller."""
        if self._place is None and not self._is_keyword:
            return self._parameters
        return [parameter for parameter in self._parameters if parameter.name != "run"]

    def call(
        self, function: Callable[..., Any], run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call the function with its run."""
        place = self._place
        if self._is_keyword or (place is not None and place > len(args)):
            return function(*args, run=run, **kwargs)
        if place is None:
            return function(*args, **kwargs)
        return function(*args[:place], run, *args[place:], **kwargs)


def _checked_result(function: Callable[..., Any], result: Any) -> Any:
    """Return the result of a function, unless it is a coroutine, generator, future or the like.

    Such a function has done nothing yet: its run must not succeed before its work begins.
    """
    if not any(kind(result) for kind in _PROMISES) and not _is_lazy(result):
        return result
    if inspect.iscoroutine(result):
        result.close()  # it has not begun, and never will
    raise ConfigurationError(
        f"{_name(function)} returned a {type(result).__name__}: its work would be done after the "
        "run. Put pipeline(...) on the async function itself, make what it decorates async and "
        "await inside, wait for the result and return that, or record the code that uses the "
        "result up, with RunTracker.run(...)."
    )


def _is_lazy(result: Any) -> bool:
    """Return whether a result is computed when it is used up, or in another thread or process."""
    return (
        isinstance(result, _LAZY)
        or (type(result).__module__ == "itertools" and hasattr(result, "__next__"))
        or any(
            kind.__name__ in _FUTURES and kind.__module__.partition(".")[0] in _FUTURES_OF
            for kind in type(result).__mro__
        )
    )


def _is(function: Callable[..., Any], kind: Callable[[Any], bool]) -> bool:
    """Return whether a function, or the `__call__` of an object, is of a kind."""
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None


def _name(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return str(getattr(inner, "__qualname__", type(inner).__name__))
