"""What a run is asked for with."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Union

import pydantic

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import (
    Partition,
    PartitionGrain,
    PipelineConfig,
    PipelineRunLog,
    RunStatus,
    TriggerType,
    partition_of,
    partition_of_key,
)
from dynamodb_wrapper.repositories.run_names import identity
from dynamodb_wrapper.runs import current
from dynamodb_wrapper.runs.options import RunOptions
from dynamodb_wrapper.runs.parameters import stored_parameters, stored_tags
from dynamodb_wrapper.runs.runtime import describe_runtime
from dynamodb_wrapper.wire.problems import clean_errors, explain

if TYPE_CHECKING:
    from dynamodb_wrapper.runs.services import Services

RunKey = Union[str, date, datetime, Partition]

_FIRST_LEASE = timedelta(seconds=90)


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
