"""Finish a run: store its outcome in one transaction, or keep it in the spool."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from dynamodb_wrapper.aws.retries import Backoff
from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    RunFinishError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.redaction import redact_known
from dynamodb_wrapper.repositories.run_log.protocol import run_after
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.hooks import FAILED, FINISHED
from dynamodb_wrapper.runs.outcome import (
    Circumstances,
    ProcessEndedError,
    describe,
    outcome_of,
    stack_chunks,
    stack_text,
)
from dynamodb_wrapper.runs.spool import RunText, SpooledRun
from dynamodb_wrapper.runs.watermarks import recorded_moves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.run import RunInternals
    from dynamodb_wrapper.runs.services import Services
    from dynamodb_wrapper.runs.signals import SignalGuard

logger = SafeLogger(__name__)
T = TypeVar("T")
_EXIT_SECONDS = 5.0
_LEAST_EXIT_SECONDS = 0.1
_SIGNALLED_SECONDS = 5.0
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_CANCEL_JOIN_SECONDS = 1.0
# Errors that no repetition changes: the outcome is refused, and spooling it would not help.
_REFUSED = (RunFinishError, InvalidTransitionError, ItemNotFoundError)


class RunFinisher:
    """Finishes runs of one tracker: decide, freeze, store or spool, notify."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def finish(
        self,
        run: RunInternals,
        error: BaseException | None,
        *,
        within_seconds: float | None = None,
    ) -> None:
        """Store how a run ended; safe to repeat.

        Args:
            run: The run.
            error: The exception that left its body; None for a normal end.
            within_seconds: How long storing is tried; the run's options decide unless given.

        Raises:
            RunFinishError: The body raised nothing, its end could not be stored, and it had to be:
                a lock, a run key or a watermark depends on it.
            InvalidTransitionError: The run has ended otherwise before.
        """
        is_signalled = run.signals.received_at is not None
        limit_seconds = within_seconds or run.options.finish_seconds
        try:
            self._finish(run, error, limit_seconds, is_signalled=is_signalled)
        except BaseException:
            if run.liveness.outcome is None:  # a signal arrived before signals were held back
                self._finish(run, error, limit_seconds, is_signalled=is_signalled)
            raise

    def finish_at_exit(self, run: RunInternals, within_seconds: float) -> None:
        """End a run that is still open when the process exits: it did not succeed."""
        try:
            error = ProcessEndedError("The process ended before the run did.")
            self.finish(run, error, within_seconds=within_seconds)
        except DynamoDBWrapperError as problem:
            logger.error("%s", problem)

    def _finish(
        self,
        run: RunInternals,
        error: BaseException | None,
        limit_seconds: float,
        *,
        is_signalled: bool,
    ) -> None:
        """Finish a run with signals held back, and deliver them afterwards."""
        problem = None
        with run.signals.finish_first():
            try:
                problem = self._finish_once(run, error, limit_seconds, is_signalled=is_signalled)
            finally:
                run.signals.restore()
        if error is not None and problem is not None:
            add_note(error, f"dynamodb-wrapper: {problem}")
        run.signals.deliver()
        if error is None and isinstance(problem, RunFinishError):
            raise problem

    def _finish_once(
        self,
        run: RunInternals,
        error: BaseException | None,
        limit_seconds: float,
        *,
        is_signalled: bool,
    ) -> DynamoDBWrapperError | None:
        """Decide the outcome, and store it unless the run has ended before."""
        liveness = run.liveness
        record = liveness.record
        current.leave(record.run_id)
        if not liveness.is_own_process:
            logger.warning(
                "Run %s belongs to process %s; it is left alone.", record.run_id, liveness.pid
            )
            return None
        outcome = self._decide(run, error, is_signalled=is_signalled)
        if liveness.outcome is not None:
            liveness.refuse_other_end(outcome)
            return run.finish_error
        liveness.close(outcome)
        outcome = self._with_watermarks(run, outcome)  # no more moves: the run is closed
        liveness.close(outcome)
        _open_runs.pop(run, None)
        try:
            problem = self._store_end(run, outcome, error, limit_seconds)
        except Exception as bug:  # noqa: BLE001 - the body's result must not change
            self._log_bug(run, bug)
            message = (
                f"Run {record.run_id} ended as {outcome.status}; storing that met "
                f"{describe(bug, self._services.secrets)}."
            )
            problem = _problem_of(run, outcome, message, bug)
        if isinstance(problem, RunFinishError):
            run.finish_error = problem
        return problem

    # ---- decide ----------------------------------------------------------------------------------

    def _decide(
        self, run: RunInternals, error: BaseException | None, *, is_signalled: bool
    ) -> RunOutcome:
        """Return how a run ended, when, and in which stage."""
        secrets = self._services.secrets
        run_id = run.liveness.record.run_id
        outcome = outcome_of(
            error,
            Circumstances(run_id, secrets, is_signalled, run.options.exit_zero, run.skip_reason),
        )
        try:
            outcome = replace(outcome, end_time=self._services.clock())
            stage = None if error is None else run.stage_errors.stage_of(error)
            if outcome.error is not None and stage is not None:
                info = outcome.error.model_copy(update={"stage": redact_known(stage, secrets)})
                outcome = replace(outcome, error=info)
        except Exception as bug:  # noqa: BLE001 - the run must end, with less detail if need be
            self._log_bug(run, bug)
        return outcome

    def _with_watermarks(self, run: RunInternals, outcome: RunOutcome) -> RunOutcome:
        """Return the outcome with the watermarks to move, if the run succeeded."""
        moves = run.watermarks.moves() if outcome.status is RunStatus.SUCCESS else ()
        if not moves:
            return outcome
        try:
            fields = {**outcome.fields, "watermarks": recorded_moves(moves)}
        except Exception as bug:  # noqa: BLE001 - they are moved without being shown on the run
            self._log_bug(run, bug)
            fields = outcome.fields
        return replace(outcome, moves=moves, fields=fields)

    # ---- freeze, store or spool, notify ----------------------------------------------------------

    def _store_end(
        self,
        run: RunInternals,
        outcome: RunOutcome,
        error: BaseException | None,
        limit_seconds: float,
    ) -> DynamoDBWrapperError | None:
        """Store the end of a run and the texts beside it; return what went wrong."""
        cancelling = None
        if outcome.status in (RunStatus.CANCELLED, RunStatus.TIMED_OUT):
            cancelling = run.cancel_jobs()
        end = self._freeze(run, outcome, error)
        budget = _Budget(run.signals, limit_seconds)
        stored, problem = self._store(run, end, budget)
        if stored is not None:
            problem = self._store_texts(end, budget) or problem
        self._notify(end, stored)
        if cancelling is not None:
            cancelling.join(_CANCEL_JOIN_SECONDS)
        return problem

    def _freeze(
        self, run: RunInternals, outcome: RunOutcome, error: BaseException | None
    ) -> SpooledRun:
        """Stop beating and recording; return the end with everything that is not stored yet."""
        run.heartbeat.stop()
        run.recorder.close()
        texts: list[RunText] = []
        if run.logs is not None:
            run.logs.record_totals()
        parts = run.recorder.take_rest()
        if run.logs is not None:
            texts += [("log", *piece) for piece in run.logs.left_over()]
        if error is not None and outcome.error is not None:
            chunks = stack_chunks(error, self._services.secrets)
            texts += [("err", *piece) for piece in enumerate(chunks, 1)]
        return SpooledRun(
            self._services.run_table,
            run.liveness.record,
            replace(outcome, parts=parts),
            is_stored=run.liveness.tracked,
            texts=tuple(texts),
        )

    def _store(
        self, run: RunInternals, end: SpooledRun, budget: _Budget
    ) -> tuple[PipelineRunLog | None, DynamoDBWrapperError | None]:
        """Store the outcome in one transaction; spool it where that is not possible now."""
        record, outcome = end.record, end.outcome
        if not end.is_stored:
            return None, self._spool(run, end, "its start could not be stored either")
        ends = self._services.impatient_store.ends
        try:
            stored = budget.spend(lambda: ends.finish(record, outcome))
        except _REFUSED as refusal:
            logger.error("%s", refusal)
            return None, _problem_of(run, outcome, refusal.message, refusal)
        except Exception as trouble:  # noqa: BLE001 - the outcome must not be lost
            return None, self._spool(run, end, trouble)
        logger.debug(
            "Run %s of pipeline %s ended: %s.", record.run_id, record.pipeline_id, stored.status
        )
        return stored, _watermark_conflict(stored)

    def _store_texts(self, end: SpooledRun, budget: _Budget) -> DynamoDBWrapperError | None:
        """Store log lines and the whole stack trace; the end of the run is stored without them."""
        store, record = self._services.impatient_store, end.record
        try:
            now = self._services.clock()
            for text in end.texts:
                budget.spend(partial(store.put_chunk, record, *text, now))
        except Exception as trouble:  # noqa: BLE001 - the end of the run is stored
            message = (
                f"Texts of run {record.run_id} of pipeline {record.pipeline_id!r} could not be "
                f"stored ({str(trouble).rstrip('.')}). {self._keep(end)}"
            )
            logger.warning("%s", message)
            return DynamoDBWrapperError(message)
        return None

    def _spool(
        self, run: RunInternals, end: SpooledRun, why: Exception | str
    ) -> DynamoDBWrapperError:
        """Keep an outcome in the spool; return the error of an end that is not stored."""
        message = (
            f"Run {end.record.run_id} of pipeline {end.record.pipeline_id!r} ended as "
            f"{end.outcome.status}, which could not be stored ({str(why).rstrip('.')}). "
            f"{self._keep(end)}"
        )
        problem = _problem_of(run, end.outcome, message, why)
        is_grave = isinstance(problem, RunFinishError) or end.outcome.error is not None
        logger.log(logging.ERROR if is_grave else logging.WARNING, "%s", message)
        return problem

    def _keep(self, end: SpooledRun) -> str:
        """Write to the spool, and return a sentence that says where."""
        try:
            path = self._services.spool.keep(end)
        except Exception as trouble:  # noqa: BLE001 - the body's result must not change
            return f"It could not be kept in a file either ({trouble})."
        return (
            f"It is kept in {path}; the next start of the pipeline on this machine stores it, "
            "and so does RunTracker.replay_outcomes()."
        )

    def _notify(self, end: SpooledRun, stored: PipelineRunLog | None) -> None:
        """Notify the hooks, also of an end that is not stored."""
        hooks, ended = self._services.hooks, stored
        if ended is None:
            ended = run_after(end.record, end.outcome, end.record.updated_by or "")
        hooks.notify(FINISHED, ended, stored=stored is not None)
        if ended.status in (RunStatus.FAILED, RunStatus.TIMED_OUT):
            hooks.notify(FAILED, ended, stored=stored is not None)

    def _log_bug(self, run: RunInternals, bug: Exception) -> None:
        run_id, stack = run.liveness.record.run_id, stack_text(bug, self._services.secrets)
        logger.error("The end of run %s met an unexpected error:\n%s", run_id, stack)


