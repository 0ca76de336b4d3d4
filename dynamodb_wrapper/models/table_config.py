"""Configuration of a table that a pipeline reads or writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Optional, Union

from pydantic import Field, field_validator, model_validator

from dynamodb_wrapper.models.document import Document, Rule
from dynamodb_wrapper.models.enums import (
    DataFormat,
    DataFormatField,
    TableTypeField,
    WriteMode,
    WriteModeField,
)
from dynamodb_wrapper.models.fields import (
    ENVIRONMENT_PATTERN,
    Id,
    JsonDict,
    SecretFree,
    Settings,
    UtcDatetime,
)

STATISTICS = (
    "record_count",
    "size_bytes",
    "file_count",
    "last_data_at",
    "last_run_id",
    "statistics_updated_at",
)


def _check_location(location: str | None, data_format: DataFormat) -> None:
    if location is None and data_format is not DataFormat.CATALOG:
        raise ValueError(
            f"location is needed for data_format {data_format}; only 'catalog' has none"
        )


def _has_location(known: Mapping[str, Any]) -> bool:
    return known.get("location") is not None or known.get("data_format") is DataFormat.CATALOG


def _check_partition_columns(schema: str | dict[str, Any] | None, columns: list[str]) -> None:
    names = _column_names(schema)
    missing = [] if names is None else [column for column in columns if column not in names]
    if missing:
        raise ValueError(f"partition_columns {missing} are not in schema_definition")


def _lacks_columns_or_schema(known: Mapping[str, Any]) -> bool:
    if "partition_columns" in known and not known["partition_columns"]:
        return True
    return "schema_definition" in known and _column_names(known["schema_definition"]) is None


def _column_names(schema: object) -> set[Any] | None:
    """Return the column names of a schema in JSON; None for other schemas."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return None
    return {field.get("name") for field in fields if isinstance(field, dict)}


class TableConfig(Document):
    """A table as Spark reads and writes it.

    Attributes:
        table_id: Key of the item.
        pipeline_id: The pipeline that owns the table.
        table_name: Name in Spark's catalog, or for people; the id unless given.
        database: Database or namespace in Spark's catalog.
        table_type: The part the table plays in its pipeline.
        location: Any URI Spark can read; not needed for ``catalog``.
        schema_definition: A Spark DDL text or the JSON of a ``StructType``.
        partition_columns: Columns a write is partitioned by.
        connection_config: Further reader and writer options; secrets only as references.
        read_options: Spark reader options; values are stored as text.
        write_options: Spark writer options; values are stored as text.
        caching_enabled: Whether reading persists the DataFrame.
        cache_level: Name of a Spark storage level.
        record_count: Rows in the table, as last reported; only
            `TableConfigRepository.update_table_statistics` changes the statistics.
        size_bytes: Size of the data, as last reported.
        file_count: Number of files, as last reported.
        last_data_at: When data was last written.
        last_run_id: The run that wrote it.
        statistics_updated_at: When the statistics were last reported.
    """

    KIND: ClassVar[str] = "TABLE"
    MANAGED: ClassVar[frozenset[str]] = Document.MANAGED | frozenset(STATISTICS)
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(("location", "data_format"), _check_location, _has_location),
        Rule(
            ("schema_definition", "partition_columns"),
            _check_partition_columns,
            _lacks_columns_or_schema,
        ),
    )

    table_id: Id
    pipeline_id: Optional[str] = None
    table_name: str = ""
    database: Optional[str] = None
    table_type: TableTypeField
    data_format: DataFormatField = DataFormat.PARQUET
    location: Annotated[Optional[str], SecretFree] = None
    schema_definition: Optional[Union[str, JsonDict]] = None
    partition_columns: list[str] = Field(default_factory=list)
    connection_config: Annotated[JsonDict, SecretFree] = Field(default_factory=dict)
    read_options: Settings = Field(default_factory=dict)
    write_options: Settings = Field(default_factory=dict)
    write_mode: WriteModeField = WriteMode.ERROR
    caching_enabled: bool = False
    cache_level: str = Field(default="MEMORY_AND_DISK", pattern=r"^[A-Z][A-Z0-9_]*$")
    owner: Optional[str] = None
    description: Annotated[Optional[str], SecretFree] = Field(default=None, max_length=4096)
    environment: Optional[str] = Field(default=None, pattern=ENVIRONMENT_PATTERN)
    is_active: bool = True

    record_count: Optional[int] = Field(default=None, ge=0, frozen=True)
    size_bytes: Optional[int] = Field(default=None, ge=0, frozen=True)
    file_count: Optional[int] = Field(default=None, ge=0, frozen=True)
    last_data_at: Optional[UtcDatetime] = Field(default=None, frozen=True)
    last_run_id: Optional[str] = Field(default=None, frozen=True)
    statistics_updated_at: Optional[UtcDatetime] = Field(default=None, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_after_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("table_name") and "table_id" in data:
            return {**data, "table_name": str(data["table_id"])}
        return data

    @field_validator("write_mode", mode="before")
    @classmethod
    def _no_merge(cls, mode: Any) -> Any:
        if mode == "merge":
            raise ValueError(
                "merge is not a write mode; call DeltaTable.forPath(spark, path).merge(...) for "
                "Delta, or spark.sql('MERGE INTO ...') for Delta and Iceberg"
            )
        return mode

    @property
    def qualified_name(self) -> str:
        """Name of the table in Spark's catalog."""
        return f"{self.database}.{self.table_name}" if self.database else self.table_name
