"""A transaction over one or several repositories."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from dynamodb_wrapper.aws.calls import Caller, Consumed
from dynamodb_wrapper.aws.transactions import transact
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.table import ModelT
from dynamodb_wrapper.repositories.moments import Moment, first_use
from dynamodb_wrapper.repositories.write_results import refreshed
from dynamodb_wrapper.serialization.changes import check_changes, refuse_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from boto3.dynamodb.conditions import ConditionBase
    from pydantic import BaseModel
    from typing_extensions import Self

    from dynamodb_wrapper.repositories.item_requests import ItemRequests, Write
    from dynamodb_wrapper.serialization.paths import Path


class Repository(Protocol[ModelT]):
    """The parts of a `BaseDynamoRepository` that a transaction uses."""

    @property
    def _caller(self) -> Caller: ...

    @property
    def _requests(self) -> ItemRequests[ModelT]: ...


class Transaction:
    """Writes that are applied together or not at all.

    The methods only collect. A clean exit of the block sends everything in one request; an
    exception in the block sends nothing. Objects given to `create`, `put` and `update` are
    refreshed in place after DynamoDB accepted, unless their model is frozen.

    Attributes:
        consumed: Units the transaction consumed, once sent.
    """

    def __init__(
        self, caller: Caller, token: str | None = None, at: datetime | None = None
    ) -> None:
        self._caller = caller
        self._token = token
        self._moment = _moment_of(token, at)
        self._writes: list[tuple[Write, BaseModel | None]] = []
        self._sent = False
        self.consumed = Consumed()

    def create(self, repository: Repository[ModelT], item: ModelT) -> None:
        """Store an item under a key that must be free."""
        with self._stamping():
            write = _requests_of(repository).create(item)
        self._add(repository, write, item)

    def put(
        self,
        repository: Repository[ModelT],
        item: ModelT,
        *,
        condition: ConditionBase | None = None,
    ) -> None:
        """Store an item, replacing what the key holds."""
        with self._stamping():
            write = _requests_of(repository).put(item, condition)
        self._add(repository, write, item)

    def update(
        self,
        repository: Repository[Any],
        item_or_key: Any,
        *,
        set: Mapping[Path, Any] | None = None,
        remove: Sequence[Path] = (),
        add: Mapping[Path, Any] | None = None,
        append: Mapping[Path, Any] | None = None,
        delete: Mapping[Path, Any] | None = None,
        condition: ConditionBase | None = None,
        upsert: bool = False,
    ) -> None:
        """Change an item in place, as `BaseDynamoRepository.update` does."""
        requests = _requests_of(repository)
        model = requests.table.model
        if isinstance(item_or_key, model):
            refuse_changes(set, remove, add, append, delete, arguments.flag("upsert", upsert))
            with self._stamping():
                write = requests.update_model(item_or_key, condition)
            self._add(repository, write, item_or_key)
            return
        changes = check_changes(model, set, remove, add, append, delete)
        with self._stamping():
            write = requests.update_key(item_or_key, changes, condition, upsert)
        self._add(repository, write)

    def delete(
        self,
        repository: Repository[Any],
        key_or_item: Any,
        *,
        condition: ConditionBase | None = None,
        must_exist: bool = False,
    ) -> None:
        """Delete an item."""
        with self._stamping():
            write = _requests_of(repository).delete(key_or_item, condition, must_exist)
        self._add(repository, write)

    def check(self, repository: Repository[Any], key: Any, condition: ConditionBase) -> None:
        """Require a condition of an item that the transaction does not write."""
        with self._stamping():
            write = _requests_of(repository).check(key, condition)
        self._add(repository, write)

    def send(self) -> None:
        """Send the collected writes, if any; leaving the block does this too.

        Raises:
            TransactionCanceledError: Refused, with one reason per action; nothing was written.
            ValidationError: Over 100 actions, two on one item, or sent already; or the token was
                used for other content.
        """
        if self._sent:
            raise ValidationError("The transaction was sent already; start another one.")
        self._sent = True
        if not self._writes:
            return
        actions = [write.as_action() for write, _ in self._writes]
        transact(self._caller, actions, token=self._token, meter=self.consumed)
        for write, item in self._writes:
            if item is not None:
                refreshed(item, write.new_values(item))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self._sent:
            self.send()

    def _stamping(self) -> AbstractContextManager[None]:
        return nullcontext() if self._moment is None else self._moment.fixed()

    def _add(
        self, repository: Repository[Any], write: Write, item: BaseModel | None = None
    ) -> None:
        theirs, ours = repository._caller.client.meta, self._caller.client.meta
        if (theirs.region_name, theirs.endpoint_url) != (ours.region_name, ours.endpoint_url):
            raise ValidationError(
                f"Table {repository._caller.table_name!r} is in {theirs.region_name} at "
                f"{theirs.endpoint_url}, the transaction in {ours.region_name} at "
                f"{ours.endpoint_url}; a transaction stays in one region and account."
            )
        self._writes.append((write, item))


def _requests_of(repository: Repository[ModelT]) -> ItemRequests[ModelT]:
    if isinstance(repository, type) or not hasattr(repository, "_requests"):
        raise ValidationError(
            f"repository is {arguments.shown(repository)}; it is the repository of the item's "
            "table, which comes first: transaction.put(orders, order)."
        )
    return repository._requests


def _is_unicode(text: str) -> bool:
    """Return whether a text can be sent: it has no half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _moment_of(token: str | None, at: datetime | None) -> Moment | None:
    """Return what the requests are stamped with; None without a token."""
    if token is None:
        if at is not None:
            raise ValidationError("at= belongs to a token=: it makes a repetition the same.")
        return None
    if not isinstance(token, str) or not 1 <= len(token) <= 36 or not _is_unicode(token):
        raise ValidationError(
            f"token is {arguments.shown(token)}; it is a text of 1 to 36 characters."
        )
    if at is None:
        return Moment(token, first_use(token))
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValidationError("at is a datetime with a time zone.")
    return Moment(token, at.astimezone(timezone.utc))
