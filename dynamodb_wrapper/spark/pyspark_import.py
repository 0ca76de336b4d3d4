"""The one check whether PySpark is there; it is imported where it is used, never before."""

from __future__ import annotations

from dynamodb_wrapper.exceptions import MissingDependencyError


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
