"""Reading single items of a table."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from pydantic import BaseModel

from dynamodb_wrapper.config import Connection, DynamoDBConfig
from dynamodb_wrapper.exceptions import ItemNotFoundError, ValidationError
from dynamodb_wrapper.models import ModelT, Table
from dynamodb_wrapper.repositories.item_requests import ItemRequests
from dynamodb_wrapper.wire.codec import plain
from dynamodb_wrapper.wire.requests import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dynamodb_wrapper.wire.attributes import Item
    from dynamodb_wrapper.wire.flow import Progress, RateLimiter

SmallerT = TypeVar("SmallerT", bound=BaseModel)


class ItemReads(Generic[ModelT]):
    """Reads single items; `ItemRepository` writes them."""

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
        from dynamodb_wrapper.repositories import many

        stored_keys = [self._requests.key(key) for key in keys]
        are_own = [self._is_own(key) for key in stored_keys]
        own = list(itertools.compress(stored_keys, are_own))
        flow = many.flow_of(workers, rate, on_progress)
        found = many.get(self._caller, self._requests, own, flow, consistent=consistent)
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
