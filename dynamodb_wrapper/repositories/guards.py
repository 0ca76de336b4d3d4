"""Conditions a table puts on its items by itself: present, unexpired, of our kind, in a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import Document, Table
from dynamodb_wrapper.wire.expiry import has_passed, seconds_now

if TYPE_CHECKING:
    from dynamodb_wrapper.wire.expressions import Expressions


class Guards:
    """Texts of conditions and filters, written into the expressions of one request."""

    def __init__(self, table: Table[Any]) -> None:
        self._table = table

    def present(self, expressions: Expressions) -> str:
        """Return the condition that the item exists and has not expired."""
        exists = f"attribute_exists({expressions.path(self._partition())})"
        return expressions.all_of([exists, self.unexpired(expressions)]) or exists

    def unexpired(self, expressions: Expressions) -> str | None:
        """Return the condition that the TTL has not passed; None without a TTL.

        What is no number is no TTL, for DynamoDB as for us.
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
        """Tell whether the TTL of a stored item has passed."""
        if self._table.ttl is None:
            return False
        value = stored.get(self._table.attribute_of(self._table.ttl), {}).get("N")
        return has_passed(value, seconds_now())

    def own_kind(self, expressions: Expressions) -> str | None:
        """Return the filter that leaves out companion items; None for other models."""
        if not issubclass(self._table.model, Document):
            return None
        path = expressions.path(("kind",))
        value = expressions.value({"S": self._table.model.KIND})
        return f"attribute_not_exists({path}) OR {path} = {value}"

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

    def _partition(self) -> tuple[str]:
        return (self._table.attribute_of(self._table.partition_key),)


def _now() -> dict[str, str]:
    return {"N": str(seconds_now())}
