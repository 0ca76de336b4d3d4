"""The one check whether PySpark is there; it is imported where it is used, never before."""

from __future__ import annotations

from importlib.util import find_spec

from dynamodb_wrapper.exceptions import MissingDependencyError


def require_pyspark() -> None:
    """Make sure that PySpark can be imported.

    Raises:
        MissingDependencyError: It cannot; the message names the command that installs it.
    """
    try:
        import pyspark  # noqa: F401
    except ImportError as error:
        there = "pyspark cannot be imported" if find_spec("pyspark") else "pyspark is not installed"
        raise MissingDependencyError(
            f"This needs Spark, and {there}: pip install 'dynamodb-wrapper[spark]'. "
            "On a cluster use the pyspark of the platform."
        ) from error
