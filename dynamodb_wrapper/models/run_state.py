"""Values of run control: changes of status, watermarks, state of a pipeline, outcome of a run.

::

    PENDING -> RUNNING -> SUCCESS | FAILED | CANCELLED | SKIPPED | TIMED_OUT | LOST
    LOST -> the real outcome, by the same writer, while no other run has taken over
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dynamodb_wrapper.exceptions.errors import InvalidTransitionError
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import to_utc, utc_now, utc_text
from dynamodb_wrapper.models.measures import is_storable_number, python_scalar
from dynamodb_wrapper.models.run import RunErrorInfo
from dynamodb_wrapper.redaction import head

LIVE = (RunStatus.PENDING, RunStatus.RUNNING)
TERMINAL = tuple(status for status in RunStatus if status.is_terminal)
_JSON_TYPES = (dict, list)
_TYPES = frozenset(
    ["text", "boolean", "integer", "decimal", "float", "datetime", "date", "binary", "json"]
)
_SHORT_BYTES = 1024


def predecessors(status: RunStatus) -> tuple[RunStatus, ...]:
    """Return the statuses from which every process may change a run to this one."""
    if status.is_terminal:
        return LIVE
    return (RunStatus.PENDING,) if status is RunStatus.RUNNING else ()


def may_finish_late(status: RunStatus, superseded_by: str | None) -> bool:
    """Return whether the driver of a run may still store its outcome."""
    return status is RunStatus.LOST and superseded_by is None


def check_transition(run_id: str, old: RunStatus, new: RunStatus) -> None:
    """Refuse an illegal change.

    Raises:
        InvalidTransitionError: A run cannot change from `old` to `new`; both are named.
    """
    if old not in predecessors(new):
        ended = "it has ended, and an end is final" if old.is_terminal else "that is a step back"
        raise InvalidTransitionError(
            f"Run {run_id} cannot change from {old} to {new}: {ended}.",
            key={"run_id": run_id},
        )


def pack(value: Any) -> tuple[str, Any]:
    """Return the type and the stored form of a watermark's value.

    Scalars of numpy and pandas, members of enums and subclasses are kept as Python's own type.

    Raises:
        ValueError: The value has a type that is not kept, or cannot be stored.
    """
    value = python_scalar(value)
    if is_missing(value):
        raise ValueError("is None or not a number, which is no position")
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "text", value
    if isinstance(value, int):
        return "integer", value if is_storable_number(value) else str(value)
    if isinstance(value, Decimal):
        return "decimal", value if is_storable_number(value) else str(value)
    if isinstance(value, float):
        return "float", repr(value)
    if isinstance(value, datetime):
        return "datetime", utc_text(to_utc(value))
    if isinstance(value, date):
        return "date", value.isoformat()
    if isinstance(value, bytes):
        return "binary", value
    if isinstance(value, _JSON_TYPES):
        return "json", _json_text(value)
    raise ValueError(
        f"is a {type(value).__name__}; a watermark is text, a number, a boolean, an aware "
        "datetime, a date, bytes, or a dict or list of JSON values"
    )


def is_missing(value: Any) -> bool:
    """Return whether a value says that there is none: None, NaN, NA, NaT."""
    value = python_scalar(value)
    return value is None or (isinstance(value, (float, Decimal)) and math.isnan(value))


def unpack(value_type: str, stored: Any) -> Any:
    """Return the Python value of a stored watermark; the inverse of `pack`.

    Raises:
        ValueError: The stored value is not of the type, or the type is unknown.
    """
    try:
        return _unpack(value_type, stored)
    except (ValueError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        raise ValueError(f"is stored as {value_type!r} and cannot be read") from error


def _unpack(value_type: str, stored: Any) -> Any:
    if value_type not in _TYPES:
        raise ValueError(value_type)
    if value_type == "integer":
        return int(stored)
    if value_type == "decimal":
        return Decimal(stored)
    if value_type == "float":
        return float(stored)
    if value_type == "datetime":
        return datetime.fromisoformat(stored.replace("Z", "+00:00"))
    if value_type == "date":
        return date.fromisoformat(stored)
    if value_type == "json":
        return json.loads(stored)
    return bytes(stored) if value_type == "binary" else stored


def if_short(stored: Any) -> Any:
    """Return a stored value; None for one over 1 KB, which is not stored twice."""
    content = stored.encode() if isinstance(stored, str) else stored
    too_long = isinstance(content, bytes) and len(content) > _SHORT_BYTES
    return None if too_long else stored


def is_behind(new: Any, old: Any) -> bool:
    """Return whether a value is less than another; False for two of JSON, which have no order.

    Raises:
        TypeError: They are of types that cannot be compared.
    """
    new, old = python_scalar(new), python_scalar(old)
    kinds = {_kind_of(new), _kind_of(old)}
    if len(kinds) > 1:
        raise TypeError(f"{_kind_of(new)} after {_kind_of(old)}")
    return "json" not in kinds and bool(new < old)


def _kind_of(value: Any) -> str:
    """Return the type of a value; all numbers are of one."""
    kind, _ = pack(value)
    return "number" if kind in ("integer", "decimal", "float") else kind


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"holds a value that JSON cannot hold: {error}") from None


@dataclass(frozen=True)
class PipelineState:
    """Content of the STATE item of a pipeline; one per pipeline, never deleted.

    Attributes:
        holder: Run id of the run that holds an exclusive pipeline; None while it is free.
        fence: Number that only grows; None before the first exclusive run.
        next_seq: Number of runs begun so far.
        fenced_seq: That number when the last exclusive run began; if it is another now, runs
            without a limit have begun since.
        last_seq: Number of the newest run that ended.
        last_run_id: That run.
        last_status: How it ended.
        last_end: When it ended.
        last_ok_seq: Number of the newest run that succeeded.
        last_ok_run_id: That run.
        last_ok_end: When it ended.
        consecutive_failures: Failures since the last success of an exclusive pipeline.
    """

    holder: str | None = None
    fence: int | None = None
    next_seq: int = 0
    fenced_seq: int | None = None
    last_seq: int | None = None
    last_run_id: str | None = None
    last_status: str | None = None
    last_end: str | None = None
    last_ok_seq: int | None = None
    last_ok_run_id: str | None = None
    last_ok_end: str | None = None
    consecutive_failures: int = 0

    @property
    def may_have_unlimited(self) -> bool:
        """Whether runs that took no lock may be live, since the pipeline had no limit before."""
        return self.next_seq > 0 and self.next_seq != self.fenced_seq


@dataclass(frozen=True)
class RunSlot:
    """Content of the SLOT item of a run key: its last attempt and its first success.

    Attributes:
        last_run_id: The last attempt.
        status: Status of that attempt.
        attempt: Its number.
        first_success_at: When the key was covered; failed reruns do not change it.
        success_run_id: The run that covered it.
    """

    last_run_id: str
    status: str
    attempt: int = 1
    first_success_at: str | None = None
    success_run_id: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether the last attempt, according to the slot, has not ended."""
        return self.status in LIVE