class _Budget:
    """The time to store an end and its texts; SIGTERM leaves 5 s of it."""

    def __init__(
        self,
        signals: SignalGuard,
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,  # a test that stops the time leaves this one
    ) -> None:
        self._signals = signals
        self._clock = clock
        self._begin = clock()
        self._limit_seconds = limit_seconds

    def spend(self, send: Callable[[], T]) -> T:
        """Call until it is stored, until it is refused, or until the time is used up."""
        backoff = Backoff(
            self._limit_seconds,
            first_seconds=_FIRST_WAIT_SECONDS,
            longest_seconds=_LONGEST_WAIT_SECONDS,
            left=self._left,
        )
        problem: DynamoDBWrapperError
        for _ in backoff.waits():
            try:
                return send()
            except DynamoDBWrapperError as error:
                if not error.retryable:
                    raise
                problem = error
                logger.debug("The end of a run is not stored yet: %s", error)
        raise problem

    def _left(self) -> float:
        until = self._begin + self._limit_seconds
        signalled_at = self._signals.received_at
        if signalled_at is not None:
            until = min(until, max(signalled_at, self._begin) + _SIGNALLED_SECONDS)
        return until - self._clock()


def _problem_of(
    run: RunInternals, outcome: RunOutcome, message: str, why: Exception | str
) -> DynamoDBWrapperError:
    """Return the error of an end that is not stored.

    A `RunFinishError`, raised after a body that succeeded, if a lock, a run key or a watermark
    depends on it; else an error that is only logged.
    """
    record = run.liveness.record
    if record.fence is None and record.run_key is None and not outcome.moves:
        return DynamoDBWrapperError(message)
    error = RunFinishError(
        message,
        run_id=record.run_id,
        pipeline_id=record.pipeline_id,
        outcome=str(outcome.status),
    )
    error.__cause__ = why if isinstance(why, Exception) else None
    return error


