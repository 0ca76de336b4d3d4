"""Many at once: one exclusive run enters, no stage is lost."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import AlreadyRunningError
from dynamodb_wrapper.models import PipelineConfig, RunStatus, StageInfo
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from dynamodb_wrapper.runs import RunTracker
from tests.engines import Capability

if TYPE_CHECKING:
    from tests.engines import Engine

PROCESSES = 50


def start_once(settings: dict[str, Any], begin: Any, tried: Any, leave: Any, replies: Any) -> None:
    """Start the exclusive pipeline; the winner stays inside until everybody has tried."""
    config = DynamoDBConfig.for_local_development(**settings)
    begin.wait()
    try:
        with RunTracker(config).run("exclusive") as run:
            replies.put(("entered", run.run_id))
            tried.release()
            leave.wait()
    except AlreadyRunningError as refusal:
        replies.put(("refused", refusal.holder))
        tried.release()
    except BaseException as error:
        replies.put(("broken", f"{type(error).__name__}: {error}"))
        tried.release()


def test_of_fifty_processes_released_together_one_enters_and_the_others_name_it(
    local_config: DynamoDBConfig,
) -> None:
    create_tables(local_config)
    PipelineConfigRepository(local_config).create(PipelineConfig(pipeline_id="exclusive"))
    settings = {
        "endpoint_url": local_config.endpoint_url,
        "table_prefix": local_config.table_prefix,
    }
    spawn = multiprocessing.get_context("spawn")
    begin, tried = spawn.Barrier(PROCESSES), spawn.Semaphore(0)
    leave, replies = spawn.Event(), spawn.Queue()
    processes = [
        spawn.Process(target=start_once, args=(settings, begin, tried, leave, replies))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for _ in range(PROCESSES):
        tried.acquire()
    leave.set()
    answers = [replies.get() for _ in range(PROCESSES)]
    for process in processes:
        process.join()
    entered = [run_id for kind, run_id in answers if kind == "entered"]
    assert len(entered) == 1
    assert [answer for answer in answers if answer[0] == "broken"] == []
    assert {holder for kind, holder in answers if kind == "refused"} == set(entered)
    runs = PipelineRunLogsRepository(local_config).get_runs_by_pipeline("exclusive")
    assert [(run.run_id, run.status) for run in runs] == [(entered[0], RunStatus.SUCCESS)]


@pytest.fixture
def running(config: DynamoDBConfig) -> Any:
    """A run of a fresh pipeline on each engine."""
    create_tables(config)
    PipelineConfigRepository(config).create(PipelineConfig(pipeline_id="exclusive"))
    with RunTracker(config).run("exclusive") as run:
        yield run.run_id


def test_twenty_threads_that_add_stages_leave_twenty_stages(
    config: DynamoDBConfig, running: str, engine: Engine
) -> None:
    engine.require(Capability.ATOMIC_WRITES)
    runs = PipelineRunLogsRepository(config)
    barrier = threading.Barrier(20)
    troubles: list[BaseException] = []

    def add(number: int) -> None:
        barrier.wait()
        try:
            runs.add_stage_info(running, f"stage {number}", StageInfo(records_read=number))
            runs.update_run_metrics(running, {f"metric {number}": number})
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = runs.get_or_raise(running, consistent=True)
    assert not troubles, engine.name
    assert {name: stage.records_read for name, stage in record.stages.items()} == {
        f"stage {number}": number for number in range(20)
    }
    assert record.metrics == {f"metric {number}": number for number in range(20)}
