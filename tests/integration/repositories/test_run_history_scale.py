"""The cost in units of questions about the history, which does not grow with its size."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from benchmarks.history import HOURS_APART, LIVE, NOW, PIPELINES, QUESTIONS, load_history
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.repositories import PipelineRunLogsRepository, create_tables
from dynamodb_wrapper.repositories.run_log.store import RunStore
from tests.support.engines import Capability, isolated, refuse_scan

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

pytestmark = [pytest.mark.slow, pytest.mark.newest_only]

RUNS = 5_000


def cost_of(config: DynamoDBConfig) -> dict[str, float]:
    runs, store, costs = PipelineRunLogsRepository(config), RunStore.of(config), {}
    with refuse_scan(client_for(config)):
        for name, (ask, _) in QUESTIONS.items():
            with runs.consumed() as used, store.caller.consumed() as more:
                assert ask(runs, store) is not None, name
            costs[name] = used.read_units + more.read_units
    return costs


@pytest.fixture(scope="module")
def costs(local_engine: Engine) -> tuple[dict[str, float], dict[str, float]]:
    """What the questions cost with a tenth of the history, and with all of it."""
    local_engine.require(Capability.EXACT_CAPACITY)
    config = isolated(local_engine.config)
    create_tables(config)
    live = load_history(config, NOW, range(RUNS // 10), live=LIVE)
    small = cost_of(config)
    load_history(config, NOW, range(RUNS // 10, RUNS), live=0)
    large = cost_of(config)
    for run in live:
        run.finish()
    return small, large


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_costs_what_is_documented(
    costs: tuple[dict[str, float], dict[str, float]], name: str
) -> None:
    assert costs[1][name] <= QUESTIONS[name][1]


def test_no_question_costs_more_when_the_history_is_ten_times_as_long(
    costs: tuple[dict[str, float], dict[str, float]],
) -> None:
    small, large = costs
    by_rows = {"the last 50 of a pipeline", "40 that failed in 24 hours"}  # more rows, up to limit
    assert {name: cost for name, cost in large.items() if name not in by_rows} == {
        name: cost for name, cost in small.items() if name not in by_rows
    }


def test_the_answers_are_right(local_engine: Engine) -> None:
    config = isolated(local_engine.config)
    create_tables(config)
    live = load_history(config, NOW, range(3 * PIPELINES), live=2)
    runs = PipelineRunLogsRepository(config)
    found = runs.get_runs_by_pipeline("p-7")
    assert [run.run_id for run in found] == ["run-0000007", "run-0000507", "run-0001007"]
    assert found[0].start_time == NOW - timedelta(hours=7 * HOURS_APART)
    assert len(runs.get_running_pipelines()) == 2
    for run in live:
        run.finish()
    since = NOW - timedelta(hours=24)  # not from now: the history was made a while ago
    failed = {run.run_id for run in runs.get_runs_by_status("failed", since=since, limit=None)}
    assert failed == {f"run-{n:07d}" for n in range(3 * PIPELINES) if n % 10 == 3} & {
        f"run-{n:07d}" for n in range(3 * PIPELINES) if n * HOURS_APART <= 24
    }
