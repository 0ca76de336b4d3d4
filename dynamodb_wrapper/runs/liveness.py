"""Whether a run is still open in this process: lease, deadline, cancel request."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from dynamodb_wrapper.exceptions.errors import (
    InvalidTransitionError,
    LeaseLostError,
    NoActiveRunError,
    RunCancelledError,
    RunTimedOutError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.exceptions.errors import RunFinishError
    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.heartbeat import Heartbeat


def boot_seconds() -> float:
    """Return seconds that go on while the machine sleeps, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """A lease as its holder sees it.

    Its age is the larger of what two clocks say, wall time and time since boot: one may be set
    back, the other may not exist or stand still.

    Args:
        until: When it ends; None for a run without a lease, which always holds.
        clock: The present moment.
        elapsed: Seconds that never go back.
    """

    def __init__(
        self,
        until: datetime | None,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = boot_seconds,
    ) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._lock = threading.RLock()  # a signal handler may ask while this thread does
        self._is_lost = False
        self._until = until
        self._length = 0.0
        self._elapsed_end = 0.0
        self.renew(until)

    def renew(self, until: datetime | None, *, sent: tuple[datetime, float] | None = None) -> None:
        """Note a lease that was stored.

        Args:
            until: When it ends.
            sent: What both clocks said before the request was sent; now unless given.
        """
        wall, elapsed = sent or self.read_clocks()
        with self._lock:
            self._until = until
            if until is not None:
                self._length = (until - wall).total_seconds()
                self._elapsed_end = elapsed + self._length

    def read_clocks(self) -> tuple[datetime, float]:
        """Return what both clocks say."""
        return self._clock(), self._elapsed()

    def lose(self) -> None:
        """Note that the run is not this handle's any more."""
        self._is_lost = True

    @property
    def is_lost(self) -> bool:
        """Whether DynamoDB said that the run is not this handle's any more."""
        return self._is_lost

    def remaining_seconds(self) -> float:
        """Return for how long the lease still holds; infinite for a run without one."""
        with self._lock:
            if self._until is None:
                return float("inf")
            by_wall = (self._until - self._clock()).total_seconds()
            return min(by_wall, self._elapsed_end - self._elapsed())

    def used_share(self) -> float:
        """Return how much of the lease has passed, from 0 to 1 and beyond."""
        remaining = self.remaining_seconds()
        if remaining == float("inf") or self._length <= 0:
            return 0.0
        return 1 - remaining / self._length

    def holds(self) -> bool:
        """Tell whether the lease is known to hold."""
        return not self._is_lost and self.remaining_seconds() > 0


class RunStanding:
    """The part of a run handle that knows whether the run goes on."""

    def __init__(
        self,
        record: PipelineRunLog,
        pipeline: PipelineConfig,
        clock: Callable[[], datetime],
        *,
        tracked: bool,
    ) -> None:
        self._record = record
        self.pipeline = pipeline
        self.clock = clock
        self.tracked = tracked
        self.pid = os.getpid()
        self.outcome: RunOutcome | None = None
        self.end_problem: RunFinishError | None = None
        # Set by whoever begins the run, before anybody sees it.
        self.lease: Lease
        self.heartbeat: Heartbeat

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            f"A Run cannot be pickled or copied: run {self.run_id} belongs to the process that "
            "began it. Pass its run_id, and record here what comes back."
        )

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

    @property
    def is_here(self) -> bool:
        """Whether this process began the run; a forked child has no part in it."""
        return self.pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether this process began the run and has not ended it."""
        return self.outcome is None and self.is_here

    # ---- may it go on ----------------------------------------------------------------------------

    def lease_ok(self) -> bool:
        """Tell whether the run is known to be still this process's, and open. Sends nothing."""
        return self.is_open and (not self.tracked or self.lease.holds())

    def check_lease(self) -> None:
        """Go on only if the run is known to be still this process's; call it before a write.

        Sends nothing. It narrows the time in which a driver that was taken for dead can write; for
        a Delta table `fence_table` closes it.

        Raises:
            LeaseLostError: Another run has taken over, or may have; or the run has ended here, or
                belongs to the process this one was forked from.
            RunTimedOutError: The run is past its deadline.
        """
        if not self.is_open:
            raise LeaseLostError(f"{self._why_closed()} Write no more.", **self._context())
        self.raise_if_timed_out()
        if not self.lease_ok():
            why = "was taken over or ended by others"
            if not self.lease.is_lost:
                why = "could not renew its lease in time"
            raise LeaseLostError(f"{self._name()} {why}: write no more.", **self._context())

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
                **self._context(),
            )

    def raise_if_timed_out(self) -> None:
        """Stop here if the run is past its deadline. Sends nothing.

        Raises:
            RunTimedOutError: It is; the run ends TIMED_OUT when this leaves its block.
        """
        if self.seconds_to_deadline() <= 0:
            raise RunTimedOutError(
                f"{self._name()} is past its deadline {self._record.deadline} "
                f"(max_runtime {self.pipeline.max_runtime}).",
                **self._context(),
            )

    def seconds_to_deadline(self) -> float:
        """Return the seconds left until the run is to stop itself; infinite without a limit."""
        deadline = self._record.deadline
        return float("inf") if deadline is None else (deadline - self.clock()).total_seconds()

    def is_asked_to_stop(self) -> bool:
        """Tell whether the run is past its deadline or was asked to be cancelled."""
        return self._record.cancel_requested_at is not None or self.seconds_to_deadline() <= 0

    def beat(self) -> bool:
        """Renew the lease now and tell whether the run is still this process's, and open.

        The heartbeat thread does so by itself. Costs a write unit per KB of the run; nothing where
        the run has ended here, or belongs to another process. See: UpdateItem.

        Raises:
            ConnectionError: DynamoDB could not be reached.
        """
        return self.is_open and (not self.tracked or self.heartbeat.beat())

    def refresh(self, stored: PipelineRunLog) -> None:
        """Note the run as a beat has seen it."""
        self._record = stored

    # ---- may it be told anything -----------------------------------------------------------------

    def require_open(self) -> None:
        """Refuse what would be lost: nothing is recorded of a run that has ended.

        Raises:
            NoActiveRunError: It has, or it belongs to the process this one was forked from.
        """
        if not self.is_open:
            raise NoActiveRunError(self._why_closed(), **self._context())

    def require_here(self) -> None:
        """Refuse a forked child: locks it was born with may never be released.

        Raises:
            NoActiveRunError: The run belongs to the process this one was forked from.
        """
        if not self.is_here:
            raise NoActiveRunError(self._why_closed(), **self._context())

    def refuse_other_end(self, outcome: RunOutcome) -> None:
        """Refuse to end a second time with another outcome."""
        if self.outcome is not None and self.outcome.status is not outcome.status:
            raise InvalidTransitionError(
                f"Run {self.run_id} cannot change from {self.outcome.status} to {outcome.status}: "
                "it has ended, and an end is final.",
                key={"run_id": self.run_id},
            )

    def _why_closed(self) -> str:
        if self.outcome is not None and self.is_here:
            return (
                f"{self._name()} has ended as {self.outcome.status}: it takes nothing any more. "
                "What belongs to a run is recorded before its end."
            )
        return (
            f"{self._name()} belongs to process {self.pid}; process {os.getpid()} was forked from "
            "it and has no part in the run. Hand results back to the process that began it."
        )

    def _name(self) -> str:
        return f"Run {self.run_id} of pipeline {self.pipeline_id!r}"

    def _context(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "pipeline_id": self.pipeline_id}
