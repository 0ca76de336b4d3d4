"""Runs whose driver is gone, and the run table as plain boto3 reads it."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

from dynamodb_wrapper.config import client_for
from dynamodb_wrapper.runs import Run, RunTracker

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def abandoned(config: DynamoDBConfig, pipeline_id: str) -> Run:
    """Start a run whose driver stops giving signs of life, in a context of its own."""
    run = contextvars.Context().run(RunTracker(config).start, pipeline_id)
    run.heartbeat.stop()
    return run


def run_table_items(config: DynamoDBConfig) -> dict[str, dict[str, Any]]:
    """Return every item of the run table by its key."""
    pages = (
        client_for(config)
        .get_paginator("scan")
        .paginate(TableName=config.table_name("pipeline_run_logs"), ConsistentRead=True)
    )
    read = TypeDeserializer().deserialize
    items = [item for page in pages for item in page["Items"]]
    return {item["run_id"]["S"]: {k: read(v) for k, v in item.items()} for item in items}
