"""Settings arrive where Spark takes them, and runs that overlap leave a session as it was."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import PipelineConfig, SparkDynamoDBIntegration
from dynamodb_wrapper.exceptions import ConfigurationError
from dynamodb_wrapper.spark.sessions import configured_settings
from tests.support.runs import with_pipelines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper import DynamoDBConfig

PARTITIONS = "spark.sql.shuffle.partitions"  # the shared session has 2
TAKEN = {
    "spark.sql.catalog.lake": "org.example.Catalog",
    "spark.sql.catalog.lake.warehouse": "s3://bucket/lake",
    "spark.databricks.delta.optimizeWrite.enabled": "true",
    "spark.acme.batch": "17",
    "spark.hadoop.fs.s3a.connection.maximum": "64",
}
FIXED = {"spark.executor.memory": "3g", "spark.executorEnv.LANG": "C", "spark.driver.cores": "2"}


@pytest.fixture
def integration(local_config: DynamoDBConfig, spark: Any) -> Iterator[SparkDynamoDBIntegration]:
    with_pipelines(
        local_config,
        PipelineConfig(pipeline_id="p", max_concurrent_runs=None, spark_config={PARTITIONS: 9}),
        PipelineConfig(pipeline_id="lake", spark_config={**TAKEN, **FIXED}),
        PipelineConfig(pipeline_id="q", spark_config={PARTITIONS: 5, "spark.acme.batch": "1"}),
    )
    yield SparkDynamoDBIntegration(local_config)
    spark.conf.set(PARTITIONS, "2")
    for name in [*TAKEN, "fs.s3a.connection.maximum"]:
        spark.conf.unset(name)


def test_settings_that_spark_does_not_know_are_set_and_taken_back(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    with integration.pipeline_run_context("lake"):
        integration.create_spark_session()
        assert {name: spark.conf.get(name, None) for name in TAKEN} == TAKEN
        settings = integration.session_settings
        assert settings is not None
        assert settings.applied == TAKEN
        assert settings.not_applied == FIXED
        hadoop = spark._jsparkSession.sessionState().newHadoopConf()
        assert hadoop.get("fs.s3a.connection.maximum") == "64"  # where it takes effect
    assert {name: spark.conf.get(name, None) for name in TAKEN} == dict.fromkeys(TAKEN)
    hadoop = spark._jsparkSession.sessionState().newHadoopConf()
    assert hadoop.get("fs.s3a.connection.maximum") != "64"


def test_a_setting_that_is_not_in_force_can_be_an_error(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"not in force.* --conf spark\.executor\.memory"):
        integration.create_spark_session("lake", strict=True)
    assert spark.conf.get("spark.acme.batch", None) is None  # nothing was set
    assert integration.create_spark_session("p", strict=True) is spark


@pytest.mark.parametrize("first_to_end", ["first", "second"])
def test_runs_that_overlap_leave_the_session_as_it_was(
    integration: SparkDynamoDBIntegration, spark: Any, first_to_end: str
) -> None:
    blocks = {name: integration.pipeline_run_context(name) for name in ("p", "q")}
    blocks["p"].__enter__()
    integration.create_spark_session("p")
    blocks["q"].__enter__()
    integration.create_spark_session("q")
    assert spark.conf.get(PARTITIONS) == "5"
    order = ("p", "q") if first_to_end == "first" else ("q", "p")
    blocks[order[0]].__exit__(None, None, None)
    assert spark.conf.get(PARTITIONS) == ("5" if order[0] == "p" else "9")
    blocks[order[1]].__exit__(None, None, None)
    assert spark.conf.get(PARTITIONS) == "2"
    assert spark.conf.get("spark.acme.batch", None) is None


def test_a_setting_changed_by_hand_meanwhile_stays(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    with integration.pipeline_run_context("p"):
        integration.create_spark_session()
        spark.conf.set(PARTITIONS, "33")
    assert spark.conf.get(PARTITIONS) == "33"


def test_settings_can_be_given_to_spark_submit(integration: SparkDynamoDBIntegration) -> None:
    words = integration.to_submit_args("lake", {"spark.acme.note": "a b"})
    given = dict(word.split("=", 1) for word in words[1::2])
    assert given == {**TAKEN, **FIXED, "spark.acme.note": "a b"}
    assert shlex.split(shlex.join(words)) == words


def test_what_the_environment_configures_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\nspark.master\tyarn\nspark.a: 1\nspark.b=2\n  spark.c   3 4 \nspark.d\n"
    )
    other = tmp_path / "other.conf"
    other.write_text("spark.driver.host 10.0.0.1\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert configured_settings() == {
        "spark.master": "yarn",
        "spark.a": "1",
        "spark.b": "2",
        "spark.c": "3 4",
    }
    arguments = f"--properties-file {other} --conf spark.x=y=z --master spark://h:1 pyspark-shell"
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", arguments)
    assert configured_settings() == {
        "spark.driver.host": "10.0.0.1",
        "spark.x": "y=z",
        "spark.master": "spark://h:1",
    }


@pytest.mark.slow
def test_a_context_of_the_program_stays_alive(
    integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig
) -> None:
    program = f"""
from pyspark import SparkContext
from dynamodb_wrapper import DynamoDBConfig, SparkDynamoDBIntegration
config = DynamoDBConfig.for_local_development(
    {local_config.endpoint_url!r}, table_prefix={local_config.table_prefix!r}
)
context = SparkContext("local[1]", "mine")
integration = SparkDynamoDBIntegration(config)
session = integration.create_spark_session("p")
assert not integration.session_settings.owned
integration.stop()
print(context.parallelize([1, 2]).sum(), session.range(3).count())
context.stop()
"""
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["3", "3"], done.stderr
