"""The way in to run control: blocks, handles and functions that are recorded as runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    AlreadySucceededError,
    DynamoDBWrapperError,
    RunStartError,
    ValidationError,
)
from dynamodb_wrapper.models import RunStatus, TriggerType, enum_of, utc_now
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.repositories.run_endings import run_after
from dynamodb_wrapper.runs import arguments
from dynamodb_wrapper.runs.context import RunContext
from dynamodb_wrapper.runs.ending import Ending
from dynamodb_wrapper.runs.hooks import Hooks
from dynamodb_wrapper.runs.opening import Opening
from dynamodb_wrapper.runs.operations import RunOperations
from dynamodb_wrapper.runs.options import RunOptions
from dynamodb_wrapper.runs.reaping import Reaping
from dynamodb_wrapper.runs.recorded import Recording
from dynamodb_wrapper.runs.requests import RunKey, RunRequest, new_record
from dynamodb_wrapper.runs.services import Services

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs.hooks import Hook
    from dynamodb_wrapper.runs.run import Run

logger = logging.getLogger(__name__)


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
        arguments.mapping(parameters, "parameters"),
        arguments.mapping(tags, "tags"),
        TriggerType.MANUAL if trigger is None else enum_of(TriggerType, trigger),
        _checked_options(options),
    )


def _checked_options(options: Any) -> RunOptions:
    if not isinstance(options, (RunOptions, type(None))):
        kind = type(options).__name__
        raise ValidationError(f"options is a {kind}; give RunOptions(rerun=True) or the like.")
    return options or RunOptions()
