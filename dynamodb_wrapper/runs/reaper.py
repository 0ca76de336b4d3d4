"""End dead runs of other drivers as LOST, and store outcomes from the spool."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import (
    AlreadySucceededError,
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    RunFinishError,
)
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.runs.hooks import LOST

if TYPE_CHECKING:
    from pathlib import Path

    from dynamodb_wrapper.models.pipeline import PipelineConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.runs.run import Run
    from dynamodb_wrapper.runs.services import Services
    from dynamodb_wrapper.runs.spool import Entry, SpooledRun

logger = logging.getLogger(__name__)
_REFUSED = (
    RunFinishError,
    InvalidTransitionError,
    ItemNotFoundError,
    AlreadySucceededError,
)
_CANDIDATES = 25


@dataclass(frozen=True)
class Replayed:
    """What became of a spooled outcome.

    Attributes:
        run_id: The run.
        outcome: The status it came to.
        stored: Whether that is stored now.
        problem: Why not.
        path: Its file, where it is still there.
    """

    run_id: str
    outcome: str
    stored: bool
    problem: str | None = None
    path: Path | None = None


class Reaping:
    """Cleans up after drivers that are gone."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._last_reap: dict[str, float] = {}

    def reap(self, environment: str | None, *, dry_run: bool) -> list[PipelineRunLog]:
        """End every dead run of an environment, and return them."""
        now = self._services.clock()
        dead = [run for run in self._services.store.live_runs(environment) if run.is_expired(now)]
        return dead if dry_run else self._end(dead)

    def before_start(self, pipeline: PipelineConfig) -> None:
        """Store spooled outcomes of a pipeline, and end its dead runs, before another begins.

        Of an exclusive pipeline the start itself takes over. Trouble here stops no start.
        """
        try:
            self.replay(pipeline.pipeline_id)
            if not pipeline.is_exclusive:
                self._reap_pipeline(pipeline.pipeline_id)
        except (DynamoDBWrapperError, OSError) as error:
            logger.warning("Before the start of pipeline %s: %s", pipeline.pipeline_id, error)

    def after_beat(self, run: Run) -> None:
        """Look for dead runs of all pipelines once a lease, where `auto_reap` asks for it."""
        if not self._services.auto_reap:
            return
        environment = run.record.environment or ""
        every = run.pipeline.lease_duration.total_seconds()
        with self._lock:
            if time.monotonic() - self._last_reap.get(environment, -every) < every:
                return
            self._last_reap[environment] = time.monotonic()
        self.reap(environment or None, dry_run=False)

    def replay(self, pipeline_id: str | None = None) -> list[Replayed]:
        """Store what is in the spool, and return what became of it."""
        kept = self._services.spool.kept(self._services.run_table, pipeline_id)
        return [self._replayed(entry) for entry in kept]

    def _reap_pipeline(self, pipeline_id: str) -> None:
        now, runs = self._services.clock(), self._services.runs
        listed = runs.get_runs_by_status(
            RunStatus.RUNNING, pipeline_id=pipeline_id, limit=_CANDIDATES, newest_first=False
        )
        found = runs.get_many([run.run_id for run in listed], consistent=True)
        self._end([run for run in found if run is not None and run.is_expired(now)])

    def _end(self, dead: list[PipelineRunLog]) -> list[PipelineRunLog]:
        ended = []
        for run in dead:
            lost = self._services.store.reap(run.run_id, now=self._services.clock())
            if lost is None:
                continue
            logger.warning(
                "Run %s of pipeline %s gave no sign of life since %s: it is lost.",
                run.run_id,
                run.pipeline_id,
                run.heartbeat_at,
            )
            self._services.hooks.tell(LOST, lost)
            ended.append(lost)
        return ended

    def _replayed(self, entry: Entry) -> Replayed:
        spooled = entry.run
        run_id, status = spooled.record.run_id, str(spooled.outcome.status)
        try:
            self._store(spooled)
        except _REFUSED as error:
            aside = entry.set_aside()
            logger.error("The spooled outcome of run %s is refused: %s", run_id, error)
            return Replayed(run_id, status, stored=False, problem=error.message, path=aside)
        except DynamoDBWrapperError as error:
            return Replayed(run_id, status, stored=False, problem=error.message, path=entry.path)
        entry.drop()
        logger.info("The spooled outcome of run %s is stored: %s.", run_id, status)
        return Replayed(run_id, status, stored=True)

    def _store(self, spooled: SpooledRun) -> None:
        store, record = self._services.store, spooled.record
        if not spooled.is_stored and not self._services.runs.exists(record.run_id, consistent=True):
            record, _ = store.start(record, exclusive=False, clock=self._services.clock)
        store.finish(record, spooled.outcome)
        for kind, number, text in spooled.texts:
            store.put_chunk(record, kind, number, text, self._services.clock())
