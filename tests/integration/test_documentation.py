"""The Python blocks of README and docs run as they are written, each page as one program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper import PipelineConfig, RunTracker
from tests.support.runs import with_pipelines

if TYPE_CHECKING:
    from dynamodb_wrapper import DynamoDBConfig

ROOT = Path(__file__).parents[2]
RUN_HERE = {"README.md", "docs/runs.md", "docs/single-table.md"}
RUN_ELSEWHERE = {
    "docs/arrow.md": "tests/integration/arrow/test_results.py",
    "docs/fencing.md": "tests/support/delta_scenarios.py",
    "docs/testing.md": "tests/integration/test_testing.py",
}
RECORDED = (
    r"orders-daily success, started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, [\d.]+ s, "
    r"read 17, written 17, run [-\w]{36}"
)


def blocks_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run(program: str, folder: Path, **settings: str) -> str:
    """Run a program in an empty folder and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_page_with_python_blocks_is_run() -> None:
    pages = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]
    with_blocks = {page for page in ["README.md", *pages] if blocks_of(page)}
    assert with_blocks == RUN_HERE | RUN_ELSEWHERE.keys()
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()


def test_the_quick_start_prints_a_recorded_run(tmp_path: Path) -> None:
    """In an empty folder, without any variable that names a place."""
    printed = run(blocks_of("README.md")[0], tmp_path)
    assert re.fullmatch(RECORDED, printed.strip())
    shown = (ROOT / "README.md").read_text().splitlines()
    assert sum(re.fullmatch(RECORDED, line) is not None for line in shown) == 1


@pytest.mark.slow
@pytest.mark.spark
def test_the_readme_is_a_program(tmp_path: Path, spark_installation: None) -> None:
    printed = run("\n".join(blocks_of("README.md")), tmp_path).splitlines()
    assert re.fullmatch(RECORDED, printed[0])
    assert printed[1:] == ["['raw.orders'] 14 14", "2026-1 paid 9.5"]


@pytest.mark.parametrize("page", sorted(RUN_HERE - {"README.md"}))
def test_the_pages_are_programs(page: str, local_config: DynamoDBConfig, tmp_path: Path) -> None:
    """The tables, the pipeline and a run of the quick start are there."""
    with RunTracker(with_pipelines(local_config, PipelineConfig(pipeline_id="orders-daily"))).run(
        "orders-daily"
    ):
        pass
    run(
        "\n".join(blocks_of(page)),
        tmp_path,
        DYNAMODB_ENDPOINT_URL=str(local_config.endpoint_url),
        DYNAMODB_TABLE_PREFIX=str(local_config.table_prefix),
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
    )
