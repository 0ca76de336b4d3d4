"""Values that a job measures: numbers of any library, and what is stored of those that are none."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Optional, Union

from pydantic import BeforeValidator

_MOST_DIGITS = 38
_LEAST_EXPONENT, _GREATEST_EXPONENT = -130, 125


def python_scalar(value: Any) -> Any:
    """Return a scalar of numpy or pandas, a member of an enum or a number or text of a subclass as
    Python's own type; None for NaT and NA; anything else as it is.

    Raises:
        ValueError: It is a moment or duration of numpy, which has no time zone.
    """
    if isinstance(value, Enum):
        value = value.value
    kind: Any = type(value)
    if kind.__module__.partition(".")[0] in ("numpy", "pandas"):
        if kind.__name__ in ("NAType", "NaTType"):
            return None
        if kind.__name__ in ("datetime64", "timedelta64"):
            if str(value) == "NaT":
                return None
            raise ValueError(f"is a {kind.__name__} of numpy, without time zone; use datetime")
        if hasattr(value, "item") and not getattr(value, "ndim", None):
            value = value.item()
    if isinstance(value, bool) or type(value) in (int, float, str):
        return value
    for base in (int, float, str):
        if isinstance(value, base):
            return str.__str__(value) if base is str else base(value)
    return value


def is_storable_number(value: float | Decimal) -> bool:
    """Return whether DynamoDB holds a number exactly: finite, 38 digits, 1E-130 to 9.9E+125."""
    if isinstance(value, int):
        return len(str(abs(value)).rstrip("0")) <= _MOST_DIGITS and abs(value) < 10**126
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if not number.is_finite():
        return False
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    in_range = _LEAST_EXPONENT <= number.adjusted() <= _GREATEST_EXPONENT
    return not number or (in_range and len(digits) <= _MOST_DIGITS)


def measured(value: Any) -> Any:
    """Return a measured value as it is stored.

    A figure that could not be computed, or that DynamoDB cannot hold, must not fail the job that it
    describes: NaN, infinities and numbers beyond DynamoDB's become text, NA and NaT None.

    Raises:
        ValueError: It is a moment or duration of numpy.
    """
    plain = python_scalar(value)
    is_number = isinstance(plain, (int, float, Decimal)) and not isinstance(plain, bool)
    return str(plain) if is_number and not is_storable_number(plain) else plain


def measured_parts(value: Any) -> Any:
    """Return dicts, lists and tuples with each value as `measured` returns it, else as text."""
    if isinstance(value, dict):
        return {key: measured_parts(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [measured_parts(inner) for inner in value]
    try:
        return measured(value)
    except ValueError:
        return str(value)


Metric = Union[int, Decimal, str]
MetricField = Annotated[Optional[Metric], BeforeValidator(measured)]
"""A metric as a model has it; see `measured` for what becomes text or None."""
