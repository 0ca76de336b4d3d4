"""Sessions get the settings of their pipeline: applied, reported, restored and left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import (
    ItemNotFoundError,
    PipelineConfig,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    SparkDynamoDBIntegration,
    create_tables,
)
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import ConfigurationError, NoActiveRunError
from dynamodb_wrapper.utils import create_spark_session_with_dynamodb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper import DynamoDBConfig

PARTITIONS = "spark.sql.shuffle.partitions"  # a runtime setting; the shared session has 2
BROADCAST = "spark.sql.broadcastTimeout"  # a runtime setting without a value
MEMORY = "spark.executor.memory"  # fixed when the application starts
UI = "spark.ui.enabled"  # the same; the shared session has false


@pytest.fixture
def integration(local_config: DynamoDBConfig, spark: Any) -> Iterator[SparkDynamoDBIntegration]:
    create_tables(local_config)
    PipelineConfigRepository(local_config).create(
        PipelineConfig(
            pipeline_id="p",
            resources={"executor_memory": "3g"},
            spark_config={PARTITIONS: 9, BROADCAST: 77, UI: False},
        )
    )
    yield SparkDynamoDBIntegration(local_config)
    spark.conf.set(PARTITIONS, "2")
    spark.conf.unset(BROADCAST)


def settings_now(spark: Any) -> tuple[str, str | None]:
    return spark.conf.get(PARTITIONS), spark.conf.get(BROADCAST, None)


def test_settings_of_a_pipeline_are_read_without_a_session(
    integration: SparkDynamoDBIntegration,
) -> None:
    assert integration.get_spark_config_from_pipeline("p") == {
        MEMORY: "3g",
        PARTITIONS: "9",
        BROADCAST: "77",
        UI: "false",
    }


def test_an_existing_session_is_used_and_gets_the_runtime_settings(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    assert integration.create_spark_session("p") is spark
    assert settings_now(spark) == ("9", "77")
    settings = integration.session_settings
    assert settings is not None
    assert settings.applied == {PARTITIONS: "9", BROADCAST: "77", UI: "false"}
    assert settings.previous == {PARTITIONS: "2", BROADCAST: None}
    assert settings.owned is False


def test_a_fixed_setting_is_reported_as_not_applied_and_left_as_it_is(
    integration: SparkDynamoDBIntegration, spark: Any, caplog: pytest.LogCaptureFixture
) -> None:
    integration.create_spark_session("p")
    settings = integration.session_settings
    assert settings is not None
    assert settings.not_applied == {MEMORY: "3g"}
    assert spark.conf.get(MEMORY, None) is None
    assert MEMORY in caplog.text
    assert UI not in caplog.text


def test_additional_settings_come_on_top(integration: SparkDynamoDBIntegration, spark: Any) -> None:
    integration.create_spark_session("p", {PARTITIONS: 5})
    assert settings_now(spark) == ("5", "77")


def test_the_function_does_the_same(
    integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig, spark: Any
) -> None:
    assert create_spark_session_with_dynamodb(local_config, "p", {PARTITIONS: 6}) is spark
    assert settings_now(spark) == ("6", "77")


def test_the_session_is_found_from_another_thread(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(integration.create_spark_session("p")))
    thread.start()
    thread.join()
    assert found == [spark]


def test_a_value_spark_refuses_is_named_and_changes_nothing(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"spark\.sql\.adaptive\.enabled='maybe'"):
        integration.create_spark_session("p", {"spark.sql.adaptive.enabled": "maybe"})
    assert settings_now(spark) == ("2", None)


def test_stop_leaves_a_session_alone_that_was_made_elsewhere(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    integration.create_spark_session("p")
    integration.stop()
    assert spark.range(3).count() == 3


def test_an_unknown_pipeline_is_not_found(integration: SparkDynamoDBIntegration) -> None:
    with pytest.raises(ItemNotFoundError, match="nowhere"):
        integration.create_spark_session("nowhere")


def test_without_a_pipeline_there_must_be_a_run(integration: SparkDynamoDBIntegration) -> None:
    with pytest.raises(NoActiveRunError):
        integration.create_spark_session()


def test_a_secret_in_additional_config_is_refused_and_not_set(
    integration: SparkDynamoDBIntegration, spark: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"fs\.s3a\.secret\.key"):
        integration.create_spark_session("p", {"spark.hadoop.fs.s3a.secret.key": "wJalrXUtnFEMI"})
    assert settings_now(spark) == ("2", None)
    assert spark.conf.get("spark.hadoop.fs.s3a.secret.key", None) is None


def test_a_secret_that_was_stored_by_other_means_is_refused(
    integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig
) -> None:
    client_for(local_config).update_item(
        TableName=local_config.table_name("pipeline_config"),
        Key={"pipeline_id": {"S": "p"}},
        UpdateExpression="SET spark_config = :settings",
        ExpressionAttributeValues={
            ":settings": {"M": {"spark.hadoop.fs.s3a.secret.key": {"S": "wJalrXUtnFEMI"}}}
        },
    )
    with pytest.raises(ConfigurationError, match="Pipeline 'p'") as caught:
        integration.create_spark_session("p")
    assert "wJalrXUtnFEMI" not in str(caught.value)


class TestInsideARun:
    def test_the_runs_pipeline_needs_no_name_and_the_run_learns_of_spark(
        self, integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig, spark: Any
    ) -> None:
        with integration.pipeline_run_context("p") as run_id:
            assert integration.create_spark_session() is spark
        runtime = PipelineRunLogsRepository(local_config).get_or_raise(run_id).runtime
        assert runtime.spark_version == spark.version
        assert runtime.spark_application_id == spark.sparkContext.applicationId
        assert runtime.pid == os.getpid()

    def test_runtime_settings_are_restored_at_its_end(
        self, integration: SparkDynamoDBIntegration, spark: Any
    ) -> None:
        with integration.pipeline_run_context("p"):
            integration.create_spark_session()
            assert settings_now(spark) == ("9", "77")
        assert settings_now(spark) == ("2", None)

    def test_several_changes_are_undone_to_the_first_values(
        self, integration: SparkDynamoDBIntegration, spark: Any
    ) -> None:
        with integration.pipeline_run_context("p"):
            integration.create_spark_session()
            integration.create_spark_session(additional_config={PARTITIONS: 11})
            assert settings_now(spark) == ("11", "77")
        assert settings_now(spark) == ("2", None)

    def test_they_are_restored_after_an_exception(
        self, integration: SparkDynamoDBIntegration, spark: Any
    ) -> None:
        with pytest.raises(KeyError), integration.pipeline_run_context("p"):
            integration.create_spark_session()
            raise KeyError("x")
        assert settings_now(spark) == ("2", None)

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_after_an_interruption_no_call_is_made_to_restore_them(
        self,
        integration: SparkDynamoDBIntegration,
        spark: Any,
        interruption: type[BaseException],
    ) -> None:
        with pytest.raises(interruption), integration.pipeline_run_context("p"):
            integration.create_spark_session()
            raise interruption
        assert settings_now(spark) == ("9", "77")

    def test_the_configuration_is_the_one_the_run_began_with(
        self, integration: SparkDynamoDBIntegration, local_config: DynamoDBConfig, spark: Any
    ) -> None:
        with integration.pipeline_run_context("p"):
            PipelineConfigRepository(local_config).update(
                "p", set={("spark_config", PARTITIONS): "13"}
            )
            integration.create_spark_session("p")
            assert settings_now(spark) == ("9", "77")

    def test_a_run_that_can_learn_no_more_does_not_disturb_the_job(
        self,
        integration: SparkDynamoDBIntegration,
        local_config: DynamoDBConfig,
        spark: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        runs = PipelineRunLogsRepository(local_config)
        with pytest.raises(Exception, match="ended"), integration.pipeline_run_context("p"):
            runs.release("p", reason="test")
            assert integration.create_spark_session() is spark
            raise RuntimeError("the body ended")
        assert "is not stored with the run" in caplog.text


FRESH = """
import json, sys
from dynamodb_wrapper import DynamoDBConfig, PipelineConfig, PipelineConfigRepository
from dynamodb_wrapper import PipelineRunLogsRepository, create_tables
from dynamodb_wrapper.utils import SparkDynamoDBIntegration

