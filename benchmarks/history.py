"""Read units and time of queries on a long history of runs: ``python -m benchmarks.history``.

The history consists of copies of one real run, which boto3 writes to the table.
"""

from __future__ import annotations

import argparse
import contextvars
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.local import LocalDynamoDB
from dynamodb_wrapper.models import PipelineConfig, RunStatus, utc_text
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run

PIPELINES = 500
HOURS_APART = 0.02
LIVE = 5
NOW = datetime.now(timezone.utc)

# Each query with the most read units it may consume, as stated in the documentation.
QUESTIONS: dict[str, tuple[Callable[[PipelineRunLogsRepository, RunStore], Any], float]] = {
    "latest run": (lambda runs, _: runs.latest("p-7"), 0.5),
    "last success": (lambda runs, _: runs.last_success("p-7"), 0.5),
    "the last 50 of a pipeline": (lambda runs, _: runs.get_runs_by_pipeline("p-7", limit=50), 4),
    "failed of a pipeline in two days": (
        lambda runs, _: runs.get_runs_by_status(
            RunStatus.FAILED, pipeline_id="p-7", since=NOW - timedelta(days=2), until=NOW
        ),
        0.5,
    ),
    "40 that failed in 24 hours": (lambda runs, _: runs.get_failed_runs(hours=24, limit=40), 6),
    "running now": (lambda runs, _: runs.get_running_pipelines(), 0.5 + LIVE),
    "state of a pipeline": (lambda _, store: store.state("p-7"), 1),
    "whole run": (lambda runs, _: runs.get_by_run_id("run-0000007", consistent=True), 1),
}

_PER_REQUEST = 25


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the history and print the read units and the time of each query."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history")
    parser.add_argument("--runs", type=int, default=100_000, help="number of runs (100,000)")
    wanted = parser.parse_args(arguments)
    with LocalDynamoDB() as local:
        create_tables(local.config)
        begun = time.monotonic()
        live = load_history(local.config, NOW, range(wanted.runs), live=LIVE)
        print(
            f"{wanted.runs:,} runs of {PIPELINES} pipelines on {local.engine}, loaded in "
            f"{time.monotonic() - begun:.0f} s.\n"
        )
        runs, store = PipelineRunLogsRepository(local.config), RunStore.of(local.config)
        print(f"{'question':<34}{'read units':>12}{'documented':>12}{'milliseconds':>14}")
        for name, (ask, documented) in QUESTIONS.items():
            with runs.consumed() as used, store.caller.consumed() as more:
                begun = time.perf_counter()
                ask(runs, store)
                milliseconds = 1000 * (time.perf_counter() - begun)
            units = used.read_units + more.read_units
            print(f"{name:<34}{units:>12}{documented:>12}{milliseconds:>14.1f}")
        for run in live:
            run.finish()
    return 0


def load_history(
    config: DynamoDBConfig, now: datetime, numbers: Iterable[int], live: int
) -> list[Run]:
    """Store runs of 500 pipelines, each a little older than the one before; every tenth failed.

    Args:
        config: The tables.
        now: The start of run number 0, the newest.
        numbers: The numbers of the runs.
        live: The number of runs to start in addition.

    Returns:
        The runs that were started; the caller finishes them.
    """
    template = _template(config)
    client, table = client_for(config), config.table_name("pipeline_run_logs")
    puts = [{"PutRequest": {"Item": _item(template, now, n)}} for n in numbers]
    for begin in range(0, len(puts), _PER_REQUEST):
        left: Any = {table: puts[begin : begin + _PER_REQUEST]}
        while left:
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]
    started = []
    for number in range(live):
        _pipeline(config, f"live-{number}")
        run = contextvars.Context().run(RunTracker(config).start, f"live-{number}")
        run.internals.heartbeat.stop()
        started.append(run)
    return started


def _template(config: DynamoDBConfig) -> dict[str, Any]:
    """Return the item of a real run with a stage, after its end."""
    _pipeline(config, "template")
    with RunTracker(config).run("template") as run:
        with run.stage("load") as stage:
            stage.log_rows(read=1000, written=1000)
        run.log_rows(read=1000, written=1000)
    found = client_for(config).get_item(
        TableName=config.table_name("pipeline_run_logs"), Key={"run_id": {"S": run.run_id}}
    )
    return dict(found["Item"])


def _pipeline(config: DynamoDBConfig, pipeline_id: str) -> None:
    PipelineConfigRepository(config).put(
        PipelineConfig(
            pipeline_id=pipeline_id,
            heartbeat_interval=timedelta(hours=1),
            lease_duration=timedelta(hours=4),
        )
    )


def _item(template: dict[str, Any], now: datetime, number: int) -> dict[str, Any]:
    start = now - timedelta(hours=number * HOURS_APART)
    run_id, pipeline_id = f"run-{number:07d}", f"p-{number % PIPELINES}"
    status = "failed" if number % 10 == 3 else "success"
    environment = template["environment"]["S"]
    changed = {
        "run_id": run_id,
        "pipeline_id": pipeline_id,
        "status": status,
        "start_time": utc_text(start),
        "end_time": utc_text(start + timedelta(seconds=30)),
        "gx_pipeline": pipeline_id,
        "gx_started": f"{utc_text(start)}#{run_id}",
        "gx_pipeline_status": f"{pipeline_id}#{status}",
        "gx_status": f"{environment}#{status}",
    }
    return {**template, **{name: {"S": value} for name, value in changed.items()}}


if __name__ == "__main__":
    sys.exit(main())
