"""Typed repositories over DynamoDB tables."""

from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.pipelines import PipelineConfigRepository
from dynamodb_wrapper.repositories.results import Page, Results
from dynamodb_wrapper.repositories.run_logs import PipelineRunLogsRepository
from dynamodb_wrapper.repositories.table_admin import Difference
from dynamodb_wrapper.repositories.table_configs import TableConfigRepository
from dynamodb_wrapper.repositories.tables import create_tables
from dynamodb_wrapper.repositories.transaction import Transaction
from dynamodb_wrapper.wire.flow import Progress, RateLimiter
from dynamodb_wrapper.wire.requests import Consumed

__all__ = [
    "BaseDynamoRepository",
    "Consumed",
    "Difference",
    "Page",
    "PipelineConfigRepository",
    "PipelineRunLogsRepository",
    "Progress",
    "RateLimiter",
    "Results",
    "TableConfigRepository",
    "Transaction",
    "create_tables",
]
