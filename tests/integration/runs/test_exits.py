"""Processes that end with open runs: scripts, and children of multiprocessing of every kind."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import InvalidTransitionError, RunFinishError
from dynamodb_wrapper.models import PipelineConfig, RunStatus, StageStatus
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.support import faults
from tests.support.processes import settings_of
from tests.support.runs import outside_of_runs, state, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Drivers

KEPT: list[Any] = []
"""Runs that stay open until their process ends."""


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [PipelineConfig(pipeline_id=name) for name in ("exclusive", "other")]


def end_of(config: DynamoDBConfig, run_id: str) -> tuple[str, str | None, str | None]:
    record = stored(config, run_id)
    return str(record.status), record.status_reason, record.error_type


# ---- scripts -------------------------------------------------------------------------------------


class OutOfDataError(Exception):
    """What a script ends with."""


def leave_by(config: DynamoDBConfig, pipe: Any, error: BaseException | None) -> None:
    KEPT.append(RunTracker(config).start("exclusive"))
    pipe.send(KEPT[0].run_id)
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, ("failed", "process_exit", "dynamodb_wrapper.runs.outcome.ProcessEndedError")),
        (OutOfDataError("none"), ("failed", "process_exit", f"{__name__}.OutOfDataError")),
        (KeyboardInterrupt(), ("cancelled", "user_cancel", None)),
    ],
    ids=["returns", "raises", "Ctrl-C"],
)
def test_what_a_script_ends_with_is_the_reason_of_its_open_run(
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    error: BaseException | None,
    end: tuple[str, str, str | None],
) -> None:
    driver = drivers.launch(leave_by, local_tables, error=error)
    run_id = driver.hear()
    driver.exit_code()
    assert end_of(local_tables, run_id) == end
    assert "holder" not in state(local_tables, "exclusive")


# ---- children ------------------------------------------------------------------------------------


def begin(settings: dict[str, Any], way: str = "returns") -> str:
    """Begin a run, and leave it open in a process that ends as it likes."""
    run = RunTracker(DynamoDBConfig.for_local_development(**settings)).start("exclusive")
    KEPT.append(run)
    if way == "raises":
        raise OutOfDataError("none")
    if way == "exits":
        sys.exit(0)
    return run.run_id


def have_children(config: DynamoDBConfig, pipe: Any, kind: str, way: str) -> None:
    """Hold a run, and let a child of multiprocessing leave one of its own open."""
    outer = RunTracker(config).start("other")
    settings, context = settings_of(config), multiprocessing.get_context(kind.partition("-")[0])
    if kind.endswith("-pool"):
        with context.Pool(1) as pool:
            pool.apply(begin, (settings,))
            pool.close()
            pool.join()
    elif kind.endswith("-executor"):
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            executor.submit(begin, settings).result()
    else:
        child = context.Process(target=begin, args=(settings, way))
        child.start()
        child.join()
    outside_of_runs(outer.finish)
    pipe.send(outer.run_id)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fork", "forkserver", "spawn", "fork-pool", "fork-executor"])
def test_a_child_of_multiprocessing_ends_the_run_it_leaves_open(
    local_tables: DynamoDBConfig, drivers: Drivers, kind: str
) -> None:
    driver = drivers.launch(have_children, local_tables, kind=kind, way="returns")
    outer = driver.hear()
    assert driver.exit_code() == 0
    history = state(local_tables, "exclusive")
    assert "holder" not in history
    end = end_of(local_tables, history["last_run_id"]["S"])
    assert end[:2] == ("failed", "process_exit")
    assert end_of(local_tables, outer) == ("success", None, None)


@pytest.mark.parametrize(
    ("way", "error"), [("raises", f"{__name__}.OutOfDataError"), ("exits", "builtins.SystemExit")]
)
def test_what_a_child_ends_with_is_the_reason_of_its_open_run(
    local_tables: DynamoDBConfig, drivers: Drivers, way: str, error: str
) -> None:
    driver = drivers.launch(have_children, local_tables, kind="fork", way=way)
    driver.hear()
    assert driver.exit_code() == 0
    history = state(local_tables, "exclusive")
    kind = error.replace("builtins.", "")
    assert end_of(local_tables, history["last_run_id"]["S"]) == ("failed", "process_exit", kind)


# ---- an end that could neither be stored nor kept ------------------------------------------------


def test_an_end_that_could_not_be_kept_is_stored_by_another_call(
    local_tables: DynamoDBConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    blocked = local_tables.model_copy(update={"spool_directory": str(tmp_path / "file" / "spool")})
    run = RunTracker(blocked).start("exclusive", options=RunOptions(finish_seconds=0.1))
    run.advance_watermark("position", 7)
    with faults.outage(blocked), pytest.raises(RunFinishError):
        run.finish()
    with pytest.raises(InvalidTransitionError):
        run.fail(ValueError("too late"))
    run.finish()
    assert stored(local_tables, run.run_id).status is RunStatus.SUCCESS
    assert RunTracker(local_tables).watermark("exclusive", "position") == 7


def end_while_dynamodb_is_away(config: DynamoDBConfig, pipe: Any, spool: str) -> None:
    """End a run in an outage that is over when the process exits, without a spool."""
    blocked = config.model_copy(update={"spool_directory": spool})
    options = RunOptions(finish_seconds=0.1)
    with faults.outage(blocked):
        pass
    block = RunTracker(blocked).run("exclusive", options=options)
    pipe.send(block.__enter__().run_id)
    with faults.outage(blocked), pytest.raises(RunFinishError):
        block.__exit__(None, None, None)


def test_an_end_that_could_not_be_kept_is_stored_when_the_process_exits(
    local_tables: DynamoDBConfig, drivers: Drivers, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    driver = drivers.launch(
        end_while_dynamodb_is_away, local_tables, spool=str(tmp_path / "file" / "spool")
    )
    run_id = driver.hear()
    assert driver.exit_code() == 0
    assert end_of(local_tables, run_id) == ("success", None, None)


# ---- log handlers that raise ---------------------------------------------------------------------


class Raising(logging.Handler):
    """A handler of a program with a mistake."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ArithmeticError("of the handler")


