"""Typed access to single items of a table."""

from __future__ import annotations

import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from pydantic import BaseModel

from dynamodb_wrapper.config import Connection, DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    IncompatibleItemError,
    ItemNotFoundError,
    ValidationError,
)
from dynamodb_wrapper.models import ModelT, Table
from dynamodb_wrapper.repositories.item_requests import ItemRequests, Write
from dynamodb_wrapper.repositories.refusals import explain_refusal, landed_before
from dynamodb_wrapper.wire.codec import plain
from dynamodb_wrapper.wire.requests import Caller, botocore_error
from dynamodb_wrapper.wire.updates import CheckedChanges, check_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.wire.attributes import Item
    from dynamodb_wrapper.wire.flow import Progress, RateLimiter
    from dynamodb_wrapper.wire.paths import Path

SmallerT = TypeVar("SmallerT", bound=BaseModel)
logger = logging.getLogger(__name__)


class ItemRepository(Generic[ModelT]):
    """Reads and writes single items; `BaseDynamoRepository` adds batches, queries and tables."""

    TABLE: ClassVar[Table[Any] | None] = None

    def __init__(
        self,
        config: DynamoDBConfig,
        table: Table[ModelT] | None = None,
        *,
        client: Any = None,
    ) -> None:
        declared = table or self.TABLE
        if declared is None:
            raise ValidationError(f"{type(self).__name__} needs a table: pass a Table.")
        self.config = config
        self.table: Table[ModelT] = declared
        self.table_name = config.table_name(declared.name)
        self._requests: ItemRequests[ModelT] = ItemRequests(
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

    # ---- single items --------------------------------------------------------------------------

    def create(self, item: ModelT) -> ModelT:
        """Store an item under a key that must be free.

        Costs a write unit per KB of the item and of its index entries, even when refused. When the
        reply to an attempt was lost and the SDK's next attempt finds an equal item, that counts as
        stored. The object is refreshed in place (version, time stamps) unless its model is frozen.

        Raises:
            ItemAlreadyExistsError: The key holds an item.
            ItemTooLargeError: Over 400 KB.
            ValidationError: The item cannot be stored.

        See: PutItem
        """
        write = self._create_write(item)
        self._send(write, created=True)
        return refreshed(item, write.values)

    def put(self, item: ModelT, *, condition: ConditionBase | None = None) -> ModelT:
        """Store an item, replacing what the key holds.

        Costs a write unit per KB of the larger of both, and of changed index entries, even when
        refused. See: PutItem.

        Raises:
            ConditionFailedError: The condition did not hold.
            ItemTooLargeError: Over 400 KB.
        """
        write = self._put_write(item, condition)
        self._send(write)
        return refreshed(item, write.values)

    @overload
    def get(self, key: Any, *, consistent: bool = ..., into: None = ...) -> ModelT | None: ...
    @overload
    def get(self, key: Any, *, consistent: bool = ..., into: type[SmallerT]) -> SmallerT | None: ...
    def get(
        self, key: Any, *, consistent: bool = False, into: type[BaseModel] | None = None
    ) -> Any:
        """Return the item of a key, None when there is none or its TTL has passed.

        Costs half a read unit per 4 KB of the item, a whole one when consistent; a smaller model
        to read into saves transfer, not units. See: GetItem.

        Raises:
            IncompatibleItemError: The stored item does not fit the model.
        """
        stored_key, request = self._requests.get(key, consistent=consistent, projection=into)
        if not self._is_own(stored_key):
            return None
        reply = self._caller.fetch("GetItem", request, key=plain(stored_key))
        found = self._requests.reader_of(into or self.table.model).one(reply)
        self._caller.measure("GetItem", found.capacity)
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
            workers: Requests under way at once, at most 256; by itself one where there are few of
                them, else four.
            rate: Read units per second, on average over seconds; none is lost.
            on_progress: Called with a `Progress` after each reply, in this thread.
        """
        from dynamodb_wrapper.wire.batches import batch_get  # loads what threads need
        from dynamodb_wrapper.wire.flow import Flow, limiter_of

        flow = Flow(workers, limiter_of(rate), on_progress)
        stored_keys = [self._requests.key(key) for key in keys]
        extra = {"ConsistentRead": True} if consistent else {}
        read = self._requests.reader.batch
        are_own = [self._is_own(key) for key in stored_keys]
        own = itertools.compress(stored_keys, are_own)
        found = batch_get(self._caller, list(own), extra, read, flow)
        in_order = iter(found)
        return [next(in_order) if is_own else None for is_own in are_own]

    def exists(self, key: Any, *, consistent: bool = False) -> bool:
        """Tell whether a key holds an item. Costs as `get`. See: GetItem."""
        stored_key, request = self._requests.get(key, consistent=consistent, projection=_Nothing)
        if not self._is_own(stored_key):
            return False
        item = self._caller.call("GetItem", request, key=plain(stored_key)).get("Item")
        return bool(item) and not self._requests.guards.is_expired(item or {})

    def _is_own(self, key: Item) -> bool:  # noqa: ARG002
        """Tell whether a key can hold an item of the model; other kinds live beside some."""
        return True

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
        condition: ConditionBase | None = None,
        upsert: bool = False,
    ) -> ModelT:
        """Change an item in place and return it as it is now; nothing is read before.

        With a model, every field is written on condition that nobody else wrote since it was read
        (where the table declares a version), and the object is refreshed in place, so that it can
        be changed and updated again. With a key, single fields are changed: a path is a field name
        or a tuple of field names, map keys and list positions. Values are checked against the
        model's fields. Costs a write unit per KB of the whole item, and of changed index entries,
        even when refused.

        Args:
            item_or_key: A model, or a key.
            set: Path to new value.
            remove: Paths to remove.
            add: Path to a number to add, or to a set to unite with; DynamoDB does the sum.
            append: Path to a list of values to append.
            condition: Must hold as well.
            upsert: Whether a missing item is created; then the changes must make a whole item.
                One whose TTL has passed is deleted first, in a request of its own.

        Raises:
            ItemNotFoundError: The key holds no item.
            VersionConflictError: Somebody else wrote the model since it was read.
            ConditionFailedError: The condition did not hold.
            IncompatibleItemError: The change is written, but the item does not fit the model.
            ValidationError: Unknown field, unfit value, or not all fields an index is made from.

        See: UpdateItem
        """
        if isinstance(item_or_key, self.table.model):
            if set or remove or add or append or upsert:
                raise ValidationError("Update a model, or a key with changes, not both.")
            return self._update_model(item_or_key, condition)
        self._requests.key(item_or_key)  # what is no key is told before what lacks changes
        changes = check_changes(self.table.model, set or {}, remove, add or {}, append or {})
        write = self._update_write(item_or_key, changes, condition, upsert)
        response = self._upsert(write) if upsert else self._send(write)
        return self._decode_written(response["Attributes"])

    def delete(
        self, key_or_item: Any, *, condition: ConditionBase | None = None, must_exist: bool = False
    ) -> ModelT | None:
        """Delete an item and return what it was, None when there was none or its TTL has passed.

        A model is deleted only in the version it was read in, where the table declares one. Costs a
        write unit per KB of the item and of its index entries, and one where there is none.

        Raises:
            ItemNotFoundError: `must_exist` and there is none.
            VersionConflictError: Somebody else wrote the model since it was read.
            ConditionFailedError: The condition did not hold.

        See: DeleteItem
        """
        old = self._send(self._delete_write(key_or_item, condition, must_exist)).get("Attributes")
        if not old or self._requests.guards.is_expired(old):
            return None
        try:
            return self._decode(old)
        except IncompatibleItemError as error:
            logger.warning("The item is deleted; it cannot be returned. %s", error)
            return None

    # ---- for concrete repositories and transactions ----------------------------------------------

    def _create_write(self, item: ModelT) -> Write:
        return self._requests.create(item)

    def _put_write(self, item: ModelT, condition: ConditionBase | None) -> Write:
        return self._requests.put(item, condition)

    def _update_model_write(self, item: ModelT, condition: ConditionBase | None) -> Write:
        return self._requests.update_model(item, condition)

    def _update_write(
        self, key: Any, changes: CheckedChanges, condition: ConditionBase | None, upsert: bool
    ) -> Write:
        return self._requests.update_key(key, changes, condition, upsert)

    def _delete_write(self, key: Any, condition: ConditionBase | None, must_exist: bool) -> Write:
        return self._requests.delete(key, condition, must_exist)

    def _check_write(self, key: Any, condition: ConditionBase) -> Write:
        return self._requests.check(key, condition)

    def _update_model(self, item: ModelT, condition: ConditionBase | None) -> ModelT:
        write = self._update_model_write(item, condition)
        fresh = self._decode_written(self._send(write)["Attributes"])
        return refreshed(item, dict(fresh))

    def _decode(self, item: Mapping[str, Any]) -> ModelT:
        return self._requests.codec.decode(item)

    def _upsert(self, write: Write) -> dict[str, Any]:
        """Send an upsert; what is left of an expired item does not live on in the new one."""
        try:
            return self._send(write)
        except ConditionFailedError as error:
            found = botocore_error(error.__cause__ or error).get("Item")
            if not found or not self._requests.guards.is_expired(found):
                raise
        request = self._requests.delete_expired(write.key)
        with contextlib.suppress(ConditionFailedError):  # somebody else replaced it
            self._caller.call("DeleteItem", request, key=write.plain_key)
        return self._send(write)

    def _decode_written(self, item: Mapping[str, Any]) -> ModelT:
        """Return the model of an item after an update, which an error must not deny."""
        try:
            return self._decode(item)
        except IncompatibleItemError as error:
            raise IncompatibleItemError(
                f"The change was written; the item cannot be returned. {error}",
                table_name=self.table_name,
                key=error.key,
                operation="UpdateItem",
                errors=error.errors(),
            ) from error

    def _send(self, write: Write, *, created: bool = False) -> dict[str, Any]:
        operation = {"put": "PutItem", "update": "UpdateItem", "delete": "DeleteItem"}[write.verb]
        try:
            return self._caller.call(operation, write.request, key=write.plain_key)
        except ConditionFailedError as error:
            landed = landed_before(write, error)
            if landed is not None:
                return landed
            raise explain_refusal(write, error, self.table, created=created) from error

    def _not_found(self, key: Mapping[str, Any], operation: str) -> ItemNotFoundError:
        shown = self._requests.codec.key_of(key)
        return ItemNotFoundError(
            f"Table {self.table_name!r} holds no item with the key {shown}.",
            table_name=self.table_name,
            key=shown,
            operation=operation,
        )


class _Nothing(BaseModel):
    """Reads keys only."""


def refreshed(item: ModelT, values: dict[str, Any]) -> ModelT:
    """Return the caller's object with what was stored; a copy where its model is frozen."""
    if item.model_config.get("frozen"):
        return item.model_copy(update=values)
    extra = item.model_extra
    for name, value in values.items():
        is_extra = extra is not None and name not in type(item).model_fields
        (extra if extra is not None and is_extra else item.__dict__)[name] = value
    item.model_fields_set.update(values)
    return item
