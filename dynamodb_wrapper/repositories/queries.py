"""Requests for Query and Scan, built from conditions; nothing is sent here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Generic

from pydantic import BaseModel

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Derived, GlobalIndex, ModelT
from dynamodb_wrapper.repositories.results import Plan
from dynamodb_wrapper.wire.expressions import Expressions
from dynamodb_wrapper.wire.flow import MAX_WORKERS, Progress, RateLimiter, limiter_of
from dynamodb_wrapper.wire.paths import encode_operand, resolve
from dynamodb_wrapper.wire.shapes import fields_of

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.item_requests import ItemRequests


@dataclass(frozen=True)
class Reading:
    """Options of a query or scan; `BaseDynamoRepository.query` documents them."""

    index: str | None = None
    where: ConditionBase | None = None
    limit: int | None = None
    consistent: bool = False
    into: type[BaseModel] | None = None
    descending: bool = False
    segments: int = 1
    keep: Callable[[Any], bool] | None = None
    rate: float | RateLimiter | None = None
    on_progress: Callable[[Progress], object] | None = None


class Queries(Generic[ModelT]):
    """Builds the queries and scans of one table."""

    def __init__(self, requests: ItemRequests[ModelT]) -> None:
        self._requests = requests
        self._table = requests.table

    def query(self, partition: Any, sort: ConditionBase | None, reading: Reading) -> Plan[Any]:
        """Return the plan of a Query."""
        index = None if reading.index is None else self._table.index(reading.index)
        expressions = Expressions(self._table)
        key = self._table if index is None else index
        conditions = [self._partition(expressions, key.partition_key, partition)]
        if sort is not None:
            conditions.append(self._sort(expressions, key.sort_key, sort))
        request = {"KeyConditionExpression": " AND ".join(conditions)}
        if reading.descending:
            request["ScanIndexForward"] = False  # type: ignore[assignment]
        return self._plan("Query", request, expressions, index, reading)

    def scan(self, reading: Reading) -> Plan[Any]:
        """Return the plan of a Scan."""
        if not 1 <= reading.segments <= MAX_WORKERS:
            raise ValidationError(
                f"segments is {reading.segments}; each is read in a thread, 1 to {MAX_WORKERS}."
            )
        index = None if reading.index is None else self._table.index(reading.index)
        return self._plan("Scan", {}, Expressions(self._table), index, reading)

    def _plan(
        self,
        operation: str,
        request: dict[str, Any],
        expressions: Expressions,
        index: GlobalIndex | None,
        reading: Reading,
    ) -> Plan[Any]:
        request["TableName"] = self._requests.table_name
        if index is not None:
            request["IndexName"] = index.name
        if reading.consistent and index is None:
            request["ConsistentRead"] = True
        model = reading.into or self._table.model
        whole = self._needs_whole(index, model)
        if reading.consistent and index is not None and not whole:
            raise ValidationError(
                f"Index {index.name!r} cannot be read consistently: DynamoDB updates it later "
                "than the table. Query the table, or read the keys with get_many(consistent=True)."
            )
        filters = [self._where(expressions, index, reading)]
        if index is None:
            filters.append(self._requests.guards.own_kind(expressions))
        filters.append(self._unexpired(expressions, index))
        text = expressions.all_of(filters)
        if text:
            request["FilterExpression"] = text
        if reading.into is not None and not whole:
            request["ProjectionExpression"] = expressions.projection(
                self._requests.projected(reading.into, self._index_attributes(index))
            )
        return Plan(
            operation,
            expressions.into(request),
            self._requests.reader_of(model),
            limit=reading.limit,
            segments=reading.segments,
            whole=whole,
            consistent=reading.consistent,
            keep=reading.keep,
            limiter=limiter_of(reading.rate),
            on_progress=reading.on_progress,
        )

    def _partition(self, expressions: Expressions, key: str | Derived, value: Any) -> str:
        attribute = self._table.attribute_of(key)
        if isinstance(key, Derived):
            if not isinstance(value, str) or not value:
                raise ValidationError(f"{attribute!r} is queried with a non-empty text.")
            encoded = {"S": value}
        else:
            if value is None or value in ("", b""):
                raise ValidationError(f"The partition key {attribute!r} is empty.")
            encoded = encode_operand(resolve(self._table.model, key), value)
            tag = self._table.key_tag(key)
            if tag not in encoded:
                raise ValidationError(
                    f"The partition key {attribute!r} is of type {tag}, not {next(iter(encoded))}."
                )
        return f"{expressions.path((attribute,))} = {expressions.value(encoded)}"

    def _sort(
        self, expressions: Expressions, key: str | Derived | None, condition: ConditionBase
    ) -> str:
        if key is None:
            raise ValidationError(
                f"Table {self._table.name!r} has no sort key here; filter with where=Attr(...)."
            )
        probe = Expressions(self._table)
        probe.condition(condition)
        attribute = self._table.attribute_of(key)
        if probe.top_names() != {attribute}:
            raise ValidationError(
                f"sort= is a condition on the sort key {attribute!r}, not on "
                f"{', '.join(sorted(probe.top_names()))}; filter with where=Attr(...)."
            )
        return expressions.condition(condition)

    def _where(
        self,
        expressions: Expressions,
        index: GlobalIndex | None,
        reading: Reading,
    ) -> str | None:
        if reading.where is None:
            return None
        if index is not None and index.project != "all":
            probe = Expressions(self._table)
            probe.condition(reading.where)
            absent = probe.top_names() - set(self._held_by(index))
            if absent:
                raise ValidationError(
                    f"Index {index.name!r} does not hold {', '.join(sorted(absent))}, so a filter "
                    "on it would find nothing."
                )
        return expressions.condition(reading.where)

    def _unexpired(self, expressions: Expressions, index: GlobalIndex | None) -> str | None:
        ttl = self._table.ttl
        if ttl is None:
            return None
        held = index is None or self._table.attribute_of(ttl) in self._held_by(index)
        return self._requests.guards.unexpired(expressions) if held else None

    def _needs_whole(self, index: GlobalIndex | None, model: type[BaseModel]) -> bool:
        """Tell whether an index holds less than the model wants."""
        if index is None or index.project == "all":
            return False
        wanted = {shape.attribute for shape in fields_of(model)}
        return not wanted <= set(self._held_by(index))

    def _held_by(self, index: GlobalIndex) -> list[str]:
        keys = [*self._table.key_fields, *index.keys]
        names = [self._table.attribute_of(key) for key in keys]
        if index.project == "all":
            names += [shape.attribute for shape in fields_of(self._table.model)]
        elif index.project != "keys":
            names += projected_attributes(self._requests, index)
        return names

    def _index_attributes(self, index: GlobalIndex | None) -> tuple[str, ...]:
        if index is None:
            return ()
        return tuple(self._table.attribute_of(key) for key in index.keys)


def projected_attributes(requests: ItemRequests[Any], index: GlobalIndex) -> list[str]:
    """Return the non-key attributes an index projects, for a model given as projection."""
    assert isinstance(index.project, type)  # noqa: S101 - callers ask for models only
    keys = {requests.table.attribute_of(key) for key in [*requests.table.key_fields, *index.keys]}
    return [name for name in requests.projected(index.project) if name not in keys]


def counting(plan: Plan[Any]) -> dict[str, Any]:
    """Return the request that counts instead of returning items."""
    request = dict(plan.request)
    request.pop("ProjectionExpression", None)
    return {**request, "Select": "COUNT"}
