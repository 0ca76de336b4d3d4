"""Decide whether a run may start, takes over from a dead run, or is refused; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamodb_wrapper.models.run_state import PipelineState

if TYPE_CHECKING:
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.run_state import RunSlot


@dataclass(frozen=True)
class Seen:
    """The items that a start reads, consistently.

    Attributes:
        state: State of the pipeline; an empty one for a pipeline without a limit.
        holder: The run that holds the pipeline; None if there is none or it no longer exists.
        slot: Slot of the run key; None without a run key, and if it was never tried.
        attempt: The live run that the slot names; None if there is none or it no longer exists.
        holder_slot: The slot of the holder's run key.
        dead: Ids of the live runs among them whose drivers are gone.
        unlimited: Live runs without a lock, which began before the pipeline was made exclusive.
    """

    state: PipelineState = field(default_factory=PipelineState)
    holder: PipelineRunLog | None = None
    slot: RunSlot | None = None
    attempt: PipelineRunLog | None = None
    holder_slot: RunSlot | None = None
    dead: frozenset[str] = frozenset()
    unlimited: tuple[PipelineRunLog, ...] = ()


@dataclass(frozen=True)
class StartPlan:
    """A decision that a run may start.

    Attributes:
        state: State of the pipeline, as it was read.
        slot: Slot of the run key, as it was read.
        lost: Live runs whose lease ran out: they end as LOST in the same transaction.
        slots_of_lost: Ids of those lost runs that are still the last attempt at their run key.
        gone: Ids of runs that must still have ended, or not exist, when this one starts.
    """

    state: PipelineState
    slot: RunSlot | None
    lost: tuple[PipelineRunLog, ...] = ()
    slots_of_lost: frozenset[str] = frozenset()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A decision that a run may not start, with its reason.

    Attributes:
        running: The live run that holds the pipeline or the run key.
        succeeded: Id of the run that succeeded for the run key.
    """

    running: PipelineRunLog | None = None
    succeeded: str | None = None


def decide_start(seen: Seen, *, rerun: bool = False) -> StartPlan | Refusal:
    """Return the plan of a start, or its refusal."""
    state, slot = seen.state, seen.slot
    if slot is not None and slot.first_success_at is not None and not rerun:
        return Refusal(succeeded=slot.success_run_id)
    others: dict[str, PipelineRunLog | None] = {}
    if state.holder is not None:
        others[state.holder] = seen.holder
    if slot is not None and slot.is_live:
        others.setdefault(slot.last_run_id, seen.attempt)
    others.update((run.run_id, run) for run in seen.unlimited)
    lost: list[PipelineRunLog] = []
    gone: list[str] = []
    for run_id, run in others.items():
        if run is None or run.status.is_terminal:
            gone.append(run_id)
        elif run_id in seen.dead:
            lost.append(run)
        else:
            return Refusal(running=run)
    owned = {seen.holder_slot.last_run_id} if seen.holder_slot else set()
    owning = frozenset(run.run_id for run in lost) & owned
    return StartPlan(state, slot, tuple(lost), owning, tuple(gone))
