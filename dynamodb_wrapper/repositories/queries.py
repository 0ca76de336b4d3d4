"""Plan Query and Scan requests from conditions, and read their results lazily."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from pydantic import BaseModel

from dynamodb_wrapper.arrow.frames import ColumnReader, to_pandas, to_polars
from dynamodb_wrapper.aws.batches import batch_get
from dynamodb_wrapper.aws.calls import Caller, Consumed
from dynamodb_wrapper.aws.concurrency import MAX_WORKERS, Flow, Progress, RateLimiter, limiter_of
from dynamodb_wrapper.aws.paging import (
    RawPage,
    fingerprint,
    make_token,
    parallel_pages,
    raw_pages,
    read_token,
)
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.table import Derived, GlobalIndex, ModelT, Table
from dynamodb_wrapper.serialization.annotations import fields_of
from dynamodb_wrapper.serialization.decoder import (
    DecodedBatch,
    DecodedPage,
    ItemReader,
    stored_batch,
    stored_items,
)
from dynamodb_wrapper.serialization.expressions import Expressions
from dynamodb_wrapper.serialization.field_values import encode_key, encode_operand
from dynamodb_wrapper.serialization.kinds import listed_kind
from dynamodb_wrapper.serialization.paths import resolve
from dynamodb_wrapper.serialization.problems import Mismatch, Quarantined
from dynamodb_wrapper.serialization.values import key_in

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.item_requests import ItemRequests
    from dynamodb_wrapper.serialization.json_body import Reply
    from dynamodb_wrapper.serialization.kinds import ItemKind
    from dynamodb_wrapper.serialization.values import Item

T = TypeVar("T")
_LARGE_PAGE = 4096
_LARGEST_PAGE = 2**31 - 1


@dataclass(frozen=True)
class Page(Generic[ModelT]):
    """Items of one reply.

    Attributes:
        items: Models, possibly none although more follow.
        next_token: Resumes after the last item; None at the end, and for a scan of several
            segments.
        consumed: What the page consumed.
    """

    items: list[ModelT]
    next_token: str | None
    consumed: Consumed


@dataclass(frozen=True)
class Plan(Generic[ModelT]):
    """The request of a result, and how to read the replies.

    Attributes:
        operation: ``Query`` or ``Scan``.
        request: The request without a start key.
        reader: Reads the items.
        limit: Items returned at most.
        segments: Scan segments read side by side.
        whole: Whether each page's items are read whole from the table, because the index holds
            less than the model; consistently if asked for.
        consistent: For reading whole items.
        limiter: Limits the rate of requests.
        on_progress: Called with a `Progress` after each reply.
        keep: Leaves out items after decoding; None keeps all.
    """

    operation: str
    request: dict[str, Any]
    reader: ItemReader[ModelT]
    limit: int | None = None
    segments: int = 1
    whole: bool = False
    consistent: bool = False
    limiter: RateLimiter | None = None
    on_progress: Callable[[Progress], object] | None = None
    keep: Callable[[ModelT], bool] | None = field(default=None, compare=False)


class Results(Generic[ModelT]):
    """Models of a query or scan. Nothing is sent before they are asked for; each pass sends anew.

    Attributes:
        consumed: What the last pass consumed so far.
        quarantined: Items that did not fit in the last pass with ``mismatch="quarantine"``.
    """

    def __init__(self, caller: Caller, table: Table[Any], plan: Plan[ModelT]) -> None:
        self._caller = caller
        self._table = table
        self._plan = plan
        self.consumed = Consumed()
        self.quarantined: list[Quarantined] = []

    def __iter__(self) -> Iterator[ModelT]:
        for page in self.pages():
            yield from page.items

    def first(self) -> ModelT | None:
        """Return the first item, None without one; reads no more pages than needed."""
        return next(iter(self), None)

    def all(self) -> list[ModelT]:
        """Return every item; all are in memory at once."""
        return list(self)

    def to_arrow(
        self, *, schema: pyarrow.Schema | None = None, mismatch: Mismatch = "raise"
    ) -> pyarrow.Table:
        """Return all items as an Arrow table, a column for each field; as `arrow_batches`."""
        columns = self._column_reader(schema, mismatch)
        return columns.table(self._batches(columns, None))

    def to_pandas(
        self,
        *,
        schema: pyarrow.Schema | None = None,
        mismatch: Mismatch = "raise",
        **options: Any,
    ) -> pandas.DataFrame:
        """Return all items as a pandas DataFrame; as `arrow_batches`.

        Options are those of `pyarrow.Table.to_pandas`: ``types_mapper=pandas.ArrowDtype`` keeps
        whole numbers whole where some are null.
        """
        return to_pandas(self.to_arrow(schema=schema, mismatch=mismatch), options)

    def to_polars(
        self, *, schema: pyarrow.Schema | None = None, mismatch: Mismatch = "raise"
    ) -> polars.DataFrame:
        """Return all items as a polars DataFrame; as `arrow_batches`."""
        frame: polars.DataFrame = to_polars(self.to_arrow(schema=schema, mismatch=mismatch))
        return frame

    def arrow_batches(
        self,
        *,
        schema: pyarrow.Schema | None = None,
        mismatch: Mismatch = "raise",
        size: int | None = None,
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield one record batch per page; only one page is held at a time.

        The rows are those iterating gives, in the same order.

        Args:
            schema: The columns wanted, fields of the model, and their types; all fields by default.
            mismatch: How to treat an item that does not fit the model or its columns: ``raise``;
                ``null`` in the columns at fault; ``quarantine`` leaves it out and puts key, column
                and reason into `quarantined`.
            size: As in `pages`.

        Raises:
            IncompatibleItemError: An item does not fit; with ``null``, no column is at fault.
            MissingDependencyError: A package is not installed; the command is named.
            ValidationError: The schema names an unknown field.
        """
        return self._batches(self._column_reader(schema, mismatch), size)

    def _column_reader(
        self, schema: pyarrow.Schema | None, mismatch: Mismatch
    ) -> ColumnReader[ModelT]:
        plan, table_name = self._plan, self._caller.table_name
        return ColumnReader(
            plan.reader, table_name, schema, mismatch, whole=plan.whole, keep=plan.keep
        )

    def _batches(self, columns: ColumnReader[ModelT], size: int | None) -> Iterator[Any]:
        plan = self._plan
        self.consumed, self.quarantined = Consumed(), []
        left = plan.limit
        for raw in self._raw_pages(size, None, columns.read):
            used = Consumed()
            used.add(raw.consumed)
            entries = raw.found.models
            page = columns.page(self._stored(entries, used) if plan.whole else entries)
            self.consumed.add(used)
            self.quarantined += page.quarantined
            batch = page.batch.slice(0, left)
            yield batch
            left = None if left is None else left - batch.num_rows
            if left == 0:
                return

    def pages(self, *, size: int | None = None, start: str | None = None) -> Iterator[Page[ModelT]]:
        """Yield page by page.

        Args:
            size: Items DynamoDB evaluates per page, before filters; up to 1 MB by default.
            start: Token of a page; iteration resumes after it, without gap or duplicate.

        Raises:
            ValidationError: The token is damaged or of another table, index or query.
        """
        plan = self._plan
        self.consumed = Consumed()
        left = plan.limit
        for raw in self._raw_pages(size, start):
            page = self._page(raw, left)
            self.consumed.add(page.consumed)
            left = None if left is None else left - len(page.items)
            yield page
            if left == 0:
                return

    def _raw_pages(
        self, size: int | None, start: str | None, read: Any = None
    ) -> Iterator[RawPage[Any]]:
        plan = self._plan
        if size is not None:
            meaning = "the number of items evaluated per page, from 1"
            size = arguments.whole_number("size", size, meaning, most=_LARGEST_PAGE)
        if read is None:
            read = stored_items if plan.whole else plan.reader.page
        if plan.segments > 1:
            if start is not None:
                raise ValidationError("A scan of several segments cannot resume; use one segment.")
            request = plan.request if size is None else {**plan.request, "Limit": size}
            return parallel_pages(self._caller, request, read, self._flow(plan.segments))
        resume = None if start is None else read_token(start, *self._identity())
        sizes = self._sizes(size)
        return raw_pages(
            self._caller, plan.operation, plan.request, read, sizes, resume, self._flow(1)
        )

    def _flow(self, workers: int) -> Flow:
        return Flow(workers, self._plan.limiter, self._plan.on_progress)

    def _sizes(self, size: int | None) -> Iterator[int | None]:
        """Yield the number of items to evaluate per page; None leaves it to DynamoDB.

        With a limit it begins at the limit, so that a short answer is cheap, and doubles, so that
        a filter that rejects much does not cost many requests.
        """
        if size is not None or self._plan.limit is None:
            yield from repeat(size)
        evaluated = self._plan.limit or 0
        while evaluated < _LARGE_PAGE:
            yield evaluated
            evaluated *= 2
        yield from repeat(None)

    def _page(self, raw: RawPage[Any], left: int | None) -> Page[ModelT]:
        used = Consumed()
        used.add(raw.consumed)
        models, places = self._models(raw.found, used)
        last_key = raw.found.last_key
        if left is not None and len(models) > left:
            place = left - 1 if places is None else places[left - 1]
            models, last_key = models[:left], self._key_of(raw.reply.parsed()["Items"][place])
        token = None
        if last_key is not None and self._plan.segments == 1:
            token = make_token(*self._identity(), last_key)
        return Page(models, token, used)

    def _models(
        self, found: DecodedPage[Any], used: Consumed
    ) -> tuple[list[ModelT], list[int] | None]:
        """Return the models, and the place of each among the items; None if all were kept."""
        models, places = found.models, found.places
        if self._plan.whole:
            models, places = self._read_whole(models, used, self._plan.reader.batch)
        keep = self._plan.keep
        if keep is None:
            return models, places
        kept = [number for number, model in enumerate(models) if keep(model)]
        places = kept if places is None else [places[number] for number in kept]
        return [models[number] for number in kept], places

    def _stored(self, entries: list[Item], used: Consumed) -> list[Item]:
        """Return the items behind index entries as they are stored."""
        read = partial(stored_batch, self._key_names())
        found = self._read_whole(entries, used, read)[0]
        kind = self._plan.reader.codec.kind
        return found if kind is None else [item for item in found if kind.holds(item)]

    def _key_names(self) -> list[str]:
        return [self._table.attribute_of(name) for name in self._table.key_fields]

    def _read_whole(
        self, entries: list[Item], used: Consumed, read: Callable[[Reply, str], DecodedBatch[T]]
    ) -> tuple[list[T], list[int]]:
        """Read the items behind index entries, in their order; deleted ones are left out."""
        names = self._key_names()
        keys = [key_in(entry, names) for entry in entries]
        extra = {"ConsistentRead": True} if self._plan.consistent else {}
        with self._caller.consumed() as meter:
            found = batch_get(self._caller, keys, extra, read)
        used.add(meter)
        kept = [(item, number) for number, item in enumerate(found) if item is not None]
        return [item for item, _ in kept], [number for _, number in kept]

    def _key_of(self, entry: Item) -> Item:
        index = self._plan.request.get("IndexName")
        names = self._key_names()
        if index is not None:
            names += [self._table.attribute_of(key) for key in self._table.index(index).keys]
        return key_in(entry, names)

    def _identity(self) -> tuple[str, str | None, str]:
        request = self._plan.request
        mark = fingerprint(self._plan.operation, request)
        return request["TableName"], request.get("IndexName"), mark


