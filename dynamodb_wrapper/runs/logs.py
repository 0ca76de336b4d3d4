"""The driver's log lines, stored with the run in compressed pieces of limited number."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dynamodb_wrapper.models.run import LogInfo
from dynamodb_wrapper.redaction import stored_text
from dynamodb_wrapper.repositories.run_log.items import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINES = 500
MAX_BYTES = 262_144
_LINE_BYTES = 4096
_ON_ITS_WAY_SECONDS = 1.0


class LogCapture(logging.Handler):
    """Keeps the lines logged while a run is the current one, until they are stored.

    At most 500 lines and 256 KB a run; what comes after that is counted and left out. Secrets are
    taken out. Emitting does no I/O.

    Args:
        level: From which level.
        secrets: Values to take out.
        is_ours: Tells whether what is logged now belongs to the run.
        store: Stores a piece under its number.
    """

    def __init__(
        self,
        level: str,
        secrets: tuple[str, ...],
        is_ours: Callable[[], bool],
        store: Callable[[int, str], None],
    ) -> None:
        super().__init__(level)
        self._secrets = secrets
        self._is_ours = is_ours
        self._store = store
        self._guard = threading.RLock()  # a signal handler may log while this thread does
        self._flushing = threading.Lock()
        self._buffer: list[str] = []
        self._lines = 0
        self._bytes = 0
        self._dropped = 0
        self._is_full = False
        self._chunks = 0
        self._told = LogInfo()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if not self._is_ours() or self._has_to_drop():
            return
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - a record that cannot be formatted must not break the job
            self.handleError(record)
            return
        size = len(line.encode())
        with self._guard:
            if self._lines >= MAX_LINES or self._bytes + size > MAX_BYTES:
                self._is_full = True
                self._dropped += 1
                return
            self._buffer.append(line)
            self._lines += 1
            self._bytes += size

    def _has_to_drop(self) -> bool:
        """Count a line that comes once the limit is reached; it is not even formatted."""
        with self._guard:
            full = self._is_full or self._lines >= MAX_LINES
            self._dropped += full
        return full

    def _line(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        text = self.format(record).replace("\n", "\n    ")
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line = f"{stamp} {record.levelname} {record.name}: {text}"
        return stored_text(line, self._secrets, _LINE_BYTES) + "\n"

    def final_totals(self) -> LogInfo | None:
        """Return the totals as they will be once everything is stored; None where there is none."""
        with self._guard:
            rest = len(chunks_of("".join(self._buffer)))
            if not self._lines and not self._dropped:
                return None
            return LogInfo(lines=self._lines, dropped=self._dropped, chunks=self._chunks + rest)

    def left_over(self) -> list[tuple[int, str]]:
        """Return the pieces that are not stored yet, numbered; waits a little for one under way."""
        arrived = self._flushing.acquire(timeout=_ON_ITS_WAY_SECONDS)
        try:
            with self._guard:
                pieces = chunks_of("".join(self._buffer))
                return list(enumerate(pieces, self._chunks + 1))
        finally:
            if arrived:
                self._flushing.release()

    def store_lines(self) -> LogInfo | None:
        """Store what is kept and return the new totals; None where nothing has changed.

        Raises:
            DynamoDBWrapperError: It could not be stored; it is kept.
        """
        with self._flushing:
            with self._guard:
                taken = list(self._buffer)
            for piece in chunks_of("".join(taken)):
                self._store(self._chunks + 1, piece)
                with self._guard:
                    self._chunks += 1
                    self._forget(len(piece))
            totals = LogInfo(
                lines=self._lines - len(self._buffer), dropped=self._dropped, chunks=self._chunks
            )
            if totals == self._told:
                return None
            self._told = totals
            return totals

    def _forget(self, length: int) -> None:
        """Take so many characters off the beginning."""
        while length:
            line = self._buffer[0]
            self._buffer[:1] = [line[length:]] if length < len(line) else []
            length -= min(length, len(line))
