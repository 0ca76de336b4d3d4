"""Finish a run: store its outcome in one transaction, or keep it in the spool."""

from __future__ import annotations

import atexit
import logging
import random
import threading
import time
import weakref
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    RunFinishError,
)
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.redaction import redact_known
from dynamodb_wrapper.repositories.run_log.protocol import run_after
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.hooks import FAILED, FINISHED
from dynamodb_wrapper.runs.outcome import (
    Circumstances,
    ProcessEndedError,
    outcome_of,
    stack_chunks,
    stack_text,
)
from dynamodb_wrapper.runs.spool import RunText, SpooledRun
from dynamodb_wrapper.runs.watermarks import noted

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.run import Run
    from dynamodb_wrapper.runs.services import Services

logger = logging.getLogger(__name__)
_SECONDS = 5.0
_LEAST_SECONDS = 0.1
T = TypeVar("T")
_HURRIED_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 5.0
_CANCEL_JOIN_SECONDS = 1.0
_DEFINITE = (RunFinishError, InvalidTransitionError, ItemNotFoundError)


_open_runs: weakref.WeakKeyDictionary[Run, Ending] = weakref.WeakKeyDictionary()


def ended_with_the_process(run: Run, ending: Ending) -> None:
    """End the run when the process does, unless somebody has ended it by then."""
    if not _open_runs:
        atexit.unregister(_end_open_runs)
        atexit.register(_end_open_runs)
    _open_runs[run] = ending


def _end_open_runs() -> None:
    """Give all of them together the time that one is given; each is tried once at least."""
    until = time.monotonic() + _SECONDS
    for run, ending in list(_open_runs.items()):
        if run.outcome is None:
            ending.end_of_process(run, max(_LEAST_SECONDS, until - time.monotonic()))


def start_cancelling(services: Services, run: Run) -> threading.Thread | None:
    """Cancel a run's Spark jobs from a thread of its own, where that is wanted and possible.

    After an interruption the replies to this thread may be one off, so that no call may be made.
    """
    cancel = services.cancel_jobs
    if cancel is None or not run.options.cancel_spark_jobs:
        return None
    name = f"dynamodb-wrapper-cancel-{run.run_id}"
    thread = threading.Thread(target=_cancelled, args=(cancel, run), name=name, daemon=True)
    thread.start()
    return thread


def _cancelled(cancel: Callable[[str], None], run: Run) -> None:
    try:
        cancel(run.run_id)
    except Exception as error:  # noqa: BLE001 - the run ends all the same
        why = run.describe(error)
        logger.warning("The Spark jobs of run %s could not be cancelled: %s", run.run_id, why)


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


