"""The types a user sees, checked by mypy in strict mode."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="NOT TESTED: types need mypy: pip install mypy"
)


def checked(name: str, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--show-error-codes", "--no-error-summary"]
    command += ["--follow-imports=silent", "--ignore-missing-imports", "--config-file="]
    command += ["--cache-dir", str(cache), str(HERE / name)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_repositories_are_inferred_for_the_model_of_the_user(cache: Path) -> None:
    answer = checked("api.py", cache)
    assert answer.stdout + answer.stderr == ""
    assert answer.returncode == 0


def test_mistakes_are_refused_where_they_are_made(cache: Path) -> None:
    lines = (HERE / "mistakes.py").read_text().splitlines()
    marked = [(n, re.search(r"# error: \[(.+)\]", line)) for n, line in enumerate(lines, 1)]
    expected = {(n, found[1]) for n, found in marked if found}
    told = re.findall(
        r"mistakes\.py:(\d+): error: .*\[(.+)\]$", checked("mistakes.py", cache).stdout, re.M
    )
    assert {(int(n), code) for n, code in told} == expected
