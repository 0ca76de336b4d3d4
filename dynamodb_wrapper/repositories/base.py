"""`BaseDynamoRepository`: typed access to one table."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from pydantic import BaseModel

from dynamodb_wrapper.aws.calls import Caller, botocore_error
from dynamodb_wrapper.aws.client import Connection
from dynamodb_wrapper.aws.paging import raw_pages
from dynamodb_wrapper.config.settings import DynamoDBConfig
from dynamodb_wrapper.exceptions.errors import (
    ConditionFailedError,
    IncompatibleItemError,
    ItemNotFoundError,
    ServiceError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.table import ModelT, Table
from dynamodb_wrapper.repositories.batch import (
    delete_items,
    flow_of,
    get_items,
    keys_of,
    put_items,
)
from dynamodb_wrapper.repositories.item_requests import ItemRequests
from dynamodb_wrapper.repositories.queries import Queries, Reading, Results
from dynamodb_wrapper.repositories.tables import (
    add_missing_parts,
    find_differences,
    layout_of,
)
from dynamodb_wrapper.repositories.transaction import Transaction
from dynamodb_wrapper.repositories.write_results import (
    explain_missing_parent,
    explain_refusal,
    landed_before,
    refreshed,
)
from dynamodb_wrapper.serialization.changes import check_changes, refuse_changes
from dynamodb_wrapper.serialization.codec import plain
from dynamodb_wrapper.serialization.decoder import stored_items
from dynamodb_wrapper.serialization.json_body import Reply, unreadable
from dynamodb_wrapper.serialization.values import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.arrow.frames import Frame
    from dynamodb_wrapper.aws.calls import Consumed
    from dynamodb_wrapper.aws.concurrency import Progress, RateLimiter
    from dynamodb_wrapper.repositories.item_requests import Write
    from dynamodb_wrapper.repositories.tables import Difference
    from dynamodb_wrapper.serialization.decoder import Counts
    from dynamodb_wrapper.serialization.paths import Path

logger = SafeLogger(__name__)
SmallerT = TypeVar("SmallerT", bound=BaseModel)
_OPERATIONS = {"put": "PutItem", "update": "UpdateItem", "delete": "DeleteItem"}


class _Nothing(BaseModel):
    """Reads keys only."""


class BaseDynamoRepository(Generic[ModelT]):
    """Reads and writes the items of one table as models.

    Conditions and filters are boto3's ``Key`` and ``Attr``. A key is a value for a table with a
    partition key only, else a tuple or a dict. Everything raises the errors of
    `dynamodb_wrapper.exceptions`: besides those named below `ConnectionError`, `ThrottledError`,
    `AccessDeniedError` and `TableNotFoundError`. Safe to share between threads.

    Args:
        config: Where the table is.
        table: The declaration; concrete repositories bring their own.
        client: A boto3 DynamoDB client to use instead of the shared one of the config.
        requests: Builds the requests; for concrete repositories that restrict writes.
    """

    TABLE: ClassVar[Table[Any] | None] = None

    def __init__(
        self,
        config: DynamoDBConfig,
        table: Table[ModelT] | None = None,
        *,
        client: Any = None,
        requests: ItemRequests[ModelT] | None = None,
    ) -> None:
        declared = self.TABLE if table is None else table
        if declared is None:
            raise ValidationError(f"{type(self).__name__} needs a table: pass a Table.")
        check_place(config, declared, client)
        self.config = config
        self.table: Table[ModelT] = declared
        self.table_name = config.table_name(declared.name)
        self._requests: ItemRequests[ModelT] = requests or ItemRequests(
            declared, self.table_name, config.actor_name(), config.item_environment
        )
        self._caller = Caller(
            Connection(config, client),
            self.table_name,
            config.operation_timeout_seconds,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config, self.table)  # clients stay; credentials as well

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.table_name!r})"

    @overload
    def get(self, key: Any, *, consistent: bool = ..., into: None = ...) -> ModelT | None: ...
    @overload
    def get(self, key: Any, *, consistent: bool = ..., into: type[SmallerT]) -> SmallerT | None: ...
    def get(
        self, key: Any, *, consistent: bool = False, into: type[BaseModel] | None = None
    ) -> Any:
        """Return the item of a key, None when there is none or its TTL has passed.

        An item of another kind (`Table.kind`) is not returned. Costs half a read unit per 4 KB of
        the item, a whole one when consistent; a smaller model to read into saves transfer, not
        units. See: GetItem.

        Raises:
            IncompatibleItemError: The stored item does not fit the model.
        """
        stored_key, request = self._requests.get(key, consistent=consistent, projection=into)
        if not self._requests.is_own(stored_key):
            return None
        reply = self._caller.fetch("GetItem", request, key=plain(stored_key))
        found = self._requests.reader_of(into or self.table.model).one(reply)
        self._caller.measure("GetItem", found.capacity)
        if found.key is not None and found.key != identity(stored_key):
            raise unreadable("it holds the item of another key than the one asked for")
        return found.model

    @overload
    def get_or_raise(self, key: Any, *, consistent: bool = ..., into: None = ...) -> ModelT: ...
    @overload
    def get_or_raise(
        self, key: Any, *, consistent: bool = ..., into: type[SmallerT]
    ) -> SmallerT: ...
    def get_or_raise(
        self, key: Any, *, consistent: bool = False, into: type[BaseModel] | None = None
    ) -> Any:
        """Return the item of a key. Costs as `get`. See: GetItem.

        Raises:
            ItemNotFoundError: The key holds no item.
        """
        found = self.get(key, consistent=consistent, into=into)
        if found is None:
            raise self._not_found(self._requests.key(key), "GetItem")
        return found

    def get_many(
        self,
        keys: Iterable[Any],
        *,
        consistent: bool = False,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> list[ModelT | None]:
        """Return the items of keys, in the order and number of the keys; None where there is none.

        Costs as `get` per distinct key; 100 keys per request. See: BatchGetItem.

        Args:
            keys: Keys, or models.
            consistent: Reads the newest state.
            workers: Requests under way at once, at most 256; by default one for few requests,
                else four.
            rate: Read units per second, on average over seconds; none is lost.
            on_progress: Called with a `Progress` after each reply, in this thread.
        """
        stored_keys = [self._requests.key(key) for key in keys_of("get_many", keys)]
        are_own = [self._requests.is_own(key) for key in stored_keys]
        own = list(itertools.compress(stored_keys, are_own))
        flow = flow_of(workers, rate, on_progress)
        is_consistent = arguments.flag("consistent", consistent)
        found = get_items(self._caller, self._requests, own, flow, consistent=is_consistent)
        in_order = iter(found)
        return [next(in_order) if is_own else None for is_own in are_own]

    def exists(self, key: Any, *, consistent: bool = False) -> bool:
        """Return whether a key holds an item. Costs as `get`. See: GetItem."""
        stored_key, request = self._requests.get(key, consistent=consistent, projection=_Nothing)
        if not self._requests.is_own(stored_key):
            return False
        item = self._caller.call("GetItem", request, key=plain(stored_key)).get("Item") or {}
        guards = self._requests.guards
        return bool(item) and guards.is_own(item) and not guards.is_expired(item)

    # ---- single writes ---------------------------------------------------------------------------

    def create(self, item: ModelT) -> ModelT:
        """Store an item under a key that must be free.

        Costs a write unit per KB of the item and of its index entries, even when refused. The
        object is refreshed in place (version, time stamps) unless its model is frozen.

        Raises:
            ItemAlreadyExistsError: The key holds an item. With `maybe_applied` it may be this one:
                the reply to an attempt was lost, and the SDK's next attempt met an item.
            ItemTooLargeError: Over 400 KB.
            ValidationError: The item cannot be stored.

        See: PutItem
        """
        write = self._requests.create(item)
        self._measured(write, self._send(write))
        return refreshed(item, write.values)

    def put(self, item: ModelT, *, condition: ConditionBase | None = None) -> ModelT:
        """Store an item, replacing what the key holds.

        Costs a write unit per KB of the larger of both, and of changed index entries, even when
        refused. See: PutItem.

        Raises:
            ConditionFailedError: The condition did not hold, or the item is of another kind.
            ItemTooLargeError: Over 400 KB.
        """
        write = self._requests.put(item, condition)
        self._measured(write, self._send(write))
        return refreshed(item, write.values)

    @overload
    def update(self, item: ModelT, /, *, condition: ConditionBase | None = ...) -> ModelT: ...
    @overload
    def update(
        self,
        key: Any,
        /,
        *,
        set: Mapping[Path, Any] | None = ...,
        remove: Sequence[Path] = ...,
        add: Mapping[Path, Any] | None = ...,
        append: Mapping[Path, Any] | None = ...,
        delete: Mapping[Path, Any] | None = ...,
        condition: ConditionBase | None = ...,
        upsert: bool = ...,
    ) -> ModelT: ...
    def update(
        self,
        item_or_key: Any,
        /,
        *,
        set: Mapping[Path, Any] | None = None,
        remove: Sequence[Path] = (),
        add: Mapping[Path, Any] | None = None,
        append: Mapping[Path, Any] | None = None,
        delete: Mapping[Path, Any] | None = None,
        condition: ConditionBase | None = None,
        upsert: bool = False,
    ) -> ModelT:
        """Change an item in place and return it as it is now; nothing is read before.

        With a model, every field is written on condition that the item is unchanged since it was
        read (where the table declares a version), and the object is refreshed in place, so that it
        can be changed and updated again. With a key, single fields are changed: a path is a field
        name or a tuple of field names, map keys and list positions. Values are checked against the
        model's fields. Costs a write unit per KB of the whole item, and of changed index entries,
        even when refused.

        `add` and `append` may be applied twice: when the reply to an attempt is lost (reset,
        time-out, error of the server), the SDK sends it again. Where that matters, use `set` on a
        table with a version, or declare a `write_token`.

        Args:
            item_or_key: A model, or a key.
            set: Path to new value.
            remove: Paths to remove.
            add: Path to a number to add, or to a set to unite with; DynamoDB does the sum. A
                timedelta counts in the unit the field is stored in.
            append: Path to a list of values to append.
            delete: Path to a set of values to take out of a set.
            condition: Must hold as well.
            upsert: Whether a missing item is created; then the changes must make a whole item.
                One whose TTL has passed is deleted first, in a separate request.

        Raises:
            ItemNotFoundError: The key holds no item.
            VersionConflictError: Another writer changed the item since it was read. With
                `maybe_applied` that may be an attempt of this call whose reply was lost.
            ConditionFailedError: The condition did not hold; `maybe_applied` as above.
            IncompatibleItemError: The change is written, but the item does not fit the model.
            ValidationError: Unknown field, unfit value, or not all fields an index is made from.

        See: UpdateItem
        """
        if isinstance(item_or_key, self.table.model):
            refuse_changes(set, remove, add, append, delete, arguments.flag("upsert", upsert))
            write = self._requests.update_model(item_or_key, condition)
            fresh = self._written(write, self._send(write))
            return refreshed(item_or_key, dict(fresh))
        self._requests.key(item_or_key)  # a wrong key is reported before missing changes
        changes = check_changes(self.table.model, set, remove, add, append, delete)
        write = self._requests.update_key(item_or_key, changes, condition, upsert)
        return self._written(write, self._upsert(write) if upsert else self._send(write))

    def delete(
        self, key_or_item: Any, *, condition: ConditionBase | None = None, must_exist: bool = False
    ) -> ModelT | None:
        """Delete an item and return what it was, None when there was none or its TTL has passed.

        A model is deleted only in the version it was read in, where the table declares one. Costs a
        write unit per KB of the item and of its index entries, and one where there is none.

        Raises:
            ItemNotFoundError: `must_exist` and there is none.
            VersionConflictError: Another writer changed the item since it was read.
            ConditionFailedError: The condition did not hold.

        See: DeleteItem
        """
        write = self._requests.delete(key_or_item, condition, must_exist)
        try:
            return self._returned(write, self._send(write), even_expired=False)
        except IncompatibleItemError as error:
            logger.warning("The item is deleted; it cannot be returned. %s", error)
            return None

    # ---- many items ----------------------------------------------------------------------------

    def put_many(
        self,
        items: Iterable[ModelT] | Frame,
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Store items, replacing what their keys hold; return the number DynamoDB accepted.

        Also the rows of a table: a pyarrow Table or RecordBatch, a pandas or polars DataFrame with
        a column for each field, in the form `Results.to_arrow` gives them. Null, and NaN in pandas,
        is None where the field admits it; else the field is left out and its default counts.

        A list, tuple or table is checked whole before the first request is sent. Anything else is
        read while it is written, so that only the requests under way are in memory. Items are
        refreshed in place once stored. Those of one key are written in their order; of several that
        share a request only the last is sent and counted. 25 per request; what DynamoDB leaves
        unprocessed is resent. An item of another kind (`Table.kind`) is replaced as well. Costs as
        `put` for each. See: BatchWriteItem.

        Args:
            items: Models, or a table.
            workers: Requests under way at once, at most 256; by default one for few requests,
                else four.
            rate: Write units per second, on average over seconds.
            on_progress: Called with a `Progress` after each request, in this thread.

        Raises:
            BatchWriteError: It stopped half way; what was read and not written is in
                `unprocessed`. Safe to repeat.
            ValidationError: An item cannot be stored, or a row cannot be read as one; row and
                column are named, and nothing was sent.
        """
        flow = flow_of(workers, rate, on_progress)
        return put_items(self._caller, self._requests, items, flow)

    def delete_many(
        self,
        keys: Iterable[Any],
        *,
        workers: int | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> int:
        """Delete the items of keys; return the number of requests DynamoDB accepted.

        A key without an item counts as well. 25 per request. Costs as `delete` for each; checked
        and sent as by `put_many`. See: BatchWriteItem.

        Raises:
            BatchWriteError: It stopped half way; what was read and not deleted is in
                `unprocessed`. Safe to repeat.
        """
        flow = flow_of(workers, rate, on_progress)
        return delete_items(self._caller, self._requests, keys, flow)

    @overload
    def query(
        self,
        partition: Any,
        *,
        sort: ConditionBase | None = ...,
        index: str | None = ...,
        filter: ConditionBase | None = ...,
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
        filter: ConditionBase | None = ...,
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
        filter: ConditionBase | None = None,
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
            filter: Condition on the items found, applied after the key condition.
            limit: Items returned at most, not counting what the filter leaves out.
            descending: Whether the order is reversed.
            consistent: Reads the newest state; not possible on an index.
            into: A smaller model; only its attributes are transferred.
            rate: Read units per second, on average over seconds.
            on_progress: Called with a `Progress` after each reply, in the thread that iterates.

        Raises:
            IndexNotFoundError: The table lacks the index.
            ValidationError: Wrong key, unknown field, undeclared index.
        """
        reading = Reading(
            index=index,
            filter=filter,
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
        filter: ConditionBase | None = ...,
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
        filter: ConditionBase | None = ...,
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
        filter: ConditionBase | None = None,
        index: str | None = None,
        limit: int | None = None,
        segments: int = 1,
        consistent: bool = False,
        into: type[BaseModel] | None = None,
        rate: float | RateLimiter | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Any:
        """Return the items of the whole table, lazily and in no order.

        Evaluates, and costs, the whole table with any filter: half a read unit per 4 KB.

        Args:
            filter: Condition on the items found.
            index: Scans an index instead.
            limit: Items returned at most.
            segments: Parts that are read side by side, in as many threads; at most 256.
            consistent: Reads the newest state; not possible on an index.
            into: A smaller model; only its attributes are transferred.
            rate: Read units per second, on average over seconds.
            on_progress: Called with a `Progress` after each reply, in the thread that iterates.

        See: Scan
        """
        reading = Reading(
            index=index,
            filter=filter,
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
        filter: ConditionBase | None = None,
    ) -> int:
        """Return the number of items that a query finds, without transferring them.

        Costs as the query: counting reads everything. On an index that lacks the TTL, items
        whose TTL has passed are counted. See: Query with Select=COUNT.
        """
        reading = Reading(index=index, filter=filter)
        request = Queries(self._requests).count(partition, sort, reading)
        pages = raw_pages(self._caller, "Query", request, stored_items)
        return sum(page.found.count for page in pages)

    # ---- together ------------------------------------------------------------------------------

    def transaction(self, *, token: str | None = None, at: datetime | None = None) -> Transaction:
        """Return a transaction, which may span repositories of the same account and region.

        Used as a context manager: sent on a clean exit, dropped on an exception. Up to 100
        actions; each costs twice the units of a single write. See: TransactWriteItems.

        Args:
            token: Makes repeating the whole block within ten minutes harmless; at most 36
                characters, used for one block only. The repetition must build the same actions:
                versions of new items are made from the token, time stamps and the time a TTL is
                compared with from its first use in this process, or from `at`. What the block
                itself takes from the clock, from chance or from items it reads again (a model
                with its new version) differs; that repetition is refused with a
                `ValidationError`, and nothing is written twice.
            at: The time of the block, for repetitions in another process, such as the time of the
                event it handles.
        """
        return Transaction(self._caller, token, at)

    def consumed(self) -> AbstractContextManager[Consumed]:
        """Return a context manager whose value counts the units this repository uses inside."""
        return self._caller.consumed()

    @property
    def decoded(self) -> Counts:
        """Number of items read as models so far, by decoder.

        `compiled` counts those read by code generated for the model, `generic` those that needed
        the generic decoder, which takes several times as long. Columns are not counted.
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
        wanted = not self.config.is_local if protect is None else protect
        arguments.flag("protect", wanted)
        add_missing_parts(self._caller, layout_of(self._requests), protect=wanted)

    def check_table(self) -> list[Difference]:
        """Return the differences between the table and its declaration; empty without any.

        Costs no units. See: DescribeTable, DescribeTimeToLive
        """
        return find_differences(self._caller, layout_of(self._requests))

    # ---- parts -----------------------------------------------------------------------------------

    def _results(
        self, partition: Any, sort: ConditionBase | None, reading: Reading
    ) -> Results[Any]:
        plan = Queries(self._requests).query(partition, sort, reading)
        return Results(self._caller, self.table, plan)

    def _not_found(self, key: Mapping[str, Any], operation: str) -> ItemNotFoundError:
        shown = self._requests.codec.key_of(key)
        return ItemNotFoundError(
            f"Table {self.table_name!r} holds no item with the key {shown}.",
            table_name=self.table_name,
            key=shown,
            operation=operation,
        )

    def _upsert(self, write: Write) -> Reply:
        """Send an upsert; an expired item is deleted first, so that none of it is kept."""
        try:
            return self._send(write)
        except ConditionFailedError as error:
            found = botocore_error(error.__cause__ or error).get("Item")
            if not found or not self._requests.guards.is_expired(found):
                raise
        request = self._requests.delete_expired(write.key)
        with contextlib.suppress(ConditionFailedError):  # another writer replaced it
            self._caller.call("DeleteItem", request, key=write.plain_key)
        return self._send(write)

    def _returned(self, write: Write, reply: Reply, *, even_expired: bool) -> ModelT | None:
        """Return the model of the item that a write returned."""
        try:
            found = self._requests.reader.returned(reply, even_expired=even_expired)
        except BaseException:  # the write has consumed its units all the same
            with contextlib.suppress(ServiceError):
                self._measured(write, reply)
            raise
        self._caller.measure(_OPERATIONS[write.verb], found.capacity)
        return found.model

    def _written(self, write: Write, reply: Reply) -> ModelT:
        """Return the model of an updated item; an error says that the change was written."""
        try:
            found = self._returned(write, reply, even_expired=True)
        except IncompatibleItemError as error:
            raise IncompatibleItemError(
                f"The change was written; the item cannot be returned. {error}",
                table_name=self.table_name,
                key=error.key,
                operation="UpdateItem",
                errors=error.errors(),
            ) from error
        if found is None:
            raise unreadable("it lacks the item that was updated")
        return found

    def _measured(self, write: Write, reply: Reply) -> None:
        self._caller.measure(_OPERATIONS[write.verb], reply.parsed().get("ConsumedCapacity"))

    def _send(self, write: Write) -> Reply:
        """Send a write; the caller measures the reply."""
        try:
            return self._caller.fetch(_OPERATIONS[write.verb], write.request, key=write.plain_key)
        except ConditionFailedError as error:
            landed = landed_before(write, error)
            if landed is not None:
                return Reply(None, landed)
            raise explain_refusal(write, error, self.table) from error
        except ValidationError as error:
            missing = explain_missing_parent(write, error)
            if missing is None:
                raise
            raise missing from error


def check_place(config: Any, table: Any, client: Any) -> None:
    """Refuse what is no config, no table or no client of boto3.

    Raises:
        ValidationError: It is named.
    """
    for name, value, kind in (("config", config, DynamoDBConfig), ("table", table, Table)):
        if not isinstance(value, kind):
            raise ValidationError(f"{name} is {arguments.shown(value)}; it is a {kind.__name__}.")
    if hasattr(getattr(client, "meta", None), "client"):
        raise ValidationError(
            "client is a resource of boto3; give the client inside of it: resource.meta.client."
        )
    if client is not None and (isinstance(client, type) or not hasattr(client, "meta")):
        raise ValidationError(
            f"client is {arguments.shown(client)}; it is a DynamoDB client: "
            'boto3.client("dynamodb").'
        )
