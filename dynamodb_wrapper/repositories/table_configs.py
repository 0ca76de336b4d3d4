"""The registry of tables that pipelines read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.control_tables import TABLE_CONFIG
from dynamodb_wrapper.models.enums import TableType, enum_of
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.models.table_config import TableConfig
from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.item_requests import Write
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.serialization.expressions import Expressions, Update, begins_with
from dynamodb_wrapper.serialization.field_values import encode_at, validated
from dynamodb_wrapper.serialization.paths import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


class TableConfigRepository(BaseDynamoRepository[TableConfig]):
    """Tables by id, pipeline and type; the table is ``table_config``."""

    TABLE = TABLE_CONFIG

    def create_table_config(self, table: TableConfig) -> TableConfig:
        """Store a new table configuration.

        Costs a write unit per KB of the item and of its two index entries. See: PutItem.

        Raises:
            ItemAlreadyExistsError: The id is taken.
        """
        return self.create(table)

    def get_by_table_id(self, table_id: str, *, consistent: bool = False) -> TableConfig | None:
        """Return a table configuration, None when there is none.

        Costs half a read unit per 4 KB, a whole one when consistent. See: GetItem.
        """
        return self.get(table_id, consistent=consistent)

    def get_tables_by_pipeline(
        self, pipeline_id: str, *, limit: int | None = None
    ) -> list[TableConfig]:
        """Return the tables of a pipeline, ordered by type and id.

        Costs half a read unit per 4 KB of index entries (about 100 bytes each) and half a one per
        4 KB of each table. The index follows writes within about a second.

        See: Query, BatchGetItem
        """
        return self._of_pipeline(pipeline_id, limit=limit)

    def get_active_tables_by_pipeline(
        self, pipeline_id: str, *, limit: int | None = None
    ) -> list[TableConfig]:
        """Return the active tables of a pipeline; inactive ones are read and paid for as well.

        Costs as `get_tables_by_pipeline`. See: Query, BatchGetItem.
        """
        return self._of_pipeline(pipeline_id, limit=limit, active_only=True)

    def get_source_tables(self, pipeline_id: str) -> list[TableConfig]:
        """Return the tables a pipeline reads. Costs as `get_tables_by_pipeline`, of these only."""
        return self._of_pipeline(pipeline_id, role=TableType.SOURCE)

    def get_destination_tables(self, pipeline_id: str) -> list[TableConfig]:
        """Return the tables a pipeline writes. Costs as `get_tables_by_pipeline`, of these only."""
        return self._of_pipeline(pipeline_id, role=TableType.DESTINATION)

    def get_tables_by_type(
        self,
        table_type: TableType | str,
        environment: str | None = None,
        *,
        active_only: bool = False,
        limit: int | None = None,
    ) -> list[TableConfig]:
        """Return the tables of a type in an environment; the config's unless given.

        Costs as `get_tables_by_pipeline`. See: Query, BatchGetItem.
        """
        kind = enum_of(TableType, table_type)
        wanted = arguments.optional_text("environment", environment)
        wanted = wanted or self.config.item_environment
        active_only = arguments.flag("active_only", active_only)

        def is_listed(table: TableConfig) -> bool:
            """Decide by the table itself: its index entry may be older."""
            of_kind = table.table_type == kind and table.environment == wanted
            return of_kind and (table.is_active or not active_only)

        reading = Reading(index="by_list", limit=limit, keep=is_listed)
        sort = begins_with("gx_list_sort", "A#") if active_only else None
        return self._results(f"{wanted}#{kind}", sort, reading).all()

    def update_table_statistics(
        self,
        table_id: str,
        *,
        record_count: int | None = None,
        size_bytes: int | None = None,
        file_count: int | None = None,
        last_data_at: datetime | None = None,
        run_id: str | None = None,
        forget: Iterable[str] = (),
    ) -> TableConfig:
        """Store statistics of a table and return its configuration; those that are None stay.

        Statistics do not raise ``row_version``: a configuration that was read before can still be
        updated. Costs a write unit per KB of the item; nothing is read before. See: UpdateItem.

        Args:
            table_id: The table.
            record_count: Rows it holds.
            size_bytes: Size of its data.
            file_count: Number of its files.
            last_data_at: When data was last written.
            run_id: The run that wrote it.
            forget: Names of statistics to remove, because they are outdated and the new values
                are not known.

        Raises:
            ItemNotFoundError: There is no such table configuration.
            ValidationError: No statistic is given, or `forget` names an unknown one.
        """
        given = {
            "record_count": record_count,
            "size_bytes": size_bytes,
            "file_count": file_count,
            "last_data_at": last_data_at,
            "last_run_id": run_id,
        }
        values = {name: value for name, value in given.items() if value is not None}
        names = arguments.texts("forget", forget, "a list of names of statistics")
        forgotten = [name for name in names if name not in values]
        unknown = sorted(set(forgotten) - set(given))
        if unknown:
            raise ValidationError(f"forget names {', '.join(unknown)}, which is no statistic.")
        if not values and not forgotten:
            raise ValidationError("update_table_statistics needs at least one figure.")
        values["statistics_updated_at"] = utc_now()
        write = self._statistics_write(table_id, values, forgotten)
        return self._written(write, self._send(write))

    def _statistics_write(
        self, table_id: str, values: Mapping[str, object], forgotten: Iterable[str]
    ) -> Write:
        key = self._requests.key(table_id)
        expressions = Expressions(self.table)
        update = Update(expressions)
        for name, value in values.items():
            target = resolve(TableConfig, name)
            update.set((name,), encode_at(target, validated(target, value, managed=True)))
        for name in forgotten:
            update.remove((name,))
        request = {
            "TableName": self.table_name,
            "Key": key,
            "UpdateExpression": update.text,
            "ConditionExpression": self._requests.guards.present(expressions),
            "ReturnValues": "ALL_NEW",
        }
        return Write("update", key, expressions.into(request), must_exist=True)

    def _of_pipeline(
        self,
        pipeline_id: str,
        *,
        role: TableType | None = None,
        active_only: bool = False,
        limit: int | None = None,
    ) -> list[TableConfig]:
        def is_listed(table: TableConfig) -> bool:
            """Decide by the table itself: its index entry may be older."""
            in_role = table.pipeline_id == pipeline_id and role in (None, table.table_type)
            return in_role and (table.is_active or not active_only)

        reading = Reading(index="by_pipeline", limit=limit, keep=is_listed)
        sort = None if role is None else begins_with("gx_role", f"{role}#")
        return self._results(pipeline_id, sort, reading).all()
