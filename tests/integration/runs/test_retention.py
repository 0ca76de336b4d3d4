"""How long runs are kept, and what their history says of a pipeline."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import ItemNotFoundError, ValidationError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, Sla
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
)
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunTracker
from tests.support.engines import Capability, refuse_scan
from tests.support.runs import run_table_items

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

NOW = datetime.now(timezone.utc)


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="kept", retention_days=30),
        PipelineConfig(pipeline_id="default"),
        PipelineConfig(pipeline_id="for-ever", retention_days=None),
    ]


def test_a_run_gets_its_expiry_when_it_ends_and_not_before(locking_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(locking_tables)
    with tracker.run("kept") as run:
        during = tracker.runs.get_or_raise(run.run_id, consistent=True)
    after = tracker.runs.get_or_raise(run.run_id, consistent=True)
    assert during.expires_at is None
    assert after.end_time is not None
    assert after.expires_at == (after.end_time + timedelta(days=30)).replace(microsecond=0)


def test_runs_are_kept_for_400_days_unless_the_pipeline_says_otherwise(
    locking_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(locking_tables)
    with tracker.run("default") as run:
        pass
    after = tracker.runs.get_or_raise(run.run_id, consistent=True)
    assert after.end_time is not None
    assert after.expires_at == (after.end_time + timedelta(days=400)).replace(microsecond=0)
    with tracker.run("for-ever", tags={"team": "a"}) as run:
        logging.getLogger("my").warning("a line")
    assert tracker.runs.get_or_raise(run.run_id, consistent=True).expires_at is None
    items = run_table_items(locking_tables)
    kept = {key: item for key, item in items.items() if key.startswith(run.run_id)}
    assert len(kept) == 3
    assert not any("expires_at" in item for item in kept.values())


def test_a_pipeline_whose_runs_are_kept_for_ever_stays_so(local_tables: DynamoDBConfig) -> None:
    pipelines = PipelineConfigRepository(local_tables)
    forever = pipelines.get_or_raise("for-ever")
    assert forever.retention_days is None
    assert pipelines.update(forever).retention_days is None
    pipelines.update("default", set={"retention_days": None})
    pipelines.put(PipelineConfig(pipeline_id="put", retention_days=None))
    for pipeline_id in ("for-ever", "default", "put"):
        assert pipelines.get_or_raise(pipeline_id, consistent=True).retention_days is None


def test_run_keys_watermarks_and_the_history_of_a_pipeline_do_not_expire(
    locking_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(locking_tables)
    with tracker.run("kept", run_key="monday", tags={"team": "a"}) as run:
        run.advance_watermark("position", 1)
    items = run_table_items(locking_tables)
    kept = {key for key, item in items.items() if "expires_at" not in item}
    assert kept == {"#pipeline#kept", "#slot#kept#monday", "#cursor#kept#position"}


def test_what_is_kept_beside_a_run_does_not_outlive_it_for_long(
    locking_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(locking_tables)
    with tracker.run("kept") as run:
        logging.getLogger("my").warning("a line")
    chunk = client_for(locking_tables).get_item(
        TableName=locking_tables.table_name("pipeline_run_logs"),
        Key={"run_id": {"S": f"{run.run_id}#log#0001"}},
    )["Item"]
    days = (int(chunk["expires_at"]["N"]) - NOW.timestamp()) / 86_400
    assert 36 < days < 38


def test_a_run_that_has_expired_is_gone_for_every_reader(locking_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(locking_tables, clock=lambda: NOW - timedelta(days=60))
    with tracker.run("kept") as run:
        logging.getLogger("my").warning("a line")
    assert tracker.runs.get_by_run_id(run.run_id) is None
    with pytest.raises(ItemNotFoundError):
        tracker.runs.get_log_lines(run.run_id)
    state = RunStore.of(locking_tables).state("kept")
    assert state.holder is None
    assert state.last_run_id == run.run_id  # the state itself is kept for ever


def test_the_table_is_made_with_ttl(engine: Engine, locking_tables: DynamoDBConfig) -> None:
    engine.require(Capability.TIME_TO_LIVE)
    described = client_for(locking_tables).describe_time_to_live(
        TableName=locking_tables.table_name("pipeline_run_logs")
    )["TimeToLiveDescription"]
    assert described["AttributeName"] == "expires_at"
    assert described["TimeToLiveStatus"] in ("ENABLED", "ENABLING")


def test_statistics_tell_durations_success_and_what_missed_its_sla(
    locking_tables: DynamoDBConfig,
) -> None:
    PipelineConfigRepository(locking_tables).create(
        PipelineConfig(
            pipeline_id="measured",
            sla=Sla(max_duration=timedelta(minutes=10), freshness=timedelta(hours=30)),
        )
    )
    runs = PipelineRunLogsRepository(locking_tables)
    lengths = [60, 120, 180, 240, 900]
    for number, seconds in enumerate(lengths):
        start = NOW - timedelta(days=len(lengths) - number)
        status = "failed" if number == 2 else "success"
        runs.create_run_log(
            PipelineRunLog(
                run_id=f"measured-{number}",
                pipeline_id="measured",
                status=status,
                start_time=start,
                end_time=start + timedelta(seconds=seconds),
                duration_seconds=seconds,
            )
        )
        runs.create_run_log(
            PipelineRunLog(pipeline_id="another", status="success", start_time=start)
        )
    tracker = RunTracker(locking_tables)
    with refuse_scan(client_for(locking_tables)):
        found = tracker.statistics("measured", days=30)
    assert (found.runs, found.ended) == (5, 5)
    assert found.by_status == {"success": 4, "failed": 1}
    assert found.success_rate == pytest.approx(0.8)
    assert found.p50_seconds == pytest.approx(180)  # of 60, 120, 240 and 900
    assert found.longest_seconds == 900
    assert found.too_long == ("measured-4",)
    assert found.is_stale is False
    assert found.stale_gaps == 1  # the day of the failure
    assert tracker.statistics("measured", days=2.5).runs == 2


def test_statistics_of_an_unknown_pipeline_or_no_time_are_refused(
    locking_tables: DynamoDBConfig,
) -> None:
    tracker = RunTracker(locking_tables)
    with pytest.raises(ItemNotFoundError, match="nobody"):
        tracker.statistics("nobody")
    with pytest.raises(ValidationError, match="days"):
        tracker.statistics("kept", days=0)
