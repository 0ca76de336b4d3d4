"""Control data for PySpark pipelines in DynamoDB: typed repositories and truthful run records.

Importing the package loads neither boto3 nor pyspark nor pyarrow; names are loaded when used. What
is not here is imported from its package: further errors from `dynamodb_wrapper.exceptions`, field
types and enums from `dynamodb_wrapper.models`, and so on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dynamodb_wrapper.late_names import late_names

_DOORS = {
    "Attr": "boto3.dynamodb.conditions",
    "Key": "boto3.dynamodb.conditions",
    "close_clients": "dynamodb_wrapper.aws.client",
    "DynamoDBConfig": "dynamodb_wrapper.config",
    "AlreadyRunningError": "dynamodb_wrapper.exceptions",
    "AlreadySucceededError": "dynamodb_wrapper.exceptions",
    "ConditionFailedError": "dynamodb_wrapper.exceptions",
    "ConnectionError": "dynamodb_wrapper.exceptions",
    "DynamoDBWrapperError": "dynamodb_wrapper.exceptions",
    "ItemAlreadyExistsError": "dynamodb_wrapper.exceptions",
    "ItemNotFoundError": "dynamodb_wrapper.exceptions",
    "LeaseLostError": "dynamodb_wrapper.exceptions",
    "RunCancelledError": "dynamodb_wrapper.exceptions",
    "RunSkippedError": "dynamodb_wrapper.exceptions",
    "ThrottledError": "dynamodb_wrapper.exceptions",
    "TransactionCanceledError": "dynamodb_wrapper.exceptions",
    "ValidationError": "dynamodb_wrapper.exceptions",
    "VersionConflictError": "dynamodb_wrapper.exceptions",
    "LocalDynamoDB": "dynamodb_wrapper.local",
    "DataQualityResult": "dynamodb_wrapper.models",
    "Derived": "dynamodb_wrapper.models",
    "EpochMillis": "dynamodb_wrapper.models",
    "EpochSeconds": "dynamodb_wrapper.models",
    "GlobalIndex": "dynamodb_wrapper.models",
    "IsoDatetime": "dynamodb_wrapper.models",
    "PipelineConfig": "dynamodb_wrapper.models",
    "PipelineRunLog": "dynamodb_wrapper.models",
    "RunStatus": "dynamodb_wrapper.models",
    "RunSummary": "dynamodb_wrapper.models",
    "Table": "dynamodb_wrapper.models",
    "TableConfig": "dynamodb_wrapper.models",
    "UtcDatetime": "dynamodb_wrapper.models",
    "BaseDynamoRepository": "dynamodb_wrapper.repositories",
    "Page": "dynamodb_wrapper.repositories",
    "PipelineConfigRepository": "dynamodb_wrapper.repositories",
    "PipelineRunLogsRepository": "dynamodb_wrapper.repositories",
    "RateLimiter": "dynamodb_wrapper.repositories",
    "Results": "dynamodb_wrapper.repositories",
    "TableConfigRepository": "dynamodb_wrapper.repositories",
    "Transaction": "dynamodb_wrapper.repositories",
    "create_tables": "dynamodb_wrapper.repositories",
    "Coverage": "dynamodb_wrapper.runs",
    "Run": "dynamodb_wrapper.runs",
    "RunEvent": "dynamodb_wrapper.runs",
    "RunOptions": "dynamodb_wrapper.runs",
    "RunTracker": "dynamodb_wrapper.runs",
    "Stage": "dynamodb_wrapper.runs",
    "current_run": "dynamodb_wrapper.runs",
    "SparkDynamoDBIntegration": "dynamodb_wrapper.spark",
}
"""Every public name and its package; ``__init__.pyi`` tells type checkers the same."""

# A star import leaves Python's own ConnectionError alone.
__all__ = sorted(set(_DOORS) - {"ConnectionError"})  # noqa: PLE0605 - a list, made of the table


_load, _names = late_names(__name__, _DOORS)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("dynamodb-wrapper")
    return _load(name)


def __dir__() -> list[str]:
    return sorted([*_names(), "__version__"])
