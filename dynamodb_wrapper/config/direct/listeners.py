"""Whether anybody but botocore and this library takes part in the requests of a client.

Mocks, stubs, recorders and tracers register handlers, or put functions of their own in the place of
botocore's. All of that is looked for before each request, so it has to be cheap.
"""

from __future__ import annotations

import copy
import threading
from functools import partial
from typing import Any, NamedTuple

from botocore.discovery import block_endpoint_discovery_required_operations
from botocore.handlers import BUILTIN_HANDLERS
from botocore.history import HistoryRecorder, get_global_history_recorder
from botocore.hooks import HierarchicalEmitter

from dynamodb_wrapper.config.direct.originals import Originals

_OWN_PACKAGES = ("boto3", "botocore", "dynamodb_wrapper")
_OPTIONAL = (
    "botocore.stub",
    "botocore.monitoring",
    "botocore.discovery",
    "botocore.retries.adaptive",
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
