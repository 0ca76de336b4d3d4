"""Handles of runs that have ended, or that a forked child was born with: they take nothing more."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

import pytest
from pydantic import SecretStr

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    DynamoDBWrapperError,
    LeaseLostError,
    NoActiveRunError,
    ValidationError,
)
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.runs import Run, RunTracker, find_current_run
from tests.support.engines import recorded_operations
from tests.support.processes import in_a_thread
from tests.support.runs import STEADY, beat, lease_ok, record_of, state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers


WRITES: dict[str, Callable[[Run], Any]] = {
    "metric": lambda run: run.log_metric("late", 1),
    "metrics": lambda run: run.log_metrics({"late": 1}),
    "rows": lambda run: run.log_rows(read=1),
    "quality": lambda run: run.log_quality("late", True),
    "inputs": lambda run: run.log_inputs("late"),
    "output": lambda run: run.log_output("late", rows=1),
    "stage": lambda run: run.stage("late").__enter__(),
    "skip": lambda run: run.skip("late"),
    "watermark": lambda run: run.advance_watermark("late", 1),
    "delta": lambda run: run.delta_txn_options(),
}


# ---- after the end -------------------------------------------------------------------------------


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive", **STEADY),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None, **STEADY),
    ]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_ended_run_refuses_what_would_be_lost(
    tracker: RunTracker, write: Callable[[Run], Any]
) -> None:
    run = tracker.start("exclusive")
    run.finish()
    before = record_of(tracker, run)
    with pytest.raises(
        NoActiveRunError, match=f"{run.run_id} .*has already ended \\(success\\)"
    ) as refusal:
        write(run)
    assert (refusal.value.run_id, refusal.value.pipeline_id) == (run.run_id, "exclusive")
    assert record_of(tracker, run) == before


def test_a_stage_refuses_figures_after_the_end_too(tracker: RunTracker) -> None:
    run = tracker.start("exclusive")
    stage = run.stage("s").__enter__()
    run.fail(ValueError("bad data"))
    for late in (lambda: stage.log_rows(read=1), lambda: stage.log_metric("m", 1), stage.skip):
        with pytest.raises(NoActiveRunError, match=r"already ended \(failed\)"):
            late()


def test_a_block_whose_run_has_ended_goes_on_and_its_calls_say_so(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", 1)
        run.finish()
        with pytest.raises(NoActiveRunError):
            run.advance_watermark("position", 2)
        with pytest.raises(NoActiveRunError):
            run.log_metric("late", 1)
    record = record_of(tracker, run)
    assert record.status is RunStatus.SUCCESS
    assert record.metrics == {}
    assert tracker.watermark("exclusive", "position") == 1


def test_the_lease_of_an_ended_run_holds_no_more_and_is_not_renewed(
    local_tables: DynamoDBConfig,
) -> None:
    client = client_for(local_tables)
    run = RunTracker(local_tables, client=client).start("exclusive")
    assert lease_ok(run)
    run.finish()
    with recorded_operations(client) as operations:
        assert not lease_ok(run)
        assert not beat(run)
        with pytest.raises(LeaseLostError, match=r"already ended \(success\).*Write no more"):
            run.check_lease()
        with pytest.raises(LeaseLostError, match=r"already ended \(success\)"):
            run.fence_table(None, "/no/table")
    assert operations == []


def test_a_stage_that_outlives_its_run_lets_the_exception_of_the_body_go_on(
    tracker: RunTracker,
) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught, tracker.run("exclusive") as run:
        with run.stage("last"):
            run.finish()
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert record_of(tracker, run).status is RunStatus.SUCCESS


def test_what_a_thread_records_while_the_run_ends_is_stored_or_refused(
    tracker: RunTracker,
) -> None:
    run = tracker.start("exclusive")
    taken: list[int] = []
    some = threading.Event()

    def record() -> None:
        for number in range(100_000):
            try:
                run.log_metric(f"m{number}", number)
            except NoActiveRunError:
                return
            taken.append(number)
            if number == 5:
                some.set()

    thread = threading.Thread(target=record)
    thread.start()
    some.wait()
    run.finish()
    thread.join()
    metrics = record_of(tracker, run).metrics
    assert metrics == {f"m{number}": number for number in taken}


def test_a_watermark_a_thread_moves_while_the_run_ends_is_committed_or_refused(
    tracker: RunTracker,
) -> None:
    run = tracker.start("exclusive")
    taken: list[int] = []
    some = threading.Event()

    def advance() -> None:
        for number in range(10_000_000):
            try:
                run.advance_watermark("position", number)
            except NoActiveRunError:
                return
            taken.append(number)
            if number == 5:
                some.set()

    thread = threading.Thread(target=advance)
    thread.start()
    some.wait()
    run.finish()
    thread.join()
    assert tracker.watermark("exclusive", "position") == taken[-1]


# ---- ended elsewhere -----------------------------------------------------------------------------


def test_a_run_ended_in_another_thread_is_not_the_current_one_any_more(
    tracker: RunTracker,
) -> None:
    first = tracker.start("exclusive")
    in_a_thread(first.finish)
    assert find_current_run() is None
    second = tracker.start("exclusive")
    assert second.record.parent_run_id is None
    assert find_current_run() is second
    second.finish()


def test_a_run_whose_child_ended_in_another_thread_is_the_current_one_again(
    tracker: RunTracker,
) -> None:
    with tracker.run("exclusive") as parent:
        child = tracker.start("unlimited")
        in_a_thread(child.finish)
        assert find_current_run() is parent


def test_a_task_that_outlives_the_block_it_was_made_in_is_inside_of_no_run(
    tracker: RunTracker,
) -> None:
    async def outlive() -> Run:
        block_is_over = asyncio.Event()

        async def work() -> Run:
            await block_is_over.wait()
            with tracker.run("exclusive") as run:
                return run

        with tracker.run("exclusive"):
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
        block_is_over.set()
        return await task

    run = asyncio.run(outlive())
    record = record_of(tracker, run)
    assert (record.status, record.parent_run_id) == (RunStatus.SUCCESS, None)


# ---- in a forked child ---------------------------------------------------------------------------


def answer_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except DynamoDBWrapperError as error:
        return type(error).__name__, str(error)


def fork_while_recording(config: DynamoDBConfig, pipe: Any) -> None:
    """Fork while a thread is sending a metric; return the answers of the child."""
    sending, go_on = threading.Event(), threading.Event()

    def wait(**_: Any) -> None:
        sending.set()
        go_on.wait()

    with RunTracker(config).run("exclusive") as run:
        pipe.send((run.run_id, os.getpid()))
        run.watermark("position")
        client = client_for(config.impatient())
        client.meta.events.register_first("before-send.dynamodb.UpdateItem", wait)
        thread = threading.Thread(target=run.log_metric, args=("parent", 1))
        thread.start()
        sending.wait()
        child = os.fork()
        if child == 0:
            writes = {name: answer_of(partial(write, run)) for name, write in WRITES.items()}
            read = answer_of(lambda: run.watermark("position"))
            lease = answer_of(run.check_lease)
            pipe.send((lease_ok(run), beat(run), lease, read, writes))
            os._exit(0)
        os.waitpid(child, 0)
        go_on.set()
        thread.join()


def test_a_forked_child_has_no_part_in_the_run(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(fork_while_recording, local_tables)
    run_id, pid = driver.hear()
    lease_ok, beat, lease, read, writes = driver.hear()
    assert (lease_ok, beat) == (False, False)
    assert lease[0] == "LeaseLostError"
    assert {kind for kind, _ in (read, *writes.values())} == {"NoActiveRunError"}
    for _, told in (lease, read, *writes.values()):
        assert f"Run {run_id} of pipeline 'exclusive' belongs to process {pid}" in told
        assert "cannot use the run" in told
    assert driver.exit_code() == 0
    record = stored(local_tables, run_id)
    assert record.metrics == {"parent": 1}
    assert (record.status, record.stages, record.watermarks) == (RunStatus.SUCCESS, {}, {})


def fork_inside_a_stage(config: DynamoDBConfig, pipe: Any) -> None:
    with RunTracker(config).run("exclusive") as run:
        try:
            with run.stage("s"):
                child = os.fork()
                if child == 0:
                    raise KeyError("of the child")
                os.waitpid(child, 0)
        except KeyError:
            pipe.send("the exception of the child")
            os._exit(0)
    pipe.send(run.run_id)


def test_a_stage_left_by_a_forked_child_is_still_the_parents(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(fork_inside_a_stage, local_tables)
    assert driver.hear() == "the exception of the child"
    run_id = driver.hear()
    assert stored(local_tables, run_id).stages["s"].status == "success"


# ---- what cannot leave the process ---------------------------------------------------------------


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy], ids=["pickled", "copied"])
def test_what_belongs_to_a_process_says_what_to_pass_instead(
    local_tables: DynamoDBConfig, copied: Callable[[Any], Any]
) -> None:
    secret = "hunter2-hunter2-hunter2"
    config = local_tables.model_copy(update={"aws_secret_access_key": SecretStr(secret)})
    tracker = RunTracker(config, client=client_for(local_tables))
    context = tracker.run("exclusive", parameters={"password": secret})
    with context as run:
        stage = run.stage("s")
        told = {
            "its config": tracker,
            "RunTracker(config).run": context,
            "its run_id": run,
            run.run_id: stage,
        }
        for instead, thing in told.items():
            with pytest.raises(ValidationError, match="cannot be pickled") as refusal:
                copied(thing)
            assert instead in str(refusal.value)
            assert secret not in str(refusal.value)
    assert state(local_tables, "exclusive")["last_status"] == {"S": "success"}
