"""A real Delta table and drivers of superseded runs; the scenarios are in delta_scenarios.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository, create_tables
from dynamodb_wrapper.runs import RunTracker
from tests.support.engines import isolated

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

ROOT = Path(__file__).parents[3]


class Told(dict[str, Any]):
    """The result of each scenario."""

    def __getitem__(self, scenario: str) -> Any:
        came_to = super().__getitem__(scenario)
        if isinstance(came_to, dict) and "broken" in came_to:
            pytest.fail(f"{scenario} broke:\n{came_to['broken']}")
        return came_to


@pytest.fixture(scope="module")
def told(
    delta_jars: list[Path], local_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    config = isolated(local_engine.config)
    settings = {
        "dynamodb": {"endpoint_url": config.endpoint_url, "table_prefix": config.table_prefix},
        "folder": str(tmp_path_factory.mktemp("delta")),
        "jars": [str(jar) for jar in delta_jars],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.delta_scenarios", json.dumps(settings)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Told(json.loads(done.stdout.splitlines()[-1]))


class TestZombies:
    def test_after_the_successors_first_commit_an_append_adds_no_rows(self, told: Told) -> None:
        assert told["zombie_after_the_first_commit"] == {
            "rows": ["successor", "zombie, before"],
            "zombie": "lost",
            "successor": "success",
        }

    def test_so_it_is_without_a_fence_once_the_successor_has_committed(self, told: Told) -> None:
        assert told["zombie_after_the_first_commit_without_fence"] == ["successor"]

    def test_before_the_successors_first_write_an_append_adds_no_rows_to_a_fenced_table(
        self, told: Told
    ) -> None:
        assert told["zombie_between_fence_and_first_write"] == []

    def test_before_the_successors_first_write_an_append_adds_rows_to_a_table_not_fenced(
        self, told: Told
    ) -> None:
        rows = told["zombie_before_the_first_write_without_fence"]
        assert rows == ["successor", "zombie"]

    def test_an_append_under_way_when_the_table_is_fenced_is_refused_by_delta(
        self, told: Told
    ) -> None:
        assert told["zombie_in_flight"] == {"rows": [], "refused": [True]}

    def test_a_fence_that_an_append_overtakes_is_raised_all_the_same(self, told: Told) -> None:
        overtaken = told["zombie_overtakes_the_fence"]
        assert overtaken == {"rows": ["zombie, before"], "fenced": True}


class TestLegalRuns:
    def test_all_writes_of_one_run_land_in_both_of_its_tables(self, told: Told) -> None:
        assert told["writes_of_one_run"] == {"first": ["one", "three"], "second": ["two"]}

    def test_no_run_of_a_sequence_loses_rows(self, told: Told) -> None:
        assert told["run_after_run"] == ["first", "second", "third"]

    def test_no_run_loses_rows_after_the_state_was_lost_or_restored_to_an_older_point(
        self, told: Told
    ) -> None:
        runs = told["state_lost_and_restored"]
        assert runs["rows"] == ["1, before", "2, after the loss", "3, after the restore"]
        assert runs["fences"] == sorted(set(runs["fences"]))

    def test_a_lost_run_without_a_successor_keeps_its_rows_and_ends_late(self, told: Told) -> None:
        late = {"reaped": True, "rows": ["late"], "status": "success"}
        assert told["lost_and_not_superseded"] == late

    def test_pipelines_of_one_name_in_two_run_tables_do_not_shut_each_other_out(
        self, told: Told
    ) -> None:
        runs = told["two_deployments"]
        assert runs == {"rows": ["rival", "run"], "later_fence_first": True}


class TestLimits:
    def test_options_that_are_used_twice_or_in_another_order_are_skipped(self, told: Told) -> None:
        assert told["options_in_another_order"] == ["made second"]

    @pytest.mark.parametrize(
        "way",
        [
            "save, append",
            "save, overwrite",
            "save, replaceWhere",
            "save, dynamic partitions",
            "saveAsTable",
            "writeTo, append",
            "writeTo, overwritePartitions",
            "MERGE, settings",
            "UPDATE, settings",
        ],
    )
    def test_a_zombies_write_is_skipped_when_it_is_done_by(self, told: Told, way: str) -> None:
        assert told["ways_to_write"][way] == "skipped"

    @pytest.mark.parametrize(
        "way", ["save, without options", "insertInto", "stream", "INSERT", "MERGE", "UPDATE"]
    )
    def test_a_zombies_write_is_not_held_back_when_it_is_done_by(
        self, told: Told, way: str
    ) -> None:
        assert told["ways_to_write"][way] == "written"

    def test_a_fence_adds_one_commit_and_no_rows_to_a_table_without_nulls(self, told: Told) -> None:
        assert told["table_of_full_columns"] == {"rows": [], "commits": 1}


class TestRefusals:
    def test_a_pipeline_without_a_limit_has_no_fence(self, told: Told) -> None:
        unlimited = told["unlimited_pipeline"]
        assert [kind for kind, _ in unlimited["refusals"]] == ["ValidationError"] * 2
        assert unlimited["commits"] == 0

    def test_a_run_whose_lease_is_lost_fences_nothing(self, told: Told) -> None:
        lost = told["lost_lease"]
        assert [kind for kind, _ in lost["refusals"]] == ["LeaseLostError"] * 2
        assert lost["commits"] == 0

    def test_what_is_no_delta_table_is_refused_by_its_path_and_stays_as_it_is(
        self, told: Told
    ) -> None:
        refused = told["no_table"]
        for path, (kind, message) in refused["refusals"].items():
            assert kind == "ValidationError"
            assert message.startswith(f"{path!r} cannot be fenced: ")
        assert refused["made"] == []

    def test_a_table_that_numbers_its_rows_itself_is_refused_by_its_path(self, told: Told) -> None:
        refused = told["identity_column"]
        if refused is None:
            pytest.skip("This Delta has no such tables.")
        kind, message = refused["refusal"]
        assert kind == "ValidationError"
        assert message.startswith(f"{refused['path']!r} cannot be fenced: ")
        assert refused["commits"] == 0

    def test_a_session_without_delta_is_refused_by_name(
        self, local_config: DynamoDBConfig, spark: Any, tmp_path: Path
    ) -> None:
        create_tables(local_config)
        PipelineConfigRepository(local_config).create(PipelineConfig(pipeline_id="p"))
        with RunTracker(local_config).run("p") as run:
            with pytest.raises(ValidationError, match="knows no data source 'delta'") as refusal:
                run.fence_table(spark, str(tmp_path))
        assert str(tmp_path) in refusal.value.message


def test_the_examples_of_the_page_on_fencing_work(told: Told) -> None:
    assert told["examples_of_the_page"] == {"rows": ["order", "return"], "blocks": 2}
