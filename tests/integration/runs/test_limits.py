"""A run is stored truthfully although its item is too large, or its clock was set back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.exceptions import RunFinishError
from dynamodb_wrapper.models import RunStatus, StageStatus
from dynamodb_wrapper.repositories.run_log.live import MAX_WATERMARK_BYTES
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunTracker
from dynamodb_wrapper.runs.watermarks import MAX_WATERMARKS
from dynamodb_wrapper.serialization.values import MAX_ITEM_BYTES, item_size
from tests.support.runs import Clock, abandoned, item, outcome_of, plain_client, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


# ---- too large -----------------------------------------------------------------------------------


def test_watermarks_with_long_texts_move_however_many_bytes_a_character_has(
    tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(tables)
    for letter in "ab":
        with tracker.run("exclusive") as run:
            for number in range(MAX_WATERMARKS):
                run.advance_watermark(f"w{number:02}", letter + "\U0001f600" * 1019)
    record = stored(tables, run.run_id)
    assert record.status is RunStatus.SUCCESS
    assert len(record.watermarks) == MAX_WATERMARKS
    assert record.watermarks["w00"].after is None, "over 1 KB"
    assert tracker.watermark("exclusive", "w49") == "b" + "\U0001f600" * 1019


def test_as_many_watermarks_as_there_may_be_move_with_values_as_large_as_they_may_be(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    for letter in "ab":
        with tracker.run("exclusive") as run:
            for number in range(MAX_WATERMARKS):
                run.advance_watermark(f"w{number:02}", letter * MAX_WATERMARK_BYTES)
    assert stored(local_tables, run.run_id).status is RunStatus.SUCCESS
    assert tracker.watermark("exclusive", "w49") == "b" * MAX_WATERMARK_BYTES


def test_a_run_too_large_to_note_its_watermarks_moves_them_and_says_so(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive") as run:
        for number in range(90):
            run.log_metric(f"m{number}", "x y " * 1020)
        for number in range(MAX_WATERMARKS):
            run.advance_watermark(f"w{number:02}" + "n" * 1000, "v" * 1024)
    record = stored(local_tables, run.run_id)
    assert record.status is RunStatus.SUCCESS
    assert (record.metrics, record.watermarks) == ({}, {})
    assert "watermarks were dropped" in str(record.status_detail)
    assert tracker.watermark("exclusive", "w49" + "n" * 1000) == "v" * 1024
    assert tracker.holder("exclusive") is None


def test_a_run_that_is_large_by_its_inputs_ends_all_the_same(local_tables: DynamoDBConfig) -> None:
    with pytest.raises(RuntimeError), RunTracker(local_tables).run("exclusive") as run:
        room = MAX_ITEM_BYTES - item_size(item(local_tables, run.run_id))
        texts = [{"S": "i" * 4000}] * (room // 4000 - 1)
        plain_client(local_tables).update_item(
            TableName=local_tables.table_name("pipeline_run_logs"),
            Key={"run_id": {"S": run.run_id}},
            UpdateExpression="SET inputs = :full",
            ExpressionAttributeValues={":full": {"L": [*texts, {"S": "i" * (room % 4000 + 3880)}]}},
        )
        raise RuntimeError("long " * 100)
    record = stored(local_tables, run.run_id)
    assert (record.status, record.inputs) == (RunStatus.FAILED, [])
    assert RunTracker(local_tables).holder("exclusive") is None


# ---- a clock that is set back --------------------------------------------------------------------


@pytest.mark.parametrize("pipeline_id", ["exclusive", "unlimited"])
def test_a_run_whose_clock_is_set_back_ends_when_it_began(
    local_tables: DynamoDBConfig, pipeline_id: str
) -> None:
    clock = Clock()
    with RunTracker(local_tables, clock=clock).run(pipeline_id) as run, run.stage("load"):
        clock.now -= timedelta(hours=1)
    record = stored(local_tables, run.run_id)
    assert record.status is RunStatus.SUCCESS
    assert (record.end_time, record.duration_seconds) == (record.start_time, 0)
    stage = record.stages["load"]
    assert stage.status is StageStatus.SUCCESS
    assert (stage.end_time, stage.duration_seconds) == (stage.start_time, 0)
    record.check_rules()


def test_its_watermarks_move_and_repeating_the_end_says_the_same(
    local_tables: DynamoDBConfig,
) -> None:
    clock = Clock()
    tracker = RunTracker(local_tables, clock=clock)
    run = tracker.start("exclusive")
    run.advance_watermark("position", 7)
    clock.now -= timedelta(hours=1)
    run.finish()
    assert outcome_of(run) is not None
    again = RunStore.of(local_tables).ends.finish(run.record, outcome_of(run))
    assert again.end_time == again.start_time
    assert tracker.watermark("exclusive", "position") == 7


def test_an_end_by_hand_at_the_very_same_moment_is_not_taken_for_the_runs_own(
    local_tables: DynamoDBConfig,
) -> None:
    ahead = Clock()
    ahead.now += timedelta(hours=1)
    tracker = RunTracker(local_tables, clock=ahead)
    run = tracker.start("exclusive")
    run.advance_watermark("position", 7)
    by_hand = tracker.runs.update_run_status(run.run_id, RunStatus.SUCCESS)
    assert by_hand.end_time == ahead.now  # no end is before its start
    with pytest.raises(RunFinishError, match="without its watermarks"):
        run.finish()
    assert tracker.watermark("exclusive", "position") is None


def test_a_holder_released_by_a_clock_behind_its_own_ends_when_it_began(
    local_tables: DynamoDBConfig,
) -> None:
    dead = abandoned(local_tables, "exclusive")
    clock = Clock()
    clock.now -= timedelta(hours=1)
    released = RunTracker(local_tables, clock=clock).release("exclusive", reason="it is dead")
    assert released is not None
    record = stored(local_tables, dead.run_id)
    assert (record.end_time, record.duration_seconds) == (record.start_time, 0)
