"""The state machine of a run: which change of its status is legal.

::

    PENDING -> RUNNING -> SUCCESS | FAILED | CANCELLED | SKIPPED | TIMED_OUT | LOST
    LOST -> the real outcome, by the same writer, while nobody has taken over
"""

from __future__ import annotations

from dynamodb_wrapper.exceptions import InvalidTransitionError
from dynamodb_wrapper.models.enums import RunStatus

LIVE = (RunStatus.PENDING, RunStatus.RUNNING)
TERMINAL = tuple(status for status in RunStatus if status.is_terminal)


def predecessors(status: RunStatus) -> tuple[RunStatus, ...]:
    """Return the statuses from which anybody may change a run to this one."""
    if status.is_terminal:
        return LIVE
    return (RunStatus.PENDING,) if status is RunStatus.RUNNING else ()


def may_finish_late(status: RunStatus, superseded_by: str | None) -> bool:
    """Tell whether its own driver may still store what the run came to."""
    return status is RunStatus.LOST and superseded_by is None


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
