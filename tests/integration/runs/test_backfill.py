"""A year of days, run by several workers, some of which fail; then only what failed, again."""

from __future__ import annotations

import multiprocessing
import random
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.exceptions import AlreadySucceededError, ValidationError
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.runs import RunOptions, RunTracker

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

SINCE, UNTIL = date(2025, 1, 1), date(2026, 1, 1)
WORKERS, FAILURES = 4, 20


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(
            pipeline_id="daily",
            max_concurrent_runs=None,
            partition_grain="day",
            schedule_timezone="Europe/Berlin",
        ),
    ]


def run_days(config: DynamoDBConfig, days: list[str], failing: set[str]) -> None:
    tracker = RunTracker(config)
    for day in days:
        try:
            with tracker.run("daily", run_key=day):
                if day in failing:
                    raise ValueError(day)
        except ValueError:
            pass


def share_out(config: DynamoDBConfig, days: list[str], failing: set[str]) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=run_days, args=(config, days[n::WORKERS], failing))
        for n in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS


@pytest.mark.newest_only
@pytest.mark.slow
def test_a_year_is_covered_by_running_again_only_what_failed(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    days = [partition.key for partition in tracker.coverage("daily", SINCE, UNTIL).missing]
    assert len(days) == 365
    failing = set(random.Random(2025).sample(days, FAILURES))

    # Credentials do not survive pickling, so that the workers get the local engine's anew.
    local = local_tables.model_copy(
        update={"aws_access_key_id": None, "aws_secret_access_key": None}
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "local")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "local")
        share_out(local, days, failing)
        first = tracker.coverage("daily", SINCE, UNTIL)
        assert {partition.key for partition in first.failed} == failing
        assert first.failed == first.missing
        assert len(first.covered) == 365 - FAILURES
        share_out(local, [partition.key for partition in first.failed], set())

    coverage = tracker.coverage("daily", SINCE, UNTIL)
    assert coverage.is_complete
    assert len(coverage.covered) == 365
    runs = tracker.runs.get_runs_by_pipeline("daily", limit=None)
    assert len(runs) == 385
    succeeded = [run.run_key for run in runs if run.status is RunStatus.SUCCESS]
    assert sorted(succeeded, key=str) == sorted(days)
    again = [run for run in runs if run.attempt == 2]
    assert {run.run_key for run in again} == failing
    for run in again:
        before = tracker.runs.get_or_raise(run.run_id).previous_run_id
        assert before is not None
        assert tracker.runs.get_or_raise(before).run_key == run.run_key


def test_the_days_on_which_clocks_change_have_23_and_25_hours(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    lengths = {}
    for day in ("2025-03-29", "2025-03-30", "2025-10-26"):
        with tracker.run("daily", run_key=day) as run:
            pass
        record = tracker.runs.get_or_raise(run.run_id)
        assert record.partition_start is not None
        assert record.partition_end is not None
        lengths[day] = record.partition_end - record.partition_start
    assert lengths == {
        "2025-03-29": timedelta(hours=24),
        "2025-03-30": timedelta(hours=23),
        "2025-10-26": timedelta(hours=25),
    }


def test_a_moment_stands_for_the_day_it_lies_in_by_the_pipelines_clock(
    local_tables: DynamoDBConfig,
) -> None:
    late_evening_in_utc = datetime(2025, 6, 30, 23, 30, tzinfo=timezone.utc)
    with RunTracker(local_tables).run("daily", run_key=late_evening_in_utc) as run:
        assert run.record.run_key == "2025-07-01"


def test_only_what_is_missing_is_what_was_never_tried_or_failed(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    run_days(local_tables, ["2025-01-01", "2025-01-02"], {"2025-01-02"})
    running = tracker.start("daily", run_key="2025-01-03")
    coverage = tracker.coverage("daily", date(2025, 1, 1), date(2025, 1, 5))
    keys = {
        name: [partition.key for partition in getattr(coverage, name)]
        for name in ("covered", "failed", "missing", "running")
    }
    assert keys == {
        "covered": ["2025-01-01"],
        "failed": ["2025-01-02"],
        "missing": ["2025-01-02", "2025-01-04"],
        "running": ["2025-01-03"],
    }
    running.finish()
    with pytest.raises(AlreadySucceededError):
        tracker.start("daily", run_key="2025-01-01")


def test_a_rerun_that_fails_does_not_uncover_its_day(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    run_days(local_tables, ["2025-01-01"], set())
    with pytest.raises(ValueError, match="again"):
        with tracker.run("daily", run_key="2025-01-01", options=RunOptions(rerun=True)):
            raise ValueError("again")
    (state,) = tracker.coverage("daily", date(2025, 1, 1), date(2025, 1, 2))
    assert state.is_covered
    assert (state.attempts, state.last_status) == (2, "failed")


def test_a_day_on_which_there_was_nothing_to_do_is_covered_and_can_be_run_again(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    holiday = (date(2025, 1, 1), date(2025, 1, 2))
    with tracker.run("daily", run_key="2025-01-01") as run:
        run.skip("a holiday")
    coverage = tracker.coverage("daily", *holiday)
    assert coverage.is_complete
    assert (coverage.missing, coverage.failed) == ((), ())
    assert [partition.key for partition in coverage.covered] == ["2025-01-01"]
    with tracker.run("daily", run_key="2025-01-01"):
        pass
    (state,) = tracker.coverage("daily", *holiday)
    assert (state.attempts, state.last_status) == (2, "success")


def test_coverage_costs_a_read_unit_per_partition(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    run_days(local_tables, ["2025-01-01", "2025-01-02"], set())
    with tracker.runs.consumed() as used:
        tracker.coverage("daily", SINCE, UNTIL)
    assert used.read_units <= 365
    assert used.write_units == 0


def test_a_range_or_a_pipeline_that_has_no_partitions_is_refused(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    with pytest.raises(ValidationError, match="2026-01-01"):
        tracker.coverage("daily", UNTIL, SINCE)
    PipelineConfigRepository(local_tables).create(PipelineConfig(pipeline_id="free"))
    with pytest.raises(ValidationError, match="partition_grain"):
        tracker.coverage("free", SINCE, UNTIL)
