"""Options of reader and writer from a table's configuration; no Spark is needed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import ConfigurationError, ValidationError
from dynamodb_wrapper.models import DataFormat, WriteMode
from dynamodb_wrapper.redaction import is_reference
from dynamodb_wrapper.spark.settings import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.models import TableConfig

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
    """Refuse a table that is switched off.

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
