"""Mistakes of a caller, of a hook, of a clock: refused clearly, and the real outcome is stored."""

from __future__ import annotations

import gc
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import AlreadyRunningError, ValidationError
from dynamodb_wrapper.models import PipelineConfig, RunStatus, utc_now
from dynamodb_wrapper.runs import RunEvent, RunTracker
from tests.support.runs import STEADY, abandoned, lease_ok, record_of, state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


# ---- reasons and errors --------------------------------------------------------------------------


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive", **STEADY),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None, **STEADY),
    ]


@pytest.mark.parametrize("reason", [FileNotFoundError("none"), None, 3], ids=repr)
def test_a_reason_to_skip_that_is_no_text_is_refused_and_the_run_ends_as_failed(
    local_tables: DynamoDBConfig, reason: Any
) -> None:
    refused = pytest.raises(ValidationError, match=rf"{type(reason).__name__}.*run\.skip\(str")
    with refused as refusal, RunTracker(local_tables).run("exclusive") as run:
        run.skip(reason)
    record = stored(local_tables, run.run_id)
    assert record.status is RunStatus.FAILED
    assert record.error is not None
    assert record.error.message == str(refusal.value)
    assert "holder" not in state(local_tables, "exclusive")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "an exception, not None"),
        ("boom", r"not a str: wrap it"),
        (ValueError, r"the class ValueError: make one, such as ValueError\('why'\)"),
    ],
    ids=["None", "text", "class"],
)
def test_a_failure_without_an_exception_is_refused_and_the_run_stays_open(
    tracker: RunTracker, given: Any, told: str
) -> None:
    run = tracker.start("exclusive")
    with pytest.raises(ValidationError, match=told) as refusal:
        run.fail(given)
    assert "boom" not in str(refusal.value)
    assert lease_ok(run)
    assert record_of(tracker, run).status is RunStatus.RUNNING
    run.fail(ValueError("bad data"))
    assert record_of(tracker, run).status is RunStatus.FAILED


# ---- bugs while a run ends -----------------------------------------------------------------------


class BrokenClock:
    """A clock that raises once it is broken."""

    is_broken = False

    def __call__(self) -> datetime:
        if self.is_broken:
            raise ArithmeticError("the clock is broken")
        return utc_now()


