"""What people and schedules do with runs from outside."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import RunStatus, partitions_between, statistics_of
from dynamodb_wrapper.models.watermarks import unpack
from dynamodb_wrapper.runs import arguments
from dynamodb_wrapper.runs.coverage import Coverage, WatermarkStep, coverage_of, step_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime
    from pathlib import Path

    from dynamodb_wrapper.models import PipelineRunLog, RunStatistics
    from dynamodb_wrapper.repositories import PipelineRunLogsRepository
    from dynamodb_wrapper.runs.reaping import Reaping, Replayed
    from dynamodb_wrapper.runs.services import Services


class RunOperations:
    """The part of `RunTracker` that needs no run of its own."""

    def __init__(self, services: Services, reaping: Reaping) -> None:
        self._services = services
        self._reaping = reaping

    @property
    def runs(self) -> PipelineRunLogsRepository:
        """The runs: every list and read by its name there."""
        return self._services.runs

    # ---- dead runs -------------------------------------------------------------------------------

    def reap(
        self, *, environment: str | None = None, dry_run: bool = False
    ) -> list[PipelineRunLog]:
        """End the runs whose drivers are gone as LOST, free their locks, and return them.

        A driver is gone when its lease and the grace after it have run out. Safe to repeat and to
        run anywhere at any time. Costs as `get_running_pipelines`, and 10 to 16 write units
        and three read units for each dead run. See: Query, BatchGetItem, TransactWriteItems.

        Args:
            environment: Environment of the pipelines; the config's unless given.
            dry_run: Whether they are returned only.

        Raises:
            ValidationError: That cannot be the name of an environment.
        """
        if environment is not None:
            arguments.environment(environment)
        return self._reaping.reap(environment, dry_run=dry_run)

    def replay(self) -> list[Replayed]:
        """Store the outcomes in the spool of this machine, and tell what became of each.

        An outcome that is refused (another run took over, say) is set aside in its directory.
        Costs as the end of each run. See: TransactWriteItems.
        """
        return self._reaping.replay()

    def unreadable_outcomes(self) -> list[Path]:
        """Return the files in the spool of this machine that cannot be read.

        Damaged ones, and those of a newer version of the library; `replay` leaves them alone.
        """
        return self._services.spool.unreadable()

    def holder(self, pipeline_id: str) -> PipelineRunLog | None:
        """Return the run that holds an exclusive pipeline; None while it is free.

        Costs one read unit and one per 4 KB of the run; both reads are consistent. See: GetItem.
        """
        held_by = self.runs.pipeline_state(pipeline_id).holder
        return None if held_by is None else self.runs.get_by_run_id(held_by, consistent=True)

    def release(self, pipeline_id: str, *, reason: str) -> PipelineRunLog | None:
        """End the holder as LOST without waiting for its lease; see
        `PipelineRunLogsRepository.release`.
        """
        return self.runs.release(pipeline_id, reason=reason, now=self._services.clock())

    def cancel(self, run_id: str, *, by: str) -> PipelineRunLog:
        """Ask a live run to end itself, and return it.

        Its driver sees that with its next beat; the body stops where it calls
        `raise_if_cancelled` or begins a stage. Costs a write unit per KB of the run.
        See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        return self.runs.request_cancel(run_id, by=by, now=self._services.clock())

    # ---- how far the data got --------------------------------------------------------------------

    def watermark(self, pipeline_id: str, name: str, default: Any = None) -> Any:
        """Return how far a pipeline has got. Costs a read unit per 4 KB. See: GetItem."""
        cursor = self.runs.watermark(pipeline_id, name)
        return default if cursor.value_type is None else unpack(cursor.value_type, cursor.value)

    def reset_watermark(self, pipeline_id: str, name: str, value: Any) -> None:
        """Set a watermark by hand, back or forth.

        A run under way keeps the value it has read, and succeeds without moving the watermark.
        Costs as `PipelineRunLogsRepository.reset_watermark`. See: UpdateItem.
        """
        self.runs.reset_watermark(pipeline_id, name, value, now=self._services.clock())

    def watermark_history(
        self, pipeline_id: str, name: str, *, limit: int = 20
    ) -> Iterator[WatermarkStep]:
        """Return how runs moved a watermark, newest first; moves by hand are not among them.

        Looks at up to ten times `limit` successful runs. Costs a read unit per 8 KB of the runs
        looked at. See: Query, BatchGetItem.
        """
        return self._steps(pipeline_id, name, arguments.how_many(limit, "limit"))

    def _steps(self, pipeline_id: str, name: str, limit: int) -> Iterator[WatermarkStep]:
        listed = self.runs.get_runs_by_status(
            RunStatus.SUCCESS, pipeline_id=pipeline_id, limit=10 * limit
        )
        found = 0
        for run in self.runs.get_many([run.run_id for run in listed]):
            if run is not None and name in run.watermarks and found < limit:
                found += 1
                yield step_of(run, run.watermarks[name])

    # ---- how it went -----------------------------------------------------------------------------

    def coverage(
        self, pipeline_id: str, since: date | datetime, until: date | datetime
    ) -> Coverage:
        """Return which partitions of a pipeline have succeeded, failed, and were never tried.

        Partitions are those of the pipeline's `partition_grain` in its `schedule_timezone` that
        begin from `since` to before `until`. Costs one read unit per partition, read consistently.
        See: BatchGetItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            ValidationError: It has no grain, or the range is none.
        """
        arguments.moment(since, "since")
        arguments.moment(until, "until")
        pipeline = self._services.pipelines.get_or_raise(pipeline_id)
        try:
            partitions = partitions_between(
                since, until, pipeline.partition_grain, pipeline.schedule_timezone
            )
        except ValueError as error:
            raise ValidationError(f"Pipeline {pipeline_id!r}: {error}") from error
        slots = self.runs.run_slots(pipeline_id, [partition.key for partition in partitions])
        return coverage_of(pipeline_id, partitions, slots)

    def statistics(self, pipeline_id: str, *, days: float = 30) -> RunStatistics:
        """Return how the runs of a pipeline went: durations, success rate, what missed its SLA.

        Costs half a read unit per 4 KB of index entries (about 12 runs a unit), and one for the
        pipeline. See: Query, GetItem.

        Args:
            pipeline_id: The pipeline; `sla` of its configuration says what is expected.
            days: How far to look back.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            ValidationError: `days` is no number above 0.
        """
        lookback = timedelta(days=arguments.days_back(days))
        now = self._services.clock()
        pipeline = self._services.pipelines.get_or_raise(pipeline_id)
        since = now - lookback
        found = self.runs.get_runs_by_pipeline(pipeline_id, since=since, limit=None)
        return statistics_of(
            found,
            now=now,
            max_duration=pipeline.sla.max_duration,
            freshness=pipeline.sla.freshness,
        )
