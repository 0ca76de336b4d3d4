"""Settings and options for Spark, which need no Spark."""

from __future__ import annotations

from typing import Any

import pytest

from dynamodb_wrapper.exceptions import ConfigurationError, ValidationError
from dynamodb_wrapper.models import PipelineConfig, TableConfig, WriteMode
from dynamodb_wrapper.spark.sessions import checked, settings_of
from dynamodb_wrapper.spark.tables import read_options, write_mode, write_options


def table(**fields: Any) -> TableConfig:
    return TableConfig(table_id="t", table_type="source", location="/nowhere", **fields)


def test_settings_of_a_pipeline_are_its_resources_overlaid_by_its_spark_config() -> None:
    pipeline = PipelineConfig(
        pipeline_id="p",
        resources={"executor_memory": "8g", "driver_memory": "2g"},
        spark_config={"spark.driver.memory": "4g", "spark.sql.shuffle.partitions": 9},
    )
    assert settings_of(pipeline) == {
        "spark.executor.memory": "8g",
        "spark.driver.memory": "4g",
        "spark.sql.shuffle.partitions": "9",
    }


def test_settings_become_text_as_spark_reads_it() -> None:
    given = {"spark.a": True, "spark.b": False, "spark.c": 3, "spark.d": 0.5, "spark.e": "x"}
    assert checked(given, "here") == {
        "spark.a": "true",
        "spark.b": "false",
        "spark.c": "3",
        "spark.d": "0.5",
        "spark.e": "x",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spark.hadoop.fs.s3a.secret.key", "wJalrXUtnFEMI"),
        ("spark.hadoop.fs.s3a.access.key", "something"),
        ("spark.my.password", "hunter22"),
        ("spark.my.setting", "AKIAIOSFODNN7EXAMPLE"),
        ("spark.my.url", "jdbc:postgresql://user:hunter22@host/db"),
        ("spark.hadoop.fs.s3a.secret.key", "secretsmanager:s3-key"),
    ],
)
def test_a_secret_is_refused_as_a_setting_by_name_and_never_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="additional_config") as caught:
        checked({name: value}, "additional_config")
    assert name in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("sql.shuffle.partitions", "9"), ("spark.list", [1]), ("spark.none", None)]
)
def test_what_is_no_spark_setting_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        checked({name: value}, "additional_config")


def test_read_options_overlay_the_connection_config() -> None:
    configured = table(
        connection_config={"fetchsize": 100, "header": True, "unused": None},
        read_options={"header": False, "sep": ";"},
    )
    assert read_options(configured) == {"fetchsize": "100", "header": "false", "sep": ";"}


def test_write_options_are_not_mixed_with_read_options() -> None:
    configured = table(read_options={"sep": ";"}, write_options={"compression": "gzip"})
    assert write_options(configured) == {"compression": "gzip"}


def test_an_option_that_refers_to_a_secret_says_that_references_are_not_resolved() -> None:
    configured = table(connection_config={"password": "env:DB_PASSWORD"})
    with pytest.raises(ConfigurationError, match=r"connection_config.password.*not resolved"):
        read_options(configured)


def test_a_nested_option_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"connection_config.deep is a dict"):
        read_options(table(connection_config={"deep": {"a": 1}}))


def test_the_mode_of_a_write_is_the_given_one_else_the_tables() -> None:
    configured = table(write_mode="append")
    assert write_mode(configured, None) is WriteMode.APPEND
    assert write_mode(configured, "overwrite") is WriteMode.OVERWRITE
    assert write_mode(configured, WriteMode.ERROR) is WriteMode.ERROR


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"'merge'.*append, overwrite"):
        write_mode(table(), "merge")


def test_overwriting_partitions_needs_partition_columns() -> None:
    with pytest.raises(ValidationError, match="partition_columns"):
        write_mode(table(), "overwrite_partitions")
