"""What run control reads before it decides: base items, consistently, never an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ThrottledError
from dynamodb_wrapper.repositories import run_items
from dynamodb_wrapper.repositories.run_decisions import Seen
from dynamodb_wrapper.wire.codec import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.models import PipelineRunLog
    from dynamodb_wrapper.models.run_state import Cursor, PipelineState, RunSlot
    from dynamodb_wrapper.wire.requests import Caller


class RunReads:
    """Reads of one run table.

    Args:
        caller: Sends to the run table.
        decode: Makes a run of a stored item.
    """

    def __init__(self, caller: Caller, decode: Callable[[Any], PipelineRunLog]) -> None:
        self.caller = caller
        self.decode = decode

    def state(self, pipeline_id: str) -> PipelineState:
        """Return the state of a pipeline. Costs one read unit."""
        return run_items.read_state(self._get(run_items.state_key(pipeline_id)))

    def run(self, run_id: str) -> PipelineRunLog | None:
        """Return a run as it is now. Costs a read unit per 4 KB."""
        if run_items.is_companion(run_id):
            return None
        item = self._get(run_items.run_key(run_id))
        return None if item is None else self.decode(item)

    def slot(self, pipeline_id: str, key: str) -> RunSlot | None:
        """Return who tried a run key last. Costs one read unit."""
        return run_items.read_slot(self._get(run_items.slot_key(pipeline_id, key)))

    def cursor(self, pipeline_id: str, name: str) -> Cursor:
        """Return a watermark. Costs a read unit per 4 KB."""
        item = self._get(run_items.cursor_key(pipeline_id, name))
        return run_items.read_cursor(name, item)

    def owns_slot(self, run: PipelineRunLog) -> bool:
        """Tell whether a run is the last attempt at its run key."""
        if run.run_key is None:
            return False
        slot = self.slot(run.pipeline_id, run.run_key)
        return slot is not None and slot.last_run_id == run.run_id

    def before_start(self, run: PipelineRunLog, now: datetime, *, exclusive: bool) -> Seen:
        """Return what decides whether a run can begin. Costs one to five read units."""
        state = self.state(run.pipeline_id) if exclusive else run_items.read_state(None)
        slot = self.slot(run.pipeline_id, run.run_key) if run.run_key else None
        holder = self.run(state.holder) if state.holder else None
        attempt, holder_slot = None, None
        if slot is not None and slot.is_live:
            same = slot.last_run_id == state.holder
            attempt = holder if same else self.run(slot.last_run_id)
        if holder is not None and holder.is_expired(now) and holder.run_key:
            same = holder.run_key == run.run_key
            holder_slot = slot if same else self.slot(holder.pipeline_id, holder.run_key)
        return Seen(state, holder, slot, attempt, holder_slot)

    def gave_up(self, what: str) -> ThrottledError:
        """Return the error that says that what was read kept changing."""
        return ThrottledError(
            f"{what} kept changing for {self.caller.limit_seconds:g} s. Try again later.",
            table_name=self.caller.table_name,
            operation="TransactWriteItems",
            retryable=True,
        )

    def _get(self, key: dict[str, Any]) -> dict[str, Any] | None:
        request = {"TableName": self.caller.table_name, "Key": key, "ConsistentRead": True}
        return self.caller.call("GetItem", request, key=plain(key)).get("Item") or None
