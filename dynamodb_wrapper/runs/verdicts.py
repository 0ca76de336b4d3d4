"""What a run came to, with all that is known of it; no bug in finding that out keeps it open."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from dynamodb_wrapper.models import RunStatus
from dynamodb_wrapper.redaction import redact_known
from dynamodb_wrapper.runs.outcomes import Circumstances, outcome_of, stack_text
from dynamodb_wrapper.runs.progress import noted

if TYPE_CHECKING:
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.run import Run
    from dynamodb_wrapper.runs.services import Services

logger = logging.getLogger(__name__)


def verdict_on(
    run: Run, error: BaseException | None, services: Services, *, signalled: bool
) -> RunOutcome:
    """Return how a run ended, when, and in which stage; less of it where that meets a bug."""
    around = Circumstances(
        run.run_id, services.secrets, signalled, run.options.exit_zero, run.skip_reason
    )
    outcome = outcome_of(error, around)
    try:
        outcome = replace(outcome, end_time=services.clock())
        stage = None if error is None else run.stage_that_raised(error)
        if outcome.error is not None and stage is not None:
            info = outcome.error.model_copy(update={"stage": redact_known(stage, services.secrets)})
            outcome = replace(outcome, error=info)
    except Exception as bug:  # noqa: BLE001 - whatever it is, the run must end
        log_bug(run, bug, services)
    return outcome


def with_moves(run: Run, outcome: RunOutcome, services: Services) -> RunOutcome:
    """Return the outcome with the watermarks to move, if the run succeeded."""
    moves = run.progress.moves() if outcome.status is RunStatus.SUCCESS else ()
    if not moves:
        return outcome
    try:
        fields = {**outcome.fields, "watermarks": noted(moves)}
    except Exception as bug:  # noqa: BLE001 - they are moved all the same
        log_bug(run, bug, services)
        fields = outcome.fields
    return replace(outcome, moves=moves, fields=fields)


def log_bug(run: Run, bug: Exception, services: Services) -> None:
    """Tell the log of an exception that ending a run should not have met."""
    stack = stack_text(bug, services.secrets)
    logger.error("The end of run %s met an unexpected error:\n%s", run.run_id, stack)
