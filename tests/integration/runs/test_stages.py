"""Stages of a run: which is current, how those end that a generator leaves, how many there are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import RunStatus, StageStatus
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.support import faults
from tests.support.runs import stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run


# ---- the current one -----------------------------------------------------------------------------


def test_after_a_stage_inside_of_another_the_outer_one_is_current_again(
    local_tables: DynamoDBConfig,
) -> None:
    current = []

    def look(run: Run) -> None:
        current.append(stored(local_tables, run.run_id).current_stage)

    with RunTracker(local_tables).run("exclusive") as run:
        with run.stage("outer"):
            with run.stage("middle"), run.stage("inner"):
                look(run)
            look(run)
            with pytest.raises(KeyError), run.stage("failing"):
                raise KeyError
            look(run)
        look(run)
    assert current == ["inner", "outer", "outer", "outer"]


def test_a_stage_that_ends_beside_a_later_one_leaves_that_current(
    local_tables: DynamoDBConfig,
) -> None:
    with RunTracker(local_tables).run("exclusive") as run:
        first, second = run.stage("first"), run.stage("second")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert stored(local_tables, run.run_id).current_stage == "second"
        second.__exit__(None, None, None)


# ---- left by a generator -------------------------------------------------------------------------


def rows(run: Run) -> Iterator[int]:
    """Yield rows from inside of a stage."""
    with run.stage("read") as stage:
        for number in range(10):
            stage.log_rows(read=number + 1)
            yield number


def test_a_stage_in_a_generator_that_is_closed_has_not_failed(
    local_tables: DynamoDBConfig,
) -> None:
    with RunTracker(local_tables).run("exclusive") as run:
        for number in (reader := rows(run)):
            if number == 3:
                break
        reader.close()
    stage = stored(local_tables, run.run_id).stages["read"]
    assert (stage.status, stage.error, stage.records_read) == (StageStatus.SUCCESS, None, 4)
    assert stage.end_time is not None


def test_a_stage_in_a_generator_that_waits_ends_with_its_run(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive") as run:
        waiting = rows(run)
        next(waiting)
    record = stored(local_tables, run.run_id)
    stage = record.stages["read"]
    assert (stage.status, stage.end_time) == (StageStatus.SUCCESS, record.end_time)
    assert record.records_read == 1
    waiting.close()
    assert stored(local_tables, run.run_id) == record


def test_a_stage_that_is_under_way_when_its_run_fails_has_failed(
    local_tables: DynamoDBConfig,
) -> None:
    with pytest.raises(ValueError, match="why"), RunTracker(local_tables).run("exclusive") as run:
        waiting = rows(run)
        next(waiting)
        raise ValueError("why")
    stage = stored(local_tables, run.run_id).stages["read"]
    assert stage.status is StageStatus.FAILED
    assert "failed while the stage was under way" in str(stage.error)
    waiting.close()


# ---- many ----------------------------------------------------------------------------------------


@pytest.mark.newest_only
@pytest.mark.slow
def test_three_thousand_metrics_are_stored_in_few_requests(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive") as run:
        with faults.outage(local_tables, faults.passed) as calls:
            for number in range(3000):
                run.log_metric(f"metric-{number}", number)
            inside = len(calls)
    record = stored(local_tables, run.run_id)
    assert (record.status, len(record.metrics)) == (RunStatus.SUCCESS, 3000)
    assert inside <= 200


def test_more_parts_than_one_request_takes_survive_an_outage_at_the_end(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    block = tracker.run("unlimited", options=RunOptions(finish_seconds=0.1))
    run = block.__enter__()
    with faults.outage(local_tables):
        run.log_metrics({f"metric-{number}": number for number in range(900)})
        block.__exit__(None, None, None)
    assert [one.stored for one in tracker.replay_outcomes()] == [True]
    record = stored(local_tables, run.run_id)
    assert (record.status, len(record.metrics)) == (RunStatus.SUCCESS, 900)


@pytest.mark.newest_only
@pytest.mark.slow
def test_more_stages_than_a_run_keeps_are_refused_with_the_way_out(
    local_tables: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with RunTracker(local_tables).run("exclusive") as run:
        run.internals.recorder.close()  # nothing is sent until the end
        for number in range(1000):
            with run.stage(f"stage-{number}"):
                pass
        with pytest.raises(ValidationError, match=r"1,000 stages.*one name"):
            with run.stage("one more"):
                pass
        with run.stage("stage-7") as again:
            again.log_rows(read=5)
    record = stored(local_tables, run.run_id)
    assert len(record.stages) == 1000
    assert record.stages["stage-7"].records_read == 5
    assert {stage.status for stage in record.stages.values()} == {StageStatus.SUCCESS}


@pytest.mark.newest_only
@pytest.mark.slow
def test_other_parts_and_the_metrics_of_a_stage_have_limits_as_well(
    local_tables: DynamoDBConfig,
) -> None:
    with RunTracker(local_tables).run("exclusive") as run:
        run.internals.recorder.close()
        run.log_metrics({f"m{number}": number for number in range(4000)})
        with pytest.raises(ValidationError, match="4,000 metrics"):
            run.log_metric("one more", 1)
        run.log_inputs(*(f"t{number}" for number in range(1000)))
        with pytest.raises(ValidationError, match="1,000 inputs"):
            run.log_inputs("one more")
        with run.stage("load") as stage:
            for number in range(1000):
                stage.log_metric(f"m{number}", number)
            with pytest.raises(ValidationError, match="1,000 metrics"):
                stage.log_metric("one more", 1)
            stage.log_metric("m7", 5)
    record = stored(local_tables, run.run_id)
    assert (len(record.metrics), len(record.inputs)) == (4000, 1000)
    assert record.stages["load"].metrics["m7"] == 5
