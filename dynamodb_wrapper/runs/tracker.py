"""`RunTracker`: blocks, handles and functions recorded as runs, and operations on runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from typing_extensions import Unpack

from dynamodb_wrapper.aws.credentials import ProcessSecrets
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.arguments import function, functions
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.partitions import partitions_between
from dynamodb_wrapper.models.statistics import statistics_of
from dynamodb_wrapper.repositories.base import check_place
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.context import RunContext, RunDecorator
from dynamodb_wrapper.runs.coverage import Coverage, WatermarkStep, coverage_of, step_of
from dynamodb_wrapper.runs.finish import RunFinisher
from dynamodb_wrapper.runs.hooks import Hooks
from dynamodb_wrapper.runs.options import (
    FunctionArguments,
    RunArguments,
    RunRequest,
    check_environment,
    check_moment,
    checked_count,
    checked_days,
)
from dynamodb_wrapper.runs.reaper import Reaper
from dynamodb_wrapper.runs.services import Services
from dynamodb_wrapper.runs.start import RunStarter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date, datetime
    from pathlib import Path

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.statistics import RunStatistics
    from dynamodb_wrapper.repositories.run_logs import PipelineRunLogsRepository
    from dynamodb_wrapper.runs.hooks import Hook
    from dynamodb_wrapper.runs.reaper import ReplayedOutcome
from dynamodb_wrapper.runs.run import Run
from dynamodb_wrapper.runs.watermarks import stored_position


class RunTracker:
    """Records runs of pipelines so that the record stays true even if the driver dies.

    Needs no Spark. Status, lock and lease of a run change in one transaction; a driver that dies
    is found by its lease, a driver that was taken for dead and comes back can neither store a
    success nor move a watermark.

    ::

        tracker = RunTracker(DynamoDBConfig.from_env())
        with tracker.run("orders-daily") as run:
            run.log_rows(read=17)

    Args:
        config: Where the tables are.
        client: A boto3 client to use instead of the shared one.
        hooks: Called with a `RunEvent` when a run starts, finishes, fails, is lost, or its lease is
            at risk; an exception of theirs is logged and not raised. Each is called in a separate
            thread and waited for up to 5 s (1 s once a signal asks the program to end).
        clock: The present moment in UTC, for tests; taken for DynamoDB's clock, which otherwise the
            dates of its replies show.
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
        check_place(config, PIPELINE_RUN_LOGS, client)
        if clock is not None:
            function("clock", clock, "a function that returns the present moment in UTC")
        hooks = functions("hooks", hooks, "called with a RunEvent")
        secrets = ProcessSecrets(config, client)
        self._services = services = Services(
            config,
            client,
            clock,
            Hooks(hooks, secrets),
            secrets,
            cancel_jobs=cancel_jobs,
            auto_reap=auto_reap,
        )
        self._reaper = Reaper(services)
        self._finisher = RunFinisher(services)
        self._starter = RunStarter(services, self._finisher, self._reaper)

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            "A RunTracker cannot be pickled or copied: it holds connections, hooks and the runs of "
            "this process. Pass its config, which leaves credentials out when it is pickled, and "
            "make a RunTracker there."
        )

    @property
    def runs(self) -> PipelineRunLogsRepository:
        """The repository of runs: lists and reads of every kind."""
        return self._services.runs

    # ---- runs ------------------------------------------------------------------------------------

    def run(self, pipeline_id: str, **arguments: Unpack[RunArguments]) -> RunContext:
        """Return a context manager that records its block as a run and yields the `Run`.

        An exception leaves the block as the same object. In the main thread SIGTERM and SIGHUP
        become `SystemExit` in the block, unless the program has set other handlers. Once the block
        has been left it may be entered again, which is another run.

        The call sends nothing. Entering costs 8 to 12 write units and two read units, each beat a
        write unit per KB of the run, leaving 10 to 16 write units and a read unit. A run key costs
        two write units of each and a read unit more, a watermark two write units on leaving, a tag
        three to four on entering, an external id one to two.
        See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            arguments: Any of these keywords, also for `start`, `pipeline` and
                `pipeline_run_context`:

                * ``run_key``: What the run is for: it succeeds once. A date or an aware datetime
                  stands for the partition it lies in, by the pipeline's `partition_grain`.
                * ``parameters``: A dict that is stored with the run, with secrets taken out.
                * ``tags``: A dict of texts that is stored with the run.
                * ``trigger``: What started the run, a `TriggerType`; ``manual`` unless given.
                * ``external_id``: Id of the job of another system that starts the run, by which
                  `find_by_external_id` finds it; by default that of Airflow, Databricks, AWS Glue
                  or EMR in the environment (docs/runs.md lists the variables).
                * ``parent``: The run_id of the run that this one is started for, in another process
                  say; by default the run it is started inside of. Costs a read unit per 4 KB.
                * ``options``: How it begins and ends, `RunOptions`.

        Raises:
            ItemNotFoundError: There is no such pipeline, or no such parent.
            PipelineInactiveError: It is switched off.
            AlreadyRunningError: A live run holds the pipeline, or works at the run key.
            AlreadySucceededError: The run key has succeeded.
            RunSkippedError: One of these two, with ``on_conflict="skip"``; a run SKIPPED is stored.
            RunStartError: The start could not be stored; the block is not entered.
            ValidationError: The run key, the external id, a parameter or a tag cannot be stored, or
                the block has been entered and not left.
            RunFinishError: On leaving: the block raised nothing, and the end of its run could not
                be stored although a lock, a run key or a watermark depends on it.
        """
        request = RunRequest.of(pipeline_id, arguments)
        return RunContext(self._starter, self._finisher, request)

    def start(self, pipeline_id: str, **arguments: Unpack[RunArguments]) -> Run:
        """Begin a run outside of a block, as notebooks need it: `Run.finish` or `Run.fail` ends it.

        Arguments, costs and errors are those of `run`. A run that is still open when the process
        exits, or the child of multiprocessing it is in, is stored as FAILED, never as SUCCESS.
        Signals are not watched; while it starts and ends they wait as for `run`.
        """
        run = self._starter.start(RunRequest.of(pipeline_id, arguments))
        current.keep_for_session(run)
        return run

    def pipeline(self, pipeline_id: str, **arguments: Unpack[FunctionArguments]) -> RunDecorator:
        """Return a decorator that records every call of a function as a run.

        A function with a parameter called ``run`` that is its first, the first after ``self`` or
        ``cls``, or keyword-only, is given the `Run` there; callers leave it out. Coroutine
        functions are awaited inside the run. With ``on_conflict="skip"`` the function is not
        called where a run could not begin; a run SKIPPED is stored and None returned. Arguments,
        costs and errors are those of `run`, but for ``run_key``, which may also be a function: it
        is called with the arguments of each call and returns the key::

            @tracker.pipeline("orders-daily", run_key=lambda day: day)
            def load(run: Run, day: date) -> None: ...

        Raises:
            ConfigurationError: It is a generator function, or cannot be called. A call raises it,
                and its run has failed, where the function returned a coroutine, a generator, a
                future or the like: its work has not been done yet.
            ValidationError: The decorator was written without its parentheses.
        """
        if callable(pipeline_id):
            name = getattr(pipeline_id, "__name__", "the function")
            raise ValidationError(
                f'pipeline needs the id of a pipeline: write @tracker.pipeline("...") above {name}.'
            )
        run_key = arguments.get("run_key")
        fixed: Any = {**arguments, "run_key": None if callable(run_key) else run_key}
        request = RunRequest.of(pipeline_id, fixed)

        def block(*args: Any, **kwargs: Any) -> RunContext:
            key = run_key(*args, **kwargs) if callable(run_key) else request.run_key
            return RunContext(self._starter, self._finisher, replace(request, run_key=key))

        return RunDecorator(block)

    # ---- dead runs -------------------------------------------------------------------------------

    def reap(
        self, *, environment: str | None = None, dry_run: bool = False
    ) -> list[PipelineRunLog]:
        """End the runs whose drivers are gone as LOST, free their locks, and return them.

        A driver is gone when its lease and the grace after it are over by DynamoDB's clock, or when
        this tracker has seen the same lease for as long; the clock of this machine does not matter.
        A run whose lease was not written by DynamoDB's clock (by an older version of this library,
        say) is left alone by a tracker that sees it for the first time, which is logged. Safe to
        repeat and to run anywhere at any time. Costs as `get_running_pipelines`, and 10 to 16 write
        units and three read units for each dead run. See: Query, BatchGetItem, TransactWriteItems.

        Args:
            environment: Environment of the pipelines; the config's unless given.
            dry_run: Whether to return them only.

        Raises:
            ValidationError: That cannot be the name of an environment.
        """
        if environment is not None:
            check_environment(environment)
        return self._reaper.reap(environment, dry_run=dry_run)

    def replay_outcomes(self, *, of_other_users: bool = False) -> list[ReplayedOutcome]:
        """Store the outcomes in the spool of this machine, and return the result for each.

        An outcome that is refused (another run took over, say) is set aside in its directory.
        Costs as the end of each run. See: TransactWriteItems.

        Args:
            of_other_users: Whether files that belong to other users of the machine are stored as
                well. What they say is stored as it stands: only where you trust those users.

        Raises:
            ConfigurationError: The spool cannot be read.
        """
        return self._reaper.replay(of_other_users=of_other_users)

    def unreadable_outcomes(self) -> list[Path]:
        """Return the files in the spool of this machine that cannot be read.

        They are damaged, or of a newer version of the library; `replay_outcomes` leaves them alone.

        Raises:
            ConfigurationError: The spool cannot be read.
        """
        return self._services.spool.unreadable()

    def holder(self, pipeline_id: str) -> PipelineRunLog | None:
        """Return the run that holds an exclusive pipeline; None while it is free.

        Costs one read unit and one per 4 KB of the run; both reads are consistent. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
        """
        held_by = self._services.store.state(pipeline_id).holder
        if held_by is None:
            self._require(pipeline_id)
        return None if held_by is None else self.runs.get_by_run_id(held_by, consistent=True)

    def release(self, pipeline_id: str, *, reason: str) -> PipelineRunLog | None:
        """End the run that holds a pipeline as LOST, free the pipeline, return the run.

        For a run that is dead and whose lease you do not want to wait for. A run that is still
        running is not stopped, and can then not store its success. None when the pipeline is free.
        Costs 10 to 16 write units and three read units. See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            reason: Stored with the run as `status_detail`.

        Raises:
            ItemNotFoundError: There is no such pipeline.
        """
        now = self._services.clock()
        released = self._services.store.release(pipeline_id, reason=reason, now=now)
        if released is None:
            self._require(pipeline_id)
        return released

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

    # ---- watermarks ------------------------------------------------------------------------------

    def watermark(self, pipeline_id: str, name: str, default: Any = None) -> Any:
        """Return how far a pipeline has got. Costs a read unit per 4 KB. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            ValidationError: What is stored cannot be read; `reset_watermark` sets it anew.
        """
        found = stored_position(pipeline_id, self._services.store.cursor(pipeline_id, name))
        if found is None:
            self._require(pipeline_id)
        return default if found is None else found

    def reset_watermark(self, pipeline_id: str, name: str, value: Any) -> None:
        """Set a watermark by hand, back or forth.

        A run under way keeps the value it has read, and succeeds without moving the watermark.
        Costs a write unit per KB and one to two read units. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
        """
        self._require(pipeline_id)
        self._services.store.reset_watermark(pipeline_id, name, value, now=self._services.clock())

    def watermark_history(
        self, pipeline_id: str, name: str, *, limit: int = 20
    ) -> Iterator[WatermarkStep]:
        """Return how runs moved a watermark, newest first; moves by hand are not among them.

        Looks at up to ten times `limit` successful runs. Costs a read unit per 8 KB of the runs
        looked at. See: Query, BatchGetItem.
        """
        return self._steps(pipeline_id, name, checked_count(limit, "limit"))

    def _require(self, pipeline_id: str) -> None:
        """Raise for a pipeline that is not registered, so that it does not look like a new one."""
        self._services.pipelines.get_or_raise(pipeline_id)

    def _steps(self, pipeline_id: str, name: str, limit: int) -> Iterator[WatermarkStep]:
        listed = self.runs.get_runs_by_status(
            RunStatus.SUCCESS, pipeline_id=pipeline_id, limit=10 * limit
        )
        found = 0
        for run in self.runs.get_many([run.run_id for run in listed]):
            if run is not None and name in run.watermarks and found < limit:
                found += 1
                yield step_of(run, run.watermarks[name])

    # ---- coverage and statistics -----------------------------------------------------------------

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
        """Return durations, success rate and SLA misses of the runs of a pipeline.

        Costs half a read unit per 4 KB of index entries (about 12 runs a unit), and one for the
        pipeline. See: Query, GetItem.

        Args:
            pipeline_id: The pipeline; `sla` of its configuration sets the expected values.
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
