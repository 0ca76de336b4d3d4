"""Texts on their way into the store: valid UTF-8, without secrets, cut to size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.redaction.secrets import redact, redact_known

if TYPE_CHECKING:
    from collections.abc import Iterable

CUT = " …[cut]"
_KEPT_CHARACTERS = 32_768  # more than is stored, so that no secret is cut in two unseen


def stored_text(text: str, secrets: Iterable[str], size_bytes: int) -> str:
    """Return the beginning of a text as it may be stored; a cut is marked."""
    return head(presentable(text, secrets), size_bytes)


def presentable(text: str, secrets: Iterable[str], *, kept: int = _KEPT_CHARACTERS) -> str:
    """Return a text as UTF-8 and without secrets; the middle of a very long one is left out.

    Args:
        text: The text.
        secrets: Values to take out.
        kept: Characters kept of each end.
    """
    known = tuple(secrets)
    clean = redact_known(text.encode("utf-8", "replace").decode(), known)
    if len(clean) > 2 * kept:
        clean = f"{clean[:kept]}{CUT}{clean[-kept:]}"
    return redact(clean, known)


def head(text: str, size_bytes: int) -> str:
    """Return the beginning of a text; a cut is marked."""
    raw = text.encode()
    if len(raw) <= size_bytes:
        return text
    return raw[: size_bytes - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def tail(text: str, size_bytes: int) -> str | None:
    """Return the end of a text that is longer than this; None where the head holds all of it."""
    raw = text.encode()
    if len(raw) <= size_bytes:
        return None
    return CUT + raw[-(size_bytes - len(CUT.encode())) :].decode("utf-8", "ignore")
