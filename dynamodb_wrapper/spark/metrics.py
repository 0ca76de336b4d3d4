"""Rows, files and bytes of a write, without another Spark action."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame, SparkSession

logger = SafeLogger(__name__)

_WAIT_SECONDS = 5.0


class RowCount:
    """Counts the rows of a DataFrame while its first action runs, in the same pass.

    Attributes:
        frame: The DataFrame to act on instead of the given one.
    """

    def __init__(self, frame: DataFrame) -> None:
        from pyspark.sql import Observation
        from pyspark.sql import functions as F  # noqa: N812 - the usual name

        self._observation = Observation(f"dynamodb_wrapper_{uuid.uuid4().hex}")
        self.frame = frame.observe(self._observation, F.count(F.lit(1)).alias("rows"))

    def rows(self, wait_seconds: float = _WAIT_SECONDS) -> int | None:
        """Return the count; ask only after the action succeeded, for a failed one reports zero.

        Spark waits forever where it has optimised the count away, so another thread does the
        waiting. None when the count does not come in time.
        """
        answers: list[Any] = []

        def ask() -> None:
            try:
                answers.append(self._observation.get["rows"])
            except Exception as error:  # noqa: BLE001 - a missing figure must not fail the write
                logger.debug("The observed rows could not be read: %s", error)

        thread = threading.Thread(target=ask, name="dynamodb-wrapper-rows", daemon=True)
        thread.start()
        thread.join(wait_seconds)
        return int(answers[0]) if answers else None


def files_at(session: SparkSession, location: str) -> tuple[int, int] | None:
    """Return size in bytes and number of the data files at a location of this machine.

    None where the driver cannot see what Spark wrote: on clusters and in object stores, where it
    would have to be paid for.
    """
    folder = _local_folder(session, location)
    if folder is None or not folder.is_dir():
        return None
    sizes = [file.stat().st_size for file in _visible_files(folder)]
    return sum(sizes), len(sizes)


def _visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files that Spark reads as data."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (Path(place, name) for name in names if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    """Return whether Spark ignores files of this name; ``_day=1`` is a partition."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _local_folder(session: SparkSession, location: str) -> Path | None:
    try:
        master = session.sparkContext.master
        default_system = session.sparkContext.getConf().get("spark.hadoop.fs.defaultFS")
    except Exception:  # noqa: BLE001 - Spark Connect has no context; its class differs
        return None
    parts = urlsplit(location)
    elsewhere = default_system is not None or os.environ.get("HADOOP_CONF_DIR")
    if not str(master).startswith("local") or parts.scheme not in ("", "file"):
        return None
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if elsewhere else Path(location)
