"""Results of a query or scan: lazy, resumable, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import ModelT, Table
from dynamodb_wrapper.repositories.arrow import Columns, to_pandas, to_polars
from dynamodb_wrapper.wire.arrow_misfits import Misfits, Quarantined
from dynamodb_wrapper.wire.batches import batch_get
from dynamodb_wrapper.wire.decoding import Batch, Found, ItemReader, stored_batch, stored_items
from dynamodb_wrapper.wire.flow import Flow, Progress, RateLimiter
from dynamodb_wrapper.wire.identity import key_in
from dynamodb_wrapper.wire.paging import (
    RawPage,
    fingerprint,
    make_token,
    parallel_pages,
    raw_pages,
    read_token,
)
from dynamodb_wrapper.wire.requests import Caller, Consumed

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from dynamodb_wrapper.wire.attributes import Item
    from dynamodb_wrapper.wire.bodies import Reply

T = TypeVar("T")

_LARGE_PAGE = 4096


@dataclass(frozen=True)
class Page(Generic[ModelT]):
    """Items that came together.

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
    """What a result sends and how it reads the answers.

    Attributes:
        operation: ``Query`` or ``Scan``.
        request: The request without a start key.
        reader: Reads the items.
        limit: Items returned at most.
        segments: Scan segments read side by side.
        whole: Whether each page's items are read whole from the table, because the index holds
            less than the model; consistently if asked for.
        consistent: For reading whole items.
        limiter: Holds requests back.
        on_progress: Is told how far a pass is.
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
        quarantined: What did not fit its column in the last pass with ``mismatch="quarantine"``.
    """

    def __init__(self, caller: Caller, table: Table[Any], plan: Plan[ModelT]) -> None:
        if plan.limit is not None and plan.limit < 1:
            raise ValidationError(
                f"limit is {plan.limit}; it is the number of items wanted, from 1."
            )
        self._caller = caller
        self._table = table
        self._plan = plan
        self.consumed = Consumed()
        self.quarantined: list[Quarantined] = []

    def __iter__(self) -> Iterator[ModelT]:
        for page in self.pages():
            yield from page.items

    def first(self) -> ModelT | None:
        """Return the first item, None where there is none; reads no further page than needed."""
        return next(iter(self), None)

    def all(self) -> list[ModelT]:
        """Return every item; mind the memory."""
        return list(self)

    def to_arrow(
        self, *, schema: pyarrow.Schema | None = None, mismatch: Misfits = "raise"
    ) -> pyarrow.Table:
        """Return all items as an Arrow table, a column for each field; as `arrow_batches`."""
        columns = Columns(self._plan.reader, self._caller.table_name, schema, mismatch)
        return columns.table(self._batches(columns, None))

    def to_pandas(
        self,
        *,
        schema: pyarrow.Schema | None = None,
        mismatch: Misfits = "raise",
        **options: Any,
    ) -> pandas.DataFrame:
        """Return all items as a pandas DataFrame; as `arrow_batches`.

        Options are those of `pyarrow.Table.to_pandas`: ``types_mapper=pandas.ArrowDtype`` keeps
        whole numbers whole where some are null.
        """
        return to_pandas(self.to_arrow(schema=schema, mismatch=mismatch), options)

    def to_polars(
        self, *, schema: pyarrow.Schema | None = None, mismatch: Misfits = "raise"
    ) -> polars.DataFrame:
        """Return all items as a polars DataFrame; as `arrow_batches`."""
        frame: polars.DataFrame = to_polars(self.to_arrow(schema=schema, mismatch=mismatch))
        return frame

    def arrow_batches(
        self,
        *,
        schema: pyarrow.Schema | None = None,
        mismatch: Misfits = "raise",
        size: int | None = None,
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield one record batch per page; only one page is held at a time.

        The rows are those iterating gives, in the same order.

        Args:
            schema: The columns wanted, fields of the model, and their types; by itself all fields.
            mismatch: What becomes of an item that does not fit the model or its columns: ``raise``;
                ``null`` in the columns to blame; ``quarantine`` leaves it out and puts key, column
                and reason into `quarantined`.
            size: As in `pages`.

        Raises:
            IncompatibleItemError: An item does not fit; with ``null``, and no column is to blame.
            MissingDependencyError: A package is not installed; the command is named.
            ValidationError: The schema names what is no field.
        """
        columns = Columns(self._plan.reader, self._caller.table_name, schema, mismatch)
        return self._batches(columns, size)

    def _batches(self, columns: Columns[ModelT], size: int | None) -> Iterator[Any]:
        plan = self._plan
        self.consumed, self.quarantined = Consumed(), []
        left = plan.limit
        for raw in self._raw_pages(size, None, columns.reads(plan.whole, plan.keep)):
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
            size: Items DynamoDB evaluates per page, before filters; by itself up to 1 MB.
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
        """Yield how many items to evaluate per page; None leaves it to DynamoDB.

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

    def _models(self, found: Found[Any], used: Consumed) -> tuple[list[ModelT], list[int] | None]:
        """Return the models, and where each was among the items; None where all are there."""
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
        return self._read_whole(entries, used, read)[0]

    def _key_names(self) -> list[str]:
        return [self._table.attribute_of(name) for name in self._table.key_fields]

    def _read_whole(
        self, entries: list[Item], used: Consumed, read: Callable[[Reply, str], Batch[T]]
    ) -> tuple[list[T], list[int]]:
        """Read the items behind index entries, in their order; what is gone is left out."""
        names = self._key_names()
        keys = [key_in(entry, names) for entry in entries]
        extra = {"ConsistentRead": True} if self._plan.consistent else {}
        with self._caller.consumed() as meter:
            found = batch_get(self._caller, keys, extra, read)
        used.add(meter)
        there = [(item, number) for number, item in enumerate(found) if item is not None]
        return [item for item, _ in there], [number for _, number in there]

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
