"""Parameters and tags of a run as they are stored: without secrets, and not too large."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pydantic_core

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.redaction import presentable, redact_known, redact_values, stored_text

_TEXT_BYTES = 4096
_ALL_BYTES = 32_768


def stored_parameters(parameters: Mapping[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return what is stored of parameters; dates and the like become text, a cut is marked.

    Raises:
        ValidationError: A parameter holds what JSON cannot say; it is named.
    """
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        plain.update(_plain(name, value, secrets))
    clean: dict[str, Any] = _cut(redact_values(plain, secrets), secrets)
    size = len(json.dumps(clean))
    if size > _ALL_BYTES:
        names = ", ".join(sorted(clean))
        return {"[cut]": stored_text(f"{size:,} bytes; names: {names}", (), _TEXT_BYTES)}
    return clean


def stored_tags(tags: Mapping[str, str], secrets: tuple[str, ...]) -> dict[str, str]:
    """Return what is stored of tags; one that looks like a secret is refused by the model."""
    return {_without(secrets, name): _without(secrets, tag) for name, tag in tags.items()}


def _without(secrets: tuple[str, ...], text: Any) -> Any:
    return redact_known(text, secrets) if isinstance(text, str) else text


def _plain(name: Any, value: Any, secrets: tuple[str, ...]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = pydantic_core.to_jsonable_python({name: value}, fallback=str)
        return plain
    except Exception as error:  # noqa: BLE001 - a __str__ of the caller's may raise anything
        shown = presentable(name, secrets) if isinstance(name, str) else type(name).__name__
        raise ValidationError(
            f"Parameter {shown!r} cannot be stored ({type(error).__name__}): give what JSON can "
            "say, or a text."
        ) from None


def _cut(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return stored_text(value, secrets, _TEXT_BYTES)
    if isinstance(value, dict):
        return {name: _cut(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, secrets) for inner in value]
    return value
