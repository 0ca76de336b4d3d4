"""Read the items of several models out of one partition of a table that they share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Union, overload

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import IncompatibleItemError, ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.repositories.base import BaseDynamoRepository
from dynamodb_wrapper.repositories.item_requests import ItemRequests
from dynamodb_wrapper.repositories.queries import Queries, Reading, Results
from dynamodb_wrapper.repositories.tables import common_layout, layout_of
from dynamodb_wrapper.serialization.codec import plain
from dynamodb_wrapper.serialization.decoder import DecodedPage, stored_items
from dynamodb_wrapper.serialization.json_body import Reply, write_body
from dynamodb_wrapper.serialization.kinds import declared_kind, refuse_overlaps
from dynamodb_wrapper.serialization.values import key_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.transaction import Repository
    from dynamodb_wrapper.serialization.decoder import ItemReader
    from dynamodb_wrapper.serialization.kinds import ItemKind
    from dynamodb_wrapper.serialization.values import Item

Unknown = Literal["skip", "raise"]
A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)
D = TypeVar("D", bound=BaseModel)


class Collection(Results[ModelT]):
    """Items of several models, in the order of the sort key; read as `Results`, without columns."""

    def _column_reader(self, schema: Any, mismatch: Any) -> NoReturn:  # noqa: ARG002
        raise ValidationError(
            "A collection holds several models, so it has no columns: query each repository, and "
            "use to_arrow, to_pandas or to_polars of its results."
        )


class _CollectionReader:
    """Reads pages that hold items of several kinds.

    Args:
        readers: The kinds asked for, and the readers of their models.
        table_name: The table as DynamoDB knows it.
        unknown: What becomes of an item of another kind.
    """

    def __init__(
        self, readers: Sequence[tuple[ItemKind, ItemReader[Any]]], table_name: str, unknown: Unknown
    ) -> None:
        self._readers = readers
        self._table_name = table_name
        self._unknown = unknown

    def page(self, reply: Reply) -> DecodedPage[Any]:
        """Return the models of a Query reply.

        Raises:
            IncompatibleItemError: An item does not fit its model, or is of an unknown kind.
        """
        page = stored_items(reply)
        places_of: list[list[int]] = [[] for _ in self._readers]
        for place, item in enumerate(page.models):
            number = self._number_of(item)
            if number is not None:
                places_of[number].append(place)
        found: dict[int, Any] = {}
        for (_, reader), places in zip(self._readers, places_of):
            if places:
                part = {"Items": [page.models[place] for place in places], "Count": len(places)}
                read = reader.page(Reply(None if reply.body is None else write_body(part), part))
                kept = places if read.places is None else [places[n] for n in read.places]
                found.update(zip(kept, read.models))
        kept = sorted(found)
        return DecodedPage(
            [found[place] for place in kept], kept, page.last_key, page.capacity, page.count
        )

    def _number_of(self, item: Item) -> int | None:
        for number, (kind, _) in enumerate(self._readers):
            if kind.holds(item):
                return number
        if self._unknown == "skip":
            return None
        kinds = [kind for kind, _ in self._readers]
        marks = ", ".join(dict.fromkeys(kind.found_in(item) for kind in kinds))
        key = plain(key_in(item, self._readers[0][1].codec.keys.names)) or {}
        raise IncompatibleItemError(
            f"The item {key} of table {self._table_name!r} is of none of the kinds "
            f"{', '.join(repr(kind.text) for kind in kinds)} ({marks}). Add the repository of its "
            "model, or pass unknown='skip'.",
            table_name=self._table_name,
            key=key,
            operation="Query",
        )


@overload
def query_collection(
    partition: Any,
    first: Repository[A],
    second: Repository[B],
    /,
    *,
    sort: ConditionBase | None = ...,
    index: str | None = ...,
    limit: int | None = ...,
    descending: bool = ...,
    consistent: bool = ...,
    unknown: Unknown = ...,
) -> Collection[Union[A, B]]: ...
@overload
def query_collection(
    partition: Any,
    first: Repository[A],
    second: Repository[B],
    third: Repository[C],
    /,
    *,
    sort: ConditionBase | None = ...,
    index: str | None = ...,
    limit: int | None = ...,
    descending: bool = ...,
    consistent: bool = ...,
    unknown: Unknown = ...,
) -> Collection[Union[A, B, C]]: ...
@overload
def query_collection(
    partition: Any,
    first: Repository[A],
    second: Repository[B],
    third: Repository[C],
    fourth: Repository[D],
    /,
    *,
    sort: ConditionBase | None = ...,
    index: str | None = ...,
    limit: int | None = ...,
    descending: bool = ...,
    consistent: bool = ...,
    unknown: Unknown = ...,
) -> Collection[Union[A, B, C, D]]: ...
@overload
def query_collection(
    partition: Any,
    /,
    *repositories: Repository[Any],
    sort: ConditionBase | None = ...,
    index: str | None = ...,
    limit: int | None = ...,
    descending: bool = ...,
    consistent: bool = ...,
    unknown: Unknown = ...,
) -> Collection[Any]: ...
def query_collection(
    partition: Any,
    /,
    *repositories: Repository[Any],
    sort: ConditionBase | None = None,
    index: str | None = None,
    limit: int | None = None,
    descending: bool = False,
    consistent: bool = False,
    unknown: Unknown = "skip",
) -> Collection[Any]:
    """Return the items of one partition as their own models, in the order of the sort key.

    One query for a customer and all orders. Costs half a read unit per 4 KB evaluated, a whole one
    when consistent; items of other models are paid for. Items whose TTL has passed are left out.

    Args:
        partition: Value of the partition key, of the table or of the index.
        repositories: Of one table; each declares a `kind`.
        sort: Condition on the sort key.
        index: Name of an index that the first repository declares; it must project everything.
        limit: Items returned at most.
        descending: Whether the order is reversed.
        consistent: Reads the newest state; not possible on an index.
        unknown: What becomes of items of other models: left out, or `IncompatibleItemError`.

    Raises:
        ValidationError: The repositories do not share a table, or one declares no kind.

    See: Query
    """
    if not isinstance(unknown, str) or unknown not in ("skip", "raise"):
        raise ValidationError(f"unknown is {arguments.shown(unknown)}; it is 'skip' or 'raise'.")
    readers = _readers(repositories)
    first = repositories[0]._requests
    if index is not None and first.table.index(index).project != "all":
        raise ValidationError(
            f"Index {index!r} does not project everything, so it cannot return several models; "
            "query each repository."
        )
    # Without a kind the query finds all items of the partition.
    requests = ItemRequests(
        replace(first.table, kind=None), first.table_name, first.actor, first.environment
    )
    reading = Reading(index=index, limit=limit, descending=descending, consistent=consistent)
    plan = Queries(requests).query(partition, sort, reading)
    reader: Any = _CollectionReader(readers, first.table_name, unknown)
    return Collection(repositories[0]._caller, requests.table, replace(plan, reader=reader))


def _readers(
    repositories: Sequence[Repository[Any]],
) -> list[tuple[ItemKind, ItemReader[Any]]]:
    """Return kind and reader of each repository; refuse those that do not share a table."""
    if not repositories:
        raise ValidationError("A collection needs repositories: pass those of its models.")
    for repository in repositories:
        if not isinstance(repository, BaseDynamoRepository):
            raise ValidationError(
                f"A collection is read with repositories, not with a {type(repository).__name__}."
            )
    all_requests = [repository._requests for repository in repositories]
    names = {requests.table_name for requests in all_requests}
    if len(names) > 1:
        raise ValidationError(
            f"A collection is read from one table, not from {', '.join(sorted(names))}: give the "
            "declarations one name."
        )
    refuse_overlaps(requests.table for requests in all_requests)
    common_layout(all_requests[0].table.name, [layout_of(requests) for requests in all_requests])
    readers = []
    for requests in all_requests:
        kind = declared_kind(requests.table)
        if kind is None:
            raise ValidationError(
                f"Table {requests.table.name!r} of {requests.table.model.__name__} declares no "
                "kind, so its items cannot be told from others: pass kind=Discriminator(...) or "
                "kind=KeyPrefix(...)."
            )
        readers.append((kind, requests.reader))
    return sorted(readers, key=lambda found: found[0].is_default)
