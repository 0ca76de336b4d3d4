"""Typed repositories over DynamoDB tables."""

from dynamodb_wrapper.aws.calls import (
    Consumed,
)
from dynamodb_wrapper.aws.concurrency import (
    Progress,
    RateLimiter,
)
from dynamodb_wrapper.repositories.base import (
    BaseDynamoRepository,
    create_tables,
)
from dynamodb_wrapper.repositories.item_collections import (
    Collection,
    query_collection,
)
from dynamodb_wrapper.repositories.pipelines import (
    PipelineConfigRepository,
)
from dynamodb_wrapper.repositories.queries import (
    Page,
    Results,
)
from dynamodb_wrapper.repositories.run_logs import (
    PipelineRunLogsRepository,
)
from dynamodb_wrapper.repositories.table_configs import (
    TableConfigRepository,
)
from dynamodb_wrapper.repositories.tables import (
    Difference,
)
from dynamodb_wrapper.repositories.transaction import (
    Transaction,
)
from dynamodb_wrapper.serialization.decoder import (
    Counts,
)
from dynamodb_wrapper.serialization.problems import (
    Quarantined,
)

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
