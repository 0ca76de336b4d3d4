"""Check the arguments of public methods; each error names the argument and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from numbers import Integral, Real
from typing import Any, TypeVar

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import ValidationError

T = TypeVar("T")
_SHOWN_CHARACTERS = 60
_SHOWN = (bool, int, float, str, bytes, type(None))


def shown(value: Any) -> str:
    """Return a value for a message: a short one itself, else its type."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value) not in _SHOWN:
        kind = type(value).__name__
        return f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}"
    text = repr(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}… ({type(value).__name__})"


def whole_number(
    name: str, value: Any, meaning: str, *, least: int = 1, most: int | None = None
) -> int:
    """Return a whole number.

    Args:
        name: Name of the argument.
        value: The argument; numpy's whole numbers are taken as well.
        meaning: What it is, for the message: ``the number of items wanted, from 1``.
        least: The smallest number allowed.
        most: The largest one; None for any.

    Raises:
        ValidationError: It is none, or outside of the bounds.
    """
    is_number = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_number or value < least or (most is not None and value > most):
        raise ValidationError(f"{name} is {shown(value)}; it is {meaning}.")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return True or False; 0, 1 and numpy's are taken as well.

    Raises:
        ValidationError: It is anything else.
    """
    if value is True or value is False:
        return bool(value)
    if type(value).__name__ in ("bool", "bool_", "int") and value in (0, 1):
        return bool(value)
    raise ValidationError(f"{name} is {shown(value)}; it is True or False.")


def text(name: str, value: Any, meaning: str = "a text") -> str:
    """Return a text.

    Raises:
        ValidationError: It is none, or an empty one.
    """
    if not isinstance(value, str) or not value:
        raise ValidationError(f"{name} is {shown(value)}; it is {meaning}.")
    return value


def optional_text(name: str, value: Any) -> str | None:
    """Return a text or None; an empty text counts as None.

    Raises:
        ValidationError: It is anything else.
    """
    if value is None or (isinstance(value, str) and not value):
        return None
    return text(name, value, "a text, or None")


def moment(name: str, value: Any) -> datetime:
    """Return a moment with a time zone.

    Raises:
        ValidationError: It is none.
    """
    if not isinstance(value, datetime):
        raise ValidationError(f"{name} is {shown(value)}; it is a datetime with a time zone.")
    if value.utcoffset() is None:
        raise ValidationError(
            f"{name} has no time zone; use datetime.now(timezone.utc) or give it a tzinfo."
        )
    return value


def positive_number(name: str, value: Any, meaning: str) -> float:
    """Return a number above 0.

    Raises:
        ValidationError: It is none.
    """
    is_number = not isinstance(value, bool) and isinstance(value, Real)
    try:
        number = float(value) if is_number else 0
    except OverflowError:
        number = 0
    if not number > 0:
        raise ValidationError(f"{name} is {shown(value)}; give {meaning}, above 0.")
    return number


def function(name: str, value: Any, meaning: str) -> None:
    """Refuse what cannot be called.

    Raises:
        ValidationError: It cannot.
    """
    if not callable(value):
        raise ValidationError(f"{name} is {shown(value)}; it is {meaning}.")


def functions(name: str, values: Iterable[T], meaning: str) -> list[T]:
    """Return functions that are given as a list or the like.

    Raises:
        ValidationError: It is no list, or one cannot be called.
    """
    found = list(several(name, values, f"a list of functions, each {meaning}"))
    for value in found:
        function(f"An item of {name}", value, f"a function, {meaning}")
    return found


def model_class(name: str, value: Any) -> type[BaseModel]:
    """Return a pydantic model class.

    Raises:
        ValidationError: It is none.
    """
    if not isinstance(value, type) or not issubclass(value, BaseModel) or value is BaseModel:
        raise ValidationError(f"{name} is {shown(value)}; it is a pydantic model class.")
    return value


def several(name: str, values: Iterable[T], meaning: str) -> Iterable[T]:
    """Return values that are given as a list, a set, a generator or the like.

    A text, a mapping and a model can be iterated as well, but not as a list of such values.

    Raises:
        ValidationError: It is one of these, or cannot be iterated.
    """
    is_single = isinstance(values, (str, bytes, bytearray, Mapping, BaseModel))
    if is_single or not _is_iterable(values):
        raise ValidationError(f"{name} is {shown(values)}; it is {meaning}.")
    return values


def texts(name: str, values: Iterable[Any], meaning: str) -> list[str]:
    """Return texts that are given as a list or the like, each once and in their order.

    Raises:
        ValidationError: It is no list, or not of texts.
    """
    found = list(several(name, values, meaning))
    for value in found:
        if not isinstance(value, str):
            raise ValidationError(f"{name} holds {shown(value)}; it is {meaning}.")
    return list(dict.fromkeys(found))


def mapping(name: str, values: Any, meaning: str) -> Mapping[Any, Any]:
    """Return a mapping; None counts as an empty one.

    Raises:
        ValidationError: It is none.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ValidationError(f"{name} is {shown(values)}; it is {meaning}.")
    return values


def _is_iterable(values: Any) -> bool:
    if isinstance(values, type):
        return False
    kind = type(values)
    if not (hasattr(kind, "__iter__") or hasattr(kind, "__len__")):
        return False  # a number of numpy and a LazyFrame have __getitem__ all the same
    try:
        iter(values)
    except TypeError:
        return False
    return True