def test_a_clock_that_breaks_keeps_no_success_from_being_stored(
    local_tables: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    clock = BrokenClock()
    with RunTracker(local_tables, clock=clock).run("exclusive") as run:
        run.advance_watermark("position", 7)
        clock.is_broken = True
    record = stored(local_tables, run.run_id)
    assert (record.status, record.end_time is not None) == (RunStatus.SUCCESS, True)
    assert RunTracker(local_tables).watermark("exclusive", "position") == 7
    assert "holder" not in state(local_tables, "exclusive")
    assert "the clock is broken" in caplog.text


def test_a_clock_that_breaks_keeps_no_failure_from_being_stored(
    local_tables: DynamoDBConfig,
) -> None:
    clock, error = BrokenClock(), KeyError("mine")
    with (
        pytest.raises(KeyError) as caught,
        RunTracker(local_tables, clock=clock).run("exclusive") as run,
    ):
        clock.is_broken = True
        raise error
    assert caught.value is error
    record = stored(local_tables, run.run_id)
    assert (record.status, record.error_type) == (RunStatus.FAILED, "KeyError")
    assert "holder" not in state(local_tables, "exclusive")


class Unreadable(str):
    """A text that cannot be read."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        raise ArithmeticError("no bytes")

    def __str__(self) -> str:
        raise ArithmeticError("no text")

    def replace(self, *_: Any) -> str:
        raise ArithmeticError("nothing to replace")


def test_a_reason_to_skip_that_cannot_be_read_keeps_no_run_from_ending(
    local_tables: DynamoDBConfig,
) -> None:
    with RunTracker(local_tables).run("exclusive") as run:
        run.skip(Unreadable("none"))
    record = stored(local_tables, run.run_id)
    assert (record.status, record.status_reason) == (RunStatus.SKIPPED, "nothing_to_do")
    assert "holder" not in state(local_tables, "exclusive")


# ---- the stage an exception came out of ----------------------------------------------------------


class CustomError(Exception):
    """An exception written in Python: weak references to it can be had."""


@pytest.mark.parametrize("kind", [KeyError, CustomError])
def test_an_exception_that_was_caught_names_no_stage_for_a_later_one(
    tracker: RunTracker, kind: type[Exception]
) -> None:
    with pytest.raises(kind), tracker.run("exclusive") as run:
        try:
            with run.stage("optional"):
                raise kind
        except kind as caught:
            place = id(caught)
        gc.collect()
        later = [kind() for _ in range(1000)]  # one of them most likely lies where that one did
        raise next((error for error in later if id(error) == place), later[0])
    error = record_of(tracker, run).error
    assert error is not None
    assert error.stage is None


@pytest.mark.parametrize("kind", [KeyError, CustomError])
def test_an_exception_is_named_by_its_stage_however_many_were_caught_meanwhile(
    tracker: RunTracker, kind: type[Exception]
) -> None:
    with pytest.raises(kind), tracker.run("exclusive") as run:
        for number in range(20):
            with pytest.raises(kind), run.stage(f"optional-{number}"):
                raise kind
        with run.stage("outer"), run.stage("inner"):
            raise kind
    error = record_of(tracker, run).error
    assert error is not None
    assert error.stage == "inner"


# ---- blocks --------------------------------------------------------------------------------------


def test_a_block_cannot_be_entered_twice_at_once(local_tables: DynamoDBConfig) -> None:
    block = RunTracker(local_tables).run("unlimited")
    with block as run:
        with pytest.raises(ValidationError, match="entered and not left"), block:
            pytest.fail("the block was entered twice")
        assert stored(local_tables, run.run_id).status is RunStatus.RUNNING
    assert stored(local_tables, run.run_id).status is RunStatus.SUCCESS
    assert state(local_tables, "unlimited")["next_seq"] == {"N": "1"}


def test_a_block_can_be_entered_again_once_it_was_left(local_tables: DynamoDBConfig) -> None:
    block = RunTracker(local_tables).run("exclusive")
    with pytest.raises(KeyError), block as first:
        raise KeyError
    with block as second:
        pass
    assert [stored(local_tables, run.run_id).status for run in (first, second)] == [
        RunStatus.FAILED,
        RunStatus.SUCCESS,
    ]


def test_a_block_that_could_not_begin_can_be_entered_later(local_tables: DynamoDBConfig) -> None:
    held, block = abandoned(local_tables, "exclusive"), RunTracker(local_tables).run("exclusive")
    with pytest.raises(AlreadyRunningError), block:
        pytest.fail("the body of a refused run was entered")
    held.finish()
    with block as run:
        pass
    assert stored(local_tables, run.run_id).status is RunStatus.SUCCESS


# ---- hooks ---------------------------------------------------------------------------------------


def test_a_hook_that_changes_its_event_changes_nothing_else(
    local_tables: DynamoDBConfig,
) -> None:
    seen: list[Any] = []

    def tamper(event: RunEvent) -> None:
        event.run.writer = None
        event.run.tags["team"] = "other"
        event.run.status = RunStatus.LOST

    def look(event: RunEvent) -> None:
        seen.append((event.run.writer is not None, event.run.tags, event.run.status))

    tracker = RunTracker(local_tables, hooks=[tamper, look])
    with tracker.run("exclusive", tags={"team": "mine"}) as run:
        run.log_metric("m", 1)
    record = stored(local_tables, run.run_id)
    assert (record.status, record.metrics, record.tags) == (
        RunStatus.SUCCESS,
        {"m": 1},
        {"team": "mine"},
    )
    assert seen == [
        (True, {"team": "mine"}, RunStatus.RUNNING),
        (True, {"team": "mine"}, RunStatus.SUCCESS),
    ]


# ---- at the same time ----------------------------------------------------------------------------


class Meanwhile(int):
    """A number that something else happens after, when it is read first."""

    thread: threading.Thread

    def __int__(self) -> int:
        if self.thread.ident is None:
            self.thread.start()
            self.thread.join(0.2)
        return int.__int__(self)


def test_a_watermark_two_threads_move_never_goes_back(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", 1)
        value = Meanwhile(5)
        value.thread = threading.Thread(target=run.advance_watermark, args=("position", 7))
        run.advance_watermark("position", value)
        value.thread.join()
    assert tracker.watermark("exclusive", "position") == 7


def test_a_metric_whose_sending_is_interrupted_is_stored_with_the_end(
    local_tables: DynamoDBConfig,
) -> None:
    def press(**_: Any) -> None:
        client.meta.events.unregister("before-send.dynamodb.UpdateItem", press)
        raise KeyboardInterrupt

    client = client_for(local_tables.impatient())  # the one parts are sent with
    with pytest.raises(KeyboardInterrupt), RunTracker(local_tables).run("exclusive") as run:
        client.meta.events.register("before-send.dynamodb.UpdateItem", press)
        run.log_metric("m", 1)
    record = stored(local_tables, run.run_id)
    assert (record.status, record.metrics) == (RunStatus.CANCELLED, {"m": 1})
