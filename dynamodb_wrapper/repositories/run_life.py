"""What happens to a run between its start and its end: beats, requests to cancel, watermarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    InvalidTransitionError,
    ItemNotFoundError,
    ValidationError,
)
from dynamodb_wrapper.models.run_state import Cursor, CursorMove
from dynamodb_wrapper.models.watermarks import pack
from dynamodb_wrapper.repositories.run_items import is_companion, read_cursor
from dynamodb_wrapper.wire.attributes import encode_value
from dynamodb_wrapper.wire.requests import botocore_error

if TYPE_CHECKING:
    from datetime import datetime

    from dynamodb_wrapper.models import PipelineRunLog
    from dynamodb_wrapper.repositories.run_reads import RunReads
    from dynamodb_wrapper.repositories.run_transactions import Builder

MAX_WATERMARK_BYTES = 65_536


class RunLife:
    """Changes of live runs on one run table.

    Args:
        reads: Reads for decisions.
        build: Makes the requests.
    """

    def __init__(self, reads: RunReads, build: Builder) -> None:
        self._reads = reads
        self._build = build
        self._caller = reads.caller

    def beat(
        self, run: PipelineRunLog, now: datetime, lease_until: datetime
    ) -> PipelineRunLog | None:
        """Renew a lease and return the run as it then is; None where it is gone.

        Where the run is not this writer's any more, or has ended, nothing is renewed: its status
        and writer tell.
        """
        request = self._build.beat(run, now, lease_until)
        try:
            response = self._caller.call("UpdateItem", request, key={"run_id": run.run_id})
        except ConditionFailedError as error:
            found = botocore_error(error).get("Item")
            return self._reads.decode(found) if found else None
        return self._reads.decode(response["Attributes"])

    def request_cancel(self, run_id: str, by: str, now: datetime) -> PipelineRunLog:
        """Ask a live run to end itself, and return it."""
        if is_companion(run_id):
            raise ItemNotFoundError(
                f"There is no run {run_id!r}.",
                table_name=self._caller.table_name,
                key={"run_id": run_id},
            )
        request = self._build.request_cancel(run_id, by, now)
        try:
            response = self._caller.call("UpdateItem", request, key={"run_id": run_id})
        except ConditionFailedError as error:
            found = botocore_error(error).get("Item")
            context: dict[str, Any] = {
                "table_name": self._caller.table_name,
                "key": {"run_id": run_id},
            }
            if not found:
                raise ItemNotFoundError(f"There is no run {run_id!r}.", **context) from error
            status = self._reads.decode(found).status
            raise InvalidTransitionError(
                f"Run {run_id} cannot be cancelled: it has ended as {status}.", **context
            ) from error
        return self._reads.decode(response["Attributes"])

    def reset_watermark(self, pipeline_id: str, name: str, value: Any, now: datetime) -> Cursor:
        """Set a watermark by hand, whatever it holds, and return it."""
        for _ in self._caller.backoff().waits():
            seen = self._reads.cursor(pipeline_id, name)
            action = self._build.move_cursor(pipeline_id, cursor_move(seen, value), now)
            try:
                response = self._caller.call(
                    "UpdateItem", {**action.request, "ReturnValues": "ALL_NEW"}
                )
            except ConditionFailedError:
                continue  # a run moved it in between: look again
            return read_cursor(name, response["Attributes"])
        raise self._reads.gave_up(f"Watermark {name!r} of pipeline {pipeline_id!r}")


def cursor_move(seen: Cursor, value: Any) -> CursorMove:
    """Return the move of a watermark to a value.

    Raises:
        ValidationError: The value has a type that is not kept, or is over 64 KB.
    """
    try:
        value_type, plain = pack(value)
    except ValueError as error:
        raise ValidationError(f"Watermark {seen.name!r} {error}.") from error
    encoded = encode_value(plain, f"watermark {seen.name!r}")
    content = next(iter(encoded.values()))
    size = len(content if isinstance(content, bytes) else str(content).encode())
    if size > MAX_WATERMARK_BYTES:
        raise ValidationError(
            f"Watermark {seen.name!r} has {size:,} bytes; {MAX_WATERMARK_BYTES:,} are the limit. "
            "Store a position, not the data."
        )
    return CursorMove(seen, plain, value_type)
