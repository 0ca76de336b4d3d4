"""Control data for PySpark pipelines in DynamoDB: typed repositories and truthful run records.

Importing the package loads neither boto3 nor pyspark nor pyarrow; names are loaded when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import Attr, Key

    from dynamodb_wrapper.config import (
        DynamoDBConfig,
    )
    from dynamodb_wrapper.exceptions import (
        AccessDeniedError,
        AlreadyRunningError,
        BatchWriteError,
        CancellationReason,
        ConditionFailedError,
        ConfigurationError,
        ConnectionError,
        DynamoDBWrapperError,
        IncompatibleItemError,
        IndexNotFoundError,
        InvalidTransitionError,
        ItemAlreadyExistsError,
        ItemNotFoundError,
        ItemTooLargeError,
        LimitExceededError,
        LocalEngineError,
        MissingDependencyError,
        NoActiveRunError,
        PipelineInactiveError,
        RunError,
        RunFinishError,
        RunStartError,
        ServiceError,
        TableBusyError,
        TableNotFoundError,
        ThrottledError,
        TransactionCanceledError,
        ValidationError,
        VersionConflictError,
    )
    from dynamodb_wrapper.models import (
        DataFormat,
        DataQualityResult,
        Derived,
        EpochMillis,
        EpochSeconds,
        GlobalIndex,
        IsoDatetime,
        PipelineConfig,
        PipelineRunLog,
        PipelineType,
        Resources,
        RunErrorInfo,
        RunStatus,
        RunSummary,
        StageInfo,
        StageStatus,
        Table,
        TableConfig,
        TableType,
        TriggerType,
        UtcDatetime,
        WriteMode,
    )
    from dynamodb_wrapper.repositories import (
        BaseDynamoRepository,
        PipelineConfigRepository,
        PipelineRunLogsRepository,
        TableConfigRepository,
        create_tables,
    )
    from dynamodb_wrapper.spark import (
        SparkDynamoDBIntegration,
    )

_HOMES = {
    "boto3.dynamodb.conditions": ("Attr", "Key"),
    "dynamodb_wrapper.config": ("DynamoDBConfig",),
    "dynamodb_wrapper.exceptions": (
        "AccessDeniedError",
        "AlreadyRunningError",
        "BatchWriteError",
        "CancellationReason",
        "ConditionFailedError",
        "ConfigurationError",
        "ConnectionError",
        "DynamoDBWrapperError",
        "IncompatibleItemError",
        "IndexNotFoundError",
        "InvalidTransitionError",
        "ItemAlreadyExistsError",
        "ItemNotFoundError",
        "ItemTooLargeError",
        "LimitExceededError",
        "LocalEngineError",
        "MissingDependencyError",
        "NoActiveRunError",
        "PipelineInactiveError",
        "RunError",
        "RunFinishError",
        "RunStartError",
        "ServiceError",
        "TableBusyError",
        "TableNotFoundError",
        "ThrottledError",
        "TransactionCanceledError",
        "ValidationError",
        "VersionConflictError",
    ),
    "dynamodb_wrapper.models": (
        "DataFormat",
        "DataQualityResult",
        "Derived",
        "EpochMillis",
        "EpochSeconds",
        "GlobalIndex",
        "IsoDatetime",
        "PipelineConfig",
        "PipelineRunLog",
        "PipelineType",
        "Resources",
        "RunErrorInfo",
        "RunStatus",
        "RunSummary",
        "StageInfo",
        "StageStatus",
        "Table",
        "TableConfig",
        "TableType",
        "TriggerType",
        "UtcDatetime",
        "WriteMode",
    ),
    "dynamodb_wrapper.repositories": (
        "BaseDynamoRepository",
        "PipelineConfigRepository",
        "PipelineRunLogsRepository",
        "TableConfigRepository",
        "create_tables",
    ),
    "dynamodb_wrapper.spark": ("SparkDynamoDBIntegration",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


__all__ = [
    "AccessDeniedError",
    "AlreadyRunningError",
    "Attr",
    "BaseDynamoRepository",
    "BatchWriteError",
    "CancellationReason",
    "ConditionFailedError",
    "ConfigurationError",
    "ConnectionError",
    "DataFormat",
    "DataQualityResult",
    "Derived",
    "DynamoDBConfig",
    "DynamoDBWrapperError",
    "EpochMillis",
    "EpochSeconds",
    "GlobalIndex",
    "IncompatibleItemError",
    "IndexNotFoundError",
    "InvalidTransitionError",
    "IsoDatetime",
    "ItemAlreadyExistsError",
    "ItemNotFoundError",
    "ItemTooLargeError",
    "Key",
    "LimitExceededError",
    "LocalEngineError",
    "MissingDependencyError",
    "NoActiveRunError",
    "PipelineConfig",
    "PipelineConfigRepository",
    "PipelineInactiveError",
    "PipelineRunLog",
    "PipelineRunLogsRepository",
    "PipelineType",
    "Resources",
    "RunError",
    "RunErrorInfo",
    "RunFinishError",
    "RunStartError",
    "RunStatus",
    "RunSummary",
    "ServiceError",
    "SparkDynamoDBIntegration",
    "StageInfo",
    "StageStatus",
    "Table",
    "TableBusyError",
    "TableConfig",
    "TableConfigRepository",
    "TableNotFoundError",
    "TableType",
    "ThrottledError",
    "TransactionCanceledError",
    "TriggerType",
    "UtcDatetime",
    "ValidationError",
    "VersionConflictError",
    "WriteMode",
    "create_tables",
]
