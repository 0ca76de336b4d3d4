"""Create, find and adjust the Spark session, and mark and cancel the jobs of a run.

Settings in force are read from ``sparkContext.getConf()``: ``getOrCreate`` on a live session
ignores static settings silently, and ``spark.conf.get`` then reports the requested value.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from dynamodb_wrapper.exceptions.errors import ConfigurationError, MissingDependencyError
from dynamodb_wrapper.local.java import java_problem
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.redaction import find_secrets, is_reference, plain_value
from dynamodb_wrapper.spark.overlay import restore, set_value, withdraw

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from dynamodb_wrapper.models.pipeline import PipelineConfig

logger = SafeLogger(__name__)
Setting = Union[str, int, float, Decimal, bool]
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
# What is made of these is made when the application starts, so that a later value has no effect.
_READ_AT_START = (
    "spark.app.",
    "spark.driver.",
    "spark.executor.",
    "spark.executorEnv.",
    "spark.jars",
    "spark.kubernetes.",
    "spark.master",
    "spark.submit.",
    "spark.yarn.",
)
_HADOOP = "spark.hadoop."
_TAKEN_AT_RUN_TIME = ("spark.sql.catalog.", "spark.databricks.", "spark.hadoop.")


def require_pyspark() -> None:
    """Make sure that PySpark can be imported.

    Raises:
        MissingDependencyError: It cannot; the message names the command that installs it.
    """
    try:
        import pyspark  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs PySpark, which cannot be imported ({error}): "
            "pip install 'dynamodb-wrapper[spark]', or use the PySpark of your platform."
        ) from error


def settings_of(pipeline: PipelineConfig) -> dict[str, str]:
    """Return the settings of a pipeline: its resources, overlaid by its `spark_config`."""
    return {**pipeline.resources.spark_settings(), **pipeline.spark_config}


def as_text(value: object) -> str | None:
    """Return a setting as Spark reads it, booleans in lower case; None for what is no setting."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return plain_value(value)
    return str(value) if isinstance(value, (int, float, Decimal)) else None


def checked(settings: Mapping[str, Setting], origin: str) -> dict[str, str]:
    """Return settings as text; all users of the session can read them.

    Args:
        settings: Name to value.
        origin: Where they come from, for error texts.

    Raises:
        ConfigurationError: A name does not begin with ``spark.``, a value is no setting, or it
            is a secret or the reference to one.
    """
    secrets = dict(find_secrets(dict(settings)))
    texts: dict[str, str] = {}
    for name, value in settings.items():
        text = as_text(value)
        if not isinstance(name, str) or not name.startswith("spark."):
            raise ConfigurationError(
                f"{origin}: {name!r} is not a Spark setting; names begin with 'spark.'."
            )
        if text is None:
            raise ConfigurationError(
                f"{origin}: {name} is a {type(value).__name__}; a setting is text, a number or a "
                "boolean."
            )
        if name in secrets:
            raise ConfigurationError(
                f"{origin}: {name} is refused ({secrets[name]}): Spark shows its settings to "
                "everybody. Use the role of the instance or job, or a credential provider class."
            )
        if is_reference(value):
            raise ConfigurationError(
                f"{origin}: {name} refers to a secret; secrets do not go into Spark settings. Use "
                "the role of the instance or job, or a credential provider class."
            )
        texts[name] = text
    return texts


def mark_jobs(session: SparkSession, run_id: str) -> None:
    """Mark the later jobs of this thread with the run's id, so that they can be cancelled.

    On classic Spark it sets the thread's job group; on Spark Connect it adds a tag.
    """
    context = _context(session)
    if context is None:
        session.addTag(run_id)
    else:
        context.setJobGroup(run_id, f"run {run_id}", interruptOnCancel=True)


def unmark_jobs(session: SparkSession, run_id: str) -> None:
    """Remove the mark from later jobs of this thread."""
    context = _context(session)
    if context is None:
        session.removeTag(run_id)
    else:
        for name in ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"):
            context.setLocalProperty(name, None)


def cancel_jobs(session: SparkSession, run_id: str) -> None:
    """Cancel the jobs marked with the run's id; may be called from any thread."""
    context = _context(session)
    if context is None:
        session.interruptTag(run_id)
    else:
        context.cancelJobGroup(run_id)


def _context(session: SparkSession) -> Any:
    """Return the SparkContext, None on Spark Connect, which has none."""
    try:
        return session.sparkContext
    except Exception:  # noqa: BLE001 - Connect raises another class of error
        return None


