"""Fixtures of all tests: engines, configs, a Spark session; the user's settings are removed."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any, Callable, NoReturn
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from dynamodb_wrapper.aws.client import close_clients
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import LocalEngineError
from dynamodb_wrapper.local import LocalDynamoDB
from dynamodb_wrapper.local.engines import find_engine
from dynamodb_wrapper.local.java import java_problem
from dynamodb_wrapper.testing.spark import small_session
from tests.support.delta_jars import NoDeltaError, fetch_delta
from tests.support.engines import CAPABILITIES, ENGINE_NAMES, Engine, isolated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MARKERS = {"engine": {"engine", "local_engine"}, "spark": {"spark_installation"}}
_OWN_SETTINGS = ("AWS_", "DYNAMODB_")
_NOT_TESTED = "NOT TESTED: "
_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For Spark and engines that end before optimised compilation pays."""


def pytest_configure(config: pytest.Config) -> None:
    """Remove the user's settings, so that no test depends on them or reaches a real account."""
    state = tempfile.TemporaryDirectory(prefix="dynamodb-wrapper-tests-")
    config.add_cleanup(state.cleanup)
    os.environ["XDG_STATE_HOME"] = state.name  # spooled outcomes stay out of the user's home
    for name in [name for name in os.environ if name.startswith(_OWN_SETTINGS)]:
        del os.environ[name]
    os.environ.pop("ENVIRONMENT", None)
    os.environ["JAVA_TOOL_OPTIONS"] = _JAVA_OPTIONS
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.devnull
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--engine NAME`: what runs on each engine in turn runs on this one only."""
    parser.addoption("--engine", choices=ENGINE_NAMES, help="the one engine to run on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use; leave out the engines that were not asked for."""
    only = config.getoption("engine")
    if only is not None:
        others = [item for item in items if _engine_of(item) not in (None, only)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _engine_of(item) in (None, only)]
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for marker, fixtures in _MARKERS.items():
            if used & fixtures:
                item.add_marker(marker)


def _engine_of(item: pytest.Item) -> str | None:
    """Return the engine that a test's parameters name."""
    callspec = getattr(item, "callspec", None)
    engine: str | None = callspec.params.get("engine") if callspec is not None else None
    return engine


def pytest_collection_finish() -> None:
    """Exclude tests and libraries, which live as long as the session, from collection."""
    _settle_garbage()


def _settle_garbage() -> None:
    """Collect garbage and exclude the remaining objects from later collections."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """Print at the end, once per reason, which tests could not run here."""
    yield
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ())]
    for reason, count in Counter(reasons).items():
        if _NOT_TESTED in reason:
            told = reason.partition(_NOT_TESTED)[2]
            terminalreporter.write_line(f"*** NOT TESTED, {count} tests: {told} ***", red=True)


def _not_tested(reason: str) -> NoReturn:
    """Skip the test and list the reason at the end of the run."""
    pytest.skip(_NOT_TESTED + " ".join(reason.split()))


@pytest.fixture(scope="module", autouse=True)
def _close_connections() -> Iterator[None]:
    """Close the clients: every test has its own tables and client, hence connections."""
    yield
    close_clients()
    _settle_garbage()


@pytest.fixture(scope="module", autouse=True)
def _moto_forgets(_running: dict[str, LocalDynamoDB]) -> Iterator[None]:
    """Reset moto: 5.1.0 copies every table for each transaction, which takes seconds with many."""
    yield
    if "moto" in _running:
        reset = f"{_running['moto'].config.endpoint_url}/moto-api/reset"
        build_opener(ProxyHandler({})).open(Request(reset, method="POST")).close()


@pytest.fixture(scope="session")
def _running() -> Iterator[dict[str, LocalDynamoDB]]:
    """The running engines; they stop with the session."""
    running: dict[str, LocalDynamoDB] = {}
    yield running
    for local in running.values():
        local.stop()


@pytest.fixture(scope="session")
def _running_engine(_running: dict[str, LocalDynamoDB]) -> Callable[[str], Engine]:
    """Start each engine at its first use."""

    def running_engine(name: str) -> Engine:
        if name not in _running:
            try:
                find_engine(name, None)
            except LocalEngineError as error:
                _not_tested(f"the engine {name} cannot be had. {error}")
            _running[name] = LocalDynamoDB(name).start()  # one that is there and fails is an error
        return Engine(name, _running[name].config, CAPABILITIES[name])

    return running_engine


@pytest.fixture(scope="session", params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest, _running_engine: Callable[[str], Engine]) -> Engine:
    """Each engine in turn."""
    return _running_engine(request.param)


@pytest.fixture
def config(engine: Engine) -> DynamoDBConfig:
    """Config of each engine in turn, with a table prefix for each test."""
    return isolated(engine.config)


@pytest.fixture(scope="session")
def local_engine(_running_engine: Callable[[str], Engine]) -> Engine:
    """The embedded default engine."""
    return _running_engine("dynoxide")


@pytest.fixture
def local_config(local_engine: Engine) -> DynamoDBConfig:
    """Config of the embedded default engine, with a table prefix for each test."""
    return isolated(local_engine.config)


@pytest.fixture
def mock_config() -> Iterator[DynamoDBConfig]:
    """Config for moto inside this process; Spark's workers do not see it."""
    from moto import mock_aws

    with mock_aws():
        yield isolated(
            DynamoDBConfig(
                region_name="us-east-1",
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
        )


@pytest.fixture(scope="session")
def spark_installation() -> None:
    """PySpark and Java without a session; skips the test if they are missing."""
    if importlib.util.find_spec("pyspark") is None:
        _not_tested("Spark needs pyspark: pip install 'dynamodb-wrapper[spark]'.")
    problem = java_problem()
    if problem is not None:
        _not_tested(f"Spark needs Java. {problem}")


@pytest.fixture(scope="session")
def spark(spark_installation: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The Spark session all tests share."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    session = _local_session(tmp_path_factory.mktemp("warehouse"))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def delta_jars(spark_installation: None) -> list[Path]:
    """Delta's jars for the installed PySpark; skips the test without them."""
    try:
        return fetch_delta()
    except NoDeltaError as reason:
        _not_tested(f"fencing of Delta tables. {reason}")


def _local_session(warehouse: Path) -> Any:
    session = small_session(str(warehouse))
    session.sparkContext.setLogLevel("ERROR")
    return session
