"""The thread that renews a run's lease and sends what could not be stored before."""

from __future__ import annotations

import random
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
from dynamodb_wrapper.loggers import SafeLogger
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
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._beating = threading.RLock()  # a signal handler may beat while this thread does
        self._has_warned = False
        self._has_stopped_run = False

    def start(self) -> None:
        """Begin to beat."""
        name = f"dynamodb-wrapper-heartbeat-{self._liveness.record.run_id}"
        loop = partial(copy_context().run, self._loop)  # so that its log lines are the run's
        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        self._thread = thread  # not before: one that did not start cannot be joined

    def stop(self) -> None:
        """Stop beating; wait up to a second for a beat that is being sent."""
        self._stopping.set()
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
            if lease.is_lost or self._stopping.is_set():
                return not lease.is_lost
            record, sent = liveness.record, lease.read_clocks()
            until = sent[0] + self._lease_duration
            stored = self._store().beat(record, now=sent[0], lease_until=until)
            if stored is None or stored.writer != record.writer or stored.status.is_terminal:
                if not self._stopping.is_set():  # else this process has just ended it
                    self._lost(stored)
                return False
            lease.renew(stored.lease_until, sent=sent)
            liveness.refresh(stored)
            self._has_warned = False
            return True

    def _loop(self) -> None:
        run_id = self._liveness.record.run_id
        delay = min(self._interval, self._lease.remaining_seconds() / 3)
        while not self._stopping.wait(self._until_next(delay)):
            try:
                if not self.beat():
                    return
                for call in self._after_beat:
                    call()
                delay = self._interval
            except DynamoDBWrapperError as error:
                logger.debug("A beat of run %s failed: %s", run_id, error)
                delay = min(self._interval, self._lease_duration.total_seconds() / 20)
            except Exception as error:  # noqa: BLE001 - the next beat may succeed
                logger.warning("A beat of run %s failed: %s", run_id, self._describe(error))
                delay = self._interval
            self._warn_of_lease()
            self._stop_run_early()

    def _until_next(self, delay: float) -> float:
        jittered = delay * random.uniform(1 - _JITTER, 1 + _JITTER)
        to_deadline = self._liveness.seconds_to_deadline()
        return min(jittered, to_deadline) if to_deadline > 0 else jittered

    def _warn_of_lease(self) -> None:
        if self._has_warned or self._lease.used_share() < _AT_RISK:
            return
        self._has_warned = True
        record = self._liveness.record
        logger.warning(
            "The lease of run %s could not be renewed for two thirds of its time; %.0f s are left.",
            record.run_id,
            max(0.0, self._lease.remaining_seconds()),
        )
        self._hooks.notify_in_background(LEASE_AT_RISK, record)

    def _stop_run_early(self) -> None:
        if not self._has_stopped_run and self._liveness.is_asked_to_stop():
            self._has_stopped_run = True
            self._on_stop_request()

    def _lost(self, stored: PipelineRunLog | None) -> None:
        self._lease.lose()
        self._recorder.close()
        record = self._liveness.record
        by = None if stored is None else stored.superseded_by
        logger.error(
            "Run %s of pipeline %s no longer belongs to this process: %s. Its writes must stop.",
            record.run_id,
            record.pipeline_id,
            f"run {by} took over" if by else f"it is {stored.status if stored else 'gone'}",
        )
        self._hooks.notify_in_background(LOST, record if stored is None else stored)
