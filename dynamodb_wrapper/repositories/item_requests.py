"""Build requests for single items from models and keys; nothing is sent here.

Each write carries the facts that explain its refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from dynamodb_wrapper.aws.transactions import Action
from dynamodb_wrapper.exceptions.errors import ConditionFailedError, ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.document import Document
from dynamodb_wrapper.models.table import ModelT, Table
from dynamodb_wrapper.repositories.moments import first_version, write_time, write_token
from dynamodb_wrapper.serialization.annotations import fields_of
from dynamodb_wrapper.serialization.changes import CheckedChanges
from dynamodb_wrapper.serialization.codec import Codec, plain, put_derived
from dynamodb_wrapper.serialization.decoder import Counts, ItemReader
from dynamodb_wrapper.serialization.expressions import Expressions, Update
from dynamodb_wrapper.serialization.field_values import validate_whole
from dynamodb_wrapper.serialization.kinds import declared_kind, listed_kind
from dynamodb_wrapper.serialization.values import (
    Item,
    encode_value,
    has_passed,
    item_body,
    seconds_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
    from dynamodb_wrapper.models.table import Derived
    from dynamodb_wrapper.serialization.keys import Keys

SmallerT = TypeVar("SmallerT", bound=BaseModel)
_EXPRESSION_BYTES = 4096
"""The length of an expression that DynamoDB takes."""


@dataclass
class Write:
    """A write that is ready to be sent.

    Attributes:
        verb: ``put``, ``update``, ``delete`` or ``check``.
        key: Key attributes as stored.
        request: The request sent to DynamoDB.
        must_exist: Whether a refusal without an item means that the item is missing.
        must_be_new: Whether a refusal means that the key holds an item.
        expected_version: The version the item must have; None where there is no guard.
        values: Field values to refresh the caller's object with after success.
        token: The attribute that only this write gives its value; empty without a write token.
        explain: Returns the error if the stored item that refused the write is itself the reason.
        limits: Limits of fields that the write is guarded by, in words.
        nested: Paths of the write that lead into other values.
    """

    verb: str
    key: Item
    request: dict[str, Any]
    must_exist: bool = False
    must_be_new: bool = False
    expected_version: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    token: Item = field(default_factory=dict)
    explain: Callable[[Item], DynamoDBWrapperError | None] | None = None
    limits: tuple[str, ...] = ()
    nested: tuple[tuple[str | int, ...], ...] = ()

    def new_values(self, item: BaseModel) -> dict[str, Any]:
        """Return the field values of the caller's object after the write was accepted.

        An update of a whole model returns the stored item, outside a transaction: then every
        field has been read and counts as set.
        """
        return self.values if self.verb == "put" else {**dict(item), **self.values}

    @property
    def plain_key(self) -> dict[str, Any]:
        """The key as plain values, for messages."""
        return plain(self.key) or {}

    def as_action(self) -> Action:
        """Return the write as an action of a transaction."""
        drop = ("ReturnValues", "ReturnValuesOnConditionCheckFailure")
        request = {name: value for name, value in self.request.items() if name not in drop}
        return Action(self.verb, self.key, request)


class Stamps(Generic[ModelT]):
    """Adds versions, time stamps and index attributes to writes.

    Args:
        table: The declaration.
        codec: Encodes whole items.
        actor: Name of the writer.
        environment: Environment of documents that name none.
    """

    def __init__(
        self, table: Table[ModelT], codec: Codec[ModelT], actor: str, environment: str
    ) -> None:
        self._table = table
        self._codec = codec
        self._actor = actor
        self._environment = environment

    def values(self, item: ModelT, version: int | None) -> dict[str, Any]:
        """Return the field values that a write of a whole item sets in addition."""
        values: dict[str, Any] = {}
        if self._table.version_field is not None and version is not None:
            values[self._table.version_field] = version
        if isinstance(item, Document):
            values["updated_at"] = now = write_time()
            if item.created_at is None:
                values["created_at"] = now
            values["updated_by"] = self._actor
            if item.created_by is None:
                values["created_by"] = self._actor
            if "environment" in type(item).model_fields and item.environment is None:  # type: ignore[attr-defined]
                values["environment"] = self._environment
        return values

    def note_update(self, update: Update, touched: set[str], *, may_create: bool) -> None:
        """Raise the counters of an item that is changed in place, and note the actor."""
        if self._table.version_field is not None:
            start = first_version() if may_create else 0
            update.increase((self._table.attribute_of(self._table.version_field),), start=start)
        model = self._table.model
        if issubclass(model, Document):
            if model.COUNTED is not None and touched - model.NOT_CONFIGURATION:
                update.increase((model.COUNTED,), start=1)
            for name, value in (("updated_at", write_time()), ("updated_by", self._actor)):
                if name not in touched:
                    update.set((name,), encode_value(value, name))

    def complete(self, update: Update, changes: CheckedChanges, key: Item) -> None:
        """Let an upsert store a whole item where there was none."""
        known = {**self._codec.keys.decode(key), **changes.values}
        item = validate_whole(self._table.model, known)
        item = item.model_copy(update=self.values(item, version=None))
        stored = self._codec.encode(item)
        fields = self._table.model.model_fields
        done = {self._table.attribute_of(n) if n in fields else n for n in changes.touched}
        done |= set(key) | self._stamped_attributes() | self._derived_touched(changes)
        for derived in self._table.derived:
            # The item may exist with values other than the defaults assumed here.
            if derived.attribute in stored and derived.attribute not in done:
                self._refuse_unknown(derived, known)
        for name, value in stored.items():
            if name not in done:
                update.set_if_absent((name,), value)

    def _stamped_attributes(self) -> set[str]:
        names = {"updated_at", "updated_by"} if issubclass(self._table.model, Document) else set()
        for counter in (self._table.version_field, getattr(self._table.model, "COUNTED", None)):
            if counter is not None:
                names.add(self._table.attribute_of(counter))
        return names

    def _derived_touched(self, changes: CheckedChanges) -> set[str]:
        return {d.attribute for d in self._table.derived if changes.touched & set(d.fields)}

    def derive(self, update: Update, changes: CheckedChanges, key: Item) -> None:
        """Set the index attributes that are made from changed fields."""
        known = {**changes.values, **self._codec.keys.decode(key)}
        for derived in self._table.derived:
            if not changes.touched & set(derived.fields):
                continue
            self._refuse_unknown(derived, known)
            computed: Item = {}
            put_derived(computed, derived, derived.function(*(known[n] for n in derived.fields)))
            if computed:
                update.set((derived.attribute,), computed[derived.attribute])
            else:
                update.remove((derived.attribute,))

    def _refuse_unknown(self, derived: Derived, known: dict[str, Any]) -> None:
        missing = [name for name in derived.fields if name not in known]
        if missing:
            raise ValidationError(
                f"The index attribute {derived.attribute!r} of table {self._table.name!r} is "
                f"made from {', '.join(derived.fields)}: set {', '.join(missing)} as well, or "
                "update with the whole model."
            )


def check_changes_of(table: Table[Any], keys: Keys, changes: CheckedChanges) -> None:
    """Refuse changes of keys and counters, and those that break a list or a rule.

    Raises:
        ValidationError: The field is named, and what to do instead.
    """
    _check_keys(table, keys, changes)
    if table.kind is not None and table.kind.name in changes.touched:
        raise ValidationError(
            f"{table.kind.name!r} tells the items of {table.model.__name__} from other models in "
            f"table {table.name!r} and cannot change."
        )
    if issubclass(table.model, Document):
        _check_environment(table.model, changes)
        _check_rules(table.model, changes)


def _check_keys(table: Table[Any], keys: Keys, changes: CheckedChanges) -> None:
    for name in table.key_fields:
        if name in changes.touched:
            raise ValidationError(
                f"{name!r} is a key of table {table.name!r} and cannot change: create "
                "the item anew and delete the old one, in a transaction."
            )
    for _, steps, value in changes.clauses:
        if len(steps) == 1 and value is not None:
            keys.check_change(str(steps[0]), value, table.model.__name__)
    if table.version_field in changes.touched:
        raise ValidationError(f"{table.version_field!r} is raised by every update.")


def _check_environment(model: type[Document], changes: CheckedChanges) -> None:
    """Refuse to take a document out of every list."""
    if "environment" in changes.touched and not changes.values.get("environment"):
        raise ValidationError(
            f"{model.__name__}.environment cannot be removed: a document without "
            "one is in no list. Set another environment."
        )


def _check_rules(model: type[Document], changes: CheckedChanges) -> None:
    """Refuse changes of single fields that break, or may break, a rule between fields."""
    for rule in model.RULES:
        known = {name: changes.values[name] for name in rule.fields if name in changes.values}
        if not changes.touched & set(rule.fields) or rule.is_safe(known):
            continue
        missing = [name for name in rule.fields if name not in known]
        if missing:
            raise ValidationError(
                f"{model.__name__} has a rule between {', '.join(rule.fields)}: set "
                f"{', '.join(missing)} as well, or update with the whole model."
            )
        try:
            rule.check(*(known[name] for name in rule.fields))
        except ValueError as error:
            raise ValidationError(f"{model.__name__}: {error}.") from error


class Guards:
    """Texts of conditions and filters, written into the expressions of one request."""

    def __init__(self, table: Table[Any]) -> None:
        self._table = table
        self._kind = declared_kind(table)
        self._listed_kind = listed_kind(table)

    def present(self, expressions: Expressions) -> str:
        """Return the condition that the item exists and has not expired."""
        exists = f"attribute_exists({expressions.path(self._partition())})"
        return expressions.all_of([exists, self.unexpired(expressions)]) or exists

    def unexpired(self, expressions: Expressions) -> str | None:
        """Return the condition that the TTL has not passed; None without a TTL.

        DynamoDB ignores a TTL attribute that is no number, and so does this condition.
        """
        if self._table.ttl is None:
            return None
        path = expressions.path((self._table.attribute_of(self._table.ttl),))
        number = expressions.value({"S": "N"})
        return (
            f"attribute_not_exists({path}) OR NOT attribute_type({path}, {number}) "
            f"OR {path} > {expressions.value(_now())}"
        )

    def expired(self, expressions: Expressions) -> str | None:
        """Return the condition that the TTL has passed; None without a TTL."""
        if self._table.ttl is None:
            return None
        path = expressions.path((self._table.attribute_of(self._table.ttl),))
        return f"{path} <= {expressions.value(_now())}"

    def is_expired(self, stored: Mapping[str, Any]) -> bool:
        """Return whether the TTL of a stored item has passed."""
        if self._table.ttl is None:
            return False
        value = stored.get(self._table.attribute_of(self._table.ttl), {}).get("N")
        return has_passed(value, seconds_now())

    def listed_kind(self, expressions: Expressions) -> str | None:
        """Return the filter that leaves out items of other kinds; None where there are none."""
        return None if self._listed_kind is None else self._listed_kind.condition(expressions)

    def replaceable(self, expressions: Expressions) -> str | None:
        """Return the condition that the key holds no item of another kind.

        None where there are no other kinds, or the key says that it holds none.
        """
        if self._kind is None or self._kind.is_in_key:
            return None
        own = self._kind.condition(expressions)
        return own if self._kind.is_default else f"{self.absent(expressions)} OR {own}"

    def is_own(self, stored: Mapping[str, Any]) -> bool:
        """Return whether a stored item is of the model's kind."""
        return self._kind is None or self._kind.holds(stored)

    def absent(self, expressions: Expressions) -> str:
        """Return the condition that the key is free."""
        return f"attribute_not_exists({expressions.path(self._partition())})"

    def version(self, expressions: Expressions, seen: int | None) -> str | None:
        """Return the condition that the item has the version that was read; None without one."""
        if seen is None or self._table.version_field is None:
            return None
        path = expressions.path((self._table.attribute_of(self._table.version_field),))
        same = f"{path} = {expressions.value({'N': str(seen)})}"
        return same if seen else f"attribute_not_exists({path}) OR {same}"

    def unwritten(self, expressions: Expressions, token: Item) -> str | None:
        """Return the condition that a write was not applied before; None without a token."""
        for name, value in token.items():
            path = expressions.path((name,))
            return f"attribute_not_exists({path}) OR {path} <> {expressions.value(value)}"
        return None

    def _partition(self) -> tuple[str]:
        return (self._table.attribute_of(self._table.partition_key),)


