"""Parameters and tags of a run as they are stored: without secrets, and not too large."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pydantic_core

from dynamodb_wrapper.redaction import redact_known, redact_values, stored_text

_TEXT_BYTES = 4096
_ALL_BYTES = 32_768


def stored_parameters(parameters: Mapping[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return what is stored of parameters; dates and the like become text, a cut is marked."""
    plain = pydantic_core.to_jsonable_python(dict(parameters), fallback=str)
    clean = {
        name: _cut(redact_values({name: plain[name]}, secrets)[name], secrets) for name in plain
    }
    size = len(json.dumps(clean))
    if size > _ALL_BYTES:
        names = ", ".join(sorted(clean))
        return {"[cut]": stored_text(f"{size:,} bytes; names: {names}", (), _TEXT_BYTES)}
    return clean


def stored_tags(tags: Mapping[str, str], secrets: tuple[str, ...]) -> dict[str, str]:
    """Return what is stored of tags; one that looks like a secret is refused by the model."""
    return {
        name: redact_known(tag, secrets) if isinstance(tag, str) else tag
        for name, tag in tags.items()
    }


def _cut(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return stored_text(value, secrets, _TEXT_BYTES)
    if isinstance(value, dict):
        return {name: _cut(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, secrets) for inner in value]
    return value
