"""What a run costs, asserted on an engine that reports the capacity of transactions."""

from __future__ import annotations

import contextvars
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunTracker
from tests.support.engines import Capability
from tests.support.runs import STEADY, abandoned, beat, later, store_log_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run
    from tests.support.engines import Engine

# What a call costs for a run of at most 1 KB, in write units; docs/runs.md says the same.
START, TAKEOVER, FINISH, REAP, RUN_KEY, WATERMARK = 8, 8, 10, 10, 2, 2
START_UNLIMITED, FURTHER_KB = 7, 2
# The most a call may cost for a run of up to 4 KB.
STAGE_OR_METRIC, BEAT, LOG_CHUNK, LARGE_FINISH = 4, 4, 10, 18
EXTERNAL_ID, TAG, CHILD, EXPIRE, DELETE = 1, 3, 1, 4, 4
WRITES = ("UpdateItem", "PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive", **STEADY),
        PipelineConfig(pipeline_id="e", **STEADY),
        PipelineConfig(pipeline_id="u", max_concurrent_runs=None, **STEADY),
    ]


@pytest.fixture
def charging_tables(local_engine: Engine, local_tables: DynamoDBConfig) -> DynamoDBConfig:
    """An engine that charges an index entry once; DynamoDB Local doubles it in transactions."""
    local_engine.require(Capability.TRANSACTION_CAPACITY, Capability.EXACT_CAPACITY)
    return local_tables


