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
from contextlib import nullcontext
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

import dynamodb_wrapper.runs
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.runs import Run, RunEvent, RunOptions, RunTracker, find_current_run
from dynamodb_wrapper.spark import SparkDynamoDBIntegration
from tests.support import faults
from tests.support.processes import eventually, in_a_thread
from tests.support.runs import beat, state, stored

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

SECONDS = 5
SPARK = {"spark.master": "local[1]", "spark.ui.enabled": "false"}
SLEEP_FOR_EVER = "java_method('java.lang.Thread', 'sleep', 600000L)"


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive"),
        PipelineConfig(pipeline_id="other"),
        PipelineConfig(pipeline_id="spark", spark_config=SPARK),
    ]


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


def block_in_spark(config: DynamoDBConfig, pipe: Any) -> None:
    """Wait in a Spark action, in Java; report how that and the jobs ended."""
    integration = SparkDynamoDBIntegration(config)
    session: Any = None
    try:
        options = RunOptions(cancel_spark_jobs=True)
        with integration.pipeline_run_context("spark", options=options) as run_id:
            session = integration.create_spark_session()
            tell_when_at_work(session, pipe, run_id)
            try:
                session.range(1).selectExpr(SLEEP_FOR_EVER).collect()
            finally:
                time.sleep(1)  # cleaning up takes its time, and is not interrupted again
                pipe.send("finally")
    except BaseException as error:
        pipe.send(type(error).__name__)
        raise
    finally:
        pipe.send(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        in_a_thread(lambda: pipe.send(jobs_that_remain(session)))


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


def pyspark_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in metadata.version("pyspark").split(".")[:2])
    except metadata.PackageNotFoundError:
        return (0,)


@pytest.mark.parametrize(
    ("number", "raised", "end", "code"),
    [
        pytest.param(signal.SIGTERM, "SystemExit", ("cancelled", "signal", 143), 143, id="SIGTERM"),
        pytest.param(
            signal.SIGINT,
            "KeyboardInterrupt",
            ("cancelled", "user_cancel", None),
            -signal.SIGINT,
            id="Ctrl-C",
            marks=pytest.mark.skipif(
                pyspark_version() < (4,),
                reason="PySpark before 4 makes a Py4JError of Ctrl-C in a blocking action",
            ),
        ),
    ],
)
def test_a_signal_during_a_blocking_spark_action_ends_run_body_jobs_and_process(
    spark_installation: None,
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    number: int,
    raised: str,
    end: tuple[str, str, int | None],
    code: int,
) -> None:
    driver = drivers.launch(block_in_spark, local_tables)
    run_id = driver.hear()
    driver.signal(number)
    assert seconds_until_ended(local_tables, run_id) < SECONDS
    assert driver.hear() == "finally"
    assert driver.hear() == raised
    assert driver.hear() is True, "the handler of SIGTERM is not the one from before"
    assert driver.hear() == 0, "jobs go on"
    assert driver.exit_code() == code
    assert end_of(local_tables, run_id) == end
    assert "holder" not in state(local_tables, "spark")


def block_in_spark_by_default(config: DynamoDBConfig, pipe: Any, is_recorded: bool) -> None:
    """As `block_in_spark`, without any option, and without a run where none is wanted."""
    integration = SparkDynamoDBIntegration(config)
    block: Any = integration.pipeline_run_context("spark") if is_recorded else nullcontext("")
    session: Any = None
    try:
        with block as run_id:
            session = integration.create_spark_session("spark")
            tell_when_at_work(session, pipe, run_id)
            session.range(1).selectExpr(SLEEP_FOR_EVER).collect()
    except BaseException as error:
        jobs: list[int] = []
        in_a_thread(lambda: jobs.extend(session.sparkContext.statusTracker().getActiveJobsIds()))
        handler = signal.getsignal(signal.SIGINT)
        pipe.send((type(error).__name__, getattr(handler, "__module__", None), len(jobs)))
        raise


AFTER_CTRL_C = {
    "KeyboardInterrupt": ("cancelled", "user_cancel", None),
    "Py4JError": ("failed", "exception", None),  # PySpark before 4
}