@dataclass(frozen=True)
class Cursor:
    """Content of the CURSOR item of a watermark.

    Attributes:
        name: Name of the watermark.
        value: As stored; `unpack` reads it.
        value_type: Its type; None where there is no watermark yet.
        row_version: Raised by every change; 0 where there is no watermark yet.
        moved_by: The run that committed the value; None after a reset.
        updated_at: When it was committed.
    """

    name: str
    value: Any = None
    value_type: str | None = None
    row_version: int = 0
    moved_by: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True)
class CursorMove:
    """A watermark a run wants to move.

    Attributes:
        seen: The cursor the run read.
        value: New value, as stored.
        value_type: Its type.
    """

    seen: Cursor
    value: Any
    value_type: str


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run.

    Attributes:
        status: A terminal status.
        reason: Refines it: exception, user_cancel, process_exit, released...
        error: The error, with secrets removed.
        exit_code: Of a body that ended by SystemExit.
        end_time: When the body ended.
        fields: Further fields of the run to set.
        dropped: Maps of the run to empty, because the item would be too large with them.
        parts: Parts of the run that could not be stored before, by path.
        moves: Watermarks to move, if the run succeeded.
    """

    status: RunStatus
    reason: str | None = None
    error: RunErrorInfo | None = None
    exit_code: int | None = None
    end_time: datetime = field(default_factory=utc_now)
    fields: dict[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    parts: dict[tuple[str, ...], Any] = field(default_factory=dict)
    moves: tuple[CursorMove, ...] = ()

    def without_details(self) -> RunOutcome:
        """Return the outcome with no more than the type of the error and a short message."""
        error = self.error and RunErrorInfo(
            type=self.error.type, message=head(self.error.message, 200)
        )
        detail = self.fields.get("status_detail")
        fields = {**self.fields, "status_detail": detail and head(str(detail), 200)}
        return replace(self, error=error, fields=fields)

    def without_parts(self) -> RunOutcome:
        """Return the outcome that also empties what makes a run large, and says so.

        Watermarks move nevertheless; only the note of it in the run is dropped.
        """
        note = (
            "Stages, metrics, checks and noted watermarks were dropped: with them the run was too "
            "large to end."
        )
        slim = self.without_details()
        kept = {name: value for name, value in slim.fields.items() if name != "watermarks"}
        return replace(
            slim,
            fields={**kept, "status_detail": note},
            parts={},
            dropped=("stages", "metrics", "data_quality", "inputs", "outputs"),
        )
