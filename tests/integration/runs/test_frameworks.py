"""Runs inside of frameworks: how they cancel, exit, and call functions in other threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import importlib
import inspect
import itertools
import logging
import multiprocessing.pool
import subprocess
import sys
import threading
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import (
    ConfigurationError,
    NoActiveRunError,
    RunCancelledError,
    RunTimedOutError,
    ValidationError,
)
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.runs import Run, RunOptions, RunTracker, current_run, find_current_run
from tests.support.processes import in_a_thread
from tests.support.runs import beat, outside_of_runs, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("job")
EXIT_ZERO_FAILS = RunOptions(exit_zero="failed")


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="p"),
        PipelineConfig(pipeline_id="q", max_concurrent_runs=None),
        PipelineConfig(pipeline_id="daily", max_concurrent_runs=None, partition_grain="day"),
    ]


def group(*errors: BaseException) -> BaseException:
    """Return a group of exceptions, Python's or that of the backport."""
    if sys.version_info >= (3, 11):
        return BaseExceptionGroup("a group", errors)  # noqa: F821
    made: BaseException = pytest.importorskip("exceptiongroup").BaseExceptionGroup(
        "a group", errors
    )
    return made


def caused(error: BaseException, by: BaseException) -> BaseException:
    error.__cause__ = by
    return error


def cancelled(run: Run) -> RunCancelledError:
    return RunCancelledError("asked", run_id=run.run_id, pipeline_id=run.pipeline_id)


def timed_out(run: Run) -> RunTimedOutError:
    return RunTimedOutError("late", run_id=run.run_id, pipeline_id=run.pipeline_id)


def nested(error: BaseException, depth: int) -> BaseException:
    for _ in range(depth):
        error = group(error)
    return error


ENDS: list[tuple[str, Callable[[Run], BaseException], str, str]] = [
    ("task", lambda run: asyncio.CancelledError(), "cancelled", "cancelled"),
    ("future", lambda run: concurrent.futures.CancelledError(), "cancelled", "cancelled"),
    ("group", lambda run: group(cancelled(run)), "cancelled", "user_cancel"),
    ("deep", lambda run: nested(cancelled(run), 30), "cancelled", "user_cancel"),
    ("late", lambda run: group(timed_out(run), cancelled(run)), "timed_out", "max_runtime"),
    (
        "both",
        lambda run: group(cancelled(run), asyncio.CancelledError()),
        "cancelled",
        "user_cancel",
    ),
    ("error", lambda run: group(cancelled(run), ValueError()), "failed", "exception"),
    ("cause", lambda run: caused(OSError(), cancelled(run)), "cancelled", "user_cancel"),
    ("late cause", lambda run: caused(OSError(), timed_out(run)), "timed_out", "max_runtime"),
    ("key", lambda run: caused(OSError(), KeyboardInterrupt()), "cancelled", "user_cancel"),
    ("mixed", lambda run: group(caused(OSError(), cancelled(run))), "cancelled", "user_cancel"),
    (
        "time-out",
        lambda run: caused(asyncio.TimeoutError(), asyncio.CancelledError()),
        "failed",
        "exception",
    ),
    (
        "other",
        lambda run: group(RunCancelledError("of another", run_id="another")),
        "failed",
        "exception",
    ),
    ("own cause", lambda run: caused(error := OSError(), error), "failed", "exception"),
]


def test_a_cancellation_in_a_group_or_a_cause_is_one(tracker: RunTracker) -> None:
    for name, error, status, reason in ENDS:
        run = tracker.start("p")
        run.fail(error(run))
        found = record_of(tracker, run)
        assert (name, found.status, found.status_reason) == (name, status, reason)
    assert tracker.holder("p") is None


def test_a_stage_that_an_error_of_a_group_left_is_named(tracker: RunTracker) -> None:
    with pytest.raises(BaseException, match="a group"), tracker.run("p") as run:
        errors = []
        for name in ("one", "two"):
            try:
                with run.stage(name):
                    raise KeyError(name)
            except KeyError as error:
                errors.append(error)
        with run.stage("outer"):
            raise group(*errors)
    found = record_of(tracker, run)
    assert found.error is not None
    assert found.error.stage == "one"


# ---- what the frameworks raise -------------------------------------------------------------------