def test_ctrl_c_during_a_blocking_spark_action_does_what_it_does_without_a_run(
    spark_installation: None, local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    bare = drivers.launch(block_in_spark_by_default, local_tables, is_recorded=False)
    recorded = drivers.launch(block_in_spark_by_default, local_tables, is_recorded=True)
    _, run_id = bare.hear(), recorded.hear()
    for driver in (bare, recorded):
        driver.signal(signal.SIGINT)
    raised, handler, jobs = recorded.hear()
    assert (raised, handler, jobs) == bare.hear()
    assert str(handler).startswith("pyspark")
    assert jobs == 1, "PySpark has learnt to cancel its jobs: say so in docs/runs.md"
    assert recorded.exit_code() == bare.exit_code()
    assert end_of(local_tables, run_id) == AFTER_CTRL_C[raised]
    assert "holder" not in state(local_tables, "spark")


# ---- during the body -----------------------------------------------------------------------------


def block_in_two_runs(config: DynamoDBConfig, pipe: Any) -> None:
    tracker, before = RunTracker(config), handlers()
    try:
        with tracker.run("exclusive") as outer:
            try:
                with tracker.run("other") as inner:
                    pipe.send((outer.run_id, inner.run_id))
                    pipe.recv()
            finally:
                pipe.send("finally")
    finally:
        pipe.send(handlers() == before)


def test_sigterm_ends_nested_runs_and_the_process(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.launch(block_in_two_runs, local_tables)
    runs = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "finally"
    assert driver.hear() is True, "handlers are not those from before"
    assert driver.exit_code() == 143
    for run_id in runs:
        assert end_of(local_tables, run_id) == ("cancelled", "signal", 143)


def test_handlers_are_those_from_before_once_a_block_has_ended(
    local_tables: DynamoDBConfig,
) -> None:
    before, inside = handlers(), []
    with RunTracker(local_tables).run("exclusive"), RunTracker(local_tables).run("other"):
        inside = handlers()
    with pytest.raises(ValueError, match="mine"), RunTracker(local_tables).run("exclusive"):
        raise ValueError("mine")
    assert handlers() == before
    assert inside[0] != before[0]
    assert inside[1] == before[1], "SIGINT is left to Python and PySpark"


def clean_up_slowly(config: DynamoDBConfig, pipe: Any, module: str) -> None:
    """Wait in a function, and again while it is left: PySpark's collect is such a function."""
    library: dict[str, Any] = {"__name__": module}
    exec("def act(wait):\n    try: wait()\n    finally: wait()", library)
    with RunTracker(config).run("exclusive") as run:

        def wait() -> None:
            pipe.send(run.run_id)
            pipe.recv()

        library["act"](wait)


def test_sigterm_gets_past_what_pyspark_waits_for_while_it_is_left(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(clean_up_slowly, local_tables, module="pyspark.stand_in")
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == run_id
    assert driver.exit_code() == 143
    assert end_of(local_tables, run_id) == ("cancelled", "signal", 143)


def test_sigterm_waits_for_what_a_program_cleans_up(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(clean_up_slowly, local_tables, module="program")
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == run_id
    time.sleep(1)
    assert stored(local_tables, run_id).status is RunStatus.RUNNING
    driver.tell("cleaned up")
    assert driver.exit_code() == 143
    assert end_of(local_tables, run_id) == ("cancelled", "signal", 143)


class NodeIsGoingError(Exception):
    """Raised on SIGTERM by a handler of the program."""


def block_with_own_handler(config: DynamoDBConfig, pipe: Any, raises: bool) -> None:
    def own(number: int, frame: Any) -> None:
        pipe.send("called")
        if raises:
            raise NodeIsGoingError

    signal.signal(signal.SIGTERM, own)
    try:
        with RunTracker(config).run("exclusive") as run:
            pipe.send(run.run_id)
            pipe.recv()
    except NodeIsGoingError:
        pipe.send("raised")
    pipe.send(signal.getsignal(signal.SIGTERM) is own)


def test_a_programs_own_handler_of_sigterm_is_called_and_decides(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(block_with_own_handler, local_tables, raises=False)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "called"
    driver.tell("go on")
    assert driver.hear() is True, "the program's handler is not in its place any more"
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("success", None, None)


def test_what_a_programs_own_handler_raises_leaves_the_block(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(block_with_own_handler, local_tables, raises=True)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert [driver.hear(), driver.hear(), driver.hear()] == ["called", "raised", True]
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("cancelled", "signal", None)
    assert stored(local_tables, run_id).error_type == f"{__name__}.NodeIsGoingError"


def fail_after_own_handler(config: DynamoDBConfig, pipe: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: pipe.send("swallowed"))
    with pytest.raises(ValueError, match="mine"), RunTracker(config).run("exclusive") as run:
        pipe.send(run.run_id)
        pipe.recv()
        raise ValueError("mine")


def test_a_signal_a_programs_own_handler_swallowed_does_not_explain_a_later_failure(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(fail_after_own_handler, local_tables)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "swallowed"
    driver.tell("go on")
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("failed", "exception", None)


def run_in_a_thread(config: DynamoDBConfig, pipe: Any) -> None:
    before = handlers()

    def work() -> None:
        with RunTracker(config).run("exclusive") as run:
            pipe.send((run.run_id, handlers() == before))
            pipe.recv()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_beside_the_main_thread_sigterm_does_what_it_always_does(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.launch(run_in_a_thread, local_tables)
    run_id, is_untouched = driver.hear()
    assert is_untouched
    driver.signal(signal.SIGTERM)
    assert driver.exit_code() == -signal.SIGTERM
    assert stored(local_tables, run_id).status is RunStatus.RUNNING


def clean_up_in_finally(config: DynamoDBConfig, pipe: Any) -> None:
    with RunTracker(config).run("exclusive") as run:
        try:
            pipe.send(run.run_id)
            pipe.recv()
        finally:
            pipe.send("cleaning up")
            pipe.recv()
            pipe.send("cleaned up")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_cut_short_what_the_body_cleans_up(
    local_tables: DynamoDBConfig, drivers: Drivers, second: int
) -> None:
    driver = drivers.fork(clean_up_in_finally, local_tables)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "cleaning up"
    driver.signal(second)
    driver.tell("go on")
    assert driver.hear() == "cleaned up"
    assert driver.exit_code() == 143
    assert end_of(local_tables, run_id) == ("cancelled", "signal", 143)


def swallow_the_first(config: DynamoDBConfig, pipe: Any, fails: bool) -> None:
    with RunTracker(config).run("exclusive") as run:
        try:
            pipe.send(run.run_id)
            pipe.recv()
        except SystemExit:
            pass
        pipe.send("swallowed")
        if fails:
            raise ValueError("mine")
        pipe.recv()


def test_a_signal_the_body_swallowed_does_not_explain_a_later_failure(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(swallow_the_first, local_tables, fails=True)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "swallowed"
    assert driver.exit_code() == 1
    assert end_of(local_tables, run_id) == ("failed", "exception", None)


def test_another_signal_ends_a_body_that_swallowed_the_first(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(swallow_the_first, local_tables, fails=False)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "swallowed"
    driver.signal(signal.SIGTERM)
    assert driver.exit_code() == 143
    assert end_of(local_tables, run_id) == ("cancelled", "signal", 143)


def test_sighup_ends_a_body_as_sigterm_does(local_tables: DynamoDBConfig, drivers: Drivers) -> None:
    driver = drivers.fork(clean_up_in_finally, local_tables)
    run_id = driver.hear()
    driver.signal(signal.SIGHUP)
    assert driver.hear() == "cleaning up"
    driver.tell("go on")
    assert driver.hear() == "cleaned up"
    assert driver.exit_code() == 129
    assert end_of(local_tables, run_id) == ("cancelled", "signal", 129)


# ---- runs that end in any order ------------------------------------------------------------------


def watched() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]


def test_runs_that_end_in_any_order_leave_no_handler_behind(local_tables: DynamoDBConfig) -> None:
    before = watched()
    blocks = [RunTracker(local_tables).run(name) for name in ("exclusive", "other", "spark")]
    for block in blocks:
        block.__enter__()
    for block in blocks[1:]:
        block.__exit__(None, None, None)
        assert watched() != before
    blocks[0].__exit__(None, None, None)
    assert watched() == before


def test_tasks_that_end_in_any_order_leave_no_handler_behind(local_tables: DynamoDBConfig) -> None:
    async def work(name: str, begun: asyncio.Event, end: asyncio.Event) -> None:
        with RunTracker(local_tables).run(name):
            begun.set()
            await end.wait()

    async def both() -> None:
        events = [asyncio.Event() for _ in range(4)]
        first = asyncio.create_task(work("exclusive", *events[:2]))
        second = asyncio.create_task(work("other", *events[2:]))
        await events[0].wait()
        await events[2].wait()
        events[1].set()
        await first
        events[3].set()
        await second

    before = watched()
    asyncio.run(both())
    assert watched() == before


def test_a_handler_the_program_sets_between_two_runs_stays_in_place(
    local_tables: DynamoDBConfig,
) -> None:
    def mine(*_: Any) -> None:
        """Do nothing."""

    before = watched()
    outer, inner = RunTracker(local_tables).run("exclusive"), RunTracker(local_tables).run("other")
    outer.__enter__()
    of_runs = signal.signal(signal.SIGTERM, mine)
    with inner:
        assert watched()[0] is not mine
    assert watched()[0] is mine
    signal.signal(signal.SIGTERM, of_runs)
    outer.__exit__(None, None, None)
    assert watched() == before


def end_in_a_thread(config: DynamoDBConfig, pipe: Any) -> None:
    """End a block of the main thread in another one, and wait."""
    block = RunTracker(config).run("exclusive")
    run = block.__enter__()
    in_a_thread(lambda: block.__exit__(None, None, None))
    pipe.send(run.run_id)
    pipe.recv()


def test_sigterm_ends_a_process_whose_run_another_thread_has_ended(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(end_in_a_thread, local_tables)
    run_id = driver.hear()
    assert end_of(local_tables, run_id) == ("success", None, None)
    driver.signal(signal.SIGTERM)
    assert driver.exit_code() == -signal.SIGTERM


def block_in_spark_after_runs(config: DynamoDBConfig, pipe: Any) -> None:
    """End two runs out of order, and wait in a Spark action outside of runs."""
    blocks = [RunTracker(config).run(name) for name in ("exclusive", "other")]
    for block in blocks:
        block.__enter__()
    for block in blocks:
        block.__exit__(None, None, None)
    session = SparkDynamoDBIntegration(config).create_spark_session("spark")
    tell_when_at_work(session, pipe, "at work")
    session.range(1).selectExpr(SLEEP_FOR_EVER).collect()


@pytest.mark.slow
def test_sigterm_in_a_spark_action_after_runs_is_answered_within_a_second(
    spark_installation: None, local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.launch(block_in_spark_after_runs, local_tables)
    assert driver.hear() == "at work"
    begin = time.monotonic()
    driver.signal(signal.SIGTERM)
    assert driver.exit_code() == -signal.SIGTERM
    assert time.monotonic() - begin < SECONDS


# ---- during the start and the end ----------------------------------------------------------------


def end_slowly(config: DynamoDBConfig, pipe: Any, raises: bool) -> None:
    """Wait when the end is about to be sent; report the exception that leaves the block."""
    before, waits = handlers(), [True]

    def wait(**_: Any) -> None:
        if waits.pop():
            waits.append(False)
            pipe.send("ending")
            pipe.recv()

    client = client_for(config.impatient())  # the one an end is sent with
    client.meta.events.register("before-send.dynamodb.TransactWriteItems", wait)
    try:
        with RunTracker(config).run("exclusive") as run:
            pipe.send(run.run_id)
            if raises:
                raise ValueError("mine")
    except BaseException as error:
        pipe.send((type(error).__name__, type(error.__context__).__name__, handlers() == before))


@pytest.mark.parametrize(
    ("raises", "end"),
    [(False, ("success", None, None)), (True, ("failed", "exception", None))],
    ids=["success", "failure"],
)
@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGTERM, "SystemExit"), (signal.SIGINT, "KeyboardInterrupt")],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_during_the_end_waits_until_the_outcome_is_stored(
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    raises: bool,
    end: tuple[str, str | None, int | None],
    number: int,
    raised: str,
) -> None:
    driver = drivers.fork(end_slowly, local_tables, raises=raises)
    run_id = driver.hear()
    assert driver.hear() == "ending"
    driver.signal(number)
    assert stored(local_tables, run_id).status is RunStatus.RUNNING
    driver.tell("go on")
    assert driver.hear() == (raised, "ValueError" if raises else "NoneType", True)
    assert end_of(local_tables, run_id) == end
    assert "holder" not in state(local_tables, "exclusive")


def end_in_an_outage(config: DynamoDBConfig, pipe: Any, spool: str) -> None:
    away = config.model_copy(update={"spool_directory": spool})
    with RunTracker(away).run("exclusive") as run:
        pipe.send(run.run_id)
        client = client_for(away.impatient())
        client.meta.events.register("before-send.dynamodb", lambda **_: pipe.send("trying"))
        outage = faults.outage(away)
        outage.__enter__()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_during_an_outage_sends_the_end_to_the_spool_at_once(
    local_tables: DynamoDBConfig, drivers: Drivers, tmp_path: Path, number: int
) -> None:
    driver = drivers.fork(end_in_an_outage, local_tables, spool=str(tmp_path))
    run_id = driver.hear()
    assert driver.hear() == "trying"
    driver.signal(number)
    begin = time.monotonic()
    time.sleep(0.5)  # two at once would be one
    driver.signal(number)
    eventually(lambda: list(tmp_path.glob("*.jsonl")))
    assert time.monotonic() - begin < SECONDS
    RunTracker(local_tables.model_copy(update={"spool_directory": str(tmp_path)})).replay_outcomes()
    assert end_of(local_tables, run_id) == ("success", None, None)


def start_slowly(config: DynamoDBConfig, pipe: Any) -> None:
    """Wait when the start is stored and its reply not yet read; report what leaves the block."""
    before, waits = handlers(), [True]

    def wait(**_: Any) -> None:
        if waits.pop():
            waits.append(False)
            pipe.send("starting")
            pipe.recv()

    client = client_for(config)
    client.meta.events.register("after-call.dynamodb.TransactWriteItems", wait)
    try:
        with RunTracker(config).run("exclusive"):
            pipe.send("the body was entered")
    except BaseException as error:
        pipe.send((type(error).__name__, handlers() == before))


@pytest.mark.parametrize(
    ("number", "raised", "end"),
    [
        (signal.SIGTERM, "SystemExit", ("cancelled", "signal", 143)),
        (signal.SIGINT, "KeyboardInterrupt", ("cancelled", "user_cancel", None)),
    ],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_during_the_start_ends_the_run_before_its_body(
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    number: int,
    raised: str,
    end: tuple[str, str, int | None],
) -> None:
    driver = drivers.fork(start_slowly, local_tables)
    assert driver.hear() == "starting"
    run_id = state(local_tables, "exclusive")["holder"]["S"]
    driver.signal(number)
    driver.tell("go on")
    assert driver.hear() == (raised, True)
    assert end_of(local_tables, run_id) == end
    assert "holder" not in state(local_tables, "exclusive")


def start_slowly_with_own_handler(config: DynamoDBConfig, pipe: Any, raises: bool) -> None:
    """As `start_slowly`; a body that is entered fails."""

    def own(number: int, frame: Any) -> None:
        pipe.send("called")
        if raises:
            raise NodeIsGoingError

    signal.signal(signal.SIGTERM, own)
    try:
        start_slowly_then(config, pipe)
    except (NodeIsGoingError, ValueError) as error:
        pipe.send(type(error).__name__)


def start_slowly_then(config: DynamoDBConfig, pipe: Any) -> None:
    def wait(**_: Any) -> None:
        client.meta.events.unregister("after-call.dynamodb.TransactWriteItems", wait)
        pipe.send("starting")
        pipe.recv()

    client = client_for(config)
    client.meta.events.register("after-call.dynamodb.TransactWriteItems", wait)
    with RunTracker(config).run("exclusive"):
        raise ValueError("mine")


@pytest.mark.parametrize(
    ("raises", "raised", "end"),
    [
        (False, "ValueError", ("failed", "exception", None)),
        (True, "NodeIsGoingError", ("cancelled", "signal", None)),
    ],
    ids=["swallows", "raises"],
)
def test_a_programs_own_handler_decides_what_a_signal_during_the_start_means(
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    raises: bool,
    raised: str,
    end: tuple[str, str, int | None],
) -> None:
    driver = drivers.fork(start_slowly_with_own_handler, local_tables, raises=raises)
    assert driver.hear() == "starting"
    run_id = state(local_tables, "exclusive")["holder"]["S"]
    driver.signal(signal.SIGTERM)
    driver.tell("go on")
    assert [driver.hear(), driver.hear()] == ["called", raised]
    assert end_of(local_tables, run_id) == end


def test_ctrl_c_in_a_hook_of_the_start_ends_the_run(local_tables: DynamoDBConfig) -> None:
    def press(event: RunEvent) -> None:
        if event.kind == "started":
            seen.append(event.run_id)
            raise KeyboardInterrupt

    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        RunTracker(local_tables, hooks=[press]).start("exclusive")
    assert end_of(local_tables, seen[0]) == ("cancelled", "user_cancel", None)
    assert find_current_run() is None


class SignalAt:
    """A trace function that sends this process a signal at the n-th line of run control it meets.

    Attributes:
        place: Where it was sent; None if there are fewer lines.
    """

    def __init__(self, number: int, line: int, functions: set[str]) -> None:
        self._number = number
        self._left = line
        self._functions = functions
        self._lines: set[tuple[str, int]] = set()
        self.place: tuple[str, int] | None = None

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        name = Path(frame.f_code.co_filename)
        if name.parent != RUN_CONTROL or frame.f_code.co_name not in self._functions:
            return None
        line = (name.name, frame.f_lineno)
        if event == "line" and line not in self._lines:
            self._lines.add(line)
            self._left -= 1
            if self._left == 0:
                self.place = line
                os.kill(os.getpid(), self._number)
        return self


RUN_CONTROL = Path(dynamodb_wrapper.runs.__file__).parent
SIGNALS = {"hold", "release", "_put_back", "deliver", "_deliver", "_answer"}
SIGNALS |= {"watch", "unwatch", "open", "close", "_tidy"}
AT_START = {"__enter__", "start", "_start", "_store_start", "_assemble", "_open", "_undo", *SIGNALS}
AT_END = {"_end", "finish", "_finish", "_conclude", "_decided", "_settle", "_store_end", *SIGNALS}
AT_END |= {"_freeze", "_store", "_store_texts", "_notify", "notify"}


def signals_at_every_line(
    config: DynamoDBConfig, pipe: Any, number: int, functions: set[str], at_end: bool
) -> None:
    """Begin and end runs, with a signal one line later each time; report what is left of each."""

    def own(*_: Any) -> None:
        raise SystemExit(143)  # as without a handler, but also after it has been put back

    signal.signal(signal.SIGTERM, own)
    before, lines = handlers(), count(1)
    while True:
        trace, block, seen = SignalAt(number, next(lines), functions), None, []
        try:
            block = RunTracker(config, hooks=[seen.append]).run("exclusive")
            sys.settrace(None if at_end else trace)
            block.__enter__()
            sys.settrace(trace if at_end else None)
            block.__exit__(None, None, None)
        except (SystemExit, KeyboardInterrupt):
            pass
        finally:
            sys.settrace(None)
        if trace.place is None:
            pipe.send(None)
            return
        holder = state(config, "exclusive").get("holder")
        if at_end:  # a signal ends the wait for hooks, not the hooks
            eventually(lambda seen=seen: "finished" in [event.kind for event in seen])
        ends = [event.status for event in seen if event.kind == "finished"]
        pipe.send((trace.place, holder, ends, handlers() == before, find_current_run() is None))


@pytest.mark.newest_only
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_at_every_line_of_the_end_a_signal_may_come_the_success_stands(
    local_tables: DynamoDBConfig, drivers: Drivers, number: int
) -> None:
    driver = drivers.fork(
        signals_at_every_line, local_tables, number=number, functions=AT_END, at_end=True
    )
    seen = list(iter(driver.hear, None))
    assert len(seen) > 30
    for place, *left in seen:
        assert left == [None, ["success"], True, True], place


@pytest.mark.newest_only
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_at_every_line_of_the_start_a_signal_may_come_no_run_is_left_alive(
    local_tables: DynamoDBConfig, drivers: Drivers, number: int
) -> None:
    driver = drivers.fork(
        signals_at_every_line, local_tables, number=number, functions=AT_START, at_end=False
    )
    seen = list(iter(driver.hear, None))
    assert len(seen) > 30
    for place, holder, ends, are_restored, is_over in seen:
        assert (holder, are_restored, is_over) == (None, True, True), place
        assert ends in ([], ["cancelled"]), place


# ---- handlers that use the run -------------------------------------------------------------------


def record_in_a_handler(config: DynamoDBConfig, pipe: Any, call: str, operation: str) -> None:
    """Use a run in a signal handler that comes in the middle of a call of the same run."""

    def use(*_: Any) -> None:
        run.log_metric("m", 2)
        run.log_inputs("b")
        with run.stage("of the handler"):
            run.check_lease()
        pipe.send((run.run_id, beat(run), run.watermark("position", "none")))

    def press(**_: Any) -> None:
        for client in clients:
            client.meta.events.unregister(event, press)
        signal.raise_signal(signal.SIGUSR1)

    calls: dict[str, Callable[[], Any]] = {
        "log_metric": lambda: run.log_metric("m", 1),
        "inputs": lambda: run.log_inputs("a"),
        "beat": lambda: bool(beat(run)),
        "watermark": lambda: run.watermark("position"),
    }
    signal.signal(signal.SIGUSR1, use)
    event = f"before-send.dynamodb.{operation}"
    clients = (client_for(config), client_for(config.impatient()))
    with RunTracker(config).run("exclusive") as run:
        for client in clients:
            client.meta.events.register(event, press)
        calls[call]()


@pytest.mark.parametrize(
    ("call", "operation", "inputs"),
    [
        ("log_metric", "UpdateItem", ["b"]),
        ("inputs", "UpdateItem", ["a", "b"]),
        ("beat", "UpdateItem", ["b"]),
        ("watermark", "GetItem", ["b"]),
    ],
)
def test_a_handler_may_use_the_run_in_the_middle_of_any_call(
    local_tables: DynamoDBConfig, drivers: Drivers, call: str, operation: str, inputs: list[str]
) -> None:
    driver = drivers.fork(record_in_a_handler, local_tables, call=call, operation=operation)
    run_id, beat, watermark = driver.hear()
    assert (beat, watermark) == (True, "none")
    assert driver.exit_code() == 0
    record = stored(local_tables, run_id)
    assert record.status is RunStatus.SUCCESS
    assert (record.metrics, record.inputs) == ({"m": 2}, inputs)
    assert record.stages["of the handler"].status == "success"


# ---- exits ---------------------------------------------------------------------------------------


def leave_by_exit(config: DynamoDBConfig, pipe: Any, code: Any, exit_zero: str) -> None:
    with RunTracker(config).run("exclusive", options=RunOptions(exit_zero=exit_zero)) as run:
        pipe.send(run.run_id)
        sys.exit(code)


@pytest.mark.parametrize(
    ("code", "exit_zero", "end", "exit_code"),
    [
        (0, "success", ("success", None, None), 0),
        (None, "success", ("success", None, None), 0),
        (3, "success", ("failed", "process_exit", 3), 3),
        ("no input", "success", ("failed", "process_exit", 1), 1),
        (0, "failed", ("failed", "process_exit", 0), 0),
    ],
    ids=["0", "none", "3", "text", "0 that means failed"],
)
def test_sys_exit_ends_run_and_process_with_its_code(
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    code: Any,
    exit_zero: str,
    end: tuple[str, str | None, int | None],
    exit_code: int,
) -> None:
    driver = drivers.fork(leave_by_exit, local_tables, code=code, exit_zero=exit_zero)
    run_id = driver.hear()
    assert driver.exit_code() == exit_code
    assert end_of(local_tables, run_id) == end


def leave_runs_behind(config: DynamoDBConfig, pipe: Any, raises: bool) -> None:
    tracker = RunTracker(config)
    pipe.send([tracker.start(name).run_id for name in ("exclusive", "other")])
    if raises:
        raise ValueError("mine")


@pytest.mark.parametrize(("raises", "code"), [(False, 0), (True, 1)], ids=["returns", "raises"])
def test_open_runs_fail_when_the_process_ends(
    local_tables: DynamoDBConfig, drivers: Drivers, raises: bool, code: int
) -> None:
    driver = drivers.launch(leave_runs_behind, local_tables, raises=raises)
    runs = driver.hear()
    assert driver.exit_code() == code
    for run_id in runs:
        assert end_of(local_tables, run_id) == ("failed", "process_exit", None)
    assert "holder" not in state(local_tables, "exclusive")


# ---- generators and tasks ------------------------------------------------------------------------


def test_a_generator_that_is_not_used_up_is_a_cancelled_run(local_tables: DynamoDBConfig) -> None:
    def rows() -> Any:
        with RunTracker(local_tables).run("exclusive") as run:
            yield run.run_id
            yield "never"

    generator = rows()
    run_id = next(generator)
    del generator
    gc.collect()
    assert end_of(local_tables, run_id) == ("cancelled", "cancelled", None)


def test_a_task_that_takes_too_long_is_a_cancelled_run(local_tables: DynamoDBConfig) -> None:
    found: list[str] = []

    @RunTracker(local_tables).pipeline("exclusive")
    async def work(run: Run) -> None:
        found.append(run.run_id)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(work(), 0.01))
    assert end_of(local_tables, found[0]) == ("cancelled", "cancelled", None)


def block_in_a_task(config: DynamoDBConfig, pipe: Any) -> None:
    async def work() -> None:
        with RunTracker(config).run("exclusive") as run:
            try:
                asyncio.get_running_loop().call_soon(pipe.send, run.run_id)
                await asyncio.Event().wait()
            finally:
                pipe.send("finally")

    asyncio.run(work())


def test_sigterm_ends_a_run_inside_of_an_event_loop(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(block_in_a_task, local_tables)
    run_id = driver.hear()
    driver.signal(signal.SIGTERM)
    assert driver.hear() == "finally"
    assert driver.exit_code() == 143
    assert end_of(local_tables, run_id)[:2] == ("cancelled", "signal")


# ---- forks ---------------------------------------------------------------------------------------


def fork_inside(config: DynamoDBConfig, pipe: Any, way: str) -> None:
    """Fork in the middle of a block; the child leaves it, and ends as any program does."""
    with RunTracker(config).run("exclusive") as run, RunTracker(config).run("other"):
        child = os.fork()
        if child == 0:
            if way == "exit":
                sys.exit(0)
            if way == "raise":
                raise ValueError("of the child")
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        pipe.send((run.run_id, code))
        pipe.recv()


@pytest.mark.parametrize(("way", "code"), [("return", 0), ("exit", 0), ("raise", 1)])
def test_a_forked_child_that_leaves_the_block_does_not_end_the_run(
    local_tables: DynamoDBConfig, drivers: Drivers, way: str, code: int
) -> None:
    driver = drivers.launch(fork_inside, local_tables, way=way)
    run_id, child = driver.hear()
    assert child == code
    assert stored(local_tables, run_id).status is RunStatus.RUNNING
    assert state(local_tables, "exclusive")["holder"] == {"S": run_id}
    driver.tell("go on")
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("success", None, None)


def leave_a_child_behind(config: DynamoDBConfig, pipe: Any) -> None:
    run = RunTracker(config).start("exclusive")
    child = os.fork()
    if child == 0:
        return
    os.waitpid(child, 0)
    pipe.send(run.run_id)
    pipe.recv()
    run.finish()


def test_the_end_of_a_forked_child_does_not_end_a_run_without_a_block(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.launch(leave_a_child_behind, local_tables)
    run_id = driver.hear()
    assert stored(local_tables, run_id).status is RunStatus.RUNNING
    driver.tell("go on")
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("success", None, None)


def work_in_a_child(config: DynamoDBConfig, pipe: Any) -> None:
    """Let a child of multiprocessing report, then end it as `Process.terminate` does."""

    def tell() -> None:
        pipe.send((find_current_run(), [t.name for t in threading.enumerate()]))
        while True:  # Python can miss a signal that comes at the very beginning of a sleep
            time.sleep(0.1)

    with RunTracker(config).run("exclusive") as run:
        pipe.send(run.run_id)
        process = multiprocessing.get_context("fork").Process(target=tell)
        process.start()
        pipe.recv()
        process.terminate()
        process.join()
        pipe.send(process.exitcode)


def test_a_child_of_multiprocessing_has_no_part_in_the_run(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.launch(work_in_a_child, local_tables)
    run_id = driver.hear()
    assert driver.hear() == (None, ["MainThread"])
    driver.tell("end the child")
    assert driver.hear() == -signal.SIGTERM
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("success", None, None)
