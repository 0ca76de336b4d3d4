"""What a table's statistics become after a write; nothing is counted for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import utc_now
from dynamodb_wrapper.spark.writing import WriteSummary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.models import TableConfig
    from dynamodb_wrapper.repositories import TableConfigRepository


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
        # An old figure beside the date of new data would be a lie.
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