def load_until_stopped(run: Run) -> None:
    with run.stage("load"):
        raise AssertionError("the run was asked to stop")


async def in_asyncio(run: Run) -> None:
    async def work() -> None:
        load_until_stopped(run)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        tasks.create_task(asyncio.sleep(60))


async def in_anyio(run: Run) -> None:
    anyio = pytest.importorskip("anyio")

    async def work() -> None:
        load_until_stopped(run)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        tasks.start_soon(anyio.sleep, 60)


async def in_trio(run: Run) -> None:
    trio = pytest.importorskip("trio")

    async def work() -> None:
        load_until_stopped(run)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        nursery.start_soon(trio.sleep, 60)


def run_trio(main: Callable[[], Any]) -> None:
    pytest.importorskip("trio").run(main)


@pytest.mark.parametrize(
    ("libraries", "program", "begin"),
    [
        ([], in_asyncio, lambda main: asyncio.run(main())),
        (["anyio"], in_anyio, lambda main: asyncio.run(main())),
        (["anyio", "trio"], in_anyio, run_trio),
        (["trio"], in_trio, run_trio),
    ],
    ids=["asyncio", "anyio", "anyio on trio", "trio"],
)
def test_a_request_to_cancel_that_a_task_meets_ends_the_run_cancelled(
    tracker: RunTracker, libraries: list[str], program: Any, begin: Any
) -> None:
    for library in libraries:
        pytest.importorskip(library)
    if not libraries and sys.version_info < (3, 11):
        pytest.skip("Python has no TaskGroup")

    async def main() -> None:
        with tracker.run("p") as run:
            tracker.cancel(run.run_id, by="ops")
            beat(run)
            await program(run)

    with pytest.raises(BaseException, match=r"TaskGroup|nursery|group|asked"):
        begin(main)
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert (found.status, found.status_reason) == ("cancelled", "user_cancel")


def test_a_scope_of_trio_that_is_cancelled_cancels_the_run(tracker: RunTracker) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        with trio.CancelScope() as scope:
            with tracker.run("p"):
                scope.cancel()
                await trio.sleep(1)

    trio.run(main)
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert (found.status, found.status_reason) == ("cancelled", "cancelled")


GREENLETS = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, logging, sys
from dynamodb_wrapper import *
from dynamodb_wrapper.runs import *
config = DynamoDBConfig.for_local_development(sys.argv[1], table_prefix=sys.argv[2])
tracker = RunTracker(config)
def work():
    with tracker.run("q"):
        gevent.sleep(60)
killed = gevent.spawn(work)
gevent.sleep(0.01)
while not tracker.runs.get_running_pipelines(): gevent.sleep(0.05)
killed.kill()
with tracker.run("p") as run:
    def log(): logging.getLogger("job").warning("of a greenlet"); return current_run().run_id
    assert gevent.spawn(run.attach()(log)).get() == run.run_id
