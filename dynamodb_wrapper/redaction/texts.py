"""Take secrets out of texts, and find them in settings."""

from __future__ import annotations

import base64
import html
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

from dynamodb_wrapper.redaction.names import is_password, is_secret_key
from dynamodb_wrapper.redaction.places import find_places, without_places
from dynamodb_wrapper.redaction.shapes import REDACTED, find_shapes, without_shapes
from dynamodb_wrapper.redaction.values import PLAIN, can_be_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHORTEST_SECRET = 8  # a placeholder such as "local" is a word that texts need
CUT = " …[cut]"
_KEPT_CHARACTERS = 32_768  # more than is stored, so that no secret is cut in two unseen


def find_secrets(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield ``(path, reason)`` of each literal secret inside nested dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            inner_path = (*path, str(key))
            if is_secret_key(str(key)) and _is_literal(inner, str(key)):
                yield ".".join(inner_path), "its name says it is a secret"
            else:
                yield from find_secrets(inner, inner_path)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for position, inner in enumerate(value):
            yield from find_secrets(inner, (*path, str(position)))
    elif isinstance(value, str) and not value.startswith(PLAIN):
        where = ".".join(path) or "value"
        for reason in find_shapes(value):
            yield where, f"it holds {reason}"
            return
        for name in find_places(value):
            yield where, f"it holds a secret beside {name!r}"
            return


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with known secret values and everything that looks like one taken out."""
    text = without_shapes(redact_known(text, secrets))
    if "input_value=" in text:  # pydantic's own texts show the refused value
        text = _pydantic_input().sub(rf"\g<keep>{REDACTED}", text)
    return without_places(text)


@lru_cache(maxsize=1)
def _pydantic_input() -> re.Pattern[str]:
    return re.compile(r"(?P<keep>\binput_value=)[^\n]{1,2000}(?=, input_type=)")


def redact_known(text: str, secrets: Iterable[str]) -> str:
    """Return the text with known secret values taken out, and nothing else."""
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True):
        for form in _forms(secret):
            if form in text:
                text = text.replace(form, REDACTED)
    return text


@lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[str, ...]:
    """Return how a value stands in texts: as it is, in addresses, JSON, XML, reprs, base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {
        secret,
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        html.escape(secret),
        repr(secret)[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        raw.hex(),
    }
    return tuple(sorted(forms, key=len, reverse=True))


def redact_values(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return a copy of nested dicts and lists with every secret replaced.

    In keys only known secrets are replaced: a key that looks like a secret is a name.
    """
    known = tuple(secrets)
    if isinstance(value, dict):
        return {
            redact_known(key, known) if isinstance(key, str) else key: REDACTED
            if is_secret_key(str(key)) and _is_literal(inner, str(key))
            else redact_values(inner, known)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_values(inner, known) for inner in value]
    return redact(value, known) if isinstance(value, str) else value


def _is_literal(value: object, name: str) -> bool:
    """Return whether a value, or one inside of it, can be a secret."""
    if isinstance(value, dict):
        return any(_is_literal(inner, name) for inner in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_is_literal(inner, name) for inner in value)
    if value is None or isinstance(value, bool):
        return False
    if isinstance(value, bytes):
        return bool(value)
    if not isinstance(value, str):
        return is_password(name)
    return can_be_secret(name, value)


def stored_text(text: str, secrets: Iterable[str], size_bytes: int) -> str:
    """Return the beginning of a text without secrets; a cut is marked."""
    return head(presentable(text, secrets), size_bytes)


def without_known(value: Any, secrets: Iterable[str]) -> Any:
    """Return a copy of a value with known secrets taken out of every text in it, keys included.

    What holds none is returned as it is: dicts, lists, and models of pydantic.
    """
    known = tuple(secrets)
    if isinstance(value, str):
        clean = redact_known(value, known)
        return value if clean == value else clean
    if isinstance(value, dict):
        return {without_known(k, known): without_known(v, known) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(without_known(inner, known) for inner in value)
    if isinstance(value, list):
        return [without_known(inner, known) for inner in value]
    if isinstance(value, BaseModel):
        fields = {name: without_known(inner, known) for name, inner in value}
        return value.model_copy(update=fields)
    return value


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
