"""What is told of an end that did not go as it should."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import DynamoDBWrapperError, RunFinishError

if TYPE_CHECKING:
    from dynamodb_wrapper.models import PipelineRunLog
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.run import Run

logger = logging.getLogger(__name__)


def unstored(
    run: Run, outcome: RunOutcome, told: str, why: Exception | str
) -> DynamoDBWrapperError:
    """Return what is raised after a quiet body, if a lock, a run key or a watermark depends on it.

    Else it is told in the log only.
    """
    if run.fence is None and run.record.run_key is None and not outcome.moves:
        return DynamoDBWrapperError(told)
    error = RunFinishError(
        told, run_id=run.run_id, pipeline_id=run.pipeline_id, outcome=str(outcome.status)
    )
    error.__cause__ = why if isinstance(why, Exception) else None
    return error


def watermark_conflict(run: Run, stored: PipelineRunLog) -> RunFinishError | None:
    """Return what is raised where somebody changed a watermark of the run meanwhile."""
    if not stored.watermark_conflict:
        return None
    told = (
        f"Run {run.run_id} of pipeline {run.pipeline_id!r} ended as {stored.status}, but somebody "
        "changed a watermark while it ran: none was moved. The next run begins where the "
        "watermark stands now."
    )
    logger.error("%s", told)
    return RunFinishError(
        told, run_id=run.run_id, pipeline_id=run.pipeline_id, outcome=str(stored.status)
    )


def add_note(error: BaseException, note: str) -> None:
    """Attach a note as ``BaseException.add_note`` does, which Python has from 3.11."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
        else:
            error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - an exception that takes no notes stays as it is
        logger.debug("The note could not be attached.")
