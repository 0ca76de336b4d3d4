"""The driver's log lines, stored with the run in compressed pieces."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import datetime, timezone
from types import MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models.run import LogInfo
from dynamodb_wrapper.redaction import redact_known, stored_text
from dynamodb_wrapper.repositories.run_log.items import chunks_of
from dynamodb_wrapper.runs.outcome import formatted_stack, is_of_library, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dynamodb_wrapper.runs.recorder import Parts

MAX_LINES = 500
MAX_BYTES = 262_144
_LINE_BYTES = 4096
_WAIT_FOR_STORE_SECONDS = 1.0


class RecordHook:
    """Shows every line that its logger lets through to one function, before any handler has it.

    A handler on the root logger cannot do that without a change of what a program prints: Python's
    handler of last resort and `logging.basicConfig` ask whether there is one, and ``force=True``
    and `logging.config.dictConfig` remove it. While it is installed this object stands for
    `Logger.filter`: a logger's own filters are asked by logging's own code, and after the last of
    them the function. So levels, disabled loggers and filters decide first; handlers, propagation
    and record factories do not matter; and no frame of the library is in a traceback that a filter
    or handler leaves.

    Args:
        receive: Given each record; must return True, and not raise.
    """

    def __init__(self, receive: Callable[[logging.LogRecord], bool]) -> None:
        self._receive = receive

    def __get__(self, logger: logging.Logger | None, owner: object = None) -> Any:
        if logger is None:
            return logging.Filterer.filter
        return MethodType(
            logging.Filterer.filter, SimpleNamespace(filters=[*logger.filters, self._receive])
        )

    def install(self) -> None:
        """Show lines from now on; repeating it changes nothing."""
        if "filter" not in vars(logging.Logger):
            logging.Logger.filter = self  # type: ignore[assignment, method-assign]

    def remove(self) -> None:
        """Leave logging as it was, unless another program has replaced the same method since."""
        if vars(logging.Logger).get("filter") is self:
            with suppress(AttributeError):  # another thread was quicker
                del logging.Logger.filter


class LogCapture:
    """Keeps the lines that belong to a run until they are stored.

    At most 500 lines and 256 KB a run; further lines are counted and left out. Secrets are taken
    out. Keeping a line does no I/O, and changes nothing of it: handlers get it afterwards.

    Args:
        level: From which level.
        secrets: Values to take out.
        store: Stores a piece under its number.
        record: Records the totals with the run.
    """

    def __init__(
        self,
        level: str,
        secrets: Iterable[str],
        store: Callable[[int, str], None],
        record: Callable[[Parts], object],
    ) -> None:
        self._level: int = getattr(logging, level)
        self._secrets = secrets
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

    def record_totals(self) -> None:
        """Record how many lines will be stored with the run, which has ended."""
        totals = self._final_totals()
        if totals is not None:
            self._record({("logs",): totals})

    def keep(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if record.levelno < self._level or self._has_to_drop():
            return
        line = self._line(record)
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
        text = _text_of(record).replace("\n", "\n    ")
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
                self._clean()
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
                self._clean()
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

    def _clean(self) -> None:
        """Take out secrets that have come since: the SDK logs a reply before it knows its keys."""
        known = tuple(self._secrets)
        self._buffer = [redact_known(line, known) for line in self._buffer]

    def _forget(self, length: int) -> None:
        """Take so many characters off the beginning."""
        while length:
            line = self._buffer[0]
            self._buffer[:1] = [line[length:]] if length < len(line) else []
            length -= min(length, len(line))


def _text_of(record: logging.LogRecord) -> str:
    """Return what a formatter would make of a record, which stays as it is.

    A formatter notes its text on the record, and the handlers that come next would use that.
    """
    try:
        parts = [record.getMessage()]
    except BaseException as error:  # logging reports it, if a handler meets it too
        if not isinstance(error, Exception) and is_of_library(error):
            raise
        parts = [f"<a message that could not be formatted: {type_name(error)}>"]
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(_stack(record.exc_info[1]))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _stack(error: BaseException | None) -> str:
    return "" if error is None else "".join(formatted_stack(error, ())).rstrip("\n")
