"""Send stages, metrics and other parts of a run to DynamoDB without failing its body."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
)
from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = SafeLogger(__name__)
Parts = dict[tuple[str, ...], Any]
_PER_REQUEST = 25
_WAIT_FOR_SEND_SECONDS = 4.0


class Recorder:
    """Keeps parts of a run until they are stored; several threads may record at once.

    A part is sent at once. After a failure parts wait for the next beat, so that an outage delays
    the body once and not with every metric.

    Args:
        send: Stores parts; raises one of our errors.
        check: Raises for parts that cannot be stored.
        require_open: Raises once the run has ended or in a forked process.
        label: The run, for the log.
    """

    def __init__(
        self,
        send: Callable[[Mapping[tuple[str, ...], Any]], None],
        check: Callable[[Mapping[tuple[str, ...], Any]], None],
        require_open: Callable[[], None],
        label: str,
    ) -> None:
        self._send = send
        self.check = check
        self._require_open = require_open
        self._label = label
        self._pending: Parts = {}
        # Reentrant: a signal handler may record while this very thread does.
        self._lock = threading.RLock()
        self._sending = threading.RLock()
        self._is_sending = False
        self._is_troubled = False
        self._is_closed = False
        self._is_over = False

    def record(self, parts: Mapping[tuple[str, ...], Any]) -> None:
        """Record parts of the run by their paths.

        Raises:
            ValidationError: A part cannot be stored; it is refused here, where its caller sees it.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._require_open()
        self.check(parts)
        if not self.keep(parts):
            self._require_open()  # it ended meanwhile

    def keep(self, parts: Mapping[tuple[str, ...], Any]) -> bool:
        """Keep parts and try to store them; never raises for trouble with DynamoDB.

        Returns False after `take_rest`: it is too late to keep them.
        """
        with self._lock:
            if self._is_over:
                return False
            self._pending.update(parts)
        if not self._has_to_wait():
            self._send_pending(after_trouble=False)
        return True

    def flush(self) -> None:
        """Try to store what is pending, also after a failure."""
        self._send_pending(after_trouble=True)

    def take_rest(self) -> Parts:
        """Return what is not stored, and keep no more; wait up to 4 s for parts being sent."""
        arrived = self._sending.acquire(timeout=_WAIT_FOR_SEND_SECONDS)
        try:
            with self._lock:
                self._is_over = True
                return dict(self._pending)
        finally:
            if arrived:
                self._sending.release()

    def close(self) -> None:
        """Send no more at once; `flush` still does."""
        with self._lock:
            self._is_closed = True

    def _has_to_wait(self) -> bool:
        with self._lock:
            return self._is_troubled or self._is_closed

    def _send_pending(self, *, after_trouble: bool) -> None:
        with self._sending:
            if self._is_sending:
                return  # a signal handler within the loop below, which then sends its parts too
            try:
                self._is_sending = True
                while after_trouble or not self._has_to_wait():  # another thread may have failed
                    batch = self._next_batch()
                    if not batch or not self._try(batch):
                        return
            finally:
                self._is_sending = False

    def _next_batch(self) -> Parts:
        with self._lock:
            return dict(list(self._pending.items())[:_PER_REQUEST])

    def _try(self, batch: Parts) -> bool:
        """Send parts; they stay pending if anything, an exit included, prevents it."""
        try:
            self._send(batch)
        except (InvalidTransitionError, ItemNotFoundError) as error:
            if not self._is_over:
                logger.warning("Parts of run %s wait for its end: %s", self._label, error)
            self.close()  # it has ended or has another writer; taken for lost, it may end late
            return False
        except DynamoDBWrapperError as error:
            self._note_trouble(error)
            return False
        self._drop(batch)
        self._is_troubled = False
        return True

    def _note_trouble(self, error: DynamoDBWrapperError) -> None:
        warned, self._is_troubled = self._is_troubled, True
        if not warned:
            logger.warning(
                "Parts of run %s could not be stored; they are kept and sent again: %s",
                self._label,
                error,
            )

    def _drop(self, stored: Parts) -> None:
        with self._lock:
            for path, value in stored.items():
                if self._pending.get(path, self) is value:  # else there is a newer one
                    del self._pending[path]
