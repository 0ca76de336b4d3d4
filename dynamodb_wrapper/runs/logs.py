"""The driver's log lines, stored with the run in compressed pieces."""

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

    from dynamodb_wrapper.runs.recorder import Parts

MAX_LINES = 500
MAX_BYTES = 262_144
_LINE_BYTES = 4096
_WAIT_FOR_STORE_SECONDS = 1.0


class LogCapture(logging.Handler):
    """Keeps the lines logged while a run is the current one, until they are stored.

    At most 500 lines and 256 KB a run; further lines are counted and left out. Secrets are taken
    out. Emitting does no I/O.

    Args:
        level: From which level.
        secrets: Values to take out.
        is_ours: Returns whether a line that is logged now belongs to the run.
        store: Stores a piece under its number.
        record: Records the totals with the run.
    """

    def __init__(
        self,
        level: str,
        secrets: tuple[str, ...],
        is_ours: Callable[[], bool],
        store: Callable[[int, str], None],
        record: Callable[[Parts], object],
    ) -> None:
        super().__init__(level)
        self._secrets = secrets
        self._is_ours = is_ours
        self._store = store
        self._record = record
        self._guard = threading.RLock()  # a signal handler may log while this thread does
        self._flushing = threading.Lock()
        self._buffer: list[str] = []
        self._lines = 0
        self._bytes = 0
        self._dropped = 0
        self._is_full = False
        self._chunks = 0
        self._recorded = LogInfo()

    def attach(self) -> None:
        """Begin to take the lines that reach the root logger."""
        logging.getLogger().addHandler(self)

    def detach(self) -> None:
        """Take no more lines, and record how many will be stored with the run."""
        logging.getLogger().removeHandler(self)
        totals = self._final_totals()
        if totals is not None:
            self._record({("logs",): totals})

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
        """Count a line beyond the limit; it is not even formatted."""
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

    def _final_totals(self) -> LogInfo | None:
        """Return the totals once everything is stored; None if no line was logged."""
        with self._guard:
            rest = len(chunks_of("".join(self._buffer)))
            if not self._lines and not self._dropped:
                return None
            return LogInfo(lines=self._lines, dropped=self._dropped, chunks=self._chunks + rest)

    def left_over(self) -> list[tuple[int, str]]:
        """Return the pieces not stored yet, numbered; wait up to 1 s for one being stored."""
        arrived = self._flushing.acquire(timeout=_WAIT_FOR_STORE_SECONDS)
        try:
            with self._guard:
                pieces = chunks_of("".join(self._buffer))
                return list(enumerate(pieces, self._chunks + 1))
        finally:
            if arrived:
                self._flushing.release()

    def store_lines(self) -> None:
        """Store the lines kept so far, and record the new totals if they have changed.

        Raises:
            DynamoDBWrapperError: Lines could not be stored; they are kept.
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
            is_changed = totals != self._recorded
            self._recorded = totals
        if is_changed:
            self._record({("logs",): totals})

    def _forget(self, length: int) -> None:
        """Take so many characters off the beginning."""
        while length:
            line = self._buffer[0]
            self._buffer[:1] = [line[length:]] if length < len(line) else []
            length -= min(length, len(line))
