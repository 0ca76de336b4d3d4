"""Repositories that travel: through a fork and through a pickle."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import stat
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for, close_clients
from dynamodb_wrapper.exceptions import ConfigurationError
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.spark import SparkDynamoDBIntegration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

FORK = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the platform does not fork"
)


@pytest.fixture
def pipelines(local_config: DynamoDBConfig) -> PipelineConfigRepository:
    """Two pipelines, and a connection that has been used."""
    found = PipelineConfigRepository(local_config)
    found.create_table()
    for number in range(2):
        found.create(PipelineConfig(pipeline_id=f"p{number}"))
    assert found.exists("p0")
    return found


def read_often(pipelines: PipelineConfigRepository, name: str, answers: Any) -> None:
    try:
        answers.put([pipelines.get_or_raise(name).pipeline_id for _ in range(50)])
    except Exception as error:
        answers.put([f"{type(error).__name__}: {error}"])


def answers_of_children(*arguments: tuple[PipelineConfigRepository, str]) -> list[list[str]]:
    fork: Any = multiprocessing.get_context("fork")
    answers = fork.Queue()
    children = [fork.Process(target=read_often, args=(*given, answers)) for given in arguments]
    for child in children:
        child.start()
    found = [answers.get() for _ in children]
    for child in children:
        child.join()
    return sorted(found)


@FORK
def test_forked_children_read_their_own_replies(pipelines: PipelineConfigRepository) -> None:
    found = answers_of_children((pipelines, "p0"), (pipelines, "p1"))
    assert found == [["p0"] * 50, ["p1"] * 50]


@FORK
def test_a_client_that_was_passed_in_is_refused_in_a_forked_child(
    pipelines: PipelineConfigRepository,
) -> None:
    given = PipelineConfigRepository(pipelines.config, client=client_for(pipelines.config))
    ((answer,),) = answers_of_children((given, "p0"))
    assert answer.startswith(ConfigurationError.__name__)
    assert "make the repository anew" in answer


def test_a_repository_is_pickled_without_client_and_credentials(
    pipelines: PipelineConfigRepository,
) -> None:
    content = pickle.dumps(pipelines)
    again = pickle.loads(content)
    assert isinstance(again, PipelineConfigRepository)
    assert again.table_name == pipelines.table_name
    assert again.config.aws_secret_access_key is None


def test_the_spark_integration_is_pickled_without_client_and_session(
    local_config: DynamoDBConfig,
) -> None:
    again = pickle.loads(pickle.dumps(SparkDynamoDBIntegration(local_config)))
    assert again.config.table_prefix == local_config.table_prefix


def test_closed_clients_are_made_anew_and_repositories_go_on(
    pipelines: PipelineConfigRepository,
) -> None:
    pipelines.create(PipelineConfig(pipeline_id="p"))
    before = client_for(pipelines.config)
    close_clients()
    assert client_for(pipelines.config) is not before
    assert pipelines.get("p") is not None
    assert PipelineConfigRepository(pipelines.config).get("p") is not None


def count_sockets(config: DynamoDBConfig, pipe: Any) -> None:
    """Return how many sockets are open before a request, after it, and after the clients closed."""

    def sockets() -> int:
        return sum(stat.S_ISSOCK(kind) for kind in _kinds_of_open_files())

    repository = PipelineConfigRepository(config)
    pipe.send(sockets())
    repository.get("p")
    pipe.send(sockets())
    close_clients()
    pipe.send(sockets())


def _kinds_of_open_files() -> Iterator[int]:
    for number in range(256):
        with contextlib.suppress(OSError):
            yield os.fstat(number).st_mode


def test_closing_clients_closes_their_connections(
    pipelines: PipelineConfigRepository, drivers: Drivers
) -> None:
    driver = drivers.launch(count_sockets, pipelines.config)
    before, used, closed = driver.hear(), driver.hear(), driver.hear()
    assert before == closed < used
