"""A pipeline that is not registered, and arguments that are none, are named as such."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from dynamodb_wrapper import (
    ItemNotFoundError,
    RunTracker,
    SparkDynamoDBIntegration,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.config import DynamoDBConfig

DAY = date(2026, 3, 1)
CALLS: dict[str, Callable[[RunTracker, str], Any]] = {
    "start": lambda tracker, name: tracker.start(name),
    "run": lambda tracker, name: tracker.run(name).__enter__(),
    "holder": lambda tracker, name: tracker.holder(name),
    "release": lambda tracker, name: tracker.release(name, reason="dead"),
    "watermark": lambda tracker, name: tracker.watermark(name, "position"),
    "reset_watermark": lambda tracker, name: tracker.reset_watermark(name, "position", 1),
    "coverage": lambda tracker, name: tracker.coverage(name, DAY, date(2026, 3, 2)),
    "statistics": lambda tracker, name: tracker.statistics(name),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_unknown_pipeline_is_never_answered_like_an_empty_one(
    tracker: RunTracker, call: Callable[[RunTracker, str], Any]
) -> None:
    with pytest.raises(ItemNotFoundError) as caught:
        call(tracker, "exclusve")
    message = caught.value.message
    assert "There is no pipeline 'exclusve'" in message
    assert "create(PipelineConfig(pipeline_id='exclusve'))" in message
    assert message.endswith("Similar: 'exclusive'.")


def test_a_known_pipeline_without_runs_is_empty(tracker: RunTracker) -> None:
    assert tracker.holder("exclusive") is None
    assert tracker.release("exclusive", reason="dead") is None
    assert tracker.watermark("exclusive", "position", 7) == 7
    assert tracker.statistics("exclusive").runs == 0


def test_a_hint_that_cannot_be_read_leaves_the_error(
    tracker: RunTracker, local_tables: DynamoDBConfig
) -> None:
    with pytest.raises(ItemNotFoundError, match="There is no pipeline 'zzz'") as caught:
        tracker.holder("zzz")
    assert "Similar" not in caught.value.message


@pytest.mark.parametrize("kind", [RunTracker, SparkDynamoDBIntegration])
def test_arguments_of_constructors_are_checked(kind: Any, local_tables: DynamoDBConfig) -> None:
    resource = boto3.resource("dynamodb", region_name="us-east-1")
    for given, wrong in (
        ({"config": "x"}, "config is 'x'; it is a DynamoDBConfig"),
        ({"client": resource}, r"resource of boto3; give the client .* resource\.meta\.client"),
        ({"client": boto3.Session()}, "client is a Session"),
        ({"hooks": 3}, "hooks is 3; it is a list of functions"),
        ({"hooks": [3]}, "An item of hooks is 3"),
        ({"clock": 3}, "clock is 3; it is a function"),
    ):
        with pytest.raises(ValidationError, match=wrong):
            kind(**{"config": local_tables, **given})
