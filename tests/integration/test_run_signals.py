"""Signals and exits: what is stored of a run, what its program sees, how the process ends."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

import dynamodb_wrapper.runs
from dynamodb_wrapper.config import client_for
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.repositories import PipelineConfigRepository, create_tables
from dynamodb_wrapper.runs import Run, RunEvent, RunOptions, RunTracker, find_current_run
from dynamodb_wrapper.spark import SparkDynamoDBIntegration
from tests.processes import eventually
from tests.runs import state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.processes import Drivers

SECONDS = 5
SPARK = {"spark.master": "local[1]", "spark.ui.enabled": "false"}
SLEEP_FOR_EVER = "java_method('java.lang.Thread', 'sleep', 600000L)"


@pytest.fixture
def tables(local_config: DynamoDBConfig) -> DynamoDBConfig:
    """An exclusive pipeline, another one, and one for Spark."""
    create_tables(local_config)
    pipelines = PipelineConfigRepository(local_config)
    pipelines.create(PipelineConfig(pipeline_id="exclusive"))
    pipelines.create(PipelineConfig(pipeline_id="other"))
    pipelines.create(PipelineConfig(pipeline_id="spark", spark_config=SPARK))
    return local_config


def end_of(config: DynamoDBConfig, run_id: str) -> tuple[str, str | None, int | None]:
    record = stored(config, run_id)
    return str(record.status), record.status_reason, record.exit_code


def seconds_until_ended(config: DynamoDBConfig, run_id: str) -> float:
    begin = time.monotonic()
    eventually(lambda: stored(config, run_id).status.is_terminal)
    return time.monotonic() - begin


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


# ---- during a Spark action -----------------------------------------------------------------------


def block_in_spark(config: DynamoDBConfig, pipe: Any, cancel_spark_jobs: bool) -> None:
    """Wait in a Spark action, in Java; tell how that ended, and what became of the jobs."""
    integration = SparkDynamoDBIntegration(config)
    options = RunOptions(cancel_spark_jobs=cancel_spark_jobs)
    before: list[Any] = []
    session: Any = None
    try:
        with integration.pipeline_run_context("spark", options=options) as run_id:
            session = integration.create_spark_session()
            tell_when_at_work(session, pipe, run_id)
            try:
                session.range(1).selectExpr(SLEEP_FOR_EVER).collect()
            finally:
                pipe.send("finally")
    except BaseException as error:
        pipe.send(type(error).__name__)
        raise
    finally:
        pipe.send(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        elsewhere(lambda: pipe.send(jobs_that_remain(session)))
    assert before


def tell_when_at_work(session: Any, pipe: Any, run_id: str) -> None:
    tracker = session.sparkContext.statusTracker()

    def tell() -> None:
        eventually(tracker.getActiveJobsIds)
        eventually(lambda: any(s.numActiveTasks for s in stages_of(tracker)))
        pipe.send(run_id)

    threading.Thread(target=tell, daemon=True).start()


def stages_of(tracker: Any) -> list[Any]:
    found = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return [stage for stage in found if stage is not None]


def jobs_that_remain(session: Any) -> int:
    """Return how many jobs are active, once none is or after a while."""
    tracker, end = session.sparkContext.statusTracker(), time.monotonic() + 30
    while tracker.getActiveJobsIds() and time.monotonic() < end:
        time.sleep(0.05)
    return len(tracker.getActiveJobsIds())


def elsewhere(work: Callable[[], None]) -> None:
    """Work in another thread: after an interruption replies to this one may be one off."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("number", "cancel_spark_jobs", "raised", "end", "code"),
    [
        (signal.SIGTERM, True, "SystemExit", ("cancelled", "signal", 143), 143),
        (
            signal.SIGINT,
            False,
            "KeyboardInterrupt",
            ("cancelled", "user_cancel", None),
            -signal.SIGINT,
        ),
    ],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_a_signal_during_a_blocking_spark_action_ends_run_body_jobs_and_process(
    spark_installation: None,
    tables: DynamoDBConfig,
    drivers: Drivers,
    number: int,
    cancel_spark_jobs: bool,
    raised: str,
    end: tuple[str, str, int | None],
    code: int,
) -> None:
    driver = drivers.launch(block_in_spark, tables, cancel_spark_jobs=cancel_spark_jobs)
    run_id = driver.hear()
    driver.signal(number)
    assert seconds_until_ended(tables, run_id) < SECONDS
    assert driver.hear() == "finally"
    assert driver.hear() == raised
    assert driver.hear() is True, "the handler of SIGTERM is not the one from before"
    assert driver.hear() == 0, "jobs go on"
    assert driver.exit_code() == code
    assert end_of(tables, run_id) == end
    assert "holder" not in state(tables, "spark")
