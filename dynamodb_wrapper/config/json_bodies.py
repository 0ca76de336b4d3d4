"""Bodies of data operations as JSON.

Inside the library items have the form boto3 gives them, where binary is bytes; on the wire it is
base64.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from dynamodb_wrapper.exceptions import ServiceError, ValidationError

_BINARY = (b'"B"', b'"BS"')


def write_body(request: dict[str, Any]) -> bytes:
    """Return a request as DynamoDB takes it.

    Raises:
        ValidationError: A text holds a lone surrogate.
    """
    try:
        return orjson.dumps(request, default=_as_base64)
    except orjson.JSONEncodeError as error:
        raise ValidationError(f"The request cannot be sent: {error}.") from error


def _as_base64(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"it holds a {type(value).__name__}")


def read_body(body: bytes) -> dict[str, Any]:
    """Return a reply as boto3 would parse it.

    Raises:
        ServiceError: It is no JSON object, or holds binary that is no base64.
    """
    try:
        found = orjson.loads(body)
        if any(mark in body for mark in _BINARY):
            found = with_bytes(found)
    except (ValueError, binascii.Error) as error:
        raise unreadable(error) from error
    if not isinstance(found, dict):
        raise unreadable("it is no JSON object")
    return found


def unreadable(why: object) -> ServiceError:
    """Return the error of a reply that is none of DynamoDB's."""
    return ServiceError(f"DynamoDB's reply cannot be read: {why}.", retryable=True)


def with_bytes(value: Any) -> Any:
    """Return the same with binary as bytes.

    An attribute may be called ``B``: then its value is no text and no list of texts.
    """
    if isinstance(value, list):
        return [with_bytes(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        binary = value.get("B")
        if isinstance(binary, str):
            return {"B": _decoded(binary)}
        many = value.get("BS")
        if isinstance(many, list) and all(isinstance(inner, str) for inner in many):
            return {"BS": [_decoded(inner) for inner in many]}
    return {name: with_bytes(inner) for name, inner in value.items()}


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
