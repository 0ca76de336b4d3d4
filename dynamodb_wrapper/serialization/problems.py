"""Values that do not fit a model or a column: errors that do not show the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pydantic

Mismatch = Literal["raise", "null", "quarantine"]


class UnexpectedError(Exception):
    """A value is not of the form its annotation leads one to expect; generated code raises it."""


class Quarantined(NamedTuple):
    """A value that does not fit its column; its item is in no row.

    Attributes:
        key: Key of the item, attribute name to value.
        column: The column; with the path inside it where the value is nested.
        reason: The type it is stored as, and why that does not fit; never the value.
    """

    key: Mapping[str, Any]
    column: str
    reason: str


def explain(error: pydantic.ValidationError) -> str:
    """Describe the errors, field by field, without the values."""
    parts = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(step) for step in problem["loc"])
        text = problem["msg"].replace("Value error, ", "")
        parts.append(f"{place}: {text}" if place else text)
    return "; ".join(parts)


def clean_errors(error: pydantic.ValidationError) -> list[dict[str, Any]]:
    """Return pydantic's errors without input values, which may be secret."""
    return [
        {"loc": tuple(problem["loc"]), "msg": problem["msg"], "type": problem["type"]}
        for problem in error.errors(include_url=False)
    ]
