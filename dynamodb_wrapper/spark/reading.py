"""Reading a configured table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import DataFormat
from dynamodb_wrapper.spark.failures import explained
from dynamodb_wrapper.spark.table_options import read_options, require_active

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyspark import StorageLevel
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from dynamodb_wrapper.models import TableConfig

# These carry their schema, and Spark refuses another one.
_SELF_DESCRIBING = (DataFormat.DELTA, DataFormat.ICEBERG, DataFormat.CATALOG)


def read(session: SparkSession, table: TableConfig, columns: Sequence[str] | None) -> DataFrame:
    """Return a table as its configuration says; `SparkDynamoDBIntegration.read_table` documents it.

    Raises:
        ValidationError: Inactive table, unfit columns, schema or cache level, or nothing there.
        MissingDependencyError: Spark lacks the package of the format.
    """
    require_active(table)
    if columns is not None and (isinstance(columns, str) or not columns):
        raise ValidationError(f"columns is {columns!r}; give a list of column names, or None.")
    level = _storage_level(table) if table.caching_enabled else None
    with explained(table, "read"):
        frame = _loaded(session, table)
        if columns is not None:
            frame = frame.select(*columns)
    return frame if level is None else frame.persist(level)


def _loaded(session: SparkSession, table: TableConfig) -> DataFrame:
    reader = session.read.options(**read_options(table))
    if table.data_format is DataFormat.CATALOG:
        return reader.table(table.qualified_name)
    if table.schema_definition is not None and table.data_format not in _SELF_DESCRIBING:
        reader = reader.schema(_schema(table, table.schema_definition))
    return reader.format(str(table.data_format)).load(table.location)


def _schema(table: TableConfig, definition: str | dict[str, Any]) -> StructType | str:
    """Return a schema as Spark takes it; a text is DDL unless it is the JSON of a StructType."""
    from pyspark.sql.types import StructType

    if isinstance(definition, str) and not definition.lstrip().startswith("{"):
        return definition
    try:
        content = json.loads(definition) if isinstance(definition, str) else definition
        return StructType.fromJson(content)
    except Exception as error:
        raise ValidationError(
            f"Table {table.table_id!r}: schema_definition is not the JSON of a StructType: "
            f"{type(error).__name__}: {error}"
        ) from error


def _storage_level(table: TableConfig) -> StorageLevel:
    from pyspark import StorageLevel

    level = getattr(StorageLevel, table.cache_level, None)
    if not isinstance(level, StorageLevel):
        known = [name for name, value in vars(StorageLevel).items() if name.isupper() and value]
        raise ValidationError(
            f"Table {table.table_id!r}: this Spark has no storage level {table.cache_level!r}; "
            f"cache_level is one of {', '.join(sorted(known))}."
        )
    return level
