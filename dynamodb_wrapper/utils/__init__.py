"""The Spark integration under its import path for users; loads a name when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("dynamodb_wrapper.spark"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
