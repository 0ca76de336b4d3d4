"""The watermarks a run has read and will move when it succeeds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.run import WatermarkMove
from dynamodb_wrapper.models.run_state import if_short, is_behind, is_missing, unpack
from dynamodb_wrapper.repositories.run_log.items import checked_name
from dynamodb_wrapper.repositories.run_log.live import cursor_move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dynamodb_wrapper.models.run_state import Cursor, CursorMove

MAX_WATERMARKS = 50
logger = SafeLogger(__name__)


class Watermarks:
    """Reads watermarks once and collects their moves; the finish transaction commits them.

    Args:
        read: Reads a watermark, consistently.
        pipeline_id: For error texts.
        require_open: Raises once the run has ended.
        secrets: Refused in values.
    """

    def __init__(
        self,
        read: Callable[[str], Cursor],
        pipeline_id: str,
        require_open: Callable[[], None],
        secrets: Iterable[str],
    ) -> None:
        self._read = read
        self._pipeline_id = pipeline_id
        self._require_open = require_open
        self._secrets = secrets
        self._lock = threading.RLock()  # a signal handler may ask while this thread does
        self._seen: dict[str, Cursor] = {}
        self._moves: dict[str, CursorMove] = {}

    def value(self, name: str) -> Any:
        """Return the value this run set, else the stored one, else None."""
        checked_name(name, "A watermark")
        with self._lock:
            return self._current_value(name, self._cursor(name))

    def advance(self, name: str, value: Any) -> None:
        """Move a watermark forward, if the run succeeds; None and NaN leave it where it is."""
        with self._lock:
            seen = self._cursor(name)
            if _has_no_position(name, value):
                logger.info("Watermark %r stays: there is no newer position (%s).", name, value)
                return
            move = cursor_move(seen, value, self._secrets)
            old = self._current_value(name, seen)
            if old is not None:
                self._refuse_step_back(name, old, value)
            if name not in self._moves and len(self._moves) >= MAX_WATERMARKS:
                raise ValidationError(f"A run can move {MAX_WATERMARKS} watermarks at most.")
            self._require_open()  # here: the end takes the moves under the same lock
            self._moves[name] = move

    def _refuse_step_back(self, name: str, old: Any, value: Any) -> None:
        try:
            if not is_behind(value, old):
                return
            step = f"would go back from {old!r} to {value!r}"
        except TypeError as error:
            step = f"would change its type, {error}: {old!r} to {value!r}"
        raise ValidationError(
            f"Watermark {name!r} of pipeline {self._pipeline_id!r} {step}. "
            "RunTracker.reset_watermark sets it to any value, on purpose."
        )

    def moves(self) -> tuple[CursorMove, ...]:
        """Return the moves to commit with the success of the run."""
        with self._lock:
            return tuple(self._moves.values())

    def _cursor(self, name: str) -> Cursor:
        checked_name(name, "A watermark")
        if name not in self._seen:
            self._seen.setdefault(name, self._read(name))
        return self._seen[name]

    def _current_value(self, name: str, seen: Cursor) -> Any:
        move = self._moves.get(name)
        if move is not None:
            return unpack(move.value_type, move.value)
        return stored_position(self._pipeline_id, seen)


def _has_no_position(name: str, value: Any) -> bool:
    try:
        return is_missing(value)
    except ValueError as error:
        raise ValidationError(f"Watermark {name!r} {error}.") from error


def stored_position(pipeline_id: str, cursor: Cursor) -> Any:
    """Return the value of a stored watermark; None where there is none yet.

    Raises:
        ValidationError: It cannot be read: something else has written it.
    """
    if cursor.value_type is None:
        return None
    try:
        return unpack(cursor.value_type, cursor.value)
    except ValueError as error:
        raise ValidationError(
            f"Watermark {cursor.name!r} of pipeline {pipeline_id!r} {error}. "
            f"RunTracker.reset_watermark({pipeline_id!r}, {cursor.name!r}, value) sets it anew."
        ) from error


def recorded_moves(moves: tuple[CursorMove, ...]) -> dict[str, WatermarkMove]:
    """Return the moves as the run's record shows them; values over 1 KB are left out."""
    return {
        move.seen.name: WatermarkMove(
            value_type=move.value_type,
            before=if_short(move.seen.value),
            before_type=move.seen.value_type,
            after=if_short(move.value),
        )
        for move in moves
    }
