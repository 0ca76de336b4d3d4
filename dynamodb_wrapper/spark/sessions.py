"""Making, finding and adjusting the Spark session.

What is in force is read from ``sparkContext.getConf()``: ``getOrCreate`` on a live session ignores
static settings silently, and ``spark.conf.get`` then reports the wish as if it were the truth.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions import ConfigurationError, MissingDependencyError
from dynamodb_wrapper.local.java import java_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark import SparkContext
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

_LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
# Read when the JVM starts; a second session in the same process gets the same JVM.
_READ_AT_LAUNCH = frozenset(
    {
        "spark.driver.memory",
        "spark.driver.extraJavaOptions",
        "spark.driver.extraClassPath",
        "spark.jars.packages",
    }
)


@dataclass(frozen=True)
class SessionSettings:
    """What became of the settings a session was asked for.

    Attributes:
        applied: In force as asked for.
        previous: What the runtime settings changed on an existing session held before; None where
            they were not set.
        not_applied: Not in force: fixed when the application or its JVM started. Give them to
            ``spark-submit`` or the cluster, or end the session first.
        owned: Whether the session was made by this integration, so that `stop` ends it.
    """

    applied: Mapping[str, str] = field(default_factory=dict)
    previous: Mapping[str, str | None] = field(default_factory=dict)
    not_applied: Mapping[str, str] = field(default_factory=dict)
    owned: bool = False


class Sessions:
    """Provides the session of this process, and knows whether it is its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own: SparkSession | None = None

    def provide(
        self, app_name: str, wanted: Mapping[str, str]
    ) -> tuple[SparkSession, SessionSettings]:
        """Return the live session, adjusted, or a new one; warn of what is not in force."""
        with self._lock:
            session = find_session()
            if session is None:
                session, settings = start_session(wanted, app_name)
                self._own = session
            else:
                settings = adjust_session(session, wanted, owned=session is self._own)
        if settings.not_applied:
            logger.warning(
                "Spark settings that are not in force, because they were fixed when the session "
                "or its JVM began: %s",
                ", ".join(sorted(settings.not_applied)),
            )
        return session, settings

    def stop(self) -> None:
        """Stop the own session; any other is left alone."""
        with self._lock:
            session, self._own = self._own, None
            if session is not None and is_alive(session):
                session.stop()


def find_session() -> SparkSession | None:
    """Return the live session of this thread or, failing that, of this process."""
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is None:
        # Another thread may have made it; PySpark before 3.5 has no public way to ask.
        session = getattr(SparkSession, "_instantiatedSession", None)
    return session if session is not None and is_alive(session) else None


def is_alive(session: SparkSession) -> bool:
    """Whether a session can be used; one of Spark Connect counts as alive."""
    context = _context(session)
    return context is None or context._jsc is not None  # what PySpark itself looks at


def start_session(wanted: Mapping[str, str], app_name: str) -> tuple[SparkSession, SessionSettings]:
    """Start a session where there is none.

    Raises:
        MissingDependencyError: Java is missing or too old.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    jvm_is_there = getattr(SparkContext, "_jvm", None) is not None
    launched = dict(SparkConf().getAll()) if jvm_is_there else {}
    builder = SparkSession.builder.appName(app_name)
    for name, value in {**_local_defaults(wanted), **wanted}.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:
        problem = java_problem() if "gateway" in str(error).lower() else None
        if problem is None:
            raise
        raise MissingDependencyError(f"Spark needs Java. {problem}") from error
    in_force = _context_settings(session)
    if in_force is None:  # Spark Connect: the server began before us
        return session, adjust_session(session, wanted, owned=True)
    if jvm_is_there:
        in_force.update({name: launched.get(name, "") for name in _READ_AT_LAUNCH})
    applied = {name: value for name, value in wanted.items() if in_force.get(name) == value}
    not_applied = {name: value for name, value in wanted.items() if name not in applied}
    return session, SessionSettings(applied=applied, not_applied=not_applied, owned=True)


def adjust_session(
    session: SparkSession, wanted: Mapping[str, str], *, owned: bool
) -> SessionSettings:
    """Give a live session the runtime settings; it is shared, so what they held is remembered.

    Raises:
        ConfigurationError: Spark refuses a value; the session is as it was before.
    """
    fixed = _context_settings(session) or {}
    applied: dict[str, str] = {}
    previous: dict[str, str | None] = {}
    not_applied: dict[str, str] = {}
    for name, value in wanted.items():
        if not session.conf.isModifiable(name):
            (applied if fixed.get(name) == value else not_applied)[name] = value
            continue
        before = session.conf.get(name, None)
        applied[name] = value
        if before == value:
            continue
        try:
            session.conf.set(name, value)
        except Exception as error:
            restore_settings(session, previous)
            raise ConfigurationError(f"Spark refuses {name}={value!r}: {error}") from error
        previous[name] = before
    return SessionSettings(applied, previous, not_applied, owned)


def restore_settings(session: SparkSession, previous: Mapping[str, str | None]) -> None:
    """Give runtime settings back their values; a session that is gone is not an error."""
    for name, value in previous.items():
        try:
            if value is None:
                session.conf.unset(name)
            else:
                session.conf.set(name, value)
        except Exception as error:  # noqa: BLE001 - whatever Spark says, the caller's work is done
            logger.warning("The Spark setting %s could not be restored: %s", name, error)
            return


def describe_session(session: SparkSession) -> dict[str, str]:
    """Return what Spark tells of itself, as fields of `RuntimeInfo`."""
    context = _context(session)
    application = (
        session.conf.get("spark.app.id", None) if context is None else context.applicationId
    )
    facts = {"spark_version": session.version, "spark_application_id": application}
    return {name: fact for name, fact in facts.items() if fact}


def _context(session: SparkSession) -> SparkContext | None:
    """Return the context of a session, None on Spark Connect, where there is none."""
    try:
        return session.sparkContext
    except Exception:  # noqa: BLE001 - its class differs between versions
        return None


def _context_settings(session: SparkSession) -> dict[str, str] | None:
    context = _context(session)
    return None if context is None else dict(context.getConf().getAll())


def _local_defaults(wanted: Mapping[str, str]) -> dict[str, str]:
    """Keep a local session on this machine, with this interpreter; others are left alone."""
    if not _is_local(wanted):
        return {}
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return {} if os.environ.get("SPARK_LOCAL_IP") else _LOOPBACK


def _is_local(wanted: Mapping[str, str]) -> bool:
    """Whether the session will run inside this process; on a cluster loopback would cut it off."""
    environ = os.environ
    if "spark.remote" in wanted or environ.get("SPARK_REMOTE"):
        return False
    if "PYSPARK_GATEWAY_PORT" in environ:  # under spark-submit, which has decided
        return False
    master = wanted.get("spark.master") or environ.get("MASTER") or _configured_master()
    if master is None:
        return "--master" not in environ.get("PYSPARK_SUBMIT_ARGS", "")
    return master.startswith("local")


def _configured_master() -> str | None:
    """Return the master that ``spark-defaults.conf`` names, as on the nodes of a cluster."""
    folder = os.environ.get("SPARK_CONF_DIR")
    home = os.environ.get("SPARK_HOME")
    if not folder and not home:
        return None
    file = Path(folder or os.path.join(home or "", "conf")) / "spark-defaults.conf"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.strip().replace("=", " ", 1).partition(" ")
        if name == "spark.master" and value.strip():
            return value.strip()
    return None
