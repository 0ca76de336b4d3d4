"""The registry of pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    ItemNotFoundError,
    ValidationError,
)
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.control_tables import PIPELINE_CONFIG
from dynamodb_wrapper.models.pipeline import PipelineConfig
from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.serialization.expressions import begins_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_LOOKED_AT = 500


class _Name(BaseModel):
    pipeline_id: str


class PipelineConfigRepository(BaseDynamoRepository[PipelineConfig]):
    """Pipelines by id, environment and activity; the table is ``pipeline_config``."""

    TABLE = PIPELINE_CONFIG

    def create_pipeline_config(self, pipeline: PipelineConfig) -> PipelineConfig:
        """Store a new pipeline.

        Costs a write unit per KB of the item and of its index entry. See: PutItem.

        Raises:
            ItemAlreadyExistsError: The id is taken.
        """
        return self.create(pipeline)

    def get_by_pipeline_id(
        self, pipeline_id: str, *, consistent: bool = False
    ) -> PipelineConfig | None:
        """Return a pipeline, None when there is none; `get_or_raise` raises instead.

        Costs half a read unit per 4 KB, a whole one when consistent. See: GetItem.
        """
        return self.get(pipeline_id, consistent=consistent)

    def get_active_pipelines(
        self, environment: str | None = None, *, limit: int | None = None
    ) -> list[PipelineConfig]:
        """Return the active pipelines of an environment, by id; the config's unless given.

        Costs half a read unit per 4 KB of index entries (about 100 bytes each) and half a one per
        4 KB of each pipeline. The index follows writes within about a second.

        See: Query, BatchGetItem
        """
        return self._listed(environment, limit, active_only=True)

    def get_pipelines_by_environment(
        self, environment: str | None = None, *, limit: int | None = None
    ) -> list[PipelineConfig]:
        """Return the pipelines of an environment, active ones first, each by id.

        Costs as `get_active_pipelines`. See: Query, BatchGetItem.
        """
        return self._listed(environment, limit, active_only=False)

    def update_pipeline_status(self, pipeline_id: str, is_active: bool) -> PipelineConfig:
        """Switch a pipeline on or off and return it; nothing is read before.

        Costs a write unit per KB of the item, and two for its index entry. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such pipeline.
        """
        return self.update(pipeline_id, set={"is_active": is_active})

    def activate(self, pipeline_ids: Iterable[str]) -> None:
        """Switch several pipelines on, all or none; at most 100.

        Costs twice the units of single updates. See: TransactWriteItems.

        Raises:
            TransactionCanceledError: One of them does not exist; its reason names it.
        """
        self._switch(pipeline_ids, is_active=True)

    def deactivate(self, pipeline_ids: Iterable[str]) -> None:
        """Switch several pipelines off, all or none; costs and raises as `activate`."""
        self._switch(pipeline_ids, is_active=False)

    def _switch(self, pipeline_ids: Iterable[str], *, is_active: bool) -> None:
        if isinstance(pipeline_ids, str):
            raise ValidationError(f"Give a list of pipeline ids: [{pipeline_ids!r}].")
        meaning = "a list or another iterable of pipeline ids"
        wanted = arguments.texts("pipeline_ids", pipeline_ids, meaning)
        with self.transaction() as transaction:
            for pipeline_id in wanted:
                transaction.update(self, pipeline_id, set={"is_active": is_active})

    def _listed(
        self, environment: str | None, limit: int | None, *, active_only: bool
    ) -> list[PipelineConfig]:
        wanted = arguments.optional_text("environment", environment)
        wanted = wanted or self.config.item_environment

        def is_listed(pipeline: PipelineConfig) -> bool:
            """Decide by the pipeline itself: its index entry may be older."""
            return pipeline.environment == wanted and (pipeline.is_active or not active_only)

        reading = Reading(index="by_list", limit=limit, keep=is_listed)
        sort = begins_with("gx_list_sort", "A#") if active_only else None
        return self._results(wanted, sort, reading).all()

    def _not_found(self, key: Mapping[str, Any], operation: str) -> ItemNotFoundError:
        pipeline_id = str(self._requests.codec.key_of(key)["pipeline_id"])
        near = self._similar(pipeline_id)
        hint = f" Similar: {', '.join(map(repr, near))}." if near else ""
        return ItemNotFoundError(
            f"There is no pipeline {pipeline_id!r} in table {self.table_name!r}. Register it: "
            "PipelineConfigRepository(config).create(PipelineConfig(pipeline_id="
            f"{pipeline_id!r})).{hint}",
            table_name=self.table_name,
            key={"pipeline_id": pipeline_id},
            operation=operation,
        )

    def _similar(self, pipeline_id: str) -> list[str]:
        """Return ids of the environment that are written nearly as this one."""
        import difflib

        reading = Reading(index="by_list", limit=_LOOKED_AT, into=_Name)
        try:
            found = self._results(self.config.item_environment, None, reading).all()
        except DynamoDBWrapperError:  # it only makes an error clearer
            return []
        return difflib.get_close_matches(pipeline_id, [name.pipeline_id for name in found], n=3)
