"""Detect whether another tool intercepts the requests of a client.

Mocks, stubs, recorders and tracers register handlers, or replace functions of botocore, urllib3,
http.client and socket. A function counts as original if its code is in the file it comes from, so
that a replacement made before the client existed is noticed as well.
"""

from __future__ import annotations

import copy
import http.client
import os
import socket
import threading
import types
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import botocore.endpoint
import botocore.httpsession
import urllib3.connection
import urllib3.connectionpool
import urllib3.util.connection
from botocore import awsrequest
from botocore.auth import SigV4Auth
from botocore.discovery import block_endpoint_discovery_required_operations
from botocore.handlers import BUILTIN_HANDLERS
from botocore.history import HistoryRecorder, get_global_history_recorder
from botocore.hooks import EventAliaser, HierarchicalEmitter
from botocore.signers import RequestSigner
from urllib3.poolmanager import PoolManager

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PACKAGES = ("boto3", "botocore", "urllib3")
_DIRECTORIES = tuple(
    os.path.join(place, "")
    for package in _PACKAGES
    for place in (find_spec(package).submodule_search_locations or ())  # type: ignore[union-attr]
)
_FILES = (http.client.__file__, socket.__file__)
_MODULES = (*_PACKAGES, "dynamodb_wrapper", "http", "socket")
_CONNECTIONS = (
    "connect endheaders getresponse putheader putrequest request send _new_conn _output "
    "_send_output response_class"
)
_POOLS = "ConnectionCls urlopen _make_request _get_conn _new_conn"
_MANAGER = "urlopen connection_from_url connection_from_host connection_from_pool_key"
_ENDPOINT = "make_request create_request prepare_request _send_request _get_response _send"
_CLIENT = "_make_api_call _make_request _emit_api_params _convert_to_request_dict"
_CLASSES = (
    (awsrequest.AWSHTTPConnection, _CONNECTIONS),
    (awsrequest.AWSHTTPSConnection, _CONNECTIONS),
    (awsrequest.AWSHTTPConnectionPool, _POOLS),
    (awsrequest.AWSHTTPSConnectionPool, _POOLS),
    (PoolManager, _MANAGER),
    (botocore.httpsession.URLLib3Session, "send"),
    (botocore.endpoint.Endpoint, f"{_ENDPOINT} _do_get_response _needs_retry"),
    (http.client.HTTPSConnection, "connect"),
    (RequestSigner, "sign get_auth_instance"),
    (SigV4Auth, "add_auth signature"),
    (EventAliaser, "emit emit_until_response"),
)
_NAMES: tuple[tuple[Any, str], ...] = (
    (awsrequest, "AWSHTTPConnection AWSHTTPSConnection HTTPConnection HTTPConnectionPool"),
    (botocore.endpoint, "Endpoint URLLib3Session convert_to_response_dict"),
    (botocore.httpsession, "PoolManager URLLib3Session"),
    (http.client, "HTTPConnection HTTPSConnection HTTPResponse"),
    (http.client.HTTPResponse, "begin read readinto"),
    (socket.socket, "makefile"),
    (socket, "create_connection socket"),
    (urllib3.connection, "HTTPConnection HTTPSConnection"),
    (urllib3.connectionpool, "HTTPConnection HTTPConnectionPool HTTPSConnectionPool"),
    (urllib3.util.connection, "allowed_gai_family create_connection"),
)
_NOTHING = object()
_PARTS_OF_A_CLIENT = ("_endpoint", "_request_signer")
_OWN_PACKAGES = ("boto3", "botocore", "dynamodb_wrapper")
_OPTIONAL = (
    "botocore.stub",
    "botocore.monitoring",
    "botocore.discovery",
    "botocore.retries.adaptive",
)


class _Place(NamedTuple):
    owner: Any
    name: str
    only: Any = None  # the one object that may be there; None where any original may

    def value(self) -> Any:
        return getattr(self.owner, self.name, None)

    def is_original(self) -> bool:
        value = self.value()
        return value is self.only if self.only is not None else _is_original(value)

    def __str__(self) -> str:
        return f"{getattr(self.owner, '__name__', type(self.owner).__name__)}.{self.name}"


