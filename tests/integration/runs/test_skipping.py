"""``on_conflict="skip"`` at every door: the run is stored as skipped, and the body does not run."""

from __future__ import annotations

import contextvars
import pickle
from typing import TYPE_CHECKING, Any, Callable

import pytest

from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    AlreadySucceededError,
    RunSkippedError,
)
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.repositories import PipelineConfigRepository, create_tables
from dynamodb_wrapper.runs import Run, RunOptions, RunTracker, find_current_run
from dynamodb_wrapper.spark import SparkDynamoDBIntegration
from tests.support.faults import access_denied, outage
from tests.support.runs import stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

SKIP = RunOptions(on_conflict="skip")


@pytest.fixture
def config(local_config: DynamoDBConfig) -> DynamoDBConfig:
    create_tables(local_config)
    pipelines = PipelineConfigRepository(local_config)
    pipelines.create(PipelineConfig(pipeline_id="p"))
    pipelines.create(PipelineConfig(pipeline_id="daily", max_concurrent_runs=None))
    return local_config


def _run(config: DynamoDBConfig, *args: Any, **kwargs: Any) -> None:
    with RunTracker(config).run(*args, **kwargs):
        pass


def _start(config: DynamoDBConfig, *args: Any, **kwargs: Any) -> None:
    RunTracker(config).start(*args, **kwargs).finish()


def _pipeline_run_context(config: DynamoDBConfig, *args: Any, **kwargs: Any) -> None:
    with SparkDynamoDBIntegration(config).pipeline_run_context(*args, **kwargs):
        pass


DOORS = pytest.mark.parametrize("door", [_run, _start, _pipeline_run_context])


def elsewhere(config: DynamoDBConfig, pipeline_id: str, **kwargs: Any) -> Run:
    """Start a run as another process would: it is not the current run here."""
    start = RunTracker(config).start
    return contextvars.Context().run(lambda: start(pipeline_id, **kwargs))


@DOORS
def test_a_pipeline_that_is_held_is_skipped_naming_the_holder(
    config: DynamoDBConfig, door: Callable[..., None]
) -> None:
    holder = elsewhere(config, "p")
    with pytest.raises(RunSkippedError, match="except RunSkippedError") as skipped:
        door(config, "p", tags={"team": "a"}, options=SKIP)
    error = skipped.value
    assert (error.pipeline_id, error.holder, error.succeeded_run_id) == ("p", holder.run_id, None)
    assert isinstance(error.__cause__, AlreadyRunningError)
    assert holder.run_id in str(error)
    assert str(error.run_id) in str(error)
    record = stored(config, str(error.run_id))
    assert (record.status, record.status_reason) == (RunStatus.SKIPPED, "concurrency_limit")
    assert (record.tags, record.writer) == ({"team": "a"}, None)
    assert find_current_run() is None
    holder.finish()
    door(config, "p", options=SKIP)
    assert len(RunTracker(config).runs.get_successful_runs(pipeline_id="p")) == 2


@DOORS
def test_a_run_key_that_has_succeeded_is_skipped_naming_the_run(
    config: DynamoDBConfig, door: Callable[..., None]
) -> None:
    done = elsewhere(config, "daily", run_key="monday")
    done.finish()
    with pytest.raises(RunSkippedError) as skipped:
        door(config, "daily", run_key="monday", options=SKIP)
    error = skipped.value
    assert (error.holder, error.succeeded_run_id) == (None, done.run_id)
    assert isinstance(error.__cause__, AlreadySucceededError)
    record = stored(config, str(error.run_id))
    assert (record.status, record.status_reason) == (RunStatus.SKIPPED, "already_succeeded")


@DOORS
def test_the_error_survives_pickling_with_what_it_names(
    config: DynamoDBConfig, door: Callable[..., None]
) -> None:
    holder = elsewhere(config, "p")
    with pytest.raises(RunSkippedError) as skipped:
        door(config, "p", options=SKIP)
    holder.finish()
    found = pickle.loads(pickle.dumps(skipped.value))
    assert type(found) is RunSkippedError
    assert found.__dict__ == skipped.value.__dict__


@DOORS
def test_a_run_that_cannot_be_stored_as_skipped_is_skipped_all_the_same(
    config: DynamoDBConfig, door: Callable[..., None]
) -> None:
    holder = elsewhere(config, "p")
    with outage(config, access_denied, "PutItem"):
        with pytest.raises(RunSkippedError, match="could not be stored") as skipped:
            door(config, "p", options=SKIP)
    holder.finish()
    assert (skipped.value.run_id, skipped.value.holder) == (None, holder.run_id)
    assert RunTracker(config).runs.get_runs_by_status(RunStatus.SKIPPED, pipeline_id="p") == []


def test_a_block_that_was_skipped_may_be_entered_again(config: DynamoDBConfig) -> None:
    block = RunTracker(config).run("p", options=SKIP)
    holder = elsewhere(config, "p")
    with pytest.raises(RunSkippedError), block:
        pytest.fail("the block was entered")
    holder.finish()
    with block as run:
        pass
    assert stored(config, run.run_id).status is RunStatus.SUCCESS


def test_a_function_passes_on_that_a_run_inside_of_it_was_skipped(config: DynamoDBConfig) -> None:
    tracker = RunTracker(config)
    errors: list[RunSkippedError] = []

    @tracker.pipeline("daily", options=SKIP)
    def job() -> None:
        try:
            tracker.start("p", options=SKIP)
        except RunSkippedError as skipped:
            errors.append(skipped)
            raise

    holder = elsewhere(config, "p")
    with pytest.raises(RunSkippedError) as raised:
        job()
    holder.finish()
    assert [raised.value] == errors
    (outer,) = tracker.runs.get_runs_by_pipeline("daily")
    assert outer.status is RunStatus.FAILED
