"""Finish a run: store its outcome in one transaction, or keep it in the spool."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from contextlib import suppress
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
from dynamodb_wrapper.runs.hooks import FAILED, FINISHED, HOOK_SECONDS, HURRIED_SECONDS
from dynamodb_wrapper.runs.outcome import (
    Circumstances,
    ProcessEndedError,
    describe,
    is_of_library,
    outcome_of,
    stack_chunks,
    stack_text,
    type_name,
)
from dynamodb_wrapper.runs.run import Ending
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
_HURRIED_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_BEFORE_OTHERS = 100
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_CANCEL_JOIN_SECONDS = 1.0
_RESERVED = 8  # looking up a name, the connection, its certificates and a module take fewer
# Errors that no repetition changes: the outcome is refused, and spooling it would not help.
_REFUSED = (RunFinishError, InvalidTransitionError, ItemNotFoundError)


class RunFinisher:
    """Finishes runs of one tracker: decide, freeze, store or spool, notify."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def finish(self, run: RunInternals, error: BaseException | None) -> None:
        """Store how a run ended; safe to repeat, and tries again what is not stored yet.

        Args:
            run: The run.
            error: The exception that left its body; None for a normal end.

        Raises:
            RunFinishError: The body raised nothing, its end could not be stored, and it had to be:
                a lock, a run key or a watermark depends on it.
            InvalidTransitionError: The run has ended otherwise before.
        """
        self._finish(run, error, run.options.finish_seconds)

    def finish_at_exit(self, run: RunInternals, within_seconds: float) -> None:
        """End a run that is still open when the process exits: it did not succeed."""
        if not run.settling.acquire(timeout=within_seconds):
            return  # another thread is at it
        try:
            error = _exit_reason() if run.ending is None else run.ending.error
            self._finish(run, error, within_seconds, at_exit=True)
        except RunFinishError:
            pass  # logged where it was made
        except DynamoDBWrapperError as problem:
            logger.error("%s", problem)
        finally:
            run.settling.release()

    def _finish(
        self,
        run: RunInternals,
        error: BaseException | None,
        limit_seconds: float,
        *,
        at_exit: bool = False,
    ) -> None:
        """Conclude a run, deliver the signals held back meanwhile, and raise its problem."""
        try:
            try:
                self._conclude(run, error, limit_seconds, at_exit=at_exit)
            except InvalidTransitionError:
                raise
            except BaseException:
                # The end comes first. Unless the exception comes again it was raised from outside,
                # such as by another thread, and goes on afterwards.
                self._conclude(run, error, limit_seconds, at_exit=at_exit)
                if run.ending is None or not run.ending.has_bug:
                    raise
        finally:
            self._deliver(run, error)
        problem = _problem(run)
        if error is None and problem is not None:
            raise problem

    def _deliver(self, run: RunInternals, error: BaseException | None) -> None:
        try:
            run.signals.deliver()
        except BaseException as raised:
            problem = _problem(run)
            if error is None and problem is not None:
                add_note(raised, f"dynamodb-wrapper: {problem}")
            raise

    def _conclude(
        self,
        run: RunInternals,
        error: BaseException | None,
        limit_seconds: float,
        *,
        at_exit: bool,
    ) -> None:
        """Decide and store an end with signals held back; then notify the hooks."""
        liveness = run.liveness
        current.leave(liveness.record.run_id)
        if not liveness.is_own_process:
            logger.warning(
                "Run %s belongs to process %s; it is left alone.",
                liveness.record.run_id,
                liveness.pid,
            )
            return
        try:
            run.signals.hold()
            with run.settling:  # another thread may be at it
                ending = self._decided(run, error, at_exit=at_exit)
                self._settle(run, ending, limit_seconds)
                self._notify(run, ending)
        finally:
            run.signals.unwatch()
            run.signals.release()
        self._wait_for_hooks(run, ending)

    # ---- decide ----------------------------------------------------------------------------------

    def _decided(self, run: RunInternals, error: BaseException | None, *, at_exit: bool) -> Ending:
        """Return the end of a run, decided now unless it was before.

        Raises:
            InvalidTransitionError: It was decided otherwise before.
        """
        before = run.ending
        if before is not None and error is before.error:
            return before
        outcome = self._decide(run, error, at_exit=at_exit)
        if before is not None:
            run.liveness.refuse_other_end(outcome)
            return before
        run.ending = ending = Ending(outcome, error)
        return ending

    def _decide(
        self, run: RunInternals, error: BaseException | None, *, at_exit: bool
    ) -> RunOutcome:
        """Return how a run ended, when, and in which stage."""
        secrets = self._services.secrets
        exit_zero = "failed" if at_exit else run.options.exit_zero
        is_signalled = run.signals.is_cause_of(error)
        run_id = run.liveness.record.run_id
        outcome = outcome_of(
            error, Circumstances(run_id, secrets, is_signalled, exit_zero, run.skip_reason)
        )
        try:
            outcome = replace(outcome, end_time=self._services.clock())
            if at_exit and outcome.status is RunStatus.FAILED:
                outcome = replace(outcome, reason="process_exit")
            stage = None if error is None else run.stages.stage_of(error)
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

    def _settle(self, run: RunInternals, ending: Ending, limit_seconds: float) -> None:
        """Store a decided end, or keep it in the spool; what was done before is not done again."""
        run.liveness.close(ending.outcome)
        _reserve.release()
        try:
            if not ending.is_settled or not ending.has_texts:
                self._store_end(run, ending, limit_seconds)
        except Exception as bug:
            ending.mishaps += 1
            if not ending.has_bug:
                raise  # see `_finish`
            self._log_bug(run, bug)
            if not ending.is_settled:
                ending.frozen = ending.frozen or self._bare_end(run, ending)
                self._spool(run, ending, f"that met {describe(bug, self._services.secrets)}")
        if ending.is_settled:
            _open_runs.pop(run, None)
            self._services.spool.discard(run.liveness.record.run_id)
        if _open_runs:
            _reserve.fill()

    def _store_end(self, run: RunInternals, ending: Ending, limit_seconds: float) -> None:
        """Store the end of a run and the texts beside it."""
        cancelling = None
        if ending.outcome.status in (RunStatus.CANCELLED, RunStatus.TIMED_OUT):
            cancelling = run.cancel_jobs()
        end = ending.frozen
        if end is None:
            end = ending.frozen = self._freeze(run, ending)
        budget = _Budget(run.signals, limit_seconds, is_hurried=_is_hurried(run, ending))
        if not ending.is_settled:
            self._store(run, ending, end, budget)
        if ending.stored is not None and not ending.has_texts:
            self._store_texts(ending, end, budget)
        ending.has_texts = True
        if cancelling is not None:
            cancelling.join(_CANCEL_JOIN_SECONDS)

    def _freeze(self, run: RunInternals, ending: Ending) -> SpooledRun:
        """Stop beating and recording; return the end with everything that is not stored yet."""
        # No more moves: the run is closed.
        ending.outcome = outcome = self._with_watermarks(run, ending.outcome)
        run.liveness.close(outcome)
        error = ending.error
        run.heartbeat.stop()
        run.recorder.close()
        run.stages.end_all(outcome)
        texts: list[RunText] = []
        if run.logs is not None:
            run.logs.record_totals()
        parts = run.recorder.take_rest()
        if run.logs is not None:
            texts += [("log", *piece) for piece in run.logs.left_over()]
        if error is not None and outcome.error is not None:
            chunks = stack_chunks(error, self._services.secrets)
            texts += [("err", *piece) for piece in enumerate(chunks, 1)]
        end = self._bare_end(run, ending)
        return replace(end, outcome=replace(outcome, parts=parts), texts=tuple(texts))

    def _bare_end(self, run: RunInternals, ending: Ending) -> SpooledRun:
        return SpooledRun(
            self._services.run_table,
            run.liveness.record,
            ending.outcome,
            is_stored=run.liveness.tracked,
        )

    def _store(self, run: RunInternals, ending: Ending, end: SpooledRun, budget: _Budget) -> None:
        """Store the outcome in one transaction; spool it where that is not possible now."""
        record, outcome = end.record, end.outcome
        if not end.is_stored:
            self._spool(run, ending, "its start could not be stored either")
            return
        ends = self._services.impatient_store.ends
        try:
            stored = budget.spend(lambda: ends.finish(record, outcome))
        except _REFUSED as refusal:
            ending.problem = _problem_of(run, outcome, refusal.message, refusal)
            ending.is_settled = True
            logger.error("%s", refusal)
            return
        except DynamoDBWrapperError as trouble:
            self._spool(run, ending, trouble)
            return
        ending.problem = _watermark_conflict(stored)
        ending.stored = stored
        ending.is_settled = True
        logger.debug(
            "Run %s of pipeline %s ended: %s.", record.run_id, record.pipeline_id, stored.status
        )

    def _store_texts(self, ending: Ending, end: SpooledRun, budget: _Budget) -> None:
        """Store log lines and the whole stack trace; the end of the run is stored without them."""
        store, record = self._services.impatient_store, end.record
        try:
            now = self._services.clock()
            for text in end.texts:
                budget.spend(partial(store.put_chunk, record, *text, now))
        except Exception as trouble:  # noqa: BLE001 - the end of the run is stored
            _, kept = self._keep(end)
            message = (
                f"Texts of run {record.run_id} of pipeline {record.pipeline_id!r} could not be "
                f"stored ({str(trouble).rstrip('.')}). {kept}"
            )
            logger.warning("%s", message)
            ending.problem = ending.problem or DynamoDBWrapperError(message)

    def _spool(self, run: RunInternals, ending: Ending, why: Exception | str) -> None:
        """Keep an outcome in the spool, and note the error of an end that is not stored."""
        end = ending.frozen
        if end is None:
            return
        ending.is_settled, kept = self._keep(end)
        message = (
            f"Run {end.record.run_id} of pipeline {end.record.pipeline_id!r} ended as "
            f"{end.outcome.status}, which could not be stored ({str(why).rstrip('.')}). {kept}"
        )
        ending.problem = problem = _problem_of(run, end.outcome, message, why)
        is_grave = isinstance(problem, RunFinishError) or end.outcome.error is not None
        logger.log(logging.ERROR if is_grave else logging.WARNING, "%s", message)

    def _keep(self, end: SpooledRun) -> tuple[bool, str]:
        """Write to the spool; return whether that went well, and a sentence that says where."""
        try:
            path = self._services.spool.keep(end)
        except Exception as trouble:  # noqa: BLE001 - the body's result must not change
            return False, f"It could not be kept in a file either ({trouble})."
        return True, (
            f"It is kept in {path}; the next start of the pipeline on this machine stores it, "
            "and so does RunTracker.replay_outcomes()."
        )

    def _notify(self, run: RunInternals, ending: Ending) -> None:
        """Add the note to the exception and notify the hooks, also of an end that is not stored."""
        if ending.is_known:
            return
        ending.is_known = True
        if ending.error is not None and ending.problem is not None:
            add_note(ending.error, f"dynamodb-wrapper: {ending.problem}")
        end = ending.frozen
        if end is None:
            return
        is_failure = ending.outcome.status in (RunStatus.FAILED, RunStatus.TIMED_OUT)
        kinds = [FINISHED, FAILED] if is_failure else [FINISHED]
        try:
            ended = ending.stored or run_after(end.record, end.outcome, end.record.updated_by or "")
            is_stored = ending.stored is not None
            ending.hooks = self._services.hooks.begin(kinds, ended, stored=is_stored)
        except Exception as bug:  # noqa: BLE001 - the body's result must not change
            self._log_bug(run, bug)

    def _wait_for_hooks(self, run: RunInternals, ending: Ending) -> None:
        """Wait for hooks; a signal that raises here ends the wait, and they go on by themselves."""
        is_hurried = _is_hurried(run, ending) or run.signals.hurried_at is not None
        hooks, ending.hooks = ending.hooks, None
        if hooks is not None:
            hooks.wait(HURRIED_SECONDS if is_hurried else HOOK_SECONDS)

    def _log_bug(self, run: RunInternals, bug: Exception) -> None:
        run_id, stack = run.liveness.record.run_id, stack_text(bug, self._services.secrets)
        logger.error("The end of run %s met an unexpected error:\n%s", run_id, stack)


