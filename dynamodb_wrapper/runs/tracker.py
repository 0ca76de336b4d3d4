"""`RunTracker`: blocks, handles and functions recorded as runs, and operations on runs."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from dynamodb_wrapper.exceptions.errors import (
    AlreadyRunningError,
    AlreadySucceededError,
    DynamoDBWrapperError,
    RunStartError,
    ValidationError,
)
from dynamodb_wrapper.models.enums import RunStatus, TriggerType, enum_of
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.models.partitions import partitions_between
from dynamodb_wrapper.models.run_state import RunOutcome, unpack
from dynamodb_wrapper.models.statistics import statistics_of
from dynamodb_wrapper.repositories.run_log.protocol import run_after
from dynamodb_wrapper.runs.context import Recording, RunContext
from dynamodb_wrapper.runs.coverage import Coverage, WatermarkStep, coverage_of, step_of
from dynamodb_wrapper.runs.finish import Ending
from dynamodb_wrapper.runs.hooks import Hooks
from dynamodb_wrapper.runs.options import (
    RunOptions,
    check_environment,
    check_moment,
    checked_count,
    checked_days,
    checked_mapping,
)
from dynamodb_wrapper.runs.reaper import Reaping
from dynamodb_wrapper.runs.services import Services
from dynamodb_wrapper.runs.start import Opening, RunKey, RunRequest, new_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date, datetime
    from pathlib import Path

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.statistics import RunStatistics
    from dynamodb_wrapper.repositories.run_logs import PipelineRunLogsRepository
    from dynamodb_wrapper.runs.hooks import Hook
    from dynamodb_wrapper.runs.reaper import Replayed
    from dynamodb_wrapper.runs.run import Run

logger = logging.getLogger(__name__)


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
            check_environment(environment)
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
        held_by = self._services.store.state(pipeline_id).holder
        return None if held_by is None else self.runs.get_by_run_id(held_by, consistent=True)

    def release(self, pipeline_id: str, *, reason: str) -> PipelineRunLog | None:
        """End the holder as LOST without waiting for its lease; see
        `PipelineRunLogsRepository.release`.
        """
        return self._services.store.release(pipeline_id, reason=reason, now=self._services.clock())

    def cancel(self, run_id: str, *, by: str) -> PipelineRunLog:
        """Ask a live run to end itself, and return it.

        Its driver sees that with its next beat; the body stops where it calls
        `raise_if_cancelled` or begins a stage. Costs a write unit per KB of the run.
        See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        return self._services.store.request_cancel(run_id, by=by, now=self._services.clock())

    # ---- how far the data got --------------------------------------------------------------------

    def watermark(self, pipeline_id: str, name: str, default: Any = None) -> Any:
        """Return how far a pipeline has got. Costs a read unit per 4 KB. See: GetItem."""
        cursor = self._services.store.cursor(pipeline_id, name)
        return default if cursor.value_type is None else unpack(cursor.value_type, cursor.value)

    def reset_watermark(self, pipeline_id: str, name: str, value: Any) -> None:
        """Set a watermark by hand, back or forth.

        A run under way keeps the value it has read, and succeeds without moving the watermark.
        Costs a write unit per KB and a read unit per 4 KB. See: UpdateItem.
        """
        self._services.store.reset_watermark(pipeline_id, name, value, now=self._services.clock())

    def watermark_history(
        self, pipeline_id: str, name: str, *, limit: int = 20
    ) -> Iterator[WatermarkStep]:
        """Return how runs moved a watermark, newest first; moves by hand are not among them.

        Looks at up to ten times `limit` successful runs. Costs a read unit per 8 KB of the runs
        looked at. See: Query, BatchGetItem.
        """
        return self._steps(pipeline_id, name, checked_count(limit, "limit"))

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
        check_moment(since, "since")
        check_moment(until, "until")
        pipeline = self._services.pipelines.get_or_raise(pipeline_id)
        try:
            partitions = partitions_between(
                since, until, pipeline.partition_grain, pipeline.schedule_timezone
            )
        except ValueError as error:
            raise ValidationError(f"Pipeline {pipeline_id!r}: {error}") from error
        slots = self._services.store.slots(pipeline_id, [partition.key for partition in partitions])
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
        lookback = timedelta(days=checked_days(days))
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


