"""What a run costs, asserted on an engine that reports the capacity of transactions."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.config import client_for
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository, create_tables
from dynamodb_wrapper.runs import RunTracker
from tests.engines import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.engines import Engine

# The most a call may cost, in write units.
START, STAGE_OR_METRIC, BEAT, LOG_CHUNK, FINISH, WATERMARK = 10, 4, 4, 10, 18, 2


class Bill:
    """Adds up the write units every client of a test is charged, by operation."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self.write_units = 0.0
        self.requests: list[tuple[str, float]] = []
        for client in (client_for(config), client_for(config.impatient())):
            client.meta.events.register("after-call.dynamodb", self._charge)

    def _charge(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        consumed = parsed.get("ConsumedCapacity") or []
        entries = [consumed] if isinstance(consumed, dict) else consumed
        units = float(sum(entry.get("CapacityUnits", 0) for entry in entries))
        if model.name in ("UpdateItem", "PutItem", "TransactWriteItems"):
            self.write_units += units
            self.requests.append((model.name, units))

    def of(self, action: Callable[[], object]) -> float:
        before = self.write_units
        action()
        return self.write_units - before


@pytest.fixture
def tables(local_engine: Engine, local_config: DynamoDBConfig) -> DynamoDBConfig:
    """An engine that charges an index entry once; DynamoDB Local doubles it in transactions."""
    local_engine.require(Capability.TRANSACTION_CAPACITY, Capability.EXACT_CAPACITY)
    create_tables(local_config)
    pipelines = PipelineConfigRepository(local_config)
    slow = {"heartbeat_interval": timedelta(hours=1), "lease_duration": timedelta(hours=4)}
    pipelines.create(PipelineConfig(pipeline_id="exclusive", **slow))
    return local_config


def test_a_run_of_ten_stages_and_twenty_metrics_costs_what_the_table_says(
    tables: DynamoDBConfig,
) -> None:
    bill, tracker = Bill(tables), RunTracker(tables)
    with tracker.run("exclusive") as run:
        assert bill.write_units <= START, bill.requests
        for number in range(10):
            with run.stage(f"stage-{number}") as stage:
                stage.rows(read=1000, written=1000)
        for number in range(20):
            run.log_metric(f"metric-{number}", number)
        inside = bill.write_units
    assert inside <= START + (10 * 2 + 20) * STAGE_OR_METRIC, bill.requests
    assert bill.write_units - inside <= FINISH, bill.requests


def test_each_call_costs_what_the_table_says(tables: DynamoDBConfig) -> None:
    bill, tracker = Bill(tables), RunTracker(tables)
    run = tracker.start("exclusive")
    assert bill.write_units <= START
    assert bill.of(run.beat) <= BEAT
    assert bill.of(lambda: run.log_metric("m", 1)) <= STAGE_OR_METRIC
    assert bill.of(lambda: run.record_quality("q", True)) <= STAGE_OR_METRIC
    for number in range(300):
        logging.getLogger("my").warning("a line of a usual length, number %d", number)
    assert bill.of(run.store_logs) <= LOG_CHUNK + STAGE_OR_METRIC
    run.advance_watermark("a", 1)
    run.advance_watermark("b", 1)
    assert bill.of(run.finish) <= FINISH + 2 * WATERMARK


def test_a_beat_is_not_charged_for_the_indexes(tables: DynamoDBConfig) -> None:
    bill, tracker = Bill(tables), RunTracker(tables)
    with tracker.run("exclusive") as run:
        assert bill.of(run.beat) == 1, "a run of less than 1 KB"
