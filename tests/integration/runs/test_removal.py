"""Runs that have ended are deleted or expire, with all that is stored beside them."""

from __future__ import annotations

import logging
import os
import signal
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.conditions import Attr

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    AlreadySucceededError,
    ConditionFailedError,
    DynamoDBWrapperError,
    ItemNotFoundError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus, utc_now
from dynamodb_wrapper.repositories import PipelineRunLogsRepository
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.support.client_faults import lost_reply
from tests.support.runs import STEADY, abandoned, later, run_table_items, store_log_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

DEEP = 120
"""Frames of a stack trace that does not fit the run."""


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="kept", retention_days=None, **STEADY),
        PipelineConfig(
            pipeline_id="unlimited", max_concurrent_runs=None, retention_days=None, **STEADY
        ),
    ]


def a_run(config: DynamoDBConfig, pipeline_id: str = "kept", **how: Any) -> str:
    """Record a run with two tags, and log lines and a stack trace in items beside it."""

    def dig(depth: int) -> None:
        if depth % 2:
            dig_further(depth - 1)
        elif depth:
            dig(depth - 1)
        raise OSError("x" * 5000)

    def dig_further(depth: int) -> None:
        dig(depth)

    tags = {"team": "a", "day": "monday"}
    with pytest.raises(OSError), RunTracker(config).run(pipeline_id, tags=tags, **how) as run:
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
    for name in ("log#0003", "log#0004", "err#0002"):
        client.put_item(TableName=table, Item={"run_id": {"S": f"{run_id}#{name}"}})
    tracker.runs.delete(run_id)
    assert beside(local_tables, run_id) == []


def test_a_damaged_run_is_deleted_with_what_it_counts_within_reason(
    local_tables: DynamoDBConfig,
) -> None:
    runs, run_id = PipelineRunLogsRepository(local_tables), a_run(local_tables)
    client_for(local_tables).update_item(
        TableName=local_tables.table_name("pipeline_run_logs"),
        Key={"run_id": {"S": run_id}},
        UpdateExpression="SET #e.chunks = :billion, logs = :text, attempt = :text",
        ExpressionAttributeNames={"#e": "error"},
        ExpressionAttributeValues={":billion": {"N": "1000000000"}, ":text": {"S": "x"}},
    )
    assert runs.delete(run_id) is None  # it cannot be returned
    assert beside(local_tables, run_id) == []


def test_a_run_as_it_was_read_is_deleted_unless_it_has_changed(
    local_tables: DynamoDBConfig,
) -> None:
    runs, run_id = PipelineRunLogsRepository(local_tables), a_run(local_tables)
    before = runs.get_or_raise(run_id)
    runs.update(run_id, set={"notes": "look at the join"})
    with pytest.raises(VersionConflictError, match="Read it again"):
        runs.delete(before)
    assert len(beside(local_tables, run_id)) > 3
    assert runs.delete(runs.get_or_raise(run_id)) is not None


def test_a_condition_is_for_records_of_other_systems(local_tables: DynamoDBConfig) -> None:
    runs, run_id = PipelineRunLogsRepository(local_tables), a_run(local_tables)
    with pytest.raises(ValidationError, match="belongs to run control"):
        runs.delete(run_id, condition=Attr("status").eq("failed"))
    foreign = PipelineRunLog(pipeline_id="p", status="failed", tags={"team": "b"})
    runs.create_run_log(foreign)
    with pytest.raises(ConditionFailedError):
        runs.delete(foreign.run_id, condition=Attr("status").eq("success"))
    assert [run.run_id for run in runs.find_by_tag("team", "b")] == [foreign.run_id]
    assert runs.delete(foreign.run_id, condition=Attr("status").eq("failed")) is not None
    assert beside(local_tables, foreign.run_id) == []


@pytest.mark.parametrize("name", ["must_exist", "free_run_key"])
def test_a_text_is_no_flag(local_tables: DynamoDBConfig, name: str) -> None:
    flag: Any = {name: "false"}
    with pytest.raises(ValidationError, match=name):
        PipelineRunLogsRepository(local_tables).delete("r", **flag)


def test_a_deleted_run_that_comes_back_learns_that_it_no_longer_exists(
    local_tables: DynamoDBConfig,
) -> None:
    run = abandoned(local_tables, "kept")
    tracker = RunTracker(local_tables, clock=later(hours=5))
    tracker.reap()
    tracker.runs.delete(run.run_id)
    with pytest.raises(DynamoDBWrapperError, match="no longer exists"):
        run.finish()
    assert beside(local_tables, run.run_id) == []
    with RunTracker(local_tables).run("kept"):
        pass


