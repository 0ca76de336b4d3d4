"""A run whose driver was killed, as every list shows it before anything has ended it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus, RunSummary
from dynamodb_wrapper.runs import RunTracker
from tests.support.processes import eventually
from tests.support.runs import QUICK, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

LISTS: dict[str, Callable[[RunTracker], list[RunSummary]]] = {
    "pipeline": lambda tracker: tracker.runs.get_runs_by_pipeline("daily"),
    "status": lambda tracker: tracker.runs.get_runs_by_status("running"),
    "status of pipeline": lambda tracker: tracker.runs.get_runs_by_status(
        "running", pipeline_id="daily"
    ),
    "recent": lambda tracker: [
        run for run in tracker.runs.get_recent_runs() if run.pipeline_id == "daily"
    ],
    "running": lambda tracker: tracker.runs.get_running_pipelines(),
    "tag": lambda tracker: tracker.runs.find_by_tag("team", "sales"),
    "external id": lambda tracker: tracker.runs.find_by_external_id("job-1"),
    "children": lambda tracker: tracker.runs.children("parent-1"),
    "latest": lambda tracker: [run for run in [tracker.runs.latest("daily")] if run],
}


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    """A pipeline whose leases are short."""
    return [PipelineConfig(pipeline_id="daily", **QUICK)]


def drive(config: DynamoDBConfig, pipe: Any) -> None:
    """Hold a run until told to end it."""
    given = {"tags": {"team": "sales"}, "external_id": "job-1", "parent": "parent-1"}
    with RunTracker(config).run("daily", **given) as run:
        pipe.send(run.run_id)
        pipe.recv()


def test_every_list_shows_that_a_run_is_overdue(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    tracker = RunTracker(local_tables)
    elsewhere = PipelineRunLog(
        run_id="parent-1", pipeline_id="orchestrator", status=RunStatus.SUCCESS
    )
    tracker.runs.create_run_log(elsewhere)
    driver = drivers.fork(drive, local_tables)
    run_id = driver.hear()
    for name, runs in LISTS.items():
        (run,) = runs(tracker)
        assert (name, run.run_id, run.is_overdue) == (name, run_id, False)
    driver.kill()
    last = stored(local_tables, run_id)
    eventually(lambda: stored(local_tables, run_id).is_overdue)
    for name, runs in LISTS.items():
        (run,) = runs(tracker)
        assert (name, run.run_id, run.is_overdue) == (name, run_id, True)
        assert (run.status, run.heartbeat_at) == (RunStatus.RUNNING, last.heartbeat_at)
        assert run.lease_until == last.lease_until
    assert tracker.statistics("daily").overdue == (run_id,)
    (lost,) = eventually(tracker.reap)  # DynamoDB's clock is known to a second or two
    assert lost.run_id == run_id
    for name in ("pipeline", "recent", "tag", "external id", "children", "latest"):
        (run,) = LISTS[name](tracker)
        assert (name, run.status, run.is_overdue) == (name, RunStatus.LOST, False)
        assert run.lease_until is None
    for name in ("status", "status of pipeline", "running"):
        assert LISTS[name](tracker) == []
    assert tracker.statistics("daily").overdue == ()


def test_a_run_that_beats_is_never_overdue(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("daily") as run:
        began = stored(local_tables, run.run_id)
        eventually(lambda: stored(local_tables, run.run_id).lease_until != began.lease_until)
        latest = tracker.runs.latest("daily")
        assert latest is not None
        assert latest.heartbeat_at is not None
        assert not latest.is_overdue
    ended = tracker.runs.latest("daily")
    assert ended is not None
    assert (ended.status, ended.is_overdue, ended.lease_until) == (RunStatus.SUCCESS, False, None)


def test_records_of_other_systems_are_never_overdue(local_tables: DynamoDBConfig) -> None:
    runs = RunTracker(local_tables).runs
    record = runs.create_run_log(PipelineRunLog(run_id="imported", pipeline_id="daily"))
    (found,) = runs.get_runs_by_pipeline("daily")
    assert (found.run_id, found.status) == (record.run_id, RunStatus.RUNNING)
    assert (found.is_overdue, found.lease_until) == (False, None)
