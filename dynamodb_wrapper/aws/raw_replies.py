"""Send and receive raw JSON bodies through boto3, without its serializer and parser.

boto3 builds a request and reads a response by walking the service model, which costs more than all
the rest. Public events of the client and a public component of its session let bodies be made and
read here, while endpoints, signing, retries, checksums and the handlers of other tools stay in use.
"""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

from botocore.parsers import ResponseParserFactory

from dynamodb_wrapper.serialization.json_body import Reply, plain_request, read_body, write_body

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_OPERATIONS = frozenset(
    "BatchGetItem BatchWriteItem DeleteItem GetItem PutItem Query Scan TransactWriteItems "
    "UpdateItem".split()
)
"""The operations whose bodies are written and read by `serialization`."""
T = TypeVar("T")
_CALL, _BODY = "dynamodb_wrapper_call", "dynamodb_wrapper_body"
_FIRST_ERROR = 300


def reply_of(response: dict[str, Any]) -> Reply:
    """Return the reply in a client's response, with the changes that handlers made to it."""
    if isinstance(response, RawResponse) and response.body is not None:
        return Reply(response.body)
    return Reply(None, response)


class RawResponse(dict[str, Any]):
    """A response whose body is parsed only when more than its metadata is read.

    Attributes:
        body: The body; None once it is parsed, because a handler may have changed what it held.
    """

    def __init__(self, metadata: dict[str, Any], body: bytes) -> None:
        super().__init__(metadata)
        self.body: bytes | None = body

    def parse(self) -> None:
        """Read the body; entries that exist already stay."""
        body, self.body = self.body, None
        if body is not None:
            for name, value in read_body(body).items():
                super().setdefault(name, value)

    def __missing__(self, name: str) -> Any:
        if self.body is None or name == "Error":  # every retry handler reads it
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
        if not super().__contains__(name) and name != "Error":
            self.parse()
        return super().__contains__(name)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return an entry, set where it was missing."""
        return self[name] if name in self else super().setdefault(name, default)

    def update(self, *arguments: Any, **named: Any) -> None:
        """Replace entries."""
        new = dict(*arguments, **named)
        if new:  # botocore updates every response, mostly with nothing
            self.parse()
            super().update(new)

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)


def _parsing_first(name: str) -> Any:
    method = getattr(dict, name)

    def parse_first(self: RawResponse, *arguments: Any, **named: Any) -> Any:
        self.parse()
        return method(self, *arguments, **named)

    return parse_first


for _name in (
    "__iter__ __reversed__ __len__ __eq__ __ne__ __repr__ __or__ __ror__ __ior__ __setitem__ "
    "__delitem__ keys values items copy pop popitem clear"
).split():
    setattr(RawResponse, _name, _parsing_first(_name))


class _Call:
    """A call this library makes through boto3.

    It is recognised by its parameters, which no other call has: a signal handler or another handler
    may make a call in between, and a call that was broken off leaves its state behind.

    Args:
        parameters: Passed to the client's method.
        attempt: The first attempt, where that was made already or is not to be made.
    """

    __slots__ = ("_parameters", "attempt")

    def __init__(self, parameters: Mapping[str, Any], attempt: FirstAttempt | None) -> None:
        self._parameters = parameters
        self.attempt = attempt

    def has(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether these are the parameters of the call, the same objects."""
        if len(parameters) != len(self._parameters):
            return False
        return all(parameters.get(name) is value for name, value in self._parameters.items())


class FirstAttempt(Protocol):
    """What takes the place of boto3's attempts at one request."""

    started: float | None
    """When the first attempt began, in monotonic seconds; None where there was none."""

    def answer(self, request: Any) -> Any:
        """Return the response to a request that boto3 has prepared; None lets boto3 send it."""


class _AttemptedBody(bytes):
    """The body of a request that belongs to a `FirstAttempt`; boto3 hands it on as it is."""

    attempt: FirstAttempt | None = None


class _ThreadState(threading.local):
    """State of the calls of a thread, for the handlers below."""

    call: _Call | None = None  # made by this library, and not begun by boto3 so far
    shape: Any = None  # of the reply to this library's current request

    depth = 0  # of calls of boto3 in one another; too high after one was broken off


_state = _ThreadState()


