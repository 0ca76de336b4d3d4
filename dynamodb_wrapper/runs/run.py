"""A run as its body sees it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.runs.records import RunRecords
from dynamodb_wrapper.runs.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog
    from dynamodb_wrapper.runs.fencing import DeltaFence
    from dynamodb_wrapper.runs.options import RunOptions
    from dynamodb_wrapper.runs.progress import Progress
    from dynamodb_wrapper.runs.signals import SignalGuard

T = TypeVar("T")


class Run(RunRecords):
    """A run while it goes on. Its methods may be called from several threads.

    Once the run has ended here, and in a process that was forked from the one that began it, a
    handle takes nothing more: what would be lost is refused with `NoActiveRunError`.

    Attributes:
        pipeline: The pipeline's configuration the run began with.
        run_table: The run table as DynamoDB knows it.
        tracked: Whether the run is stored; False only with ``tracking="best_effort"``.
        pid: The process the run belongs to; a forked child has no part in it.
        outcome: What the run came to; None while this handle is open.
    """

    def __init__(
        self,
        record: PipelineRunLog,
        pipeline: PipelineConfig,
        options: RunOptions,
        clock: Callable[[], datetime],
        *,
        run_table: str,
        tracked: bool = True,
    ) -> None:
        super().__init__(record, pipeline, clock, tracked=tracked)
        self.run_table = run_table
        self.options = options
        self.skip_reason: str | None = None
        self._stage_numbers = count(1)
        # Set by whoever begins the run, before anybody sees it.
        self.progress: Progress
        self.delta: DeltaFence
        self.guard: SignalGuard
        self.end: Callable[[Run, BaseException | None], None]

    def __repr__(self) -> str:
        return f"Run(run_id={self.run_id!r}, pipeline_id={self.pipeline_id!r})"

    # ---- its stages ------------------------------------------------------------------------------

    def stage(self, name: str) -> Stage:
        """Return a context manager that records a stage; its exception goes on as it is.

        Entering and leaving it cost a write unit per KB of the run, each. See: UpdateItem.

        Args:
            name: Name of the stage, unique within the run; the same name again replaces it.

        Raises:
            RunCancelledError: Somebody asked for the run to be cancelled.
            RunTimedOutError: The run is past its deadline.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        self.raise_if_cancelled()
        self.raise_if_timed_out()
        return Stage(name, next(self._stage_numbers), self)

    # ---- how far the data got --------------------------------------------------------------------

    @overload
    def watermark(self, name: str) -> Any: ...
    @overload
    def watermark(self, name: str, default: T) -> T: ...
    def watermark(self, name: str, default: Any = None) -> Any:
        """Return how far the pipeline has got, as the type it was stored with.

        Read once per run, consistently; what `advance_watermark` set is seen at once. Costs a
        read unit per 4 KB. See: GetItem.

        Args:
            name: Name of the watermark.
            default: Returned where there is none yet.

        Raises:
            ValidationError: The pipeline is not exclusive.
            NoActiveRunError: The run belongs to another process.
            ConnectionError: DynamoDB could not be reached.
        """
        self.require_here()
        self._require_exclusive("A watermark")
        value = self.progress.value(name)
        return default if value is None else value

    def advance_watermark(self, name: str, value: Any) -> None:
        """Move a watermark forward; committed in the transaction that stores the success.

        A run that does not end as SUCCESS moves nothing. Costs two write units at the end of the
        run.

        Args:
            name: Name of the watermark.
            value: Text, number, boolean, aware datetime, date, bytes, or a dict or list that JSON
                can say; at most 64 KB.

        Raises:
            ValidationError: The pipeline is not exclusive, the value lies before the present one,
                is too large, or of no kind that is kept.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        self._require_exclusive("A watermark")
        self.progress.advance(name, value)

    def _require_exclusive(self, what: str) -> None:
        if self.fence is None:
            raise ValidationError(
                f"{what} belongs to an exclusive pipeline; {self.pipeline_id!r} sets no limit of "
                "runs, and two of them would move it at once. Set max_concurrent_runs=1."
            )

    def skip(self, reason: str) -> None:
        """Let the run end as SKIPPED instead of SUCCESS: there was nothing to do.

        It does not leave the block; return after it. Watermarks are not moved. Sends nothing by
        itself; an exception after it decides instead.

        Args:
            reason: Why; stored with the run as `status_detail`, with secrets taken out.

        Raises:
            ValidationError: The reason is no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        if not isinstance(reason, str):
            raise ValidationError(
                f"Run.skip takes a text, not a {type(reason).__name__}: run.skip(str(reason)). "
                "A run that failed ends with run.fail(error), or by raising."
            )
        self.skip_reason = reason

    # ---- fencing ---------------------------------------------------------------------------------

    def fence_table(self, spark: Any, path: str) -> None:
        """Shut earlier runs' drivers out of a Delta table; call it before the first write.

        Commits an empty append under this run's fence. From then on a write with
        `delta_txn_options` of an earlier run adds no rows; one that was committed before stays, and
        one without those options is not held back. Repeated calls do nothing.

        Args:
            spark: A session with Delta.
            path: The table, which must exist.

        Raises:
            LeaseLostError: Another run has taken over, or may have; or the run has ended, or
                belongs to another process.
            RunTimedOutError: The run is past its deadline.
            ValidationError: The pipeline is not exclusive, or Spark finds no Delta table at the
                path that it could append to.
        """
        self.check_lease()
        self.delta.raise_barrier(spark, path)

    def delta_txn_options(self) -> dict[str, str]:
        """Return the options of the next write to a Delta table, numbered within the run.

        Use each once, and write to one table in the order the options were made: Delta silently
        skips a write whose number is not higher than the last it has seen of the pipeline.

        Raises:
            ValidationError: The pipeline is not exclusive, or the run made 999 before.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        return self.delta.options()

    # ---- its end, outside of a block -------------------------------------------------------------

    def finish(self) -> None:
        """End a run of `RunTracker.start` as SUCCESS; repeating it says the same again.

        Costs as leaving the block of `RunTracker.run`. See: TransactWriteItems.

        Raises:
            RunFinishError: The end could not be stored, and had to be.
            InvalidTransitionError: The run has ended otherwise; both statuses are named.
        """
        self.end(self, None)

    def fail(self, error: BaseException) -> None:
        """End a run of `RunTracker.start` with what an exception means.

        An ordinary exception means FAILED, KeyboardInterrupt and a closed generator CANCELLED,
        ``SystemExit(0)`` SUCCESS. The exception is not raised. Costs as `finish`.
        See: TransactWriteItems.

        Args:
            error: The exception itself, such as the one an ``except`` clause caught.

        Raises:
            ValidationError: It is no exception, or a class of them; the run stays open.
            InvalidTransitionError: The run has ended otherwise; both statuses are named.
        """
        if not isinstance(error, BaseException):
            raise ValidationError(f"Run.fail takes {_instead(error)} Run {self.run_id} is open.")
        self.end(self, error)


def _instead(given: object) -> str:
    what = "None."
    if isinstance(given, type):
        what = f"the class {given.__name__}: make one, such as {given.__name__}('why')."
    elif given is not None:
        what = f"a {type(given).__name__}: wrap it, such as RuntimeError('why')."
    return f"an exception, not {what} A run that succeeded ends with run.finish()."
