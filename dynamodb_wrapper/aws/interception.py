"""Detect whether another tool intercepts the requests of a client.

Tracers, recorders and mocks register handlers or replace one of a few functions. `_TABLE` lists the
places that real tools replace. A value found there is judged by its source file when it is first
seen, so a replacement made before the client existed counts as well; before each request it is
only compared by identity (4 µs in all; the requests it guards take 100 to 250 µs).

Not kept: looking at all 110 functions that a request passes through. With 22 tools, switched on
before and after the client was made, both gave the same verdict in 46 of 46 cases.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import threading
import types
from functools import partial
from typing import Any, NamedTuple

import urllib3.util.connection
from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
from botocore.client import BaseClient
from botocore.discovery import block_endpoint_discovery_required_operations
from botocore.endpoint import Endpoint
from botocore.handlers import BUILTIN_HANDLERS
from botocore.history import get_global_history_recorder
from botocore.hooks import HierarchicalEmitter
from botocore.httpsession import URLLib3Session
from urllib3.connectionpool import HTTPConnectionPool

_TABLE: tuple[tuple[Any, str, str], ...] = (
    (BaseClient, "_make_api_call", "OpenTelemetry, X-Ray, Datadog, Elastic, mocks"),
    (Endpoint, "prepare_request", "OpenTelemetry, X-Ray"),
    (Endpoint, "make_request", "New Relic"),
    (URLLib3Session, "send", "X-Ray for PynamoDB, IOpipe, mocks"),
    (AWSHTTPConnectionPool, "ConnectionCls", "vcrpy"),
    (AWSHTTPSConnectionPool, "ConnectionCls", "vcrpy"),
    (HTTPConnectionPool, "urlopen", "OpenTelemetry, Datadog and Elastic for urllib3, pook"),
    (HTTPConnectionPool, "_make_request", "New Relic for urllib3"),
    (http.client.HTTPConnection, "request", "Datadog for http.client"),
    (http.client.HTTPConnection, "putrequest", "Sentry, Datadog for http.client"),
    (http.client.HTTPConnection, "endheaders", "New Relic for http.client"),
    (http.client.HTTPConnection, "getresponse", "Sentry, X-Ray, Datadog, New Relic"),
    (urllib3.util.connection, "create_connection", "programs with their own name resolution"),
    (urllib3.util.connection, "allowed_gai_family", "programs that use IPv4 only"),
    (socket, "create_connection", "gevent, httpretty"),
    (socket, "socket", "gevent, httpretty, pytest-socket, mocket, PySocks"),
)
"""Owner, attribute, and the tools that replace it."""
_CLIENT_METHODS = (  # of the class of a client: New Relic
    "get_item put_item update_item delete_item query scan batch_get_item batch_write_item "
    "transact_write_items"
).split()
_OWN_PACKAGES = ("boto3", "botocore", "dynamodb_wrapper")
_OPTIONAL_HANDLERS = (
    "botocore.stub",
    "botocore.monitoring",
    "botocore.discovery",
    "botocore.retries.adaptive",
)
_UNSEEN = object()


class _Place:
    """An attribute of a class or module, and the original value seen there last."""

    __slots__ = ("_directory", "_package", "attribute", "owner", "seen")

    def __init__(self, owner: Any, attribute: str) -> None:
        self.owner, self.attribute = owner, attribute
        self.seen: Any = _UNSEEN
        module = str(owner.__module__ if isinstance(owner, type) else owner.__name__)
        self._package = module.partition(".")[0]
        self._directory = _sources(self._package)

    def is_original(self, value: Any) -> bool:
        """Return whether a value comes from the sources of its owner's package."""
        kind = type(value)  # not `isinstance`: a proxy pretends to be what it wraps
        if kind is types.FunctionType:
            return bool(value.__code__.co_filename.startswith(self._directory))
        return issubclass(kind, type) and value.__module__.partition(".")[0] == self._package

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.attribute}"


