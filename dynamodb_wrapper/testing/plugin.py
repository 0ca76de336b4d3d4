"""Fixtures of pytest; what they need is imported when a test uses them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.local.server import LocalDynamoDB
    from dynamodb_wrapper.runs.tracker import RunTracker

_ENGINES = ("auto", "dynoxide", "moto", "dynamodb-local")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting that choose the engine."""
    group = parser.getgroup("dynamodb-wrapper")
    text = f"engine of the fixture dynamodb_engine: {', '.join(_ENGINES)}"
    group.addoption("--dynamodb-engine", choices=_ENGINES, default=None, help=text)
    parser.addini("dynamodb_engine", text, default="auto")


@pytest.fixture(scope="session")
def dynamodb_engine(pytestconfig: pytest.Config) -> Iterator[LocalDynamoDB]:
    """A DynamoDB engine on this machine, one for all tests; with xdist one for each process.

    It is chosen by ``--dynamodb-engine`` or the setting ``dynamodb_engine`` of pytest: ``auto``
    takes dynoxide where it is available, else moto.
    """
    from dynamodb_wrapper.aws.client import close_clients
    from dynamodb_wrapper.local import LocalDynamoDB

    chosen = pytestconfig.getoption("--dynamodb-engine") or pytestconfig.getini("dynamodb_engine")
    with LocalDynamoDB(str(chosen)) as engine:
        yield engine
        close_clients()


@pytest.fixture
def dynamodb_config(dynamodb_engine: LocalDynamoDB, tmp_path: Path) -> DynamoDBConfig:
    """A config whose tables are those of this test alone, by a prefix."""
    from dynamodb_wrapper.config.settings import DynamoDBConfig

    return DynamoDBConfig.for_local_development(
        dynamodb_engine.endpoint_url,
        table_prefix=f"test_{uuid.uuid4().hex[:12]}",
        spool_directory=str(tmp_path / "spool"),
    )


@pytest.fixture
def dynamodb_tables(dynamodb_config: DynamoDBConfig) -> DynamoDBConfig:
    """The same config; the three tables exist and are empty."""
    from dynamodb_wrapper.repositories.creation import create_tables

    create_tables(dynamodb_config)
    return dynamodb_config


@pytest.fixture
def run_tracker(dynamodb_tables: DynamoDBConfig) -> RunTracker:
    """A tracker of runs in the tables of this test."""
    from dynamodb_wrapper.runs.tracker import RunTracker

    return RunTracker(dynamodb_tables)


@pytest.fixture(scope="session")
def spark_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A small Spark session on this machine, one for all tests; skips without PySpark or Java."""
    from dynamodb_wrapper.local.java import java_problem

    pytest.importorskip("pyspark", reason="pip install 'dynamodb-wrapper[spark]'")
    problem = java_problem()
    if problem is not None:
        pytest.skip(f"Spark needs Java. {problem}")
    from dynamodb_wrapper.testing.spark import small_session

    session = small_session(str(tmp_path_factory.mktemp("warehouse")))
    yield session
    session.stop()