config = DynamoDBConfig.from_env()
create_tables(config)
PipelineConfigRepository(config).put(PipelineConfig(pipeline_id="my-pipeline"))
PipelineConfigRepository(config).put(
    PipelineConfig(
        pipeline_id="pipeline-id",
        resources={"driver_memory": "700m", "executor_memory": "600m"},
        spark_config={"spark.sql.shuffle.partitions": 3, "spark.ui.enabled": False},
    )
)

# ---- as users write it
config = DynamoDBConfig.from_env()
pipeline_repo = PipelineConfigRepository(config)
pipeline = pipeline_repo.get_by_pipeline_id("my-pipeline")

integration = SparkDynamoDBIntegration(config)
with integration.pipeline_run_context("pipeline-id") as run_id:
    spark = integration.create_spark_session("pipeline-id")
# ----

settings = integration.session_settings
told = {
    "pipeline": pipeline.pipeline_id,
    "run": PipelineRunLogsRepository(config).get_by_run_id(run_id).model_dump(mode="json"),
    "conf": dict(spark.sparkContext.getConf().getAll()),
    "runtime_conf": spark.sql("SET").toPandas().to_dict("records"),
    "heap_bytes": spark.sparkContext._jvm.java.lang.Runtime.getRuntime().maxMemory(),
    "worker": spark.sparkContext.parallelize([0], 1).map(lambda _: sys.executable).collect()[0],
    "applied": dict(settings.applied),
    "not_applied": dict(settings.not_applied),
    "owned": settings.owned,
}
again = integration.create_spark_session("pipeline-id")
told["same_session"] = again is spark
told["still_owned"] = integration.session_settings.owned
SparkDynamoDBIntegration(config).stop()
told["alive_after_a_stranger_stopped"] = spark.range(2).count()
integration.stop()
told["stopped"] = spark.sparkContext._jsc is None
integration.stop()