def in_boto3(call: Callable[..., T], /, **parameters: Any) -> T:
    """Return what a function of boto3 returns, and note meanwhile that the thread is inside it."""
    before = _state.depth
    try:
        _state.depth = before + 1
        return call(**parameters)
    finally:
        _state.depth = before


def depth_in_boto3() -> int:
    """Return how many calls of boto3 this thread is in the middle of.

    More than none in a signal handler, or another handler, that sends a request. boto3 and urllib3
    hold locks that a thread cannot take twice.
    """
    if not _state.depth:
        return 0
    frame = inspect.currentframe()
    found = 0
    while frame is not None:
        found += frame.f_code is in_boto3.__code__
        frame = frame.f_back
    _state.depth = found
    return found


def send_through_client(
    client: Any,
    method: str,
    request: Mapping[str, Any],
    attempt: FirstAttempt | None = None,
) -> dict[str, Any]:
    """Send a request through boto3; return a `RawResponse` where the client supports it.

    Calls that a handler makes meanwhile return as usual, and so do calls of other clients: one that
    was passed in, those that obtain credentials.

    Args:
        client: The client.
        method: Its method for the operation.
        request: Its parameters; items may be JSON already.
        attempt: Takes the place of the client's attempts.
    """
    parameters = plain_request(request)
    before = _state.call, _state.shape  # a signal may interrupt another call
    try:
        _state.call = _Call(parameters, attempt)
        response: dict[str, Any] = in_boto3(getattr(client, method), **parameters)
    finally:
        _state.call, _state.shape = before
    return response


def attempt_for(body: Any) -> FirstAttempt | None:
    """Return the attempt that the body of a botocore request belongs to, None for most."""
    return body.attempt if isinstance(body, _AttemptedBody) else None


def start_of(context: Mapping[str, Any]) -> float | None:
    """Return when the direct first attempt of a botocore call began, None without one."""
    call = context.get(_CALL)
    return None if call is None or call.attempt is None else call.attempt.started


def install_raw_parser(session: Any) -> None:
    """Have the clients that a session makes from now on return raw bodies."""
    session.register_component("response_parser_factory", _ParserFactory())


class _ParserFactory(ResponseParserFactory):
    def create_parser(self, protocol_name: str) -> Any:
        return _Parser(super().create_parser(protocol_name))


class _Parser:
    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        # Each client has its own shapes; clients that obtain credentials have this parser as well.
        is_ours = shape is not None and shape is _state.shape
        if not is_ours or response["status_code"] >= _FIRST_ERROR:
            return self._parser.parse(response, shape)
        metadata = self._parser.parse({**response, "body": b"{}"}, shape)
        return RawResponse(metadata, response["body"])


def install_raw_bodies(client: Any) -> None:
    """Have the bodies of a client's data operations written by `serialization`.

    Parameters become a body when the endpoint is chosen: after all handlers of parameters have
    seen and perhaps changed them.
    """
    events = client.meta.events
    for operation in DATA_OPERATIONS:
        # botocore calls handlers of the narrower event first, however they are registered.
        events.register_first(f"provide-client-params.dynamodb.{operation}", _mark_request)
        events.register_first(f"before-call.dynamodb.{operation}", _insert_body)
    events.register_last("before-endpoint-resolution", _write_body)


def _mark_request(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    call = _state.call
    if call is not None and call.has(params):
        context[_CALL], _state.call = call, None


def _write_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if _CALL in context:
        context[_BODY] = write_body(params)
        kept = _endpoint_parameters(params)
        params.clear()
        params.update(kept)


def _insert_body(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    call = context.get(_CALL)
    _state.shape = None if call is None else model.output_shape
    if _BODY in context:
        params["body"] = context[_BODY]
        if call is not None and call.attempt is not None:
            params["body"] = _AttemptedBody(context[_BODY])
            params["body"].attempt = call.attempt


def _endpoint_parameters(params: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a request: their ARNs may choose an endpoint of the account."""
    if "TableName" in params:
        return {"TableName": params["TableName"]}
    if "TransactItems" in params:
        actions: list[Any] = [
            {verb: {"TableName": action["TableName"]} for verb, action in item.items()}
            for item in params["TransactItems"]
        ]
        return {"TransactItems": actions}
    tables = params["RequestItems"]
    return {"RequestItems": {name: _without_items(tables[name]) for name in tables}}


def _without_items(request: Any) -> Any:
    return [] if isinstance(request, list) else {"Keys": []}
