"""A program prints the same, byte for byte, inside of a run that keeps its log lines."""
# ruff: noqa: PLE1206, PLW0108, T201

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import logging.handlers
import os
import queue
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.runs import Run, RunOptions, RunTracker
from tests.support.processes import eventually, in_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

    Block = AbstractContextManager[Any]

pytestmark = pytest.mark.newest_only

log = logging.getLogger("job")
PLAIN = logging.Formatter("%(levelname)s|%(name)s|%(funcName)s|%(lineno)d|%(message)s")


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="p"),
        PipelineConfig(pipeline_id="q", max_concurrent_runs=None),
    ]


class Printing(logging.StreamHandler):
    """Prints to standard output."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.setFormatter(PLAIN)


class Failing(logging.Handler):
    """Raises for every line."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError(f"no disk for {record.getMessage()}")


class Misprinting(logging.StreamHandler):
    """Fails to format, which logging reports with the stack of the call."""

    def format(self, record: logging.LogRecord) -> str:
        raise ValueError(f"cannot format {record.name}")


class Shaky(logging.Filter):
    """Raises for some lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "shaky" in record.getMessage():
            raise LookupError("a filter without its table")
        return "hidden" not in record.getMessage()


class Everything(logging.Handler):
    """Prints all that a record carries, as handlers that write JSON do."""

    def emit(self, record: logging.LogRecord) -> None:
        varying = ("created", "msecs", "relativeCreated", "thread", "process", "threadName")
        shown = {k: v for k, v in vars(record).items() if k not in (*varying, "exc_info", "msg")}
        print(type(record).__name__, sorted(shown), record.exc_text, PLAIN.format(record))


# ---- programs: what they do, and what the run is to keep -----------------------------------------


def unconfigured(block: Block) -> list[str]:
    log.warning("before")
    with block:
        log.warning("inside")
        log.info("not shown")
        logging.getLogger("job.child").error("inside a child")
        warnings.warn("a warning of Python", stacklevel=1)
    log.warning("after")
    return ["inside", "inside a child"]


def configured_before(block: Block) -> list[str]:
    logging.basicConfig(level="INFO", stream=sys.stdout)
    with block:
        log.info("inside")
        log.debug("not shown")
    log.info("after")
    return ["inside"]


def configured_inside(block: Block) -> list[str]:
    log.warning("before")
    with block:
        log.warning("inside")
        logging.basicConfig(level="INFO")
        log.info("inside and configured")
    log.info("after")
    return ["inside", "inside and configured"]


def configured_after(block: Block) -> list[str]:
    with block:
        log.warning("inside")
    logging.basicConfig(format="after %(message)s")
    log.warning("after")
    return ["inside"]


def configured_by_force(block: Block) -> list[str]:
    logging.basicConfig(level="INFO", stream=sys.stdout)
    with block:
        log.info("inside")
        logging.basicConfig(level="DEBUG", format="forced %(message)s", force=True)
        logging.getLogger("dynamodb_wrapper").setLevel("WARNING")
        logging.getLogger("botocore").setLevel("WARNING")
        log.debug("inside and forced")
    log.info("after")
    return ["inside", "inside and forced"]


def configured_by_dict(block: Block) -> list[str]:
    log.warning("before")
    with block:
        log.warning("inside")
        logging.config.dictConfig(
            {
                "version": 1,
                "handlers": {"out": {"class": "logging.StreamHandler", "stream": sys.stdout}},
                "root": {"level": "INFO", "handlers": ["out"]},
            }
        )
        log.error("disabled by the configuration")
        logging.getLogger("made.afterwards").info("inside and configured")
    logging.getLogger("made.afterwards").info("after")
    return ["inside", "inside and configured"]


def handlers_of_children(block: Block) -> list[str]:
    child = logging.getLogger("job.child")
    child.addHandler(Printing())
    child.setLevel("DEBUG")
    with block:
        child.debug("inside")
        log.warning("inside a parent")
        print(child.hasHandlers(), log.hasHandlers(), logging.getLogger().handlers)
        print(child.getEffectiveLevel(), log.getEffectiveLevel())
    child.debug("after")
    return ["inside", "inside a parent"]


def without_propagation(block: Block) -> list[str]:
    log.propagate = False
    with block:
        log.warning("inside")
        log.addHandler(Printing())
        log.warning("inside and handled")
    log.warning("after")
    return ["inside", "inside and handled"]


def filters_that_raise(block: Block) -> list[str]:
    log.addHandler(Printing())
    log.addFilter(Shaky())
    with block:
        log.warning("inside")
        log.warning("hidden")
        log.warning("shaky")
    return ["inside"]


def handlers_that_raise(block: Block) -> list[str]:
    logging.getLogger().addHandler(Failing())
    with block:
        try:
            log.warning("inside")
        except OSError:
            sys.excepthook(*sys.exc_info())
        raise KeyError("of the body")
    return []


def handlers_that_raise_to_the_end(block: Block) -> list[str]:
    logging.getLogger().addHandler(Failing())
    logging.getLogger().setLevel("INFO")
    with block:
        log.info("inside")
    return ["inside"]


def handlers_that_cannot_format(block: Block) -> list[str]:
    logging.getLogger().addHandler(Misprinting())
    with block:
        log.warning("inside")
        log.warning("%d of %d", "x")
    log.warning("after")
    return ["inside", "<a message that could not be formatted: TypeError>"]


def messages_without_their_arguments(block: Block) -> list[str]:
    with block:
        log.warning("%d of %d", "x")
        log.warning("inside")
    return ["<a message that could not be formatted: TypeError>", "inside"]


def a_record_factory(block: Block) -> list[str]:
    class Traced(logging.LogRecord):
        trace = "t-1"

    logging.basicConfig(format="%(trace)s %(message)s", stream=sys.stdout)
    logging.setLogRecordFactory(Traced)
    with block:
        log.warning("inside")
        logging.setLogRecordFactory(lambda *a, **k: Traced(*a, **k))
        log.warning("inside with another")
    print(logging.getLogRecordFactory().__qualname__)
    return ["inside", "inside with another"]


def warnings_as_lines(block: Block) -> list[str]:
    with block:
        logging.captureWarnings(True)
        warnings.warn_explicit("old spelling", FutureWarning, "job.py", 7)
        logging.basicConfig(stream=sys.stdout)
        warnings.warn_explicit("older spelling", FutureWarning, "job.py", 8)
    logging.captureWarnings(False)
    return ["job.py:7: FutureWarning: old spelling", "", "job.py:8: FutureWarning: older", ""]


def levels_and_switches(block: Block) -> list[str]:
    logging.basicConfig(level="ERROR", stream=sys.stdout)
    log.setLevel("DEBUG")
    with block:
        log.debug("inside")
        log.disabled = True
        log.error("disabled")
        log.disabled = False
        logging.disable(logging.ERROR)
        log.error("switched off")
        logging.disable(logging.NOTSET)
        logging.getLogger("other").warning("too low")
    return ["inside"]


def records_in_full(block: Block) -> list[str]:
    logging.getLogger().addHandler(Everything())
    with block:
        try:
            raise ValueError("of the body")
        except ValueError:
            log.exception("inside", extra={"batch": 7})
        log.warning("inside with its stack", stack_info=True)
    return ["inside", "inside with its stack"]


def without_a_last_resort(block: Block) -> list[str]:
    logging.lastResort = None
    with block:
        log.warning("inside")
    return ["inside"]


def through_a_queue(block: Block) -> list[str]:
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(lines, Printing())
    logging.getLogger().addHandler(logging.handlers.QueueHandler(lines))
    listener.start()
    with block:
        log.warning("inside %s", "a queue")
    listener.stop()
    return ["inside a queue"]


def another_class_of_loggers(block: Block) -> list[str]:
    class Loud(logging.Logger):
        def filter(self, record: logging.LogRecord) -> Any:
            record.msg = record.msg.upper()
            return super().filter(record)

        def handle(self, record: logging.LogRecord) -> None:
            print("handled", record.name)
            super().handle(record)

    logging.setLoggerClass(Loud)
    with block:
        logging.getLogger("loud").warning("inside")
    logging.getLogger("loud").warning("after")
    return ["INSIDE"]


def from_a_thread(block: Block) -> list[str]:
    with block:
        in_a_thread(lambda: log.warning("inside"))
    in_a_thread(lambda: log.warning("after"))
    return ["inside"]


def handlers_that_log(block: Block) -> list[str]:
    class Chatty(Printing):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            if record.name == "job":
                logging.getLogger("chatty").warning("of a handler")

    logging.getLogger().addHandler(Chatty())
    with block:
        log.warning("inside")
    return ["inside", "of a handler"]


SETUPS = (
    unconfigured,
    configured_before,
    configured_inside,
    configured_after,
    configured_by_force,
    configured_by_dict,
    handlers_of_children,
    without_propagation,
    filters_that_raise,
    handlers_that_raise,
    handlers_that_raise_to_the_end,
    handlers_that_cannot_format,
    messages_without_their_arguments,
    a_record_factory,
    warnings_as_lines,
    levels_and_switches,
    records_in_full,
    without_a_last_resort,
    through_a_queue,
    another_class_of_loggers,
    from_a_thread,
    handlers_that_log,
)


def run_program(
    config: DynamoDBConfig, pipe: Any, *, setup: Callable[..., Any], path: str, tracked: bool
) -> None:
    """Run a program with both of its outputs in a file, as its interpreter would end it."""
    tracker, kept = RunTracker(config), None
    with open(path, "wb") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    options = RunOptions(capture_logs="DEBUG")
    try:
        kept = setup(tracker.run("p", options=options) if tracked else contextlib.nullcontext())
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    pipe.send(kept)


@pytest.mark.parametrize("program", SETUPS, ids=lambda program: program.__name__)
def test_what_is_printed_is_the_same_with_and_without_a_run(
    local_tables: DynamoDBConfig, drivers: Drivers, tmp_path: Path, program: Callable[..., Any]
) -> None:
    printed: dict[bool, bytes] = {}
    wanted: dict[bool, Any] = {}
    for tracked in (False, True):
        path = tmp_path / str(tracked)
        driver = drivers.fork(
            run_program, local_tables, setup=program, path=str(path), tracked=tracked
        )
        wanted[tracked] = driver.hear()
        assert driver.exit_code() == 0
        printed[tracked] = path.read_bytes()
    assert printed[True].decode() == printed[False].decode()
    assert printed[True]
    tracker = RunTracker(local_tables)
    (run,) = tracker.runs.get_runs_by_pipeline("p")
    assert tracker.holder("p") is None
    assert wanted[True] == wanted[False]
    lines = [
        line.partition(": ")[2]
        for line in tracker.runs.get_log_lines(run.run_id)
        if "dynamodb_wrapper." not in line and line.startswith("20")
    ]
    if wanted[True] is not None:
        assert len(lines) == len([line for line in wanted[True] if line])
        for line, expected in zip(lines, filter(None, wanted[True])):
            assert line.startswith(expected)
        assert run.status == "success"
    else:
        assert run.status == "failed"
        assert lines == ["inside"]


# ---- whose lines they are ------------------------------------------------------------------------


def lines_of(tracker: RunTracker, run: Run) -> list[str]:
    return [line.partition("job: ")[2] for line in tracker.runs.get_log_lines(run.run_id)]


def test_the_lines_of_a_thread_go_to_its_run_alone(tracker: RunTracker) -> None:
    begun, told = threading.Barrier(2), threading.Barrier(3)
    runs: dict[str, Run] = {}

    def work(name: str) -> None:
        with tracker.run("q") as run:
            runs[name] = run
            begun.wait()
            log.warning("of %s", name)
            told.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    eventually(lambda: len(runs) == 2)
    log.warning("of neither")
    in_a_thread(lambda: log.warning("of no one"))
    told.wait()
    for thread in threads:
        thread.join()
    assert {name: lines_of(tracker, run) for name, run in runs.items()} == {
        "one": ["of one"],
        "two": ["of two"],
    }


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no Barrier")
def test_the_lines_of_a_task_go_to_its_run_alone(tracker: RunTracker) -> None:
    runs: dict[str, Run] = {}

    async def work(name: str, ready: asyncio.Barrier, *, tracked: bool) -> None:
        block = tracker.run("q") if tracked else contextlib.nullcontext()
        with block as run:
            if run is not None:
                runs[name] = run
            await ready.wait()
            log.warning("of %s", name)
            await ready.wait()

    async def main() -> None:
        ready = asyncio.Barrier(3)
        names = {"one": True, "two": True, "neither": False}
        await asyncio.gather(*(work(name, ready, tracked=yes) for name, yes in names.items()))

    asyncio.run(main())
    assert {name: lines_of(tracker, run) for name, run in runs.items()} == {
        "one": ["of one"],
        "two": ["of two"],
    }


def log_from_threads(config: DynamoDBConfig, pipe: Any) -> None:
    tracker = RunTracker(config)
    with tracker.run("p") as outer:
        in_a_thread(lambda: log.warning("for the only one"))
        with tracker.run("q") as inner:
            in_a_thread(lambda: log.warning("for the innermost"))
    in_a_thread(lambda: log.warning("after"))
    pipe.send([lines_of(tracker, run) for run in (outer, inner)])


def test_a_thread_without_a_run_works_for_the_only_one(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(log_from_threads, local_tables)
    assert driver.hear() == [["for the only one"], ["for the innermost"]]


def end_out_of_order(config: DynamoDBConfig, pipe: Any) -> None:
    tracker = RunTracker(config)
    before = dict(vars(logging.Logger)), dict(vars(logging.Filterer)), logging.getLogRecordFactory()
    first = tracker.start("q")
    second = tracker.start("q")
    first.finish()
    log.warning("for the second")
    second.finish()
    after = dict(vars(logging.Logger)), dict(vars(logging.Filterer)), logging.getLogRecordFactory()
    pipe.send((after == before, logging.getLogger().handlers, lines_of(tracker, second)))


def test_logging_is_as_it_was_once_no_run_is_open(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(end_out_of_order, local_tables)
    assert driver.hear() == (True, [], ["for the second"])


def fork_inside(config: DynamoDBConfig, pipe: Any) -> None:
    tracker = RunTracker(config)
    with tracker.run("p") as run:
        child = os.fork()
        if child == 0:
            log.warning("of the child")
            with tracker.run("q") as own:
                log.warning("of its run")
            pipe.send(lines_of(tracker, own))
            os._exit(0)
        os.waitpid(child, 0)
        log.warning("of the parent")
    pipe.send(lines_of(tracker, run))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_forked_child_keeps_the_lines_of_its_own_run(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(fork_inside, local_tables)
    assert driver.hear() == ["of its run"]
    assert driver.hear() == ["of the parent"]


def test_another_program_s_replacement_is_left_alone(tracker: RunTracker) -> None:
    seen: list[str] = []
    with tracker.run("p"):
        inherited = logging.Logger.filter

        def counting(logger: logging.Logger, record: logging.LogRecord) -> Any:
            seen.append(record.getMessage())
            return inherited(logger, record)

        logging.Logger.filter = counting  # type: ignore[method-assign]
        log.warning("inside")
    try:
        assert logging.Logger.filter is counting
        log.warning("after")
    finally:
        del logging.Logger.filter
    assert seen[0] == "inside"
    assert seen[-1] == "after"