class Originals:
    """Looks whether anything was replaced.

    Args:
        client: A client that was just made.
        emitter: The class of its events.
    """

    def __init__(self, client: Any, emitter: type) -> None:
        parts = _parts(client)
        self._sizes = [(vars(part), len(vars(part))) for part in parts]
        self._places = [*_of_instances(parts), *_of_classes(type(client), emitter), *_of_names()]
        self._strange: _Place | None = None
        self._is_as_seen: Callable[[], bool] = _never

    def replaced(self) -> str | None:
        """Return the name of something that was replaced, None where nothing was."""
        try:
            if self._is_as_seen():
                return None
        except AttributeError:
            pass
        return self._look()

    def _look(self) -> str | None:
        if any(len(attributes) != size for attributes, size in self._sizes):
            return "a method of the client or of a part of it"
        last = self._strange
        if last is None or last.is_original():
            is_as_seen = _comparison(self._places, self._sizes)
            self._strange = next((p for p in self._places if not p.is_original()), None)
            if self._strange is None:
                self._is_as_seen = is_as_seen
        return None if self._strange is None else str(self._strange)


def _never() -> bool:
    return False


def _parts(client: Any) -> list[Any]:
    """Return a client and what it sends with, where these are what they are in botocore."""
    parts = [client, *(vars(client).get(name) for name in _PARTS_OF_A_CLIENT), client.meta.events]
    parts.append(getattr(parts[1], "http_session", None))
    return [part for part in parts if hasattr(part, "__dict__")]


def _of_instances(parts: Sequence[Any]) -> Iterator[_Place]:
    named = {id(part) for part in parts}
    for part in parts:
        if type(part).__module__.partition(".")[0] not in _MODULES:
            yield _Place(part, "__class__", _NOTHING)
        for name, value in vars(part).items():
            if part is parts[0] or id(value) in named:
                yield _Place(part, name, value)


def _of_classes(client: type, emitter: type) -> Iterator[_Place]:
    methods = "get_item put_item update_item delete_item query scan"
    batches = "batch_get_item batch_write_item transact_write_items"
    classes = (
        (client, f"{_CLIENT} {methods} {batches}"),
        (emitter, "emit emit_until_response _emit"),
        *_CLASSES,
    )
    found: dict[_Place, None] = {}
    for first, names in classes:
        for name in names.split():
            used = getattr(first, name, None)
            if used is not None:
                found[_Place(first, name)] = None
            for base in first.__mro__[1:]:  # what nobody has overridden was found just now
                if vars(base).get(name, used) is not used:
                    found[_Place(base, name)] = None
    yield from found


def _of_names() -> Iterator[_Place]:
    yield _Place(http.client.HTTPConnection, "debuglevel", 0)
    for owner, names in _NAMES:
        for name in names.split():
            if hasattr(owner, name):
                yield _Place(owner, name)


def _is_original(value: Any) -> bool:
    kind = type(value)  # what pretends to be a function or a class says otherwise itself
    if kind is types.FunctionType:
        file = value.__code__.co_filename
        return file in _FILES or bool(file.startswith(_DIRECTORIES))
    module = value.__module__ if issubclass(kind, type) else kind.__module__
    return str(module).partition(".")[0] in _MODULES


def _comparison(
    places: Sequence[_Place], sizes: Sequence[tuple[dict[str, Any], int]]
) -> Callable[[], bool]:
    """Return a function that tells whether all is as it is now, in 30 ns for each place."""
    known: dict[str, Any] = {}
    lines = []
    for number, (attributes, size) in enumerate(sizes):
        known[f"d{number}"] = attributes
        lines.append(f"len(d{number}) == {size}")
    for number, place in enumerate(places):
        known[f"o{id(place.owner)}"] = place.owner
        known[f"v{number}"] = place.value()
        lines.append(f"o{id(place.owner)}.{place.name} is v{number}")
    arguments = ", ".join(f"{name}={name}" for name in known)
    source = f"def is_as_seen({arguments}):\n    return ({' and '.join(lines)})\n"
    exec(source, known)
    found: Callable[[], bool] = known["is_as_seen"]
    return found


