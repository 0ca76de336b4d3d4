"""Coverage of the partitions of a pipeline, and the history of its watermarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run_state import unpack

if TYPE_CHECKING:
    from dynamodb_wrapper.models.partitions import Partition
    from dynamodb_wrapper.models.run import PipelineRunLog, WatermarkMove
    from dynamodb_wrapper.models.run_state import RunSlot


@dataclass(frozen=True)
class PartitionState:
    """One partition of a pipeline.

    Attributes:
        partition: Key, start and end.
        attempts: How often it was tried.
        last_status: Status of the last attempt; None where it was never tried.
        last_run_id: Run id of the last attempt.
        success_run_id: The run that succeeded; None while none has.
    """

    partition: Partition
    attempts: int = 0
    last_status: str | None = None
    last_run_id: str | None = None
    success_run_id: str | None = None

    @property
    def is_covered(self) -> bool:
        """Whether a run of the partition has succeeded, even if a rerun failed, or was skipped.

        `Run.skip` says that there is nothing to do, as on a holiday.
        """
        return self.success_run_id is not None or self.last_status == RunStatus.SKIPPED


@dataclass(frozen=True)
class Coverage:
    """The partitions of a range, in order.

    Attributes:
        pipeline_id: The pipeline.
        partitions: Every partition of the range.
    """

    pipeline_id: str
    partitions: tuple[PartitionState, ...]

    def __iter__(self) -> Iterator[PartitionState]:
        return iter(self.partitions)

    def __len__(self) -> int:
        return len(self.partitions)

    @property
    def covered(self) -> tuple[Partition, ...]:
        """Those that have succeeded, or for which there was nothing to do."""
        return tuple(p.partition for p in self.partitions if p.is_covered)

    @property
    def missing(self) -> tuple[Partition, ...]:
        """Those that are not covered and not running: never tried, failed, lost..."""
        return tuple(
            p.partition
            for p in self.partitions
            if not p.is_covered and p.last_status not in ("running", "pending")
        )

    @property
    def failed(self) -> tuple[Partition, ...]:
        """Those of `missing` that were tried."""
        tried = {p.partition for p in self.partitions if p.attempts}
        return tuple(partition for partition in self.missing if partition in tried)

    @property
    def running(self) -> tuple[Partition, ...]:
        """Those not covered whose attempt has not ended, as far as is known.

        A driver that died is among them until its run is reaped; the next start of the partition
        takes over from it.
        """
        return tuple(
            p.partition
            for p in self.partitions
            if not p.is_covered and p.last_status in ("running", "pending")
        )

    @property
    def is_complete(self) -> bool:
        """Whether every partition is covered."""
        return all(p.is_covered for p in self.partitions)


def coverage_of(
    pipeline_id: str, partitions: Sequence[Partition], slots: Sequence[RunSlot | None]
) -> Coverage:
    """Return the coverage of partitions, given their slots in the same order."""
    states = [
        PartitionState(partition)
        if slot is None
        else PartitionState(
            partition, slot.attempt, slot.status, slot.last_run_id, slot.success_run_id
        )
        for partition, slot in zip(partitions, slots)
    ]
    return Coverage(pipeline_id, tuple(states))


@dataclass(frozen=True)
class WatermarkStep:
    """One move of a watermark.

    Attributes:
        run_id: The run that committed it.
        at: When it did.
        before: Value before; None for the first, and where it was too large to be noted.
        after: Value after; None where it was too large to be noted.
    """

    run_id: str
    at: datetime | None
    before: Any
    after: Any


def step_of(run: PipelineRunLog, move: WatermarkMove) -> WatermarkStep:
    """Return the step that a run has recorded."""
    before, after = move.before, move.after
    return WatermarkStep(
        run.run_id,
        run.end_time,
        None if before is None else _readable(move.before_type or "text", before),
        None if after is None else _readable(move.value_type, after),
    )


def _readable(value_type: str, stored: Any) -> Any:
    """Return a value of the history; as it is stored where it cannot be read."""
    try:
        return unpack(value_type, stored)
    except ValueError:
        return stored
