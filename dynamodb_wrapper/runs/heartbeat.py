"""The thread that renews a run's lease and sends what could not be stored before."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from dynamodb_wrapper.aws.retries import own_random
from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp
from dynamodb_wrapper.runs.hooks import LEASE_AT_RISK, LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.repositories.run_log.store import RunStore
    from dynamodb_wrapper.runs.hooks import Hooks
    from dynamodb_wrapper.runs.liveness import Liveness
    from dynamodb_wrapper.runs.recorder import Recorder

logger = SafeLogger(__name__)

_JITTER = 0.2
_AT_RISK = 2 / 3
_JOIN_SECONDS = 1.0
_AFTER_TROUBLE_SECONDS = 0.1


class Heartbeat:
    """Beats of one run, sent from a daemon thread with a client that gives up quickly.

    Args:
        liveness: Lease and deadline of the run.
        recorder: Closed when the run is lost.
        pipeline: Its interval and lease duration.
        store: Returns the store to send through; one attempt per call.
        hooks: Notified when the lease is at risk and when the run is lost.
        after_beat: Called in turn after every beat that was stored.
        on_stop_request: Called once when the run is to end early.
        describe: Returns the text of an exception without secrets.
    """

    def __init__(
        self,
        liveness: Liveness,
        recorder: Recorder,
        pipeline: PipelineConfig,
        store: Callable[[], RunStore],
        hooks: Hooks,
        *,
        after_beat: Sequence[Callable[[], object]],
        on_stop_request: Callable[[], object],
        describe: Callable[[BaseException], str],
    ) -> None:
        self._liveness = liveness
        self._lease = liveness.lease
        self._recorder = recorder
        self._interval = pipeline.heartbeat_interval.total_seconds()
        self._lease_duration = pipeline.lease_duration
        self._store = store
        self._hooks = hooks
        self._after_beat = tuple(after_beat)
        self._on_stop_request = on_stop_request
        self._describe = describe
        self._is_stopping = False
        # Not an Event: an exception from outside could leave the lock inside of it held for ever.
        self._until_stop = threading.Lock()
        self._until_stop.acquire()
        self._thread: threading.Thread | None = None
        self._beating = threading.RLock()  # a signal handler may beat while this thread does
        self._has_warned = False
        self._has_stopped_run = False

    def start(self) -> None:
        """Begin to beat."""
        name = f"dynamodb-wrapper-heartbeat-{self._liveness.record.run_id}"
        loop = partial(copy_context().run, self._live)  # so that its log lines are the run's
        thread = threading.Thread(target=loop, name=name, daemon=True)
        before, self._thread = self._thread, thread
        try:
            thread.start()
        except BaseException:
            self._thread = before  # one that did not start cannot be joined
            raise

    def ensure(self) -> None:
        """Begin to beat again if the thread has died before its run."""
        thread = self._thread
        if thread is not None and not thread.is_alive() and self._has_to_beat():
            with suppress(RuntimeError):  # no thread can be started: tried again by the next call
                self.start()

    def stop(self) -> None:
        """Stop beating; wait up to a second for a beat that is being sent."""
        if not self._is_stopping:
            self._is_stopping = True
            with suppress(RuntimeError):  # another thread stops it as well
                self._until_stop.release()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def beat(self) -> bool:
        """Renew the lease now and return whether the run is still open and this process's.

        Costs a write unit per KB of the run; nothing for a run that has ended, belongs to another
        process or is not stored. See: UpdateItem.

        Raises:
            DynamoDBWrapperError: DynamoDB could not be asked.
        """
        liveness, lease = self._liveness, self._lease
        if not liveness.is_open or not liveness.tracked:
            return liveness.is_open
        with self._beating:
            if lease.is_lost or self._is_stopping:
                return not lease.is_lost
            record, sent = liveness.record, lease.read_clocks()
            stamp = LeaseStamp.of(liveness.lease_clock.read(), self._lease_duration)
            stored = self._store().beat(
                record,
                now=stamp.heartbeat_at,
                lease_until=stamp.lease_until,
                clock_error_seconds=stamp.clock_error_seconds,
            )
            if stored is None or stored.writer != record.writer or stored.status.is_terminal:
                if not self._is_stopping:  # else this process has just ended it
                    self._lost(stored)
                return False
            if stored.lease_until == stamp.lease_until:
                lease.renew(sent[0] + self._lease_duration, sent=sent)
            liveness.refresh(stored)
            self._has_warned = False
            return True

    def _has_to_beat(self) -> bool:
        is_wanted = self._liveness.is_open and not self._lease.is_lost
        return is_wanted and not self._is_stopping

    def _is_replaced(self) -> bool:
        return self._thread is not threading.current_thread()

    def _live(self) -> None:
        """Beat until the run has ended; a thread that dies before starts its successor."""
        try:
            self._loop()
        finally:
            if self._has_to_beat() and not self._is_replaced():
                with suppress(RuntimeError):  # no thread can be started: see `ensure`
                    self.start()

    def _loop(self) -> None:
        delay = min(self._interval, self._lease.remaining_seconds() / 3)
        while True:
            try:
                if self._wait(self._until_next(delay)):
                    return
                delay = self._interval
                delay = self._turn()
                if not self._has_to_beat() or self._is_replaced():
                    return
            except BaseException as error:  # noqa: BLE001 - this thread lives as long as its run
                self._say(logging.WARNING, "A beat of run %s met %s.", error)
                self._wait(_AFTER_TROUBLE_SECONDS)  # if waiting is what fails

    def _wait(self, seconds: float) -> bool:
        """Wait, and return whether to stop."""
        return self._is_stopping or self._until_stop.acquire(timeout=max(0.0, seconds))

    def _turn(self) -> float:
        """Beat once, and do what is due; return the seconds until the next beat."""
        delay = self._interval
        try:
            if not self.beat():
                return delay
            for call in self._after_beat:
                call()
        except DynamoDBWrapperError as error:
            self._say(logging.DEBUG, "A beat of run %s failed: %s", error)
            delay = min(self._interval, self._lease_duration.total_seconds() / 20)
        except Exception as error:  # noqa: BLE001 - the next beat may succeed
            self._say(logging.WARNING, "A beat of run %s failed: %s", error)
        self._warn_of_lease()
        self._stop_run_early()
        return delay

    def _say(self, level: int, message: str, error: BaseException) -> None:
        try:
            logger.log(level, message, self._liveness.record.run_id, self._describe(error))
        except Exception:  # noqa: BLE001 - of a log handler, or of the description
            return

    def _until_next(self, delay: float) -> float:
        jittered = delay * own_random.uniform(1 - _JITTER, 1 + _JITTER)
        try:
            to_deadline = self._liveness.seconds_to_deadline()
        except Exception:  # noqa: BLE001 - of a clock
            return jittered
        return min(jittered, to_deadline) if to_deadline > 0 else jittered

    def _warn_of_lease(self) -> None:
        if self._has_warned or self._lease.used_share() < _AT_RISK:
            return
        self._has_warned = True
        record = self._liveness.record
        self._hooks.notify_in_background(LEASE_AT_RISK, record)
        logger.warning(
            "The lease of run %s could not be renewed for two thirds of its time; %.0f s are left.",
            record.run_id,
            max(0.0, self._lease.remaining_seconds()),
        )

    def _stop_run_early(self) -> None:
        if not self._has_stopped_run and self._liveness.is_asked_to_stop():
            self._has_stopped_run = True
            self._on_stop_request()

    def _lost(self, stored: PipelineRunLog | None) -> None:
        self._lease.lose()
        self._recorder.close()
        record = self._liveness.record
        self._hooks.notify_in_background(LOST, record if stored is None else stored)
        by = None if stored is None else stored.superseded_by
        logger.error(
            "Run %s of pipeline %s no longer belongs to this process: %s. Its writes must stop.",
            record.run_id,
            record.pipeline_id,
            f"run {by} took over" if by else f"it is {stored.status if stored else 'gone'}",
        )
