"""Runs that have ended are deleted, or given a date of expiry, with all that is stored beside them."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    AlreadySucceededError,
    DynamoDBWrapperError,
    ItemNotFoundError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories import PipelineRunLogsRepository
from dynamodb_wrapper.runs import RunTracker
from tests.support.runs import STEADY, abandoned, later, run_table_items, store_log_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig

DEEP = 400
"""Frames of a stack trace that does not fit the run."""


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="kept", retention_days=None, **STEADY),
        PipelineConfig(pipeline_id="default", **STEADY),
    ]


def a_run(config: DynamoDBConfig, pipeline_id: str = "kept", **how: Any) -> str:
    """Record a run with log lines, a stack trace in items beside it, and two tags."""

    def dig(depth: int) -> None:
        if depth:
            return dig(depth - 1) if depth % 2 else descend(depth)
        raise OSError("x" * 5000)

    def descend(depth: int) -> None:
        dig(depth - 1)

    tracker = RunTracker(config)
    with (
        pytest.raises(OSError),
        tracker.run(  # noqa: PT011 - the run's own
            pipeline_id, tags={"team": "a", "day": "monday"}, **how
        ) as run,
    ):
        logging.getLogger("my").warning("the first line")
        store_log_lines(run)
        logging.getLogger("my").warning("the second line")
        dig(DEEP)
    return run.run_id


def beside(config: DynamoDBConfig, run_id: str) -> list[str]:
    return sorted(key for key in run_table_items(config) if key.startswith(run_id))


# ---- delete --------------------------------------------------------------------------------------


def test_a_deleted_run_leaves_nothing_beside_it(locking_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(locking_tables)
    run_id = a_run(locking_tables)
    kinds = {key.removeprefix(run_id) for key in beside(locking_tables, run_id)}
    assert kinds >= {"", "#log#0001", "#log#0002", "#err#0001", "#tag#team", "#tag#day"}
    deleted = runs.delete(run_id)
    assert deleted is not None
    assert deleted.status is RunStatus.FAILED
    assert list(run_table_items(locking_tables)) == ["#pipeline#kept"]
    assert runs.delete(run_id) is None
    assert runs.find_by_tag("team", "a") == []
    with pytest.raises(ItemNotFoundError):
        runs.delete(run_id, must_exist=True)
    with RunTracker(locking_tables).run("kept"):
        pass


def test_a_live_run_is_neither_deleted_nor_expired(locking_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(locking_tables)
    with tracker.run("kept", tags={"team": "a"}) as run:
        logging.getLogger("my").warning("a line")
        store_log_lines(run)
        before = beside(locking_tables, run.run_id)
        for refused in (
            lambda: tracker.runs.delete(run.run_id),
            lambda: tracker.runs.expire(run.run_id, timedelta(days=1)),
            lambda: tracker.runs.delete_many([run.run_id]),
        ):
            with pytest.raises(ValidationError, match=r"is running.*cancel.*reap.*release"):
                refused()
        assert beside(locking_tables, run.run_id) == before
        assert tracker.runs.get_or_raise(run.run_id, consistent=True).expires_at is None
    assert tracker.runs.delete(run.run_id) is not None


def test_each_way_out_that_the_refusal_names_ends_the_run(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    runs = tracker.runs
    released = abandoned(local_tables, "kept").run_id
    tracker.release("kept", reason="dead")
    reaped = abandoned(local_tables, "kept").run_id
    RunTracker(local_tables, clock=later(hours=5)).reap()
    for run_id in (released, reaped):
        assert runs.delete(run_id) is not None
    assert list(run_table_items(local_tables)) == ["#pipeline#kept"]


def test_pieces_that_the_run_does_not_count_are_deleted_as_well(
    local_tables: DynamoDBConfig,
) -> None:
    """A driver that dies between storing a piece and noting it leaves such pieces."""
    tracker, run_id = RunTracker(local_tables), a_run(local_tables)
    client, table = client_for(local_tables), local_tables.table_name("pipeline_run_logs")
    for name in ("log#0003", "log#0004", "err#0003"):
        client.put_item(TableName=table, Item={"run_id": {"S": f"{run_id}#{name}"}})
    tracker.runs.delete(run_id)
    assert beside(local_tables, run_id) == ["" for _ in ()]


class Cut(Exception):
    """The process that deletes ends here."""


@pytest.fixture
def cut_after(local_tables: DynamoDBConfig) -> Iterator[Any]:
    """A function that lets so many writes through; the one after them is not sent."""
    left = [10**6]

    def count(model: Any, **_: Any) -> None:
        if model.name not in ("GetItem", "BatchGetItem", "Query"):
            left[0] -= 1
            if left[0] < 0:
                raise Cut

    events = client_for(local_tables).meta.events
    events.register("before-call.dynamodb", count)
    yield lambda number: left.__setitem__(0, number)
    events.unregister("before-call.dynamodb", count)
