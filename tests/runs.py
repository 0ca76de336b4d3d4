"""Runs whose driver is gone."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

from dynamodb_wrapper.runs import Run, RunTracker

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def abandoned(config: DynamoDBConfig, pipeline_id: str) -> Run:
    """Start a run whose driver stops giving signs of life, in a context of its own."""
    run = contextvars.Context().run(RunTracker(config).start, pipeline_id)
    run.heartbeat.stop()
    return run