@dataclass(frozen=True)
class SessionSettings:
    """The requested settings of a session, by whether they are in force.

    Attributes:
        applied: In force as requested.
        previous: Values of an existing session's runtime settings before they were changed; None
            where they were not set.
        not_applied: Not in force: fixed when the application or its JVM started. Give them to
            ``spark-submit`` or the cluster, or end the session first.
        owned: Whether the session was made by this integration, so that `stop` ends it.
    """

    applied: Mapping[str, str] = field(default_factory=dict)
    previous: Mapping[str, str | None] = field(default_factory=dict)
    not_applied: Mapping[str, str] = field(default_factory=dict)
    owned: bool = False


class Sessions:
    """Provides the session of this process, and knows whether it has made it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own: SparkSession | None = None

    def provide(
        self, app_name: str, wanted: Mapping[str, str], owner: str | None, *, strict: bool
    ) -> tuple[SparkSession, SessionSettings]:
        """Return the live session, adjusted, or a new one; warn of what is not in force.

        Raises:
            ConfigurationError: With `strict`, a setting is not in force; a live session is as it
                was before.
        """
        with self._lock:
            session = find_session()
            if session is None:
                is_foreign = has_context()
                session, settings = start_session(wanted, app_name, owned=not is_foreign)
                self._own = None if is_foreign else session
            else:
                owned = session is self._own
                settings = adjust_session(session, wanted, owner, owned=owned, strict=strict)
        if settings.not_applied and strict:
            raise not_in_force(settings.not_applied)
        if settings.not_applied:
            logger.warning(
                "Spark settings that are not in force, because they were fixed when the session "
                "or its JVM began: %s",
                ", ".join(sorted(settings.not_applied)),
            )
        return session, settings

    def stop(self) -> None:
        """Stop the session made here; any other is left alone."""
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
    """Return whether a session can be used; one of Spark Connect counts as alive."""
    context = _context(session)
    return context is None or context._jsc is not None  # PySpark checks the same


def has_context() -> bool:
    """Return whether the program has a `SparkContext` without a session: it is the program's."""
    from pyspark import SparkContext

    context = getattr(SparkContext, "_active_spark_context", None)
    return context is not None and context._jsc is not None


def not_in_force(settings: Mapping[str, str]) -> ConfigurationError:
    """Return the error for settings that were fixed when the session or its JVM began."""
    given = " ".join(f"--conf {name}={value}" for name, value in sorted(settings.items()))
    return ConfigurationError(
        "Spark settings are not in force, because they were fixed when the session or its JVM "
        f"began: {', '.join(sorted(settings))}. Give them to spark-submit ({given}), or end the "
        "session first."
    )