class RunTracker(RunOperations):
    """Records runs of pipelines so that the record stays true whatever happens to the driver.

    Needs no Spark. Status, lock and lease of a run change in one transaction; a driver that dies
    is found by its lease, a driver that was taken for dead and comes back can neither store a
    success nor move a watermark.

    Args:
        config: Where the tables are.
        client: A boto3 client to use instead of the shared one.
        hooks: Called with a `RunEvent` when a run starts, finishes, fails, is lost, or its lease is
            at risk; what they raise is logged and goes no further.
        clock: The present moment in UTC; for tests.
        auto_reap: Whether the heartbeats of this tracker's runs also look for dead runs of others.
        cancel_jobs: Cancels the Spark jobs of a run, given its id; `SparkDynamoDBIntegration`
            passes its own.
    """

    def __init__(
        self,
        config: DynamoDBConfig,
        *,
        client: Any = None,
        hooks: Iterable[Hook] = (),
        clock: Callable[[], datetime] | None = None,
        auto_reap: bool = False,
        cancel_jobs: Callable[[str], None] | None = None,
    ) -> None:
        services = Services(
            config,
            client,
            clock or utc_now,
            Hooks(hooks, config.secret_values()),
            cancel_jobs=cancel_jobs,
            auto_reap=auto_reap,
        )
        super().__init__(services, Reaping(services))
        self._opening = Opening(services, Ending(services), self._reaping)

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            "A RunTracker cannot be pickled or copied: it holds connections, hooks and the runs of "
            "this process. Pass its config, which leaves credentials out when it is pickled, and "
            "make a RunTracker there."
        )

    def run(
        self,
        pipeline_id: str,
        *,
        run_key: RunKey | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        trigger: TriggerType | str | None = None,
        options: RunOptions | None = None,
    ) -> RunContext:
        """Return a context manager that records its block as a run and yields the `Run`.

        An exception leaves the block as the same object. In the main thread SIGTERM becomes
        `SystemExit` in the block, unless the program has a handler of its own. Once the block has
        been left it may be entered again, which is another run.

        The call sends nothing. Entering costs 8 to 12 write units and two read units, each beat a
        write unit per KB of the run, leaving 10 to 16 write units and a read unit. A run key costs
        two write units of each and a read unit more, a watermark two write units on leaving.
        See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            run_key: What the run is for: it succeeds once. A date or an aware datetime stands for
                the partition it lies in, by the pipeline's `partition_grain`.
            parameters: Stored with the run, with secrets taken out.
            tags: Stored with the run.
            trigger: What started the run; ``manual`` unless given.
            options: How it begins and ends.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            PipelineInactiveError: It is switched off.
            AlreadyRunningError: A live run holds the pipeline, or works at the run key.
            AlreadySucceededError: The run key has succeeded.
            RunStartError: The start could not be stored; the block is not entered.
            ValidationError: The run key, a parameter or a tag cannot be stored, or the block has
                been entered and not left.
            RunFinishError: On leaving: the block raised nothing, and the end of its run could not
                be stored although a lock, a run key or a watermark depends on it.
        """
        request = _request(pipeline_id, run_key, parameters, tags, trigger, options)
        return RunContext(self._opening, request)

    def start(
        self,
        pipeline_id: str,
        *,
        run_key: RunKey | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        trigger: TriggerType | str | None = None,
        options: RunOptions | None = None,
    ) -> Run:
        """Begin a run outside of a block, as notebooks need it: `Run.finish` or `Run.fail` ends it.

        Arguments, costs and errors are those of `run`. A run that nobody has ended when the
        process ends is stored as FAILED, never as SUCCESS. Signals are not watched.
        """
        request = _request(pipeline_id, run_key, parameters, tags, trigger, options)
        if request.options.on_conflict == "skip":
            raise ValidationError(
                "start cannot skip: on_conflict='skip' belongs to the decorator "
                "RunTracker.pipeline(...). Use 'raise' or 'wait'."
            )
        return self._opening.begin(request)

    def pipeline(
        self,
        pipeline_id: str,
        *,
        run_key: RunKey | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        trigger: TriggerType | str | None = None,
        options: RunOptions | None = None,
    ) -> Recording:
        """Return a decorator that records every call of a function as a run.

        A function whose first parameter is called ``run`` is given the `Run` there; callers leave
        it out. Coroutine functions are awaited inside the run. With ``on_conflict="skip"`` the
        function is not called where a run could not begin; a run SKIPPED is stored and None
        returned. Arguments, costs and errors are those of `run`.

        Raises:
            ConfigurationError: It is a generator function, or cannot be called. A call raises it,
                and its run has failed, where the function returned a coroutine, a generator or
                the like: what it promises has not run yet.
        """
        request = _request(pipeline_id, run_key, parameters, tags, trigger, options)

        return Recording(lambda: self._begun_or_skipped(request))

    def _begun_or_skipped(self, request: RunRequest) -> Run | None:
        try:
            return self._opening.begin(request, watch_signals=True)
        except (AlreadyRunningError, AlreadySucceededError) as error:
            if request.options.on_conflict != "skip":
                raise
            logger.info("The function is not called: %s", error)
            try:
                self._store_skipped(request, error)
            except DynamoDBWrapperError as trouble:
                logger.warning("That a run was skipped is not stored: %s", trouble)
            return None

    def _store_skipped(self, request: RunRequest, error: RunStartError) -> None:
        services = self._services
        known = services.known_pipelines.get(request.pipeline_id)
        pipeline = known or services.pipelines.get_or_raise(request.pipeline_id)
        record = new_record(request, pipeline, services)
        succeeded = isinstance(error, AlreadySucceededError)
        outcome = RunOutcome(
            RunStatus.SKIPPED,
            "already_succeeded" if succeeded else "concurrency_limit",
            end_time=services.clock(),
            fields={"status_detail": error.message[:2048]},
        )
        # It never began: nobody owns it, and there is no lease to keep.
        never = dict.fromkeys(("writer", "heartbeat_at", "lease_grace_seconds", "deadline"))
        skipped = run_after(record, outcome, self._services.config.actor_name())
        self.runs.create_run_log(skipped.model_copy(update=never))


def _request(
    pipeline_id: str,
    run_key: RunKey | None,
    parameters: Mapping[str, Any] | None,
    tags: Mapping[str, str] | None,
    trigger: TriggerType | str | None,
    options: RunOptions | None,
) -> RunRequest:
    return RunRequest(
        pipeline_id,
        run_key,
        checked_mapping(parameters, "parameters"),
        checked_mapping(tags, "tags"),
        TriggerType.MANUAL if trigger is None else enum_of(TriggerType, trigger),
        _checked_options(options),
    )


def _checked_options(options: Any) -> RunOptions:
    if not isinstance(options, (RunOptions, type(None))):
        kind = type(options).__name__
        raise ValidationError(f"options is a {kind}; give RunOptions(rerun=True) or the like.")
    return options or RunOptions()
