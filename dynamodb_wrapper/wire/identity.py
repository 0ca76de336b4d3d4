"""Keys in a form that can be compared and put into a dict."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamodb_wrapper.wire.attributes import AttributeValue, Item


def identity(key: Item) -> tuple[Any, ...]:
    """Return a key in a form that can be compared and put into a dict."""
    return tuple(sorted((name, *comparable(value)) for name, value in key.items()))


def comparable(value: AttributeValue) -> tuple[str, Any]:
    """Return type descriptor and content of a key value; numbers by their value."""
    ((tag, content),) = value.items()
    return (tag, Decimal(content) if tag == "N" else content)
