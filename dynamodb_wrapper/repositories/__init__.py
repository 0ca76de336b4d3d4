"""Typed repositories over DynamoDB tables."""

from typing import TYPE_CHECKING

from dynamodb_wrapper.late_names import late_names

if TYPE_CHECKING:
    from dynamodb_wrapper.aws.calls import Consumed
    from dynamodb_wrapper.aws.concurrency import Progress, RateLimiter
    from dynamodb_wrapper.repositories.base import BaseDynamoRepository
    from dynamodb_wrapper.repositories.creation import create_tables
    from dynamodb_wrapper.repositories.item_collections import Collection, query_collection
    from dynamodb_wrapper.repositories.pipelines import PipelineConfigRepository
    from dynamodb_wrapper.repositories.queries import Page, Results
    from dynamodb_wrapper.repositories.run_logs import PipelineRunLogsRepository
    from dynamodb_wrapper.repositories.table_configs import TableConfigRepository
    from dynamodb_wrapper.repositories.tables import Difference
    from dynamodb_wrapper.repositories.transaction import Transaction
    from dynamodb_wrapper.serialization.decoder import Counts
    from dynamodb_wrapper.serialization.problems import Quarantined

_MODULES = {
    "Consumed": "dynamodb_wrapper.aws.calls",
    "Progress": "dynamodb_wrapper.aws.concurrency",
    "RateLimiter": "dynamodb_wrapper.aws.concurrency",
    "BaseDynamoRepository": "dynamodb_wrapper.repositories.base",
    "create_tables": "dynamodb_wrapper.repositories.creation",
    "Collection": "dynamodb_wrapper.repositories.item_collections",
    "query_collection": "dynamodb_wrapper.repositories.item_collections",
    "PipelineConfigRepository": "dynamodb_wrapper.repositories.pipelines",
    "Page": "dynamodb_wrapper.repositories.queries",
    "Results": "dynamodb_wrapper.repositories.queries",
    "PipelineRunLogsRepository": "dynamodb_wrapper.repositories.run_logs",
    "TableConfigRepository": "dynamodb_wrapper.repositories.table_configs",
    "Difference": "dynamodb_wrapper.repositories.tables",
    "Transaction": "dynamodb_wrapper.repositories.transaction",
    "Counts": "dynamodb_wrapper.serialization.decoder",
    "Quarantined": "dynamodb_wrapper.serialization.problems",
}

__all__ = [
    "BaseDynamoRepository",
    "Collection",
    "Consumed",
    "Counts",
    "Difference",
    "Page",
    "PipelineConfigRepository",
    "PipelineRunLogsRepository",
    "Progress",
    "Quarantined",
    "RateLimiter",
    "Results",
    "TableConfigRepository",
    "Transaction",
    "create_tables",
    "query_collection",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = late_names(__name__, _MODULES)
