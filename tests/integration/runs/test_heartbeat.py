"""The heartbeat's thread lives as long as its run, whatever is done to it."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.runs import RunEvent, RunTracker
from tests.support import faults
from tests.support.processes import eventually
from tests.support.runs import record_of, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(
            pipeline_id="quick",
            heartbeat_interval=timedelta(seconds=0.1),
            lease_duration=timedelta(seconds=3),
        )
    ]


def heartbeats(run: Run) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if "heartbeat" in t.name and run.run_id in t.name]


def raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    """Raise an exception in another thread, as debuggers and time-out libraries do."""
    number = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(kind))


def wait_for_a_beat(config: DynamoDBConfig, run: Run) -> None:
    before = stored(config, run.run_id).heartbeat_at
    eventually(lambda: stored(config, run.run_id).heartbeat_at != before)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, MemoryError])
def test_an_exception_from_outside_does_not_end_the_thread(
    local_tables: DynamoDBConfig, tracker: RunTracker, kind: type[BaseException]
) -> None:
    with tracker.run("quick") as run:
        wait_for_a_beat(local_tables, run)
        (thread,) = heartbeats(run)
        raise_in(thread, kind)
        wait_for_a_beat(local_tables, run)
        wait_for_a_beat(local_tables, run)
        assert heartbeats(run) == [thread]
    assert record_of(tracker, run).status is RunStatus.SUCCESS


def test_a_run_whose_thread_dies_all_the_same_starts_another(
    local_tables: DynamoDBConfig, tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with tracker.run("quick") as run:
        (first,) = heartbeats(run)
        while heartbeats(run) == [first]:
            raise_in(first, SystemExit)
            time.sleep(0.001)
        run.check_lease()  # starts another, unless the dying thread could
        assert [thread for thread in heartbeats(run) if thread is not first]
        wait_for_a_beat(local_tables, run)
    assert record_of(tracker, run).status is RunStatus.SUCCESS


class Raising(logging.Handler):
    """A handler of a program with a mistake, or on a disk that is full."""

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise OSError(28, "No space left on device")


@pytest.fixture
def raising_handler() -> Iterator[None]:
    handler, library = Raising(), logging.getLogger("dynamodb_wrapper")
    library.addHandler(handler)
    yield
    library.removeHandler(handler)


def test_log_handlers_that_raise_and_missing_threads_stop_no_beat(
    local_tables: DynamoDBConfig,
    monkeypatch: pytest.MonkeyPatch,
    raising_handler: None,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    events: list[RunEvent] = []
    tracker = RunTracker(local_tables, hooks=[events.append])
    with tracker.run("quick") as run:
        wait_for_a_beat(local_tables, run)
        with (
            monkeypatch.context() as patch,
            faults.outage(local_tables, faults.reset, "UpdateItem"),
        ):
            patch.setattr(threading.Thread, "start", refuse)
            eventually(lambda: run.internals.liveness.lease.used_share() > 0.75)
        wait_for_a_beat(local_tables, run)
        run.check_lease()
    assert record_of(tracker, run).status is RunStatus.SUCCESS
