"""Checks of what callers pass to run control: each refusal names the argument and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pydantic

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import ValidationError


def mapping(value: Any, name: str) -> dict[Any, Any]:
    """Return a mapping as a dict of its own; None is an empty one.

    Raises:
        ValidationError: It is no mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refused(value, name, "a dict")
    return dict(value)


def seconds(value: Any, name: str) -> None:
    """Refuse what is no number of seconds above 0.

    Raises:
        ValidationError: It is none.
    """
    if not _is_number(value) or not value > 0:
        raise ValidationError(f"{name} must be a number of seconds above 0.")


def flag(value: Any, name: str) -> None:
    """Refuse what is neither True nor False: a text such as "false" would count as true.

    Raises:
        ValidationError: It is neither.
    """
    if not isinstance(value, bool):
        raise _refused(value, name, "True or False")


def days_back(value: Any) -> float:
    """Return how many days to look back.

    Raises:
        ValidationError: It is no number above 0, or more than 100 years.
    """
    if not _is_number(value) or not 0 < value <= 36_500:
        raise ValidationError(f"days is {value!r}; give how many days to look back.")
    return float(value)


def how_many(value: Any, name: str) -> int:
    """Return a count from 1.

    Raises:
        ValidationError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refused(value, name, "a whole number from 1")
    return value


def moment(value: Any, name: str) -> None:
    """Refuse what is neither a date nor a datetime.

    Raises:
        ValidationError: It is neither.
    """
    if not isinstance(value, date):
        raise _refused(value, name, "a date, such as date(2026, 1, 31), or an aware datetime")


def environment(value: Any) -> None:
    """Refuse what a config would not take as the name of its environment.

    Raises:
        ValidationError: It is no such name.
    """
    try:
        DynamoDBConfig(environment=value)
    except pydantic.ValidationError:
        raise ValidationError(
            f"{value!r} is no environment; use a lower-case letter, then up to 31 lower-case "
            "letters, digits and -, such as prod."
        ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refused(value: Any, name: str, wanted: str) -> ValidationError:
    return ValidationError(f"{name} is a {type(value).__name__}; give {wanted}.")
