"""Drivers killed at each of their calls of DynamoDB: watermark and successes always agree.

Every driver adds one to a watermark. It is killed when a request is about to be sent, or when its
reply has come and is not yet looked at. The next driver's clock is an hour ahead, so that it takes
over at once. What is stored is read with plain boto3.
"""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle, product
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import RunFinishError
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.runs import RunTracker
from tests.support.engines import isolated
from tests.support.runs import beat, later, with_pipelines

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

MOMENTS = {"before": "before-send.dynamodb", "after": "response-received.dynamodb"}


# ---- the drivers ---------------------------------------------------------------------------------


def increment(config: DynamoDBConfig, client: Any, hours: float, meanwhile: str) -> None:
    """Add one to the watermark in a run that may be taken for dead meanwhile."""
    tracker = RunTracker(config, client=client, clock=later(hours=hours))
    with tracker.run("counter") as run:
        seen = run.watermark("count", 0)
        beat(run)
        run.log_metric("seen", seen)
        if meanwhile == "reaped":
            RunTracker(config, client=client, clock=later(hours=hours + 0.5)).reap()
        if meanwhile == "superseded":
            elsewhere = contextvars.Context()
            elsewhere.run(increment, config, client, hours + 0.5, "nothing")
        run.advance_watermark("count", seen + 1)


def be_superseded(config: DynamoDBConfig, client: Any, hours: float) -> None:
    try:
        increment(config, client, hours, "superseded")
    except RunFinishError:
        return
    raise AssertionError("the success of a superseded run was taken")


def die_at(client: Any, moment: str, number: int) -> None:
    """Kill this process at one of the client's requests."""
    requests = count(1)

    def die(**_: Any) -> None:
        if next(requests) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    client.meta.events.register(MOMENTS[moment], die)


def drive_children(config: DynamoDBConfig, pipe: Any) -> None:
    """Fork a driver for each order and return its end; they begin warm, without connections."""
    client = client_for(config)
    increment(config, client, 0, "nothing")
    client.close()
    gc.freeze()
    pipe.send("ready")
    for moment, number, hours, meanwhile in iter(pipe.recv, None):
        child = os.fork()
        if child == 0:
            try:
                die_at(client, moment, number)
                if meanwhile == "superseded":
                    be_superseded(config, client, hours)
                else:
                    increment(config, client, hours, meanwhile)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


# ---- what is stored ------------------------------------------------------------------------------