"""


@pytest.mark.slow
def test_a_greenlet_that_is_killed_cancels_its_run(tracker: RunTracker, local_tables: Any) -> None:
    pytest.importorskip("gevent")
    arguments = [local_tables.endpoint_url, local_tables.table_prefix]
    subprocess.run([sys.executable, "-c", GREENLETS, *arguments], check=True, timeout=60)
    (found,) = tracker.runs.get_runs_by_pipeline("q")
    assert (found.status, found.status_reason) == ("cancelled", "cancelled")
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert "of a greenlet" in tracker.runs.get_log_lines(found.run_id)[0]


EXITS: list[tuple[str, Any, str, str | None, int | None]] = [
    ("Exit", 0, "success", None, None),
    ("Exit", 3, "failed", "process_exit", 3),
    ("Abort", "stopped", "cancelled", "user_cancel", None),
    ("ClickException", "no such file", "failed", "exception", 1),
    ("UsageError", "no such option", "failed", "exception", 2),
]


@pytest.mark.parametrize("library", ["click", "typer"])
def test_an_exit_of_a_command_line_ends_the_run_by_its_code(
    tracker: RunTracker, library: str
) -> None:
    module = pytest.importorskip(library)
    for name, given, status, reason, code in EXITS:
        kind = getattr(module, name, None) or getattr(
            pytest.importorskip("click").exceptions, name, None
        )
        assert kind is not None
        with pytest.raises(kind), tracker.run("p") as run, run.stage("load"):
            raise kind(given)
        found = record_of(tracker, run)
        assert (found.status, found.status_reason, found.exit_code) == (status, reason, code)
        wanted = "success" if status == "success" else "failed"
        assert found.stages["load"].status == wanted


def test_exit_zero_of_a_command_line_may_mean_failure(tracker: RunTracker) -> None:
    click = pytest.importorskip("click")
    with pytest.raises(click.exceptions.Exit), tracker.run("p", options=EXIT_ZERO_FAILS) as run:
        raise click.exceptions.Exit(0)
    assert record_of(tracker, run).status_reason == "process_exit"


# ---- a run in other threads ----------------------------------------------------------------------


def say(text: str) -> str:
    """Log a line, and return the id of the current run."""
    log.warning("%s", text)
    return current_run().run_id


def lines_of(tracker: RunTracker, run: Run) -> list[str]:
    return sorted(line.partition("job: ")[2] for line in tracker.runs.get_log_lines(run.run_id))


def test_a_run_is_handed_to_the_threads_of_a_pool(tracker: RunTracker) -> None:
    other = outside_of_runs(tracker.start, "q")  # a line without a run would be for either
    with tracker.run("p") as run:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert pool.submit(find_current_run).result() is None
            assert set(pool.map(run.attach()(say), "ab")) == {run.run_id}
            copied = contextvars.copy_context()
            assert pool.submit(copied.run, say, "c").result() == run.run_id
            assert pool.submit(find_current_run).result() is None
        with multiprocessing.pool.ThreadPool(2) as threads:
            assert set(threads.map(run.attach()(say), "de")) == {run.run_id}
        in_a_thread(run.attach()(partial(say, "f")))
    other.finish()
    assert lines_of(tracker, run) == list("abcdef")
    assert lines_of(tracker, other) == []


def test_tasks_and_threads_of_asyncio_have_the_run(tracker: RunTracker) -> None:
    async def work() -> str:
        return say("of a task")

    async def main() -> None:
        with tracker.run("p") as run:
            assert await asyncio.create_task(work()) == run.run_id
            assert await asyncio.to_thread(say, "of a thread") == run.run_id
            loop = asyncio.get_running_loop()
            handed = await loop.run_in_executor(None, run.attach()(say), "of a pool")
            assert handed == run.run_id

    asyncio.run(main())
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert len(tracker.runs.get_log_lines(found.run_id)) == 3


def test_a_run_that_begins_in_an_attached_thread_is_a_child(tracker: RunTracker) -> None:
    children: list[Run] = []

    def work() -> None:
        with tracker.run("q") as child:
            children.append(child)

    with tracker.run("p") as run:
        in_a_thread(run.attach()(work))
        with run.attach() as same, run.attach():
            assert same is run
        assert current_run() is run
    assert children[0].record.parent_run_id == run.run_id
    with pytest.raises(NoActiveRunError, match="has already ended"), run.attach():
        pass


def test_a_thread_that_outlives_its_run_has_none(tracker: RunTracker) -> None:
    attached, ended = threading.Event(), threading.Event()
    found: list[Run | None] = []

    def work() -> None:
        with run.attach():
            attached.set()
            ended.wait()
            found.append(find_current_run())
            log.warning("too late")

    with tracker.run("p") as run:
        thread = threading.Thread(target=work)
        thread.start()
        attached.wait()
    ended.set()
    thread.join()
    assert found == [None]
    assert lines_of(tracker, run) == []


# ---- functions -----------------------------------------------------------------------------------


def test_a_result_that_is_still_to_come_is_no_success(tracker: RunTracker) -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    with pool, multiprocessing.pool.ThreadPool(1) as threads:
        promises: list[Callable[[], Any]] = [
            lambda: pool.submit(int),
            lambda: pool.map(int, "12"),
            lambda: map(int, "12"),
            lambda: filter(None, "12"),
            lambda: zip("12", "34"),
            lambda: itertools.chain("12"),
            lambda: (int(text) for text in "12"),
            lambda: threads.apply_async(int),
            lambda: threads.map_async(int, "12"),
            lambda: threads.imap(int, "12"),
        ]
        for make in promises:
            with pytest.raises(ConfigurationError, match=r"would be done after the run.*wait for"):
                tracker.pipeline("p")(make)()
    found = tracker.runs.get_runs_by_pipeline("p")
    assert [run.status for run in found] == [RunStatus.FAILED] * len(promises)


def test_a_greenlet_is_no_result_either(tracker: RunTracker) -> None:
    event = pytest.importorskip("gevent.event")
    with pytest.raises(ConfigurationError, match="returned a AsyncResult"):
        tracker.pipeline("p")(event.AsyncResult)()


def test_a_result_that_is_there_is_returned(tracker: RunTracker) -> None:
    for result in ([1], {"a": 1}, "text", range(3), iter([1]), None):
        assert tracker.pipeline("p")(lambda given=result: given)() is result


class Future:
    """What is agreed on at an exchange; no promise of a result."""

    def result(self) -> int:
        return 7


def test_a_class_of_the_program_may_be_called_future(tracker: RunTracker) -> None:
    assert tracker.pipeline("p")(Future)().result() == 7


def test_methods_and_keywords_are_given_the_run(tracker: RunTracker) -> None:
    class Job:
        @tracker.pipeline("p")
        def load(self, run: Run, rows: int) -> int:
            run.log_metric("rows", rows)
            return rows

        @classmethod
        @tracker.pipeline("p")
        def build(cls, run: Run, *, rows: int) -> int:
            run.log_metric("rows", rows)
            return rows

        @tracker.pipeline("p")
        async def wait(self, run: Run) -> str:
            return run.run_id

        @tracker.pipeline("p")
        def plain(self, rows: int, run: int) -> int:
            return rows + run

    @tracker.pipeline("p")
    def keyword_only(rows: int, *, run: Run, factor: int = 2) -> int:
        run.log_metric("rows", rows)
        return rows * factor

    assert Job().load(3) == 3
    assert Job().load(rows=3) == 3
    assert Job.build(rows=4) == 4
    assert asyncio.run(Job().wait())
    assert Job().plain(3, run=4) == 7
    assert keyword_only(5, factor=3) == 15  # type: ignore[call-arg]
    assert list(inspect.signature(keyword_only).parameters) == ["rows", "factor"]
    assert list(inspect.signature(Job.load).parameters) == ["self", "rows"]
    assert list(inspect.signature(Job.plain).parameters) == ["self", "rows", "run"]
    listed = tracker.runs.get_runs_by_pipeline("p")
    whole = [tracker.runs.get_or_raise(run.run_id) for run in listed]
    assert [run.metrics.get("rows") for run in whole] == [5, None, None, 4, 3, 3]


def test_a_method_of_a_class_goes_below_its_decorator(tracker: RunTracker) -> None:
    for kind in (staticmethod, classmethod):
        with pytest.raises(ConfigurationError, match="goes below"):
            tracker.pipeline("p")(kind(lambda: None))  # type: ignore[call-overload, arg-type]


def test_a_decorator_without_parentheses_says_what_to_write(tracker: RunTracker) -> None:
    def load() -> None: ...

    with pytest.raises(ValidationError, match=r'write @tracker.pipeline\("..."\) above load'):
        tracker.pipeline(load)  # type: ignore[arg-type]


def test_the_run_key_may_be_a_function_of_the_arguments(tracker: RunTracker) -> None:
    @tracker.pipeline("daily", run_key=lambda day, rows=0: day)
    def load(run: Run, day: date, rows: int = 0) -> str | None:
        return run.record.run_key

    assert load(date(2026, 3, 29)) == "2026-03-29"
    assert load(date(2026, 3, 30), rows=3) == "2026-03-30"

    @tracker.pipeline("daily", run_key=lambda: 7)  # type: ignore[arg-type, return-value]
    def odd() -> None: ...

    with pytest.raises(ValidationError, match="run_key is a int"):
        odd()

    @tracker.pipeline("daily", run_key=lambda: importlib.import_module("nowhere"))  # type: ignore[arg-type, return-value]
    def fails() -> None: ...

    with pytest.raises(ModuleNotFoundError):
        fails()
    assert len(tracker.runs.get_runs_by_pipeline("daily")) == 2
