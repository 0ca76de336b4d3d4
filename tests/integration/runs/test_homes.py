"""Runs of users without a home, on full disks and without free descriptors: they begin and end."""

from __future__ import annotations

import logging
import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import ConfigurationError, RunFinishError
from dynamodb_wrapper.models import RunStatus
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.support import faults
from tests.support.runs import abandoned, later, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Drivers

NOBODY = 54_321  # a number no user has
SOON = RunOptions(finish_seconds=0.2)
IN_ANOTHER_USERS_PLACE = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)
ON_LINUX = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="descriptors are listed and files have no name"
)


# ---- homes ---------------------------------------------------------------------------------------


def no_home(directory: Path) -> None:
    """A container that runs as a number: no HOME, no entry in /etc/passwd."""
    os.setuid(NOBODY)


def unreadable_home(directory: Path) -> None:
    """HOME is still that of the user who called sudo, or su without ``-``."""
    directory.chmod(0o700)
    os.environ["HOME"] = str(directory)
    os.setuid(NOBODY)


def read_only_home(directory: Path) -> None:
    directory.chmod(0o555)
    os.environ["HOME"] = str(directory)
    os.setuid(NOBODY)


def foreign_home(directory: Path) -> None:
    """Root with the HOME of another user must leave no files of root there."""
    os.chown(directory, NOBODY, NOBODY)
    os.environ["HOME"] = str(directory)


def home_that_is_a_file(directory: Path) -> None:
    (directory / "file").write_text("in the way")
    os.environ["HOME"] = str(directory / "file")


HOMES = (no_home, unreadable_home, read_only_home, foreign_home, home_that_is_a_file)


def run_at_home(
    config: DynamoDBConfig, pipe: Any, move: Callable[[Path], None], directory: str
) -> None:
    """Begin and end three runs with another home; report them and what was logged."""
    with RunTracker(config).run("exclusive"):
        pass  # another user may not be able to read Python's modules, which are loaded here
    for name in ("HOME", "XDG_STATE_HOME", "DYNAMODB_SPOOL_DIRECTORY", "USER", "LOGNAME"):
        os.environ.pop(name, None)
    os.chdir("/")
    move(Path(directory))
    lines = Lines()
    runs = []
    for pipeline_id in ("exclusive", "unlimited", "exclusive"):
        with RunTracker(config).run(pipeline_id) as run:
            pass
        runs.append(run.run_id)
    pipe.send((runs, lines.warnings, os.path.exists("~")))


class Lines(logging.Handler):
    """Keeps the warnings of the library."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []
        logging.getLogger("dynamodb_wrapper").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())


@IN_ANOTHER_USERS_PLACE
@pytest.mark.parametrize("move", HOMES)
def test_runs_begin_and_end_in_any_home_and_that_there_is_no_spool_is_said_once(
    local_tables: DynamoDBConfig,
    drivers: Drivers,
    tmp_path: Path,
    move: Callable[[Path], None],
) -> None:
    driver = drivers.fork(run_at_home, local_tables, move=move, directory=str(tmp_path))
    runs, warnings, is_tilde_a_directory = driver.hear()
    assert [stored(local_tables, run_id).status for run_id in runs] == [RunStatus.SUCCESS] * 3
    (warning,) = warnings
    assert "DYNAMODB_SPOOL_DIRECTORY" in warning
    assert not is_tilde_a_directory
    assert not (tmp_path / ".local").exists()


def blocked(config: DynamoDBConfig, directory: Path) -> DynamoDBConfig:
    """A config whose spool is a file."""
    (directory / "file").write_text("in the way")
    return config.model_copy(update={"spool_directory": str(directory / "file")})


def test_a_start_ends_dead_runs_although_the_spool_cannot_be_read(
    local_tables: DynamoDBConfig, tmp_path: Path
) -> None:
    dead = abandoned(local_tables, "unlimited")
    config = blocked(local_tables, tmp_path)
    with RunTracker(config, clock=later(hours=1)).run("unlimited"):
        assert stored(local_tables, dead.run_id).status is RunStatus.LOST


def test_a_replay_of_a_spool_that_cannot_be_read_is_an_error_that_names_the_setting(
    local_tables: DynamoDBConfig, tmp_path: Path
) -> None:
    tracker = RunTracker(blocked(local_tables, tmp_path))
    for ask in (tracker.replay_outcomes, tracker.unreadable_outcomes):
        with pytest.raises(ConfigurationError, match="DYNAMODB_SPOOL_DIRECTORY"):
            ask()


# ---- disks and descriptors -----------------------------------------------------------------------


def use_up_descriptors() -> None:
    with suppress(OSError):
        while True:
            os.open(os.devnull, os.O_RDONLY)


def forbid_descriptors() -> None:
    """Take away those that are not in use, so that closing one gives none back."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    assert highest > 3


def fill_the_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def end_in_need(
    config: DynamoDBConfig, pipe: Any, spool: str, take: Callable[[], None], is_away: bool
) -> None:
    """End a run while something is lacking; report it, and the exception that came out."""
    if take is use_up_descriptors:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    config = config.model_copy(update={"spool_directory": spool})
    block = RunTracker(config).run("exclusive", options=SOON)
    run = block.__enter__()
    error = ValueError("mine")
    if is_away:
        with faults.outage(config):
            take()
            block.__exit__(ValueError, error, None)
    else:
        take()
        block.__exit__(ValueError, error, None)
    pipe.send((run.run_id, getattr(error, "__notes__", [])))


