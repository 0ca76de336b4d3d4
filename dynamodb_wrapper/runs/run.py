"""`Run`: the handle its body works with."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.run import DataQualityResult, Metric, TableOutput
from dynamodb_wrapper.runs.liveness import RunStanding
from dynamodb_wrapper.runs.options import checked_mapping
from dynamodb_wrapper.runs.stages import Stage, checked, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.run import LogInfo, PipelineRunLog
    from dynamodb_wrapper.runs.fencing import DeltaFence
    from dynamodb_wrapper.runs.logs import LogCapture
    from dynamodb_wrapper.runs.options import RunOptions
    from dynamodb_wrapper.runs.recorder import Parts, Recorder
    from dynamodb_wrapper.runs.signals import SignalGuard
    from dynamodb_wrapper.runs.watermarks import Progress

_ERRORS_KEPT = 8
T = TypeVar("T")


class RunRecords(RunStanding):
    """The part of a run handle that records; its methods may be called from several threads.

    What is recorded is stored at once, costing a write unit per KB of the run; trouble with
    DynamoDB never reaches the body there: what could not be stored is sent again with the next
    beat or with the end of the run.
    """

    def __init__(
        self,
        record: PipelineRunLog,
        pipeline: PipelineConfig,
        clock: Callable[[], datetime],
        *,
        tracked: bool,
    ) -> None:
        super().__init__(record, pipeline, clock, tracked=tracked)
        self._input_lock = threading.RLock()  # a signal handler may record while this thread does
        self._inputs: dict[str, None] = {}
        self._raised_in: deque[tuple[Callable[[], BaseException | None], str]] = deque(
            maxlen=_ERRORS_KEPT
        )
        self.logs: LogCapture | None = None
        # Set by whoever begins the run, before anybody sees it.
        self.recorder: Recorder
        self.check_parts: Callable[[Parts], None]
        self.describe: Callable[[BaseException], str]

    def stage_that_raised(self, error: BaseException) -> str | None:
        """Return the name of the innermost stage an exception came out of."""
        # By identity of what is still there: ids are used again, and errors may claim equality.
        return next((name for known, name in list(self._raised_in) if known() is error), None)

    def note_stage_raised(self, name: str, error: BaseException) -> None:
        """Note that an exception comes out of a stage."""
        if self.stage_that_raised(error) is None:
            self._raised_in.append((_reference(error), name))

    def log_metric(self, name: str, value: Metric | float) -> None:
        """Record a metric; the same name again replaces it.

        NaN and the infinities, which DynamoDB has no numbers for, are stored as text. Costs a
        write unit per KB of the run. See: UpdateItem.

        Args:
            name: Name of the metric.
            value: A number or a text.

        Raises:
            ValidationError: The value is no number and no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.log_metrics({name: value})

    def log_metrics(self, metrics: Mapping[str, Metric | float]) -> None:
        """Record metrics in one write; as `log_metric`."""
        given = checked_mapping(metrics, "metrics")
        self.record_parts({("metrics", name): storable(value) for name, value in given.items()})

    def rows(
        self, *, read: int | None = None, written: int | None = None, failed: int | None = None
    ) -> None:
        """Record how many rows the run read, wrote and could not process; totals, not additions.

        Costs a write unit per KB of the run, once for all of them. See: UpdateItem.

        Args:
            read: Number of rows read.
            written: Number of rows written.
            failed: Number of rows that could not be processed.

        Raises:
            ValidationError: A count is negative or no whole number.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        totals = {"records_read": read, "records_written": written, "records_failed": failed}
        given: Parts = {(name,): value for name, value in totals.items() if value is not None}
        if given:
            self.record_parts(given)

    def record_quality(
        self, name: str, result: DataQualityResult | bool, **details: Any
    ) -> DataQualityResult:
        """Record the result of a data quality check, and return it; the same name replaces it.

        A check that did not pass does not fail the run. Costs a write unit per KB of the run.
        See: UpdateItem.

        Args:
            name: Name of the check.
            result: The result, or whether the check passed.
            details: Further fields of `DataQualityResult`, such as ``failed_rows=3``; of no effect
                beside a whole result.

        Raises:
            ValidationError: A detail is unknown, or does not fit.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        if not isinstance(result, DataQualityResult):
            unknown = sorted(set(details) - set(DataQualityResult.model_fields))
            if unknown:
                known = ", ".join(DataQualityResult.model_fields)
                raise ValidationError(f"A check has no {', '.join(unknown)}; it has {known}.")
            values = {"evaluated_at": self.clock(), **details, "passed": result}
            result = checked(DataQualityResult, values)
        self.record_parts({("data_quality", name): result})
        return result

    def inputs(self, *table_ids: str) -> None:
        """Record which tables the run reads; further calls add to them.

        Costs a write unit per KB of the run. See: UpdateItem.

        Args:
            table_ids: The tables.

        Raises:
            ValidationError: An id is no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        with self._input_lock:  # held until it is recorded: a longer list must not be overtaken
            self.check_parts({("inputs",): list(table_ids)})
            self._inputs.update(dict.fromkeys(table_ids))
            self.record_parts({("inputs",): list(self._inputs)})

    def output(
        self,
        table_id: str,
        rows: int | None = None,
        bytes: int | None = None,
    ) -> None:
        """Record what the run wrote to a table; the same table again replaces it.

        Costs a write unit per KB of the run. See: UpdateItem.

        Args:
            table_id: The table.
            rows: Number of rows, where it is known.
            bytes: Size in bytes, where it is known.

        Raises:
            ValidationError: A number is negative or no whole number.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        output = checked(TableOutput, {"rows": rows, "bytes": bytes})
        self.record_parts({("outputs", table_id): output})

    def record_parts(self, parts: Parts) -> None:
        """Record parts of the run by their paths.

        Raises:
            ValidationError: A part cannot be stored; it is refused here, where its caller sees it.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        self.check_parts(parts)
        if not self.recorder.record(parts):
            self.require_open()  # it ended meanwhile

    # ---- log lines -------------------------------------------------------------------------------

    def log_totals(self) -> LogInfo | None:
        """Return how many log lines will be stored with the run; None where none are."""
        return None if self.logs is None else self.logs.final_totals()

    def detach_logs(self) -> None:
        """Take no more log lines."""
        if self.logs is not None:
            logging.getLogger().removeHandler(self.logs)

    def store_logs(self) -> None:
        """Store the log lines that have come together."""
        if self.logs is not None:
            totals = self.logs.store_lines()
            if totals is not None:
                self.recorder.record({("logs",): totals})


def _reference(error: BaseException) -> Callable[[], BaseException | None]:
    """Return what finds an exception again; weak where it can be, for frames hang on it."""
    try:
        return weakref.ref(error)
    except TypeError:  # Python's own exceptions
        return lambda: error


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
