"""End dead runs of other drivers as LOST, and store outcomes from the spool."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import (
    AlreadySucceededError,
    ConfigurationError,
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    RunFinishError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.runs.hooks import LOST
from dynamodb_wrapper.runs.outcome import describe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from pathlib import Path

    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.runs.services import Services
    from dynamodb_wrapper.runs.spool import Entry, SpooledRun

logger = SafeLogger(__name__)
_REFUSED = (
    RunFinishError,
    InvalidTransitionError,
    ItemNotFoundError,
    AlreadySucceededError,
)
_CANDIDATES = 25


@dataclass(frozen=True)
class ReplayedOutcome:
    """A spooled outcome that was sent again.

    Attributes:
        run_id: The run.
        outcome: The status it ended with.
        stored: Whether the outcome is stored now.
        problem: Why it is not, or why its file is still there.
        path: Its file; None once it is gone.
    """

    run_id: str
    outcome: str
    stored: bool
    problem: str | None = None
    path: Path | None = None


class Reaper:
    """Ends dead runs of other drivers, and stores spooled outcomes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._next_look: dict[str, float] = {}

    def reap(self, environment: str | None, *, dry_run: bool) -> list[PipelineRunLog]:
        """End every dead run of an environment, and return them."""
        live = self._services.store.live_runs(environment)
        dead = self._dead(live)
        return dead if dry_run else self._end(dead)

    def before_start(self, pipeline: PipelineConfig) -> None:
        """Store spooled outcomes of a pipeline, and end its dead runs, before another begins.

        For an exclusive pipeline the start itself takes over. An error here stops no start, and
        that of the spool no reaping.
        """
        try:
            self.replay(pipeline.pipeline_id)
        except ConfigurationError as error:
            self._services.spool.report(error)
        try:
            if not pipeline.is_exclusive:
                self._reap_pipeline(pipeline.pipeline_id)
        except DynamoDBWrapperError as error:
            logger.warning("Before the start of pipeline %s: %s", pipeline.pipeline_id, error)

    def after_beat(self, environment: str | None, lease_duration: timedelta) -> None:
        """Look for dead runs of an environment, where `auto_reap` asks for it.

        It looks once a lease, and when the lease of a run is over that it has seen.
        """
        if not self._services.auto_reap:
            return
        every, name = lease_duration.total_seconds(), environment or ""
        with self._lock:
            if time.monotonic() < self._next_look.get(name, 0.0):
                return
            self._next_look[name] = time.monotonic() + every
        live = self._services.store.live_runs(environment or None)
        dead = self._dead(live)
        gone = {run.run_id for run in dead}
        left = [self._services.watch.seconds_left(run) for run in live if run.run_id not in gone]
        self._next_look[name] = time.monotonic() + min([every, *left])
        self._end(dead)

    def replay(
        self, pipeline_id: str | None = None, *, of_other_users: bool = False
    ) -> list[ReplayedOutcome]:
        """Store the outcomes in the spool, and return the result for each.

        Raises:
            ConfigurationError: The spool cannot be read.
        """
        kept = self._services.spool.kept(
            self._services.run_table, pipeline_id, of_other_users=of_other_users
        )
        return [self._replayed(entry) for entry in kept]

    def _reap_pipeline(self, pipeline_id: str) -> None:
        runs = self._services.runs
        listed = runs.get_runs_by_status(
            RunStatus.RUNNING, pipeline_id=pipeline_id, limit=_CANDIDATES, newest_first=False
        )
        found = runs.get_many([run.run_id for run in listed], consistent=True)
        self._end(self._dead(run for run in found if run is not None))

    def _dead(self, live: Iterable[PipelineRunLog]) -> list[PipelineRunLog]:
        watch, now, dead = self._services.watch, self._services.lease_clock(), []
        for run in live:
            if watch.is_dead(run):
                dead.append(run)
            elif run.clock_error_seconds is None and run.is_expired(now):
                logger.warning(
                    "Run %s of pipeline %s seems overdue, but its lease was not written by "
                    "DynamoDB's clock: it is left alone until it was seen unchanged for lease and "
                    "grace, or is over by a day. release() ends it at once.",
                    run.run_id,
                    run.pipeline_id,
                )
        return dead

    def _end(self, dead: list[PipelineRunLog]) -> list[PipelineRunLog]:
        ended = []
        for run in dead:
            lost = self._services.store.reap(run.run_id, watch=self._services.watch)
            if lost is None:
                continue
            logger.warning(
                "Run %s of pipeline %s has sent no beat since %s: it is lost.",
                run.run_id,
                run.pipeline_id,
                run.heartbeat_at,
            )
            self._services.hooks.notify(LOST, lost)
            ended.append(lost)
        return ended

    def _replayed(self, entry: Entry) -> ReplayedOutcome:
        spooled = entry.run
        run_id, status = spooled.record.run_id, str(spooled.outcome.status)
        try:
            self._store(spooled)
        except _REFUSED as error:
            aside = entry.set_aside()
            logger.error("The spooled outcome of run %s is refused: %s", run_id, error)
            return ReplayedOutcome(run_id, status, stored=False, problem=error.message, path=aside)
        except DynamoDBWrapperError as error:
            return ReplayedOutcome(
                run_id, status, stored=False, problem=error.message, path=entry.path
            )
        except Exception as error:  # noqa: BLE001 - what the file says cannot be stored
            why = f"the file is damaged ({describe(error, self._services.secrets)})"
            logger.warning("The spooled outcome %s cannot be stored: %s", entry.path, why)
            return ReplayedOutcome(run_id, status, stored=False, problem=why, path=entry.path)
        logger.info("The spooled outcome of run %s is stored: %s.", run_id, status)
        if not entry.drop():
            why = "it is stored; its file cannot be deleted"
            return ReplayedOutcome(run_id, status, stored=True, problem=why, path=entry.path)
        return ReplayedOutcome(run_id, status, stored=True)

    def _store(self, spooled: SpooledRun) -> None:
        store, record = self._services.store, spooled.record
        if not spooled.is_stored and not self._services.runs.exists(record.run_id, consistent=True):
            record, _ = store.start(record, exclusive=False, watch=self._services.watch)
        store.ends.finish(record, spooled.outcome)
        for kind, number, text in spooled.texts:
            store.put_chunk(record, kind, number, text, self._services.clock())
