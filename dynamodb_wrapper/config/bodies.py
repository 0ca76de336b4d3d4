"""Bodies as they are: past boto3's serializer and parser, through everything else of the client.

boto3 builds a request and reads a response by walking the service model, which costs more than all
the rest. Events of the client, all of them public, let a body be made and read elsewhere, while
endpoints, signing, retries, checksums and everybody's own handlers stay as they are.
"""

from __future__ import annotations

import base64
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from dynamodb_wrapper.exceptions import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW = "DynamodbWrapperRaw"
"""Entry of a response that holds its body."""

_IS_OURS, _BODY = "dynamodb_wrapper_is_ours", "dynamodb_wrapper_body"
_WITH_EVENT = (1, 35, 16)
_FIRST_ERROR = 300


class _Calls(threading.local):
    """What the handlers know of the calls of their thread."""

    is_next_ours = False  # the next call of a client that begins is one of ours
    is_raw_wanted = False  # the request under way belongs to one of ours


_calls = _Calls()


@contextmanager
def raw_reply() -> Iterator[None]:
    """Have the one call made inside the block answered with its body, where the client can.

    A call that a handler makes in the middle of it is answered as usual.
    """
    _calls.is_next_ours = True
    try:
        yield
    finally:
        _calls.is_next_ours = _calls.is_raw_wanted = False


def let_bodies_through(client: Any) -> None:
    """Register the handlers with a client; repeating it changes nothing.

    Parameters become a body after all other handlers have seen them, and changed them perhaps.
    """
    events = client.meta.events
    for register, name, handler in (
        (events.register_first, "provide-client-params.dynamodb", _note_ours),
        (events.register_last, "before-parameter-build.dynamodb", _make_body),
        (events.register_first, "before-call.dynamodb", _put_body),
        (events.register_last, "before-parse.dynamodb", _keep_body),
    ):
        register(name, handler, unique_id=f"dynamodb-wrapper-{name}")


def keep_bodies_of_old_clients(session: Any) -> None:
    """Let the clients of a session keep bodies; botocore has the event for it since 1.35.16."""
    from botocore import __version__, parsers

    if tuple(map(int, __version__.split(".")[:3])) >= _WITH_EVENT:
        return

    class Factory(parsers.ResponseParserFactory):
        def create_parser(self, protocol_name: str) -> Any:
            return _Parser(super().create_parser(protocol_name))

    session.register_component("response_parser_factory", Factory())


class _Parser:
    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        kept: dict[str, Any] = {}
        _keep_body(response, kept)
        return {**self._parser.parse(response, shape), **kept}


def _note_ours(context: dict[str, Any], **_: Any) -> None:
    context[_IS_OURS], _calls.is_next_ours = _calls.is_next_ours, False


def _make_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if context.get(_IS_OURS):
        context[_BODY] = write_body(params)
        left = _what_chooses_the_endpoint(params)
        params.clear()
        params.update(left)


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    _calls.is_raw_wanted = bool(context.get(_IS_OURS))
    if _BODY in context:
        params["body"] = context[_BODY]


def _keep_body(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    if _calls.is_raw_wanted and response_dict["status_code"] < _FIRST_ERROR:
        customized_response_dict[RAW] = response_dict["body"]
        response_dict["body"] = b"{}"


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


def _what_chooses_the_endpoint(params: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a request: an account's own endpoint is chosen by their ARN."""
    if "TableName" in params:
        return {"TableName": params["TableName"]}
    if "TransactItems" in params:
        actions: list[Any] = [
            {verb: {"TableName": action["TableName"]} for verb, action in item.items()}
            for item in params["TransactItems"]
        ]
        return {"TransactItems": actions}
    tables = params["RequestItems"]
    return {"RequestItems": {name: _emptied(tables[name]) for name in tables}}


def _emptied(asked: Any) -> Any:
    return [] if isinstance(asked, list) else {"Keys": []}
