"""A run as its body sees it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dynamodb_wrapper.exceptions import (
    InvalidTransitionError,
    LeaseLostError,
    RunCancelledError,
    RunTimedOutError,
    ValidationError,
)
from dynamodb_wrapper.models import PipelineRunLog
from dynamodb_wrapper.runs.records import RunRecords
from dynamodb_wrapper.runs.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.exceptions import RunFinishError
    from dynamodb_wrapper.models import PipelineConfig
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.fencing import DeltaFence
    from dynamodb_wrapper.runs.heartbeat import Heartbeat
    from dynamodb_wrapper.runs.lease import Lease
    from dynamodb_wrapper.runs.options import RunOptions
    from dynamodb_wrapper.runs.progress import Progress
    from dynamodb_wrapper.runs.signals import SignalGuard

T = TypeVar("T")


class Run(RunRecords):
    """A run while it goes on. Its methods may be called from several threads.

    Attributes:
        pipeline: The pipeline's configuration the run began with.
        run_table: The run table as DynamoDB knows it.
        tracked: Whether the run is stored; False only with ``tracking="best_effort"``.
        pid: The process the run belongs to; a forked child has no part in it.
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
        super().__init__(clock)
        self._record = record
        self.run_table = run_table
        self.pipeline = pipeline
        self.options = options
        self.tracked = tracked
        self.pid = os.getpid()
        self.skip_reason: str | None = None
        self.outcome: RunOutcome | None = None
        self.end_problem: RunFinishError | None = None
        self._lock = threading.Lock()
        self._stage_count = 0
        # Set by whoever begins the run, before anybody sees it.
        self.lease: Lease
        self.progress: Progress
        self.delta: DeltaFence
        self.guard: SignalGuard
        self.heartbeat: Heartbeat
        self.end: Callable[[Run, BaseException | None], None]

    def __repr__(self) -> str:
        return f"Run(run_id={self.run_id!r}, pipeline_id={self.pipeline_id!r})"

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def record(self) -> PipelineRunLog:
        """The run as it was last seen in DynamoDB: at its start, or with its last beat."""
        return self._record

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._record.run_id

    @property
    def pipeline_id(self) -> str:
        """Id of the pipeline."""
        return self._record.pipeline_id

    @property
    def fence(self) -> int | None:
        """Number that only grows within an exclusive pipeline; None for others."""
        return self._record.fence

    # ---- its stages ------------------------------------------------------------------------------

    def stage(self, name: str) -> Stage:
        """Return a context manager that records a stage; its exception goes on as it is.

        Raises:
            RunCancelledError: Somebody asked for the run to be cancelled.
            RunTimedOutError: The run is past its deadline.
        """
        self.raise_if_cancelled()
        self._raise_if_timed_out()
        with self._lock:
            self._stage_count += 1
            seq = self._stage_count
        return Stage(name, seq, self)

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
            ConnectionError: DynamoDB could not be reached.
        """
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
        """
        self._require_exclusive("A watermark")
        self.progress.advance(name, value)

    def _require_exclusive(self, what: str) -> None:
        if self.fence is None:
            raise ValidationError(
                f"{what} belongs to an exclusive pipeline; {self.pipeline_id!r} sets no limit of "
                "runs, and two of them would move it at once. Set max_concurrent_runs=1."
            )

    # ---- may it go on ----------------------------------------------------------------------------

    def lease_ok(self) -> bool:
        """Tell whether the run is known to be still this process's. Sends nothing."""
        return not self.tracked or self.lease.holds()

    def check_lease(self) -> None:
        """Go on only if the run is known to be still this process's; call it before a write.

        Sends nothing. It narrows the time in which a driver that was taken for dead can write; for
        a Delta table `fence_table` closes it.

        Raises:
            LeaseLostError: Another run has taken over, or may have.
            RunTimedOutError: The run is past its deadline.
        """
        self._raise_if_timed_out()
        if not self.lease_ok():
            why = "was taken over or ended by others"
            if not self.lease.is_lost:
                why = "could not renew its lease in time"
            raise LeaseLostError(
                f"Run {self.run_id} of pipeline {self.pipeline_id!r} {why}: write no more.",
                run_id=self.run_id,
                pipeline_id=self.pipeline_id,
            )

    def raise_if_cancelled(self) -> None:
        """Stop here if somebody asked for the run to be cancelled. Sends nothing.

        Raises:
            RunCancelledError: Somebody did; the run ends CANCELLED when this leaves its block.
        """
        record = self._record
        if record.cancel_requested_at is not None:
            raise RunCancelledError(
                f"{record.cancel_requested_by or 'Somebody'} asked for run {self.run_id} of "
                f"pipeline {self.pipeline_id!r} to be cancelled.",
                run_id=self.run_id,
                pipeline_id=self.pipeline_id,
            )

    def _raise_if_timed_out(self) -> None:
        if self.seconds_to_deadline() <= 0:
            raise RunTimedOutError(
                f"Run {self.run_id} of pipeline {self.pipeline_id!r} is past its deadline "
                f"{self._record.deadline} (max_runtime {self.pipeline.max_runtime}).",
                run_id=self.run_id,
                pipeline_id=self.pipeline_id,
            )

    def seconds_to_deadline(self) -> float:
        """Return the seconds left until the run is to stop itself; infinite without a limit."""
        deadline = self._record.deadline
        return float("inf") if deadline is None else (deadline - self.clock()).total_seconds()

    def is_asked_to_stop(self) -> bool:
        """Tell whether the run is past its deadline or was asked to be cancelled."""
        return self._record.cancel_requested_at is not None or self.seconds_to_deadline() <= 0

    def skip(self, reason: str) -> None:
        """Let the run end as SKIPPED instead of SUCCESS: there was nothing to do.

        It does not leave the block; return after it. Watermarks are not moved.
        """
        self.skip_reason = reason

    def beat(self) -> bool:
        """Renew the lease now and tell whether the run is still this process's.

        The heartbeat thread does so by itself. Costs a write unit per KB of the run.
        See: UpdateItem.

        Raises:
            ConnectionError: DynamoDB could not be reached.
        """
        return not self.tracked or self.heartbeat.beat()

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
            LeaseLostError: Another run has taken over, or may have.
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
        """
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
        """End a run of `RunTracker.start` with what an exception means. As `finish`."""
        self.end(self, error)

    def refuse_other_end(self, outcome: RunOutcome) -> None:
        """Refuse to end a second time with another outcome."""
        if self.outcome is not None and self.outcome.status is not outcome.status:
            raise InvalidTransitionError(
                f"Run {self.run_id} cannot change from {self.outcome.status} to {outcome.status}: "
                "it has ended, and an end is final.",
                key={"run_id": self.run_id},
            )

    def refresh(self, stored: PipelineRunLog) -> None:
        """Note the run as a beat has seen it."""
        self._record = stored