class Bill:
    """Adds up the units every client of a test is charged, write units by operation."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self.write_units = 0.0
        self.read_units = 0.0
        self.requests: list[tuple[str, float]] = []
        for client in (client_for(config), client_for(config.impatient())):
            client.meta.events.register("after-call.dynamodb", self._charge)

    def _charge(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        consumed = parsed.get("ConsumedCapacity") or []
        entries = [consumed] if isinstance(consumed, dict) else consumed
        units = float(sum(entry.get("CapacityUnits", 0) for entry in entries))
        if model.name in WRITES:
            self.write_units += units
            self.requests.append((model.name, units))
        else:
            self.read_units += units

    def of(self, action: Callable[[], object]) -> float:
        return self.both(action)[0]

    def both(self, action: Callable[[], object]) -> tuple[float, float]:
        """Return the write units and the read units of an action."""
        before = self.write_units, self.read_units
        action()
        return self.write_units - before[0], self.read_units - before[1]


def test_a_run_of_ten_stages_and_twenty_metrics_costs_what_the_table_says(
    charging_tables: DynamoDBConfig,
) -> None:
    bill, tracker = Bill(charging_tables), RunTracker(charging_tables)
    with tracker.run("exclusive") as run:
        assert bill.write_units <= START, bill.requests
        for number in range(10):
            with run.stage(f"stage-{number}") as stage:
                stage.log_rows(read=1000, written=1000)
        for number in range(20):
            run.log_metric(f"metric-{number}", number)
        inside = bill.write_units
    assert inside <= START + (10 * 2 + 20) * STAGE_OR_METRIC, bill.requests
    assert bill.write_units - inside <= LARGE_FINISH, bill.requests


def test_each_call_costs_what_the_table_says(charging_tables: DynamoDBConfig) -> None:
    bill, tracker = Bill(charging_tables), RunTracker(charging_tables)
    run = tracker.start("exclusive")
    assert bill.write_units <= START + FURTHER_KB
    assert bill.of(lambda: beat(run)) <= BEAT
    assert bill.of(lambda: run.log_metric("m", 1)) <= STAGE_OR_METRIC
    assert bill.of(lambda: run.log_quality("q", True)) <= STAGE_OR_METRIC
    for number in range(300):
        logging.getLogger("my").warning("a line of a usual length, number %d", number)
    assert bill.of(lambda: store_log_lines(run)) <= LOG_CHUNK + STAGE_OR_METRIC
    run.advance_watermark("a", 1)
    run.advance_watermark("b", 1)
    assert bill.of(run.finish) <= LARGE_FINISH + 2 * WATERMARK


def test_a_beat_is_not_charged_for_the_indexes(charging_tables: DynamoDBConfig) -> None:
    bill, tracker = Bill(charging_tables), RunTracker(charging_tables)
    with tracker.run("exclusive") as run:
        assert bill.of(lambda: beat(run)) == 1, "a run of less than 1 KB"


def about(found: tuple[float, float], write_units: float, read_units: float) -> bool:
    """Return whether units are those of a small run; with long names an item may be over 1 KB."""
    return found[0] - write_units in (0, FURTHER_KB) and found[1] == read_units


def test_start_and_end_of_a_small_run_cost_what_the_page_says(
    charging_tables: DynamoDBConfig,
) -> None:
    bill, tracker = Bill(charging_tables), RunTracker(charging_tables)
    tracker.start("u").finish()  # the first of a table has less to read
    runs: list[Run] = []

    def begin(pipeline_id: str, **how: Any) -> tuple[float, float]:
        return bill.both(lambda: runs.append(tracker.start(pipeline_id, **how)))

    assert about(begin("e"), START, 2)
    assert about(bill.both(runs[-1].finish), FINISH, 1)
    assert about(begin("e", run_key="monday"), START + RUN_KEY, 3)
    runs[-1].advance_watermark("a", 1)
    runs[-1].advance_watermark("b", 1)
    assert about(bill.both(runs[-1].finish), FINISH + RUN_KEY + 2 * WATERMARK, 1)
    assert about(begin("u"), START_UNLIMITED, 1.5)
    assert about(bill.both(runs[-1].finish), FINISH, 1)
    assert about(begin("u", run_key="monday"), START_UNLIMITED + RUN_KEY, 2.5)
    assert about(bill.both(runs[-1].finish), FINISH + RUN_KEY, 1)


def test_dead_runs_cost_what_the_page_says(charging_tables: DynamoDBConfig) -> None:
    bill, tracker = Bill(charging_tables), RunTracker(charging_tables)
    future = RunTracker(charging_tables, clock=later(hours=5))
    runs: list[Run] = []
    abandoned(charging_tables, "e")
    assert about(bill.both(lambda: runs.append(future.start("e"))), START + TAKEOVER, 3)
    runs[-1].finish()
    contextvars.Context().run(lambda: runs.append(tracker.start("e", run_key="monday")))
    taken = bill.both(lambda: runs.append(future.start("e", run_key="tuesday")))
    assert about(taken, START + RUN_KEY + TAKEOVER + RUN_KEY, 5)
    runs[-1].finish()
    abandoned(charging_tables, "e")
    assert bill.of(future.reap) in (REAP, REAP + FURTHER_KB)
    abandoned(charging_tables, "e")
    assert about(bill.both(lambda: tracker.release("e", reason="dead")), REAP, 3)


def test_finding_and_removing_runs_costs_what_the_page_says(
    charging_tables: DynamoDBConfig,
) -> None:
    bill, tracker = Bill(charging_tables), RunTracker(charging_tables)
    runs = tracker.runs
    tracker.start("u").finish()
    found: list[Run] = []

    def begin(**how: Any) -> tuple[float, float]:
        return bill.both(lambda: found.append(tracker.start("u", **how)))

    assert about(begin(external_id="job-1"), START_UNLIMITED + EXTERNAL_ID, 1.5)
    found[-1].finish()
    assert about(begin(tags={"a": "x", "b": "y"}), START_UNLIMITED + 2 * TAG, 1.5)
    found[-1].finish()
    assert about(begin(parent=found[0].run_id), START_UNLIMITED + CHILD, 2.5)
    found[-1].finish()
    assert bill.both(lambda: runs.find_by_external_id("job-1")) == (0, 1)
    assert bill.both(lambda: runs.find_by_tag("a", "x")) == (0, 1)
    assert bill.both(lambda: runs.children(found[0].run_id)) == (0, 1)
    for run, beside, deleted in zip(found, (0, 2, 0), (1, 4, 1)):
        expiring = bill.both(lambda run=run: runs.expire(run.run_id, timedelta(days=1)))
        assert expiring[0] - EXPIRE - beside in (0, 1), "one more for a run of more than 1 KB"
        assert expiring[1] == 3
        removal = bill.both(lambda run=run: runs.delete(run.run_id))
        assert removal[0] - DELETE - deleted in (0, 1)
        assert removal[1] == 3
    begin(run_key="monday")
    found[-1].finish()
    freed = bill.both(lambda: runs.delete(found[-1].run_id, free_run_key=True))
    assert about(freed, DELETE + 1 + RUN_KEY, 4)


def test_the_store_counts_the_same(charging_tables: DynamoDBConfig) -> None:
    store = RunStore.of(charging_tables)
    run = PipelineRunLog(pipeline_id="e", writer="w")
    with store.caller.consumed() as start:
        begun, _ = store.start(run, exclusive=True)
    with store.caller.consumed() as end:
        store.ends.finish(begun, RunOutcome(RunStatus.SUCCESS))
    assert (start.write_units, start.read_units) == (START, 1)
    assert (end.write_units, end.read_units) == (FINISH, 1)


PLACES = {
    "page": Path(__file__).parents[3].joinpath("docs", "runs.md").read_text(),
    "RunTracker.run": RunTracker.run.__doc__,
    "RunStore.start": RunStore.start.__doc__,
}


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES)
def test_every_place_says_the_same_of_a_start(text: str) -> None:
    assert f"{START} to 12 write" in " ".join(text.split())