class _Budget:
    """The time to store an end and its texts.

    Ctrl-C, SIGTERM and the like leave 5 s of it, whether they ended the body or are held back; a
    second one leaves none.
    """

    def __init__(
        self,
        signals: SignalGuard,
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,  # a test that stops the time leaves this one
        sleep: Callable[[float], None] = time.sleep,
        *,
        is_hurried: bool,
    ) -> None:
        self._signals = signals
        self._clock = clock
        self._sleep = sleep
        self._begin = clock()
        self._limit_seconds = limit_seconds
        if is_hurried:
            self._limit_seconds = min(limit_seconds, _HURRIED_SECONDS)

    def spend(self, send: Callable[[], T]) -> T:
        """Call until it is stored, until it is refused, or until the time is used up."""
        backoff = Backoff(
            self._limit_seconds,
            first_seconds=_FIRST_WAIT_SECONDS,
            longest_seconds=_LONGEST_WAIT_SECONDS,
            left=self._left,
            sleep=self._wait,
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

    def _wait(self, seconds: float) -> None:
        """Sleep, and notice within a moment that a signal has shortened the time."""
        until = self._clock() + seconds
        while (left := min(until - self._clock(), self._left())) > 0:
            self._sleep(min(left, _LOOK_SECONDS))

    def _left(self) -> float:
        if self._signals.is_urgent:
            return 0.0
        until = self._begin + self._limit_seconds
        hurried_at = self._signals.hurried_at
        if hurried_at is not None:
            until = min(until, max(hurried_at, self._begin) + _HURRIED_SECONDS)
        return until - self._clock()


def _is_hurried(run: RunInternals, ending: Ending) -> bool:
    """Return whether a signal ended the body."""
    is_pressed = isinstance(ending.error, KeyboardInterrupt)
    return is_pressed or run.signals.is_cause_of(ending.error)


def _problem(run: RunInternals) -> RunFinishError | None:
    """Return the error to raise where the body raised none."""
    problem = None if run.ending is None else run.ending.problem
    return problem if isinstance(problem, RunFinishError) else None


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
    except BaseException as raised:  # an exception without room for notes stays as it is
        if not isinstance(raised, Exception) and is_of_library(raised):
            raise
        logger.debug("The note could not be attached.")


# ---- runs that are open when the process exits ---------------------------------------------------

_open_runs: dict[RunInternals, RunFinisher] = {}


class Reserve:
    """File descriptors that are held back while runs are open.

    A body may use up all that a process can have. Those of the reserve are closed when a run ends,
    so that it can be connected to DynamoDB, or opened a file in the spool, to store the end.
    """

    def __init__(self) -> None:
        self._held: list[int] = []

    def fill(self) -> None:
        """Hold descriptors back, as far as there are any."""
        with suppress(OSError):
            while len(self._held) < _RESERVED:
                self._held.append(os.open(os.devnull, os.O_RDONLY))

    def release(self) -> None:
        """Close them."""
        with suppress(IndexError):  # another thread may do the same
            while True:
                os.close(self._held.pop())


_reserve = Reserve()


def finish_at_exit(run: RunInternals, finisher: RunFinisher) -> None:
    """Finish the run when the process exits, unless it has been finished by then."""
    if not any(other.liveness.is_own_process for other in _open_runs):
        _open_runs.clear()  # of the process this one was forked from
        atexit.unregister(_finish_open_runs)
        atexit.register(_finish_open_runs)
        if _is_child_of_multiprocessing():  # it leaves without what is registered above
            sys.modules["multiprocessing.util"].Finalize(
                None, _finish_open_runs, exitpriority=_BEFORE_OTHERS
            )
    _open_runs[run] = finisher
    _reserve.fill()


def _is_child_of_multiprocessing() -> bool:
    # By name: other programs need not load it.
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _finish_open_runs() -> None:
    """Finish all of them within the time of one; each is tried once at least."""
    until = time.monotonic() + _EXIT_SECONDS
    for run, finisher in list(_open_runs.items()):
        if not run.liveness.is_own_process:
            continue  # this process was forked from the one that began it
        try:
            finisher.finish_at_exit(run, max(_LEAST_EXIT_SECONDS, until - time.monotonic()))
        except BaseException as raised:  # noqa: BLE001 - by a signal; the others end as well
            logger.warning(
                "The process is exiting; run %s met %s.",
                run.liveness.record.run_id,
                type_name(raised),
            )


def _exit_reason() -> BaseException:
    """Return the exception that ends this process; one that says no more if it is not known."""
    reason: BaseException | None = None
    if _is_child_of_multiprocessing():
        reason = sys.exc_info()[1]
    elif not hasattr(sys, "ps1"):  # else it may be of any line a user has tried
        reason = getattr(sys, "last_value", None)
    return reason or ProcessEndedError("The process ended before the run did.")


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
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be started
            self._warn(error)
            return None
        return thread

    def _run(self, cancel: Callable[[str], None]) -> None:
        try:
            cancel(self.run_id)
        except Exception as error:  # noqa: BLE001 - the run ends all the same
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        why = describe(error, self.secrets)
        logger.warning("The Spark jobs of run %s could not be cancelled: %s", self.run_id, why)
