"""The thread that renews a run's lease and carries what the body could not store."""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
from dynamodb_wrapper.runs.hooks import LEASE_AT_RISK, LOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.repositories.run_log.store import RunStore
    from dynamodb_wrapper.runs.hooks import Hooks
    from dynamodb_wrapper.runs.run import Run

logger = logging.getLogger(__name__)

_JITTER = 0.2
_AT_RISK = 2 / 3
_JOIN_SECONDS = 1.0


class Heartbeat:
    """Beats of one run: a thread of its own, with a client that gives up quickly.

    Args:
        run: The run.
        store: Returns the store to send through; one attempt per call.
        hooks: Told when the lease is at risk and when the run is lost.
        on_stop_request: Called once when the run is to end early.
        after_beat: Called after every beat that was stored.
    """

    def __init__(
        self,
        run: Run,
        store: Callable[[], RunStore],
        hooks: Hooks,
        on_stop_request: Callable[[], None],
        after_beat: Callable[[], None],
    ) -> None:
        self._run = run
        self._store = store
        self._hooks = hooks
        self._on_stop_request = on_stop_request
        self._after_beat = after_beat
        self._interval = run.pipeline.heartbeat_interval.total_seconds()
        self._lease = run.pipeline.lease_duration
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._beating = threading.RLock()  # a signal handler may beat while this thread does
        self._told_risk = False
        self._told_stop = False

    def start(self) -> None:
        """Begin to beat."""
        name = f"dynamodb-wrapper-heartbeat-{self._run.run_id}"
        thread = threading.Thread(target=self._loop, name=name, daemon=True)
        thread.start()
        self._thread = thread  # not before: one that did not start cannot be joined

    def stop(self) -> None:
        """Stop beating; waits up to a second for a beat that is on its way."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def beat(self) -> bool:
        """Renew the lease now and tell whether the run is still this handle's.

        Raises:
            DynamoDBWrapperError: DynamoDB could not be asked.
        """
        run = self._run
        with self._beating:
            if run.lease.is_lost or self._stopping.is_set():
                return not run.lease.is_lost
            sent = run.lease.read_clocks()
            until = sent[0] + self._lease
            stored = self._store().beat(run.record, now=sent[0], lease_until=until)
            if stored is None or stored.writer != run.record.writer or stored.status.is_terminal:
                if not self._stopping.is_set():  # else it has ended as it should
                    self._lost(stored)
                return False
            run.lease.renew(stored.lease_until, sent=sent)
            run.refresh(stored)
            self._told_risk = False
            return True

    def _loop(self) -> None:
        delay = min(self._interval, self._run.lease.remaining_seconds() / 3)
        while not self._stopping.wait(self._until_next(delay)):
            try:
                if not self.beat():
                    return
                self._carry()
                delay = self._interval
            except DynamoDBWrapperError as error:
                logger.debug("A beat of run %s failed: %s", self._run.run_id, error)
                delay = min(self._interval, self._lease.total_seconds() / 20)
            except Exception as error:  # noqa: BLE001 - the next beat may do better
                why = self._run.describe(error)
                logger.warning("A beat of run %s failed: %s", self._run.run_id, why)
                delay = self._interval
            self._look_at_lease()
            self._look_for_stop()

    def _until_next(self, delay: float) -> float:
        jittered = delay * random.uniform(1 - _JITTER, 1 + _JITTER)
        to_deadline = self._run.seconds_to_deadline()
        return min(jittered, to_deadline) if to_deadline > 0 else jittered

    def _carry(self) -> None:
        self._run.recorder.flush()
        self._run.store_logs()
        self._after_beat()

    def _look_at_lease(self) -> None:
        if self._told_risk or self._run.lease.used_share() < _AT_RISK:
            return
        self._told_risk = True
        logger.warning(
            "The lease of run %s could not be renewed for two thirds of its time; %.0f s are left.",
            self._run.run_id,
            max(0.0, self._run.lease.remaining_seconds()),
        )
        self._hooks.tell_aside(LEASE_AT_RISK, self._run.record)

    def _look_for_stop(self) -> None:
        if not self._told_stop and self._run.is_asked_to_stop():
            self._told_stop = True
            self._on_stop_request()

    def _lost(self, stored: PipelineRunLog | None) -> None:
        run = self._run
        run.lease.lose()
        run.recorder.close()
        by = None if stored is None else stored.superseded_by
        logger.error(
            "Run %s of pipeline %s is not this process's any more: %s. Its writes must stop.",
            run.run_id,
            run.pipeline_id,
            f"run {by} took over" if by else f"it is {stored.status if stored else 'gone'}",
        )
        self._hooks.tell_aside(LOST, run.record if stored is None else stored)
