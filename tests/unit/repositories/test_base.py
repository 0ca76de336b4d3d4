"""The three repositories with moto inside this process: no server, no port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper import (
    AlreadyRunningError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    PipelineConfig,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    RunStatus,
    TableConfig,
    TableConfigRepository,
    create_tables,
)
from dynamodb_wrapper.runs import RunTracker

if TYPE_CHECKING:
    from dynamodb_wrapper import DynamoDBConfig


@pytest.fixture
def config(mock_config: DynamoDBConfig) -> DynamoDBConfig:
    """The three tables and one pipeline."""
    create_tables(mock_config)
    PipelineConfigRepository(mock_config).create(PipelineConfig(pipeline_id="daily"))
    return mock_config


def test_a_pipeline_is_found_by_id_and_in_the_list_of_active_ones(config: DynamoDBConfig) -> None:
    pipelines = PipelineConfigRepository(config)
    assert pipelines.get_by_pipeline_id("nobody") is None
    with pytest.raises(ItemNotFoundError, match="nobody"):
        pipelines.get_or_raise("nobody")
    with pytest.raises(ItemAlreadyExistsError, match="daily"):
        pipelines.create_pipeline_config(PipelineConfig(pipeline_id="daily"))
    assert [found.pipeline_id for found in pipelines.get_active_pipelines()] == ["daily"]
    assert not pipelines.update_pipeline_status("daily", False).is_active
    assert pipelines.get_active_pipelines() == []


def test_the_tables_of_a_pipeline_are_found_by_their_part(config: DynamoDBConfig) -> None:
    tables = TableConfigRepository(config)
    for table_id, table_type in (("raw", "source"), ("clean", "destination")):
        tables.create_table_config(
            TableConfig(
                table_id=table_id, pipeline_id="daily", table_type=table_type, location="/data"
            )
        )
    assert [found.table_id for found in tables.get_source_tables("daily")] == ["raw"]
    assert [found.table_id for found in tables.get_destination_tables("daily")] == ["clean"]
    assert tables.update_table_statistics("clean", record_count=7).record_count == 7


def test_a_run_is_recorded_from_its_start_to_its_end(config: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(config)
    with RunTracker(config).run("daily") as run:
        assert [found.run_id for found in runs.get_running_pipelines()] == [run.run_id]
        with pytest.raises(AlreadyRunningError, match=run.run_id):
            RunTracker(config).run("daily").__enter__()
    assert runs.get_or_raise(run.run_id).status is RunStatus.SUCCESS
    with pytest.raises(ZeroDivisionError), RunTracker(config).run("daily"):
        raise ZeroDivisionError
    assert [found.error_type for found in runs.get_failed_runs()] == ["ZeroDivisionError"]
