"""Tables and pipelines for run tests, abandoned runs, and stored items."""

from __future__ import annotations

import contextvars
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable

import boto3
from boto3.dynamodb.types import TypeDeserializer

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, utc_now
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from dynamodb_wrapper.runs import Run, RunTracker

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.models.run_state import RunOutcome

QUICK: dict[str, Any] = {
    "heartbeat_interval": timedelta(seconds=1),
    "lease_duration": timedelta(seconds=3),
    "lease_grace": timedelta(seconds=1),
}
"""Settings of a pipeline whose dead runs are found after four seconds."""

STEADY: dict[str, Any] = {
    "heartbeat_interval": timedelta(hours=1),
    "lease_duration": timedelta(hours=4),
}
"""Settings of a pipeline whose heartbeat never falls into a test."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **length: float) -> None:
        self.now += timedelta(**length)


def with_pipelines(config: DynamoDBConfig, *pipelines: PipelineConfig) -> DynamoDBConfig:
    """Create the control tables, store pipelines, and return the config."""
    create_tables(config)
    repository = PipelineConfigRepository(config)
    for pipeline in pipelines:
        repository.create(pipeline)
    return config


def outside_of_runs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a context without a current run."""
    return contextvars.Context().run(lambda: function(*args, **kwargs))


def abandoned(config: DynamoDBConfig, pipeline_id: str) -> Run:
    """Start a run, in a separate context, and stop its heartbeat."""
    run: Run = outside_of_runs(RunTracker(config).start, pipeline_id)
    silence(run)
    return run


def silence(run: Run) -> None:
    """Let the driver of a run send no more beats, as one that is gone."""
    run.internals.heartbeat.stop()


def beat(run: Run) -> bool:
    """Renew the lease now, as the heartbeat does; return whether the run is still its own."""
    return run.internals.heartbeat.beat()


def lease_ok(run: Run) -> bool:
    """Return whether a run is open and known to hold its lease."""
    return run.internals.liveness.lease_ok()


def is_tracked(run: Run) -> bool:
    """Return whether the start of a run is stored."""
    return run.internals.liveness.tracked


def store_log_lines(run: Run) -> None:
    """Store the log lines captured so far, as a beat does."""
    if run.internals.logs is not None:
        run.internals.logs.store_lines()


def outcome_of(run: Run) -> RunOutcome | None:
    """Return how a run ended; None while it is open."""
    return run.internals.liveness.outcome


@lru_cache
def plain_client(config: DynamoDBConfig) -> Any:
    """Return a boto3 client the library has not configured."""
    return boto3.client(
        "dynamodb",
        endpoint_url=config.endpoint_url,
        region_name=config.region_name,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def run_table_items(config: DynamoDBConfig) -> dict[str, dict[str, Any]]:
    """Return every item of the run table by its key."""
    paginator = plain_client(config).get_paginator("scan")
    table_name = config.table_name("pipeline_run_logs")
    pages = paginator.paginate(TableName=table_name, ConsistentRead=True)
    read = TypeDeserializer().deserialize
    items = [item for page in pages for item in page["Items"]]
    return {item["run_id"]["S"]: {k: read(v) for k, v in item.items()} for item in items}


def later(**ahead: float) -> Callable[[], datetime]:
    """Return a clock that is ahead, such as ``later(hours=1)``."""
    return lambda: utc_now() + timedelta(**ahead)


def stored(config: DynamoDBConfig, run_id: str) -> PipelineRunLog:
    """Return the stored record of a run, read consistently."""
    return PipelineRunLogsRepository(config).get_or_raise(run_id, consistent=True)


def record_of(tracker: RunTracker, run: Run) -> PipelineRunLog:
    """Return the stored record of a run of a tracker, read consistently."""
    return tracker.runs.get_or_raise(run.run_id, consistent=True)


def item(config: DynamoDBConfig, key: str) -> dict[str, Any]:
    """Return an item of the run table as plain boto3 reads it; empty if it does not exist."""
    response = client_for(config).get_item(
        TableName=config.table_name("pipeline_run_logs"),
        Key={"run_id": {"S": key}},
        ConsistentRead=True,
    )
    return dict(response.get("Item", {}))


def state(config: DynamoDBConfig, pipeline_id: str) -> dict[str, Any]:
    """Return the STATE item of a pipeline as plain boto3 reads it."""
    return item(config, f"#pipeline#{pipeline_id}")
