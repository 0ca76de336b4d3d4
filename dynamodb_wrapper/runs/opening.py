"""The start of a run: stored before its body runs, or the body does not run."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import (
    AccessDeniedError,
    AlreadyRunningError,
    ConnectionError,
    DynamoDBWrapperError,
    PipelineInactiveError,
    RunStartError,
    ServiceError,
    ThrottledError,
)
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog
from dynamodb_wrapper.redaction import stored_text
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.exits import ended_with_the_process
from dynamodb_wrapper.runs.fencing import DeltaFence
from dynamodb_wrapper.runs.heartbeat import Heartbeat
from dynamodb_wrapper.runs.hooks import LOST, STARTED
from dynamodb_wrapper.runs.lease import Lease
from dynamodb_wrapper.runs.logs import LogCapture
from dynamodb_wrapper.runs.progress import Progress
from dynamodb_wrapper.runs.recording import Recorder
from dynamodb_wrapper.runs.requests import RunRequest, new_record
from dynamodb_wrapper.runs.run import Run
from dynamodb_wrapper.runs.signals import SignalGuard

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.ending import Ending
    from dynamodb_wrapper.runs.reaping import Reaping
    from dynamodb_wrapper.runs.services import Services

logger = logging.getLogger(__name__)

_UNREACHABLE = (ConnectionError, ThrottledError, ServiceError, AccessDeniedError)
_ERROR_BYTES = 2048
_POLL_SECONDS = (0.5, 5.0)


class Opening:
    """Begins runs of one tracker."""

    def __init__(self, services: Services, ending: Ending, reaping: Reaping) -> None:
        self._services = services
        self._ending = ending
        self._reaping = reaping

    def begin(self, request: RunRequest, *, watch_signals: bool = False) -> Run:
        """Store that a run begins, and return it with its heart beating.

        Args:
            request: What is asked for.
            watch_signals: Whether SIGTERM is to end the run; for blocks.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            PipelineInactiveError: It is switched off.
            AlreadyRunningError: Another run holds it, or works at the run key.
            AlreadySucceededError: The run key has succeeded.
            RunStartError: The start could not be stored.
        """
        self._refuse_own_pipeline(request)
        guard = SignalGuard()
        try:
            return self._begin(request, guard, watch_signals=watch_signals)
        except BaseException:
            guard.release()
            raise

    def _begin(self, request: RunRequest, guard: SignalGuard, *, watch_signals: bool) -> Run:
        pipeline: PipelineConfig | None = None
        record: PipelineRunLog | None = None
        lost: tuple[PipelineRunLog, ...] = ()
        try:
            pipeline = self._pipeline(request)
            self._reaping.before_start(pipeline)
            record = new_record(request, pipeline, self._services)
            stored, lost = self._start(request, pipeline, record, guard)
            run = self._handle(request, pipeline, stored)
        except _UNREACHABLE as error:
            pipeline = pipeline or self._services.known_pipelines.get(request.pipeline_id)
            if pipeline is None or not self._may_go_untracked(request, pipeline):
                raise _start_error(request, error) from error
            record = record or new_record(request, pipeline, self._services)
            run = self._untracked(request, pipeline, record, error)
        return self._open(run, guard, lost, watch_signals=watch_signals)

    # ---- before ----------------------------------------------------------------------------------

    def _refuse_own_pipeline(self, request: RunRequest) -> None:
        """Refuse at once what could never begin: the holder waits for this very call to return."""
        for outer in current.enclosing_runs():
            same = (outer.run_table, outer.pipeline_id) == (
                self._services.run_table,
                request.pipeline_id,
            )
            if same and outer.fence is not None and not outer.lease.is_lost:
                raise AlreadyRunningError(
                    f"Pipeline {request.pipeline_id!r} is exclusive and held by run "
                    f"{outer.run_id}, inside of which this one would begin. End that one first: "
                    "leave its block, or call its finish() or fail(error).",
                    pipeline_id=request.pipeline_id,
                    holder=outer.run_id,
                    self_nested=True,
                )

    def _pipeline(self, request: RunRequest) -> PipelineConfig:
        pipeline = self._services.pipelines.get_or_raise(request.pipeline_id, consistent=True)
        self._services.known_pipelines[request.pipeline_id] = pipeline
        if not pipeline.is_active and not request.options.force:
            raise PipelineInactiveError(
                f"Pipeline {request.pipeline_id!r} is switched off; "
                "update_pipeline_status(..., True) switches it on, force=True runs it anyway.",
                pipeline_id=request.pipeline_id,
            )
        return pipeline

    # ---- the start -------------------------------------------------------------------------------

    def _start(
        self,
        request: RunRequest,
        pipeline: PipelineConfig,
        record: PipelineRunLog,
        guard: SignalGuard,
    ) -> tuple[PipelineRunLog, tuple[PipelineRunLog, ...]]:
        """Store the start; with ``wait`` again and again while a live run is in the way.

        Returns the run and the dead runs it took over from. From the moment a start is sent until
        the run is open signals wait: they would leave a run that nobody ends.
        """
        options = request.options
        deadline = time.monotonic() + options.wait_seconds
        while True:
            guard.hold()
            try:
                return self._services.runs.start_run(
                    record,
                    exclusive=pipeline.is_exclusive,
                    rerun=options.rerun,
                    clock=self._services.clock,
                )
            except DynamoDBWrapperError as error:
                guard.release()
                guard.deliver()
                if not isinstance(error, AlreadyRunningError):
                    raise
                left = deadline - time.monotonic()
                if options.on_conflict != "wait" or left <= 0:
                    raise
                logger.info("Waiting: %s", error)
                time.sleep(min(random.uniform(*_POLL_SECONDS), left))
                record = new_record(
                    request, pipeline, self._services
                )  # its time begins when it is let in

    def _may_go_untracked(self, request: RunRequest, pipeline: PipelineConfig | None) -> bool:
        return (
            request.options.tracking == "best_effort"
            and pipeline is not None
            and not pipeline.is_exclusive
            and (pipeline.is_active or request.options.force)
        )

    def _untracked(
        self,
        request: RunRequest,
        pipeline: PipelineConfig,
        record: PipelineRunLog,
        error: DynamoDBWrapperError,
    ) -> Run:
        """Return a run nobody knows of; if its start was stored and the reply lost, it is that."""
        logger.warning(
            "The start of a run of pipeline %s could not be stored; it runs untracked: %s",
            request.pipeline_id,
            error,
        )
        return self._handle(request, pipeline, record, tracked=False)

    def _handle(
        self,
        request: RunRequest,
        pipeline: PipelineConfig,
        record: PipelineRunLog,
        *,
        tracked: bool = True,
    ) -> Run:
        services = self._services
        return Run(
            record,
            pipeline,
            request.options,
            services.clock,
            run_table=services.run_table,
            tracked=tracked,
        )

    # ---- the handle ------------------------------------------------------------------------------

    def _open(
        self,
        run: Run,
        guard: SignalGuard,
        lost: tuple[PipelineRunLog, ...],
        *,
        watch_signals: bool,
    ) -> Run:
        """Bring a run to life; a signal that came meanwhile ends it at once."""
        self._equip(run, guard)
        try:
            current.enter(run)
            if watch_signals:
                guard.install()
            guard.release()
            guard.deliver()
            self._capture_logs(run)
            if run.tracked:
                run.heartbeat.start()
            else:
                run.recorder.close()
            ended_with_the_process(run, self._ending)
            logger.info("Run %s of pipeline %s begins.", run.run_id, run.pipeline_id)
            for dead in lost:
                self._services.hooks.tell(LOST, dead)
            self._services.hooks.tell(STARTED, run.record)
            return run
        except BaseException as error:
            self._ending.end(run, error)
            raise

    def _equip(self, run: Run, guard: SignalGuard) -> None:
        services, record = self._services, run.record
        run.guard = guard
        run.lease = Lease(record.lease_until, services.clock)
        run.recorder = Recorder(
            lambda parts: services.impatient_runs.record_parts(record, parts), run.run_id
        )
        run.check_parts = services.runs.check_parts
        run.progress = Progress(
            lambda name: services.runs.watermark(run.pipeline_id, name),
            run.pipeline_id,
            run.require_open,
        )
        run.delta = DeltaFence(services.run_table, run.pipeline_id, run.fence)
        run.describe = lambda error: stored_text(
            f"{type(error).__qualname__}: {_safe_text(error)}", services.secrets, _ERROR_BYTES
        )
        run.end = self._ending.end
        run.heartbeat = Heartbeat(
            run,
            lambda: services.impatient_runs,
            services.hooks,
            on_stop_request=lambda: self._ending.stop_early(run),
            after_beat=lambda: self._reaping.after_beat(run),
        )

    def _capture_logs(self, run: Run) -> None:
        level = run.options.capture_logs
        if level is None or not run.tracked:
            return
        services = self._services
        run.logs = LogCapture(
            level,
            services.secrets,
            lambda: run.is_here and current.find_current_run() in (None, run),
            lambda number, text: services.impatient_runs.put_chunk(
                run.record, "log", number, text, services.clock()
            ),
        )
        logging.getLogger().addHandler(run.logs)


def _start_error(request: RunRequest, error: DynamoDBWrapperError) -> RunStartError:
    return RunStartError(
        f"The run of pipeline {request.pipeline_id!r} could not be recorded, so it did not "
        f"begin: {error.message}",
        pipeline_id=request.pipeline_id,
        operation=error.operation,
        error_code=error.error_code,
        retryable=error.retryable,
    )


def _safe_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not replace the exception
        return "<the message could not be read>"