class Ledger:
    """Looks, after each crash, whether what is stored agrees; reads with plain boto3."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self._config = config
        self._client = client_for(config)
        self._table = config.table_name("pipeline_run_logs")
        self.starts = 0
        self.fence = 0

    def check(self) -> int:
        """Return the number of successes, all statements having been found to hold."""
        pipeline, cursor = self._items("#pipeline#counter", "#cursor#counter#count")
        successes = self._query("by_pipeline_status", "gx_pipeline_status", "counter#success")
        assert number(cursor, "value") == len(successes)
        assert number(cursor, "row_version") == len(successes)
        live = self._query("live", "gx_live", "dev")
        assert live == ([pipeline["holder"]["S"]] if "holder" in pipeline else [])
        starts, fence = number(pipeline, "next_seq"), number(pipeline, "fence")
        assert fence - self.fence >= starts - self.starts
        assert (fence > self.fence) == (starts > self.starts)
        self.starts, self.fence = starts, fence
        return len(successes)

    def check_history(self) -> None:
        """Look at every run there ever was."""
        runs = sorted(self._all_runs(), key=lambda run: number(run, "run_seq"))
        fences = [number(run, "fence") for run in runs]
        assert fences == sorted(set(fences))
        assert [number(run, "run_seq") for run in runs] == list(range(1, len(runs) + 1))
        live = [run for run in runs if run["status"] == {"S": "running"}]
        holder = self._items("#pipeline#counter")[0].get("holder")
        assert [run["run_id"] for run in live] == ([] if holder is None else [holder])
        ended = [run for run in runs if run["status"]["S"] in ("success", "lost")]
        assert len(live) + len(ended) == len(runs)
        assert all("end_time" in run and "lease_until" not in run for run in ended)
        moves = [run["watermarks"]["M"]["count"]["M"] for run in ended if succeeded(run)]
        assert [number(move, "after") for move in moves] == list(range(1, len(moves) + 1))
        assert not any(run["watermarks"]["M"] for run in runs if not succeeded(run))

    def late_finishes(self) -> int:
        return sum(run.get("late_finish") == {"BOOL": True} for run in self._all_runs())

    def late_outcomes(self) -> int:
        return sum("late_outcome" in run for run in self._all_runs())

    def _items(self, *keys: str) -> list[dict[str, Any]]:
        wanted = {"Keys": [{"run_id": {"S": key}} for key in keys], "ConsistentRead": True}
        response = self._client.batch_get_item(RequestItems={self._table: wanted})
        found = {one["run_id"]["S"]: one for one in response["Responses"][self._table]}
        return [found.get(key, {}) for key in keys]

    def _query(self, index: str, name: str, value: str) -> list[str]:
        response = self._client.query(
            TableName=self._table,
            IndexName=index,
            KeyConditionExpression="#p = :p",
            ProjectionExpression="run_id",
            ExpressionAttributeNames={"#p": name},
            ExpressionAttributeValues={":p": {"S": value}},
        )
        assert "LastEvaluatedKey" not in response
        return [found["run_id"]["S"] for found in response["Items"]]

    def _all_runs(self) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, ConsistentRead=True
        )
        return [run for page in pages for run in page["Items"] if run["kind"] == {"S": "RUN"}]


def number(found: dict[str, Any], name: str) -> int:
    return int(found[name]["N"]) if name in found else 0


def succeeded(run: dict[str, Any]) -> bool:
    return run["status"] == {"S": "success"}


# ---- the tests -----------------------------------------------------------------------------------


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [PipelineConfig(pipeline_id="counter")]


@pytest.fixture
def two_counters(
    local_config: DynamoDBConfig, pipeline_configs: list[PipelineConfig]
) -> list[DynamoDBConfig]:
    """Two configs on the embedded engine with different tables."""
    return [with_pipelines(isolated(local_config), *pipeline_configs) for _ in range(2)]


def crash(config: DynamoDBConfig, drivers: Drivers, crashes: int) -> tuple[int, Ledger]:
    """Kill so many drivers, each one call later than the last; return how many were not killed."""
    parent, ledger, hours, survivors = drivers.fork(drive_children, config), Ledger(config), 0, 0
    assert parent.hear() == "ready"
    for meanwhile, moment in cycle(product(("nothing", "reaped", "superseded"), MOMENTS)):
        for at in count(1):
            hours += 1
            parent.tell((moment, at, hours, meanwhile))
            code = parent.hear()
            ledger.check()
            if code == 0:  # it had made all its calls
                survivors += 1
                break
            assert code == -signal.SIGKILL, f"{meanwhile}, {moment} call {at}"
            if hours - survivors == crashes:
                return survivors + 1, ledger
    raise AssertionError("unreachable")


@pytest.mark.newest_only
@pytest.mark.slow
def test_five_hundred_killed_drivers_count_exactly(
    two_counters: list[DynamoDBConfig], drivers: Drivers
) -> None:
    with ThreadPoolExecutor(2) as pool:
        crashing = [pool.submit(crash, config, drivers, 250) for config in two_counters]
    for survivors, ledger in [future.result() for future in crashing]:
        ledger.check_history()
        assert ledger.check() > survivors  # others were killed after their success was stored
        assert ledger.late_finishes() > 1
        assert ledger.late_outcomes() > 1


def test_killed_drivers_count_exactly_on_each_engine(
    locking_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    _, ledger = crash(locking_tables, drivers, 50)
    ledger.check_history()