class Interception:
    """Finds the tools that intercept the requests of a client.

    Args:
        client: A client that was just made.
        emitter: The emitter its session was made with.
    """

    def __init__(self, client: Any, emitter: TrackingEmitter) -> None:
        _ = client.exceptions  # an attribute that botocore sets on first use
        self._client = client
        self._emitter = emitter
        self._lock = threading.RLock()  # a signal handler may send a request meanwhile
        self._builtin = len(BUILTIN_HANDLERS)
        self._recorder = get_global_history_recorder()
        self._parts = [(part, dict(vars(part))) for part in _parts(client)]
        self._foreign_part = next((p for p, _ in self._parts if not _is_of_botocore(p)), None)
        methods = [_Place(type(client), name) for name in _CLIENT_METHODS]
        self._places = [*(_Place(owner, name) for owner, name, _ in _TABLE), *methods]

    def found(self) -> str | None:
        """Return what intercepts the next request, None if nothing does."""
        if self._emitter.foreign:
            foreign = self._emitter.foreign[0]
            return f"{foreign.handler!r} is registered for {foreign.event_name}"
        if getattr(self._recorder, "_enabled", True):
            return "botocore's history is being recorded"
        if http.client.HTTPConnection.debuglevel:
            return "http.client prints what it sends"
        replaced = self._replaced_function() or self._changed_part()
        return None if replaced is None else f"{replaced} was replaced"

    def _replaced_function(self) -> str | None:
        for place in self._places:
            value = getattr(place.owner, place.attribute, None)
            if value is not place.seen:
                if not place.is_original(value):
                    return str(place)
                place.seen = value
        return None

    def _changed_part(self) -> str | None:
        """Return an attribute of the client, or of what it sends with, that was set by hand."""
        if self._foreign_part is not None:
            return type(self._foreign_part).__name__
        for part, original in self._parts:
            changed = _changed_attribute(vars(part), original)
            if changed is not None:
                return f"{type(part).__name__}.{changed}"
        return None

    def adopt(self) -> None:
        """Register the handlers that new clients have by now: those of moto, imported later."""
        if len(BUILTIN_HANDLERS) == self._builtin:
            return
        with self._lock:
            end = len(BUILTIN_HANDLERS)
            for position in range(self._builtin, end):
                event_name, handler, *_ = BUILTIN_HANDLERS[position]
                once = f"dynamodb-wrapper-{position}"
                self._client.meta.events.register(event_name, handler, unique_id=once)
            self._builtin = end


def _sources(package: str) -> str:
    """Return the directory of a package, or the file of a module that is none."""
    module = sys.modules[package]
    file = str(module.__file__)
    return os.path.join(os.path.dirname(file), "") if hasattr(module, "__path__") else file


def _parts(client: Any) -> list[Any]:
    """Return a client and the objects it sends with."""
    endpoint = vars(client).get("_endpoint")
    parts = [client, endpoint, getattr(endpoint, "http_session", None)]
    return [part for part in parts if hasattr(part, "__dict__")]


def _changed_attribute(attributes: dict[str, Any], original: dict[str, Any]) -> str | None:
    if len(attributes) != len(original):
        return next(iter(attributes.keys() ^ original.keys()))
    for name, value in original.items():
        if attributes.get(name, _UNSEEN) is not value:
            return name
    return None


def _is_of_botocore(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "botocore"


class _Registration(NamedTuple):
    event_name: str
    handler: Any
    unique_id: Any


class TrackingEmitter(HierarchicalEmitter):
    """The events of a session and its clients, with a list of the handlers of other tools.

    Attributes:
        foreign: Handlers that are neither botocore's nor this library's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[_Registration] = []  # shared by the copies that clients get

    def register(self, *args: Any, **options: Any) -> None:
        """Register a handler, as botocore does."""
        super().register(*args, **options)
        self._track(*args, **options)

    def register_first(self, *args: Any, **options: Any) -> None:
        """Register a handler before all others, as botocore does."""
        super().register_first(*args, **options)
        self._track(*args, **options)

    def register_last(self, *args: Any, **options: Any) -> None:
        """Register a handler after all others, as botocore does."""
        super().register_last(*args, **options)
        self._track(*args, **options)

    def unregister(self, *args: Any, **options: Any) -> None:
        """Remove a handler, as botocore does."""
        super().unregister(*args, **options)
        self._untrack(*args, **options)

    def _track(
        self,
        event_name: str,
        handler: Any,
        unique_id: Any = None,
        unique_id_uses_count: bool = False,
    ) -> None:
        if _is_own(handler):
            return
        known = unique_id is not None and any(f.unique_id == unique_id for f in self.foreign)
        if unique_id_uses_count or not known:
            self.foreign.append(_Registration(event_name, handler, unique_id))

    def _untrack(
        self, event_name: str, handler: Any = None, unique_id: Any = None, *_: Any, **__: Any
    ) -> None:
        for index, foreign in enumerate(self.foreign):
            is_same = (
                foreign.handler == handler if unique_id is None else foreign.unique_id == unique_id
            )
            if is_same and foreign.event_name == event_name:
                del self.foreign[index]
                return


def _is_own(handler: Any) -> bool:
    if isinstance(handler, partial):
        handler = handler.func
    if handler is block_endpoint_discovery_required_operations:  # only without discovery
        return True
    module = str(getattr(handler, "__module__", ""))
    return module.partition(".")[0] in _OWN_PACKAGES and not module.startswith(_OPTIONAL_HANDLERS)
