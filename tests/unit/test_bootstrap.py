"""The environment is rebuilt when, and only when, what it is made of has changed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynamodb_wrapper.local.java import major_version

ROOT = Path(__file__).parents[2]
BOOTSTRAP = ROOT / "tools" / "bootstrap.py"
PYPROJECT = '[project]\ndependencies = ["boto3"]\n\n[tool.ruff]\nline-length = 100\n'


def load_bootstrap() -> Any:
    spec = importlib.util.spec_from_file_location("bootstrap", BOOTSTRAP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = load_bootstrap()


def stamp(pyproject: str = PYPROJECT, **changes: str) -> str:
    parts = {"constraints": "", "extras": "dev", "place": "/here/.venv", **changes}
    return str(bootstrap.stamp(pyproject, **parts))


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment as a build leaves it."""
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / bootstrap.STAMP).write_text(stamp(), encoding="utf-8")
    return folder


def test_the_same_ingredients_give_the_same_stamp() -> None:
    assert stamp() == stamp()


def test_a_changed_dependency_changes_the_stamp() -> None:
    assert stamp(PYPROJECT.replace("boto3", "boto3>=1.28")) != stamp()


def test_a_changed_tool_setting_does_not_change_the_stamp() -> None:
    assert stamp(PYPROJECT.replace("100", "120")) == stamp()


@pytest.mark.parametrize(
    "change", [{"constraints": "boto3==1.28"}, {"extras": "test"}, {"place": "/there/.venv"}]
)
def test_everything_else_it_is_made_of_changes_the_stamp(change: dict[str, str]) -> None:
    assert stamp(**change) != stamp()


def test_another_interpreter_changes_the_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamp()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert stamp() != before


def test_an_environment_with_the_wanted_stamp_is_current(venv: Path) -> None:
    assert bootstrap.is_current(venv, stamp())


def test_an_environment_with_another_stamp_is_not_current(venv: Path) -> None:
    assert not bootstrap.is_current(venv, stamp(extras="test"))


def test_an_environment_without_a_stamp_is_not_current(venv: Path) -> None:
    (venv / bootstrap.STAMP).unlink()
    assert not bootstrap.is_current(venv, stamp())


def test_an_environment_whose_interpreter_was_removed_is_not_current(venv: Path) -> None:
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(venv / "gone")
    assert not bootstrap.is_current(venv, stamp())


def test_a_moved_environment_names_its_new_place_and_programs_stay_as_they_are(
    tmp_path: Path,
) -> None:
    building, venv = tmp_path / ".venv-building-1", tmp_path / ".venv"
    (building / "bin").mkdir(parents=True)
    binary = b"\x7fELF\0" + bytes(building)
    (building / "pyvenv.cfg").write_text(f"command = venv {building}\n", encoding="utf-8")
    (building / "bin" / "pytest").write_text(f"#!{building}/bin/python\n", encoding="utf-8")
    (building / "bin" / "ruff").write_bytes(binary)

    bootstrap.relocate(building, venv)
    bootstrap.move_in(building, venv)

    assert (venv / "pyvenv.cfg").read_text(encoding="utf-8") == f"command = venv {venv}\n"
    assert (venv / "bin" / "pytest").read_text(encoding="utf-8") == f"#!{venv}/bin/python\n"
    assert (venv / "bin" / "ruff").read_bytes() == binary


@pytest.fixture
def checkout(tmp_path: Path, venv: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with an environment that no longer fits."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "fetch_engine", lambda building: None)
    return tmp_path


def test_a_failed_build_leaves_the_old_environment_and_nothing_else(
    checkout: Path, venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str]) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(bootstrap, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        bootstrap.bring_up_to_date(venv, "dev", None)
    assert bootstrap.is_current(venv, stamp())
    assert sorted(path.name for path in checkout.iterdir()) == [".venv", "pyproject.toml"]


def test_an_environment_that_is_current_is_left_alone_without_a_word(
    checkout: Path, venv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (venv / bootstrap.STAMP).write_text(stamp(place=str(venv)), encoding="utf-8")
    monkeypatch.setattr(bootstrap, "run", lambda command: pytest.fail(f"{command} was run"))
    bootstrap.bring_up_to_date(venv, "dev", None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("uv", "made_by", "installed_by"),
    [
        (None, [sys.executable, "-m", "venv"], ["<building>/bin/python", "-m", "pip", "install"]),
        ("/bin/uv", ["/bin/uv", "venv"], ["/bin/uv", "pip", "install"]),
    ],
    ids=["venv and pip", "uv"],
)
def test_a_build_says_what_it_downloads_before_it_begins_and_uses_uv_where_it_is(
    checkout: Path,
    venv: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uv: str | None,
    made_by: list[str],
    installed_by: list[str],
) -> None:
    commands: list[list[str]] = []
    said_before: list[str] = []

    def run(command: list[str]) -> None:
        said_before.append(capsys.readouterr().out)
        (building,) = checkout.glob(f"{bootstrap.BUILD_PREFIX}*")
        (building / "bin").mkdir(exist_ok=True)
        (building / "bin" / "python").touch()
        commands.append([part.replace(str(building), "<building>") for part in command])

    monkeypatch.setattr("shutil.which", lambda name: uv)
    monkeypatch.setattr(bootstrap, "run", run)
    bootstrap.bring_up_to_date(venv, "test", None)
    assert re.search(r"Downloads about \d+ MB", said_before[0])
    assert commands[0][: len(made_by)] == made_by
    assert commands[1][: len(installed_by)] == installed_by
    assert commands[1][-2:] == ["--editable", ".[test]"]
    assert (venv / bootstrap.STAMP).is_file()
    assert sorted(path.name for path in checkout.iterdir()) == [".venv", "pyproject.toml"]


def test_a_build_killed_between_the_renames_gives_the_old_environment_back(
    checkout: Path, venv: Path
) -> None:
    replaced = checkout / f"{bootstrap.OLD_PREFIX}1"
    replaced.mkdir()
    venv.rename(replaced / ".venv")
    bootstrap.remove_leftovers(venv)
    assert bootstrap.is_current(venv, stamp())
    assert not replaced.exists()


def test_without_pip_and_uv_the_package_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(bootstrap.BootstrapError, match="python3-venv"):
        bootstrap.check_installer()


def test_without_java_the_package_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(bootstrap.BootstrapError, match="openjdk-17-jre-headless"):
        bootstrap.require_java()


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "11.0.2" 2019-01-15', 11),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "17-ea" 2021-09-14', 17),
        ("The operation could not be completed.", None),
    ],
)
def test_the_major_version_of_java_is_read_from_what_it_says(said: str, major: int | None) -> None:
    assert major_version(said) == major


def test_without_java_the_tests_of_spark_are_skipped_with_one_loud_line(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    tests = tmp_path / "test_with_spark.py"
    tests.write_text("def test_a(spark): ...\ndef test_b(spark): ...\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tests)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAVA_HOME": str(tmp_path)},
        check=False,
    )
    loud = [line for line in done.stdout.splitlines() if line.startswith("***")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(loud) == 1
    assert loud[0].startswith("*** NOT TESTED, 2 tests: Spark needs Java.")
    assert "openjdk-17-jre-headless" in loud[0]
