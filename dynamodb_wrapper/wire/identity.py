"""Keys in a form that can be compared and put into a dict."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.config import unreadable
from dynamodb_wrapper.wire.forms import is_item

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.wire.attributes import AttributeValue, Item


def identity(key: Item) -> tuple[Any, ...]:
    """Return a key in a form that can be compared and put into a dict."""
    parts = []
    for name, value in key.items():
        ((tag, content),) = value.items()
        parts.append((name, tag, Decimal(content) if tag == "N" else content))
    parts.sort()
    return tuple(parts)


def comparable(value: AttributeValue) -> tuple[str, Any]:
    """Return type descriptor and content of a key value; numbers by their value."""
    ((tag, content),) = value.items()
    return (tag, Decimal(content) if tag == "N" else content)


def key_in(item: Item, names: Iterable[str]) -> Item:
    """Return attributes of an item that every item has.

    Raises:
        ServiceError: It has not.
    """
    names = dict.fromkeys(names)
    key = {name: item[name] for name in names if name in item} if isinstance(item, dict) else {}
    if len(key) < len(names) or not is_item(key):
        raise unreadable(f"an item is without its key {', '.join(names)}")
    return key
