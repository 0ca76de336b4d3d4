"""Translate Spark's errors about a table into errors of this library."""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    MissingDependencyError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.models.table_config import TableConfig

_NO_DATA_SOURCE = re.compile(r"Failed to find (?:the )?data source: (?P<name>[\w.]+)")
_NO_FILE_SYSTEM = re.compile(
    r"No FileSystem for scheme:? \"?(?P<scheme>\w+)|"
    r"Class (?P<class>[\w.]+(?:FileSystem|FS|Fs)) not found|"
    r"UNSUPPORTED_FILE_SYSTEM\]?[^\n]{0,200}scheme:? (?P<other>\w+)"
)
_FILE_SYSTEMS = {  # by a part of the scheme or of the class
    "s3": ("s3a", "org.apache.hadoop:hadoop-aws:{hadoop}"),
    "azurebfs": ("abfss", "org.apache.hadoop:hadoop-azure:{hadoop}"),
    "abfs": ("abfss", "org.apache.hadoop:hadoop-azure:{hadoop}"),
    "wasb": ("wasbs", "org.apache.hadoop:hadoop-azure:{hadoop}"),
    "gs": ("gs", "com.google.cloud.bigdataoss:gcs-connector:<version>"),
    "google": ("gs", "com.google.cloud.bigdataoss:gcs-connector:<version>"),
}
_NO_PATH = re.compile(r"PATH_NOT_FOUND|Path does not exist", re.IGNORECASE)
_PATH_TAKEN = re.compile(r"PATH_ALREADY_EXISTS|path \S+ already exists", re.IGNORECASE)
_TABLE_TAKEN = re.compile(r"TABLE_OR_VIEW_ALREADY_EXISTS|Table \S+ already exists", re.IGNORECASE)


@contextmanager
def explained(table: TableConfig, verb: str) -> Iterator[None]:
    """Raise our errors for plans that Spark refuses; errors of data and user code stay.

    Args:
        table: The table.
        verb: ``read`` or ``written``.
    """
    try:
        yield
    except Exception as error:
        ours = _explanation(error, table, verb)
        if ours is None:
            raise
        raise ours from error


def _explanation(error: Exception, table: TableConfig, verb: str) -> DynamoDBWrapperError | None:
    if not type(error).__module__.startswith(("pyspark.", "py4j.")):
        return None
    text = str(error)
    missing = _NO_DATA_SOURCE.search(text)
    if missing is not None:
        return _missing_format(missing["name"].rstrip("."), table)
    unreachable = _NO_FILE_SYSTEM.search(text)
    if unreachable is not None:
        named = unreachable["scheme"] or unreachable["class"] or unreachable["other"]
        return _missing_file_system(named, table)
    if not isinstance(error, planning_errors()):
        return None
    where = f"Table {table.table_id!r} cannot be {verb}: "
    if verb == "read" and _NO_PATH.search(text):
        return ValidationError(f"{where}there is nothing at {table.location}.")
    if verb == "written" and (_PATH_TAKEN.search(text) or _TABLE_TAKEN.search(text)):
        place = table.location or table.qualified_name
        return ValidationError(
            f"{where}there is something at {place} already, and mode 'error' replaces nothing; "
            "use append, overwrite or overwrite_partitions."
        )
    return ValidationError(where + _first_line(text))


def planning_errors() -> tuple[type[Exception], ...]:
    """Return the classes of planning errors; this import works before and after PySpark 3.4."""
    home = import_module("pyspark.sql.utils")
    return home.AnalysisException, home.ParseException


def _missing_format(name: str, table: TableConfig) -> MissingDependencyError:
    package = _packages().get(name)
    advice = f"the package of {name}" if package is None else package
    return MissingDependencyError(
        f"Table {table.table_id!r} has the format {name!r}, which this Spark does not know: add "
        f"{advice} to the setting spark.jars.packages before the session starts."
    )


def _missing_file_system(named: str, table: TableConfig) -> MissingDependencyError:
    lower = named.lower()
    known = next((what for part, what in _FILE_SYSTEMS.items() if part in lower), None)
    scheme, package = known or (named, f"the package of the file system {named}")
    place = table.location or table.qualified_name
    advice = package.format(hadoop=_hadoop_version())
    hint = " Spark outside of EMR calls it s3a: s3a://…" if scheme == "s3a" else ""
    return MissingDependencyError(
        f"Table {table.table_id!r} is at {place}, and this Spark lacks the file system {scheme}: "
        f"add {advice} to the setting spark.jars.packages before the session starts.{hint}"
    )


def _hadoop_version() -> str:
    """Return the version of the Hadoop classes of this Spark, which the package must have."""
    from pyspark.sql import SparkSession

    try:
        session = SparkSession.getActiveSession()
        return str(session._jvm.org.apache.hadoop.util.VersionInfo.getVersion())  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - on Spark Connect there is no JVM to ask
        return "<the Hadoop version of this Spark>"


def _packages() -> dict[str, str]:
    """Return the Maven coordinates of the formats that are not part of Spark."""
    import pyspark

    version = pyspark.__version__
    minor = ".".join(version.split(".")[:2])
    scala = "2.12" if version.startswith("3.") else "2.13"
    delta = "delta-core" if minor in ("3.3", "3.4") else "delta-spark"
    return {
        "avro": f"org.apache.spark:spark-avro_{scala}:{version}",
        "delta": f"io.delta:{delta}_{scala}:<the Delta version for Spark {minor}>",
        "iceberg": f"org.apache.iceberg:iceberg-spark-runtime-{minor}_{scala}:<version>",
    }


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(";") if lines else "Spark gave no reason."