def _watermark_conflict(stored: PipelineRunLog) -> RunFinishError | None:
    """Return the error of a success whose watermarks were changed by another writer meanwhile."""
    if not stored.watermark_conflict:
        return None
    message = (
        f"Run {stored.run_id} of pipeline {stored.pipeline_id!r} ended as {stored.status}, but a "
        "watermark was changed by another writer while it ran: none was moved. The next run "
        "begins where the watermark stands now."
    )
    logger.error("%s", message)
    return RunFinishError(
        message, run_id=stored.run_id, pipeline_id=stored.pipeline_id, outcome=str(stored.status)
    )


def add_note(error: BaseException, note: str) -> None:
    """Attach a note as ``BaseException.add_note`` does, which Python has from 3.11."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
        else:
            error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - an exception without room for notes stays as it is
        logger.debug("The note could not be attached.")


# ---- runs that are open when the process exits ---------------------------------------------------

_open_runs: dict[RunInternals, RunFinisher] = {}


def finish_at_exit(run: RunInternals, finisher: RunFinisher) -> None:
    """Finish the run when the process exits, unless it has been finished by then."""
    if not _open_runs:
        atexit.unregister(_finish_open_runs)
        atexit.register(_finish_open_runs)
    _open_runs[run] = finisher


def _finish_open_runs() -> None:
    """Finish all of them within the time of one; each is tried once at least."""
    until = time.monotonic() + _EXIT_SECONDS
    for run, finisher in list(_open_runs.items()):
        if run.liveness.outcome is None:
            finisher.finish_at_exit(run, max(_LEAST_EXIT_SECONDS, until - time.monotonic()))


# ---- Spark jobs of a run that is to end early ----------------------------------------------------


@dataclass(frozen=True)
class JobCanceller:
    """Cancels the Spark jobs of a run from a short-lived thread.

    After an interruption the replies to this thread may be one off, so that it may call nothing.

    Attributes:
        cancel: Cancels the jobs of a run by its id; None where they are not to be cancelled.
        run_id: The run.
        secrets: Values to take out of the log.
    """

    cancel: Callable[[str], None] | None
    run_id: str
    secrets: Iterable[str] = field(repr=False)

    def start(self) -> threading.Thread | None:
        """Start the thread and return it."""
        if self.cancel is None:
            return None
        name = f"dynamodb-wrapper-cancel-{self.run_id}"
        thread = threading.Thread(target=self._run, args=(self.cancel,), name=name, daemon=True)
        thread.start()
        return thread

    def _run(self, cancel: Callable[[str], None]) -> None:
        try:
            cancel(self.run_id)
        except Exception as error:  # noqa: BLE001 - the run ends all the same
            why = describe(error, self.secrets)
            logger.warning("The Spark jobs of run %s could not be cancelled: %s", self.run_id, why)
