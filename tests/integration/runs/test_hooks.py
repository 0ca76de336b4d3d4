"""Hooks that hang, wait or cannot have a thread: they hold neither a run nor its process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.runs import RunEvent, RunTracker, find_current_run
from tests.support.runs import record_of, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

LIMIT_SECONDS = 5
"""How long a hook is waited for."""


def hang(event: RunEvent) -> None:
    if event.kind == "finished":
        threading.Event().wait()


def end_with_a_hook_that_hangs(config: DynamoDBConfig, pipe: Any, way: str) -> None:
    tracker = RunTracker(config, hooks=[hang, lambda event: pipe.send(event.kind)])
    run = tracker.start("exclusive")
    pipe.send(run.run_id)
    if way == "finish":
        run.finish()


@pytest.mark.slow
@pytest.mark.parametrize(("way", "status"), [("finish", "success"), ("exit", "failed")])
def test_a_hook_that_hangs_holds_neither_the_others_nor_the_process(
    local_tables: DynamoDBConfig, drivers: Drivers, way: str, status: str
) -> None:
    driver = drivers.launch(end_with_a_hook_that_hangs, local_tables, way=way)
    assert driver.hear() == "started"
    run_id = driver.hear()
    assert driver.hear() == "finished"
    assert driver.exit_code() == 0
    assert stored(local_tables, run_id).status == status


def test_a_hook_belongs_to_the_run_that_starts_and_to_none_once_it_is_over(
    local_tables: DynamoDBConfig,
) -> None:
    def look(event: RunEvent) -> None:
        run = find_current_run()
        seen.append((event.kind, None if run is None else run.run_id))

    seen: list[tuple[str, str | None]] = []
    with RunTracker(local_tables, hooks=[look]).run("exclusive") as run:
        pass
    assert seen == [("started", run.run_id), ("finished", None)]


def test_hooks_are_called_where_no_thread_can_be_started(
    local_tables: DynamoDBConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        if "hooks" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    start, seen = threading.Thread.start, []
    tracker = RunTracker(local_tables, hooks=[lambda event: seen.append(event.kind)])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with tracker.run("exclusive") as run:
        pass
    assert sorted(seen) == ["finished", "started"]
    assert record_of(tracker, run).status == "success"


def test_a_hook_may_begin_and_end_runs(local_tables: DynamoDBConfig) -> None:
    def begin_another(event: RunEvent) -> None:
        kinds.append((event.pipeline_id, event.kind))
        if event.pipeline_id == "exclusive":
            with tracker.run("unlimited"):
                pass

    kinds: list[tuple[str, str]] = []
    tracker = RunTracker(local_tables, hooks=[begin_another])
    begin = time.monotonic()
    with tracker.run("exclusive"):
        pass
    assert time.monotonic() - begin < LIMIT_SECONDS
    assert kinds.count(("unlimited", "finished")) == 2
    assert kinds[-1] == ("unlimited", "finished")
