"""Lease, deadline, cancel request and end of a run, as this process sees them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.clock import boot_seconds
from dynamodb_wrapper.exceptions.errors import (
    InvalidTransitionError,
    LeaseLostError,
    NoActiveRunError,
    RunCancelledError,
    RunTimedOutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from dynamodb_wrapper.aws.clock import Clock
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.run_state import RunOutcome


class Lease:
    """A lease as its holder sees it.

    Its age is the larger of two clocks, wall time and time since boot: one may be set back, the
    other may not exist or stand still.

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
            sent: Both clocks before the request was sent; now unless given.
        """
        wall, elapsed = sent or self.read_clocks()
        with self._lock:
            self._until = until
            if until is not None:
                self._length = (until - wall).total_seconds()
                self._elapsed_end = elapsed + self._length

    def read_clocks(self) -> tuple[datetime, float]:
        """Return wall time and seconds since boot."""
        return self._clock(), self._elapsed()

    def lose(self) -> None:
        """Note that the run no longer belongs to this process."""
        self._is_lost = True

    @property
    def is_lost(self) -> bool:
        """Whether a beat found that the run no longer belongs to this process."""
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
        """Return whether the lease is known to hold."""
        return not self._is_lost and self.remaining_seconds() > 0


class Liveness:
    """Knows whether a run is still open in this process, and raises if it is not.

    Args:
        record: The run as it was stored at its start.
        max_runtime: Limit of the pipeline, for error messages.
        lease_clock: The clock that leases are written by, and this machine's.
        tracked: Whether the run is stored.

    Attributes:
        record: The run as it was last seen in DynamoDB: at its start, or with its last beat.
        clock: The present moment by this machine's clock.
        lease_clock: The clock that leases are written by.
        tracked: Whether the run is stored; False only with ``tracking="best_effort"``.
        pid: The process that started the run.
        lease: The lease of the run.
        outcome: How the run ended; None while it is open.
    """

    def __init__(
        self,
        record: PipelineRunLog,
        max_runtime: timedelta | None,
        lease_clock: Clock,
        *,
        tracked: bool = True,
    ) -> None:
        self.record = record
        self.clock = clock = lease_clock.wall
        self.lease_clock = lease_clock
        self.tracked = tracked
        self.pid = os.getpid()
        until = record.lease_until
        self.lease = Lease(until and clock() + (until - lease_clock()), clock)
        self.outcome: RunOutcome | None = None
        self._max_runtime = max_runtime

    @property
    def is_own_process(self) -> bool:
        """Whether this process started the run; False in a process forked from it."""
        return self.pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether this process started the run and has not ended it."""
        return self.outcome is None and self.is_own_process

    def refresh(self, stored: PipelineRunLog) -> None:
        """Note the run as a beat has read it."""
        self.record = stored

    def close(self, outcome: RunOutcome) -> None:
        """Note how the run ended: from now on nothing more is recorded."""
        self.outcome = outcome

    # ---- lease, deadline, cancel request ---------------------------------------------------------

    def lease_ok(self) -> bool:
        """Return whether the run is open and known to hold its lease. Sends nothing."""
        return self.is_open and (not self.tracked or self.lease.holds())

    def check_lease(self) -> None:
        """Raise unless the run is open, within its deadline and known to hold its lease.

        Raises:
            LeaseLostError: Another run has taken over, or may have; or the run has ended, or
                belongs to the process this one was forked from.
            RunTimedOutError: The run is past its deadline.
        """
        if not self.is_open:
            raise LeaseLostError(f"{self._why_closed()} Write no more.", **self._context())
        self.raise_if_timed_out()
        if not self.lease_ok():
            why = "was taken over or ended by another process"
            if not self.lease.is_lost:
                why = "could not renew its lease in time"
            raise LeaseLostError(f"{self._name()} {why}: write no more.", **self._context())

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelledError` if the run was asked to be cancelled."""
        record = self.record
        if record.cancel_requested_at is not None:
            raise RunCancelledError(
                f"{record.cancel_requested_by or 'An unnamed caller'} asked for run "
                f"{record.run_id} of pipeline {record.pipeline_id!r} to be cancelled.",
                **self._context(),
            )

    def raise_if_timed_out(self) -> None:
        """Raise `RunTimedOutError` if the run is past its deadline."""
        if self.seconds_to_deadline() <= 0:
            raise RunTimedOutError(
                f"{self._name()} is past its deadline {self.record.deadline} "
                f"(max_runtime {self._max_runtime}).",
                **self._context(),
            )

    def seconds_to_deadline(self) -> float:
        """Return the seconds left until the run is to stop itself; infinite without a limit."""
        deadline = self.record.deadline
        return float("inf") if deadline is None else (deadline - self.clock()).total_seconds()

    def is_asked_to_stop(self) -> bool:
        """Return whether the run is past its deadline or was asked to be cancelled."""
        return self.record.cancel_requested_at is not None or self.seconds_to_deadline() <= 0

    # ---- open or closed --------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise if the run has ended or belongs to another process: a record would be lost.

        Raises:
            NoActiveRunError: The run has ended, or this process was forked from the one that
                started it.
        """
        if not self.is_open:
            raise NoActiveRunError(self._why_closed(), **self._context())

    def require_own_process(self) -> None:
        """Raise in a forked process: locks it was born with may never be released.

        Raises:
            NoActiveRunError: This process was forked from the one that started the run.
        """
        if not self.is_own_process:
            raise NoActiveRunError(self._why_closed(), **self._context())

    def refuse_other_end(self, outcome: RunOutcome) -> None:
        """Raise `InvalidTransitionError` if the run has ended with another status."""
        if self.outcome is not None and self.outcome.status is not outcome.status:
            run_id = self.record.run_id
            raise InvalidTransitionError(
                f"Run {run_id} cannot change from {self.outcome.status} to {outcome.status}: "
                "it has ended, and an end is final.",
                key={"run_id": run_id},
            )

    def _why_closed(self) -> str:
        if self.outcome is not None and self.is_own_process:
            return (
                f"{self._name()} has already ended ({self.outcome.status}). Record stages, "
                "metrics and outputs before the run ends."
            )
        return (
            f"{self._name()} belongs to process {self.pid}; process {os.getpid()} was forked from "
            "it and cannot use the run. Return results to the process that started it."
        )

    def _name(self) -> str:
        return f"Run {self.record.run_id} of pipeline {self.record.pipeline_id!r}"

    def _context(self) -> dict[str, Any]:
        return {"run_id": self.record.run_id, "pipeline_id": self.record.pipeline_id}
