"""The public names for type checkers; a test compares them with the table in ``__init__.py``."""

from boto3.dynamodb.conditions import (
    Attr,
    Key,
)

from dynamodb_wrapper.aws.client import (
    close_clients,
)
from dynamodb_wrapper.config import (
    DynamoDBConfig,
)
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    AlreadySucceededError,
    ConditionFailedError,
    DynamoDBWrapperError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    LeaseLostError,
    RunCancelledError,
    RunSkippedError,
    ThrottledError,
    TransactionCanceledError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.exceptions import (
    ConnectionError as ConnectionError,
)
from dynamodb_wrapper.local import (
    LocalDynamoDB,
)
from dynamodb_wrapper.models import (
    DataQualityResult,
    Derived,
    EpochMillis,
    EpochSeconds,
    GlobalIndex,
    IsoDatetime,
    PipelineConfig,
    PipelineRunLog,
    RunStatus,
    RunSummary,
    Table,
    TableConfig,
    UtcDatetime,
)
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    Page,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    RateLimiter,
    Results,
    TableConfigRepository,
    Transaction,
    create_tables,
)
from dynamodb_wrapper.runs import (
    Coverage,
    Run,
    RunEvent,
    RunOptions,
    RunTracker,
    Stage,
    current_run,
)
from dynamodb_wrapper.spark import (
    SparkDynamoDBIntegration,
)

__version__: str

__all__ = [
    "AlreadyRunningError",
    "AlreadySucceededError",
    "Attr",
    "BaseDynamoRepository",
    "ConditionFailedError",
    "Coverage",
    "DataQualityResult",
    "Derived",
    "DynamoDBConfig",
    "DynamoDBWrapperError",
    "EpochMillis",
    "EpochSeconds",
    "GlobalIndex",
    "IsoDatetime",
    "ItemAlreadyExistsError",
    "ItemNotFoundError",
    "Key",
    "LeaseLostError",
    "LocalDynamoDB",
    "Page",
    "PipelineConfig",
    "PipelineConfigRepository",
    "PipelineRunLog",
    "PipelineRunLogsRepository",
    "RateLimiter",
    "Results",
    "Run",
    "RunCancelledError",
    "RunEvent",
    "RunOptions",
    "RunSkippedError",
    "RunStatus",
    "RunSummary",
    "RunTracker",
    "SparkDynamoDBIntegration",
    "Stage",
    "Table",
    "TableConfig",
    "TableConfigRepository",
    "ThrottledError",
    "Transaction",
    "TransactionCanceledError",
    "UtcDatetime",
    "ValidationError",
    "VersionConflictError",
    "close_clients",
    "create_tables",
    "current_run",
]