def _now() -> dict[str, str]:
    return {"N": str(int(write_time().timestamp()))}


class ItemRequests(Generic[ModelT]):
    """Builds the requests of one table.

    Args:
        table: The declaration.
        table_name: The table as DynamoDB knows it.
        actor: Name of the writer, stored in documents.
        environment: Environment of documents that name none.
    """

    def __init__(self, table: Table[ModelT], table_name: str, actor: str, environment: str) -> None:
        self.table = table
        self.table_name = table_name
        self.codec: Codec[ModelT] = Codec(table, table.model)
        self.guards = Guards(table)
        self._readers: dict[type[BaseModel], ItemReader[Any]] = {}
        self.kind = declared_kind(table)
        self._key_kind = self.kind if self.kind is not None and self.kind.is_in_key else None
        self.actor = actor
        self.environment = environment
        self._is_plain = table.version_field is None and not issubclass(table.model, Document)
        self._stamps = Stamps(table, self.codec, actor, environment)

    # ---- keys ----------------------------------------------------------------------------------

    def key(self, key: Any) -> Item:
        """Return the key attributes of a key, or of a model.

        Raises:
            ValidationError: A part is missing, empty or of the wrong type.
        """
        try:
            return self.codec.keys.encode(key)
        except AttributeError as error:
            if not isinstance(key, self.table.model):
                raise
            raise ValidationError(
                f"The {type(key).__name__} has no key: it was made without validation ({error})."
            ) from error

    def written_key(self, key: Any) -> Item:
        """Return the key attributes of a key that is to be written; as `key`.

        Raises:
            ValidationError: It is the key of an item of another kind, too.
        """
        stored = self.key(key)
        if self._key_kind is not None and not self._key_kind.holds(stored):
            self._key_kind.refuse(stored, self.table.model.__name__)
        return stored

    def is_own(self, key: Item) -> bool:
        """Return whether a key can hold an item of the model; some tables hold other kinds too."""
        return self._key_kind is None or self._key_kind.holds(key)

    # ---- reads ---------------------------------------------------------------------------------

    @property
    def reader(self) -> ItemReader[ModelT]:
        """The reader of the table's model."""
        return self.reader_of(self.table.model)

    def reader_of(self, model: type[SmallerT]) -> ItemReader[SmallerT]:
        """Return the reader of a model; made once."""
        found = self._readers.get(model)
        if found is None:
            found = self._readers[model] = ItemReader(Codec(self.table, model))
        return found

    @property
    def decoded(self) -> Counts:
        """Number of items decoded so far, by decoder."""
        total = Counts()
        for reader in list(self._readers.values()):
            total.add(reader.counts.compiled, reader.counts.generic)
        return total

    def get(
        self, key: Any, *, consistent: bool, projection: type[BaseModel] | None = None
    ) -> tuple[Item, dict[str, Any]]:
        """Return the stored key and a GetItem request."""
        stored_key = self.key(key)
        request: dict[str, Any] = {
            "TableName": self.table_name,
            "Key": stored_key,
            "ConsistentRead": arguments.flag("consistent", consistent),
        }
        if projection is not None:
            arguments.model_class("into", projection)
            expressions = Expressions(self.table)
            request["ProjectionExpression"] = expressions.projection(self.projected(projection))
            expressions.into(request)
        return stored_key, request

    def projected(self, model: type[BaseModel], more: tuple[str, ...] = ()) -> list[str]:
        """Return the attributes to read for a model: its fields, keys, TTL and kind."""
        names = [shape.attribute for shape in fields_of(model)]
        names += [self.table.attribute_of(name) for name in self.table.key_fields]
        if self.table.ttl is not None:
            names.append(self.table.attribute_of(self.table.ttl))
        if self.kind is not None:
            names.append(self.kind.attribute)
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
        write = self._put(item, values, expressions, condition)
        return replace(write, must_be_new=True, explain=None)

    def put(self, item: ModelT, condition: ConditionBase | None) -> Write:
        """Return a PutItem that replaces."""
        self.check_model(item)
        values = {} if self._is_plain else self._stamped(item)
        if condition is None and (self.kind is None or self.kind.is_in_key):
            return self._put(item, values)
        expressions = Expressions(self.table)
        guards = [self.guards.replaceable(expressions)]
        if condition is not None:
            guards.append(expressions.condition(condition))
        return self._put(item, values, expressions, expressions.all_of(guards))

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
        token = self._token()
        stored.update(token)
        key = {name: stored[name] for name in self.codec.keys.names}
        request = {"TableName": self.table_name, "Item": stored}
        if expressions is not None:
            request = self._conditional(request, expressions, condition)
        return Write(
            "put", key, request, values=values, explain=self._explain_of("put", key), token=token
        )

    def _stored(self, item: ModelT, values: dict[str, Any]) -> tuple[Item, bytes]:
        """Return an item as it is stored, some of its values replaced, and the same as JSON."""
        try:
            stored = self.codec.encode(item.model_copy(update=values) if values else item)
            return stored, item_body(stored, self.table_name, self.codec.keys.names)
        except RecursionError as error:
            raise self._too_deep(item) from error

    def whole(self, item: ModelT) -> tuple[Item, bytes, dict[str, Any]]:
        """Return an item as a put stores it, the same as JSON, and the values it is given."""
        self.check_model(item)
        values = {} if self._is_plain else self._stamped(item)
        return (*self._stored(item, values), values)

    def update_model(self, item: ModelT, condition: ConditionBase | None) -> Write:
        """Return an UpdateItem of every field of a model, guarded by its version.

        Attributes the model does not know, and fields that another method manages, stay.
        """
        self.check_model(item)
        seen = self.version_of(item)
        values = self._stamps.values(item, version=self._next_version(item))
        values.update(_counted(item))
        changed = item.model_copy(update=values)
        stored, _ = self._stored(changed, {})  # refuses an item over 400 KB
        key = self.key(item)
        expressions = Expressions(self.table)
        update = Update(expressions)
        left_alone = {*key, *self._managed()}
        for name, value in stored.items():
            if name not in left_alone:
                update.set((name,), value)
        for name in self._known_attributes():
            if name not in stored and name not in left_alone:
                update.remove((name,))
        guards = [
            self.guards.present(expressions),
            self.guards.replaceable(expressions),
            self.guards.version(expressions, seen),
        ]
        if condition is not None:
            guards.append(expressions.condition(condition))
        write = self._update(key, update, expressions, guards, seen)
        write.values = values
        return write

    def update_key(
        self, key: Any, changes: CheckedChanges, condition: ConditionBase | None, upsert: bool
    ) -> Write:
        """Return an UpdateItem of single fields; nothing is read before."""
        stored_key = self.written_key(key)
        upsert = arguments.flag("upsert", upsert)
        check_changes_of(self.table, self.codec.keys, changes)
        expressions = Expressions(self.table)
        update = Update(expressions)
        changes.write(update)
        self._stamps.derive(update, changes, stored_key)
        self._stamps.note_update(update, changes.touched, may_create=upsert)
        guards = [self.guards.replaceable(expressions)]
        if upsert:
            guards.append(self.guards.unexpired(expressions))  # also holds without an item
            self._stamps.complete(update, changes, stored_key)
        else:
            guards.append(self.guards.present(expressions))
        guards += [guard.text(expressions) for guard in changes.guards]
        if condition is not None:
            guards.append(expressions.condition(condition))
        write = self._update(stored_key, update, expressions, guards, None, not upsert)
        limits = tuple(guard.label for guard in changes.guards)
        return replace(write, limits=limits, nested=changes.nested_paths())

    def _update(
        self,
        key: Item,
        update: Update,
        expressions: Expressions,
        guards: list[str | None],
        seen: int | None,
        must_exist: bool = True,
    ) -> Write:
        token = self._token()
        for name, value in token.items():
            update.set((name,), value)
        text = update.text
        if len(text) > _EXPRESSION_BYTES:
            number = len(update.sets) + len(update.removes) + len(update.adds)
            raise ValidationError(
                f"Table {self.table.name!r}: {number} fields are too many for one update: the "
                f"expression has {len(text):,} bytes, and DynamoDB takes {_EXPRESSION_BYTES:,}, "
                "which is about 280 fields, 120 where a missing item is created. Store the whole "
                "item with put, or change fewer fields at a time.",
                table_name=self.table_name,
                key=plain(key),
            )
        request: dict[str, Any] = {
            "TableName": self.table_name,
            "Key": key,
            "UpdateExpression": text,
            "ReturnValues": "ALL_NEW",
        }
        guards = [*guards, self.guards.unwritten(expressions, token)]
        request = self._conditional(request, expressions, expressions.all_of(guards))
        return Write(
            "update",
            key,
            request,
            must_exist=must_exist,
            expected_version=seen,
            explain=self._explain_of("update", key),
            token=token,
        )

    def delete(self, key: Any, condition: ConditionBase | None, must_exist: bool) -> Write:
        """Return a DeleteItem; a model with a version is deleted only in that version."""
        expressions = Expressions(self.table)
        stored_key = self.written_key(key)
        seen = self.version_of(key) if isinstance(key, self.table.model) else None
        guards = [self.guards.replaceable(expressions)]
        if arguments.flag("must_exist", must_exist):
            guards.append(self.guards.present(expressions))
        if seen is not None:
            version = self.guards.version(expressions, seen)
            guards.append(f"{self.guards.absent(expressions)} OR {version}")
        if condition is not None:
            guards.append(expressions.condition(condition))
        request = {"TableName": self.table_name, "Key": stored_key, "ReturnValues": "ALL_OLD"}
        request = self._conditional(request, expressions, expressions.all_of(guards))
        return Write(
            "delete",
            stored_key,
            request,
            must_exist=must_exist,
            expected_version=seen,
            explain=self._explain_of("delete", stored_key),
        )

    def delete_expired(self, key: Item) -> dict[str, Any]:
        """Return a DeleteItem of an item on condition that its TTL has passed."""
        expressions = Expressions()
        condition = self.guards.expired(expressions)
        return self._conditional({"TableName": self.table_name, "Key": key}, expressions, condition)

    def check(self, key: Any, condition: ConditionBase) -> Write:
        """Return a condition check, for transactions; an expired item fails it."""
        expressions = Expressions(self.table)
        stored_key = self.written_key(key)
        conditions = [
            expressions.condition(condition),
            self.guards.unexpired(expressions),
            self.guards.replaceable(expressions),
        ]
        text = expressions.all_of(conditions)
        request = {"TableName": self.table_name, "Key": stored_key}
        return Write("check", stored_key, self._conditional(request, expressions, text))

    # ---- parts ---------------------------------------------------------------------------------

    def _token(self) -> Item:
        """Return the attribute that tells a write from all others; empty without a write token."""
        name = self.table.write_token
        return {} if name is None else {name: {"S": write_token()}}

    def version_of(self, item: Any) -> int | None:
        """Return the version of a model; None where the table declares none."""
        if self.table.version_field is None:
            return None
        return int(getattr(item, self.table.version_field))

    def check_model(self, item: Any) -> None:
        """Refuse another model, and a document that holds secrets or contradicts itself.

        A subclass is refused where it has fields that its items would lose when they are read.
        """
        if type(item) is not self.table.model:
            self._check_subclass(item)
        if isinstance(item, Document):
            try:
                item.check_rules()
                item.check_secrets()
            except ValueError as error:
                raise ValidationError(f"{type(item).__name__}: {error}.") from error

    def _check_subclass(self, item: Any) -> None:
        model, found = self.table.model, type(item)
        where = f"Table {self.table.name!r} holds {model.__name__}"
        if not isinstance(item, model):
            raise ValidationError(f"{where}, not {found.__name__}.")
        known = {shape.attribute for shape in fields_of(model)}
        lost = [shape.name for shape in fields_of(found) if shape.attribute not in known]
        if lost and model.model_config.get("extra") != "allow":
            raise ValidationError(
                f"{where}: {', '.join(lost)} of its subclass {found.__name__} would be stored and "
                f"lost on reading. Declare a Table of the name {self.table.name!r} for "
                f"{found.__name__}, with a kind that tells the two apart."
            )

    def _explain_of(
        self, verb: str, key: Item
    ) -> Callable[[Item], DynamoDBWrapperError | None] | None:
        """Return the function that explains a refusal by an item of another kind."""
        kind = self.kind
        if kind is None or kind.is_in_key:
            return None

        def explain(found: Item) -> DynamoDBWrapperError | None:
            if kind.holds(found):
                return None
            model = self.table.model.__name__
            return ConditionFailedError(
                f"The key {plain(key)} in table {self.table_name!r} holds an item of another kind "
                f"({kind.found_in(found)}; {model} has {kind.text!r}); the {verb} wrote nothing.",
                current=plain(found),
                table_name=self.table_name,
                key=plain(key),
                error_code="ConditionalCheckFailedException",
            )

        return explain

    def _too_deep(self, item: ModelT) -> ValidationError:
        key = plain(self.key(item))
        return ValidationError(
            f"The item {key} for {self.table_name!r} nests too deeply, or holds itself; DynamoDB "
            "takes 32 levels.",
            table_name=self.table_name,
            key=key,
        )

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
