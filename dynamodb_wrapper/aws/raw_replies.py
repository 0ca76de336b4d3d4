"""Send and receive raw JSON bodies through boto3, without its serializer and parser.

boto3 builds a request and reads a response by walking the service model, which costs more than all
the rest. Public events of the client and a public component of its session let bodies be made and
read here, while endpoints, signing, retries, checksums and the handlers of other tools stay in use.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.serialization.json_body import Reply, plain_request, read_body, write_body

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

DATA_OPERATIONS = frozenset(
    "BatchGetItem BatchWriteItem DeleteItem GetItem PutItem Query Scan TransactWriteItems "
    "UpdateItem".split()
)
"""The operations whose bodies are made and read elsewhere."""
_IS_OURS, _BODY = "dynamodb_wrapper_is_ours", "dynamodb_wrapper_body"
_FIRST_ERROR = 300


def reply_of(response: dict[str, Any]) -> Reply:
    """Return the reply in a response of a client; what a handler has changed in it counts."""
    if isinstance(response, RawResponse) and response.body is not None:
        return Reply(response.body)
    return Reply(None, response)


class RawResponse(dict[str, Any]):
    """A response that is parsed when somebody looks at more than its metadata.

    Attributes:
        body: The body; None once it is parsed, because somebody may have changed what it held.
    """

    def __init__(self, metadata: dict[str, Any], body: bytes) -> None:
        super().__init__(metadata)
        self.body: bytes | None = body

    def parse(self) -> None:
        """Read the body; what is there already stays."""
        body, self.body = self.body, None
        if body is not None:
            for name, value in read_body(body).items():
                super().setdefault(name, value)

    def __missing__(self, name: str) -> Any:
        if self.body is None or name == "Error":  # asked for by every retry handler
            raise KeyError(name)
        self.parse()
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name) or name == "Error":
            return super().__contains__(name)
        self.parse()
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        self.parse()
        return super().__iter__()

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        self.parse()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self.parse()
        return super().__eq__(other)

    __hash__ = None

    def __repr__(self) -> str:
        self.parse()
        return super().__repr__()

    def keys(self) -> Any:
        """Return the names."""
        self.parse()
        return super().keys()

    def values(self) -> Any:
        """Return the values."""
        self.parse()
        return super().values()

    def items(self) -> Any:
        """Return names and values."""
        self.parse()
        return super().items()

    def copy(self) -> dict[str, Any]:
        """Return a plain copy."""
        return dict(self.items())

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return an entry, set where it was missing."""
        if not super().__contains__(name):
            self.parse()
        return super().setdefault(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove an entry and return it."""
        self.parse()
        return super().pop(name, *default)

    def update(self, *args: Any, **more: Any) -> None:
        """Replace entries."""
        new = dict(*args, **more)
        if new:
            self.parse()
            super().update(new)

    def __setitem__(self, name: str, value: Any) -> None:
        if name != "ResponseMetadata":
            self.parse()
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        self.parse()
        super().__delitem__(name)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last entry and return it."""
        self.parse()
        return super().popitem()

    def clear(self) -> None:
        """Remove all entries."""
        self.body = None
        super().clear()

    def __reversed__(self) -> Iterator[str]:
        self.parse()
        return super().__reversed__()

    def __or__(self, other: Any) -> Any:
        return {**self, **other} if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return {**other, **self} if isinstance(other, dict) else NotImplemented

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]  # a dict has two of it
        self.update(other)
        return self

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)


class _Calls(threading.local):
    """What the handlers know of the calls of their thread."""

    is_next_ours = False  # the next call of a client that begins is one of ours
    shape: Any = None  # of the reply to the request of ours that is under way


_calls = _Calls()


@contextmanager
def raw_reply() -> Iterator[None]:
    """Have the one call made inside the block answered by a `RawResponse`, where the client can.

    A call that a handler makes in the middle of it is answered as usual, and so is every call of
    another client: of one that was passed in, of those that get credentials.
    """
    _calls.is_next_ours = True
    try:
        yield
    finally:
        _calls.is_next_ours, _calls.shape = False, None


def sent_by(client: Any, method: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a client's response to a request, with its body as it is where the client can.

    Args:
        client: The client.
        method: Its method for the operation.
        request: Its parameters; items may be JSON already.
    """
    with raw_reply():
        response: dict[str, Any] = getattr(client, method)(**plain_request(request))
    return response


def keep_bodies(session: Any) -> None:
    """Let the clients that a session makes from now on answer with bodies."""
    from botocore.parsers import ResponseParserFactory

    class Factory(ResponseParserFactory):
        def create_parser(self, protocol_name: str) -> Any:
            return _Parser(super().create_parser(protocol_name))

    session.register_component("response_parser_factory", Factory())


class _Parser:
    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        # Each client has shapes of its own; those that get credentials have this parser as well.
        is_ours = shape is not None and shape is _calls.shape
        if not is_ours or response["status_code"] >= _FIRST_ERROR:
            return self._parser.parse(response, shape)
        metadata = self._parser.parse({**response, "body": b"{}"}, shape)
        return RawResponse(metadata, response["body"])


def take_bodies(client: Any) -> None:
    """Let the requests of a client of ours be made here.

    Parameters become a body after all handlers that build parameters have seen them, and changed
    them perhaps: when the endpoint is chosen.
    """
    events = client.meta.events
    for operation in DATA_OPERATIONS:
        # Of a client's handlers those of the narrower event come first, whatever else is asked for.
        events.register_first(f"provide-client-params.dynamodb.{operation}", _note_ours)
        events.register_first(f"before-call.dynamodb.{operation}", _put_body)
    events.register_last("before-endpoint-resolution", _make_body)


def _note_ours(context: dict[str, Any], **_: Any) -> None:
    context[_IS_OURS], _calls.is_next_ours = _calls.is_next_ours, False


def _make_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if context.get(_IS_OURS):
        context[_BODY] = write_body(params)
        left = _what_chooses_the_endpoint(params)
        params.clear()
        params.update(left)


def _put_body(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    _calls.shape = model.output_shape if context.get(_IS_OURS) else None
    if _BODY in context:
        params["body"] = context[_BODY]


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
