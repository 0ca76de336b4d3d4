"""What a run is given: refused where it is given, named, and never an obstacle to the end."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable

import pytest

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Partition, PipelineConfig, RunStatus, partition_of
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.support.runs import item, run_table_items, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run

NO_NAMES: list[Any] = ["\ud800", "", 5, None, ("a",), "x" * 1025, "é" * 513]


# ---- names ---------------------------------------------------------------------------------------

NAMED: dict[str, Callable[[Run, Any], object]] = {
    "metric": lambda run, name: run.log_metric(name, 1),
    "metrics": lambda run, name: run.log_metrics({"fine": 1, name: 1}),
    "check": lambda run, name: run.log_quality(name, True),
    "output": lambda run, name: run.log_output(name, rows=1),
    "stage": lambda run, name: run.stage(name).__enter__(),
    "metric of a stage": lambda run, name: run.stage("load").log_metric(name, 1),
    "watermark": lambda run, name: run.advance_watermark(name, 1),
    "watermark that is read": lambda run, name: run.watermark(name),
}


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive"),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None),
        PipelineConfig(pipeline_id="daily", max_concurrent_runs=None, partition_grain="day"),
        PipelineConfig(
            pipeline_id="new-york",
            max_concurrent_runs=None,
            partition_grain="day",
            schedule_timezone="America/New_York",
        ),
    ]


@pytest.mark.parametrize("record", NAMED.values(), ids=NAMED)
def test_a_name_that_cannot_be_stored_is_refused_where_it_is_given(
    tracker: RunTracker, record: Callable[[Run, Any], object]
) -> None:
    with tracker.run("exclusive") as run:
        for name in NO_NAMES:
            with pytest.raises(ValidationError, match="name"):
                record(run, name)
        run.log_metric("later", 2)
        assert stored(tracker.runs.config, run.run_id).metrics["later"] == 2, "it blocks nothing"
    record_of_it = stored(tracker.runs.config, run.run_id)
    assert record_of_it.status is RunStatus.SUCCESS
    assert record_of_it.status_detail is None


def test_names_as_long_as_they_may_be_are_kept(tracker: RunTracker) -> None:
    name = "é" * 512
    with tracker.run("exclusive") as run:
        run.advance_watermark(name, 1)
        with run.stage(name) as stage:
            stage.log_metric(name, 1)
    found = stored(tracker.runs.config, run.run_id)
    assert found.stages[name].metrics == {name: 1}
    assert found.watermarks[name].after == 1
    assert tracker.watermark("exclusive", name) == 1


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
def test_a_watermark_without_a_proper_name_is_neither_read_nor_reset(
    tracker: RunTracker, name: Any
) -> None:
    with pytest.raises(ValidationError, match="watermark has a"):
        tracker.watermark("exclusive", name)
    with pytest.raises(ValidationError, match="watermark has a"):
        tracker.reset_watermark("exclusive", name, 1)


@pytest.mark.parametrize(
    "tell",
    [
        lambda stage: stage.log_rows(read=10**40 + 1),
        lambda stage: stage.log_metric("digits", object()),
    ],
)
def test_what_a_stage_cannot_store_is_refused_where_it_is_given(
    tracker: RunTracker, tell: Callable[[Any], None]
) -> None:
    with tracker.run("exclusive") as run, run.stage("load") as stage:
        with pytest.raises(ValidationError):
            tell(stage)
        stage.log_rows(read=7)
    assert stored(tracker.runs.config, run.run_id).stages["load"].records_read == 7


def test_a_part_that_cannot_be_stored_does_not_keep_a_run_from_ending(
    tracker: RunTracker,
) -> None:
    """As one may come out of a file that another version of the library has kept."""
    run = tracker.start("unlimited")
    parts = {("metrics", "\ud800"): 1, ("metrics", "rows"): 2, ("nonsense",): 3}
    RunStore.of(tracker.runs.config).ends.finish(
        run.record, RunOutcome(RunStatus.SUCCESS, parts=parts)
    )
    run.finish()
    found = stored(tracker.runs.config, run.run_id)
    assert (found.status, found.metrics) == (RunStatus.SUCCESS, {"rows": 2})


# ---- run keys ------------------------------------------------------------------------------------

DAY = date(2026, 3, 29)


@pytest.mark.parametrize(
    ("pipeline_id", "partition", "told"),
    [
        (
            "daily",
            partition_of(datetime(2026, 3, 29, 5, tzinfo=timezone.utc), "hour", "UTC"),  # type: ignore[arg-type]
            "no key of grain day",
        ),
        (
            "new-york",
            partition_of(DAY, "day", "Europe/Berlin"),  # type: ignore[arg-type]
            "America/New_York.*2026-03-29 04:00.*2026-03-28 23:00",
        ),
    ],
    ids=["grain", "zone"],
)
def test_a_partition_of_another_grain_or_zone_is_refused_naming_both(
    tracker: RunTracker, pipeline_id: str, partition: Partition, told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        tracker.start(pipeline_id, run_key=partition)
    assert tracker.runs.latest(pipeline_id) is None


def test_a_partition_of_the_pipeline_itself_is_taken(tracker: RunTracker) -> None:
    for partition in tracker.coverage("new-york", DAY, date(2026, 3, 30)).missing:
        with tracker.run("new-york", run_key=partition):
            pass
    assert tracker.coverage("new-york", DAY, date(2026, 3, 30)).is_complete


# ---- what is of no use ---------------------------------------------------------------------------


class Unreadable:
    def __str__(self) -> str:
        raise OSError("unreadable")


CIRCULAR: dict[str, Any] = {}
CIRCULAR["itself"] = CIRCULAR

BAD: dict[str, tuple[str, Callable[[RunTracker], object]]] = {
    "run key": ("run_key is a int", lambda t: t.start("unlimited", run_key=5)),  # type: ignore[arg-type]
    "empty run key": ("run key has an empty", lambda t: t.start("unlimited", run_key="")),
    "bytes": ("'x'.*UnicodeDecodeError", lambda t: t.start("unlimited", parameters={"x": b"\xff"})),
    "circle": ("'x'", lambda t: t.start("unlimited", parameters={"x": CIRCULAR})),
    "key": ("parameter", lambda t: t.start("unlimited", parameters={"k\ud800": 1})),
    "inner key": ("'x'", lambda t: t.start("unlimited", parameters={"x": {"k\ud800": 1}})),
    "__str__": ("'x'.*OSError", lambda t: t.start("unlimited", parameters={"x": Unreadable()})),
    "parameters": ("parameters is a int", lambda t: t.start("unlimited", parameters=5)),  # type: ignore[arg-type]
    "tags": ("tags is a int", lambda t: t.start("unlimited", tags=5)),  # type: ignore[arg-type]
    "tag": ("surrogate", lambda t: t.start("unlimited", tags={"k\ud800": "v"})),
    "options": ("options is a dict", lambda t: t.start("unlimited", options={"rerun": True})),  # type: ignore[arg-type]
    "release": ("reason: a string", lambda t: t.release("exclusive", reason=None)),  # type: ignore[arg-type]
    "cancel": ("`by`: a string", lambda t: t.cancel("r", by=None)),  # type: ignore[arg-type]
    "since": ("since is a str", lambda t: t.coverage("daily", "2026-01-01", DAY)),  # type: ignore[arg-type]
    "until": ("until is a str", lambda t: t.coverage("daily", DAY, "2026-04-01")),  # type: ignore[arg-type]
    "days": ("days is None", lambda t: t.statistics("exclusive", days=None)),  # type: ignore[arg-type]
    "limit": ("limit is a None", lambda t: t.watermark_history("exclusive", "w", limit=None)),  # type: ignore[arg-type]
    "limit of 0": ("from 1", lambda t: t.watermark_history("exclusive", "w", limit=0)),
    "environment": ("no environment", lambda t: t.reap(environment="NOPE#x")),
}


@pytest.mark.parametrize(("told", "call"), BAD.values(), ids=BAD)
def test_an_argument_that_is_of_no_use_is_refused_by_its_name(
    tracker: RunTracker, told: str, call: Callable[[RunTracker], object]
) -> None:
    with pytest.raises(ValidationError, match=f"(?i){told}"):
        call(tracker)
    assert tracker.runs.get_running_pipelines() == []


@pytest.mark.parametrize("form", ["run", "start", "pipeline"])
def test_an_unknown_argument_is_refused_naming_those_there_are(
    tracker: RunTracker, form: str
) -> None:
    known = "run_key, parameters, tags, trigger, external_id, parent, options"
    told = f"no argument params; it has {known}"
    with pytest.raises(TypeError, match=told):
        getattr(tracker, form)("exclusive", params={})


@pytest.mark.parametrize(
    "wrong",
    [
        {"rerun": "false"},
        {"force": 1},
        {"cancel_spark_jobs": None},
        {"wait_seconds": None},
        {"wait_seconds": "60"},
        {"finish_seconds": True},
        {"finish_seconds": float("nan")},
        {"on_conflict": ["raise"]},
    ],
    ids=str,
)
def test_an_option_of_another_type_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RunOptions(**wrong)


def test_a_metric_that_could_not_be_computed_does_not_fail_the_job(tracker: RunTracker) -> None:
    with tracker.run("unlimited") as run:
        run.log_metrics({"v": Decimal("sNaN"), "w": Decimal("-Infinity")})
        with pytest.raises(ValidationError, match="metrics is a list"):
            run.log_metrics([1])  # type: ignore[arg-type]
    found = stored(tracker.runs.config, run.run_id)
    assert found.metrics == {"v": "sNaN", "w": "-Infinity"}


# ---- what is beside the runs ---------------------------------------------------------------------


def test_what_run_control_keeps_beside_the_runs_is_not_found_as_a_run(
    tracker: RunTracker, local_tables: DynamoDBConfig
) -> None:
    with tracker.run("exclusive", run_key="monday") as run:
        run.log_metric("rows", 1)
        beside = [key for key in run_table_items(local_tables) if "#" in key]
        assert {"#pipeline#exclusive", "#slot#exclusive#monday"} <= set(beside)
        before = {key: item(local_tables, key) for key in beside}
        for key in beside:
            assert RunStore.of(local_tables).reap(key) is None
            for call in (
                lambda key=key: tracker.runs.get(key),
                lambda key=key: tracker.runs.get_or_raise(key),
                lambda key=key: tracker.runs.get_many([key]),
                lambda key=key: tracker.runs.exists(key),
                lambda key=key: tracker.runs.update_run_status(key, "failed"),
                lambda key=key: tracker.runs.update_run_metrics(key, {"x": 1}),
                lambda key=key: tracker.runs.get_log_lines(key),
                lambda key=key: tracker.cancel(key, by="me"),
            ):
                with pytest.raises(ValidationError, match="item of run control"):
                    call()
        assert {key: item(local_tables, key) for key in beside} == before
