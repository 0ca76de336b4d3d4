"""Creates several tables at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import PIPELINE_CONFIG, PIPELINE_RUN_LOGS, TABLE_CONFIG, Table
from dynamodb_wrapper.repositories.base import BaseDynamoRepository

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def create_tables(
    config: DynamoDBConfig, *tables: Table[Any], protect: bool | None = None, client: Any = None
) -> None:
    """Create tables, or add what existing ones lack; without any, the three of this library.

    Idempotent; see `BaseDynamoRepository.create_table`.

    Args:
        config: Where the tables are.
        tables: Declarations.
        protect: Deletion protection and point-in-time recovery; on unless the endpoint is on
            this machine.
        client: A boto3 client to use instead of the shared one.
    """
    for table in tables or (PIPELINE_CONFIG, TABLE_CONFIG, PIPELINE_RUN_LOGS):
        BaseDynamoRepository(config, table, client=client).create_table(protect=protect)
