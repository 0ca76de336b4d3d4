"""Errors, lost replies and unprocessed entries for the requests of one client."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REQUEST_ID = "REQUESTIDOFATEST"
_CODE_PREFIX = "com.amazonaws.dynamodb.v20120810#"


class _Body:
    """A response body botocore can read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


def error_response(code: str, message: str = "injected", *, status: int = 400, **more: Any) -> Any:
    """Return the HTTP response DynamoDB gives for an error."""
    body = json.dumps({"__type": _CODE_PREFIX + code, "message": message, **more}).encode()
    headers = {"x-amzn-requestid": REQUEST_ID, "content-type": "application/x-amz-json-1.0"}
    return AWSResponse("http://injected", status, headers, _Body(body))


@contextmanager
def _registered(client: Any, handlers: dict[str, Any]) -> Iterator[None]:
    for event, handler in handlers.items():
        client.meta.events.register(event, handler)
    try:
        yield
    finally:
        for event, handler in handlers.items():
            client.meta.events.unregister(event, handler)


@contextmanager
def refused_with(client: Any, operation: str, *responses: Any) -> Iterator[list[Any]]:
    """Answer the next requests of an operation with these responses, then let them through."""
    left = list(responses)
    requests: list[Any] = []

    def answer(request: Any, **_: Any) -> Any:
        requests.append(request)
        return left.pop(0) if left else None

    with _registered(client, {f"before-send.dynamodb.{operation}": answer}):
        yield requests


@contextmanager
def always_refused_with(client: Any, operation: str, code: str, **more: Any) -> Iterator[list[Any]]:
    """Answer every request of an operation with an error."""
    requests: list[Any] = []

    def answer(request: Any, **_: Any) -> Any:
        requests.append(request)
        return error_response(code, **more)

    with _registered(client, {f"before-send.dynamodb.{operation}": answer}):
        yield requests


@contextmanager
def lost_reply(client: Any, operation: str) -> Iterator[list[Any]]:
    """Apply the next request of an operation and lose the reply; the SDK then sends it again."""
    lost: list[Any] = []

    def lose(request: Any, **_: Any) -> None:
        if not lost:
            lost.append(URLLib3Session().send(request))
            raise ConnectionClosedError(endpoint_url=request.url)

    with _registered(client, {f"before-send.dynamodb.{operation}": lose}):
        yield lost


@contextmanager
def sent_requests(client: Any, operation: str) -> Iterator[list[Any]]:
    """Collect the signed HTTP requests of an operation."""
    with refused_with(client, operation) as requests:
        yield requests


@contextmanager
def unprocessed(client: Any, operation: str, accepted: Sequence[int]) -> Iterator[list[int]]:
    """Process only the given number of entries of each next batch; return the rest as unprocessed.

    After the last number every batch is processed whole. Yields the sizes of the requested batches.
    """
    answers = {"BatchWriteItem": "UnprocessedItems", "BatchGetItem": "UnprocessedKeys"}
    limits = list(accepted)
    sizes: list[int] = []
    rest: dict[str, Any] = {}

    def cut(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        ((table, entries),) = params["RequestItems"].items()
        listed = entries if isinstance(entries, list) else entries["Keys"]
        sizes.append(len(listed))
        limit = limits.pop(0) if limits else len(listed)
        rest.clear()
        if limit < len(listed):
            rest[table] = _like(entries, listed[limit:])
        return {**params, "RequestItems": {table: _like(entries, listed[:limit] or listed[:1])}}

    def give_back(parsed: dict[str, Any], **_: Any) -> None:
        parsed[answers[operation]] = dict(rest)

    events = {
        f"provide-client-params.dynamodb.{operation}": cut,
        f"after-call.dynamodb.{operation}": give_back,
    }
    with _registered(client, events):
        yield sizes


def _like(entries: Any, listed: list[Any]) -> Any:
    return listed if isinstance(entries, list) else {**entries, "Keys": listed}


@contextmanager
def raised_instead(client: Any, operation: str, failure: Exception) -> Iterator[None]:
    """Raise an exception instead of sending any request of an operation."""

    def fail(**_: Any) -> None:
        raise failure

    with _registered(client, {f"before-send.dynamodb.{operation}": fail}):
        yield
