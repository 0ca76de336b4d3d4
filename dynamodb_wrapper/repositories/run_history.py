"""Lists of runs: by pipeline, status and time, from indexes."""

from __future__ import annotations

from datetime import datetime, timedelta

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import (
    PipelineRunLog,
    RunStatus,
    RunSummary,
    enum_of,
    utc_now,
    utc_text,
)
from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.wire.expressions import between


class RunHistory(BaseDynamoRepository[PipelineRunLog]):
    """The lists of `PipelineRunLogsRepository`: all return `RunSummary`."""

    def get_runs_by_pipeline(
        self,
        pipeline_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 50,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs of a pipeline that started in ``[since, until)``.

        Costs half a read unit per 4 KB of index entries (about 500 bytes each). See: Query.
        """
        return self._summaries("by_pipeline", pipeline_id, since, until, limit, newest_first)

    def get_runs_by_status(
        self,
        status: RunStatus | str,
        *,
        pipeline_id: str | None = None,
        environment: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 50,
        newest_first: bool = True,
    ) -> list[RunSummary]:
        """Return the runs of a status, of one pipeline or of an environment (the config's).

        Costs as `get_runs_by_pipeline`; runs of other statuses are not read. See: Query.
        """
        index, partition = (
            "by_status",
            f"{environment or self._environment}#{enum_of(RunStatus, status)}",
        )
        if pipeline_id is not None:
            index, partition = "by_pipeline_status", f"{pipeline_id}#{enum_of(RunStatus, status)}"
        return self._summaries(index, partition, since, until, limit, newest_first)

    def get_running_pipelines(self, environment: str | None = None) -> list[RunSummary]:
        """Return the runs that run now, oldest first, each read consistently.

        Costs half a read unit per 4 KB of index entries and one per 4 KB of each run. Records of
        `create_run_log` are not listed. See: Query, BatchGetItem.
        """
        reading = Reading(
            index="live", consistent=True, keep=lambda run: not run.status.is_terminal
        )
        found = self._results(environment or self._environment, None, reading)
        return [summary_of(run) for run in found]

    def get_failed_runs(
        self,
        hours: float = 24,
        *,
        pipeline_id: str | None = None,
        environment: str | None = None,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Return the runs started in the last hours that failed, newest first.

        Costs as `get_runs_by_status`. See: Query.
        """
        return self._since(RunStatus.FAILED, hours, pipeline_id, environment, limit)

    def get_successful_runs(
        self,
        hours: float = 24,
        *,
        pipeline_id: str | None = None,
        environment: str | None = None,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Return the runs started in the last hours that succeeded, newest first.

        Costs as `get_runs_by_status`. See: Query.
        """
        return self._since(RunStatus.SUCCESS, hours, pipeline_id, environment, limit)

    def get_recent_runs(
        self, hours: float = 24, *, environment: str | None = None, limit: int | None = 100
    ) -> list[RunSummary]:
        """Return the runs of every status started in the last hours, newest first.

        Costs one Query per status (8), each as `get_runs_by_status`. See: Query.
        """
        since = _ago(hours)
        found = [
            run
            for status in RunStatus
            for run in self.get_runs_by_status(
                status, environment=environment, since=since, limit=limit
            )
        ]
        newest = sorted(found, key=lambda run: (run.start_time or since, run.run_id), reverse=True)
        return newest[:limit]

    def latest(self, pipeline_id: str) -> RunSummary | None:
        """Return the run of a pipeline that started last. Costs half a read unit. See: Query."""
        found = self.get_runs_by_pipeline(pipeline_id, limit=1)
        return found[0] if found else None

    def last_success(self, pipeline_id: str) -> RunSummary | None:
        """Return the newest run that succeeded. Costs half a read unit. See: Query."""
        found = self.get_runs_by_status(RunStatus.SUCCESS, pipeline_id=pipeline_id, limit=1)
        return found[0] if found else None

    def _since(
        self,
        status: RunStatus,
        hours: float,
        pipeline_id: str | None,
        environment: str | None,
        limit: int | None,
    ) -> list[RunSummary]:
        return self.get_runs_by_status(
            status,
            pipeline_id=pipeline_id,
            environment=environment,
            since=_ago(hours),
            limit=limit,
        )

    @property
    def _environment(self) -> str:
        return self.config.item_environment

    def _summaries(
        self,
        index: str,
        partition: str,
        since: datetime | None,
        until: datetime | None,
        limit: int | None,
        newest_first: bool,
    ) -> list[RunSummary]:
        if since is not None and until is not None and since >= until:
            raise ValidationError("since must be before until.")
        sort = between("gx_started", _moment(since, "since"), _moment(until, "until"))
        reading = Reading(index=index, limit=limit, descending=newest_first, into=RunSummary)
        return self._results(partition, sort, reading).all()


def summary_of(run: PipelineRunLog) -> RunSummary:
    """Return the summary of a whole run."""
    return RunSummary(**{name: getattr(run, name) for name in RunSummary.model_fields})


def _moment(moment: datetime | None, name: str) -> str | None:
    """Return the sort key a moment stands for; entries go on with ``#<run_id>``."""
    try:
        return None if moment is None else utc_text(moment)
    except ValueError as error:
        raise ValidationError(f"{name} {error}.") from error


def _ago(hours: float) -> datetime:
    if not hours > 0:
        raise ValidationError(f"hours is {hours}; give how many hours to look back.")
    try:
        return utc_now() - timedelta(hours=hours)
    except OverflowError as error:
        raise ValidationError(f"hours is {hours}; that is before the calendar begins.") from error
