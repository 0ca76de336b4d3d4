"""The fixtures for users' tests, in a project outside of this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
(PROJECT,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FAILS = """
import pytest

from dynamodb_wrapper import PipelineConfig, PipelineConfigRepository
from dynamodb_wrapper.testing import assert_recorded


def test_it(run_tracker, dynamodb_tables, dynamodb_engine):
    assert dynamodb_engine.engine == "dynoxide"
    PipelineConfigRepository(dynamodb_tables).create(PipelineConfig(pipeline_id="p"))
    with pytest.raises(AssertionError, match="'p' has no run"):
        assert_recorded(run_tracker, "p")
    with pytest.raises(KeyError), run_tracker.run("p"):
        raise KeyError("no-such-column")
    with pytest.raises(AssertionError, match="has no field 'rows'"):
        assert_recorded(run_tracker, "p", status="failed", rows=3)
    assert_recorded(run_tracker, "p", records_read=5, outputs={"a": 1})
"""


def run_pytest(folder: Path, content: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_orders.py").write_text(content)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:ddtrace", *arguments]
    return subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("engine", ["dynoxide", "moto"])
def test_the_page_is_a_project_whose_tests_pass(engine: str, tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path, PROJECT, "-k", "not cleaned", "--dynamodb-engine", engine, "-p", "no:randomly"
    )
    assert "2 passed, 1 deselected" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.spark
def test_the_page_tests_a_pipeline_of_spark(tmp_path: Path, spark_installation: None) -> None:
    done = run_pytest(tmp_path, PROJECT)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_difference_is_shown_with_the_run_and_its_error(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, FAILS, "--dynamodb-engine", "dynoxide")
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    for line in (
        r"AssertionError: p failed \(KeyError\), started .*, run [-\w]{36}",
        r"status: 'failed', not 'success'",
        r"records_read: None, not 5",
        r"outputs: \{\}, not \{'a': 1\}",
        r"error: KeyError: 'no-such-column'",
    ):
        assert re.search(line, done.stdout), line


def test_the_fixtures_import_nothing_before_a_test_uses_them(tmp_path: Path) -> None:
    content = (
        "import sys\n\n\ndef test_it():\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "    assert not loaded & {'boto3', 'botocore', 'pydantic', 'pyspark', 'pyarrow'}\n"
    )
    done = run_pytest(tmp_path, content)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
