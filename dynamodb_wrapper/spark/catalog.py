"""Write to the tables of Spark's catalog, without a change of their definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.enums import WriteMode
from dynamodb_wrapper.spark.sources import source_inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from dynamodb_wrapper.models.table_config import TableConfig

# Spark's own sources, which DataFrameWriterV2 does not write to.
_FILE_PROVIDERS = frozenset({"parquet", "orc", "csv", "json", "text", "avro", "hive"})
_DETAILS = "# Detailed Table Information"


@dataclass(frozen=True)
class CatalogTable:
    """A table or view as Spark's catalog has it.

    Attributes:
        columns: Names in the order of the table, partition columns included.
        is_partitioned: Whether it has partition columns.
        is_view: Whether it is a view, temporary or not.
        provider: The format, in lower case.
        location: Where its data is, if the catalog says so.
    """

    columns: list[str]
    is_partitioned: bool
    is_view: bool
    provider: str
    location: str | None

    @property
    def is_of_files(self) -> bool:
        """Whether one of Spark's own sources of files stores the data."""
        return self.provider in _FILE_PROVIDERS


def find_catalog_table(session: SparkSession, name: str) -> CatalogTable | None:
    """Return what the catalog says about a name; None where there is no such table or view."""
    if not session.catalog.tableExists(name):
        return None
    rows = session.sql(f"DESCRIBE TABLE EXTENDED {name}").collect()
    columns = session.table(name).columns
    names = [str(row[0]) for row in rows]
    details = names.index(_DETAILS) if _DETAILS in names else len(rows)
    found = {str(row[0]): str(row[1]) for row in rows[details:]}
    return CatalogTable(
        columns=columns,
        is_partitioned=any(name.startswith("# Partition") for name in names[:details]),
        # A temporary view has no details.
        is_view=not found or found.get("Type") == "VIEW",
        provider=found.get("Provider", "").lower(),
        location=found.get("Location"),
    )


def save_to_catalog(
    frame: DataFrame, table: TableConfig, mode: WriteMode, options: Mapping[str, str]
) -> CatalogTable | None:
    """Write to a table of the catalog and return what was there before; make it if it is missing.

    Raises:
        ValidationError: It is a view, it is read and overwritten, its columns are others, or the
            session's setting would replace more or less than was asked for.
    """
    name = table.qualified_name
    there = find_catalog_table(frame.sparkSession, name)
    if there is not None and there.is_view:
        raise ValidationError(
            f"Table {table.table_id!r}: {name} is a view; write to the table below it."
        )
    if there is None or mode is WriteMode.ERROR:
        _make(frame, table, mode, options)
    elif there.is_of_files:
        _insert(frame, table, mode, there, options)
    else:
        _write_by_name(frame, name, mode, options)
    return there


def _make(
    frame: DataFrame, table: TableConfig, mode: WriteMode, options: Mapping[str, str]
) -> None:
    writer = frame.write.options(**options)
    if table.partition_columns:
        writer = writer.partitionBy(*table.partition_columns)
    replacing = mode is WriteMode.OVERWRITE_PARTITIONS
    # Nothing is there; "append" to what another writer makes meanwhile loses nothing.
    writer.mode("append" if replacing else str(mode)).saveAsTable(table.qualified_name)


def _insert(
    frame: DataFrame,
    table: TableConfig,
    mode: WriteMode,
    there: CatalogTable,
    options: Mapping[str, str],
) -> None:
    name, where = table.qualified_name, f"Table {table.table_id!r}: {table.qualified_name}"
    setting = frame.sparkSession.conf.get("spark.sql.sources.partitionOverwriteMode", "static")
    is_dynamic = str(setting).lower() == "dynamic"
    if mode is WriteMode.OVERWRITE_PARTITIONS and not (there.is_partitioned and is_dynamic):
        raise ValidationError(
            f"{where} is a table of {there.provider} files, and Spark replaces partitions of such "
            "a table only if it has some and the session's setting "
            "spark.sql.sources.partitionOverwriteMode is 'dynamic'."
        )
    if mode is WriteMode.OVERWRITE and there.is_partitioned and is_dynamic:
        raise ValidationError(
            f"{where} would keep partitions without new rows, because the session's setting "
            "spark.sql.sources.partitionOverwriteMode is 'dynamic'; set it to 'static', or use "
            "overwrite_partitions."
        )
    if mode is WriteMode.OVERWRITE and there.location is not None:
        refuse_own_source(frame, table, there.location)
    arranged = _arranged(frame, there.columns, where)
    writer = arranged.write.options(**options)
    writer.insertInto(name, overwrite=mode is not WriteMode.APPEND)


def _arranged(frame: DataFrame, columns: Sequence[str], where: str) -> DataFrame:
    """Return the frame with the columns of the table, because insertInto goes by position."""
    is_exact = str(frame.sparkSession.conf.get("spark.sql.caseSensitive")).lower() == "true"
    given = frame.columns if is_exact else [name.lower() for name in frame.columns]
    wanted = list(columns) if is_exact else [name.lower() for name in columns]
    if sorted(given) != sorted(wanted):
        missing = [name for name in wanted if name not in given]
        more = [name for name in given if name not in wanted]
        raise ValidationError(
            f"{where} has the columns {', '.join(columns)}; the DataFrame lacks "
            f"{missing or 'none'} and has {more or 'none'} besides."
        )
    return frame.select(*("`" + name.replace("`", "``") + "`" for name in columns))


def _write_by_name(
    frame: DataFrame, name: str, mode: WriteMode, options: Mapping[str, str]
) -> None:
    from pyspark.sql import functions as F  # noqa: N812 - the usual name

    writer = frame.writeTo(name).options(**options)
    if mode is WriteMode.APPEND:
        writer.append()
    elif mode is WriteMode.OVERWRITE:
        writer.overwrite(F.lit(True))
    else:
        writer.overwritePartitions()


def refuse_own_source(frame: DataFrame, table: TableConfig, location: str) -> None:
    """Raise if files that the DataFrame reads would be deleted by an overwrite of a location.

    Raises:
        ValidationError: They would.
    """
    path = source_inside(frame, location)
    if path is not None:
        raise ValidationError(
            f"Table {table.table_id!r}: the DataFrame reads {path}, which overwriting {location} "
            "deletes before it is read; nothing was written. Write to another location first, or "
            "cut the DataFrame off with DataFrame.checkpoint()."
        )
