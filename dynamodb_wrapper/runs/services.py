"""Repositories, clock, hooks and spool that the runs of one tracker share."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.clock import GivenClock
from dynamodb_wrapper.exceptions.errors import ConfigurationError
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.models.pipeline import PipelineConfig
from dynamodb_wrapper.repositories.pipelines import PipelineConfigRepository
from dynamodb_wrapper.repositories.run_log.leases import LeaseWatch
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.repositories.run_logs import PipelineRunLogsRepository
from dynamodb_wrapper.runs.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.aws.clock import Clock, ClockReading
    from dynamodb_wrapper.aws.credentials import ProcessSecrets
    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.runs.hooks import Hooks


class Services:
    """Repositories, clock, hooks and spool of one tracker.

    Attributes:
        config: Where the tables are.
        hooks: Notified of what happens to runs.
        secrets: Values to take out of texts, as they are at the moment.
        cancel_jobs: Cancels the Spark jobs of a run, given its id.
        auto_reap: Whether the heartbeat of a run also looks for dead runs of others.
        known_pipelines: Configurations as they were read last.
    """

    def __init__(
        self,
        config: DynamoDBConfig,
        client: Any,
        clock: Callable[[], datetime] | None,
        hooks: Hooks,
        secrets: ProcessSecrets,
        *,
        cancel_jobs: Callable[[str], None] | None,
        auto_reap: bool,
    ) -> None:
        self.config = config
        self._client = client
        self._given = None if clock is None else GivenClock(clock)
        self.hooks = hooks
        self.secrets = secrets
        self.cancel_jobs = cancel_jobs
        self.auto_reap = auto_reap
        self.known_pipelines: dict[str, PipelineConfig] = {}

    @property
    def clock(self) -> Callable[[], datetime]:
        """The present moment by this machine's clock, or by the one that was given."""
        return utc_now if self._given is None else self._given.wall

    @property
    def lease_clock(self) -> Clock:
        """DynamoDB's clock as its replies show it, or the one that was given."""
        return self._given or self.store.caller.connection.clock

    def _read_clock(self) -> ClockReading:
        return self.lease_clock.read()  # another one in a forked process

    @cached_property
    def watch(self) -> LeaseWatch:
        """Decides which runs are dead; remembers their leases as long as the tracker lives."""
        return LeaseWatch(self._read_clock)

    @cached_property
    def pipelines(self) -> PipelineConfigRepository:
        """The pipelines."""
        return PipelineConfigRepository(self.config, client=self._client)

    @cached_property
    def runs(self) -> PipelineRunLogsRepository:
        """The runs."""
        return PipelineRunLogsRepository(self.config, client=self._client)

    @cached_property
    def store(self) -> RunStore:
        """Start, life and end of runs."""
        return RunStore.of(self.config, client=self._client)

    @cached_property
    def impatient_store(self) -> RunStore:
        """The same through a client that gives up quickly; a client passed in stays as it is."""
        return RunStore.of(self.config.impatient(), client=self._client)

    @cached_property
    def impatient_runs(self) -> PipelineRunLogsRepository:
        """The runs through a client that gives up quickly."""
        return PipelineRunLogsRepository(self.config.impatient(), client=self._client)

    @cached_property
    def spool(self) -> Spool:
        """Outcomes that could not be stored."""
        try:
            return Spool(self.config.spool_path(), self.secrets)
        except ConfigurationError as error:
            return Spool(error, self.secrets)

    @property
    def run_table(self) -> str:
        """The run table as DynamoDB knows it."""
        return self.config.table_name(PIPELINE_RUN_LOGS.name)
