"""Read and write configured tables, and update their statistics."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import ConfigurationError, ValidationError
from dynamodb_wrapper.models.enums import DataFormat, WriteMode
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.redaction import is_reference
from dynamodb_wrapper.spark.catalog import refuse_own_source, save_to_catalog
from dynamodb_wrapper.spark.failures import explained, planning_errors
from dynamodb_wrapper.spark.metrics import RowCount, files_at
from dynamodb_wrapper.spark.sessions import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from pyspark import StorageLevel
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from dynamodb_wrapper.models.table_config import TableConfig
    from dynamodb_wrapper.repositories.table_configs import TableConfigRepository

FILE_FORMATS = frozenset(
    {
        DataFormat.PARQUET,
        DataFormat.CSV,
        DataFormat.JSON,
        DataFormat.ORC,
        DataFormat.TEXT,
        DataFormat.AVRO,
    }
)
# These carry their schema, and Spark refuses another one.
_SELF_DESCRIBING = (DataFormat.DELTA, DataFormat.ICEBERG, DataFormat.CATALOG)
_REPLACING = (WriteMode.OVERWRITE, WriteMode.ERROR)


def read_options(table: TableConfig) -> dict[str, str]:
    """Return the reader options of a table: `connection_config`, overlaid by `read_options`.

    Raises:
        ConfigurationError: An option refers to a secret, or is no text, number or boolean.
    """
    return _merged(table, "read_options", table.read_options)


def write_options(table: TableConfig) -> dict[str, str]:
    """Return the writer options of a table: `connection_config`, overlaid by `write_options`.

    Raises:
        ConfigurationError: An option refers to a secret, or is no text, number or boolean.
    """
    return _merged(table, "write_options", table.write_options)


def write_mode(table: TableConfig, mode: WriteMode | str | None) -> WriteMode:
    """Return the mode of a write: the given one, else the table's.

    Raises:
        ValidationError: There is no such mode, or the table has no partitions to overwrite.
    """
    wanted = mode if mode is not None else table.write_mode
    try:
        checked = WriteMode(str(wanted))
    except ValueError as error:
        raise ValidationError(
            f"Table {table.table_id!r}: {str(wanted)!r} is not a write mode; use one of "
            f"{', '.join(WriteMode)}."
        ) from error
    if checked is WriteMode.OVERWRITE_PARTITIONS and not table.partition_columns:
        raise ValidationError(
            f"Table {table.table_id!r} has no partition_columns, so overwrite_partitions has no "
            "partitions to replace; set them, or use overwrite."
        )
    return checked


def require_active(table: TableConfig) -> None:
    """Raise for a table that is switched off.

    Raises:
        ValidationError: It is.
    """
    if not table.is_active:
        raise ValidationError(
            f"Table {table.table_id!r} is switched off: is_active is false in its configuration."
        )


def _merged(table: TableConfig, source: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {
        **_as_options(table, "connection_config", table.connection_config),
        **_as_options(table, source, settings),
    }


def _as_options(table: TableConfig, source: str, settings: Mapping[str, object]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in settings.items():
        if value is None:
            continue
        text = as_text(value)
        where = f"Table {table.table_id!r}: {source}.{name}"
        if text is None:
            raise ConfigurationError(
                f"{where} is a {type(value).__name__}; an option is text, a number or a boolean."
            )
        if is_reference(text):
            raise ConfigurationError(
                f"{where} refers to a secret, and references are not resolved yet. Let Spark "
                "authenticate by the role of the instance or job, or read the table yourself."
            )
        options[name] = text
    return options


def report_write(
    tables: TableConfigRepository,
    written: WriteSummary | str,
    given: Mapping[str, int | None],
    run_id: str | None,
) -> TableConfig:
    """Store the figures of a write; `SparkDynamoDBIntegration` documents it.

    Raises:
        ItemNotFoundError: There is no such table configuration.
        ValidationError: A table id without any figure.
    """
    if isinstance(written, WriteSummary):
        table_id, finished_at = written.table_id, written.finished_at
        figures = {**_observed(written), **_known(given)}
    else:
        table_id, finished_at, figures = written, utc_now(), _known(given)
        if not figures:
            raise ValidationError(
                f"Table {table_id!r}: give the summary of write_table, or at least one figure."
            )
    return tables.update_table_statistics(
        table_id,
        **figures,
        last_data_at=finished_at,
        run_id=run_id,
        # An old figure beside the date of new data would be wrong.
        forget=[name for name in given if name not in figures],
    )


def _observed(written: WriteSummary) -> dict[str, int]:
    return _known(
        {
            "record_count": written.total_rows,
            "size_bytes": written.size_bytes,
            "file_count": written.file_count,
        }
    )


def _known(figures: Mapping[str, int | None]) -> dict[str, int]:
    return {name: figure for name, figure in figures.items() if figure is not None}


def read_table_data(
    session: SparkSession, table: TableConfig, columns: Sequence[str] | None
) -> DataFrame:
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


@dataclass(frozen=True)
class WriteSummary:
    """The result of a write.

    Attributes:
        table_id: The table.
        data_format: As configured.
        mode: The mode that was used.
        location: Where it was written; the table's name for a catalog table.
        rows: Rows written, counted in the same pass; None when Spark did not report them.
        size_bytes: Size of all data at the location afterwards; None where the driver cannot see
            the files for free (anywhere but on this machine).
        file_count: Number of files there; None as above.
        duration_seconds: Time the write took.
        finished_at: When it was done.
    """

    table_id: str
    data_format: DataFormat
    mode: WriteMode
    location: str
    rows: int | None
    duration_seconds: float
    size_bytes: int | None = None
    file_count: int | None = None
    finished_at: datetime = field(default_factory=utc_now)

    @property
    def total_rows(self) -> int | None:
        """Rows the table holds now; None after a write that left others in place."""
        return self.rows if self.mode in _REPLACING else None


def write_table_data(
    frame: DataFrame, table: TableConfig, mode: WriteMode | str | None
) -> WriteSummary:
    """Write a DataFrame as the configuration of its table says.

    `SparkDynamoDBIntegration.write_table` documents it.

    Raises:
        ValidationError: Inactive table, unfit mode or data, or something is there already.
        MissingDependencyError: Spark lacks the package of the format.
    """
    require_active(table)
    checked = write_mode(table, mode)
    if frame.isStreaming:
        raise ValidationError(
            f"Table {table.table_id!r}: this is a stream; call write_table on the batches of "
            "foreachBatch."
        )
    begun = time.monotonic()
    with explained(table, "written"):
        count = RowCount(frame)
        counts = _save(count.frame, table, checked)
    rows = count.rows() if counts else None
    if not rows and table.data_format in FILE_FORMATS and table.partition_columns:
        _keep_readable(frame, table)
    duration_seconds = round(time.monotonic() - begun, 3)
    found = None
    if table.data_format in FILE_FORMATS and table.location is not None:
        found = files_at(frame.sparkSession, table.location)
    return WriteSummary(
        table_id=table.table_id,
        data_format=table.data_format,
        mode=checked,
        location=table.location or table.qualified_name,
        rows=rows,
        duration_seconds=duration_seconds,
        size_bytes=None if found is None else found[0],
        file_count=None if found is None else found[1],
    )


def _save(frame: DataFrame, table: TableConfig, mode: WriteMode) -> bool:
    """Write, and return whether the rows that passed are the rows written."""
    if table.data_format is DataFormat.CATALOG:
        there = save_to_catalog(frame, table, mode, write_options(table))
        # Other tables may sort by ranges: Spark then reads the rows once more to find the ranges.
        return there is None or there.is_of_files or there.provider == "delta"
    if mode is WriteMode.OVERWRITE and table.data_format in FILE_FORMATS:
        # Dynamic overwriting deletes after it has read, and lakes keep the version that is read.
        refuse_own_source(frame, table, str(table.location))
    writer = frame.write.format(str(table.data_format)).options(**write_options(table))
    if table.partition_columns:
        writer = writer.partitionBy(*table.partition_columns)
        # Set for each write, because the session may have another default for "overwrite".
        dynamic = mode is WriteMode.OVERWRITE_PARTITIONS
        writer = writer.option("partitionOverwriteMode", "dynamic" if dynamic else "static")
    writer.mode(_save_mode(mode)).save(table.location)
    return table.data_format is not DataFormat.ICEBERG


def _keep_readable(frame: DataFrame, table: TableConfig) -> None:
    """Write a file with the schema and no rows, where partitions without rows left no file."""
    session = frame.sparkSession
    reader = session.read.options(**read_options(table)).format(str(table.data_format))
    try:
        reader.load(table.location)
    except planning_errors():
        empty = session.createDataFrame([], frame.schema).coalesce(1).write
        empty = empty.format(str(table.data_format)).options(**write_options(table))
        empty.mode("append").save(table.location)


def _save_mode(mode: WriteMode) -> str:
    return "overwrite" if mode is WriteMode.OVERWRITE_PARTITIONS else str(mode)
