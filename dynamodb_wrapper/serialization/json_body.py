"""Write requests as JSON and read replies from it.

In Python binary is bytes, as boto3 gives it; in JSON it is base64.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import orjson

from dynamodb_wrapper.exceptions.errors import ServiceError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BINARY = (b'"B"', b'"BS"')
_IS_UNBOUNDED = tuple(map(int, orjson.__version__.split(".")[:3])) < (3, 9, 15)
"""Whether orjson crashes at a body that nests a million levels; msgspec refuses it."""
T = TypeVar("T")


class Encoded:
    """A part of a request that is JSON already.

    Attributes:
        body: The JSON.
    """

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        # A copy, because orjson keeps the rest of its buffer, some kilobytes, with what it returns.
        self.body = bytes(memoryview(body))


def plain_request(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a request for boto3: items that are JSON already are parsed."""
    tables = request.get("RequestItems")
    if not tables:
        return request
    plain = {
        name: [_plain_write(asked) for asked in writes] if isinstance(writes, list) else writes
        for name, writes in tables.items()
    }
    return {**request, "RequestItems": plain}


def _plain_write(asked: dict[str, Any]) -> dict[str, Any]:
    item = asked.get("PutRequest", {}).get("Item")
    return {"PutRequest": {"Item": read_body(item.body)}} if isinstance(item, Encoded) else asked


def write_body(request: Mapping[str, Any]) -> bytes:
    """Return a request as JSON.

    Raises:
        ValidationError: A text holds a lone surrogate.
    """
    try:
        return orjson.dumps(request, default=_json_default)
    except orjson.JSONEncodeError as error:
        raise ValidationError(f"The request cannot be sent: {error}.") from error


def _json_default(value: Any) -> Any:
    if isinstance(value, Encoded):
        return orjson.Fragment(value.body)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"it holds a {type(value).__name__}")


def read_body(body: bytes) -> dict[str, Any]:
    """Return a reply as boto3 would parse it.

    Raises:
        ServiceError: It is no JSON object, or holds binary that is no base64.
    """
    try:
        if _IS_UNBOUNDED:
            msgspec.json.decode(body, type=msgspec.Raw)
        found = orjson.loads(body)
        if any(mark in body for mark in _BINARY):
            found = with_bytes(found)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise unreadable(error) from error
    if not isinstance(found, dict):
        raise unreadable("it is no JSON object")
    return found


def unreadable(why: object) -> ServiceError:
    """Return the error for a reply that is not of DynamoDB's form."""
    return ServiceError(f"DynamoDB's reply cannot be read: {why}.", retryable=True)


def with_bytes(value: Any) -> Any:
    """Return a value with binary as bytes.

    An attribute may be called ``B``: then its value is a dict, not text or a list of texts.
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


class Reply:
    """A reply of DynamoDB.

    Args:
        body: The body; None where the client has only the parsed response.
        parsed: The response as boto3 has parsed it, where there is no body.
    """

    __slots__ = ("_parsed", "body")

    def __init__(self, body: bytes | None, parsed: dict[str, Any] | None = None) -> None:
        self.body = body
        self._parsed = parsed

    def parsed(self) -> dict[str, Any]:
        """Return the response as boto3 would.

        Raises:
            ServiceError: The body is no JSON object.
        """
        if self._parsed is None:
            self._parsed = read_body(self.body or b"")
        return self._parsed


def part_of(reply: Any, name: str, kind: type[T]) -> T:
    """Return a part of a reply; an empty one where it is absent.

    Raises:
        ServiceError: It is of another type than DynamoDB sends.
    """
    part = reply.get(name) if isinstance(reply, dict) else reply
    if part is None:
        return kind()
    if not isinstance(part, kind):
        raise unreadable(f"{name} is no {kind.__name__}")
    return part