@dataclass(frozen=True)
class Reading:
    """Options of a query or scan; `BaseDynamoRepository.query` documents them."""

    index: str | None = None
    filter: ConditionBase | None = None
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
        self._kind = listed_kind(requests.table)

    def query(self, partition: Any, sort: ConditionBase | None, reading: Reading) -> Plan[Any]:
        """Return the plan of a Query."""
        index = None if reading.index is None else self._table.index(reading.index)
        expressions = Expressions(self._table)
        key = self._table if index is None else index
        conditions = [self._partition(expressions, key.partition_key, partition)]
        if sort is not None:
            conditions.append(self._sort(expressions, key.sort_key, sort))
        elif (kind := self._marks(key.sort_key)) is not None:
            conditions.append(kind.key_condition(expressions))
        request = {"KeyConditionExpression": " AND ".join(conditions)}
        if arguments.flag("descending", reading.descending):
            request["ScanIndexForward"] = False  # type: ignore[assignment]
        in_key = any(map(self._marks, self._table.key_fields if index is None else index.keys))
        return self._plan("Query", request, expressions, index, reading, in_key=in_key)

    def count(self, partition: Any, sort: ConditionBase | None, reading: Reading) -> dict[str, Any]:
        """Return the request of a Query that counts instead of returning items."""
        request = dict(self.query(partition, sort, reading).request)
        request.pop("ProjectionExpression", None)
        if reading.index is not None and self._requests.kind is not None:
            index = self._table.index(reading.index)
            if not self._holds_kind(index):
                raise ValidationError(
                    f"Index {index.name!r} does not hold {self._requests.kind.attribute!r}, so "
                    "items of other models would be counted. Project all attributes, or count "
                    "the items that query(index=...) returns."
                )
        return {**request, "Select": "COUNT"}

    def scan(self, reading: Reading) -> Plan[Any]:
        """Return the plan of a Scan."""
        index = None if reading.index is None else self._table.index(reading.index)
        return self._plan("Scan", {}, Expressions(self._table), index, reading)

    def _plan(
        self,
        operation: str,
        request: dict[str, Any],
        expressions: Expressions,
        index: GlobalIndex | None,
        reading: Reading,
        *,
        in_key: bool = False,
    ) -> Plan[Any]:
        request["TableName"] = self._requests.table_name
        limit = reading.limit
        if limit is not None:
            limit = arguments.whole_number("limit", limit, "the number of items wanted, from 1")
            limit = min(limit, sys.maxsize)  # pyarrow takes no larger number
        if reading.on_progress is not None:
            arguments.function("on_progress", reading.on_progress, "called with a Progress")
        segments = arguments.whole_number(
            "segments",
            reading.segments,
            f"the number of parts read side by side, each in a thread, 1 to {MAX_WORKERS}",
            most=MAX_WORKERS,
        )
        consistent = arguments.flag("consistent", reading.consistent)
        if index is not None:
            request["IndexName"] = index.name
        if consistent and index is None:
            request["ConsistentRead"] = True
        model = self._table.model if reading.into is None else reading.into
        arguments.model_class("into", model)
        whole = self._needs_whole(index, model)
        if consistent and index is not None and not whole:
            raise ValidationError(
                f"Index {index.name!r} cannot be read consistently: DynamoDB updates it later "
                "than the table. Query the table, or read the keys with get_many(consistent=True)."
            )
        filters = [self._filter(expressions, index, reading)]
        if not in_key and self._holds_kind(index):
            filters.append(self._requests.guards.listed_kind(expressions))
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
            limit=limit,
            segments=segments,
            whole=whole,
            consistent=consistent,
            keep=reading.keep,
            limiter=limiter_of(reading.rate),
            on_progress=reading.on_progress,
        )

    def _partition(self, expressions: Expressions, key: str | Derived, value: Any) -> str:
        attribute = self._table.attribute_of(key)
        if _is_condition(value):
            raise ValidationError(
                f"The partition key {attribute!r} is given as a value, not as a condition: "
                f"query(value), and a condition on the sort key as sort=."
            )
        if isinstance(key, Derived):
            if not isinstance(value, str) or not value:
                raise ValidationError(f"{attribute!r} is queried with a non-empty text.")
            encoded = {"S": value}
        else:
            if value is None or (isinstance(value, (str, bytes)) and not value):
                raise ValidationError(f"The partition key {attribute!r} is empty.")
            encoded = encode_key(resolve(self._table.model, key), value)
            tag = self._table.key_tag(key)
            if tag not in encoded:
                raise ValidationError(
                    f"The partition key {attribute!r} is of type {tag}, not {next(iter(encoded))}."
                )
            kind = self._marks(key)
            if kind is not None and not kind.holds({attribute: encoded}):
                kind.refuse({attribute: encoded}, self._table.model.__name__)
        return f"{expressions.path((attribute,))} = {expressions.value(encoded)}"

    def _sort(
        self, expressions: Expressions, key: str | Derived | None, condition: ConditionBase
    ) -> str:
        if key is None:
            raise ValidationError(
                f"Table {self._table.name!r} has no sort key here; use filter=Attr(...)."
            )
        probe = Expressions(self._table)
        probe.condition(condition)
        attribute = self._table.attribute_of(key)
        if probe.top_names() != {attribute}:
            raise ValidationError(
                f"sort= is a condition on the sort key {attribute!r}, not on "
                f"{', '.join(sorted(probe.top_names()))}; use filter=Attr(...)."
            )
        kind = self._marks(key)
        if kind is not None:
            return self._sort_within(kind, expressions, str(key), condition)
        return expressions.condition(condition)

    def _sort_within(
        self, kind: ItemKind, expressions: Expressions, key: str, condition: ConditionBase
    ) -> str:
        """Return a condition on a sort key that tells kinds apart, without other kinds."""
        from boto3.dynamodb.conditions import AttributeBase, ConditionBase

        parts = condition.get_expression()
        if any(isinstance(part, (AttributeBase, ConditionBase)) for part in parts["values"][1:]):
            raise ValidationError(
                f"sort= is one comparison of {key!r} with texts: use between for two bounds."
            )
        target = resolve(self._table.model, key)
        encoded = [encode_operand(target, operand) for operand in parts["values"][1:]]
        operands = [value["S"] for value in encoded if isinstance(value.get("S"), str)]
        if len(operands) < len(encoded):
            raise ValidationError(f"sort= compares {key!r} with something that is no text.")
        bounds = kind.narrowed(parts["operator"], operands)
        if bounds is None:
            return expressions.condition(condition)
        first, last = (expressions.value({"S": bound}) for bound in bounds)
        return f"{expressions.path((kind.attribute,))} BETWEEN {first} AND {last}"

    def _marks(self, key: str | Derived | None) -> ItemKind | None:
        """Return the kind of the items where a key of what is queried tells it; else None."""
        declared = self._table.kind
        is_mark = declared is not None and not isinstance(key, Derived) and key == declared.name
        return self._kind if is_mark else None

    def _holds_kind(self, index: GlobalIndex | None) -> bool:
        """Return whether what is read has the attribute that tells the kinds apart."""
        kind = self._kind
        return kind is not None and (index is None or kind.attribute in self._held_by(index))

    def _filter(
        self,
        expressions: Expressions,
        index: GlobalIndex | None,
        reading: Reading,
    ) -> str | None:
        if reading.filter is None:
            return None
        if index is not None and index.project != "all":
            probe = Expressions(self._table)
            probe.condition(reading.filter)
            absent = probe.top_names() - set(self._held_by(index))
            if absent:
                raise ValidationError(
                    f"Index {index.name!r} does not hold {', '.join(sorted(absent))}, so a filter "
                    "on it would find nothing."
                )
        return expressions.condition(reading.filter)

    def _unexpired(self, expressions: Expressions, index: GlobalIndex | None) -> str | None:
        ttl = self._table.ttl
        if ttl is None:
            return None
        held = index is None or self._table.attribute_of(ttl) in self._held_by(index)
        return self._requests.guards.unexpired(expressions) if held else None

    def _needs_whole(self, index: GlobalIndex | None, model: type[BaseModel]) -> bool:
        """Return whether an index lacks fields of the model, or what marks its items."""
        if index is None or index.project == "all":
            return False
        wanted = {shape.attribute for shape in fields_of(model)}
        if self._requests.kind is not None:
            wanted.add(self._requests.kind.attribute)
        return not wanted <= set(self._held_by(index))

    def _held_by(self, index: GlobalIndex) -> list[str]:
        keys = [*self._table.key_fields, *index.keys]
        names = [self._table.attribute_of(key) for key in keys]
        if index.project == "all":
            names += [shape.attribute for shape in fields_of(self._table.model)]
            if self._requests.kind is not None:
                names.append(self._requests.kind.attribute)
        elif index.project != "keys":
            names += projected_attributes(self._requests, index)
        return names

    def _index_attributes(self, index: GlobalIndex | None) -> tuple[str, ...]:
        if index is None:
            return ()
        return tuple(self._table.attribute_of(key) for key in index.keys)


def _is_condition(value: Any) -> bool:
    """Return whether a value is one of boto3's conditions, or the ``Key`` or ``Attr`` of one."""
    return type(value).__module__ == "boto3.dynamodb.conditions"


def projected_attributes(requests: ItemRequests[Any], index: GlobalIndex) -> list[str]:
    """Return the non-key attributes an index projects, for a model given as projection."""
    assert isinstance(index.project, type)  # noqa: S101 - callers ask for models only
    keys = {requests.table.attribute_of(key) for key in [*requests.table.key_fields, *index.keys]}
    return [name for name in requests.projected(index.project) if name not in keys]
