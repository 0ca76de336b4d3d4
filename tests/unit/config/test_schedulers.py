"""Ids of jobs in the environment, arguments and directory of a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamodb_wrapper.config.schedulers import SOURCES, external_id_of_process

PAGE = Path(__file__).parents[3] / "docs" / "runs.md"
AIRFLOW = {"AIRFLOW_CTX_DAG_ID": "orders", "AIRFLOW_CTX_DAG_RUN_ID": "manual__1"}
EVERYWHERE = {name: "x" for source in SOURCES for name in source.variables}


@pytest.mark.parametrize(
    ("environment", "arguments", "directory", "found"),
    [
        ({}, ["job.py"], "/home/hadoop", None),
        (AIRFLOW, [], "/", "orders/manual__1"),
        ({"AIRFLOW_CTX_DAG_RUN_ID": "manual__1"}, [], "/", None),
        ({"DATABRICKS_JOB_RUN_ID": "77"}, [], "/", "77"),
        ({"AWS_GLUE_JOB_RUN_ID": "jr_1"}, [], "/", "jr_1"),
        ({"EMR_STEP_ID": " s-1 "}, [], "/", "s-1"),
        ({"EMR_STEP_ID": "  "}, [], "/", None),
        (EVERYWHERE, [], "/", "x/x"),
        ({}, ["job.py", "--JOB_NAME", "j", "--JOB_RUN_ID", "jr_2"], "/", "jr_2"),
        ({}, ["job.py", "--JOB_RUN_ID=jr_3"], "/", "jr_3"),
        ({}, ["job.py", "--JOB_RUN_ID"], "/", None),
        ({}, [], "/mnt/var/lib/hadoop/steps/s-0776", "s-0776"),
        ({}, [], "/mnt/var/lib/hadoop/steps", None),
        ({}, [], "", None),
    ],
)
def test_the_id_is_that_of_the_first_system_that_gives_one(
    environment: dict[str, str], arguments: list[str], directory: str, found: str | None
) -> None:
    assert external_id_of_process(environment, arguments, directory) == found


def test_the_page_lists_the_variables_in_their_order() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if "_ID`" in line and line[:1] == "|"]
    assert [row.split("|")[1].strip() for row in rows] == [source.system for source in SOURCES]
    for row, source in zip(rows, SOURCES):
        assert all(f"`{name}`" in row for name in source.variables)
