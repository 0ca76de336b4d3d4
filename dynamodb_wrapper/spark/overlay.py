"""Runtime settings that runs lay over those of a session, and take away when they end.

A session is shared: runs begin and end in any order, in several threads. What a run sets lies above
what was there before; when it ends, its values go, and those of runs that go on stay.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = SafeLogger(__name__)
_lock = threading.RLock()
_overlays: dict[str, dict[str, _Layers]] = {}


@dataclass
class _Layers:
    """The values of one setting: what was there first, then those of runs, the newest last."""

    base: str | None
    values: dict[str, str] = field(default_factory=dict)

    @property
    def top(self) -> str | None:
        return list(self.values.values())[-1] if self.values else self.base


def set_value(session: SparkSession, name: str, value: str, owner: str | None) -> str | None:
    """Set a runtime setting, and return its value before; None where it had none.

    Args:
        session: The session.
        name: The setting.
        value: Its value.
        owner: The run that sets it until it ends; None sets it for good.
    """
    with _lock:
        before = session.conf.get(name, None)
        if before != value:
            session.conf.set(name, value)
        layers = _overlays.setdefault(_identity(session), {})
        if owner is None:
            if name in layers:
                layers[name].base = value
            return before
        known = layers.get(name)
        if known is None or known.top != before:  # someone set it by hand meanwhile
            known = layers[name] = _Layers(before)
        known.values.pop(owner, None)
        known.values[owner] = value
        return before


def withdraw(session: SparkSession, owner: str) -> None:
    """Take away what a run has set; a session that is gone is not an error.

    What was set by hand after the run had set it stays.
    """
    with _lock:
        layers = _overlays.get(_identity(session), {})
        for name in [name for name, known in layers.items() if owner in known.values]:
            known = layers[name]
            shown = known.top
            del known.values[owner]
            if not known.values:
                del layers[name]
            try:
                if shown != known.top and session.conf.get(name, None) == shown:
                    restore(session, name, known.top)
            except Exception as error:  # noqa: BLE001 - the caller's work is done
                logger.warning("The Spark setting %s could not be restored: %s", name, error)
                return


def restore(session: SparkSession, name: str, value: str | None) -> None:
    """Give a setting a value it had, or none."""
    if value is None:
        session.conf.unset(name)
    else:
        session.conf.set(name, value)


def _identity(session: Any) -> str:
    """Return what names a session; PySpark makes several objects for the same one."""
    try:
        return str(session._jsparkSession.sessionUUID())
    except Exception:  # noqa: BLE001 - Connect raises another class of error
        return str(getattr(session, "session_id", id(session)))
