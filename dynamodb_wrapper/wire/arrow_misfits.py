"""What does not fit a column, and what may become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Misfits = Literal["raise", "null", "quarantine"]


@dataclass(frozen=True)
class Quarantined:
    """A value that does not fit its column; its item is in no row.

    Attributes:
        key: Key of the item, attribute name to value.
        column: The column; with the path inside it where the value is nested.
        reason: As what it is stored, and why that does not fit; never the value.
    """

    key: Mapping[str, Any]
    column: str
    reason: str
