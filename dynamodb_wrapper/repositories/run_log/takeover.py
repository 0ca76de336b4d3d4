"""Decide whether a run may start, takes over from a dead run, or is refused; pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamodb_wrapper.models.run_state import PipelineState

if TYPE_CHECKING:
    from datetime import datetime

    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.run_state import RunSlot


@dataclass(frozen=True)
class Seen:
    """What a starter read, consistently.

    Attributes:
        state: The pipeline's; an empty one for a pipeline without a limit.
        holder: The run that holds the pipeline; None where nobody does or it is gone.
        slot: The run key's; None without a run key, and where it was never tried.
        attempt: The run the slot names; None where there is none or it is gone.
        holder_slot: The slot of the holder's own run key.
    """

    state: PipelineState = field(default_factory=PipelineState)
    holder: PipelineRunLog | None = None
    slot: RunSlot | None = None
    attempt: PipelineRunLog | None = None
    holder_slot: RunSlot | None = None


@dataclass(frozen=True)
class StartPlan:
    """How a run can begin.

    Attributes:
        state: The pipeline's, as it was read.
        slot: The run key's, as it was read.
        lost: Live runs whose lease ran out: they end as LOST in the same transaction.
        slots_of_lost: Ids of those whose own run key still names them.
        gone: Ids of runs that must still have ended, or not exist, when this one begins.
    """

    state: PipelineState
    slot: RunSlot | None
    lost: tuple[PipelineRunLog, ...] = ()
    slots_of_lost: frozenset[str] = frozenset()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a run cannot begin.

    Attributes:
        running: The live run that is in the way.
        succeeded: Id of the run that has covered the run key already.
    """

    running: PipelineRunLog | None = None
    succeeded: str | None = None


def decide_start(seen: Seen, now: datetime, *, rerun: bool = False) -> StartPlan | Refusal:
    """Return how a run can begin, or why it cannot."""
    state, slot = seen.state, seen.slot
    if slot is not None and slot.first_success_at is not None and not rerun:
        return Refusal(succeeded=slot.success_run_id)
    others: dict[str, PipelineRunLog | None] = {}
    if state.holder is not None:
        others[state.holder] = seen.holder
    if slot is not None and slot.is_live:
        others.setdefault(slot.last_run_id, seen.attempt)
    lost: list[PipelineRunLog] = []
    gone: list[str] = []
    for run_id, run in others.items():
        if run is None or run.status.is_terminal:
            gone.append(run_id)
        elif run.is_expired(now):
            lost.append(run)
        else:
            return Refusal(running=run)
    owned = {seen.holder_slot.last_run_id} if seen.holder_slot else set()
    owning = frozenset(run.run_id for run in lost) & owned
    return StartPlan(state, slot, tuple(lost), owning, tuple(gone))
