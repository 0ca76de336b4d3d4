"""The actions of run control on one item: a run, a run key, a watermark. Pure builders.

Every clause of a condition guards one of the statements run control makes; a clause is changed only
together with the model that checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import LIVE, TERMINAL, PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run_state import RunOutcome
from dynamodb_wrapper.models.watermarks import if_short
from dynamodb_wrapper.repositories.run_clauses import (
    absent,
    before,
    check_action,
    companion_update,
    same,
    set_fields,
    status_in,
    stored,
    update_action,
    update_request,
)
from dynamodb_wrapper.repositories.run_endings import end_fields
from dynamodb_wrapper.repositories.run_items import cursor_key, run_key, slot_key
from dynamodb_wrapper.wire.attributes import encode_value
from dynamodb_wrapper.wire.expressions import Expressions
from dynamodb_wrapper.wire.updates import Update

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.models.run_state import CursorMove, RunSlot
    from dynamodb_wrapper.wire.transactions import Action

    Condition = Callable[[Expressions, PipelineRunLog], str]


@dataclass(frozen=True)
class ItemActions:
    """Actions and requests on single items of one run table.

    Attributes:
        table_name: The run table as DynamoDB knows it.
        actor: Who writes.
    """

    table_name: str
    actor: str

    # ---- life -----------------------------------------------------------------------------------

    def beat(self, run: PipelineRunLog, now: datetime, lease_until: datetime) -> dict[str, Any]:
        """Return the UpdateItem that renews a lease; it answers with the run as it is then.

        A beat that arrives late never shortens a lease.
        """
        expressions = Expressions()
        update = Update(expressions)
        update.set(("lease_until",), stored(lease_until))
        update.set(("heartbeat_at",), stored(now))
        running = status_in(expressions, (RunStatus.RUNNING,))
        mine = same(expressions, "writer", run.writer)
        forward = before(expressions, "lease_until", lease_until)
        condition = f"{running} AND {mine} AND {forward}"
        request = update_request(self.table_name, run_key(run.run_id), update, condition)
        return {**request, "ReturnValues": "ALL_NEW"}

    def request_cancel(self, run_id: str, by: str, now: datetime) -> dict[str, Any]:
        """Return the UpdateItem that asks a live run to end itself."""
        expressions = Expressions()
        update = Update(expressions)
        set_fields(update, {"cancel_requested_at": now, "cancel_requested_by": by})
        live = status_in(expressions, LIVE)
        request = update_request(self.table_name, run_key(run_id), update, live)
        return {**request, "ReturnValues": "ALL_NEW"}

    # ---- the end of a run ------------------------------------------------------------------------

    def end_run(self, run: PipelineRunLog, outcome: RunOutcome, condition: Condition) -> Action:
        """Return the update that ends a RUN; `condition` is one of the functions below."""
        expressions = Expressions()
        update = Update(expressions)
        end_fields(update, run, outcome, self.actor)
        key = run_key(run.run_id)
        return update_action(self.table_name, key, update, condition(expressions, run))

    def lose(self, run: PipelineRunLog, outcome: RunOutcome) -> Action:
        """Return the update that ends a RUN as LOST, if its lease is the one that was seen."""
        return self.end_run(run, outcome, live_and_unrenewed)

    def gone_or_ended(self, run_id: str) -> Action:
        """Return the condition that a run has ended, or does not exist."""
        expressions = Expressions()
        condition = f"{absent(expressions, 'run_id')} OR {status_in(expressions, TERMINAL)}"
        return check_action(self.table_name, run_id, expressions, condition)

    def note_late_outcome(self, run: PipelineRunLog, outcome: RunOutcome) -> dict[str, Any]:
        """Return the UpdateItem that notes what a run came to that stays lost."""
        expressions = Expressions()
        update = Update(expressions)
        update.set(("late_outcome",), {"S": str(outcome.status)})
        condition = lost_and_mine(expressions, run, unsuperseded=False)
        return update_request(self.table_name, run_key(run.run_id), update, condition)

    # ---- run keys and watermarks -----------------------------------------------------------------

    def take_slot(self, run: PipelineRunLog, seen: RunSlot | None) -> Action:
        """Return the claim of a run key: never tried, or its last attempt is the one seen."""
        expressions = Expressions()
        update = companion_update(expressions, "SLOT", run.pipeline_id)
        update.set(("run_key",), {"S": str(run.run_key)})
        update.set(("last_run_id",), {"S": run.run_id})
        update.set(("status",), {"S": str(RunStatus.RUNNING)})
        update.set(("attempt",), {"N": str(run.attempt)})
        same_attempt = same(expressions, "last_run_id", None if seen is None else seen.last_run_id)
        same_status = same(expressions, "status", None if seen is None else seen.status)
        key = slot_key(run.pipeline_id, str(run.run_key))
        return update_action(self.table_name, key, update, f"{same_attempt} AND {same_status}")

    def end_slot(self, run: PipelineRunLog, status: RunStatus, end_time: datetime) -> Action:
        """Return the end of an attempt at a run key, if the attempt is still this run."""
        expressions = Expressions()
        update = companion_update(expressions, "SLOT", run.pipeline_id)
        update.set(("status",), {"S": str(status)})
        if status is RunStatus.SUCCESS:
            update.set_if_absent(("first_success_at",), stored(end_time))
            update.set_if_absent(("success_run_id",), {"S": run.run_id})
        mine = same(expressions, "last_run_id", run.run_id)
        key = slot_key(run.pipeline_id, str(run.run_key))
        return update_action(self.table_name, key, update, mine)

    def move_cursor(
        self,
        pipeline_id: str,
        move: CursorMove,
        now: datetime,
        *,
        run: PipelineRunLog | None = None,
    ) -> Action:
        """Return the move of a watermark, by a run or by hand, if nobody has moved it since."""
        expressions = Expressions()
        update = companion_update(expressions, "CURSOR", pipeline_id)
        values = {
            "name": move.seen.name,
            "value": move.value,
            "value_type": move.value_type,
            "prev": if_short(move.seen.value),  # 50 of 64 KB, twice, are no transaction any more
            "prev_type": move.seen.value_type,
            "moved_by": None if run is None else run.run_id,
            "fence": None if run is None else run.fence,
            "updated_by": self.actor,
        }
        update.set(("updated_at",), stored(now))
        for name, value in values.items():
            if value is None:
                update.remove((name,))
            else:
                update.set((name,), encode_value(value, name))
        unmoved = same(expressions, "row_version", move.seen.row_version or None)
        key = cursor_key(pipeline_id, move.seen.name)
        return update_action(self.table_name, key, update, unmoved)


# ---- conditions on a RUN -------------------------------------------------------------------------


def live_and_mine(expressions: Expressions, run: PipelineRunLog) -> str:
    """Return the condition that a run is live and its writer's."""
    return f"{status_in(expressions, LIVE)} AND {same(expressions, 'writer', run.writer)}"


def live_and_unrenewed(expressions: Expressions, run: PipelineRunLog) -> str:
    """Return the condition that a run is live and its lease the one that was seen."""
    return f"{status_in(expressions, LIVE)} AND {same(expressions, 'lease_until', run.lease_until)}"


def lost_and_mine(
    expressions: Expressions, run: PipelineRunLog, *, unsuperseded: bool = True
) -> str:
    """Return the condition that a run was taken for lost, and is its writer's.

    Args:
        expressions: Take the placeholders.
        run: The run.
        unsuperseded: Whether nobody may have taken over.
    """
    lost = status_in(expressions, (RunStatus.LOST,))
    condition = f"{lost} AND {same(expressions, 'writer', run.writer)}"
    return f"{condition} AND {absent(expressions, 'superseded_by')}" if unsuperseded else condition