class _Registration(NamedTuple):
    event_name: str
    handler: Any
    unique_id: Any


class Events(HierarchicalEmitter):
    """The events of a session and its clients, with a list of the handlers of others."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[_Registration] = []  # shared by all copies

    def register(
        self,
        event_name: str,
        handler: Any,
        unique_id: Any = None,
        unique_id_uses_count: bool = False,
    ) -> None:
        """Register a handler, as botocore does."""
        super().register(event_name, handler, unique_id, unique_id_uses_count)
        self._note(event_name, handler, unique_id, unique_id_uses_count)

    def register_first(
        self,
        event_name: str,
        handler: Any,
        unique_id: Any = None,
        unique_id_uses_count: bool = False,
    ) -> None:
        """Register a handler before all others, as botocore does."""
        super().register_first(event_name, handler, unique_id, unique_id_uses_count)
        self._note(event_name, handler, unique_id, unique_id_uses_count)

    def register_last(
        self,
        event_name: str,
        handler: Any,
        unique_id: Any = None,
        unique_id_uses_count: bool = False,
    ) -> None:
        """Register a handler after all others, as botocore does."""
        super().register_last(event_name, handler, unique_id, unique_id_uses_count)
        self._note(event_name, handler, unique_id, unique_id_uses_count)

    def unregister(
        self,
        event_name: str,
        handler: Any = None,
        unique_id: Any = None,
        unique_id_uses_count: bool = False,
    ) -> None:
        """Take a handler back, as botocore does."""
        super().unregister(event_name, handler, unique_id, unique_id_uses_count)
        for place, other in enumerate(self.others):
            same = other.handler == handler if unique_id is None else other.unique_id == unique_id
            if same and other.event_name == event_name:
                del self.others[place]
                return

    def _note(self, event_name: str, handler: Any, unique_id: Any, counted: bool) -> None:
        if _is_own(handler):
            return
        known = unique_id is not None and any(o.unique_id == unique_id for o in self.others)
        if counted or not known:
            self.others.append(_Registration(event_name, handler, unique_id))


def _is_own(handler: Any) -> bool:
    if isinstance(handler, partial):
        handler = handler.func
    if handler is block_endpoint_discovery_required_operations:  # there without discovery only
        return True
    module = str(getattr(handler, "__module__", ""))
    return module.partition(".")[0] in _OWN_PACKAGES and not module.startswith(_OPTIONAL)


class Listeners:
    """Looks for others who take part in the requests of a client.

    Args:
        client: A client that was just made.
        events: What its session was made with.
    """

    def __init__(self, client: Any, events: Events) -> None:
        _ = client.exceptions  # made when first used, and kept
        self._client = client
        self._events = events
        self._lock = threading.Lock()
        self._builtin = len(BUILTIN_HANDLERS)
        self._originals = Originals(client, type(events))
        self._recorder = get_global_history_recorder()
        self._silent = vars(HistoryRecorder())

    def found(self) -> str | None:
        """Return who else takes part in the next request, None when nobody does."""
        if self._events.others:
            other = self._events.others[0]
            return f"{other.handler!r} is registered for {other.event_name}"
        if vars(self._recorder) != self._silent and _is_on(self._recorder):
            return "botocore's history is being recorded"
        replaced = self._originals.replaced()
        return None if replaced is None else f"{replaced} was replaced"

    def adopt(self) -> None:
        """Give the client what every client made from now on has: moto, if it was just imported."""
        if len(BUILTIN_HANDLERS) == self._builtin:
            return
        with self._lock:
            new = BUILTIN_HANDLERS[self._builtin :]
            for event_name, handler, *_ in new:
                self._client.meta.events.register(event_name, handler)
            self._builtin += len(new)


def _is_on(recorder: Any) -> bool:
    off = copy.copy(recorder)
    off.disable()
    return bool(vars(off) != vars(recorder))
