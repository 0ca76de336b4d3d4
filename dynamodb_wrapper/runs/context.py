"""A block of code as a run: begun in one transaction, ended in another."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NoReturn

from dynamodb_wrapper.exceptions import InvalidTransitionError, ValidationError

if TYPE_CHECKING:
    from types import TracebackType

    from dynamodb_wrapper.runs.opening import Opening
    from dynamodb_wrapper.runs.requests import RunRequest
    from dynamodb_wrapper.runs.run import Run


class BegunRun(AbstractContextManager["Run"]):
    """Ends a run that has begun with whatever leaves the block."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> Run:
        return self._run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._run.end(self._run, error)
        except InvalidTransitionError:
            if error is None:
                raise  # else: the body ended its run by itself, and what it raises now goes on


class RunContext(AbstractContextManager["Run"]):
    """Records the run of a pipeline around a block of code, and yields its handle.

    The block is entered only if the start was stored; its exception leaves it as the same object,
    and what the block came to is never changed by trouble in storing it. Once its block has ended
    it may be entered again, which is another run.
    """

    def __init__(self, opening: Opening, request: RunRequest) -> None:
        self._opening = opening
        self._request = request
        self._begun: BegunRun | None = None
        self._entered = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            f"A block of pipeline {self._request.pipeline_id!r} cannot be pickled or copied: its "
            "run belongs to the process that begins it. Pass the config, and call "
            "RunTracker(config).run(...) there."
        )

    def __enter__(self) -> Run:
        if self._request.options.on_conflict == "skip":
            raise ValidationError(
                "A block cannot be skipped: on_conflict='skip' belongs to the decorator "
                "RunTracker.pipeline(...). Use 'raise' or 'wait'."
            )
        if not self._entered.acquire(blocking=False):
            raise ValidationError(
                f"This block of pipeline {self._request.pipeline_id!r} has been entered and not "
                "left: its run goes on. Call RunTracker.run(...) once for every block."
            )
        try:
            run = self._opening.begin(self._request, watch_signals=True)
        except BaseException:
            self._entered.release()
            raise
        self._begun = BegunRun(run)
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        begun, self._begun = self._begun, None
        if begun is None:
            return
        try:
            begun.__exit__(kind, error, trace)
        finally:
            self._entered.release()
