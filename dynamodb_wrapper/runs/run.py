"""`Run`: the handle its body works with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ContextDecorator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.measures import Metric
from dynamodb_wrapper.models.run import DataQualityResult, TableOutput
from dynamodb_wrapper.runs.options import checked_mapping
from dynamodb_wrapper.runs.stages import Stage, checked

if TYPE_CHECKING:
    from threading import RLock, Thread

    from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.fencing import DeltaFence
    from dynamodb_wrapper.runs.heartbeat import Heartbeat
    from dynamodb_wrapper.runs.hooks import Round
    from dynamodb_wrapper.runs.liveness import Liveness
    from dynamodb_wrapper.runs.logs import LogCapture
    from dynamodb_wrapper.runs.options import RunOptions
    from dynamodb_wrapper.runs.recorder import Parts, Recorder, TableRecords
    from dynamodb_wrapper.runs.signals import SignalGuard
    from dynamodb_wrapper.runs.spool import SpooledRun
    from dynamodb_wrapper.runs.stages import Stages
    from dynamodb_wrapper.runs.watermarks import Watermarks

T = TypeVar("T")


@dataclass(eq=False, repr=False)
class Ending:
    """How far the end of a run has come: what was decided, and what is stored.

    Attributes:
        outcome: How the run ended.
        error: The exception that left its body.
        frozen: The end with everything that goes with it; None while the run still records.
        stored: The run as it is stored with its outcome.
        is_settled: Whether the outcome is stored, kept in the spool, or refused for good.
        has_texts: Whether log lines and stack trace are stored or kept as well.
        mishaps: How often storing it met an unexpected exception.
        is_known: Whether hooks were notified, and the exception has its note.
        problem: Why the outcome, or its texts, are not stored.
        hooks: The calls of hooks that are not waited for yet.
    """

    outcome: RunOutcome
    error: BaseException | None
    frozen: SpooledRun | None = None
    stored: PipelineRunLog | None = None
    is_settled: bool = False
    has_texts: bool = False
    mishaps: int = 0
    is_known: bool = False
    problem: DynamoDBWrapperError | None = None
    hooks: Round | None = None

    @property
    def has_bug(self) -> bool:
        """Whether an unexpected exception came again: then it is no one's but the library's."""
        return self.mishaps > 1


@dataclass(eq=False, repr=False)
class RunInternals:
    """The parts of a run; run control works with them, its body with `Run`.

    Attributes:
        run_table: The run table as DynamoDB knows it.
        pipeline: The pipeline's configuration the run began with.
        options: How the run begins and ends.
        liveness: Whether the run is open: lease, deadline, cancel request, outcome.
        recorder: Stores stages, metrics and outputs.
        tables: Records the tables that are read and written.
        heartbeat: Renews the lease.
        watermarks: Read and moved by the run.
        delta: Numbers the run's writes to Delta tables.
        signals: Turns SIGTERM into an exception, and holds signals back.
        stages: Its stages that are under way, and which one an exception left.
        cancel_jobs: Cancels the Spark jobs of the run from a thread, which it returns; None where
            that is not wanted or not possible.
        logs: Stores the driver's log lines; None where that is not wanted.
        skip_reason: Why there was nothing to do; see `Run.skip`.
        ending: How far the end of the run has come; None before it was decided.
        settling: Held by the thread that stores the end.
    """

    run_table: str
    pipeline: PipelineConfig
    options: RunOptions
    liveness: Liveness
    recorder: Recorder
    tables: TableRecords
    heartbeat: Heartbeat
    watermarks: Watermarks
    delta: DeltaFence
    signals: SignalGuard
    stages: Stages
    cancel_jobs: Callable[[], Thread | None]
    logs: LogCapture | None = None
    skip_reason: str | None = None
    ending: Ending | None = None
    settling: RLock = field(default_factory=threading.RLock)


class Run:
    """A run while it goes on. Its methods may be called from several threads.

    ::

        with tracker.run("orders-daily") as run:
            with run.stage("load") as stage:
                stage.log_rows(read=17)
            run.log_metric("late_orders", 3)

    Records are stored at once, costing a write unit per KB of the run; those after the first 200
    with the next beat. A run keeps 4,000 metrics, and 1,000 stages, checks, inputs and outputs
    each. Trouble with DynamoDB does not reach the body there: what could not be stored is sent
    again with the next beat or with the end of the run.

    Once the run has ended here, and in a process that was forked from the one that started it,
    methods raise `NoActiveRunError` instead of losing what they are given.

    Args:
        internals: The parts of the run.
        finish: Ends the run with the exception that left its body, or None.

    Attributes:
        internals: The parts of the run, for run control itself.
    """

    def __init__(
        self,
        internals: RunInternals,
        finish: Callable[[RunInternals, BaseException | None], None],
    ) -> None:
        self.internals = internals
        self._liveness = internals.liveness
        self._recorder = internals.recorder
        self._finish = finish
        self._stage_numbers = count(1)

    def __repr__(self) -> str:
        return f"Run(run_id={self.run_id!r}, pipeline_id={self.pipeline_id!r})"

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            f"A Run cannot be pickled or copied: run {self.run_id} belongs to the process that "
            "started it. Pass its run_id, and record the results in this process."
        )

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def record(self) -> PipelineRunLog:
        """The run as it was last seen in DynamoDB: at its start, or with its last beat."""
        return self._liveness.record

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self.record.run_id

    @property
    def pipeline_id(self) -> str:
        """Id of the pipeline."""
        return self.record.pipeline_id

    @property
    def pipeline(self) -> PipelineConfig:
        """The pipeline's configuration the run began with."""
        return self.internals.pipeline

    @property
    def fence(self) -> int | None:
        """Number that only grows within an exclusive pipeline; None for others."""
        return self.record.fence

    # ---- its threads -----------------------------------------------------------------------------

    def attach(self) -> Attachment:
        """Return a context manager that makes the run the current one of another thread or task.

        Inside it `current_run` returns the run, runs that begin are its children, and log lines
        are kept with it. Threads, pools and Spark's `foreachBatch` begin without a run; tasks of
        asyncio and `asyncio.to_thread` have that of the code that made them. It ends nothing and
        sends nothing. It may be entered many times, in several threads at once, and decorates a
        function for a pool::

            with tracker.run("orders-daily") as run, ThreadPoolExecutor() as pool:
                results = list(pool.map(run.attach()(load), tables))

        Raises:
            NoActiveRunError: On entering: the run has ended, or belongs to another process.
        """
        return Attachment(self)

    # ---- may it go on ----------------------------------------------------------------------------

    def check_lease(self) -> None:
        """Raise unless the run is known to be still this process's; call it before a write.

        Sends nothing. It narrows the time in which a driver that was taken for dead can write; for
        a Delta table `fence_table` closes it.

        Raises:
            LeaseLostError: Another run has taken over, or may have; or the run has ended here, or
                belongs to the process this one was forked from.
            RunTimedOutError: The run is past its deadline; it ends TIMED_OUT when this leaves its
                block.
        """
        self.internals.heartbeat.ensure()
        self._liveness.check_lease()

    def beat(self) -> bool:
        """Renew the lease now, and see requests to cancel; return whether the run is still open.

        The heartbeat does so by itself. For code that keeps Python's other threads from running for
        long, and where a request to cancel is to be seen at once. Costs a write unit per KB of the
        run; nothing for a run that has ended, belongs to another process or is not stored. See:
        UpdateItem.

        Raises:
            DynamoDBWrapperError: DynamoDB could not be asked.
        """
        return self.internals.heartbeat.beat()

    def raise_if_cancelled(self) -> None:
        """Raise if the run was asked to be cancelled. Sends nothing.

        Raises:
            RunCancelledError: It was; the run ends CANCELLED when this leaves its block.
        """
        self.internals.heartbeat.ensure()
        self._liveness.raise_if_cancelled()

    # ---- stages, metrics, tables -----------------------------------------------------------------

    def stage(self, name: str) -> Stage:
        """Return a context manager that records a stage; an exception leaves it unchanged.

        Entering and leaving it cost a write unit per KB of the run, each. See: UpdateItem. A stage
        that is under way when its run ends, as in a generator that waits, ends with it; one in a
        generator that is closed ends as a stage that returns.

        Args:
            name: Name of the stage, unique within the run; the same name again replaces it.

        Raises:
            ValidationError: On entering: the run has 1,000 stages.
            RunCancelledError: The run was asked to be cancelled.
            RunTimedOutError: The run is past its deadline.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._liveness.require_open()
        self.internals.heartbeat.ensure()
        self._liveness.raise_if_cancelled()
        self._liveness.raise_if_timed_out()
        number = next(self._stage_numbers)
        return Stage(name, number, self._liveness, self._recorder, self.internals.stages)

    def log_metric(self, name: str, value: Metric | float) -> None:
        """Record a metric; the same name again replaces it.

        NaN and the infinities, which DynamoDB has no numbers for, are stored as text. Costs a
        write unit per KB of the run. See: UpdateItem.

        Args:
            name: Name of the metric.
            value: A number or a text.

        Raises:
            ValidationError: The value is no number and no text, or the run has 4,000 metrics.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.log_metrics({name: value})

    def log_metrics(self, metrics: Mapping[str, Metric | float]) -> None:
        """Record metrics in one write; as `log_metric`."""
        given = checked_mapping(metrics, "metrics")
        self._recorder.record({("metrics", name): value for name, value in given.items()})

    def log_rows(
        self, *, read: int | None = None, written: int | None = None, failed: int | None = None
    ) -> None:
        """Record how many rows the run read, wrote and could not process; totals, not additions.

        What is not said is summed up at the end: rows written from the outputs if the run has some
        with a number of rows each, all else from the stages. Costs a write unit per KB of the run,
        once for all of them. See: UpdateItem.

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
            self._recorder.record(given)

    def log_quality(
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
            values = {"evaluated_at": self._liveness.clock(), **details, "passed": result}
            result = checked(DataQualityResult, values)
        self._recorder.record({("data_quality", name): result})
        return result

    def log_inputs(self, *table_ids: str) -> None:
        """Record which tables the run reads; further calls add to them.

        `SparkDynamoDBIntegration.read_table` does so by itself. Costs a write unit per KB of the
        run. See: UpdateItem.

        Args:
            table_ids: The tables.

        Raises:
            ValidationError: An id is no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._liveness.require_open()
        self.internals.tables.read(*table_ids)

    def log_output(
        self, table_id: str, rows: int | None = None, size_bytes: int | None = None
    ) -> None:
        """Record what the run wrote to a table; the same table again replaces it.

        `SparkDynamoDBIntegration.write_table` does so by itself. Unless `log_rows` says it, the
        run's `records_written` is the sum of its outputs. Costs a write unit per KB of the run.
        See: UpdateItem.

        Args:
            table_id: The table.
            rows: Number of rows, where it is known.
            size_bytes: Size in bytes, where it is known.

        Raises:
            ValidationError: A number is negative or no whole number.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        output = checked(TableOutput, {"rows": rows, "bytes": size_bytes})
        self.internals.tables.written(table_id, output)

    # ---- watermarks ------------------------------------------------------------------------------

    @overload
    def watermark(self, name: str) -> Any: ...
    @overload
    def watermark(self, name: str, default: T) -> T: ...
    def watermark(self, name: str, default: Any = None) -> Any:
        """Return how far the pipeline has got, as the type it was stored with.

        Read once per run, consistently; a value set by `advance_watermark` is returned at once.
        Costs a read unit per 4 KB. See: GetItem.

        Args:
            name: Name of the watermark.
            default: Returned where there is none yet.

        Raises:
            ValidationError: The pipeline is not exclusive.
            NoActiveRunError: The run belongs to another process.
            ConnectionError: DynamoDB could not be reached.
        """
        self._liveness.require_own_process()
        self._require_exclusive()
        value = self.internals.watermarks.value(name)
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
        self._liveness.require_open()
        self._require_exclusive()
        self.internals.watermarks.advance(name, value)

    def _require_exclusive(self) -> None:
        if self.fence is None:
            raise ValidationError(
                f"A watermark belongs to an exclusive pipeline; {self.pipeline_id!r} sets no limit "
                "of runs, and two of them would move it at once. Set max_concurrent_runs=1."
            )

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
        self._liveness.check_lease()
        self.internals.delta.raise_barrier(spark, path)

    def delta_txn_options(self) -> dict[str, str]:
        """Return the options of the next write to a Delta table, numbered within the run.

        Use each once, and write to one table in the order the options were made: Delta silently
        skips a write whose number is not higher than the last it has seen of the pipeline.

        Raises:
            ValidationError: The pipeline is not exclusive, or the run made 999 before.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._liveness.require_open()
        return self.internals.delta.options()

    # ---- its end ---------------------------------------------------------------------------------

    def skip(self, reason: str) -> None:
        """Let the run end as SKIPPED instead of SUCCESS: there was nothing to do.

        It does not leave the block; return after it. Watermarks are not moved. The run key counts
        as covered (`RunTracker.coverage`), and may be run again. Sends nothing by itself; an
        exception after it decides instead.

        Args:
            reason: Why; stored with the run as `status_detail`, with secrets taken out.

        Raises:
            ValidationError: The reason is no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._liveness.require_open()
        if not isinstance(reason, str):
            raise ValidationError(
                f"Run.skip takes a text, not a {type(reason).__name__}: run.skip(str(reason)). "
                "A run that failed ends with run.fail(error), or by raising."
            )
        self.internals.skip_reason = reason

    def finish(self) -> None:
        """End a run of `RunTracker.start` as SUCCESS; repeating it has the same result.

        An end that could neither be stored nor kept in the spool is tried again.

        Costs as leaving the block of `RunTracker.run`. See: TransactWriteItems.

        Raises:
            RunFinishError: The end could not be stored, and had to be.
            InvalidTransitionError: The run has ended otherwise; both statuses are named.
        """
        self._finish(self.internals, None)

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
        self._finish(self.internals, error)


class Attachment(ContextDecorator):
    """Makes a run the current one of a thread or task inside its block; see `Run.attach`.

    It keeps nothing of the block, so that it may be entered again and by several threads at once.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> Run:
        self._run.internals.liveness.require_open()
        RUNS_HERE.set((*RUNS_HERE.get(), self._run))
        return self._run

    def __exit__(self, *_: object) -> None:
        runs = list(RUNS_HERE.get())
        if self._run in runs:  # else it was ended inside of the block
            del runs[len(runs) - 1 - runs[::-1].index(self._run)]
            RUNS_HERE.set(tuple(runs))


RUNS_HERE: ContextVar[tuple[Run, ...]] = ContextVar("dynamodb_wrapper_runs", default=())
"""Runs of this thread or task, outermost first; `runs.current` reads and changes it."""


def _instead(given: object) -> str:
    what = "None."
    if isinstance(given, type):
        what = f"the class {given.__name__}: make one, such as {given.__name__}('why')."
    elif given is not None:
        what = f"a {type(given).__name__}: wrap it, such as RuntimeError('why')."
    return f"an exception, not {what} A run that succeeded ends with run.finish()."