second = integration.create_spark_session(
    "pipeline-id", {"spark.driver.memory": "900m", "spark.executor.memory": "650m"}
)
told["second_is_new"] = second is not spark
told["second_conf"] = dict(second.sparkContext.getConf().getAll())
told["second_not_applied"] = dict(integration.session_settings.not_applied)
integration.stop()
print(json.dumps(told))
"""
ACCESS_KEY, SECRET_KEY = "PLACEHOLDERKEY", "placeholder-of-a-secret-key"


@pytest.fixture(scope="module")
def fresh(local_engine: Any, spark: Any) -> dict[str, Any]:
    """The output of a separate process, with only environment variables set."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYSPARK_", "SPARK_"))
    }
    environment.update(
        DYNAMODB_ENDPOINT_URL=local_engine.config.endpoint_url,
        DYNAMODB_TABLE_PREFIX="fresh_session",
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
    )
    done = subprocess.run(
        [sys.executable, "-c", FRESH],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class TestInAProcessOfItsOwn:
    def test_the_lines_users_write_need_nothing_but_variables(self, fresh: dict[str, Any]) -> None:
        assert fresh["pipeline"] == "my-pipeline"
        assert (fresh["run"]["pipeline_id"], fresh["run"]["status"]) == ("pipeline-id", "success")
        assert fresh["run"]["runtime"]["spark_application_id"].startswith("local-")

    def test_every_setting_is_in_force(self, fresh: dict[str, Any]) -> None:
        assert fresh["applied"] == {
            "spark.driver.memory": "700m",
            "spark.executor.memory": "600m",
            "spark.sql.shuffle.partitions": "3",
            "spark.ui.enabled": "false",
        }
        assert fresh["not_applied"] == {}
        assert fresh["applied"].items() <= fresh["conf"].items()
        assert fresh["heap_bytes"] <= 700 * 1024 * 1024

    def test_the_application_is_named_after_the_pipeline(self, fresh: dict[str, Any]) -> None:
        assert fresh["conf"]["spark.app.name"] == "pipeline-id"

    def test_it_listens_on_this_machine_only(self, fresh: dict[str, Any]) -> None:
        assert fresh["conf"]["spark.driver.host"] == "127.0.0.1"
        assert fresh["conf"]["spark.driver.bindAddress"] == "127.0.0.1"

    def test_its_workers_use_the_interpreter_of_the_driver(self, fresh: dict[str, Any]) -> None:
        assert fresh["worker"] == sys.executable

    def test_no_credentials_are_in_sparks_settings(self, fresh: dict[str, Any]) -> None:
        everything = json.dumps([fresh["conf"], fresh["runtime_conf"]])
        assert SECRET_KEY not in everything
        assert ACCESS_KEY not in everything

    def test_the_session_belongs_to_the_integration_that_made_it(
        self, fresh: dict[str, Any]
    ) -> None:
        assert fresh["owned"] is True
        assert fresh["same_session"] is True
        assert fresh["still_owned"] is True
        assert fresh["alive_after_a_stranger_stopped"] == 2
        assert fresh["stopped"] is True

    def test_what_a_second_session_cannot_change_in_the_same_jvm_is_reported(
        self, fresh: dict[str, Any]
    ) -> None:
        assert fresh["second_is_new"] is True
        assert fresh["second_conf"]["spark.executor.memory"] == "650m"
        assert fresh["second_not_applied"] == {"spark.driver.memory": "900m"}


WITHOUT_JAVA = """
from dynamodb_wrapper import DynamoDBConfig, SparkDynamoDBIntegration
from dynamodb_wrapper.exceptions import MissingDependencyError
integration = SparkDynamoDBIntegration(DynamoDBConfig.from_env())
print(integration.get_spark_config_from_pipeline("p"))
try:
    integration.create_spark_session("p")
except MissingDependencyError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "java", [None, "echo 'openjdk version \"11.0.2\"' >&2; exit 1"], ids=["none", "old"]
)
def test_without_a_java_that_runs_spark_the_package_to_install_is_named(
    local_config: DynamoDBConfig, tmp_path: Path, java: str | None
) -> None:
    pytest.importorskip("pyspark")
    create_tables(local_config)
    PipelineConfigRepository(local_config).create(PipelineConfig(pipeline_id="p"))
    (tmp_path / "bin").mkdir()
    if java is not None:
        (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\n{java}\n", encoding="utf-8")
        (tmp_path / "bin" / "java").chmod(0o755)
    environment = {
        **os.environ,
        "JAVA_HOME": str(tmp_path),
        "DYNAMODB_ENDPOINT_URL": str(local_config.endpoint_url),
        "DYNAMODB_TABLE_PREFIX": str(local_config.table_prefix),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAVA],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    said = done.stdout.splitlines()
    assert said[0] == "{}", done.stderr
    assert said[1].startswith("Spark needs Java.")
    assert "openjdk-17-jre-headless" in said[1]
