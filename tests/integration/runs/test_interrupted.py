"""Exceptions from outside at every line of a start and an end: the record is true or spooled.

Another thread, a debugger or a lack of memory may raise anywhere. A trace function does.
"""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import dynamodb_wrapper.runs
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.runs import RunOptions, RunTracker, find_current_run
from tests.support import faults
from tests.support.runs import outside_of_runs, run_table_items, with_pipelines

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

RUN_CONTROL = Path(dynamodb_wrapper.runs.__file__).parent
KINDS = (ArithmeticError, BaseException)
FIRST_STEPS = {"_partition", "_plain", "_cut", "_user", "_library_version", "describe_runtime"}
FIRST_STEPS |= {"__init__", "renew", "read_clocks", "new_record", "stored_parameters"}
"""Of a start: they send nothing."""
STARTING = {"start.py", "context.py", "signals.py", "finish.py", "heartbeat.py", "hooks.py"}
DOORS = {"finish", "_finish", "_deliver", "_conclude", "_decided", "_settle", "_store_end"}
SPOOLING = {"_store", "_spool", "_keep", "keep", "spend", "_wait", "_left", "_settle", "_bare_end"}


class Place(NamedTuple):
    """A line of run control."""

    file: str
    function: str
    line: int


class RaiseAt:
    """A trace function that raises at the n-th line of run control it meets.

    Attributes:
        place: Where it did; None if there are fewer lines.
    """

    def __init__(self, line: int, is_wanted: Callable[[Place], bool]) -> None:
        self._left = line
        self._error = KINDS[line % len(KINDS)]("from outside")
        self._is_wanted = is_wanted
        self._lines: set[Place] = set()
        self.place: Place | None = None

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        folder, _, name = frame.f_code.co_filename.rpartition("/")
        place = Place(name, frame.f_code.co_name, frame.f_lineno)
        if folder != str(RUN_CONTROL) or not self._is_wanted(place):
            return None
        if event == "line" and place not in self._lines:
            self._lines.add(place)
            self._left -= 1
            if self._left == 0:
                sys.settrace(None)
                self.place = place
                raise self._error
        return self


class Seen(NamedTuple):
    """What came of one line."""

    place: Place
    pipeline_id: str
    is_open: bool
    are_released: bool
    is_watched: bool


# ---- programs ------------------------------------------------------------------------------------


class Starts:
    """Begin blocks; an exception at any line from the first that is sent."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self._tracker = RunTracker(config, hooks=[lambda event: None])

    def is_wanted(self, place: Place) -> bool:
        return place.file in STARTING and place.function not in FIRST_STEPS

    def act(self, pipeline_id: str, trace: RaiseAt) -> None:
        block = self._tracker.run(pipeline_id)
        sys.settrace(trace)
        block.__enter__()
        sys.settrace(None)
        block.__exit__(None, None, None)


class Ends:
    """End blocks."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self._tracker = RunTracker(config, hooks=[lambda event: None])

    def is_wanted(self, place: Place) -> bool:
        return True

    def act(self, pipeline_id: str, trace: RaiseAt) -> None:
        block = self._tracker.run(pipeline_id)
        block.__enter__().advance_watermark("position", 7)
        logging.getLogger("a.job").warning("a line of the job")
        sys.settrace(trace)
        block.__exit__(None, None, None)


class SpooledEnds:
    """End blocks while DynamoDB is away."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self._config = config
        self._tracker = RunTracker(config)

    def is_wanted(self, place: Place) -> bool:
        return place.function in SPOOLING

    def act(self, pipeline_id: str, trace: RaiseAt) -> None:
        block = self._tracker.run(pipeline_id, options=RunOptions(finish_seconds=0.01))
        block.__enter__()
        with faults.outage(self._config):
            sys.settrace(trace)
            block.__exit__(None, None, None)


class Finishes:
    """End runs without a block; a second call must store what the first could not."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self._tracker = RunTracker(config)

    def is_wanted(self, place: Place) -> bool:
        return place.function in DOORS

    def act(self, pipeline_id: str, trace: RaiseAt) -> None:
        run = self._tracker.start(pipeline_id)
        try:
            sys.settrace(trace)
            run.finish()
        finally:
            sys.settrace(None)
            run.finish()


PROGRAMS = {program.__name__: program for program in (Starts, Ends, SpooledEnds, Finishes)}


def interrupt_every_line(config: DynamoDBConfig, pipe: Any, name: str, spool: str) -> None:
    """Act again and again, with an exception one line later each time."""
    config = config.model_copy(update={"spool_directory": spool})
    logging.getLogger("dynamodb_wrapper").setLevel("CRITICAL")
    program, pipelines = PROGRAMS[name](config), PipelineConfigRepository(config)
    signal.signal(signal.SIGUSR1, own := lambda *_: None)
    for line in count(1):
        pipeline_id, trace = f"{name}-{line}", RaiseAt(line, program.is_wanted)
        pipelines.put(PipelineConfig(pipeline_id=pipeline_id))
        is_open = outside_of_runs(is_open_after, program, pipeline_id, trace)
        if trace.place is None:
            break
        are_released = signal.getsignal(signal.SIGUSR1) is own
        is_watched = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        pipe.send(Seen(trace.place, pipeline_id, is_open, are_released, is_watched))
    pipe.send(None)


def is_open_after(program: Any, pipeline_id: str, trace: RaiseAt) -> bool:
    with suppress(BaseException):
        try:
            program.act(pipeline_id, trace)
        finally:
            sys.settrace(None)
    return find_current_run() is not None


# ---- what came of them ---------------------------------------------------------------------------


@pytest.mark.newest_only
@pytest.mark.slow
def test_an_exception_at_any_line_leaves_the_record_true_or_spooled(
    local_config: DynamoDBConfig, drivers: Drivers, tmp_path: Path
) -> None:
    config = with_pipelines(local_config)
    started = {
        name: drivers.launch(interrupt_every_line, config, name=name, spool=str(tmp_path / name))
        for name in PROGRAMS
    }
    seen = {name: list(iter(driver.hear, None)) for name, driver in started.items()}
    for name, driver in started.items():
        assert driver.exit_code() == 0
        assert len(seen[name]) > 30, name
        spool = {"spool_directory": str(tmp_path / name)}
        RunTracker(config.model_copy(update=spool)).replay_outcomes()
    items = run_table_items(config)
    ends = {
        item["pipeline_id"]: (item["status"], item.get("status_reason"))
        for item in items.values()
        if item["kind"] == "RUN"
    }
    for name, one in ((name, one) for name, every in seen.items() for one in every):
        assert one.are_released, one
        assert one.is_watched <= any(other.is_open for other in seen[name]), one
        assert "holder" not in items.get(f"#pipeline#{one.pipeline_id}", {}), one
        end = ends.get(one.pipeline_id)
        if name == "Starts":
            assert end in (None, ("failed", "exception")), one
        elif one.is_open:  # raised before the end had begun, and stored when the process exited
            assert (one.place.function, end) == ("__exit__", ("failed", "process_exit")), one
        else:
            assert end == ("success", None), one
