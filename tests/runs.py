"""Runs whose driver is gone."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

from dynamodb_wrapper.runs import Run, RunContext

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def abandoned(config: DynamoDBConfig, pipeline_id: str) -> Run:
    """Start a run that nobody will end, in a context of its own."""
    return contextvars.Context().run(RunContext(config, pipeline_id).__enter__)
