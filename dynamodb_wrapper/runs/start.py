"""Start a run: its record is stored before its body runs, or the body does not run."""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pydantic
import pydantic_core

from dynamodb_wrapper.aws.retries import Backoff
from dynamodb_wrapper.config.schedulers import external_id_of_process
from dynamodb_wrapper.exceptions.errors import (
    AccessDeniedError,
    AlreadyRunningError,
    AlreadySucceededError,
    ConnectionError,
    DynamoDBWrapperError,
    ItemNotFoundError,
    PipelineInactiveError,
    RunSkippedError,
    RunStartError,
    ServiceError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import PartitionGrain, RunStatus
from dynamodb_wrapper.models.measures import measured_parts, python_scalar
from dynamodb_wrapper.models.partitions import Partition, partition_of, partition_of_key
from dynamodb_wrapper.models.pipeline import PipelineConfig
from dynamodb_wrapper.models.run import MAX_EXTERNAL_ID, PipelineRunLog, RuntimeInfo
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.redaction import presentable, redact_known, redact_values, stored_text
from dynamodb_wrapper.repositories.run_log.items import identity
from dynamodb_wrapper.repositories.run_log.protocol import run_after
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.fencing import DeltaFence
from dynamodb_wrapper.runs.finish import JobCanceller, finish_at_exit
from dynamodb_wrapper.runs.heartbeat import Heartbeat
from dynamodb_wrapper.runs.hooks import LOST, STARTED
from dynamodb_wrapper.runs.liveness import Liveness
from dynamodb_wrapper.runs.logs import LogCapture
from dynamodb_wrapper.runs.outcome import describe
from dynamodb_wrapper.runs.recorder import Recorder, TableRecords
from dynamodb_wrapper.runs.run import Run, RunInternals
from dynamodb_wrapper.runs.signals import SignalGuard
from dynamodb_wrapper.runs.stages import Stages
from dynamodb_wrapper.runs.watermarks import Watermarks
from dynamodb_wrapper.serialization.problems import clean_errors, explain

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.finish import RunFinisher
    from dynamodb_wrapper.runs.options import RunRequest
    from dynamodb_wrapper.runs.reaper import Reaper
    from dynamodb_wrapper.runs.services import Services

logger = SafeLogger(__name__)
_TEXT_BYTES = 4096
_ALL_BYTES = 32_768
_FIRST_LEASE = timedelta(seconds=90)
_UNREACHABLE = (ConnectionError, ThrottledError, ServiceError, AccessDeniedError)
_DETAIL_CHARACTERS = 2048
_POLL_SECONDS = (0.5, 5.0)
_NEVER_STARTED = ("writer", "heartbeat_at", "lease_grace_seconds", "deadline")


def stored_parameters(parameters: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """Return parameters as they are stored; dates and the like become text, a cut is marked.

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


def stored_tags(tags: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """Return tags as they are stored: texts; one that looks like a secret is refused by the model.

    Numbers, members of enums, None and scalars of numpy and pandas become their text.
    """
    return {_without(secrets, name): _without(secrets, _tag(tag)) for name, tag in tags.items()}


def _tag(value: Any) -> Any:
    plain = python_scalar(value)
    return str(plain) if plain is None or isinstance(plain, (int, float, Decimal)) else plain


def _without(secrets: Iterable[str], text: Any) -> Any:
    return redact_known(text, secrets) if isinstance(text, str) else text


def _plain(name: Any, value: Any, secrets: Iterable[str]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = measured_parts(
            pydantic_core.to_jsonable_python({name: measured_parts(value)}, fallback=str)
        )
        return plain
    except Exception as error:  # noqa: BLE001 - a caller's __str__ may raise any exception
        shown = presentable(name, secrets) if isinstance(name, str) else type(name).__name__
        raise ValidationError(
            f"Parameter {shown!r} cannot be stored ({type(error).__name__}): give what JSON can "
            "say, or a text."
        ) from None


def _cut(value: Any, secrets: Iterable[str]) -> Any:
    if isinstance(value, str):
        return stored_text(value, secrets, _TEXT_BYTES)
    if isinstance(value, dict):
        return {name: _cut(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, secrets) for inner in value]
    return value


def describe_runtime() -> RuntimeInfo:
    """Return host, process, user and versions of this process."""
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
    except (metadata.PackageNotFoundError, OSError):
        return None


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


def _check_run_key(key: object, secrets: Iterable[str]) -> None:
    if not isinstance(key, (str, date, Partition, type(None))):
        raise ValidationError(
            f"run_key is a {type(key).__name__}; give a text, a date, an aware datetime or a "
            "Partition."
        )
    text = key.key if isinstance(key, Partition) else key
    if isinstance(text, str):
        identity(text, "A run key", secrets)


def _family(request: RunRequest, services: Services) -> tuple[str | None, str | None]:
    """Return the parent of a run that begins, and the outermost of its parents."""
    if request.parent is None:
        outer = current.find_current_run()
        return (outer.run_id, outer.record.root_run_id or outer.run_id) if outer else (None, None)
    try:
        parent = services.runs.get_by_run_id(request.parent, consistent=True)
    except _UNREACHABLE:
        if request.options.tracking != "best_effort":
            raise
        return request.parent, request.parent
    if parent is None:
        raise ItemNotFoundError(
            f"The run of pipeline {request.pipeline_id!r} cannot begin: there is no run "
            f"{request.parent!r}, which is given as its parent. Give the run_id of a run.",
            table_name=services.run_table,
            key={"run_id": request.parent},
        )
    return parent.run_id, parent.root_run_id or parent.run_id


def _external_id(request: RunRequest, secrets: Iterable[str]) -> str | None:
    """Return the external id of a run: the one given, or else that of the process.

    One of the process that cannot be stored must not stop a job: it is left out.
    """
    if request.external_id is not None:
        return identity(request.external_id, "An external id", secrets)
    found = external_id_of_process()
    try:
        is_storable = found is not None and len(identity(found, "", secrets)) <= MAX_EXTERNAL_ID
    except ValidationError:
        is_storable = False
    return found if is_storable else None


def new_record(request: RunRequest, pipeline: PipelineConfig, services: Services) -> PipelineRunLog:
    """Return the record of a requested run that begins now.

    Raises:
        ItemNotFoundError: There is no run that is given as the parent.
        ValidationError: A parameter, a tag, the run key or the external id cannot be stored.
    """
    now = services.clock()
    parent_id, root_id = _family(request, services)
    external_id = _external_id(request, services.secrets)
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
            parent_run_id=parent_id,
            root_run_id=root_id,
            external_id=external_id,
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


class RunStarter:
    """Starts runs of one tracker."""

    def __init__(self, services: Services, finisher: RunFinisher, reaper: Reaper) -> None:
        self._services = services
        self._finisher = finisher
        self._reaper = reaper

    def start(self, request: RunRequest, *, watch_signals: bool = False) -> Run:
        """Store that a run begins, and return it with its heartbeat started.

        Args:
            request: The run to start.
            watch_signals: Whether SIGTERM is to end the run; for blocks.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            PipelineInactiveError: It is switched off.
            AlreadyRunningError: Another run holds it, or works at the run key.
            AlreadySucceededError: The run key has succeeded.
            RunSkippedError: One of these two, with ``on_conflict="skip"``.
            RunStartError: The start could not be stored.
        """
        attempt = _Attempt()
        try:
            self._refuse_own_pipeline(request)
            return self._start(request, attempt, watch_signals=watch_signals)
        except (AlreadyRunningError, AlreadySucceededError) as error:
            attempt.let_signals_through()
            if request.options.on_conflict != "skip":
                _say_if_held_here(error)
                raise
            raise self._skipped(request, error) from error
        except BaseException as error:
            self._undo(request, attempt, error)
            raise

    def _start(self, request: RunRequest, attempt: _Attempt, *, watch_signals: bool) -> Run:
        pipeline: PipelineConfig | None = None
        record: PipelineRunLog | None = None
        lost: tuple[PipelineRunLog, ...] = ()
        is_tracked = True
        try:
            pipeline = attempt.pipeline = self._pipeline(request)
            self._reaper.before_start(pipeline)
            record = new_record(request, pipeline, self._services)
            stored, lost = self._store_start(request, pipeline, record, attempt)
        except _UNREACHABLE as error:
            pipeline = pipeline or self._services.known_pipelines.get(request.pipeline_id)
            if pipeline is None or not _may_go_untracked(request, pipeline):
                raise _start_error(request, error) from error
            logger.warning(
                "The start of a run of pipeline %s could not be stored; it runs untracked: %s",
                request.pipeline_id,
                error,
            )
            # If its start was stored and only the reply was lost, it is this very record.
            stored, is_tracked = record or new_record(request, pipeline, self._services), False
        attempt.run = self._assemble(
            request, pipeline, stored, attempt.signals, is_tracked=is_tracked
        )
        self._open(attempt.run, watch_signals=watch_signals)
        for dead in lost:
            self._services.hooks.notify(LOST, dead)
        self._services.hooks.notify(STARTED, attempt.run.record)
        return attempt.run

    def _undo(self, request: RunRequest, attempt: _Attempt, error: BaseException) -> None:
        """End a run whose start did not come to its end; a refused one never began."""
        try:
            run = attempt.run
            if run is None and not isinstance(error, DynamoDBWrapperError):
                run = self._begun(request, attempt)
            if run is not None:
                self._finisher.finish(run.internals, error)
        finally:
            attempt.let_signals_through()

    def _begun(self, request: RunRequest, attempt: _Attempt) -> Run | None:
        """Return the run of a start that was interrupted; None if it was not stored."""
        sent, pipeline = attempt.sent, attempt.pipeline
        if sent is None or pipeline is None:
            return None
        try:
            stored = self._services.impatient_runs.get_by_run_id(sent.run_id, consistent=True)
        except DynamoDBWrapperError as trouble:
            logger.warning("If run %s began, it will be taken for lost: %s", sent.run_id, trouble)
            return None
        if stored is None or stored.writer != sent.writer or stored.status.is_terminal:
            return None
        return self._assemble(request, pipeline, stored, attempt.signals, is_tracked=True)

    # ---- before ----------------------------------------------------------------------------------

    def _refuse_own_pipeline(self, request: RunRequest) -> None:
        """Refuse at once a run that could never begin: the holder waits for this call to return."""
        for outer in current.enclosing_runs():
            is_same_pipeline = (outer.internals.run_table, outer.pipeline_id) == (
                self._services.run_table,
                request.pipeline_id,
            )
            is_lost = outer.internals.liveness.lease.is_lost
            if is_same_pipeline and outer.fence is not None and not is_lost:
                raise AlreadyRunningError(
                    f"Pipeline {request.pipeline_id!r} is exclusive and held by run "
                    f"{outer.run_id} of this process, inside of which this one would begin. End "
                    "that one first: leave its block, or call finish() or fail(error) of its "
                    "handle, which current_run() returns.",
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

    def _store_start(
        self,
        request: RunRequest,
        pipeline: PipelineConfig,
        record: PipelineRunLog,
        attempt: _Attempt,
    ) -> tuple[PipelineRunLog, tuple[PipelineRunLog, ...]]:
        """Store the start; with ``wait`` again and again while a live run is in the way.

        Returns the run and the dead runs it took over from. From the moment a start is sent until
        the run is open signals wait: they would leave a run that no process ends.
        """
        options = request.options
        is_waiting = options.on_conflict == "wait"
        shortest, longest = _POLL_SECONDS
        longest = max(shortest, min(longest, pipeline.heartbeat_interval.total_seconds()))
        backoff = Backoff(
            options.wait_seconds if is_waiting else 0.0,
            first_seconds=longest,
            longest_seconds=longest,
            shortest_seconds=shortest,
        )
        conflict: AlreadyRunningError
        for number, _ in enumerate(backoff.waits()):
            if number:
                record = new_record(request, pipeline, self._services)  # it begins after the wait
            attempt.sent = record
            attempt.signals.hold()
            attempt.signals.is_starting = True
            try:
                return self._services.store.start(
                    record,
                    exclusive=pipeline.is_exclusive,
                    rerun=options.rerun,
                    watch=self._services.watch,
                )
            except AlreadyRunningError as error:
                attempt.sent = None
                attempt.let_signals_through()
                if not is_waiting:
                    raise
                conflict = error
                logger.info("Waiting: %s", error)
            finally:
                attempt.signals.is_starting = False
        raise conflict

    def _skipped(
        self, request: RunRequest, conflict: AlreadyRunningError | AlreadySucceededError
    ) -> RunSkippedError:
        """Store a run that is skipped, and return the error that says so."""
        run_id = None
        try:
            run_id = self._store_skipped(request, conflict).run_id
            stored = f"Run {run_id} is stored as skipped."
        except DynamoDBWrapperError as trouble:
            logger.warning("That a run was skipped is not stored: %s", trouble)
            stored = f"That could not be stored ({trouble.message.rstrip('.')})."
        return RunSkippedError(
            f"The run of pipeline {request.pipeline_id!r} was skipped, as on_conflict='skip' "
            f"asks: {conflict.message} {stored} Catch it around the block with "
            "`except RunSkippedError:`.",
            run_id=run_id,
            pipeline_id=request.pipeline_id,
            holder=getattr(conflict, "holder", None),
            succeeded_run_id=getattr(conflict, "succeeded_run_id", None),
        )

    def _store_skipped(self, request: RunRequest, conflict: RunStartError) -> PipelineRunLog:
        services = self._services
        known = services.known_pipelines.get(request.pipeline_id)
        pipeline = known or services.pipelines.get_or_raise(request.pipeline_id)
        is_done = isinstance(conflict, AlreadySucceededError)
        outcome = RunOutcome(
            RunStatus.SKIPPED,
            "already_succeeded" if is_done else "concurrency_limit",
            end_time=services.clock(),
            fields={"status_detail": conflict.message[:_DETAIL_CHARACTERS]},
        )
        record = new_record(request, pipeline, services)
        skipped = run_after(record, outcome, services.config.actor_name())
        # It never began: it has no writer, and there is no lease to keep.
        never_started = skipped.model_copy(update=dict.fromkeys(_NEVER_STARTED))
        return services.runs.create_run_log(never_started)

    # ---- the run ---------------------------------------------------------------------------------

    def _assemble(
        self,
        request: RunRequest,
        pipeline: PipelineConfig,
        record: PipelineRunLog,
        signals: SignalGuard,
        *,
        is_tracked: bool,
    ) -> Run:
        """Return the run made of its parts, which do nothing yet."""
        services, options = self._services, request.options
        secrets, run_id = services.secrets, record.run_id
        describe_error = partial(describe, secrets=secrets)
        liveness = Liveness(record, pipeline.max_runtime, services.lease_clock, tracked=is_tracked)

        def require_open() -> None:
            liveness.require_open()
            heartbeat.ensure()

        recorder = Recorder(
            lambda parts: services.impatient_store.put_parts(
                record.run_id, parts, writer=record.writer
            ),
            services.store.check_parts,
            require_open,
            run_id,
        )
        logs = None
        if is_tracked and options.capture_logs is not None:
            logs = LogCapture(
                options.capture_logs,
                secrets,
                lambda number, text: services.impatient_store.put_chunk(
                    record, "log", number, text, services.clock()
                ),
                recorder.keep,
            )
        cancel = services.cancel_jobs if options.cancel_spark_jobs else None
        cancel_jobs = JobCanceller(cancel, run_id, secrets).start
        reap = partial(self._reaper.after_beat, record.environment, pipeline.lease_duration)
        heartbeat = Heartbeat(
            liveness,
            recorder,
            pipeline,
            lambda: services.impatient_store,
            services.hooks,
            after_beat=[recorder.flush, *([logs.store_lines] if logs else []), reap],
            on_stop_request=cancel_jobs,
            describe=describe_error,
        )
        internals = RunInternals(
            run_table=services.run_table,
            pipeline=pipeline,
            options=options,
            liveness=liveness,
            recorder=recorder,
            tables=TableRecords(recorder),
            heartbeat=heartbeat,
            watermarks=Watermarks(
                partial(services.store.cursor, record.pipeline_id),
                record.pipeline_id,
                liveness.require_open,
                secrets,
            ),
            delta=DeltaFence(services.run_table, record.pipeline_id, record.fence),
            signals=signals,
            stages=Stages(describe_error),
            cancel_jobs=cancel_jobs,
            logs=logs,
        )
        return Run(internals, self._finisher.finish)

    def _open(self, run: Run, *, watch_signals: bool) -> None:
        """Start the parts of a run; a signal that was held back ends the run at once."""
        parts = run.internals
        current.enter(run)
        finish_at_exit(parts, self._finisher)
        self._services.spool.prepare(run.run_id)
        if parts.liveness.tracked:
            parts.heartbeat.start()
        else:
            parts.recorder.close()
        if watch_signals:
            parts.signals.watch()
        logger.debug("Run %s of pipeline %s begins.", run.run_id, run.pipeline_id)
        parts.signals.release()
        parts.signals.deliver()


@dataclass
class _Attempt:
    """How far a start has come.

    Attributes:
        signals: The signals that concern the run.
        pipeline: The pipeline, once it was read.
        sent: The record that may be stored.
        run: The run, once its parts exist.
    """

    signals: SignalGuard = field(default_factory=SignalGuard)
    pipeline: PipelineConfig | None = None
    sent: PipelineRunLog | None = None
    run: Run | None = None

    def let_signals_through(self) -> None:
        """Release and deliver the signals that were held back."""
        try:
            self.signals.release()
        finally:
            self.signals.deliver()


def _may_go_untracked(request: RunRequest, pipeline: PipelineConfig) -> bool:
    return (
        request.options.tracking == "best_effort"
        and not pipeline.is_exclusive
        and (pipeline.is_active or request.options.force)
    )


def _say_if_held_here(error: RunStartError) -> None:
    """Add to an error that the run in the way is one of this process."""
    holder = getattr(error, "holder", None)
    if holder is not None and current.is_open_here(holder) and not error.self_nested:  # type: ignore[attr-defined]
        error.message += (
            f" Run {holder} was begun in this very process (the kernel, in a notebook) and has not "
            "ended: end it with finish() or fail(error) of its handle."
        )


def _start_error(request: RunRequest, error: DynamoDBWrapperError) -> RunStartError:
    return RunStartError(
        f"The run of pipeline {request.pipeline_id!r} could not be recorded, so it did not "
        f"begin: {error.message}",
        pipeline_id=request.pipeline_id,
        operation=error.operation,
        error_code=error.error_code,
        retryable=error.retryable,
    )
