"""Ids that schedulers and job services give the process they start."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GLUE_ARGUMENT = "--JOB_RUN_ID"


class ExternalIdSource(NamedTuple):
    """Variables of the environment that hold the id of the job in another system.

    Attributes:
        system: The system that sets them.
        variables: All of them must be set; the id is their values, joined by ``/``.
    """

    system: str
    variables: tuple[str, ...]


SOURCES: tuple[ExternalIdSource, ...] = (
    ExternalIdSource("Airflow", ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID")),
    ExternalIdSource("Databricks", ("DATABRICKS_JOB_RUN_ID",)),
    ExternalIdSource("AWS Glue", ("AWS_GLUE_JOB_RUN_ID",)),
    ExternalIdSource("EMR", ("EMR_STEP_ID",)),
)
"""Where an external id is looked for; the first that is set counts."""


def external_id_of_process(
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] | None = None,
    directory: str | None = None,
) -> str | None:
    """Return the id of the job that started this process, None where there is none.

    It is that of the first of `SOURCES`; else the value after ``--JOB_RUN_ID`` in the arguments of
    the process, which AWS Glue gives every job; else the step whose directory,
    ``…/steps/s-…`` on the main node of EMR, the process runs in.

    Args:
        environment: Variables to look at; those of the process unless given.
        arguments: Arguments to look at; those of the process unless given.
        directory: Working directory to look at; that of the process unless given.
    """
    known = os.environ if environment is None else environment
    for source in SOURCES:
        values = [known.get(name, "").strip() for name in source.variables]
        if all(values):
            return "/".join(values)
    given = list(sys.argv if arguments is None else arguments)
    return _glue_job_run(given) or _emr_step(_directory() if directory is None else directory)


def _glue_job_run(arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == _GLUE_ARGUMENT:
            return next(iter(arguments[place + 1 :]), "").strip() or None
        if argument.startswith(f"{_GLUE_ARGUMENT}="):
            return argument.partition("=")[2].strip() or None
    return None


def _emr_step(directory: str) -> str | None:
    path = PurePath(directory)
    return path.name if path.parent.name == "steps" and path.name.startswith("s-") else None


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""
