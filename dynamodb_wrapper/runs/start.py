"""Start a run: its record is stored before its body runs, or the body does not run."""

from __future__ import annotations

import getpass
import json
import logging
import os
import platform
import random
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any, Union

import pydantic
import pydantic_core

from dynamodb_wrapper.exceptions.errors import (
    AccessDeniedError,
    AlreadyRunningError,
    ConnectionError,
    DynamoDBWrapperError,
    PipelineInactiveError,
    RunStartError,
    ServiceError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.models.enums import PartitionGrain, RunStatus, TriggerType
from dynamodb_wrapper.models.partitions import Partition, partition_of, partition_of_key
from dynamodb_wrapper.models.pipeline import PipelineConfig
from dynamodb_wrapper.models.run import PipelineRunLog, RuntimeInfo
from dynamodb_wrapper.redaction import presentable, redact_known, redact_values, stored_text
from dynamodb_wrapper.repositories.run_log.items import identity
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.fencing import DeltaFence
from dynamodb_wrapper.runs.finish import ended_with_the_process
from dynamodb_wrapper.runs.heartbeat import Heartbeat
from dynamodb_wrapper.runs.hooks import LOST, STARTED
from dynamodb_wrapper.runs.liveness import Lease
from dynamodb_wrapper.runs.logs import LogCapture
from dynamodb_wrapper.runs.options import RunOptions
from dynamodb_wrapper.runs.recorder import Recorder
from dynamodb_wrapper.runs.run import Run
from dynamodb_wrapper.runs.signals import SignalGuard
from dynamodb_wrapper.runs.watermarks import Progress
from dynamodb_wrapper.serialization.problems import clean_errors, explain

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.finish import Ending
    from dynamodb_wrapper.runs.reaper import Reaping
    from dynamodb_wrapper.runs.services import Services

logger = logging.getLogger(__name__)
_TEXT_BYTES = 4096
_ALL_BYTES = 32_768
RunKey = Union[str, date, datetime, Partition]
_FIRST_LEASE = timedelta(seconds=90)
_UNREACHABLE = (ConnectionError, ThrottledError, ServiceError, AccessDeniedError)
_ERROR_BYTES = 2048
_POLL_SECONDS = (0.5, 5.0)


def stored_parameters(parameters: Mapping[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return what is stored of parameters; dates and the like become text, a cut is marked.

    Raises:
        ValidationError: A parameter holds what JSON cannot say; it is named.
    """
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        plain.update(_plain(name, value, secrets))
    clean: dict[str, Any] = _cut(redact_values(plain, secrets), secrets)
    size = len(json.dumps(clean))
    if size > _ALL_BYTES:
        names = ", ".join(sorted(clean))
        return {"[cut]": stored_text(f"{size:,} bytes; names: {names}", (), _TEXT_BYTES)}
    return clean


def stored_tags(tags: Mapping[str, str], secrets: tuple[str, ...]) -> dict[str, str]:
    """Return what is stored of tags; one that looks like a secret is refused by the model."""
    return {_without(secrets, name): _without(secrets, tag) for name, tag in tags.items()}


def _without(secrets: tuple[str, ...], text: Any) -> Any:
    return redact_known(text, secrets) if isinstance(text, str) else text


def _plain(name: Any, value: Any, secrets: tuple[str, ...]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = pydantic_core.to_jsonable_python({name: value}, fallback=str)
        return plain
    except Exception as error:  # noqa: BLE001 - a __str__ of the caller's may raise anything
        shown = presentable(name, secrets) if isinstance(name, str) else type(name).__name__
        raise ValidationError(
            f"Parameter {shown!r} cannot be stored ({type(error).__name__}): give what JSON can "
            "say, or a text."
        ) from None


def _cut(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return stored_text(value, secrets, _TEXT_BYTES)
    if isinstance(value, dict):
        return {name: _cut(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, secrets) for inner in value]
    return value


def describe_runtime() -> RuntimeInfo:
    """Return where this process runs."""
    return RuntimeInfo(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=_user(),
        python_version=platform.python_version(),
        library_version=_library_version(),
    )


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may know no user
        return None


def _library_version() -> str | None:
    try:
        return metadata.version("dynamodb-wrapper")
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked for with.

    Attributes:
        pipeline_id: The pipeline.
        run_key: What the run is for; a date or moment stands for the partition it lies in.
        parameters: Stored with the run, with secrets taken out.
        tags: Stored with the run.
        trigger: What started the run.
        options: How it begins and ends.
    """

    pipeline_id: str
    run_key: RunKey | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    trigger: TriggerType = TriggerType.MANUAL
    options: RunOptions = field(default_factory=RunOptions)


def _partition(
    request: RunRequest, pipeline: PipelineConfig
) -> tuple[str | None, datetime | None, datetime | None]:
    key, grain, zone = request.run_key, pipeline.partition_grain, pipeline.schedule_timezone
    if key is None:
        return None, None, None
    whole = grain in (PartitionGrain.NONE, "none")
    if isinstance(key, str) and whole:
        return key, None, None
    try:
        if isinstance(key, str):
            key = partition_of_key(key, grain, zone)
        elif isinstance(key, date):
            key = partition_of(key, grain, zone)
        elif not whole:
            _refuse_other_partition(key, partition_of_key(key.key, grain, zone), zone)
    except ValueError as error:
        raise ValidationError(
            f"Run key {request.run_key!r} of pipeline {request.pipeline_id!r}: {error}"
        ) from error
    return key.key, key.start, key.end


def _refuse_other_partition(given: Partition, own: Partition, zone: str) -> None:
    if given != own:
        raise ValueError(
            f"in {zone}, the schedule_timezone of the pipeline, {own.key} is from {own.start} to "
            f"{own.end}; this one is from {given.start} to {given.end}"
        )


def _check_run_key(key: object, secrets: tuple[str, ...]) -> None:
    if not isinstance(key, (str, date, Partition, type(None))):
        raise ValidationError(
            f"run_key is a {type(key).__name__}; give a text, a date, an aware datetime or a "
            "Partition."
        )
    text = key.key if isinstance(key, Partition) else key
    if isinstance(text, str):
        identity(text, "A run key", secrets)


def new_record(request: RunRequest, pipeline: PipelineConfig, services: Services) -> PipelineRunLog:
    """Return the run that is asked for, as it is stored when it begins now.

    Raises:
        ValidationError: A parameter, a tag or the run key cannot be stored.
    """
    parent = current.find_current_run()
    now = services.clock()
    _check_run_key(request.run_key, services.secrets)
    key, start, end = _partition(request, pipeline)
    try:
        return PipelineRunLog(
            pipeline_id=request.pipeline_id,
            environment=pipeline.environment,
            status=RunStatus.RUNNING,
            trigger_type=request.trigger,
            run_key=key,
            partition_start=start,
            partition_end=end,
            writer=uuid.uuid4().hex,
            start_time=now,
            heartbeat_at=now,
            lease_until=now + min(_FIRST_LEASE, pipeline.lease_duration),
            lease_grace_seconds=pipeline.lease_grace.total_seconds(),
            deadline=None if pipeline.max_runtime is None else now + pipeline.max_runtime,
            parent_run_id=None if parent is None else parent.run_id,
            root_run_id=None if parent is None else parent.record.root_run_id or parent.run_id,
            pipeline_version=pipeline.version,
            config_hash=pipeline.config_hash,
            parameters=stored_parameters(request.parameters, services.secrets),
            runtime=describe_runtime(),
            tags=stored_tags(request.tags, services.secrets),
            retention_days=pipeline.retention_days,
        )
    except pydantic.ValidationError as error:
        raise ValidationError(
            f"The run of pipeline {request.pipeline_id!r} cannot begin: {explain(error)}.",
            errors=clean_errors(error),
        ) from error


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
                return self._services.store.start(
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
            lambda parts: services.impatient_store.put_parts(
                record.run_id, parts, writer=record.writer
            ),
            run.run_id,
        )
        run.check_parts = services.store.check_parts
        run.progress = Progress(
            lambda name: services.store.cursor(run.pipeline_id, name),
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
            lambda: services.impatient_store,
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
            lambda number, text: services.impatient_store.put_chunk(
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
