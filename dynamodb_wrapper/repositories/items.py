"""Typed access to single items of a table."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, overload

from dynamodb_wrapper.config import unreadable
from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    IncompatibleItemError,
    ServiceError,
    ValidationError,
)
from dynamodb_wrapper.models import ModelT
from dynamodb_wrapper.repositories.reads import ItemReads
from dynamodb_wrapper.repositories.refusals import explain_refusal, landed_before
from dynamodb_wrapper.repositories.writes import refreshed
from dynamodb_wrapper.wire.bodies import Reply
from dynamodb_wrapper.wire.requests import botocore_error
from dynamodb_wrapper.wire.updates import CheckedChanges, check_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.repositories.writes import Write
    from dynamodb_wrapper.wire.paths import Path

logger = logging.getLogger(__name__)

_OPERATIONS = {"put": "PutItem", "update": "UpdateItem", "delete": "DeleteItem"}


class ItemRepository(ItemReads[ModelT]):
    """Reads and writes single items; `BaseDynamoRepository` adds batches, queries and tables."""

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
        self._measured(write, self._send(write, created=True))
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
        return self._written(write, self._upsert(write) if upsert else self._send(write))

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
        write = self._delete_write(key_or_item, condition, must_exist)
        try:
            return self._returned(write, self._send(write), even_expired=False)
        except IncompatibleItemError as error:
            logger.warning("The item is deleted; it cannot be returned. %s", error)
            return None

    # ---- single writes, for concrete repositories and transactions -------------------------------

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
        fresh = self._written(write, self._send(write))
        return refreshed(item, dict(fresh))

    def _decode(self, item: Mapping[str, Any]) -> ModelT:
        return self._requests.codec.decode(item)

    def _upsert(self, write: Write) -> Reply:
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

    def _returned(self, write: Write, reply: Reply, *, even_expired: bool) -> ModelT | None:
        """Return the model of the item that a write returned."""
        try:
            found = self._requests.reader.returned(reply, even_expired=even_expired)
        except BaseException:  # whatever it is, the write has consumed its units
            with contextlib.suppress(ServiceError):
                self._measured(write, reply)
            raise
        self._caller.measure(_OPERATIONS[write.verb], found.capacity)
        return found.model

    def _written(self, write: Write, reply: Reply) -> ModelT:
        """Return the model of an item after an update, which an error must not deny."""
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

    def _send(self, write: Write, *, created: bool = False) -> Reply:
        """Send a write; who reads the reply measures it."""
        try:
            return self._caller.fetch(_OPERATIONS[write.verb], write.request, key=write.plain_key)
        except ConditionFailedError as error:
            landed = landed_before(write, error)
            if landed is not None:
                return Reply(None, landed)
            raise explain_refusal(write, error, self.table, created=created) from error
