"""A run as a block of code: what is stored and what the caller sees, for each way to end."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    ItemNotFoundError,
    NoActiveRunError,
    PipelineInactiveError,
    RunFinishError,
    ValidationError,
)
from dynamodb_wrapper.models import PipelineConfig, RunStatus, StageInfo
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
)
from dynamodb_wrapper.runs import RunOptions, RunTracker, current_run
from tests.support.engines import recorded_operations
from tests.support.runs import abandoned, state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive", retention_days=7),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None),
        PipelineConfig(pipeline_id="inactive", is_active=False),
    ]


def run_that_raises(config: DynamoDBConfig, error: BaseException) -> tuple[str, BaseException]:
    """Run a body that raises; return the run and what came out."""
    run_id = ""
    try:
        with RunTracker(config).run("exclusive") as run:
            run_id = run.run_id
            raise error
    except BaseException as caught:
        return run_id, caught


def test_a_body_that_ends_is_a_success_and_frees_the_pipeline(tables: DynamoDBConfig) -> None:
    with RunTracker(tables).run("exclusive") as run:
        assert state(tables, "exclusive")["holder"] == {"S": run.run_id}
        assert stored(tables, run.run_id).status is RunStatus.RUNNING
    record = stored(tables, run.run_id)
    assert record.status is RunStatus.SUCCESS
    assert record.start_time is not None
    assert record.end_time is not None
    assert record.end_time >= record.start_time
    assert record.duration_seconds is not None
    held = state(tables, "exclusive")
    assert "holder" not in held
    assert held["last_run_id"] == held["last_ok_run_id"] == {"S": run.run_id}
    assert held["last_status"] == {"S": "success"}
    assert held["consecutive_failures"] == {"N": "0"}


def test_a_run_says_where_it_runs_and_with_which_configuration(
    local_tables: DynamoDBConfig,
) -> None:
    pipeline = PipelineConfigRepository(local_tables).get_or_raise("exclusive")
    with RunTracker(local_tables).run("exclusive", parameters={"day": "2013-01-01"}) as run:
        record = stored(local_tables, run.run_id)
    assert record.runtime.pid is not None
    assert record.runtime.host
    assert record.runtime.library_version == "0.1.0"
    assert record.config_hash == pipeline.config_hash
    assert record.pipeline_version == pipeline.version
    assert record.parameters == {"day": "2013-01-01"}
    assert record.environment == "dev"


def test_a_finished_run_expires_after_the_retention_of_its_pipeline(
    local_tables: DynamoDBConfig,
) -> None:
    with RunTracker(local_tables).run("exclusive") as run:
        assert stored(local_tables, run.run_id).expires_at is None
    record = stored(local_tables, run.run_id)
    assert record.end_time is not None
    assert record.expires_at == (record.end_time + timedelta(days=7)).replace(microsecond=0)


def test_an_exception_leaves_the_block_as_the_same_object(tables: DynamoDBConfig) -> None:
    cause, error = KeyError("cause"), ValueError("bad column")
    error.__cause__ = cause
    run_id, caught = run_that_raises(tables, error)
    assert caught is error
    assert caught.__cause__ is cause
    assert caught.__context__ is None
    assert not getattr(caught, "__notes__", [])
    record = stored(tables, run_id)
    assert record.status is RunStatus.FAILED
    assert record.status_reason == "exception"
    assert record.error_type == "ValueError"
    assert record.error is not None
    assert record.error.message == "bad column"
    assert "raise error" in (record.error.stack_head or "")
    assert state(tables, "exclusive")["consecutive_failures"] == {"N": "1"}
    assert "last_ok_run_id" not in state(tables, "exclusive")


def test_failures_in_a_row_are_counted_until_a_success(local_tables: DynamoDBConfig) -> None:
    for _ in range(3):
        run_that_raises(local_tables, ValueError())
    assert state(local_tables, "exclusive")["consecutive_failures"] == {"N": "3"}
    run_that_raises(local_tables, KeyboardInterrupt())
    assert state(local_tables, "exclusive")["consecutive_failures"] == {"N": "3"}
    with RunTracker(local_tables).run("exclusive"):
        pass
    assert state(local_tables, "exclusive")["consecutive_failures"] == {"N": "0"}


@pytest.mark.parametrize(
    ("error", "status", "reason", "exit_code"),
    [
        (KeyboardInterrupt(), RunStatus.CANCELLED, "user_cancel", None),
        (SystemExit(), RunStatus.SUCCESS, None, None),
        (SystemExit(0), RunStatus.SUCCESS, None, None),
        (SystemExit(3), RunStatus.FAILED, "process_exit", 3),
        (SystemExit("no input"), RunStatus.FAILED, "process_exit", 1),
        (GeneratorExit(), RunStatus.CANCELLED, "cancelled", None),
        (asyncio.CancelledError(), RunStatus.CANCELLED, "cancelled", None),
    ],
    ids=repr,
)
def test_each_way_out_has_its_status_and_stays_what_it_is(
    local_tables: DynamoDBConfig,
    error: BaseException,
    status: RunStatus,
    reason: str | None,
    exit_code: int | None,
) -> None:
    run_id, caught = run_that_raises(local_tables, error)
    record = stored(local_tables, run_id)
    assert caught is error
    assert (record.status, record.status_reason, record.exit_code) == (status, reason, exit_code)
    assert "holder" not in state(local_tables, "exclusive")


def test_a_closed_generator_is_a_cancelled_run(local_tables: DynamoDBConfig) -> None:
    def rows() -> Any:
        with RunTracker(local_tables).run("exclusive") as run:
            yield run.run_id
            yield "never"

    generator = rows()
    run_id = next(generator)
    generator.close()
    assert stored(local_tables, run_id).status is RunStatus.CANCELLED


def test_an_unknown_pipeline_is_refused_before_the_body(tables: DynamoDBConfig) -> None:
    entered = []
    with pytest.raises(ItemNotFoundError, match="'nobody'"), RunTracker(tables).run("nobody"):
        entered.append(True)
    assert not entered
    assert state(tables, "nobody") == {}


def test_an_inactive_pipeline_is_refused_unless_forced(tables: DynamoDBConfig) -> None:
    entered = []
    refused = pytest.raises(PipelineInactiveError, match="'inactive' is switched off")
    with refused, RunTracker(tables).run("inactive"):
        entered.append(True)
    assert not entered
    assert state(tables, "inactive") == {}
    with RunTracker(tables).run("inactive", options=RunOptions(force=True)) as run:
        entered.append(True)
    assert entered
    assert stored(tables, run.run_id).status is RunStatus.SUCCESS


def test_a_second_exclusive_start_is_refused_naming_the_holder(tables: DynamoDBConfig) -> None:
    held = abandoned(tables, "exclusive")
    with pytest.raises(AlreadyRunningError) as refusal, RunTracker(tables).run("exclusive"):
        pytest.fail("the body of a refused run was entered")
    assert refusal.value.holder == held.run_id
    assert held.run_id in str(refusal.value)
    assert "release('exclusive'" in str(refusal.value)
    assert refusal.value.since is not None
    assert refusal.value.host is not None
    assert refusal.value.last_heartbeat is not None
    assert not refusal.value.self_nested
    held.finish()
    assert stored(tables, held.run_id).status is RunStatus.SUCCESS


def test_a_run_inside_of_its_own_pipeline_is_refused_at_once(tables: DynamoDBConfig) -> None:
    waiting = RunOptions(on_conflict="wait", wait_seconds=3600)
    with RunTracker(tables).run("exclusive") as run:
        with pytest.raises(AlreadyRunningError) as refusal:
            RunTracker(tables).start("exclusive", options=waiting)
        assert refusal.value.holder == run.run_id
        assert refusal.value.self_nested
    assert stored(tables, run.run_id).status is RunStatus.SUCCESS


def test_runs_of_a_pipeline_without_limit_go_side_by_side(tables: DynamoDBConfig) -> None:
    with (
        RunTracker(tables).run("unlimited") as first,
        RunTracker(tables).run("unlimited") as second,
    ):
        assert first.fence is None
    held = state(tables, "unlimited")
    assert "holder" not in held
    assert "fence" not in held
    assert held["next_seq"] == {"N": "2"}
    assert held["last_run_id"] == {"S": second.run_id}


def test_an_older_run_that_ends_later_does_not_move_history_back(tables: DynamoDBConfig) -> None:
    older, newer = RunTracker(tables).run("unlimited"), RunTracker(tables).run("unlimited")
    older_run = older.__enter__()
    newer_run = newer.__enter__()
    failure = ValueError("newer fails")
    newer.__exit__(ValueError, failure, None)
    older.__exit__(None, None, None)
    held = state(tables, "unlimited")
    assert held["last_run_id"] == {"S": newer_run.run_id}
    assert held["last_status"] == {"S": "failed"}
    assert held["last_ok_run_id"] == {"S": older_run.run_id}


def test_the_fence_of_a_pipeline_only_grows(local_tables: DynamoDBConfig) -> None:
    fences = []
    for _ in range(5):
        with RunTracker(local_tables).run("exclusive") as run:
            fences.append(run.fence)
    assert fences == sorted(set(fences))


def test_a_nested_run_of_another_pipeline_is_a_child(local_tables: DynamoDBConfig) -> None:
    with RunTracker(local_tables).run("exclusive") as parent:
        with RunTracker(local_tables).run("unlimited") as child:
            assert current_run() is child
        assert current_run() is parent
    assert stored(local_tables, child.run_id).parent_run_id == parent.run_id


def test_outside_of_a_run_there_is_no_current_run() -> None:
    with pytest.raises(NoActiveRunError):
        contextvars.Context().run(current_run)


def test_release_ends_a_dead_holder_as_lost_and_lets_the_next_run_in(
    tables: DynamoDBConfig,
) -> None:
    dead = abandoned(tables, "exclusive")
    released = PipelineRunLogsRepository(tables).release("exclusive", reason="node was lost")
    assert released is not None
    assert released.run_id == dead.run_id
    assert released.status is RunStatus.LOST
    assert released.status_reason == "released"
    assert released.status_detail == "node was lost"
    assert released.end_time is not None
    assert released.detected_at is not None
    with RunTracker(tables).run("exclusive") as following:
        assert following.fence is not None
        assert dead.fence is not None
        assert following.fence > dead.fence
    assert PipelineRunLogsRepository(tables).release("exclusive", reason="again") is None


WRITES = {"BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"}


def test_start_and_end_of_an_exclusive_run_and_its_release_are_one_transaction_each(
    tables: DynamoDBConfig,
) -> None:
    client = client_for(tables)  # one client for all: a run has another for its end otherwise
    tracker = RunTracker(tables, client=client)
    with recorded_operations(client) as operations:
        with tracker.run("exclusive"):
            started = [name for name in operations if name in WRITES]
            operations.clear()
        ended = [name for name in operations if name in WRITES]
        abandoned(tables, "exclusive")
        operations.clear()
        tracker.release("exclusive", reason="gone")
        released = [name for name in operations if name in WRITES]
    assert started == ended == released == ["TransactWriteItems"]


def test_a_released_run_that_was_alive_stays_lost_and_raises(tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(tables)
    with (
        pytest.raises(RunFinishError, match="released") as told,
        RunTracker(tables).run("exclusive") as run,
    ):
        runs.release("exclusive", reason="looked dead")
    record = stored(tables, run.run_id)
    assert told.value.outcome == "success"
    assert record.status is RunStatus.LOST
    assert record.late_outcome == "success"
    assert "last_ok_run_id" not in state(tables, "exclusive")


def test_a_released_run_that_fails_keeps_its_own_exception(local_tables: DynamoDBConfig) -> None:
    error = ValueError("mine")
    with (
        pytest.raises(ValueError, match="mine") as caught,
        RunTracker(local_tables).run("exclusive"),
    ):
        PipelineRunLogsRepository(local_tables).release("exclusive", reason="looked dead")
        raise error
    assert caught.value is error
    assert len(caught.value.__notes__) == 1
    assert "ended as lost" in caught.value.__notes__[0]


def test_release_frees_a_pipeline_whose_holder_is_gone(tables: DynamoDBConfig) -> None:
    dead = abandoned(tables, "exclusive")
    client_for(tables).delete_item(
        TableName=tables.table_name("pipeline_run_logs"), Key={"run_id": {"S": dead.run_id}}
    )
    assert PipelineRunLogsRepository(tables).release("exclusive", reason="gone") is None
    assert "holder" not in state(tables, "exclusive")


def test_no_secret_of_the_process_is_stored_with_a_failure(local_tables: DynamoDBConfig) -> None:
    secret = "hunter2-hunter2-hunter2"
    config = local_tables.model_copy(
        update={"aws_secret_access_key": type(local_tables.aws_secret_access_key)(secret)}
    )
    client = client_for(local_tables)
    with (
        pytest.raises(RuntimeError),
        RunTracker(config, client=client).run(
            "exclusive", parameters={"note": f"key is {secret}"}
        ) as run,
    ):
        raise RuntimeError(f"cannot log in with {secret}")
    item = client.get_item(
        TableName=local_tables.table_name("pipeline_run_logs"), Key={"run_id": {"S": run.run_id}}
    )["Item"]
    assert secret not in repr(item)
    assert "***" in item["error"]["M"]["message"]["S"]


def test_texts_of_an_error_are_cut_to_their_limits(local_tables: DynamoDBConfig) -> None:
    run_id, _ = run_that_raises(local_tables, ValueError("é" * 500_000))
    record = stored(local_tables, run_id)
    assert record.error is not None
    assert len(record.error.message.encode()) <= 2048
    assert record.error.message.endswith("…[cut]")
    assert len((record.error.stack_head or "").encode()) <= 4096
    assert len((record.error.stack_tail or "").encode()) <= 4096


def test_an_exception_whose_text_cannot_be_read_is_a_failure_all_the_same(
    local_tables: DynamoDBConfig,
) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("broken")

    error = BrokenError()
    run_id, caught = run_that_raises(local_tables, error)
    assert caught is error
    assert stored(local_tables, run_id).status is RunStatus.FAILED


@pytest.mark.skipif(sys.version_info < (3, 11), reason="task groups come with 3.11")
def test_a_cancelled_task_is_a_cancelled_run(local_tables: DynamoDBConfig) -> None:
    async def work(found: list[str]) -> None:
        with RunTracker(local_tables).run("exclusive") as run:
            found.append(run.run_id)
            await asyncio.Event().wait()

    async def cancel_it() -> str:
        found: list[str] = []
        task = asyncio.create_task(work(found))
        while not found:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return found[0]

    run_id = asyncio.run(cancel_it())
    assert stored(local_tables, run_id).status is RunStatus.CANCELLED


def test_an_undecodable_file_name_in_an_exception_changes_nothing(
    local_tables: DynamoDBConfig,
) -> None:
    error = ValueError("bad file \udcff.csv")
    run_id, caught = run_that_raises(local_tables, error)
    assert caught is error
    record = stored(local_tables, run_id)
    assert record.status is RunStatus.FAILED
    assert record.error is not None
    assert record.error.message == "bad file ?.csv"
    assert "holder" not in state(local_tables, "exclusive")


def test_parameters_are_stored_as_json_can_say_them_and_cut_where_they_are_large(
    local_tables: DynamoDBConfig,
) -> None:
    given = {"day": date(2013, 1, 1), "password": "hunter2", "text": "y" * 100_000, "n": 0.5}
    with RunTracker(local_tables).run("unlimited", parameters=given) as run:
        pass
    kept = stored(local_tables, run.run_id).parameters
    assert kept["day"] == "2013-01-01"
    assert kept["password"] == "***"
    assert kept["n"] == 0.5
    assert len(kept["text"].encode()) <= 4096
    assert kept["text"].endswith("…[cut]")
    many = {f"parameter {number}": "z" * 4000 for number in range(100)}
    with RunTracker(local_tables).run("unlimited", parameters=many) as run:
        pass
    assert set(stored(local_tables, run.run_id).parameters) == {"[cut]"}


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_cannot_be_a_parameter_or_tag_is_refused_before_the_body(
    local_tables: DynamoDBConfig,
) -> None:
    many = {f"tag {number}": "x" for number in range(51)}
    with pytest.raises(ValidationError, match="50 are the limit"):
        RunTracker(local_tables).run("exclusive", tags=many).__enter__()
    with pytest.raises(ValidationError, match="'x' cannot be stored"):
        RunTracker(local_tables).run("exclusive", parameters={"x": Wordless()}).__enter__()
    with pytest.raises(ValidationError, match=r"'by hand'.*manual, schedule"):
        RunTracker(local_tables).run("exclusive", trigger="by hand")
    assert state(local_tables, "exclusive") == {}


def test_a_run_that_has_grown_too_large_ends_all_the_same(local_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    with pytest.raises(RuntimeError), RunTracker(local_tables).run("exclusive") as run:
        for number in range(99):
            runs.add_stage_info(run.run_id, f"stage {number}", StageInfo(error="x y " * 1020))
        raise RuntimeError("a b " * 5000)
    record = stored(local_tables, run.run_id)
    assert record.status is RunStatus.FAILED
    assert record.error_type == "RuntimeError"
    assert "holder" not in state(local_tables, "exclusive")


def test_a_dead_run_that_has_grown_too_large_can_be_released(
    local_tables: DynamoDBConfig,
) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    dead = abandoned(local_tables, "exclusive")
    with pytest.raises(ValidationError):
        for number in range(200):
            runs.add_stage_info(dead.run_id, f"stage {number}", StageInfo(error="x y " * 1020))
    with pytest.raises(ValidationError):
        for number in range(2000):
            runs.update_run_metrics(dead.run_id, {f"m{number}": "z" * 100})
    released = runs.release("exclusive", reason="r" * 1500)
    assert released is not None
    assert released.status is RunStatus.LOST
    assert "holder" not in state(local_tables, "exclusive")


def test_a_run_that_another_writer_ended_raises_with_its_end(local_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    with pytest.raises(RunFinishError, match="had ended as failed before") as told:
        with RunTracker(local_tables).run("exclusive") as run:
            runs.update_run_status(run.run_id, "failed")
    assert "release" not in str(told.value)
    assert stored(local_tables, run.run_id).status is RunStatus.FAILED


def test_a_run_expires_however_it_ends(local_tables: DynamoDBConfig) -> None:
    runs = PipelineRunLogsRepository(local_tables)
    dead = abandoned(local_tables, "exclusive")
    runs.release("exclusive", reason="gone")
    closed = abandoned(local_tables, "exclusive")
    runs.update_run_status(closed.run_id, "cancelled")
    for run in (dead, closed):
        assert stored(local_tables, run.run_id).expires_at is not None
