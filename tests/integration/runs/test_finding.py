"""Runs are found by external id, tag and parent through indexes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    IndexNotFoundError,
    ItemNotFoundError,
    RunSkippedError,
    RunStartError,
    ValidationError,
)
from dynamodb_wrapper.models import (
    PIPELINE_RUN_LOGS,
    PipelineConfig,
    PipelineRunLog,
    Table,
    utc_now,
)
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
)
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.support.engines import refuse_scan
from tests.support.faults import answer, outage
from tests.support.runs import STEADY, outside_of_runs, run_table_items, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

AIRFLOW = {
    "AIRFLOW_CTX_DAG_ID": "orders",
    "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-03-29T00:00:00+00:00",
}


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive", **STEADY),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None, **STEADY),
    ]


def ids(runs: list[Any]) -> list[str]:
    return [run.run_id for run in runs]


# ---- external ids --------------------------------------------------------------------------------


def test_runs_are_found_by_the_external_id_they_are_given(locking_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(locking_tables)
    found = []
    for pipeline_id in ("exclusive", "unlimited"):
        with tracker.run(pipeline_id, external_id="job-1") as run:
            found.append(run.run_id)
            assert ids(tracker.runs.find_by_external_id("job-1")) == found[::-1]
    with tracker.run("unlimited", external_id="job-2"), tracker.run("exclusive"):
        pass
    with refuse_scan(client_for(locking_tables)):
        assert ids(tracker.runs.find_by_external_id("job-1")) == found[::-1]
        assert ids(tracker.runs.find_by_external_id("job-1", newest_first=False)) == found
        assert ids(tracker.runs.find_by_external_id("job-1", limit=1)) == found[1:]
        assert tracker.runs.find_by_external_id("job") == []
        assert tracker.runs.find_by_external_id("job-1", until=utc_now() - timedelta(1)) == []
    assert tracker.runs.get_or_raise(found[0]).external_id == "job-1"


def test_the_external_id_is_that_of_the_job_of_the_process(
    local_tables: DynamoDBConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = RunTracker(local_tables)
    for name, value in AIRFLOW.items():
        monkeypatch.setenv(name, value)
    with tracker.run("unlimited") as run:
        pass
    external_id = "orders/scheduled__2026-03-29T00:00:00+00:00"
    assert ids(tracker.runs.find_by_external_id(external_id)) == [run.run_id]
    with tracker.run("unlimited", external_id="mine") as run:
        pass
    assert stored(local_tables, run.run_id).external_id == "mine"


@pytest.mark.parametrize("value", ["x" * 600, "\udcff", "é" * 512], ids=["long", "bytes", "wide"])
def test_an_id_of_the_process_that_cannot_be_stored_stops_no_job(
    local_tables: DynamoDBConfig, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("EMR_STEP_ID", value)
    with RunTracker(local_tables).run("unlimited") as run:
        pass
    assert stored(local_tables, run.run_id).external_id is None


@pytest.mark.parametrize(
    "value", ["", 5, "x" * 511, "\udcff"], ids=["empty", "int", "long", "bytes"]
)
def test_an_external_id_that_cannot_be_stored_is_refused(
    local_tables: DynamoDBConfig, value: Any
) -> None:
    with pytest.raises(ValidationError, match=r"external[_ ]id"):
        RunTracker(local_tables).start("unlimited", external_id=value)
    assert run_table_items(local_tables) == {}


def test_the_longest_external_id_fits_its_index(locking_tables: DynamoDBConfig) -> None:
    runs, longest = PipelineRunLogsRepository(locking_tables), "\U0001f600" * 510
    run = runs.create_run_log(PipelineRunLog(pipeline_id="p", external_id=longest))
    assert ids(runs.find_by_external_id(longest)) == [run.run_id]


# ---- tags ----------------------------------------------------------------------------------------


def test_runs_are_found_by_each_of_their_tags(locking_tables: DynamoDBConfig) -> None:
    tracker, runs = RunTracker(locking_tables), PipelineRunLogsRepository(locking_tables)
    found = []
    for day in ("monday", "tuesday", "wednesday"):
        with tracker.run("unlimited", tags={"team": "a=b", "day": day, "a b": ""}) as run:
            found.append(run.run_id)
    with tracker.run("unlimited", tags={"team=a": "b"}) as other:
        pass
    with tracker.run("exclusive"):
        pass
    with refuse_scan(client_for(locking_tables)):
        assert ids(runs.find_by_tag("team", "a=b")) == found[::-1]
        assert ids(runs.find_by_tag("team", "a=b", limit=2)) == found[:0:-1]
        assert ids(runs.find_by_tag("team", "a=b", newest_first=False, limit=None)) == found
        assert ids(runs.find_by_tag("team=a", "b")) == [other.run_id]
        assert ids(runs.find_by_tag("day", "tuesday")) == [found[1]]
        assert ids(runs.find_by_tag("a b", "")) == found[::-1]
        assert runs.find_by_tag("day", "sunday") == []
        assert runs.find_by_tag("team", "a=b", since=utc_now()) == []
    assert ids(runs.get_runs_by_pipeline("unlimited")) == [other.run_id, *found[::-1]]


def test_a_tag_that_a_run_has_no_more_finds_it_no_more(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    found = []
    for _ in range(5):
        with tracker.run("unlimited", tags={"team": "a"}) as run:
            found.append(run.run_id)
    for run_id in found[2:]:
        tracker.runs.update(run_id, set={("tags", "team"): "b"})
    assert ids(tracker.runs.find_by_tag("team", "a", limit=2)) == found[1::-1]
    assert tracker.runs.find_by_tag("team", "b") == []


def test_records_of_other_systems_and_skipped_runs_are_found(local_tables: DynamoDBConfig) -> None:
    tracker, runs = RunTracker(local_tables), PipelineRunLogsRepository(local_tables)
    tags = {f"tag-{number:02}": "x" for number in range(50)}
    foreign = runs.create_run_log(PipelineRunLog(pipeline_id="p", external_id="j", tags=tags))
    assert ids(runs.find_by_tag("tag-49", "x")) == [foreign.run_id]
    options = RunOptions(on_conflict="skip")
    with tracker.run("exclusive"), pytest.raises(RunSkippedError) as caught:
        outside_of_runs(
            tracker.start, "exclusive", tags={"team": "a"}, external_id="k", options=options
        )
    assert ids(runs.find_by_tag("team", "a")) == [caught.value.run_id]
    assert ids(runs.find_by_external_id("k")) == [caught.value.run_id]
    assert runs.delete(foreign.run_id) is not None
    assert [key for key in run_table_items(local_tables) if key.startswith(foreign.run_id)] == []


def test_a_start_that_is_refused_leaves_no_entry_of_its_tags(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive"), pytest.raises(AlreadyRunningError):
        outside_of_runs(tracker.start, "exclusive", tags={"team": "a"}, external_id="j")
    assert tracker.runs.find_by_tag("team", "a") == []
    assert not any("#tag#" in key for key in run_table_items(local_tables))


def test_a_run_may_have_as_many_tags_as_there_can_be(locking_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(locking_tables)
    tags = {f"{'n' * 126}{number:02}": "\u4e2d" * 256 for number in range(50)}
    with tracker.run("exclusive", run_key="monday", tags=tags) as run:
        pass
    name, value = next(iter(tags.items()))
    assert ids(tracker.runs.find_by_tag(name, value)) == [run.run_id]


# ---- parents -------------------------------------------------------------------------------------


def test_the_children_of_a_run_are_found(locking_tables: DynamoDBConfig) -> None:
    tracker, runs = RunTracker(locking_tables), PipelineRunLogsRepository(locking_tables)
    with tracker.run("exclusive") as outer, tracker.run("unlimited") as inner:
        inner_id = inner.run_id
    with tracker.run("unlimited", parent=inner_id) as handed_over:
        pass
    assert ids(runs.children(outer.run_id)) == [inner_id]
    assert ids(runs.children(inner_id)) == [handed_over.run_id]
    record = stored(locking_tables, handed_over.run_id)
    assert (record.parent_run_id, record.root_run_id) == (inner_id, outer.run_id)


def test_the_parent_that_is_given_counts_before_the_run_around(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive") as first:
        pass
    with tracker.run("exclusive"), tracker.run("unlimited", parent=first.run_id) as run:
        pass
    record = stored(local_tables, run.run_id)
    assert (record.parent_run_id, record.root_run_id) == (first.run_id, first.run_id)


@pytest.mark.parametrize(
    ("parent", "kind", "text"),
    [
        ("nobody", ItemNotFoundError, "no run 'nobody', which is given as its parent"),
        ("#pipeline#exclusive", ValidationError, "item of run control"),
        ("", ValidationError, "parent is empty"),
        (5, ValidationError, "parent is a int"),
    ],
)
def test_a_parent_that_is_no_run_is_refused(
    local_tables: DynamoDBConfig, parent: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        RunTracker(local_tables).start("unlimited", parent=parent)
    assert run_table_items(local_tables) == {}


def test_an_untracked_run_has_its_parent_although_it_cannot_be_read(
    local_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive") as first:
        pass
    with tracker.run("unlimited"):
        pass  # its configuration is known now
    with outage(local_tables, answer("AccessDeniedException")):
        with pytest.raises(RunStartError):
            tracker.start("unlimited", parent=first.run_id)
        options = RunOptions(tracking="best_effort")
        run = tracker.start("unlimited", parent=first.run_id, options=options)
    assert run.record.parent_run_id == first.run_id
    run.finish()


# ---- tables made before --------------------------------------------------------------------------


def made_before(config: DynamoDBConfig) -> DynamoDBConfig:
    """Create the tables as they were before there was the index, with a pipeline."""
    table = Table(
        PIPELINE_RUN_LOGS.name,
        PipelineRunLog,
        partition_key="run_id",
        ttl="expires_at",
        version_field="row_version",
        indexes=[index for index in PIPELINE_RUN_LOGS.indexes if index.name != "by_label"],
    )
    BaseDynamoRepository(config, table).create_table()
    pipelines = PipelineConfigRepository(config)
    pipelines.create_table()
    pipelines.create(PipelineConfig(pipeline_id="p"))
    return config


def test_a_table_without_the_index_says_how_to_add_it(config: DynamoDBConfig) -> None:
    runs = RunTracker(made_before(config)).runs
    for search in (lambda: runs.find_by_external_id("j"), lambda: runs.find_by_tag("team", "a")):
        with pytest.raises(IndexNotFoundError, match=r"no index 'by_label'; create_table\(\)"):
            search()


def test_runs_begun_before_the_index_was_added_are_found(local_config: DynamoDBConfig) -> None:
    """On one engine: of DynamoDB Local such an index is sometimes never ready."""
    tracker = RunTracker(made_before(local_config))
    with tracker.run("p", external_id="j", tags={"team": "a"}) as run:
        pass
    tracker.runs.create_table()
    assert ids(tracker.runs.find_by_external_id("j")) == [run.run_id]
    assert ids(tracker.runs.find_by_tag("team", "a")) == [run.run_id]
