"""Whether anybody but botocore and this library takes part in the requests of a client.

Mocks, stubs, recorders and tracers register handlers, or put functions of their own in the place of
botocore's. All of that is looked for before each request, so it has to be cheap.
"""

from __future__ import annotations

import copy
import http.client
import threading
import types
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore import awsrequest
from botocore.client import BaseClient
from botocore.discovery import block_endpoint_discovery_required_operations
from botocore.endpoint import Endpoint
from botocore.handlers import BUILTIN_HANDLERS
from botocore.history import HistoryRecorder, get_global_history_recorder
from botocore.hooks import HierarchicalEmitter
from botocore.httpsession import URLLib3Session

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN_PACKAGES = ("boto3", "botocore", "dynamodb_wrapper")
_OPTIONAL = (
    "botocore.stub",
    "botocore.monitoring",
    "botocore.discovery",
    "botocore.retries.adaptive",
)
_DIRECTORIES = tuple(
    place
    for package in ("boto3", "botocore")
    for place in (find_spec(package).submodule_search_locations or ())  # type: ignore[union-attr]
)
_WATCHED = (
    BaseClient,
    Endpoint,
    URLLib3Session,
    awsrequest.AWSHTTPConnectionPool,
    awsrequest.AWSHTTPSConnectionPool,
)


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
        self._places = tuple(vars(owner) for owner in (client, type(client), *_WATCHED))
        self._as_made = tuple(tuple(place.values()) for place in self._places)
        self._recorder = get_global_history_recorder()
        self._silent = vars(HistoryRecorder())
        self._replaced = next(_replaced(type(client), *_WATCHED), None)

    def found(self) -> str | None:
        """Return who else takes part in the next request, None when nobody does."""
        if self._events.others:
            other = self._events.others[0]
            return f"{other.handler!r} is registered for {other.event_name}"
        if self._replaced is not None:
            return f"{self._replaced} is not botocore's own"
        if vars(self._recorder) != self._silent and _is_on(self._recorder):
            return "botocore's history is being recorded"
        for place, as_made in zip(self._places, self._as_made):
            if tuple(place.values()) != as_made:
                return "a function of botocore's client was replaced"
        if _connection_classes() != _CONNECTION_CLASSES:
            return "a class of connections was replaced"
        return None

    def adopt(self) -> None:
        """Give the client what every client made from now on has: moto, if it was just imported."""
        if len(BUILTIN_HANDLERS) == self._builtin:
            return
        with self._lock:
            new = BUILTIN_HANDLERS[self._builtin :]
            for event_name, handler, *_ in new:
                self._client.meta.events.register(event_name, handler)
            self._builtin += len(new)


def _connection_classes() -> tuple[Any, ...]:
    return (
        http.client.HTTPConnection,
        awsrequest.AWSHTTPConnection,
        awsrequest.AWSHTTPSConnection,
    )


_CONNECTION_CLASSES = _connection_classes()


def _is_on(recorder: Any) -> bool:
    off = copy.copy(recorder)
    off.disable()
    return bool(vars(off) != vars(recorder))


def _replaced(*owners: type) -> Iterator[str]:
    for owner in owners:
        for name, value in vars(owner).items():
            if callable(value) and not _is_botocores(value):
                yield f"{owner.__name__}.{name}"


def _is_botocores(value: Any) -> bool:
    if isinstance(value, type):
        return value.__module__.partition(".")[0] in ("botocore", "builtins", "urllib3")
    return type(value) is types.FunctionType and value.__code__.co_filename.startswith(_DIRECTORIES)
