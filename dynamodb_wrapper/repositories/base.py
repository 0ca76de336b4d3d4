"""Typed access to one table.

What reads and writes many items is imported when it is first used: a process that starts for a few
items does not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydantic import BaseModel

from dynamodb_wrapper.models import ModelT
from dynamodb_wrapper.repositories.items import ItemRepository
from dynamodb_wrapper.repositories.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.arrow_frames import Frame
    from dynamodb_wrapper.repositories.queries import Reading
    from dynamodb_wrapper.repositories.results import Results
    from dynamodb_wrapper.repositories.table_admin import Difference
    from dynamodb_wrapper.wire.decoding import Counts
    from dynamodb_wrapper.wire.flow import Progress, RateLimiter
    from dynamodb_wrapper.wire.requests import Consumed

SmallerT = TypeVar("SmallerT", bound=BaseModel)


class BaseDynamoRepository(ItemRepository[ModelT]):
    """Reads and writes the items of one table as models.

    Conditions and filters are boto3's ``Key`` and ``Attr``. A key is a value for a table with a
    partition key only, else a tuple or a dict. Everything raises the errors of
    `dynamodb_wrapper.exceptions`: besides those named below `ConnectionError`, `ThrottledError`,
    `AccessDeniedError` and `TableNotFoundError`. Safe to share between threads.

    Args:
        config: Where the table is.
        table: The declaration; concrete repositories bring their own.
        client: A boto3 DynamoDB client to use instead of the shared one of the config.
    """

    # ---- many items ----------------------------------------------------------------------------

    def put_many(
        self,
        items: Iterable[ModelT] | Frame,
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Store items, replacing what their keys hold; return how many DynamoDB accepted.

        Also the rows of a table: a pyarrow Table or RecordBatch, a pandas or polars DataFrame with
        a column for each field, in the form `Results.to_arrow` gives them. Null, and NaN in pandas,
        is None where the field admits it; else the field is left out and its default counts.

        A list, tuple or table is checked whole before the first request is sent. Anything else is
        taken as it is written, so that no more than the requests under way are in memory. Items are
        refreshed in place once stored. Those of one key are written in their order; of several that
        share a request only the last is sent and counted. 25 per request; what DynamoDB leaves
        unprocessed is resent. Costs as `put` for each. See: BatchWriteItem.

        Args:
            items: Models, or a table.
            workers: Requests under way at once, at most 256; by itself one where there are few of
                them, else four.
            rate: Write units per second, on average over seconds.
            on_progress: Called with a `Progress` after each request, in this thread.

        Raises:
            BatchWriteError: It stopped half way; what was taken and not written is in
                `unprocessed`. Safe to repeat.
            ValidationError: An item cannot be stored, or a row is no item; row and column are
                named, and nothing was sent.
        """
        from dynamodb_wrapper.repositories import many

        flow = many.flow_of(workers, rate, on_progress)
        return many.put(self._caller, self._requests, items, flow)

    def delete_many(
        self,
        keys: Iterable[Any],
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Delete the items of keys; return how many requests DynamoDB accepted.

        A key without an item counts as well. 25 per request. Costs as `delete` for each; checked
        and sent as by `put_many`. See: BatchWriteItem.

        Raises:
            BatchWriteError: It stopped half way; what was taken and not deleted is in
                `unprocessed`. Safe to repeat.
        """
        from dynamodb_wrapper.repositories import many

        flow = many.flow_of(workers, rate, on_progress)
        return many.delete(self._caller, self._requests, keys, flow)

    @overload
    def query(
        self,
        partition: Any,
        *,
        sort: ConditionBase | None = ...,
        index: str | None = ...,
        where: ConditionBase | None = ...,
        limit: int | None = ...,
        descending: bool = ...,
        consistent: bool = ...,
        into: None = ...,
        rate: float | RateLimiter | None = ...,
        on_progress: Callable[[Progress], object] | None = ...,
    ) -> Results[ModelT]: ...
    @overload
    def query(
        self,
        partition: Any,
        *,
        sort: ConditionBase | None = ...,
        index: str | None = ...,
        where: ConditionBase | None = ...,
        limit: int | None = ...,
        descending: bool = ...,
        consistent: bool = ...,
        into: type[SmallerT],
        rate: float | RateLimiter | None = ...,
        on_progress: Callable[[Progress], object] | None = ...,
    ) -> Results[SmallerT]: ...
    def query(
        self,
        partition: Any,
        *,
        sort: ConditionBase | None = None,
        index: str | None = None,
        where: ConditionBase | None = None,
        limit: int | None = None,
        descending: bool = False,
        consistent: bool = False,
        into: type[BaseModel] | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Any:
        """Return the items of one partition, lazily and in the order of the sort key.

        Costs half a read unit per 4 KB *evaluated*, a whole one when consistent; what a filter
        leaves out is paid for. An index that holds less than the model is followed by reading the
        items from the table (BatchGetItem, half a read unit each). Companion items and items
        whose TTL has passed are left out. See: Query.

        Args:
            partition: Value of the partition key, of the table or of the index.
            sort: Condition on the sort key: ``Key("order_id").begins_with("2026-")``.
            index: Name of a declared index; indexes are eventually consistent.
            where: Filter applied after the key condition.
            limit: Items returned at most, whatever the filter leaves out.
            descending: Whether the order is reversed.
            consistent: Reads the newest state; not possible on an index.
            into: A smaller model; only its attributes are transferred.
            rate: Read units per second, on average over seconds.
            on_progress: Called with a `Progress` after each reply, in the thread that iterates.

        Raises:
            IndexNotFoundError: The table lacks the index.
            ValidationError: Wrong key, unknown field, undeclared index.
        """
        from dynamodb_wrapper.repositories.queries import Reading

        reading = Reading(
            index=index,
            where=where,
            limit=limit,
            descending=descending,
            consistent=consistent,
            into=into,
            rate=rate,
            on_progress=on_progress,
        )
        return self._results(partition, sort, reading)

    @overload
    def scan(
        self,
        *,
        where: ConditionBase | None = ...,
        index: str | None = ...,
        limit: int | None = ...,
        segments: int = ...,
        consistent: bool = ...,
        into: None = ...,
        rate: float | RateLimiter | None = ...,
        on_progress: Callable[[Progress], object] | None = ...,
    ) -> Results[ModelT]: ...
    @overload
    def scan(
        self,
        *,
        where: ConditionBase | None = ...,
        index: str | None = ...,
        limit: int | None = ...,
        segments: int = ...,
        consistent: bool = ...,
        into: type[SmallerT],
        rate: float | RateLimiter | None = ...,
        on_progress: Callable[[Progress], object] | None = ...,
    ) -> Results[SmallerT]: ...
    def scan(
        self,
        *,
        where: ConditionBase | None = None,
        index: str | None = None,
        limit: int | None = None,
        segments: int = 1,
        consistent: bool = False,
        into: type[BaseModel] | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Any:
        """Return the items of the whole table, lazily and in no order.

        Evaluates, and costs, the whole table whatever the filter: half a read unit per 4 KB.

        Args:
            where: Filter.
            index: Scans an index instead.
            limit: Items returned at most.
            segments: Parts that are read side by side, in as many threads; at most 256.
            consistent: Reads the newest state; not possible on an index.
            into: A smaller model; only its attributes are transferred.
            rate: Read units per second, on average over seconds.
            on_progress: Called with a `Progress` after each reply, in the thread that iterates.

        See: Scan
        """
        from dynamodb_wrapper.repositories.queries import Queries, Reading
        from dynamodb_wrapper.repositories.results import Results

        reading = Reading(
            index=index,
            where=where,
            limit=limit,
            segments=segments,
            consistent=consistent,
            into=into,
            rate=rate,
            on_progress=on_progress,
        )
        return Results(self._caller, self.table, Queries(self._requests).scan(reading))

    def count(
        self,
        partition: Any,
        *,
        sort: ConditionBase | None = None,
        index: str | None = None,
        where: ConditionBase | None = None,
    ) -> int:
        """Return how many items a query finds, without transferring them.

        Costs as the query: counting reads everything. On an index that lacks the TTL, items
        whose TTL has passed are counted. See: Query with Select=COUNT.
        """
        from dynamodb_wrapper.repositories.queries import Queries, Reading, counting
        from dynamodb_wrapper.wire.decoding import stored_items
        from dynamodb_wrapper.wire.paging import raw_pages

        reading = Reading(index=index, where=where)
        request = counting(Queries(self._requests).query(partition, sort, reading))
        pages = raw_pages(self._caller, "Query", request, stored_items)
        return sum(page.found.count for page in pages)

    # ---- together ------------------------------------------------------------------------------

    def transaction(self, *, token: str | None = None) -> Transaction:
        """Return a transaction, which may span repositories of the same account and region.

        Used as a context manager: sent on a clean exit, dropped on an exception. Up to 100
        actions; each costs twice the units of a single write. See: TransactWriteItems.

        Args:
            token: Makes repeating the whole block within ten minutes harmless; at most 36
                characters, and only for the very same actions.
        """
        return Transaction(self._caller, token)

    def consumed(self) -> AbstractContextManager[Consumed]:
        """Return a context manager whose value counts the units this repository uses inside."""
        return self._caller.consumed()

    @property
    def decoded(self) -> Counts:
        """How many items this repository has read as models so far, by the way it was done.

        `compiled` counts those read by code made for the model, `walked` those that needed the
        general walk, which takes several times as long. Columns are not counted.
        """
        return self._requests.decoded

    # ---- the table -----------------------------------------------------------------------------

    def create_table(self, *, protect: bool | None = None) -> None:
        """Create the table with its indexes, or add what an existing one lacks, and wait for it.

        Idempotent. Billing is on demand; the call itself costs no units.

        Args:
            protect: Deletion protection and point-in-time recovery; on unless the endpoint is
                on this machine.

        Raises:
            ValidationError: The table exists with another key.

        See: CreateTable, UpdateTable, UpdateTimeToLive, UpdateContinuousBackups
        """
        from dynamodb_wrapper.repositories import table_admin

        wanted = not self.config.is_local if protect is None else protect
        table_admin.create(self._caller, self._requests, protect=wanted)

    def check_table(self) -> list[Difference]:
        """Return how the table differs from its declaration; empty when it does not.

        Costs no units. See: DescribeTable, DescribeTimeToLive
        """
        from dynamodb_wrapper.repositories import table_admin

        return table_admin.check(self._caller, self._requests)

    def _results(
        self, partition: Any, sort: ConditionBase | None, reading: Reading
    ) -> Results[Any]:
        from dynamodb_wrapper.repositories.queries import Queries
        from dynamodb_wrapper.repositories.results import Results

        plan = Queries(self._requests).query(partition, sort, reading)
        return Results(self._caller, self.table, plan)
