"""Many at once: one exclusive run enters, no stage is lost."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import AlreadyRunningError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus, StageInfo
from dynamodb_wrapper.repositories import PipelineConfigRepository, PipelineRunLogsRepository
from dynamodb_wrapper.runs import RunTracker
from tests.support.engines import Capability
from tests.support.faults import outage, passed
from tests.support.runs import abandoned, later, state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine
    from tests.support.processes import Drivers

PROCESSES = 50


def start_and_wait(config: DynamoDBConfig, pipe: Any) -> None:
    """Begin a run and never end it."""
    run = RunTracker(config).start("exclusive")
    pipe.send(run.record)
    pipe.recv()


def start_once(config: DynamoDBConfig, pipe: Any, begin: Any, hours: float) -> None:
    """Start the pipeline when all are ready; one that enters stays inside until it may leave."""
    client_for(config)
    begin.wait()
    try:
        with RunTracker(config, clock=later(hours=hours)).run("exclusive") as run:
            pipe.send(("entered", run.run_id))
            pipe.recv()
    except AlreadyRunningError as refusal:
        pipe.send(("refused", refusal.holder))
    except BaseException as error:
        pipe.send(("broken", repr(error)))


def answers_of_racers(config: DynamoDBConfig, drivers: Drivers, hours: float = 0) -> list[Any]:
    """Let 50 processes start the pipeline at once; return what came of each."""
    begin = multiprocessing.get_context("forkserver").Barrier(PROCESSES)
    racers = [drivers.fork(start_once, config, begin=begin, hours=hours) for _ in range(PROCESSES)]
    answers = [racer.hear() for racer in racers]
    for racer, (kind, _) in zip(racers, answers):
        if kind == "entered":
            racer.tell("leave")
        assert racer.exit_code() == 0
    return answers


def assert_one_entered(answers: list[Any]) -> str:
    """Return the run of the one that entered; all others were refused and name it."""
    assert [answer for answer in answers if answer[0] == "broken"] == []
    (winner,) = [run_id for kind, run_id in answers if kind == "entered"]
    refused = [holder for kind, holder in answers if kind == "refused"]
    assert refused == [winner] * (PROCESSES - 1)
    return str(winner)


def runs_of(config: DynamoDBConfig) -> dict[str, PipelineRunLog]:
    found = PipelineRunLogsRepository(config).get_runs_by_pipeline("exclusive")
    return {run.run_id: stored(config, run.run_id) for run in found}


def test_of_fifty_processes_released_together_one_enters_and_the_others_name_it(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    winner = assert_one_entered(answers_of_racers(local_tables, drivers))
    runs = runs_of(local_tables)
    assert {run_id: run.status for run_id, run in runs.items()} == {winner: RunStatus.SUCCESS}
    assert "holder" not in state(local_tables, "exclusive")


@pytest.mark.newest_only
@pytest.mark.slow
def test_of_fifty_processes_one_takes_over_a_dead_run_and_the_others_name_it(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(start_and_wait, locking_tables)
    dead = driver.hear()
    driver.kill()
    winner = assert_one_entered(answers_of_racers(locking_tables, drivers, hours=1))
    runs = runs_of(locking_tables)
    assert {run_id: run.status for run_id, run in runs.items()} == {
        dead.run_id: RunStatus.LOST,
        winner: RunStatus.SUCCESS,
    }
    assert runs[dead.run_id].superseded_by == winner
    assert dead.fence is not None
    assert (runs[winner].fence or 0) > dead.fence
    assert state(locking_tables, "exclusive")["fence"] == {"N": str(runs[winner].fence)}


@pytest.fixture
def running(tables: DynamoDBConfig) -> Any:
    """A run on each engine in turn."""
    with RunTracker(tables).run("exclusive") as run:
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


# ---- a pipeline that gets a limit while runs of it are live --------------------------------------


def drive_unlimited(config: DynamoDBConfig, pipe: Any) -> None:
    """Hold a run of the pipeline without a limit until a message comes."""
    with RunTracker(config).run("unlimited") as run:
        pipe.send(run.run_id)
        pipe.recv()


def made_exclusive(config: DynamoDBConfig) -> None:
    PipelineConfigRepository(config).put(PipelineConfig(pipeline_id="unlimited"))


def test_a_pipeline_made_exclusive_starts_once_its_earlier_runs_have_ended(
    tables: DynamoDBConfig, drivers: Drivers
) -> None:
    one, other = (drivers.fork(drive_unlimited, tables) for _ in range(2))
    live = {one.hear(), other.hear()}
    made_exclusive(tables)
    tracker = RunTracker(tables)
    for run_key in (None, "day"):
        with pytest.raises(AlreadyRunningError, match="was made exclusive") as refused:
            tracker.start("unlimited", run_key=run_key)
        assert refused.value.holder in live
    for driver in (one, other):
        driver.tell("leave")
        assert driver.exit_code() == 0
    with tracker.run("unlimited") as run:
        assert run.fence is not None
        assert state(tables, "unlimited")["holder"] == {"S": run.run_id}


def test_a_pipeline_made_exclusive_takes_over_from_earlier_runs_that_are_dead(
    local_tables: DynamoDBConfig,
) -> None:
    dead = [abandoned(local_tables, "unlimited") for _ in range(2)]
    made_exclusive(local_tables)
    with RunTracker(local_tables, clock=later(hours=1)).run("unlimited") as run:
        for one in dead:
            record = stored(local_tables, one.run_id)
            assert (record.status, record.superseded_by) == (RunStatus.LOST, run.run_id)


def test_only_the_first_exclusive_start_looks_for_earlier_runs(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    for _ in range(2):
        with tracker.run("unlimited"):
            pass
    made_exclusive(local_tables)
    queries = []
    for pipeline_id in ("exclusive", "exclusive", "unlimited", "unlimited"):
        with outage(local_tables, passed) as calls, tracker.run(pipeline_id):
            pass
        queries.append(calls.count("Query"))
        assert len(calls) <= 6 + calls.count("Query")
    assert queries == [0, 0, 1, 0]