@contextmanager
def raising_handlers() -> Iterator[None]:
    handler, logger = Raising(), logging.getLogger("dynamodb_wrapper.runs")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel("NOTSET")


def test_log_handlers_that_raise_change_neither_a_run_nor_what_leaves_its_block(
    local_tables: DynamoDBConfig, tmp_path: Path
) -> None:
    config = local_tables.model_copy(update={"spool_directory": str(tmp_path)})
    tracker, mine = RunTracker(config), OutOfDataError("none")
    with raising_handlers(), tracker.run("exclusive") as run:
        pass
    assert end_of(config, run.run_id) == ("success", None, None)
    with raising_handlers(), pytest.raises(OutOfDataError) as caught:
        with tracker.run("exclusive") as run:
            raise mine
    assert caught.value is mine
    assert end_of(config, run.run_id)[:2] == ("failed", "exception")
    block = tracker.run("exclusive", options=RunOptions(finish_seconds=0.1))
    run = block.__enter__()
    with raising_handlers(), faults.outage(config), pytest.raises(RunFinishError):
        block.__exit__(None, None, None)
    tracker.replay_outcomes()
    assert end_of(config, run.run_id) == ("success", None, None)


# ---- exceptions that exit when they are asked for their text -------------------------------------


class _Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class _Interrupts(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


@pytest.mark.parametrize("kind", [_Exits, _Interrupts])
@pytest.mark.parametrize("is_away", [False, True], ids=["stored", "in the spool"])
def test_an_exception_that_exits_when_it_is_shown_leaves_the_block_as_it_is(
    local_tables: DynamoDBConfig, tmp_path: Path, kind: type[BaseException], is_away: bool
) -> None:
    config = local_tables.model_copy(update={"spool_directory": str(tmp_path)})
    tracker = RunTracker(config)
    error = kind("why")
    with ExitStack() as outage:
        with pytest.raises(kind) as caught:
            with tracker.run("exclusive", options=RunOptions(finish_seconds=0.1)) as run:
                with run.stage("load"):
                    if is_away:
                        outage.enter_context(faults.outage(config))
                    raise error
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    tracker.replay_outcomes()
    record = stored(config, run.run_id)
    assert (record.status, record.status_reason) == (RunStatus.FAILED, "exception")
    assert record.error is not None
    assert record.error.type.endswith(kind.__name__)
    assert record.error.stage == "load"
    assert record.stages["load"].status is StageStatus.FAILED
