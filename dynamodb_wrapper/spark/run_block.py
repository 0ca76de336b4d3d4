"""The block of a run, and the settings the session gets back at its end."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from dynamodb_wrapper.spark.jobs import mark_jobs, unmark_jobs
from dynamodb_wrapper.spark.sessions import restore_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from pyspark.sql import SparkSession

    from dynamodb_wrapper.runs import RunContext


class RunBlock(AbstractContextManager["str"]):
    """Yields the run id; its end is stored first, then the session's settings are restored.

    After an interruption (KeyboardInterrupt, SystemExit, GeneratorExit) the settings stay: the
    replies of the JVM may then be one off, so no call may be made.
    """

    def __init__(self, context: RunContext, open_blocks: dict[str, RunBlock]) -> None:
        self._context = context
        self._open_blocks = open_blocks
        self._run_id = ""
        self.session: SparkSession | None = None
        self._marks_jobs = False
        self._changed: list[tuple[SparkSession, Mapping[str, str | None]]] = []

    def use(self, session: SparkSession) -> None:
        """Note the session the run works with, so that its jobs can be cancelled."""
        self.session = session
        if self._marks_jobs:
            mark_jobs(session, self._run_id)

    def remember(self, session: SparkSession, previous: Mapping[str, str | None]) -> None:
        """Note what settings of a session held before this block changed them."""
        self._changed.append((session, previous))

    def __enter__(self) -> str:
        run = self._context.__enter__()
        self._run_id, self._marks_jobs = run.run_id, run.options.cancel_spark_jobs
        self._open_blocks[self._run_id] = self
        return self._run_id

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        calm = error is None or isinstance(error, Exception)
        try:
            self._context.__exit__(kind, error, trace)
        except BaseException as problem:
            calm = calm and isinstance(problem, Exception)
            raise
        finally:
            self._open_blocks.pop(self._run_id, None)
            if calm:
                self._restore()

    def _restore(self) -> None:
        if self.session is not None and self._marks_jobs:
            unmark_jobs(self.session, self._run_id)
        while self._changed:
            restore_settings(*self._changed.pop())
