"""The end of a run: stored in a transaction, or kept in the spool; the body's exception goes on."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import (
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    RunFinishError,
)
from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories.run_endings import run_after
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.hooks import FAILED, FINISHED
from dynamodb_wrapper.runs.outcomes import Circumstances, outcome_of, stack_chunks
from dynamodb_wrapper.runs.progress import noted
from dynamodb_wrapper.runs.spool import SpooledRun

if TYPE_CHECKING:
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.run import Run
    from dynamodb_wrapper.runs.services import Services

logger = logging.getLogger(__name__)

_HURRIED_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 5.0
_CANCEL_JOIN_SECONDS = 1.0
_DEFINITE = (RunFinishError, InvalidTransitionError, ItemNotFoundError)


class Ending:
    """Ends runs of one tracker."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def end(
        self, run: Run, error: BaseException | None, *, within_seconds: float | None = None
    ) -> None:
        """Store what a run came to; safe to repeat.

        Args:
            run: The run.
            error: What left its body.
            within_seconds: How long that is tried; the run's options decide unless given.

        Raises:
            RunFinishError: The body raised nothing, its end could not be stored, and it had to be:
                a lock, a run key or a watermark depends on it.
            InvalidTransitionError: The run has ended otherwise before.
        """
        current.leave(run)
        if run.pid != os.getpid():
            logger.warning("Run %s belongs to process %s; it is left alone.", run.run_id, run.pid)
            return
        outcome = self._outcome(run, error)
        if run.outcome is not None:
            run.refuse_other_end(outcome)
            if error is None and run.end_problem is not None:
                raise run.end_problem
            return
        run.outcome = outcome
        try:
            with run.guard.finish_first():
                limit = within_seconds or run.options.finish_seconds
                problem = self._end_whatever_comes(run, outcome, error, limit)
        finally:
            run.guard.restore()
        if error is not None and problem is not None:
            _add_note(error, f"dynamodb-wrapper: {problem}")
        run.guard.deliver()
        if isinstance(problem, RunFinishError):
            run.end_problem = problem
            if error is None:
                raise problem

    def stop_early(self, run: Run) -> None:
        """Do what can be done from outside to end a run early: cancel its Spark jobs."""
        start_cancelling(self._services, run)

    def end_of_process(self, run: Run) -> None:
        """End a run that nobody ended before the process does: it did not succeed."""
        try:
            left = SystemExit("The process ended before the run did.")
            self.end(run, left, within_seconds=_HURRIED_SECONDS)
        except DynamoDBWrapperError as error:
            logger.error("%s", error)

    def _outcome(self, run: Run, error: BaseException | None) -> RunOutcome:
        around = Circumstances(
            run.run_id,
            self._services.secrets,
            run.guard.received_at is not None,
            run.options.exit_zero,
            run.skip_reason,
        )
        outcome = replace(outcome_of(error, around), end_time=self._services.clock())
        stage = None if error is None else run.stage_that_raised(error)
        if outcome.error is not None and stage is not None:
            info = outcome.error.model_copy(update={"stage": stage})
            outcome = replace(outcome, error=info)
        if outcome.status is not RunStatus.SUCCESS:
            return outcome
        moves = run.progress.moves()
        fields = {**outcome.fields, **({"watermarks": noted(moves)} if moves else {})}
        return replace(outcome, moves=moves, fields=fields)

    def _end_whatever_comes(
        self, run: Run, outcome: RunOutcome, error: BaseException | None, limit_seconds: float
    ) -> DynamoDBWrapperError | None:
        try:
            return self._end(run, outcome, error, limit_seconds)
        except Exception as bug:
            logger.exception("The end of run %s met an unexpected error.", run.run_id)
            told = f"Run {run.run_id} came to {outcome.status}; storing that met {bug!r}."
            return _trouble(run, outcome, told, bug)

    def _end(
        self, run: Run, outcome: RunOutcome, error: BaseException | None, limit_seconds: float
    ) -> DynamoDBWrapperError | None:
        """Store the end and everything that hangs on it; return what went wrong."""
        cancelling = self._cancel_jobs(run, outcome)
        run.heartbeat.stop()
        run.recorder.close()
        run.detach_logs()
        totals = run.log_totals()
        if totals is not None:
            run.recorder.record({("logs",): totals})
        whole = replace(outcome, parts=run.recorder.pending())
        stored, problem = self._store(run, whole, limit_seconds)
        if stored is not None:
            self._store_texts(run, error)
        self._tell(run, outcome, stored)
        if cancelling is not None:
            cancelling.join(_CANCEL_JOIN_SECONDS)
        return problem

    # ---- storing ---------------------------------------------------------------------------------

    def _store(
        self, run: Run, outcome: RunOutcome, limit_seconds: float
    ) -> tuple[PipelineRunLog | None, DynamoDBWrapperError | None]:
        if not run.tracked:
            return None, self._keep(run, outcome, "its start could not be stored either")
        try:
            stored = self._send(run, outcome, limit_seconds)
        except _DEFINITE as problem:
            logger.error("%s", problem)
            return None, _trouble(run, outcome, problem.message, problem)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the outcome must not be lost
            return None, self._keep(run, outcome, problem)
        logger.info("Run %s of pipeline %s ended: %s.", run.run_id, run.pipeline_id, stored.status)
        return stored, _watermark_conflict(run, stored)

    def _send(self, run: Run, outcome: RunOutcome, limit_seconds: float) -> PipelineRunLog:
        """Send until it is stored, or until the time is used up; SIGTERM leaves 5 s of it."""
        begin, wait = time.monotonic(), 0.1
        while True:
            try:
                return self._services.impatient_runs.finish_run(run.record, outcome)
            except DynamoDBWrapperError as problem:
                left = begin + limit_seconds - time.monotonic()
                if run.guard.received_at is not None:
                    until = max(run.guard.received_at, begin) + _HURRIED_SECONDS
                    left = min(left, until - time.monotonic())
                if not problem.retryable or left <= 0:
                    raise
                logger.debug("The end of run %s is not stored yet: %s", run.run_id, problem)
            time.sleep(min(random.uniform(0, wait), left))
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    def _keep(self, run: Run, outcome: RunOutcome, why: Exception | str) -> DynamoDBWrapperError:
        """Keep an outcome in the spool; return an error where something depends on it."""
        table = self._services.run_table
        spooled = SpooledRun(table, run.record, outcome, is_stored=run.tracked)
        told = (
            f"Run {run.run_id} of pipeline {run.pipeline_id!r} came to {outcome.status}, which "
            f"could not be stored ({str(why).rstrip('.')})."
        )
        try:
            path = self._services.spool.keep(spooled)
        except OSError as trouble:
            told += f" It could not be kept in a file either ({trouble})."
        else:
            told += (
                f" It is kept in {path}; the next start of the pipeline on this machine stores "
                "it, and so does RunTracker.replay()."
            )
        problem = _trouble(run, outcome, told, why)
        is_grave = isinstance(problem, RunFinishError) or outcome.error is not None
        logger.log(logging.ERROR if is_grave else logging.WARNING, "%s", told)
        return problem

    def _store_texts(self, run: Run, error: BaseException | None) -> None:
        """Store log lines and the whole stack trace; without them the run is still true."""
        runs, record, now = self._services.impatient_runs, run.record, self._services.clock()
        try:
            if run.logs is not None:
                run.logs.store_lines()
            if error is not None and run.outcome is not None and run.outcome.error is not None:
                for number, piece in enumerate(stack_chunks(error, self._services.secrets), 1):
                    runs.put_chunk(record, "err", number, piece, now)
        except DynamoDBWrapperError as problem:
            logger.warning("Texts of run %s could not be stored: %s", run.run_id, problem)

    # ---- around it -------------------------------------------------------------------------------

    def _tell(self, run: Run, outcome: RunOutcome, stored: PipelineRunLog | None) -> None:
        """Tell the hooks, also of an end that is not stored: somebody may be waiting for it."""
        hooks, known = self._services.hooks, stored
        if known is None:
            known = run_after(run.record, outcome, run.record.updated_by or "")
        hooks.tell(FINISHED, known, stored=stored is not None)
        if known.status in (RunStatus.FAILED, RunStatus.TIMED_OUT):
            hooks.tell(FAILED, known, stored=stored is not None)

    def _cancel_jobs(self, run: Run, outcome: RunOutcome) -> threading.Thread | None:
        early = outcome.status in (RunStatus.CANCELLED, RunStatus.TIMED_OUT)
        return start_cancelling(self._services, run) if early else None


def start_cancelling(services: Services, run: Run) -> threading.Thread | None:
    """Cancel a run's Spark jobs from a thread of its own, where that is wanted and possible.

    After an interruption the replies to this thread may be one off, so that no call may be made.
    """
    cancel = services.cancel_jobs
    if cancel is None or not run.options.cancel_spark_jobs:
        return None
    name = f"dynamodb-wrapper-cancel-{run.run_id}"
    thread = threading.Thread(target=_cancelled, args=(cancel, run.run_id), name=name, daemon=True)
    thread.start()
    return thread


def _cancelled(cancel: object, run_id: str) -> None:
    try:
        cancel(run_id)  # type: ignore[operator]
    except Exception:
        logger.warning("The Spark jobs of run %s could not be cancelled.", run_id, exc_info=True)


def _trouble(
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


def _watermark_conflict(run: Run, stored: PipelineRunLog) -> RunFinishError | None:
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


def _add_note(error: BaseException, note: str) -> None:
    """Attach a note as ``BaseException.add_note`` does, which Python has from 3.11."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
        else:
            error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - an exception that takes no notes stays as it is
        logger.debug("The note could not be attached.")
