"""Drivers that die, and drivers only thought dead: who holds the pipeline, and what counts."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import AlreadyRunningError, DynamoDBWrapperError, RunFinishError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunEvent, RunOptions, RunTracker
from tests.support.processes import eventually
from tests.support.runs import QUICK, item, later, state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Driver, Drivers

WAIT = RunOptions(on_conflict="wait", wait_seconds=120)
LATER = later(hours=1)


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    """Two pipelines whose dead runs are found soon, and one with long leases."""
    return [
        PipelineConfig(pipeline_id="exclusive", **QUICK),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None, **QUICK),
        PipelineConfig(pipeline_id="patient", max_runtime=timedelta(hours=1)),
    ]


def drive(config: DynamoDBConfig, pipe: Any, pipeline_id: str, run_key: str | None = None) -> None:
    """Hold a run, move its watermark for each number received, end it on None."""
    try:
        with RunTracker(config).run(pipeline_id, run_key=run_key) as run:
            pipe.send(run.run_id)
            for number in iter(pipe.recv, None):
                run.advance_watermark("count", number)
    except DynamoDBWrapperError as error:
        pipe.send(error)
    else:
        pipe.send("ended")


def started(
    drivers: Drivers, config: DynamoDBConfig, pipeline_id: str, **given: Any
) -> tuple[Driver, str]:
    """Start a driver and return it with the id of its run."""
    driver = drivers.fork(drive, config, pipeline_id=pipeline_id, **given)
    run_id = driver.hear()
    assert isinstance(run_id, str), run_id
    return driver, run_id


def killed(
    drivers: Drivers, config: DynamoDBConfig, pipeline_id: str, **given: Any
) -> PipelineRunLog:
    """Return the run of a driver that was killed, as it is stored after that."""
    driver, run_id = started(drivers, config, pipeline_id, **given)
    driver.kill()
    return stored(config, run_id)


def has_beaten(run: PipelineRunLog) -> bool:
    return run.heartbeat_at is not None and run.heartbeat_at != run.start_time


# ---- the driver dies -----------------------------------------------------------------------------


def test_the_next_start_takes_over_from_a_driver_that_was_killed(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver, dead = started(drivers, locking_tables, "exclusive")
    eventually(lambda: has_beaten(stored(locking_tables, dead)))
    driver.kill()
    last = stored(locking_tables, dead)
    assert last.lease_until is not None
    assert last.heartbeat_at is not None
    assert last.lease_until - last.heartbeat_at == timedelta(seconds=3)
    with RunTracker(locking_tables).run("exclusive", options=WAIT) as successor:
        assert state(locking_tables, "exclusive")["holder"] == {"S": successor.run_id}
        assert successor.fence is not None
        assert last.fence is not None
        assert successor.fence > last.fence
    lost = stored(locking_tables, dead)
    assert (lost.status, lost.status_reason) == (RunStatus.LOST, "superseded")
    assert lost.superseded_by == successor.run_id
    assert lost.end_time == last.heartbeat_at
    assert lost.detected_at is not None
    assert lost.detected_at > last.lease_until + timedelta(seconds=1)
    assert lost.lease_until is None
    assert stored(locking_tables, successor.run_id).status is RunStatus.SUCCESS


def test_a_killed_driver_is_in_the_way_while_its_lease_lasts(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    dead = killed(drivers, locking_tables, "patient")
    with pytest.raises(AlreadyRunningError, match=str(dead.runtime.pid)) as refusal:
        RunTracker(locking_tables).start("patient")
    assert refusal.value.holder == dead.run_id
    assert not refusal.value.self_nested
    assert RunTracker(locking_tables).reap() == []
    assert stored(locking_tables, dead.run_id) == dead


def test_the_time_of_a_run_that_waited_begins_when_it_is_let_in(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver, holder = started(drivers, local_tables, "patient")
    threading.Timer(0.3, driver.tell, [None]).start()
    with RunTracker(local_tables).run("patient", options=WAIT) as run:
        waited = stored(local_tables, run.run_id)
    left = stored(local_tables, holder).end_time
    assert waited.start_time is not None
    assert left is not None
    assert waited.start_time > left
    assert waited.deadline == waited.start_time + timedelta(hours=1)


def test_a_takeover_notifies_the_hooks_and_counts_as_a_failure(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    dead = killed(drivers, locking_tables, "exclusive")
    events: list[RunEvent] = []
    run = RunTracker(locking_tables, clock=LATER, hooks=[events.append]).start("exclusive")
    assert state(locking_tables, "exclusive")["consecutive_failures"] == {"N": "1"}
    run.finish()
    assert [(event.kind, event.run_id) for event in events] == [
        ("lost", dead.run_id),
        ("started", run.run_id),
        ("finished", run.run_id),
    ]
    assert state(locking_tables, "exclusive")["consecutive_failures"] == {"N": "0"}


def test_the_next_start_of_an_unlimited_pipeline_reaps_the_dead_run(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    dead = killed(drivers, locking_tables, "unlimited")
    with RunTracker(locking_tables).run("unlimited"):
        assert stored(locking_tables, dead.run_id).status is RunStatus.RUNNING
    with RunTracker(locking_tables, clock=LATER).run("unlimited"):
        lost = stored(locking_tables, dead.run_id)
    assert (lost.status, lost.status_reason) == (RunStatus.LOST, "heartbeat_lost")
    assert lost.end_time == dead.heartbeat_at
    assert lost.superseded_by is None


@pytest.mark.parametrize("pipeline_id", ["exclusive", "unlimited"])
def test_the_run_key_of_a_dead_run_can_be_taken(
    locking_tables: DynamoDBConfig, drivers: Drivers, pipeline_id: str
) -> None:
    dead = killed(drivers, locking_tables, pipeline_id, run_key="2013-01-01")
    with RunTracker(locking_tables, clock=LATER).run(pipeline_id, run_key="2013-01-01") as run:
        again = stored(locking_tables, run.run_id)
    assert (again.attempt, again.previous_run_id) == (2, dead.run_id)
    assert stored(locking_tables, dead.run_id).status is RunStatus.LOST
    slot = item(locking_tables, f"#slot#{pipeline_id}#2013-01-01")
    assert slot["status"] == {"S": "success"}
    assert slot["success_run_id"] == {"S": run.run_id}


def test_the_run_key_of_a_live_run_of_an_unlimited_pipeline_cannot_be_taken(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver, live = started(drivers, locking_tables, "unlimited", run_key="2013-01-01")
    with pytest.raises(AlreadyRunningError, match="2013-01-01") as refusal:
        RunTracker(locking_tables).start("unlimited", run_key="2013-01-01")
    assert refusal.value.holder == live
    driver.tell(None)
    assert driver.hear() == "ended"


def test_taking_over_for_another_run_key_gives_the_dead_runs_key_back(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    dead = killed(drivers, locking_tables, "exclusive", run_key="2013-01-01")
    with RunTracker(locking_tables, clock=LATER).run("exclusive", run_key="2013-01-02"):
        slot = item(locking_tables, "#slot#exclusive#2013-01-01")
        assert slot["status"] == {"S": "lost"}
        assert slot["last_run_id"] == {"S": dead.run_id}
    with RunTracker(locking_tables).run("exclusive", run_key="2013-01-01") as run:
        assert stored(locking_tables, run.run_id).attempt == 2


# ---- reaping -------------------------------------------------------------------------------------


def test_reaping_ends_a_dead_run_and_frees_its_pipeline_and_its_run_key(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    dead = killed(drivers, locking_tables, "exclusive", run_key="2013-01-01")
    (reaped,) = RunTracker(locking_tables, clock=LATER).reap()
    lost = stored(locking_tables, dead.run_id)
    assert reaped == lost
    assert (lost.status, lost.status_reason) == (RunStatus.LOST, "heartbeat_lost")
    assert lost.end_time == dead.heartbeat_at
    assert lost.detected_at is not None
    assert lost.superseded_by is None
    assert "holder" not in state(locking_tables, "exclusive")
    assert item(locking_tables, "#slot#exclusive#2013-01-01")["status"] == {"S": "lost"}
    with RunTracker(locking_tables).run("exclusive") as following:
        assert following.fence is not None
        assert dead.fence is not None
        assert following.fence > dead.fence


def test_reaping_twice_changes_nothing(locking_tables: DynamoDBConfig, drivers: Drivers) -> None:
    dead = killed(drivers, locking_tables, "exclusive")
    tracker = RunTracker(locking_tables, clock=LATER)
    assert [run.run_id for run in tracker.reap()] == [dead.run_id]
    run, pipeline = item(locking_tables, dead.run_id), state(locking_tables, "exclusive")
    assert tracker.reap() == []
    assert RunStore.of(locking_tables).reap(dead.run_id, now=LATER()) is None
    assert item(locking_tables, dead.run_id) == run
    assert state(locking_tables, "exclusive") == pipeline


def test_a_dry_run_of_reaping_tells_and_changes_nothing(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    dead = killed(drivers, locking_tables, "exclusive")
    run, pipeline = item(locking_tables, dead.run_id), state(locking_tables, "exclusive")
    found = RunTracker(locking_tables, clock=LATER).reap(dry_run=True)
    assert [run.run_id for run in found] == [dead.run_id]
    assert item(locking_tables, dead.run_id) == run
    assert state(locking_tables, "exclusive") == pipeline


def test_reaping_leaves_a_run_alone_whose_driver_lives(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver, live = started(drivers, local_tables, "exclusive")
    dead = killed(drivers, local_tables, "unlimited")
    reaped = eventually(RunTracker(local_tables).reap)  # by now the first lease of both has run out
    assert [run.run_id for run in reaped] == [dead.run_id]
    driver.tell(None)
    assert driver.hear() == "ended"
    assert stored(local_tables, live).status is RunStatus.SUCCESS


# ---- thought dead --------------------------------------------------------------------------------


def test_a_reaped_run_that_comes_back_ends_as_what_it_came_to(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver, run_id = started(drivers, locking_tables, "exclusive", run_key="2013-01-01")
    driver.tell(7)
    driver.signal(signal.SIGSTOP)
    assert [run.run_id for run in RunTracker(locking_tables, clock=LATER).reap()] == [run_id]
    driver.tell(None)
    driver.signal(signal.SIGCONT)
    assert driver.hear() == "ended"
    record, pipeline = stored(locking_tables, run_id), state(locking_tables, "exclusive")
    assert record.status is RunStatus.SUCCESS
    assert record.late_finish
    assert RunTracker(locking_tables).watermark("exclusive", "count") == 7
    assert item(locking_tables, "#slot#exclusive#2013-01-01")["status"] == {"S": "success"}
    assert "holder" not in pipeline
    assert pipeline["last_ok_run_id"] == {"S": run_id}
    assert pipeline["last_status"] == {"S": "success"}
    assert pipeline["consecutive_failures"] == {"N": "0"}


def test_a_reaped_run_of_an_unlimited_pipeline_ends_late_beside_later_runs(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver, run_id = started(drivers, locking_tables, "unlimited")
    driver.signal(signal.SIGSTOP)
    with RunTracker(locking_tables, clock=LATER).run("unlimited"):
        assert stored(locking_tables, run_id).status is RunStatus.LOST
        driver.tell(None)
        driver.signal(signal.SIGCONT)
        assert driver.hear() == "ended"
    record = stored(locking_tables, run_id)
    assert record.status is RunStatus.SUCCESS
    assert record.late_finish


@pytest.mark.parametrize("goes_on", [True, False], ids=["successor at work", "successor done"])
def test_a_superseded_run_that_comes_back_stays_lost_and_raises(
    locking_tables: DynamoDBConfig, drivers: Drivers, goes_on: bool
) -> None:
    driver, run_id = started(drivers, locking_tables, "exclusive", run_key="2013-01-01")
    driver.tell(1000)
    driver.signal(signal.SIGSTOP)
    successor = RunTracker(locking_tables, clock=LATER).start("exclusive", run_key="2013-01-01")
    successor.advance_watermark("count", 7)
    if not goes_on:
        successor.finish()
    before = state(locking_tables, "exclusive")
    driver.tell(None)
    driver.signal(signal.SIGCONT)
    refusal = driver.hear()
    assert isinstance(refusal, RunFinishError)
    assert (refusal.run_id, refusal.outcome) == (run_id, "success")
    assert successor.run_id in str(refusal)
    record = stored(locking_tables, run_id)
    assert (record.status, record.late_outcome) == (RunStatus.LOST, "success")
    assert record.superseded_by == successor.run_id
    assert not record.late_finish
    assert state(locking_tables, "exclusive") == before
    if goes_on:
        successor.finish()
    assert stored(locking_tables, successor.run_id).status is RunStatus.SUCCESS
    assert RunTracker(locking_tables).watermark("exclusive", "count") == 7
    slot = item(locking_tables, "#slot#exclusive#2013-01-01")
    assert slot["success_run_id"] == {"S": successor.run_id}
