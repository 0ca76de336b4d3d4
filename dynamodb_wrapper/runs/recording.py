"""Stages, metrics and the like on their way to the stored run; trouble never reaches the body."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import (
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

Parts = dict[tuple[str, ...], Any]
_PER_REQUEST = 25
_ON_ITS_WAY_SECONDS = 4.0


class Recorder:
    """Keeps parts of a run until they are stored; several threads may record at once.

    A part is sent at once. After a failure parts wait for the next beat, so that an outage holds
    the body up once and not with every metric.

    Args:
        send: Stores parts; raises one of our errors.
        label: The run, for the log.
    """

    def __init__(self, send: Callable[[Mapping[tuple[str, ...], Any]], None], label: str) -> None:
        self._send = send
        self._label = label
        self._pending: Parts = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._is_troubled = False
        self._is_closed = False

    def record(self, parts: Mapping[tuple[str, ...], Any]) -> None:
        """Take parts and try to store them; never raises for trouble with DynamoDB."""
        with self._lock:
            self._pending.update(parts)
        if not self._has_to_wait():
            self._send_pending(after_trouble=False)

    def flush(self) -> None:
        """Try to store what is pending, also after a failure."""
        self._send_pending(after_trouble=True)

    def pending(self) -> Parts:
        """Return what could not be stored; waits a little for what is on its way."""
        arrived = self._sending.acquire(timeout=_ON_ITS_WAY_SECONDS)
        try:
            with self._lock:
                return dict(self._pending)
        finally:
            if arrived:
                self._sending.release()

    def close(self) -> None:
        """Send nothing any more by itself."""
        with self._lock:
            self._is_closed = True

    def _has_to_wait(self) -> bool:
        with self._lock:
            return self._is_troubled or self._is_closed

    def _send_pending(self, *, after_trouble: bool) -> None:
        with self._sending:
            while after_trouble or not self._has_to_wait():  # the thread before may have met it
                batch = self._take()
                if not batch or not self._try(batch):
                    return

    def _take(self) -> Parts:
        with self._lock:
            batch = dict(list(self._pending.items())[:_PER_REQUEST])
            for path in batch:
                del self._pending[path]
        return batch

    def _try(self, batch: Parts) -> bool:
        try:
            self._send(batch)
        except (InvalidTransitionError, ItemNotFoundError) as error:
            logger.warning("Parts of run %s wait for its end: %s", self._label, error)
            self._put_back(batch)
            self.close()  # it has ended, or is somebody else's; taken for lost, it may end late
            return False
        except DynamoDBWrapperError as error:
            self._give_back(batch, error)
            return False
        self._is_troubled = False
        return True

    def _give_back(self, batch: Parts, error: DynamoDBWrapperError) -> None:
        self._put_back(batch)
        warned, self._is_troubled = self._is_troubled, True
        if not warned:
            logger.warning(
                "Parts of run %s could not be stored; they are kept and sent again: %s",
                self._label,
                error,
            )

    def _put_back(self, batch: Parts) -> None:
        with self._lock:
            self._pending = {**batch, **self._pending}  # what is newer wins
