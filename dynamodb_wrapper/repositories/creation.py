"""Creation of several tables at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.control_tables import PIPELINE_CONFIG, PIPELINE_RUN_LOGS, TABLE_CONFIG
from dynamodb_wrapper.repositories.base import BaseDynamoRepository, check_place
from dynamodb_wrapper.repositories.tables import add_missing_parts, common_layout, layout_of
from dynamodb_wrapper.serialization.kinds import refuse_overlaps

if TYPE_CHECKING:
    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.table import Table


def create_tables(
    config: DynamoDBConfig, *tables: Table[Any], protect: bool | None = None, client: Any = None
) -> None:
    """Create tables, or add what existing ones lack; without any, the three of this library.

    Declarations of one name are one table, which gets the indexes of all. Idempotent; see
    `BaseDynamoRepository.create_table`.

    Args:
        config: Where the tables are.
        tables: Declarations.
        protect: Deletion protection and point-in-time recovery; on unless the endpoint is on
            this machine.
        client: A boto3 client to use instead of the shared one.

    Raises:
        ValidationError: A table exists with another key, or declarations of one name contradict
            each other; then none is created.
    """
    for table in tables:
        check_place(config, table, client)  # before the first is created
    given: dict[str, list[BaseDynamoRepository[Any]]] = {}
    for table in tables or (PIPELINE_CONFIG, TABLE_CONFIG, PIPELINE_RUN_LOGS):
        repository = BaseDynamoRepository(config, table, client=client)
        given.setdefault(table.name, []).append(repository)
    layouts = {}
    for name, repositories in given.items():
        refuse_overlaps(repository.table for repository in repositories)
        layouts[name] = common_layout(name, [layout_of(r._requests) for r in repositories])
    wanted = not config.is_local if protect is None else arguments.flag("protect", protect)
    for name, layout in layouts.items():
        add_missing_parts(given[name][0]._caller, layout, protect=wanted)
