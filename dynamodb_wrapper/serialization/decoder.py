"""Decode replies into models: with generated code where possible, else with the generic decoder.

The generic decoder is `Codec.decode`: it is several times slower and reads every item that fits.
"""

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
    CompiledDecoder,
    Envelopes,
    Mark,
    compile_decoder,
    decode,
    envelopes,
    part,
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
_BATCH_SIZE = 64
"""Items unwrapped before they are validated; more of them slow down the garbage collector."""


@dataclass
class Counts:
    """Number of items that an `ItemReader` decoded each way.

    Attributes:
        compiled: With code generated for the model.
        generic: With the generic decoder, which is several times slower.
    """

    compiled: int = 0
    generic: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, compiled: int, generic: int) -> None:
        """Add items to the counts."""
        with self._lock:
            self.compiled += compiled
            self.generic += generic


@dataclass(eq=False)
class DecodedPage(Generic[T]):
    """Items of a Query or Scan reply.

    Attributes:
        models: The models of items that have not expired and are of the reader's kind.
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


@dataclass(eq=False)
class DecodedItem(Generic[T]):
    """The item of a GetItem reply, or the one a write returned.

    Attributes:
        model: The model; None where there is no item, or an expired one is not wanted.
        capacity: The reply's ``ConsumedCapacity``.
        key: The `identity` of its key; None where there is no model.
    """

    model: T | None
    capacity: Any
    key: tuple[Any, ...] | None = None


@dataclass(eq=False)
class DecodedBatch(Generic[T]):
    """Items of a BatchGetItem reply.

    Attributes:
        by_key: Models by the `identity` of their key; expired ones are left out.
        left: The reply's ``UnprocessedKeys``.
        capacity: The reply's ``ConsumedCapacity``.
    """

    by_key: dict[Any, T]
    left: dict[str, Any]
    capacity: Any


class _Compiled(NamedTuple):
    """Code generated for a model as pydantic has built it now."""

    items: CompiledDecoder
    envelopes: Envelopes
    validate: Any


class ItemReader(Generic[ModelT]):
    """Reads the models of one table out of replies.

    Args:
        codec: Names table and model, and is the generic decoder.

    Attributes:
        codec: The same.
        counts: Number of items decoded each way.
        column_readers: Readers of the same items as columns, by their options.
    """

    def __init__(self, codec: Codec[ModelT]) -> None:
        self.codec = codec
        self.column_readers: dict[Any, Any] = {}
        self._ttl = codec.ttl
        self._may_respell = codec.model is codec.table.model and codec.keys.may_be_respelt
        self._kind = None if codec.kind is None or codec.kind.is_in_key else codec.kind
        self._mark = None
        if self._kind is not None:
            self._mark = Mark(self._kind.attribute, self._kind.text, self._kind.is_default)
        self.counts = Counts()
        self._code = self._compile()
        self._build = codec.model.__pydantic_validator__

    def _compile(self) -> _Compiled | None:
        codec = self.codec
        if not _is_complete(codec.model):
            return None
        items = compile_decoder(
            codec.model,
            codec.keeps_unknown,
            codec.own_names,
            codec.keys.names,
            self._ttl,
            self._mark,
        )
        return items and _Compiled(items, envelopes(items.struct), validator(codec.model))

    def _ready(self) -> _Compiled | None:
        """Return the code for the model; None where only the generic decoder reads it."""
        if self.codec.model.__pydantic_validator__ is not self._build:  # pydantic rebuilt it
            self._code = self._compile()
            self._build = self.codec.model.__pydantic_validator__
        return self._code

    # ---- replies ---------------------------------------------------------------------------------

    def page(self, reply: Reply) -> DecodedPage[ModelT]:
        """Return the models of a Query or Scan reply.

        Raises:
            IncompatibleItemError: An item does not fit the model.
            ServiceError: It is no reply of DynamoDB's.
        """
        code = self._ready()
        if reply.body is not None and code is not None:
            try:
                page = code.envelopes.page.decode(reply.body)
                models, places = self._compiled(code, page.Items)
            except Exception:  # noqa: BLE001 - the generic decoder finds the problem again
                return self._page_by_item(code, reply.body)
            return DecodedPage(
                models, places, page.last_key(), page.ConsumedCapacity, len(page.Items)
            )
        return self._generic_page(reply.parsed())

    def one(self, reply: Reply) -> DecodedItem[ModelT]:
        """Return the model of a GetItem reply; as `page`."""
        return self._one(reply, "Item", even_expired=False)

    def returned(self, reply: Reply, *, even_expired: bool) -> DecodedItem[ModelT]:
        """Return the model of the item that a write returned; as `page`."""
        return self._one(reply, "Attributes", even_expired=even_expired)

    def batch(self, reply: Reply, table_name: str) -> DecodedBatch[ModelT]:
        """Return the models of a BatchGetItem reply; as `page`."""
        code = self._ready()
        if reply.body is not None and code is not None:
            try:
                found = code.envelopes.batch.decode(reply.body)
                items = found.Responses.get(table_name, [])
                models, places = self._compiled(code, items)
                kept = items if places is None else [items[place] for place in places]
                by_key = dict(zip(map(code.items.key, kept), models))
                return DecodedBatch(by_key, part(found.UnprocessedKeys), found.ConsumedCapacity)
            except Exception:  # noqa: BLE001 - as above
                return self._batch_by_item(code, reply.body, table_name)
        parsed = reply.parsed()
        by_key = {
            self._identity(item): self._generic(item)
            for item in part_of(part_of(parsed, "Responses", dict), table_name, list)
            if not self._is_left_out(item)
        }
        left = part_of(parsed, "UnprocessedKeys", dict)
        return DecodedBatch(by_key, left, parsed.get("ConsumedCapacity"))

    def _one(self, reply: Reply, name: str, *, even_expired: bool) -> DecodedItem[ModelT]:
        code = self._ready()
        if reply.body is not None and code is not None:
            decoder = code.envelopes.one if name == "Item" else code.envelopes.returned
            try:
                found = decoder.decode(reply.body)
                items = [] if found.Item is None else [found.Item]
                models, _ = self._compiled(code, items, even_expired=even_expired)
                key = code.items.key(found.Item) if models else None
                return DecodedItem(models[0] if models else None, found.ConsumedCapacity, key)
            except Exception:  # noqa: BLE001 - as above
                pass
        parsed, model, key = reply.parsed(), None, None
        item = part_of(parsed, name, dict)
        if item and not self._is_left_out(item, even_expired=even_expired):
            model, key = self._generic(item), self._identity(item)
        return DecodedItem(model, parsed.get("ConsumedCapacity"), key)

    # ---- items -----------------------------------------------------------------------------------

    def _compiled(
        self, code: _Compiled, items: Sequence[Any], *, even_expired: bool = False
    ) -> tuple[list[ModelT], list[int] | None]:
        places = None
        if self._ttl is not None and not even_expired:
            now = seconds_now()
            places = [n for n, s in enumerate(items) if not has_passed(code.items.ttl(s), now)]
            if len(places) == len(items):
                places = None
            else:
                items = [items[place] for place in places]
        models: list[ModelT] = []
        for begin in range(0, len(items), _BATCH_SIZE):
            # Strict models take what DynamoDB can hold: it has no dates, tuples or UUIDs.
            values = code.items.unwrap(items[begin : begin + _BATCH_SIZE])
            models += code.validate(values, strict=False, context=STORED)
        if self._may_respell:
            for model, item in zip(models, items):
                self.codec.keys.note_read(model, code.items.key(item))
        self.counts.add(len(models), 0)
        return models, places

    def _page_by_item(self, code: _Compiled, body: bytes) -> DecodedPage[ModelT]:
        """Read a page item by item; the generic decoder reads those that the code refuses."""
        page = decode(RAW_PAGE, body)
        models: list[ModelT] = []
        places: list[int] = []
        for place, raw in enumerate(page.Items):
            found = self._single(code, bytes(raw))
            if found is not None:
                models.append(found)
                places.append(place)
        return DecodedPage(models, places, page.last_key(), page.ConsumedCapacity, len(page.Items))

    def _batch_by_item(self, code: _Compiled, body: bytes, table_name: str) -> DecodedBatch[ModelT]:
        """Read a batch item by item; as `_page_by_item`."""
        batch = decode(RAW_BATCH, body)
        by_key = {}
        for raw in batch.Responses.get(table_name, []):
            found = self._single(code, bytes(raw))
            if found is not None:
                by_key[self._identity(read_body(bytes(raw)))] = found
        return DecodedBatch(by_key, part(batch.UnprocessedKeys), batch.ConsumedCapacity)

    def _identity(self, item: Item) -> tuple[Any, ...]:
        return identity(key_in(item, self.codec.keys.names))

    def _single(self, code: _Compiled, raw: bytes) -> ModelT | None:
        try:
            struct = code.envelopes.item.decode(raw)
            models, _ = self._compiled(code, [struct])
        except Exception:  # noqa: BLE001 - the generic decoder finds the problem again
            item = read_body(raw)
            return None if self._is_left_out(item) else self._generic(item)
        return models[0] if models else None

    def _generic_page(self, parsed: dict[str, Any]) -> DecodedPage[ModelT]:
        items = part_of(parsed, "Items", list)
        places = [n for n, item in enumerate(items) if not self._is_left_out(item)]
        return DecodedPage(
            [self._generic(items[place]) for place in places],
            places,
            part_of(parsed, "LastEvaluatedKey", dict) or None,
            parsed.get("ConsumedCapacity"),
            len(items),
        )

    def _is_left_out(self, item: Item, *, even_expired: bool = False) -> bool:
        """Return whether an item is of another kind, or has expired."""
        try:
            if self._kind is not None and not self._kind.holds(item):
                return True
            if self._ttl is None or even_expired:
                return False
            return has_passed(item.get(self._ttl, {}).get("N"), seconds_now())
        except Exception as error:
            if is_item(item):
                raise
            raise unreadable("an item is not of DynamoDB's form") from error

    def _generic(self, item: Item) -> ModelT:
        self.counts.add(0, 1)
        try:
            model = self.codec.decode(item)
            if self._may_respell:
                self.codec.keys.note_read(model, self._identity(item))
            return model
        except DynamoDBWrapperError:
            raise
        except Exception as error:
            if is_item(item):  # a validator of the model raised it
                raise
            raise unreadable("an item is not of DynamoDB's form") from error


def stored_items(reply: Reply) -> DecodedPage[Item]:
    """Return the items of a Query or Scan reply as they are stored, expired ones included."""
    parsed = reply.parsed()
    items = part_of(parsed, "Items", list)
    last_key = part_of(parsed, "LastEvaluatedKey", dict) or None
    return DecodedPage(
        items, None, last_key, parsed.get("ConsumedCapacity"), part_of(parsed, "Count", int)
    )


def stored_batch(names: Sequence[str], reply: Reply, table_name: str) -> DecodedBatch[Item]:
    """Return the items of a BatchGetItem reply as they are stored; `names` are the key."""
    parsed = reply.parsed()
    items = part_of(part_of(parsed, "Responses", dict), table_name, list)
    by_key = {identity(key_in(item, names)): item for item in items}
    left = part_of(parsed, "UnprocessedKeys", dict)
    return DecodedBatch(by_key, left, parsed.get("ConsumedCapacity"))


def _is_complete(model: type[BaseModel]) -> bool:
    """Return whether all types that a model names are defined by now."""
    return model.__pydantic_complete__ or model.model_rebuild(raise_errors=False) is not False