@pytest.mark.parametrize(("free", "operation"), [(False, "Delete"), (True, "TransactWrite")])
def test_a_deletion_whose_reply_is_lost_returns_the_run(
    local_tables: DynamoDBConfig, free: bool, operation: str
) -> None:
    run_id = attempt(local_tables)
    runs = PipelineRunLogsRepository(local_tables)
    operation += "Items" if free else "Item"
    with lost_reply(client_for(local_tables), operation) as lost:
        deleted = runs.delete(run_id, free_run_key=free)
    assert len(lost) == 1
    assert deleted is not None
    assert deleted.run_id == run_id
    assert beside(local_tables, run_id) == []


# ---- run keys ------------------------------------------------------------------------------------


def attempt(config: DynamoDBConfig, *, fails: bool = False, rerun: bool = False) -> str:
    """Run the key ``monday``, and return the id of the run."""
    options = RunOptions(rerun=rerun)
    try:
        with RunTracker(config).run("kept", run_key="monday", options=options) as run:
            if fails:
                raise OSError
    except OSError:
        pass
    return run.run_id


def test_a_run_key_stays_covered_unless_it_is_freed(locking_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(locking_tables)
    runs.delete(attempt(locking_tables))
    with pytest.raises(AlreadySucceededError):
        attempt(locking_tables)
    second = attempt(locking_tables, rerun=True)
    runs.delete(second, free_run_key=True)
    with pytest.raises(AlreadySucceededError):
        attempt(locking_tables)  # the first run covers it, though its record is gone


def test_a_freed_run_key_is_run_as_if_it_had_never_been(locking_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(locking_tables)
    runs.delete(attempt(locking_tables), free_run_key=True)
    assert "#slot#kept#monday" not in run_table_items(locking_tables)
    again = runs.get_or_raise(attempt(locking_tables), consistent=True)
    assert (again.attempt, again.previous_run_id) == (1, None)


def test_a_run_key_is_freed_of_a_success_before_the_last_attempt(
    local_tables: DynamoDBConfig,
) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    success = attempt(local_tables)
    attempt(local_tables, fails=True, rerun=True)
    runs.delete(success, free_run_key=True)
    assert attempt(local_tables) is not None


def test_a_run_key_that_another_run_has_covered_since_stays_covered(
    local_tables: DynamoDBConfig,
) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    failure, success = attempt(local_tables, fails=True), attempt(local_tables)
    last = attempt(local_tables, rerun=True)
    for run_id in (failure, success):
        runs.delete(run_id, free_run_key=True)
    with pytest.raises(AlreadySucceededError) as covered:
        attempt(local_tables)
    assert covered.value.succeeded_run_id == last
    runs.delete(last, free_run_key=True)
    again = runs.get_or_raise(attempt(local_tables), consistent=True)
    assert again.attempt == 4


def free_and_start(config: DynamoDBConfig, pipe: Any, run_id: str) -> None:
    """Delete a run, freeing its key, and run the key again, all at the same moment."""
    pipe.send("ready")
    pipe.recv()
    PipelineRunLogsRepository(config).delete(run_id, free_run_key=True)
    try:
        with RunTracker(config).run("unlimited", run_key="monday") as run:
            pass
    except (AlreadyRunningError, AlreadySucceededError):
        pipe.send(None)
    else:
        pipe.send(run.run_id)


def test_several_processes_delete_a_run_and_run_its_key_again_once(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    with RunTracker(locking_tables).run("unlimited", run_key="monday") as run:
        logging.getLogger("my").warning("a line")
    started = [drivers.fork(free_and_start, locking_tables, run_id=run.run_id) for _ in range(4)]
    assert {driver.hear() for driver in started} == {"ready"}
    for driver in started:
        driver.tell("go")
    found = [driver.hear() for driver in started]
    (winner,) = [run_id for run_id in found if run_id is not None]
    items = run_table_items(locking_tables)
    assert set(items) == {"#pipeline#unlimited", "#slot#unlimited#monday", winner}
    assert items["#slot#unlimited#monday"]["success_run_id"] == winner


# ---- expiry --------------------------------------------------------------------------------------


def expiries(config: DynamoDBConfig, run_id: str) -> set[Any]:
    items = run_table_items(config)
    return {items[key].get("expires_at") for key in beside(config, run_id)}


def test_a_run_expires_with_all_that_is_beside_it(locking_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(locking_tables)
    run_id = a_run(locking_tables)
    assert expiries(locking_tables, run_id) == {None}
    before = utc_now()
    expiring = runs.expire(run_id, timedelta(days=3))
    assert expiring.expires_at is not None
    assert timedelta(0) <= expiring.expires_at - (before + timedelta(days=3, seconds=-1))
    assert expiries(locking_tables, run_id) == {int(expiring.expires_at.timestamp())}
    assert len(runs.get_log_lines(run_id)) == 2
    runs.expire(run_id, timedelta(0))
    assert runs.get_by_run_id(run_id) is None
    assert runs.find_by_tag("team", "a") == []
    assert runs.expire(run_id, None).expires_at is None  # TTL has not deleted it yet
    assert expiries(locking_tables, run_id) == {None}
    assert len(runs.find_by_tag("team", "a")) == 1


def test_a_run_that_has_expired_can_still_be_deleted(local_tables: DynamoDBConfig) -> None:
    runs, run_id = PipelineRunLogsRepository(local_tables), a_run(local_tables)
    runs.expire(run_id, timedelta(0))
    assert runs.delete(run_id) is None
    assert beside(local_tables, run_id) == []


@pytest.mark.parametrize(
    "after", [30, timedelta(days=-1), timedelta(days=40_000), "30 days"], ids=repr
)
def test_what_is_no_time_from_now_is_refused(local_tables: DynamoDBConfig, after: Any) -> None:
    with pytest.raises(ValidationError, match="after is"):
        PipelineRunLogsRepository(local_tables).expire("r", after)


def test_a_run_that_does_not_exist_does_not_expire(local_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    with pytest.raises(ItemNotFoundError, match="no run 'r'"):
        runs.expire("r", None)
    with pytest.raises(ValidationError, match="item of run control"):
        runs.expire("#pipeline#kept", None)
    assert run_table_items(local_tables) == {}


# ---- cut off -------------------------------------------------------------------------------------

MOMENTS = {"before": "before-send.dynamodb", "after": "response-received.dynamodb"}


def remove_in_children(config: DynamoDBConfig, pipe: Any) -> None:
    """Fork a child for each order: it removes a run, and is killed at one of its requests."""
    client = client_for(config)
    PipelineRunLogsRepository(config, client=client).get("warm")
    client.close()
    pipe.send("ready")
    for verb, run_id, moment, number in iter(pipe.recv, None):
        child = os.fork()
        if child == 0:
            requests = count(1)

            def die(**_: Any) -> None:
                if next(requests) == number:  # noqa: B023 - called in this child only
                    os.kill(os.getpid(), signal.SIGKILL)

            client.meta.events.register(MOMENTS[moment], die)
            remove(PipelineRunLogsRepository(config, client=client), verb, run_id)
            os._exit(0)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def remove(runs: PipelineRunLogsRepository, verb: str, run_id: str) -> None:
    if verb == "delete":
        runs.delete(run_id, free_run_key=True)
    else:
        runs.expire(run_id, timedelta(days=3))


def killed_at_each_request(
    drivers: Drivers, config: DynamoDBConfig, verb: str, new_run: Callable[[], str]
) -> Iterator[str]:
    """Kill a process at each request by which it removes a run; yield each of the runs."""
    parent = drivers.fork(remove_in_children, config)
    assert parent.hear() == "ready"
    for moment in MOMENTS:
        for number in count(1):
            run_id = new_run()
            parent.tell((verb, run_id, moment, number))
            code = parent.hear()
            yield run_id
            if code == 0:  # it had made all its requests
                break
            assert code == -signal.SIGKILL


def with_uncounted_pieces(config: DynamoDBConfig, run_id: str) -> str:
    for name in ("log#0003", "log#0004"):
        client_for(config).put_item(
            TableName=config.table_name("pipeline_run_logs"),
            Item={"run_id": {"S": f"{run_id}#{name}"}},
        )
    return run_id


@pytest.mark.slow
def test_a_deletion_that_is_killed_is_ended_by_the_same_call(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    runs, keys = PipelineRunLogsRepository(local_tables), count(1)

    def new_run() -> str:
        run_id = a_run(local_tables, run_key=f"day-{next(keys)}")
        return with_uncounted_pieces(local_tables, run_id)

    for run_id in killed_at_each_request(drivers, local_tables, "delete", new_run):
        remove(runs, "delete", run_id)
        assert list(run_table_items(local_tables)) == ["#pipeline#kept"]
    assert next(keys) > 15


@pytest.mark.slow
def test_an_expiry_that_is_killed_is_ended_by_the_same_call(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    run_id = with_uncounted_pieces(local_tables, a_run(local_tables))
    names, killed = beside(local_tables, run_id), count()

    def new_run() -> str:
        runs.expire(run_id, None)
        assert expiries(local_tables, run_id) == {None}
        return run_id

    for _ in killed_at_each_request(drivers, local_tables, "expire", new_run):
        remove(runs, "expire", run_id)
        assert beside(local_tables, run_id) == names
        assert len(expiries(local_tables, run_id)) == 1
        next(killed)
    assert next(killed) > 20
