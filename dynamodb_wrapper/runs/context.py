"""A block of code as a run: begun in one transaction, ended in another."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any

import pydantic

from dynamodb_wrapper.exceptions import (
    AccessDeniedError,
    ConnectionError,
    DynamoDBWrapperError,
    InvalidTransitionError,
    PipelineInactiveError,
    RunFinishError,
    RunStartError,
    ServiceError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.models import PipelineRunLog, RunStatus, TriggerType, enum_of, utc_now
from dynamodb_wrapper.repositories import PipelineConfigRepository, PipelineRunLogsRepository
from dynamodb_wrapper.runs.outcomes import outcome_of
from dynamodb_wrapper.runs.parameters import stored_parameters
from dynamodb_wrapper.runs.run import Run, describe_runtime, enter, find_current_run, leave
from dynamodb_wrapper.wire.problems import clean_errors, explain
from dynamodb_wrapper.wire.requests import Backoff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.models import PipelineConfig
    from dynamodb_wrapper.models.run_state import RunOutcome

logger = logging.getLogger(__name__)

_UNREACHABLE = (ConnectionError, ThrottledError, ServiceError, AccessDeniedError)


class RunContext:
    """Records the run of a pipeline around a block of code.

    The block is entered only if the start was stored; its exception leaves it as the same object,
    and what the block came to is never changed by trouble in storing it.
    """

    def __init__(
        self,
        config: DynamoDBConfig,
        pipeline_id: str,
        *,
        client: Any = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        trigger: TriggerType | str = TriggerType.MANUAL,
        force: bool = False,
    ) -> None:
        self._config = config
        self._client = client
        self._pipeline_id = pipeline_id
        self._parameters = dict(parameters or {})
        self._tags = dict(tags or {})
        self._trigger = enum_of(TriggerType, trigger)
        self._force = force
        self._run: Run | None = None

    def __enter__(self) -> Run:
        """Store that the run begins.

        Raises:
            ItemNotFoundError: There is no such pipeline.
            PipelineInactiveError: It is switched off.
            AlreadyRunningError: Another run holds it.
            RunStartError: The start could not be stored.
        """
        try:
            run = self._start()
        except _UNREACHABLE as error:
            raise RunStartError(
                f"The run of pipeline {self._pipeline_id!r} could not be recorded, so it did not "
                f"begin: {error.message}",
                pipeline_id=self._pipeline_id,
                operation=error.operation,
                error_code=error.error_code,
                retryable=error.retryable,
            ) from error
        self._run = run
        enter(run)
        logger.info("Run %s of pipeline %s begins.", run.run_id, run.pipeline_id)
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Store how the run ended; an exception of the block goes on as it is."""
        run = self._run
        if run is None:
            return
        self._run = None
        leave(run)
        outcome = outcome_of(error, self._secrets())
        if error is None:
            self._finish_quiet_body(run, outcome)
        else:
            self._finish_raising_body(run, outcome, error)

    def _start(self) -> Run:
        pipelines = PipelineConfigRepository(self._config, client=self._client)
        pipeline = pipelines.get_or_raise(self._pipeline_id, consistent=True)
        if not pipeline.is_active and not self._force:
            raise PipelineInactiveError(
                f"Pipeline {self._pipeline_id!r} is switched off; "
                "update_pipeline_status(..., True) switches it on, force=True runs it anyway.",
                pipeline_id=self._pipeline_id,
            )
        try:
            record = self._record(pipeline)
        except pydantic.ValidationError as error:
            raise ValidationError(
                f"The run of pipeline {self._pipeline_id!r} cannot begin: {explain(error)}.",
                errors=clean_errors(error),
            ) from error
        stored, _ = self._runs().start_run(record, exclusive=pipeline.is_exclusive)
        return Run(stored, pipeline)

    def _record(self, pipeline: PipelineConfig) -> PipelineRunLog:
        parent = find_current_run()
        return PipelineRunLog(
            pipeline_id=self._pipeline_id,
            environment=pipeline.environment,
            status=RunStatus.RUNNING,
            trigger_type=self._trigger,
            writer=uuid.uuid4().hex,
            start_time=utc_now(),
            parent_run_id=None if parent is None else parent.run_id,
            pipeline_version=pipeline.version,
            config_hash=pipeline.config_hash,
            parameters=stored_parameters(self._parameters, self._secrets()),
            runtime=describe_runtime(),
            tags=self._tags,
            retention_days=pipeline.retention_days,
        )

    def _finish_quiet_body(self, run: Run, outcome: RunOutcome) -> None:
        try:
            self._finish(run, outcome)
        except (RunFinishError, InvalidTransitionError) as problem:
            logger.error("%s", problem)
            if run.fence is not None:
                raise _ended_before(run, outcome, problem) from problem
        except DynamoDBWrapperError as problem:
            logger.error("%s %s", _unstored(run, outcome), problem)
            if run.fence is not None:
                raise RunFinishError(
                    f"{_unstored(run, outcome)} {problem.message}",
                    run_id=run.run_id,
                    pipeline_id=run.pipeline_id,
                    outcome=str(outcome.status),
                ) from problem

    def _finish_raising_body(self, run: Run, outcome: RunOutcome, error: BaseException) -> None:
        try:
            self._finish(run, outcome)
        except Exception as problem:  # noqa: BLE001 - the user's exception is never masked
            ended = isinstance(problem, (RunFinishError, InvalidTransitionError))
            told = str(problem) if ended else f"{_unstored(run, outcome)} {problem}"
            note = f"dynamodb-wrapper: {told}"
            logger.error(note)
            _add_note(error, note)

    def _finish(self, run: Run, outcome: RunOutcome) -> None:
        """Store the outcome; unreachable is tried again for twice the time of one operation."""
        budget = Backoff(2 * self._config.operation_timeout_seconds, first_seconds=0.5)
        problem: DynamoDBWrapperError | None = None
        for _ in budget.waits():
            try:
                stored = self._runs().finish_run(run.record, outcome)
            except DynamoDBWrapperError as error:
                if not error.retryable:
                    raise
                problem = error
                continue
            logger.info(
                "Run %s of pipeline %s ended: %s.", run.run_id, run.pipeline_id, stored.status
            )
            return
        if problem is not None:
            raise problem

    def _runs(self) -> PipelineRunLogsRepository:
        return PipelineRunLogsRepository(self._config, client=self._client)

    def _secrets(self) -> tuple[str, ...]:
        return self._config.secret_values()


def _ended_before(run: Run, outcome: RunOutcome, problem: DynamoDBWrapperError) -> RunFinishError:
    return RunFinishError(
        problem.message,
        run_id=run.run_id,
        pipeline_id=run.pipeline_id,
        outcome=str(outcome.status),
    )


def _unstored(run: Run, outcome: RunOutcome) -> str:
    return (
        f"Run {run.run_id} of pipeline {run.pipeline_id!r} came to {outcome.status}, which could "
        f"not be stored; it may still be listed as running. Repeat it with update_run_status("
        f"{run.run_id!r}, {str(outcome.status)!r}), or free the pipeline with release()."
    )


def _add_note(error: BaseException, note: str) -> None:
    """Attach a note as ``BaseException.add_note`` does, which Python has from 3.11."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
        else:
            error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - an exception that takes no notes stays as it is
        logger.debug("The note could not be attached.")
