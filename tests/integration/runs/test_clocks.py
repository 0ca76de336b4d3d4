"""Drivers and observers whose clocks are wrong: a run that beats stays, a dead one is found."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import AlreadyRunningError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus, utc_now
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.runs import RunTracker
from tests.support.processes import eventually
from tests.support.runs import QUICK, abandoned, later, plain_client, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

MINUTES = (-15, 0, 15)
WAYS = ("start", "reap", "auto_reap")
FAR = ((-15, 15), (15, -15))


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    """A pipeline with the usual leases for each clock."""
    names = [f"clock-{minutes % 60}" for minutes in MINUTES]
    return [PipelineConfig(pipeline_id=name) for name in names]


def set_clock(minutes: float) -> None:
    """Set the clock of this process, as the library and the logs read it."""
    true = time.time
    time.time = lambda: true() + 60 * minutes


def hold(config: DynamoDBConfig, pipe: Any, minutes: float, pipeline_id: str) -> None:
    """Hold a run until told to end it."""
    set_clock(minutes)
    with RunTracker(config).run(pipeline_id) as run:
        pipe.send((run.run_id, time.time()))
        pipe.recv()


def attack(config: DynamoDBConfig, pipe: Any, minutes: float, pipeline_ids: list[str]) -> None:
    """Try to start each pipeline, and reap; tell what was in the way, and what was reaped."""
    set_clock(minutes)
    tracker = RunTracker(config)
    holders = []
    for pipeline_id in pipeline_ids:
        try:
            tracker.start(pipeline_id)
        except AlreadyRunningError as error:
            holders.append(error.holder)
    overdue = [run.run_id for run in tracker.runs.get_running_pipelines() if run.is_overdue]
    pipe.send((holders, [run.run_id for run in tracker.reap()], overdue))


def find(config: DynamoDBConfig, pipe: Any, minutes: float, number: int, way: str) -> None:
    """Take over, or reap, the run of a pipeline as soon as that is possible; tell when."""
    set_clock(minutes)
    found: list[PipelineRunLog] = []
    tracker = RunTracker(
        config,
        auto_reap=way == "auto_reap",
        hooks=[lambda event: found.append(event.run) if event.kind == "lost" else None],
    )
    observer = tracker.start(f"observer-{number}") if way == "auto_reap" else None
    pipe.send("looks")
    while not found:
        if way == "start":
            try:
                tracker.start(f"short-{number}").finish()
            except AlreadyRunningError:
                time.sleep(0.1)
        elif way == "reap":
            tracker.reap(environment=f"env-{number}")
            time.sleep(0.1)
        else:
            time.sleep(0.1)
    pipe.send(([run.run_id for run in found], time.monotonic()))
    if observer is not None:
        observer.finish()


@pytest.mark.newest_only
def test_a_run_with_the_usual_lease_is_left_alone_whatever_the_clocks(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    names = [f"clock-{minutes % 60}" for minutes in MINUTES]
    holders = [
        drivers.fork(hold, local_tables, minutes=minutes, pipeline_id=name)
        for minutes, name in zip(MINUTES, names)
    ]
    began = [holder.hear() for holder in holders]
    run_ids = [run_id for run_id, _ in began]
    for minutes, (run_id, shown) in zip(MINUTES, began):
        assert abs(shown - time.time() - 60 * minutes) < 60  # its clock was wrong
        run = stored(local_tables, run_id)
        assert run.lease_until is not None
        left = (run.lease_until - utc_now()).total_seconds()
        assert 30 < left < 92, minutes  # and its lease is right
        assert run.clock_error_seconds is not None
    attackers = [
        drivers.fork(attack, local_tables, minutes=minutes, pipeline_ids=names)
        for minutes in MINUTES
    ]
    assert [attacker.hear() for attacker in attackers] == [(run_ids, [], [])] * len(MINUTES)
    for holder in holders:
        holder.tell(None)
        assert holder.exit_code() == 0
    assert {stored(local_tables, run_id).status for run_id in run_ids} == {RunStatus.SUCCESS}


@pytest.mark.slow
@pytest.mark.newest_only
def test_a_beating_run_is_left_alone_and_a_dead_one_is_found(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    pipelines = PipelineConfigRepository(local_tables)
    cases = [(way, holders, observers) for way in WAYS for holders, observers in FAR]
    for number, _ in enumerate(cases):
        short = {"environment": f"env-{number}", **QUICK}
        pipelines.create(PipelineConfig(pipeline_id=f"short-{number}", **short))
        free = {"max_concurrent_runs": None, **short}
        pipelines.create(PipelineConfig(pipeline_id=f"observer-{number}", **free))
    holders = [
        drivers.fork(hold, local_tables, minutes=minutes, pipeline_id=f"short-{number}")
        for number, (_, minutes, _) in enumerate(cases)
    ]
    run_ids = [holder.hear()[0] for holder in holders]
    observers = [
        drivers.fork(find, local_tables, minutes=minutes, number=number, way=way)
        for number, (way, _, minutes) in enumerate(cases)
    ]
    assert [observer.hear() for observer in observers] == ["looks"] * len(cases)
    until = time.monotonic() + 6  # longer than lease and grace
    while time.monotonic() < until:
        runs = [stored(local_tables, run_id) for run_id in run_ids]
        assert [run.status for run in runs] == [RunStatus.RUNNING] * len(cases)
        time.sleep(0.2)
    for holder in holders:
        holder.kill()
    killed = time.monotonic()
    for case, run_id, observer in zip(cases, run_ids, observers):
        found, when = observer.hear()
        assert found == [run_id], case
        assert when - killed < 5 + 5, case  # lease, grace and one beat; a busy machine besides
        lost = stored(local_tables, run_id)
        assert lost.status is RunStatus.LOST
        assert lost.lease_until is None
        assert lost.clock_error_seconds is None


# ---- without a date ------------------------------------------------------------------------------


def unmark(config: DynamoDBConfig, run_id: str) -> None:
    """Leave the lease of a run as an older version of the library writes it."""
    plain_client(config).update_item(
        TableName=config.table_name("pipeline_run_logs"),
        Key={"run_id": {"S": run_id}},
        UpdateExpression="REMOVE clock_error_seconds",
    )


@pytest.mark.newest_only
def test_a_lease_of_an_older_version_is_left_alone_by_one_look(
    local_tables: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    run = abandoned(local_tables, "clock-0")
    unmark(local_tables, run.run_id)
    assert RunTracker(local_tables, clock=later(hours=23)).reap() == []
    assert [run.run_id in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(AlreadyRunningError):
        RunTracker(local_tables, clock=later(hours=23)).start("clock-0")
    (lost,) = RunTracker(local_tables, clock=later(hours=25)).reap()
    assert lost.run_id == run.run_id


@pytest.mark.newest_only
def test_a_beat_after_the_clock_was_set_right_is_stored(local_tables: DynamoDBConfig) -> None:
    ahead = timedelta(minutes=10)
    clock = [ahead]
    tracker = RunTracker(local_tables, clock=lambda: datetime.now(timezone.utc) + clock[0])
    with tracker.run("clock-0") as run:
        first = stored(local_tables, run.run_id)
        clock[0] = timedelta()
        assert run.beat()
        second = stored(local_tables, run.run_id)
        assert first.heartbeat_at is not None
        assert second.heartbeat_at is not None
        assert second.heartbeat_at < first.heartbeat_at - ahead / 2


@pytest.mark.slow
@pytest.mark.newest_only
def test_a_lease_of_an_older_version_is_over_once_it_was_seen_unchanged(
    local_tables: DynamoDBConfig,
) -> None:
    PipelineConfigRepository(local_tables).create(PipelineConfig(pipeline_id="short", **QUICK))
    dead = abandoned(local_tables, "short")
    unmark(local_tables, dead.run_id)
    tracker, began = RunTracker(local_tables), time.monotonic()
    (lost,) = eventually(tracker.reap)
    assert lost.run_id == dead.run_id
    assert time.monotonic() - began > 4
