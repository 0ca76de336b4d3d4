"""Values as jobs have them: scalars of numpy and pandas, enums, and figures that are no numbers."""

from __future__ import annotations

import enum
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import DataQualityResult, RunStatus
from dynamodb_wrapper.repositories.run_log.items import cursor_key
from tests.support.runs import plain_client, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.runs import RunTracker

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


class Mode(str, enum.Enum):
    FULL = "full"


class Rows(int):
    def __repr__(self) -> str:
        return "many rows"


class Name(str):
    def __str__(self) -> str:
        return "another name"


SCALARS = [
    (np.float64(2.5), 2.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (Mode.FULL, "full"),
    (Rows(3), 3),
    (Name("given"), "given"),
    (pd.Timestamp("2026-01-02T03:04:05Z"), pd.Timestamp("2026-01-02T03:04:05Z").to_pydatetime()),
]


@pytest.mark.parametrize(("value", "kept"), SCALARS, ids=lambda value: type(value).__name__)
def test_a_watermark_is_kept_as_pythons_own_type(
    tracker: RunTracker, value: Any, kept: Any
) -> None:
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", value)
    with tracker.run("exclusive") as run:
        found = run.watermark("position")
    assert (found, type(found)) == (kept, type(kept))
    assert tracker.watermark("exclusive", "position") == kept


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NaT, pd.NA, Decimal("NaN")])
def test_where_there_is_no_newer_position_the_watermark_stays(
    tracker: RunTracker, nothing: Any
) -> None:
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", 5)
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", nothing)
    assert stored(tracker.runs.config, run.run_id).status is RunStatus.SUCCESS
    assert tracker.watermark("exclusive", "position") == 5
    with pytest.raises(ValidationError, match="no position"):
        tracker.reset_watermark("exclusive", "position", nothing)


@pytest.mark.parametrize("value", [1e300, 1e-200, float("inf"), Decimal("1e-200"), 10**60])
def test_a_position_that_is_no_number_of_dynamodb_is_kept(tracker: RunTracker, value: Any) -> None:
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", value)
    found = tracker.watermark("exclusive", "position")
    assert (found, type(found)) == (value, type(value))


def test_a_position_with_nanoseconds_is_refused(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        for value in (
            pd.Timestamp("2026-01-02T03:04:05.123456789Z"),
            np.datetime64("2026-01-02T03:04:05.123456789"),
        ):
            with pytest.raises(ValidationError, match=r"nanoseconds|without time zone"):
                run.advance_watermark("position", value)
    assert tracker.watermark("exclusive", "position") is None


def test_a_watermark_does_not_change_its_type_silently(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", 20261201)
    with tracker.run("exclusive") as run:
        with pytest.raises(ValidationError, match=r"text after number.*reset_watermark"):
            run.advance_watermark("position", "2026-11-30")
        run.advance_watermark("position", 20261201.5)
    tracker.reset_watermark("exclusive", "position", "2026-11-30")
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", "2026-12-01")
    assert tracker.watermark("exclusive", "position") == "2026-12-01"


def test_a_stored_watermark_that_cannot_be_read_names_the_way_out(tracker: RunTracker) -> None:
    config = tracker.runs.config
    with tracker.run("exclusive") as run:
        run.advance_watermark("position", 1)
    plain_client(config).update_item(
        TableName=config.table_name("pipeline_run_logs"),
        Key=cursor_key("exclusive", "position"),
        UpdateExpression="SET #v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"S": "seven"}},
    )
    with tracker.run("exclusive") as run:
        for read in (
            lambda: run.watermark("position"),
            lambda: tracker.watermark("exclusive", "position"),
        ):
            with pytest.raises(ValidationError, match=r"reset_watermark\('exclusive', 'position'"):
                read()
    tracker.reset_watermark("exclusive", "position", 7)
    assert tracker.watermark("exclusive", "position") == 7


FIGURES = [
    (None, None),
    (float("nan"), "nan"),
    (float("-inf"), "-inf"),
    (np.float64("nan"), "nan"),
    (1e300, "1e+300"),
    (1e-200, "1e-200"),
    (Decimal("NaN"), "NaN"),
    (pd.NA, None),
    (np.float32(0.5), Decimal("0.5")),
    (np.int64(7), 7),
    (Mode.FULL, "full"),
    (Rows(3), 3),
]


@pytest.mark.parametrize(("value", "kept"), FIGURES, ids=lambda value: repr(value)[:20])
def test_a_figure_never_fails_a_job_at_any_door(tracker: RunTracker, value: Any, kept: Any) -> None:
    with tracker.run("exclusive", parameters={"x": value, "y": [value]}, tags={"t": value}) as run:
        run.log_metric("one", value)
        run.log_metrics({"many": value})
        run.log_quality("check", True, expected=value, actual=value)
        run.log_quality("whole", DataQualityResult(passed=True, expected=value))
        with run.stage("load") as stage:
            stage.log_metric("staged", value)
        tracker.runs.update_run_metrics(run.run_id, {"by hand": value})
    found = stored(tracker.runs.config, run.run_id)
    assert found.status is RunStatus.SUCCESS
    assert found.metrics == {"one": kept, "many": kept, "by hand": kept}
    assert found.stages["load"].metrics == {"staged": kept}
    check, whole = found.data_quality["check"], found.data_quality["whole"]
    assert (check.expected, check.actual, whole.expected) == (kept, kept, kept)
    assert found.parameters == {"x": kept, "y": [kept]}
    assert found.tags["t"] == str(kept)
    assert math.isfinite(found.duration_seconds or 0)
