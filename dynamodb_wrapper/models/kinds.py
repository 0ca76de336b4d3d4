"""Name the items of one model in a table that holds several (single-table design)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Discriminator:
    """An attribute whose value marks the items of a model.

    Attributes:
        name: A field of the model, or an attribute that the library writes and models do not see.
        value: Text that the items of the model have there.
        is_default: Whether items without the attribute are items of the model too, such as those
            stored before the table held several models.
    """

    name: str
    value: str
    is_default: bool = False


@dataclass(frozen=True)
class KeyPrefix:
    """A text that a key begins with in all items of a model.

    The field holds the whole text, prefix included. It costs nothing: where the key decides, no
    write needs a condition and a query reads only items of the model.

    Attributes:
        name: The partition key or sort key field.
        prefix: Such as ``ORDER#``.
    """

    name: str
    prefix: str
