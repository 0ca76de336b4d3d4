"""Writing a configured table."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import DataFormat, WriteMode, utc_now
from dynamodb_wrapper.spark.failures import explained
from dynamodb_wrapper.spark.metrics import RowCount, files_at
from dynamodb_wrapper.spark.table_options import (
    FILE_FORMATS,
    require_active,
    write_mode,
    write_options,
)

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

    from dynamodb_wrapper.models import TableConfig

_REPLACING = (WriteMode.OVERWRITE, WriteMode.ERROR)


@dataclass(frozen=True)
class WriteSummary:
    """What a write came to.

    Attributes:
        table_id: The table.
        data_format: As configured.
        mode: The mode that was used.
        location: Where it was written; the table's name for a catalog table.
        rows: Rows written, counted in the same pass; None when Spark did not tell.
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


def write(frame: DataFrame, table: TableConfig, mode: WriteMode | str | None) -> WriteSummary:
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
        _save(count.frame, table, checked)
    duration_seconds = round(time.monotonic() - begun, 3)
    found = None
    if table.data_format in FILE_FORMATS and table.location is not None:
        found = files_at(frame.sparkSession, table.location)
    return WriteSummary(
        table_id=table.table_id,
        data_format=table.data_format,
        mode=checked,
        location=table.location or table.qualified_name,
        rows=count.rows(),
        duration_seconds=duration_seconds,
        size_bytes=None if found is None else found[0],
        file_count=None if found is None else found[1],
    )


def _save(frame: DataFrame, table: TableConfig, mode: WriteMode) -> None:
    if table.data_format is DataFormat.CATALOG:
        _save_to_catalog(frame, table, mode)
        return
    writer = frame.write.format(str(table.data_format)).options(**write_options(table))
    if table.partition_columns:
        writer = writer.partitionBy(*table.partition_columns)
        # Said in so many words, because the session may have another idea of "overwrite".
        dynamic = mode is WriteMode.OVERWRITE_PARTITIONS
        writer = writer.option("partitionOverwriteMode", "dynamic" if dynamic else "static")
    writer.mode(_save_mode(mode)).save(table.location)


def _save_to_catalog(frame: DataFrame, table: TableConfig, mode: WriteMode) -> None:
    name = table.qualified_name
    if mode is WriteMode.OVERWRITE_PARTITIONS:
        # insertInto would ignore the per-write option on a table of files and replace everything;
        # this call refuses such a table instead, and works on Delta and Iceberg.
        frame.writeTo(name).options(**write_options(table)).overwritePartitions()
        return
    writer = frame.write.options(**write_options(table))
    if table.partition_columns:
        writer = writer.partitionBy(*table.partition_columns)
    writer.mode(_save_mode(mode)).saveAsTable(name)


def _save_mode(mode: WriteMode) -> str:
    return "overwrite" if mode is WriteMode.OVERWRITE_PARTITIONS else str(mode)