def start_session(
    wanted: Mapping[str, str], app_name: str, *, owned: bool = True
) -> tuple[SparkSession, SessionSettings]:
    """Start a session where there is none.

    Raises:
        MissingDependencyError: Java is missing or too old.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    has_jvm = getattr(SparkContext, "_jvm", None) is not None
    launched = dict(SparkConf().getAll()) if has_jvm else {}
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
        return session, adjust_session(session, wanted, None, owned=owned)
    if has_jvm:
        in_force.update({name: launched.get(name, "") for name in _READ_AT_LAUNCH})
    applied = {name: value for name, value in wanted.items() if in_force.get(name) == value}
    not_applied = {name: value for name, value in wanted.items() if name not in applied}
    return session, SessionSettings(applied=applied, not_applied=not_applied, owned=owned)


def adjust_session(
    session: SparkSession,
    wanted: Mapping[str, str],
    owner: str | None,
    *,
    owned: bool,
    strict: bool = False,
) -> SessionSettings:
    """Set the runtime settings of a live session; those that are fixed are named.

    Raises:
        ConfigurationError: Spark refuses a value, or with `strict` a setting is fixed; the session
            is as it was before.
    """
    fixed = _context_settings(session) or {}
    applied: dict[str, str] = {}
    previous: dict[str, str | None] = {}
    not_applied: dict[str, str] = {}
    for name, value in wanted.items():
        if _is_fixed(session, name):
            (applied if fixed.get(name) == value else not_applied)[name] = value
            continue
        try:
            before = set_value(session, name, value, owner)
            if name.startswith(_HADOOP):  # sessions take Hadoop's settings by their own name
                set_value(session, name[len(_HADOOP) :], value, owner)
        except Exception as error:
            _undo(session, previous, owner)
            raise ConfigurationError(f"Spark refuses {name}={value!r}: {error}") from error
        applied[name] = value
        if before != value:
            previous[name] = before
    if not_applied and strict:
        _undo(session, previous, owner)
        raise not_in_force(not_applied)
    return SessionSettings(applied, previous, not_applied, owned)


def _is_fixed(session: SparkSession, name: str) -> bool:
    """Return whether a setting was fixed when the application began.

    Spark calls every setting fixed that it does not know; those it takes at run time, and those
    that name what is made at the start have no effect.
    """
    if session.conf.isModifiable(name):
        return False
    if name.startswith(_READ_AT_START):
        return True
    context = _context(session)
    if context is None:  # Spark Connect refuses what it cannot change
        return not name.startswith(_TAKEN_AT_RUN_TIME)
    entries = context._jvm.org.apache.spark.internal.config.ConfigEntry
    static = context._jvm.org.apache.spark.sql.internal.SQLConf
    return entries.findEntry(name) is not None or _is_static(static, name)


def _is_static(sql_conf: Any, name: str) -> bool:
    try:
        return bool(sql_conf.isStaticConfigKey(name))
    except Exception:  # noqa: BLE001 - Spark before 3.4 has no such method
        return name.startswith("spark.sql.warehouse.")


def _undo(session: SparkSession, previous: Mapping[str, str | None], owner: str | None) -> None:
    if owner is not None:
        withdraw(session, owner)
        return
    for name, value in previous.items():
        restore(session, name, value)


def describe_session(session: SparkSession) -> dict[str, str]:
    """Return version and application id of Spark, as fields of `RuntimeInfo`."""
    context = _context(session)
    application = (
        session.conf.get("spark.app.id", None) if context is None else context.applicationId
    )
    facts = {"spark_version": session.version, "spark_application_id": application}
    return {name: fact for name, fact in facts.items() if fact}


def _context_settings(session: SparkSession) -> dict[str, str] | None:
    context = _context(session)
    return None if context is None else dict(context.getConf().getAll())


def _local_defaults(wanted: Mapping[str, str]) -> dict[str, str]:
    """Keep a local session on this machine, with this interpreter; others are left alone."""
    configured = {**configured_settings(), **wanted}
    if not _is_local(configured):
        return {}
    if not any(name.startswith("spark.pyspark.") for name in configured):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if os.environ.get("SPARK_LOCAL_IP"):
        return {}
    return {name: value for name, value in _LOOPBACK.items() if name not in configured}


def _is_local(configured: Mapping[str, str]) -> bool:
    """Return whether the session runs inside this process; a cluster could not reach loopback."""
    environ = os.environ
    if "spark.remote" in configured or environ.get("SPARK_REMOTE"):
        return False
    if "PYSPARK_GATEWAY_PORT" in environ:  # under spark-submit, which sets the master
        return False
    master = configured.get("spark.master") or environ.get("MASTER")
    return master is None or master.startswith("local")


def configured_settings() -> dict[str, str]:
    """Return what ``spark-defaults.conf`` and ``PYSPARK_SUBMIT_ARGS`` set; the latter wins."""
    folder = os.environ.get("SPARK_CONF_DIR")
    home = os.environ.get("SPARK_HOME")
    file = None
    if folder or home:
        file = Path(folder or os.path.join(home or "", "conf")) / "spark-defaults.conf"
    given: dict[str, str] = {}
    words = _submit_words()
    for word, following in zip(words, [*words[1:], ""]):
        option, _, value = word.partition("=")
        value = value or following
        if option == "--properties-file":
            file = Path(value)
        elif option == "--master":
            given["spark.master"] = value
        elif option == "--remote":
            given["spark.remote"] = value
        elif option in ("--conf", "-c"):
            name, _, text = (value if "=" in value else following).partition("=")
            given[name.strip()] = text.strip()
    return {**_properties(file), **given}


def _submit_words() -> list[str]:
    try:
        return shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", ""))
    except ValueError:  # a quote is not closed; Spark will say so
        return []


def _properties(file: Path | None) -> dict[str, str]:
    """Return the settings of a properties file: name and value are parted by blanks, = or :."""
    try:
        lines = [] if file is None else file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        match = re.match(r"\s*(?![#!])([^\s=:]+)\s*[\s=:]\s*(.*?)\s*$", line)
        if match is not None and match[2]:
            found[match[1]] = match[2]
    return found