@pytest.mark.newest_only
def test_an_end_is_stored_although_the_body_has_used_up_all_descriptors(
    local_tables: DynamoDBConfig, drivers: Drivers, tmp_path: Path
) -> None:
    driver = drivers.launch(
        end_in_need, local_tables, spool=str(tmp_path), take=use_up_descriptors, is_away=False
    )
    run_id, notes = driver.hear()
    assert notes == []
    assert stored(local_tables, run_id).status is RunStatus.FAILED
    assert list(tmp_path.iterdir()) == []


@ON_LINUX
@pytest.mark.newest_only
@pytest.mark.parametrize("take", [use_up_descriptors, forbid_descriptors])
def test_an_end_is_kept_in_the_spool_although_there_are_no_descriptors(
    local_tables: DynamoDBConfig, drivers: Drivers, tmp_path: Path, take: Callable[[], None]
) -> None:
    driver = drivers.launch(end_in_need, local_tables, spool=str(tmp_path), take=take, is_away=True)
    run_id, notes = driver.hear()
    (path,) = tmp_path.iterdir()
    assert path.name in notes[0]
    config = local_tables.model_copy(update={"spool_directory": str(tmp_path)})
    assert [one.stored for one in RunTracker(config).replay_outcomes()] == [True]
    assert stored(config, run_id).status is RunStatus.FAILED


@pytest.mark.newest_only
def test_a_full_disk_leaves_no_half_of_a_file(
    local_tables: DynamoDBConfig, drivers: Drivers, tmp_path: Path
) -> None:
    driver = drivers.launch(
        end_in_need, local_tables, spool=str(tmp_path), take=fill_the_disk, is_away=True
    )
    run_id, notes = driver.hear()
    assert "could not be kept in a file either" in notes[0]
    assert list(tmp_path.iterdir()) == []
    assert stored(local_tables, run_id).status is RunStatus.RUNNING


@ON_LINUX
def test_what_is_held_back_for_an_end_is_given_back_with_it(local_tables: DynamoDBConfig) -> None:
    tracker = RunTracker(local_tables)
    with tracker.run("exclusive"):
        pass  # connections stay
    before = len(os.listdir("/proc/self/fd"))
    with tracker.run("exclusive"), tracker.run("unlimited"):
        inside = len(os.listdir("/proc/self/fd"))
    assert before < inside <= before + 12
    assert len(os.listdir("/proc/self/fd")) <= before


# ---- files of the spool --------------------------------------------------------------------------


@pytest.fixture
def kept(local_tables: DynamoDBConfig, tmp_path: Path) -> tuple[DynamoDBConfig, Path, str]:
    """A config, the one file in its spool, and the run whose outcome it holds."""
    config = local_tables.model_copy(update={"spool_directory": str(tmp_path / "spool")})
    block = RunTracker(config).run("exclusive", options=SOON)
    run = block.__enter__()
    with pytest.raises(RunFinishError), faults.outage(config):
        block.__exit__(None, None, None)
    (path,) = (tmp_path / "spool").iterdir()
    return config, path, run.run_id


@IN_ANOTHER_USERS_PLACE
def test_a_file_of_another_user_is_stored_only_if_that_is_asked_for(
    kept: tuple[DynamoDBConfig, Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    config, path, run_id = kept
    os.chown(path, NOBODY, NOBODY)
    tracker = RunTracker(config)
    with tracker.run("unlimited"):
        pass
    assert tracker.replay_outcomes() == []
    assert tracker.unreadable_outcomes() == []
    assert stored(config, run_id).status is RunStatus.RUNNING
    assert caplog.text.count("belongs to another user") == 1
    assert [one.stored for one in tracker.replay_outcomes(of_other_users=True)] == [True]
    assert stored(config, run_id).status is RunStatus.SUCCESS


def deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(400_000_000)


def of_another_type(path: Path) -> None:
    (kept,) = path.parent.iterdir()
    path.write_text(kept.read_text().replace('"moves": []', '"moves": [{"seen": {"name": 3}}]'))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def folder(path: Path) -> None:
    path.mkdir()


DAMAGES = (of_another_type, deep, huge, pipe, link, folder)


def test_no_file_stops_the_starts_of_a_machine_nor_the_replay_of_others(
    kept: tuple[DynamoDBConfig, Path, str],
) -> None:
    config, path, run_id = kept
    damaged = [path.with_name(f"0{number}.jsonl") for number in range(len(DAMAGES))]
    for damage, one in zip(DAMAGES, damaged):
        damage(one)
    tracker = RunTracker(config)
    with tracker.run("unlimited"):
        pass
    stored_, *others = sorted(tracker.replay_outcomes(), key=lambda one: not one.stored)
    assert (stored_.run_id, stored_.path) == (run_id, None)
    assert not any(one.stored for one in others)
    assert set(tracker.unreadable_outcomes()) >= set(damaged[1:])
    assert stored(config, run_id).status is RunStatus.SUCCESS
    assert all(map(os.path.lexists, damaged))


def test_files_that_were_never_finished_are_removed(
    kept: tuple[DynamoDBConfig, Path, str],
) -> None:
    config, path, _ = kept
    old, new = path.with_name("a.1.tmp"), path.with_name("b.2.tmp")
    for unfinished in (old, new):
        unfinished.write_text("{")
    os.utime(old, (0, time.time() - 3600))
    RunTracker(config).replay_outcomes()
    assert list(path.parent.iterdir()) == [new]  # which another process may be writing
