"""Runs whose driver is gone, and the run table as plain boto3 reads it."""

from __future__ import annotations

import contextvars
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

from dynamodb_wrapper.runs import Run, RunTracker

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def abandoned(config: DynamoDBConfig, pipeline_id: str) -> Run:
    """Start a run whose driver stops giving signs of life, in a context of its own."""
    run = contextvars.Context().run(RunTracker(config).start, pipeline_id)
    run.heartbeat.stop()
    return run


@lru_cache
def plain_client(config: DynamoDBConfig) -> Any:
    """Return a client the library has no part in."""
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
