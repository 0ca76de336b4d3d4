"""A write of a single item, ready to be sent alone or in a transaction, and what follows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dynamodb_wrapper.models import ModelT
from dynamodb_wrapper.wire.attributes import Item
from dynamodb_wrapper.wire.codec import plain
from dynamodb_wrapper.wire.transactions import Action


@dataclass
class Write:
    """A write that is ready to be sent.

    Attributes:
        verb: ``put``, ``update``, ``delete`` or ``check``.
        key: Key attributes as stored.
        request: What DynamoDB is sent.
        must_exist: Whether a missing item is what a refusal without an item means.
        expected_version: The version the item must have; None where there is no guard.
        values: Field values to refresh the caller's object with after success.
        written: The whole item as it is stored after success; empty for partial updates.
    """

    verb: str
    key: Item
    request: dict[str, Any]
    must_exist: bool = False
    expected_version: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    written: Item = field(default_factory=dict)

    @property
    def plain_key(self) -> dict[str, Any]:
        """The key as people read it."""
        return plain(self.key) or {}

    def as_action(self) -> Action:
        """Return the write as an action of a transaction."""
        drop = ("ReturnValues", "ReturnValuesOnConditionCheckFailure")
        request = {name: value for name, value in self.request.items() if name not in drop}
        return Action(self.verb, self.key, request)


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
