"""What pydantic found wrong, without the values, which may be secret."""

from __future__ import annotations

from typing import Any

import pydantic


def explain(error: pydantic.ValidationError) -> str:
    """Return what is wrong, field by field, without the values."""
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
