"""Tables of run tests: the control tables with the pipelines of the test, on each engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.runs import RunTracker
from tests.support.engines import Capability
from tests.support.runs import with_pipelines

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    """The pipelines in the tables; a test file that needs others overrides this fixture."""
    return [
        PipelineConfig(pipeline_id="exclusive"),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None),
    ]


@pytest.fixture
def tables(config: DynamoDBConfig, pipeline_configs: list[PipelineConfig]) -> DynamoDBConfig:
    """Config of each engine in turn; the control tables and the pipelines exist."""
    return with_pipelines(config, *pipeline_configs)


@pytest.fixture
def locking_tables(
    engine: Engine, config: DynamoDBConfig, pipeline_configs: list[PipelineConfig]
) -> DynamoDBConfig:
    """The same on each engine that checks a condition and writes in one step."""
    engine.require(Capability.ATOMIC_WRITES)
    return with_pipelines(config, *pipeline_configs)


@pytest.fixture
def local_tables(
    local_config: DynamoDBConfig, pipeline_configs: list[PipelineConfig]
) -> DynamoDBConfig:
    """The same on the embedded engine only."""
    return with_pipelines(local_config, *pipeline_configs)


@pytest.fixture
def tracker(local_tables: DynamoDBConfig) -> RunTracker:
    """A tracker of runs on the embedded engine."""
    return RunTracker(local_tables)
