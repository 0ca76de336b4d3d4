"""Requests for single items, built from models and keys; nothing is sent here.

A write knows how to explain its own refusal, so that the same write says the same thing whether it
is sent alone or inside a transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Document, ModelT, Table
from dynamodb_wrapper.repositories.changes import check_changes_of
from dynamodb_wrapper.repositories.guards import Guards
from dynamodb_wrapper.repositories.stamps import Stamps, first_version
from dynamodb_wrapper.repositories.writes import Write
from dynamodb_wrapper.wire.attributes import Item, item_body
from dynamodb_wrapper.wire.codec import Codec
from dynamodb_wrapper.wire.decoding import Counts, ItemReader
from dynamodb_wrapper.wire.expressions import Expressions
from dynamodb_wrapper.wire.shapes import fields_of
from dynamodb_wrapper.wire.updates import CheckedChanges, Update

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

SmallerT = TypeVar("SmallerT", bound=BaseModel)


class ItemRequests(Generic[ModelT]):
    """Builds the requests of one table.

    Args:
        table: The declaration.
        table_name: The table as DynamoDB knows it.
        actor: Who writes; written into documents.
        environment: What documents get that name no environment.
    """

    def __init__(self, table: Table[ModelT], table_name: str, actor: str, environment: str) -> None:
        self.table = table
        self.table_name = table_name
        self.codec: Codec[ModelT] = Codec(table, table.model)
        self.guards = Guards(table)
        self._readers: dict[type[BaseModel], ItemReader[Any]] = {}
        self.actor = actor
        self._is_plain = table.version_field is None and not issubclass(table.model, Document)
        self._stamps = Stamps(table, self.codec, actor, environment)

    # ---- keys ----------------------------------------------------------------------------------

    def key(self, key: Any) -> Item:
        """Return the key attributes of a key, or of a model.

        Raises:
            ValidationError: A part is missing, empty or of the wrong type.
        """
        return self.codec.keys.encode(key)

    # ---- reads ---------------------------------------------------------------------------------

    @property
    def reader(self) -> ItemReader[ModelT]:
        """Reads the table's own model out of replies."""
        return self.reader_of(self.table.model)

    def reader_of(self, model: type[SmallerT]) -> ItemReader[SmallerT]:
        """Return what reads a model out of replies; made once."""
        found = self._readers.get(model)
        if found is None:
            found = self._readers[model] = ItemReader(Codec(self.table, model))
        return found

    @property
    def decoded(self) -> Counts:
        """How many items were decoded so far, by the way it was done."""
        total = Counts()
        for reader in list(self._readers.values()):
            total.add(reader.counts.compiled, reader.counts.walked)
        return total

    def get(
        self, key: Any, *, consistent: bool, projection: type[BaseModel] | None = None
    ) -> tuple[Item, dict[str, Any]]:
        """Return the stored key and a GetItem request."""
        stored_key = self.key(key)
        request: dict[str, Any] = {
            "TableName": self.table_name,
            "Key": stored_key,
            "ConsistentRead": consistent,
        }
        if projection is not None:
            expressions = Expressions(self.table)
            request["ProjectionExpression"] = expressions.projection(self.projected(projection))
            expressions.into(request)
        return stored_key, request

    def projected(self, model: type[BaseModel], more: tuple[str, ...] = ()) -> list[str]:
        """Return the attributes to read for a model: its own, the keys and the TTL."""
        names = [shape.attribute for shape in fields_of(model)]
        names += [self.table.attribute_of(name) for name in self.table.key_fields]
        if self.table.ttl is not None:
            names.append(self.table.attribute_of(self.table.ttl))
        return list(dict.fromkeys([*names, *more]))

    # ---- writes --------------------------------------------------------------------------------

    def create(self, item: ModelT) -> Write:
        """Return a PutItem that refuses an existing key; an expired item counts as gone."""
        self.check_model(item)
        values = self._stamps.values(item, version=first_version())
        expressions = Expressions()
        free = self.guards.absent(expressions)
        expired = self.guards.expired(expressions)
        condition = f"{free} OR {expired}" if expired else free
        return self._put(item, values, expressions, condition)

    def put(self, item: ModelT, condition: ConditionBase | None) -> Write:
        """Return a PutItem that replaces."""
        self.check_model(item)
        values = {} if self._is_plain else self._stamped(item)
        if condition is None:
            return self._put(item, values)
        expressions = Expressions(self.table)
        return self._put(item, values, expressions, expressions.condition(condition))

    def _stamped(self, item: ModelT) -> dict[str, Any]:
        version = self._next_version(item)
        if version is not None:
            version = max(version, first_version())
        values = self._stamps.values(item, version=version)
        if isinstance(item, Document) and item.created_at is not None:
            values.update(_counted(item))
        return values

    def _put(
        self,
        item: ModelT,
        values: dict[str, Any],
        expressions: Expressions | None = None,
        condition: str | None = None,
    ) -> Write:
        stored, _ = self._stored(item, values)
        key = {name: stored[name] for name in self.codec.keys.names}
        request = {"TableName": self.table_name, "Item": stored}
        if expressions is not None:
            request = self._conditional(request, expressions, condition)
        return Write("put", key, request, values=values, written=stored)

    def _stored(self, item: ModelT, values: dict[str, Any]) -> tuple[Item, bytes]:
        """Return an item as it is stored, some of its values replaced, and the same as JSON."""
        stored = self.codec.encode(item.model_copy(update=values) if values else item)
        return stored, item_body(stored, self.table_name, self.codec.keys.names)

    def whole(self, item: ModelT) -> tuple[Item, bytes, dict[str, Any]]:
        """Return an item as a put stores it, the same as JSON, and the values it is given."""
        self.check_model(item)
        values = {} if self._is_plain else self._stamped(item)
        return (*self._stored(item, values), values)

    def update_model(self, item: ModelT, condition: ConditionBase | None) -> Write:
        """Return an UpdateItem of every field of a model, guarded by its version.

        Attributes the model does not know, and fields a method of their own manages, stay.
        """
        self.check_model(item)
        seen = self.version_of(item)
        values = self._stamps.values(item, version=self._next_version(item))
        values.update(_counted(item))
        changed = item.model_copy(update=values)
        stored = self.codec.encode(changed)
        key = self.key(item)
        item_body(stored, self.table_name, key)  # refuses what is too large
        expressions = Expressions(self.table)
        update = Update(expressions)
        left_alone = {*key, *self._managed()}
        for name, value in stored.items():
            if name not in left_alone:
                update.set((name,), value)
        for name in self._known_attributes():
            if name not in stored and name not in left_alone:
                update.remove((name,))
        guards = [self.guards.present(expressions), self.guards.version(expressions, seen)]
        if condition is not None:
            guards.append(expressions.condition(condition))
        write = self._update(key, update, expressions, guards, seen)
        managed = self._managed()
        write.written = {name: v for name, v in stored.items() if name not in managed}
        write.values = values
        return write

    def update_key(
        self, key: Any, changes: CheckedChanges, condition: ConditionBase | None, upsert: bool
    ) -> Write:
        """Return an UpdateItem of single fields; nothing is read before."""
        stored_key = self.key(key)
        check_changes_of(self.table, self.codec.keys, changes)
        expressions = Expressions(self.table)
        update = Update(expressions)
        changes.write(update)
        self._stamps.derive(update, changes, stored_key)
        self._stamps.note_update(update, changes.touched, may_create=upsert)
        guards: list[str | None] = []
        if upsert:
            guards.append(self.guards.unexpired(expressions))  # holds where there is no item
            self._stamps.complete(update, changes, stored_key)
        else:
            guards.append(self.guards.present(expressions))
        if condition is not None:
            guards.append(expressions.condition(condition))
        return self._update(stored_key, update, expressions, guards, None, not upsert)

    def _update(
        self,
        key: Item,
        update: Update,
        expressions: Expressions,
        guards: list[str | None],
        seen: int | None,
        must_exist: bool = True,
    ) -> Write:
        request: dict[str, Any] = {
            "TableName": self.table_name,
            "Key": key,
            "UpdateExpression": update.text,
            "ReturnValues": "ALL_NEW",
        }
        request = self._conditional(request, expressions, expressions.all_of(guards))
        return Write("update", key, request, must_exist=must_exist, expected_version=seen)

    def delete(self, key: Any, condition: ConditionBase | None, must_exist: bool) -> Write:
        """Return a DeleteItem; a model with a version is deleted only in that version."""
        expressions = Expressions(self.table)
        stored_key = self.key(key)
        seen = self.version_of(key) if isinstance(key, self.table.model) else None
        guards: list[str | None] = []
        if must_exist:
            guards.append(self.guards.present(expressions))
        if seen is not None:
            version = self.guards.version(expressions, seen)
            guards.append(f"{self.guards.absent(expressions)} OR {version}")
        if condition is not None:
            guards.append(expressions.condition(condition))
        request = {"TableName": self.table_name, "Key": stored_key, "ReturnValues": "ALL_OLD"}
        request = self._conditional(request, expressions, expressions.all_of(guards))
        return Write("delete", stored_key, request, must_exist=must_exist, expected_version=seen)

    def delete_expired(self, key: Item) -> dict[str, Any]:
        """Return a DeleteItem of an item on condition that its TTL has passed."""
        expressions = Expressions()
        condition = self.guards.expired(expressions)
        return self._conditional({"TableName": self.table_name, "Key": key}, expressions, condition)

    def check(self, key: Any, condition: ConditionBase) -> Write:
        """Return a condition check, for transactions; an expired item passes none."""
        expressions = Expressions(self.table)
        stored_key = self.key(key)
        conditions = [expressions.condition(condition), self.guards.unexpired(expressions)]
        text = expressions.all_of(conditions)
        request = {"TableName": self.table_name, "Key": stored_key}
        return Write("check", stored_key, self._conditional(request, expressions, text))

    # ---- parts ---------------------------------------------------------------------------------

    def version_of(self, item: Any) -> int | None:
        """Return the version of a model; None where the table declares none."""
        if self.table.version_field is None:
            return None
        return int(getattr(item, self.table.version_field))

    def check_model(self, item: Any) -> None:
        """Refuse another model, and a document that holds secrets or contradicts itself."""
        if not isinstance(item, self.table.model):
            raise ValidationError(
                f"Table {self.table.name!r} holds {self.table.model.__name__}, not "
                f"{type(item).__name__}."
            )
        if isinstance(item, Document):
            try:
                item.check_rules()
                item.check_secrets()
            except ValueError as error:
                raise ValidationError(f"{type(item).__name__}: {error}.") from error

    def _conditional(
        self, request: dict[str, Any], expressions: Expressions, condition: str | None
    ) -> dict[str, Any]:
        if condition:
            request["ConditionExpression"] = condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return expressions.into(request)

    def _next_version(self, item: ModelT) -> int | None:
        version = self.version_of(item)
        return None if version is None else version + 1

    def _managed(self) -> set[str]:
        if not issubclass(self.table.model, Document):
            return set()
        return {self.table.attribute_of(name) for name in self.table.model.MANAGED}

    def _known_attributes(self) -> list[str]:
        names = [shape.attribute for shape in fields_of(self.table.model)]
        return names + [derived.attribute for derived in self.table.derived]


def _counted(item: BaseModel) -> dict[str, int]:
    """Return the counter of a configuration, raised by one; empty for models without one."""
    if not isinstance(item, Document) or item.COUNTED is None:
        return {}
    return {item.COUNTED: getattr(item, item.COUNTED) + 1}
