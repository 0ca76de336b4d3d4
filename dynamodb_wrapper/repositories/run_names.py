"""Names people give inside of a run: of stages, metrics, checks, outputs, watermarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.redaction import redact_known

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME_BYTES = 1024


def checked_name(name: Any, what: str) -> str:
    """Return a name that can be stored.

    Args:
        name: The name.
        what: What it names, for error texts.

    Raises:
        ValidationError: It is no text, empty, no valid UTF-8, or over 1,024 bytes.
    """
    if not isinstance(name, str):
        raise ValidationError(f"{what} has a name that is a {type(name).__name__}; use a text.")
    if not name:
        raise ValidationError(f"{what} has an empty name; give it one.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValidationError(
            f"{what} has a name with a lone surrogate, which is no UTF-8."
        ) from None  # Python's error holds the name
    if size > MAX_NAME_BYTES:
        raise ValidationError(
            f"{what} has a name of {size:,} bytes; {MAX_NAME_BYTES:,} are the limit."
        )
    return str(name)


def identity(name: Any, what: str, secrets: Iterable[str]) -> str:
    """Return a name that items are found by, which may therefore hold no secret.

    Raises:
        ValidationError: As `checked_name`, or it holds a secret of the process; never shown.
    """
    checked = checked_name(name, what)
    if redact_known(checked, secrets) != checked:
        raise ValidationError(
            f"{what} has a name that holds a secret of this process; it would be stored in the "
            "clear. Name it otherwise."
        )
    return checked
