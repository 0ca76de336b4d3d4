"""Which change of a run's status is legal."""

from __future__ import annotations

from dynamodb_wrapper.exceptions import InvalidTransitionError
from dynamodb_wrapper.models.enums import RunStatus

LIVE = (RunStatus.PENDING, RunStatus.RUNNING)
TERMINAL = tuple(status for status in RunStatus if status.is_terminal)


def predecessors(status: RunStatus) -> tuple[RunStatus, ...]:
    """Return the statuses from which a run may change to this one."""
    if status.is_terminal:
        return LIVE
    return (RunStatus.PENDING,) if status is RunStatus.RUNNING else ()


def check_transition(run_id: str, old: RunStatus, new: RunStatus) -> None:
    """Refuse an illegal change.

    Raises:
        InvalidTransitionError: A run cannot change from `old` to `new`; both are named.
    """
    if old not in predecessors(new):
        ended = "it has ended, and an end is final" if old.is_terminal else "that is a step back"
        raise InvalidTransitionError(
            f"Run {run_id} cannot change from {old} to {new}: {ended}.",
            key={"run_id": run_id},
        )
