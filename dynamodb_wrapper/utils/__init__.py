"""The Spark integration under its import path for users; loads a name when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.late_names import late_names

if TYPE_CHECKING:
    from dynamodb_wrapper.spark import (
        SparkDynamoDBIntegration,
        create_spark_session_with_dynamodb,
        get_pipeline_config_for_spark,
        get_table_configs_for_spark,
        log_pipeline_run_from_spark,
    )

__all__ = [
    "SparkDynamoDBIntegration",
    "create_spark_session_with_dynamodb",
    "get_pipeline_config_for_spark",
    "get_table_configs_for_spark",
    "log_pipeline_run_from_spark",
]


if not TYPE_CHECKING:
    __getattr__, __dir__ = late_names(__name__, dict.fromkeys(__all__, "dynamodb_wrapper.spark"))
