"""Decode replies into models: with generated code where possible, else with the generic decoder."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
from dynamodb_wrapper.models.fields import STORED
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.serialization.compiled_decoder import (
    RAW_BATCH,
    RAW_PAGE,
    Envelopes,
    Unwrapping,
    decode,
    envelopes,
    part,
    unwrapping,
    validator,
)
from dynamodb_wrapper.serialization.json_body import Reply, part_of, read_body, unreadable
from dynamodb_wrapper.serialization.values import has_passed, identity, is_item, key_in, seconds_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from dynamodb_wrapper.serialization.codec import Codec
    from dynamodb_wrapper.serialization.values import Item

T = TypeVar("T")
_AT_ONCE = 64
"""Items taken apart before they are validated; more keep the garbage collector busy."""


@dataclass
class Counts:
    """Items by the way they were decoded, of one `ItemReader`.

    Attributes:
        compiled: By code made for the model.
        walked: By the general walk.
    """

    compiled: int = 0
    walked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, compiled: int, walked: int) -> None:
        """Count items."""
        with self._lock:
            self.compiled += compiled
            self.walked += walked


@dataclass(frozen=True)
class Found(Generic[T]):
    """What a reply held.

    Attributes:
        models: The models of items that have not expired.
        places: Where each was among the items of the reply; None where all are there.
        last_key: Exclusive start key of the next page; None at the end.
        capacity: The reply's ``ConsumedCapacity``.
        count: Items found, expired ones included.
    """

    models: list[T]
    places: list[int] | None
    last_key: Item | None
    capacity: Any
    count: int


@dataclass(frozen=True)
class One(Generic[T]):
    """What a GetItem found, or a write returned.

    Attributes:
        model: The model; None where there is no item, or an expired one is not wanted.
        capacity: The reply's ``ConsumedCapacity``.
    """

    model: T | None
    capacity: Any


@dataclass(frozen=True)
class Batch(Generic[T]):
    """What a BatchGetItem found.

    Attributes:
        by_key: Models by the `identity` of their key; expired ones are left out.
        left: The reply's ``UnprocessedKeys``.
        capacity: The reply's ``ConsumedCapacity``.
    """

    by_key: dict[Any, T]
    left: dict[str, Any]
    capacity: Any


class _Made(NamedTuple):
    """What was made for a model as it is built now."""

    items: Unwrapping
    envelopes: Envelopes
    validate: Any


class ItemReader(Generic[ModelT]):
    """Reads the models of one table out of replies.

    Args:
        codec: The general walk, and what is to be read.

    Attributes:
        codec: The general walk.
        counts: How many items were decoded which way.
        made: What else has been made to read the same items, such as columns.
    """

    def __init__(self, codec: Codec[ModelT]) -> None:
        self.codec = codec
        self.made: dict[Any, Any] = {}
        ttl = codec.table.ttl
        self._ttl = None if ttl is None else codec.table.attribute_of(ttl)
        self.counts = Counts()
        self._made = self._make()
        self._basis = codec.model.__pydantic_validator__

    def _make(self) -> _Made | None:
        codec, made = self.codec, None
        if _is_complete(codec.model):
            made = unwrapping(
                codec.model, codec.keeps_unknown, codec.own_names, codec.keys.names, self._ttl
            )
        return made and _Made(made, envelopes(made.struct), validator(codec.model))

    def _ready(self) -> _Made | None:
        """Return the code made for the model; None where only the general walk reads it."""
        if self.codec.model.__pydantic_validator__ is not self._basis:  # pydantic built it anew
            self._made = self._make()
            self._basis = self.codec.model.__pydantic_validator__
        return self._made

    # ---- replies ---------------------------------------------------------------------------------

    def page(self, reply: Reply) -> Found[ModelT]:
        """Return what a Query or Scan found.

        Raises:
            IncompatibleItemError: An item does not fit the model.
            ServiceError: It is no reply of DynamoDB's.
        """
        made = self._ready()
        if reply.body is not None and made is not None:
            try:
                page = made.envelopes.page.decode(reply.body)
                models, places = self._compiled(made, page.Items)
            except Exception:  # noqa: BLE001 - whatever it is, the general walk finds it again
                return self._mixed(made, reply.body)
            return Found(models, places, page.last_key(), page.ConsumedCapacity, len(page.Items))
        return self._walked(reply.parsed())

    def one(self, reply: Reply) -> One[ModelT]:
        """Return what a GetItem found; as `page`."""
        return self._one(reply, "Item", even_expired=False)

    def returned(self, reply: Reply, *, even_expired: bool) -> One[ModelT]:
        """Return the item that a write returned; as `page`."""
        return self._one(reply, "Attributes", even_expired=even_expired)

    def batch(self, reply: Reply, table_name: str) -> Batch[ModelT]:
        """Return what a BatchGetItem found; as `page`."""
        made = self._ready()
        if reply.body is not None and made is not None:
            try:
                found = made.envelopes.batch.decode(reply.body)
                items = found.Responses.get(table_name, [])
                models, places = self._compiled(made, items)
                kept = items if places is None else [items[place] for place in places]
                by_key = dict(zip(map(made.items.key, kept), models))
                return Batch(by_key, part(found.UnprocessedKeys), found.ConsumedCapacity)
            except Exception:  # noqa: BLE001 - as above
                return self._mixed_batch(made, reply.body, table_name)
        parsed = reply.parsed()
        by_key = {
            self._identity(item): self._walk(item)
            for item in part_of(part_of(parsed, "Responses", dict), table_name, list)
            if not self._expired(item)
        }
        left = part_of(parsed, "UnprocessedKeys", dict)
        return Batch(by_key, left, parsed.get("ConsumedCapacity"))

    def _one(self, reply: Reply, name: str, *, even_expired: bool) -> One[ModelT]:
        made = self._ready()
        if reply.body is not None and made is not None:
            decoder = made.envelopes.one if name == "Item" else made.envelopes.returned
            try:
                found = decoder.decode(reply.body)
                items = [] if found.Item is None else [found.Item]
                models, _ = self._compiled(made, items, even_expired=even_expired)
                return One(models[0] if models else None, found.ConsumedCapacity)
            except Exception:  # noqa: BLE001 - as above
                pass
        parsed, model = reply.parsed(), None
        item = part_of(parsed, name, dict)
        if item and (even_expired or not self._expired(item)):
            model = self._walk(item)
        return One(model, parsed.get("ConsumedCapacity"))

    # ---- items -----------------------------------------------------------------------------------

    def _compiled(
        self, made: _Made, items: Sequence[Any], *, even_expired: bool = False
    ) -> tuple[list[ModelT], list[int] | None]:
        places = None
        if self._ttl is not None and not even_expired:
            now = seconds_now()
            places = [n for n, s in enumerate(items) if not has_passed(made.items.ttl(s), now)]
            if len(places) == len(items):
                places = None
            else:
                items = [items[place] for place in places]
        models: list[ModelT] = []
        for begin in range(0, len(items), _AT_ONCE):
            # Strict models take what DynamoDB can hold: it has no dates, tuples or UUIDs.
            values = made.items.unwrap(items[begin : begin + _AT_ONCE])
            models += made.validate(values, strict=False, context=STORED)
        self.counts.add(len(models), 0)
        return models, places

    def _mixed(self, made: _Made, body: bytes) -> Found[ModelT]:
        """Read a page item by item, each by the general walk that cannot be read otherwise."""
        page = decode(RAW_PAGE, body)
        models: list[ModelT] = []
        places: list[int] = []
        for place, raw in enumerate(page.Items):
            found = self._single(made, bytes(raw))
            if found is not None:
                models.append(found)
                places.append(place)
        return Found(models, places, page.last_key(), page.ConsumedCapacity, len(page.Items))

    def _mixed_batch(self, made: _Made, body: bytes, table_name: str) -> Batch[ModelT]:
        """Read a batch as `_mixed` reads a page."""
        batch = decode(RAW_BATCH, body)
        by_key = {}
        for raw in batch.Responses.get(table_name, []):
            found = self._single(made, bytes(raw))
            if found is not None:
                by_key[self._identity(read_body(bytes(raw)))] = found
        return Batch(by_key, part(batch.UnprocessedKeys), batch.ConsumedCapacity)

    def _identity(self, item: Item) -> tuple[Any, ...]:
        return identity(key_in(item, self.codec.keys.names))

    def _single(self, made: _Made, raw: bytes) -> ModelT | None:
        try:
            struct = made.envelopes.item.decode(raw)
            models, _ = self._compiled(made, [struct])
        except Exception:  # noqa: BLE001 - the general walk finds it again
            item = read_body(raw)
            return None if self._expired(item) else self._walk(item)
        return models[0] if models else None

    def _walked(self, parsed: dict[str, Any]) -> Found[ModelT]:
        items = part_of(parsed, "Items", list)
        places = [n for n, item in enumerate(items) if not self._expired(item)]
        return Found(
            [self._walk(items[place]) for place in places],
            places,
            part_of(parsed, "LastEvaluatedKey", dict) or None,
            parsed.get("ConsumedCapacity"),
            len(items),
        )

    def _expired(self, item: Item) -> bool:
        try:
            if self._ttl is None:
                return False
            return has_passed(item.get(self._ttl, {}).get("N"), seconds_now())
        except Exception as error:
            if is_item(item):
                raise
            raise unreadable("an item is not of DynamoDB's form") from error

    def _walk(self, item: Item) -> ModelT:
        self.counts.add(0, 1)
        try:
            return self.codec.decode(item)
        except DynamoDBWrapperError:
            raise
        except Exception as error:
            if is_item(item):  # a validator of the user's raised it
                raise
            raise unreadable("an item is not of DynamoDB's form") from error


def stored_items(reply: Reply) -> Found[Item]:
    """Return what a Query or Scan found, as it is stored, expired or not."""
    parsed = reply.parsed()
    items = part_of(parsed, "Items", list)
    last_key = part_of(parsed, "LastEvaluatedKey", dict) or None
    return Found(
        items, None, last_key, parsed.get("ConsumedCapacity"), part_of(parsed, "Count", int)
    )


def stored_batch(names: Sequence[str], reply: Reply, table_name: str) -> Batch[Item]:
    """Return what a BatchGetItem found, as it is stored; the names are the key's."""
    parsed = reply.parsed()
    items = part_of(part_of(parsed, "Responses", dict), table_name, list)
    by_key = {identity(key_in(item, names)): item for item in items}
    left = part_of(parsed, "UnprocessedKeys", dict)
    return Batch(by_key, left, parsed.get("ConsumedCapacity"))


def _is_complete(model: type[BaseModel]) -> bool:
    """Tell whether everything a model names is defined by now."""
    return model.__pydantic_complete__ or model.model_rebuild(raise_errors=False) is not False
