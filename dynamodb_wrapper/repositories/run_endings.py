"""What the end of a run sets, in its own item and in its pipeline's."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import RunStatus
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
from dynamodb_wrapper.repositories.run_clauses import derived_fields, set_fields, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.models import PipelineRunLog
    from dynamodb_wrapper.wire.updates import Update

_FAILURES = (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST)
_LISTS = frozenset({"inputs"})
_MILLISECOND = timedelta(milliseconds=1)


def next_fence(state: PipelineState, now: datetime) -> int:
    """Return a higher fence than any before, also after a restore to an older point in time."""
    return max((state.fence or 0) + 1, int(now.timestamp()))


def lost_outcome(
    run: PipelineRunLog, reason: str | None, now: datetime, fields: dict[str, Any] | None = None
) -> RunOutcome:
    """Return the end of a run whose driver is gone: it ended at its last sign of life."""
    end = not_before(run.start_time, run.heartbeat_at or run.start_time or now)
    return RunOutcome(
        RunStatus.LOST, reason, end_time=end, fields={"detected_at": now, **(fields or {})}
    )


def superseded_outcome(run: PipelineRunLog, successor: PipelineRunLog, now: datetime) -> RunOutcome:
    """Return the end of a dead run that another takes over from."""
    return lost_outcome(run, "superseded", now, {"superseded_by": successor.run_id})


def not_before(start: datetime | None, moment: datetime) -> datetime:
    """Return a moment, or the start where a clock that was set back says it lies before that."""
    return moment if start is None else max(start, moment)


def in_order(run: PipelineRunLog, outcome: RunOutcome) -> RunOutcome:
    """Return an outcome that does not end before its run began."""
    return replace(outcome, end_time=not_before(run.start_time, outcome.end_time))


def end_fields(update: Update, run: PipelineRunLog, outcome: RunOutcome, actor: str) -> None:
    """Add what every end of a run sets, index attributes included."""
    values = end_values(run, outcome, actor)
    for name in outcome.dropped:
        update.set((name,), {"L": []} if name in _LISTS else {"M": {}})
    set_fields(update, values)
    for path, value in outcome.parts.items():
        update.set(path, value)
    if outcome.reason is None:
        update.remove(("status_reason",))
    update.remove(("lease_until",))
    derived_fields(update, run.model_copy(update=values), ("status",))
    update.increase(("row_version",))


def end_values(run: PipelineRunLog, outcome: RunOutcome, actor: str) -> dict[str, Any]:
    """Return the fields of a run that its end sets; None where one stays as it is."""
    return {
        "status": outcome.status,
        "status_reason": outcome.reason,
        "end_time": outcome.end_time,
        "duration_seconds": duration_seconds(run.start_time, outcome.end_time),
        "error_type": None if outcome.error is None else outcome.error.type,
        "error": outcome.error,
        "exit_code": outcome.exit_code,
        "updated_by": actor,
        "updated_at": outcome.fields.get("detected_at", outcome.end_time),
        "expires_at": _expiry(run, outcome),
        **outcome.fields,
    }


def run_after(
    run: PipelineRunLog, outcome: RunOutcome, actor: str, *, late: bool = False
) -> PipelineRunLog:
    """Return a run as it is stored after its end; nothing is read for it."""
    outcome = in_order(run, outcome)
    values = end_values(run, outcome, actor)
    kept = {name: value for name, value in values.items() if value is not None}
    always = {"status_reason": outcome.reason, "lease_until": None, "late_finish": late}
    emptied: dict[str, Any] = {name: [] if name in _LISTS else {} for name in outcome.dropped}
    version = {"row_version": run.row_version + 1}
    return run.model_copy(update={**kept, **always, **emptied, **version})


def duration_seconds(start: datetime | None, end: datetime) -> Decimal | None:
    """Return the seconds between two moments, with milliseconds."""
    return None if start is None else Decimal((end - start) // _MILLISECOND) / 1000


def _expiry(run: PipelineRunLog, outcome: RunOutcome) -> datetime | None:
    if run.retention_days is None:
        return None
    return outcome.end_time + timedelta(days=run.retention_days)


def note_end(
    update: Update,
    run: PipelineRunLog,
    outcome: RunOutcome,
    state: PipelineState,
    *,
    counted: bool = False,
) -> None:
    """Note the end of a run of an exclusive pipeline; `counted` once it was counted as lost.

    Only the holder, or who ends the holder, changes the count of failures, so that what was read
    while the lock was held is still so.
    """
    note_last(update, run, outcome)
    if outcome.status is RunStatus.SUCCESS:
        note_last_ok(update, run, outcome)
        update.set(("consecutive_failures",), {"N": "0"})
    elif outcome.status in _FAILURES and not counted:
        update.set(("consecutive_failures",), {"N": str(state.consecutive_failures + 1)})


def note_last(update: Update, run: PipelineRunLog, outcome: RunOutcome) -> None:
    """Note the newest run that ended."""
    update.set(("last_seq",), {"N": str(run.run_seq or 0)})
    update.set(("last_run_id",), {"S": run.run_id})
    update.set(("last_status",), {"S": str(outcome.status)})
    update.set(("last_end",), stored(outcome.end_time))


def note_last_ok(update: Update, run: PipelineRunLog, outcome: RunOutcome) -> None:
    """Note the newest run that succeeded."""
    update.set(("last_ok_seq",), {"N": str(run.run_seq or 0)})
    update.set(("last_ok_run_id",), {"S": run.run_id})
    update.set(("last_ok_end",), stored(outcome.end_time))