class _Budget(NamedTuple):
    """The time to store an end and what hangs on it; SIGTERM leaves 5 s of it."""

    begin: float
    limit_seconds: float

    def left(self, signalled_at: float | None) -> float:
        until = self.begin + self.limit_seconds
        if signalled_at is not None:
            until = min(until, max(signalled_at, self.begin) + _HURRIED_SECONDS)
        return until - time.monotonic()


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
        signalled = run.guard.received_at is not None
        limit = within_seconds or run.options.finish_seconds
        try:
            self._end_first(run, error, limit, signalled=signalled)
        except BaseException:
            if run.outcome is None:  # a signal was quicker than the hand that holds it back
                self._end_first(run, error, limit, signalled=signalled)
            raise

    def stop_early(self, run: Run) -> None:
        """Do what can be done from outside to end a run early: cancel its Spark jobs."""
        start_cancelling(self._services, run)

    def end_of_process(self, run: Run, within_seconds: float) -> None:
        """End a run that nobody ended before the process does: it did not succeed."""
        try:
            left = ProcessEndedError("The process ended before the run did.")
            self.end(run, left, within_seconds=within_seconds)
        except DynamoDBWrapperError as error:
            logger.error("%s", error)

    def _end_first(
        self, run: Run, error: BaseException | None, limit_seconds: float, *, signalled: bool
    ) -> None:
        """End a run, and only then let through the signals that came meanwhile."""
        problem = None
        with run.guard.finish_first():
            try:
                problem = self._end_once(run, error, limit_seconds, signalled=signalled)
            finally:
                run.guard.restore()
        if error is not None and problem is not None:
            add_note(error, f"dynamodb-wrapper: {problem}")
        run.guard.deliver()
        if error is None and isinstance(problem, RunFinishError):
            raise problem

    def _end_once(
        self, run: Run, error: BaseException | None, limit_seconds: float, *, signalled: bool
    ) -> DynamoDBWrapperError | None:
        current.leave(run)
        if not run.is_here:
            logger.warning("Run %s belongs to process %s; it is left alone.", run.run_id, run.pid)
            return None
        outcome = verdict_on(run, error, self._services, signalled=signalled)
        if run.outcome is not None:
            run.refuse_other_end(outcome)
            return run.end_problem
        run.outcome = outcome  # from here on the run takes nothing more
        run.outcome = outcome = with_moves(run, outcome, self._services)
        problem = self._end_whatever_comes(run, outcome, error, limit_seconds)
        if isinstance(problem, RunFinishError):
            run.end_problem = problem
        return problem

    def _end_whatever_comes(
        self, run: Run, outcome: RunOutcome, error: BaseException | None, limit_seconds: float
    ) -> DynamoDBWrapperError | None:
        try:
            return self._end(run, outcome, error, limit_seconds)
        except Exception as bug:  # noqa: BLE001 - what the body came to goes on
            log_bug(run, bug, self._services)
            told = (
                f"Run {run.run_id} came to {outcome.status}; storing that met {run.describe(bug)}."
            )
            return unstored(run, outcome, told, bug)

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
        spooled = SpooledRun(
            self._services.run_table,
            run.record,
            replace(outcome, parts=run.recorder.take_rest()),
            is_stored=run.tracked,
            texts=self._texts(run, outcome, error),
        )
        budget = _Budget(time.monotonic(), limit_seconds)
        stored, problem = self._store(run, spooled, budget)
        if stored is not None:
            loss = self._store_texts(run, spooled, budget)
            problem = problem or loss
        self._tell(run, outcome, stored)
        if cancelling is not None:
            cancelling.join(_CANCEL_JOIN_SECONDS)
        return problem

    def _texts(
        self, run: Run, outcome: RunOutcome, error: BaseException | None
    ) -> tuple[RunText, ...]:
        """Return what is stored beside the run: log lines left over, and the whole stack trace."""
        lines = [] if run.logs is None else run.logs.left_over()
        stack = []
        if error is not None and outcome.error is not None:
            stack = list(enumerate(stack_chunks(error, self._services.secrets), 1))
        return (*(("log", *piece) for piece in lines), *(("err", *piece) for piece in stack))

    # ---- storing ---------------------------------------------------------------------------------

    def _store(
        self, run: Run, end: SpooledRun, budget: _Budget
    ) -> tuple[PipelineRunLog | None, DynamoDBWrapperError | None]:
        if not run.tracked:
            return None, self._keep(run, end, "its start could not be stored either")
        services = self._services
        try:
            stored = self._send(
                run, budget, lambda: services.impatient_store.finish(run.record, end.outcome)
            )
        except _DEFINITE as problem:
            logger.error("%s", problem)
            return None, unstored(run, end.outcome, problem.message, problem)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the outcome must not be lost
            return None, self._keep(run, end, problem)
        logger.info("Run %s of pipeline %s ended: %s.", run.run_id, run.pipeline_id, stored.status)
        return stored, watermark_conflict(run, stored)

    def _send(self, run: Run, budget: _Budget, send: Callable[[], T]) -> T:
        """Send until it is stored, or until the time is used up."""
        wait = 0.1
        while True:
            try:
                return send()
            except DynamoDBWrapperError as problem:
                left = budget.left(run.guard.received_at)
                if not problem.retryable or left <= 0:
                    raise
                logger.debug("The end of run %s is not stored yet: %s", run.run_id, problem)
            time.sleep(min(random.uniform(0, wait), left))
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    def _keep(self, run: Run, end: SpooledRun, why: Exception | str) -> DynamoDBWrapperError:
        """Keep an outcome in the spool; return an error where something depends on it."""
        told = (
            f"Run {run.run_id} of pipeline {run.pipeline_id!r} came to {end.outcome.status}, which "
            f"could not be stored ({str(why).rstrip('.')}). {self._kept(end)}"
        )
        problem = unstored(run, end.outcome, told, why)
        is_grave = isinstance(problem, RunFinishError) or end.outcome.error is not None
        logger.log(logging.ERROR if is_grave else logging.WARNING, "%s", told)
        return problem

    def _kept(self, end: SpooledRun) -> str:
        """Write to the spool, and tell where that is."""
        try:
            path = self._services.spool.keep(end)
        except Exception as trouble:  # noqa: BLE001 - what the body came to goes on
            return f"It could not be kept in a file either ({trouble})."
        return (
            f"It is kept in {path}; the next start of the pipeline on this machine stores it, "
            "and so does RunTracker.replay()."
        )

    def _store_texts(
        self, run: Run, end: SpooledRun, budget: _Budget
    ) -> DynamoDBWrapperError | None:
        """Store log lines and the whole stack trace; without them the run is still true."""
        store = self._services.impatient_store
        try:
            now = self._services.clock()
            for text in end.texts:
                self._send(run, budget, partial(store.put_chunk, run.record, *text, now))
        except Exception as problem:  # noqa: BLE001 - the end of the run is stored
            told = (
                f"Texts of run {run.run_id} of pipeline {run.pipeline_id!r} could not be stored "
                f"({str(problem).rstrip('.')}). {self._kept(end)}"
            )
            logger.warning("%s", told)
            return DynamoDBWrapperError(told)
        return None

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
