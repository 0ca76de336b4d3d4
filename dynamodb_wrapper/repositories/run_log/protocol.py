"""Every condition and transaction of a run.

These functions read nothing and send nothing. Each clause of a condition guards a promise of run
control; change a clause only together with the model in ``tests/model`` that checks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.transactions import Action
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import utc_text
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.models.run_state import LIVE, TERMINAL, PipelineState, RunOutcome, if_short
from dynamodb_wrapper.repositories.run_log.items import cursor_key, run_key, slot_key, state_key
from dynamodb_wrapper.serialization.codec import put_derived
from dynamodb_wrapper.serialization.expressions import Expressions, Update
from dynamodb_wrapper.serialization.field_values import encode_at, validated
from dynamodb_wrapper.serialization.paths import resolve
from dynamodb_wrapper.serialization.values import encode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dynamodb_wrapper.models.run_state import CursorMove, RunSlot
    from dynamodb_wrapper.models.table import Derived
    from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp
    from dynamodb_wrapper.repositories.run_log.takeover import StartPlan
    from dynamodb_wrapper.serialization.values import AttributeValue, Item

    Condition = Callable[[Expressions, PipelineRunLog], str]

_FAILURES = (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST)
_LISTS = frozenset({"inputs"})
_OF_LEASE = ("lease_until", "clock_error_seconds")
_MILLISECOND = timedelta(milliseconds=1)


# ---- clauses -------------------------------------------------------------------------------------


def status_in(expressions: Expressions, statuses: Iterable[RunStatus]) -> str:
    """Return the clause that a status is one of these."""
    values = ", ".join(expressions.value({"S": str(status)}) for status in statuses)
    return f"{expressions.path(('status',))} IN ({values})"


def absent(expressions: Expressions, name: str) -> str:
    """Return the clause that an attribute is absent."""
    return f"attribute_not_exists({expressions.path((name,))})"


def same(expressions: Expressions, name: str, seen: str | int | datetime | None) -> str:
    """Return the clause that an attribute holds what was seen; None means it was absent."""
    if seen is None:
        return absent(expressions, name)
    return f"{expressions.path((name,))} = {expressions.value(stored(seen))}"


def stored(value: str | int | datetime) -> AttributeValue:
    """Return a value as DynamoDB holds it."""
    if isinstance(value, str):
        return {"S": str(value)}
    return {"N": str(value)} if isinstance(value, int) else {"S": utc_text(value)}


# ---- conditions on a RUN -------------------------------------------------------------------------


def live_and_mine(expressions: Expressions, run: PipelineRunLog) -> str:
    """Return the condition that a run is live and has this writer."""
    return f"{status_in(expressions, LIVE)} AND {same(expressions, 'writer', run.writer)}"


def live_and_unrenewed(expressions: Expressions, run: PipelineRunLog) -> str:
    """Return the condition that a run is live and its lease the one that was seen."""
    return f"{status_in(expressions, LIVE)} AND {same(expressions, 'lease_until', run.lease_until)}"


def lost_and_mine(
    expressions: Expressions, run: PipelineRunLog, *, unsuperseded: bool = True
) -> str:
    """Return the condition that a run was marked lost and has this writer.

    Args:
        expressions: Receives the placeholders.
        run: The run.
        unsuperseded: Whether no other run may have taken over.
    """
    lost = status_in(expressions, (RunStatus.LOST,))
    condition = f"{lost} AND {same(expressions, 'writer', run.writer)}"
    return f"{condition} AND {absent(expressions, 'superseded_by')}" if unsuperseded else condition


# ---- changes of items ----------------------------------------------------------------------------


def companion_update(expressions: Expressions, kind: str, pipeline_id: str) -> Update:
    """Return an update that makes, or changes, an item beside the runs."""
    update = Update(expressions)
    update.set(("kind",), {"S": kind})
    update.set(("schema_version",), {"N": "1"})
    update.set(("pipeline_id",), {"S": pipeline_id})
    update.increase(("row_version",))
    return update


def set_fields(update: Update, values: Mapping[str, Any]) -> None:
    """Set fields of a RUN that have a value."""
    for name, value in values.items():
        if value is not None:
            target = resolve(PipelineRunLog, name)
            update.set((name,), encode_at(target, validated(target, value, managed=True)))


def derived_fields(update: Update, run: PipelineRunLog, changed: Iterable[str]) -> None:
    """Set or remove the index attributes that are made from changed fields."""
    touched = set(changed)
    for derived in PIPELINE_RUN_LOGS.derived:
        if touched & set(derived.fields):
            _set_derived(update, derived, run)


def _set_derived(update: Update, derived: Derived, run: PipelineRunLog) -> None:
    computed: Item = {}
    put_derived(computed, derived, derived.value_of(run))
    if computed:
        update.set((derived.attribute,), computed[derived.attribute])
    else:
        update.remove((derived.attribute,))


# ---- outcomes and ends ---------------------------------------------------------------------------


def next_fence(state: PipelineState, now: datetime) -> int:
    """Return a higher fence than any before, also after a restore to an older point in time."""
    return max((state.fence or 0) + 1, int(now.timestamp()))


def lost_outcome(
    run: PipelineRunLog, reason: str | None, now: datetime, fields: dict[str, Any] | None = None
) -> RunOutcome:
    """Return the outcome of a run whose driver is gone: it ended at its last heartbeat."""
    end = not_before(run.start_time, run.heartbeat_at or run.start_time or now)
    return RunOutcome(
        RunStatus.LOST, reason, end_time=end, fields={"detected_at": now, **(fields or {})}
    )


def superseded_outcome(run: PipelineRunLog, successor: PipelineRunLog, now: datetime) -> RunOutcome:
    """Return the outcome of a dead run that another run takes over from."""
    return lost_outcome(run, "superseded", now, {"superseded_by": successor.run_id})


def not_before(start: datetime | None, moment: datetime) -> datetime:
    """Return a moment, but not one before the start, as after a clock was set back."""
    return moment if start is None else max(start, moment)


def in_order(run: PipelineRunLog, outcome: RunOutcome) -> RunOutcome:
    """Return an outcome that does not end before its run began."""
    return replace(outcome, end_time=not_before(run.start_time, outcome.end_time))


def end_fields(update: Update, run: PipelineRunLog, outcome: RunOutcome, actor: str) -> None:
    """Add the changes that every end of a run makes, index attributes included."""
    values = end_values(run, outcome, actor)
    for name in outcome.dropped:
        update.set((name,), {"L": []} if name in _LISTS else {"M": {}})
    set_fields(update, values)
    for path, value in outcome.parts.items():
        update.set(path, value)
    if outcome.reason is None:
        update.remove(("status_reason",))
    for name in _OF_LEASE:
        update.remove((name,))
    derived_fields(update, run.model_copy(update=values), ("status",))
    update.increase(("row_version",))


def end_values(run: PipelineRunLog, outcome: RunOutcome, actor: str) -> dict[str, Any]:
    """Return the fields of a run that its end sets; those that are None stay as they are."""
    return {
        "status": outcome.status,
        "status_reason": outcome.reason,
        "end_time": outcome.end_time,
        "duration_seconds": duration_seconds(run.start_time, outcome.end_time),
        "error_type": None if outcome.error is None else outcome.error.type,
        "error": outcome.error,
        "exit_code": outcome.exit_code,
        "updated_by": actor,
        "updated_at": outcome.fields.get("detected_at", outcome.end_time),
        "expires_at": _expiry(run, outcome),
        **outcome.fields,
    }


def run_after(
    run: PipelineRunLog, outcome: RunOutcome, actor: str, *, late: bool = False
) -> PipelineRunLog:
    """Return a run as it is stored after its end; nothing is read."""
    outcome = in_order(run, outcome)
    values = end_values(run, outcome, actor)
    kept = {name: value for name, value in values.items() if value is not None}
    always = {"status_reason": outcome.reason, "late_finish": late, **dict.fromkeys(_OF_LEASE)}
    emptied: dict[str, Any] = {name: [] if name in _LISTS else {} for name in outcome.dropped}
    version = {"row_version": run.row_version + 1}
    return run.model_copy(update={**kept, **always, **emptied, **version})


def duration_seconds(start: datetime | None, end: datetime) -> Decimal | None:
    """Return the seconds between two moments, with milliseconds."""
    return None if start is None else Decimal((end - start) // _MILLISECOND) / 1000


def _expiry(run: PipelineRunLog, outcome: RunOutcome) -> datetime | None:
    if run.retention_days is None:
        return None
    expiry = outcome.end_time + timedelta(days=run.retention_days)
    return expiry.replace(microsecond=0)  # as it is stored


def note_end(
    update: Update,
    run: PipelineRunLog,
    outcome: RunOutcome,
    state: PipelineState,
    *,
    counted: bool = False,
) -> None:
    """Note the end of a run of an exclusive pipeline; `counted` if it was counted as lost before.

    Only the holder, or the process that ends the holder, changes the count of failures, so that
    the count read while the lock was held is still valid.
    """
    note_last(update, run, outcome)
    if outcome.status is RunStatus.SUCCESS:
        note_last_ok(update, run, outcome)
        update.set(("consecutive_failures",), {"N": "0"})
    elif outcome.status in _FAILURES and not counted:
        update.set(("consecutive_failures",), {"N": str(state.consecutive_failures + 1)})


def note_last(update: Update, run: PipelineRunLog, outcome: RunOutcome) -> None:
    """Note the newest run that ended."""
    update.set(("last_seq",), {"N": str(run.run_seq or 0)})
    update.set(("last_run_id",), {"S": run.run_id})
    update.set(("last_status",), {"S": str(outcome.status)})
    update.set(("last_end",), stored(outcome.end_time))


def note_last_ok(update: Update, run: PipelineRunLog, outcome: RunOutcome) -> None:
    """Note the newest run that succeeded."""
    update.set(("last_ok_seq",), {"N": str(run.run_seq or 0)})
    update.set(("last_ok_run_id",), {"S": run.run_id})
    update.set(("last_ok_end",), stored(outcome.end_time))


# ---- actions -------------------------------------------------------------------------------------


def update_request(table_name: str, key: Item, update: Update, condition: str) -> dict[str, Any]:
    """Return a conditional UpdateItem; a refusal shows the item it met."""
    request = {
        "TableName": table_name,
        "Key": key,
        "UpdateExpression": update.text,
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return update.expressions.into(request)


def update_action(table_name: str, key: Item, update: Update, condition: str) -> Action:
    """Return a conditional update as an action of a transaction."""
    return Action("update", key, update_request(table_name, key, update, condition))


def delete_action(table_name: str, key: Item, expressions: Expressions, condition: str) -> Action:
    """Return a conditional deletion as an action of a transaction."""
    request = {"TableName": table_name, "Key": key, "ConditionExpression": condition}
    return Action("delete", key, expressions.into(request))


def check_action(table_name: str, run_id: str, expressions: Expressions, condition: str) -> Action:
    """Return a condition on a RUN that is not written."""
    request = {
        "TableName": table_name,
        "Key": run_key(run_id),
        "ConditionExpression": condition,
    }
    return Action("check", run_key(run_id), expressions.into(request))


# ---- parts of a live run -------------------------------------------------------------------------


def put_parts(
    table_name: str,
    key: Item,
    parts: Mapping[tuple[str, ...], AttributeValue],
    writer: str | None,
) -> dict[str, Any]:
    """Return the UpdateItem that sets paths of a running RUN, `writer`'s if given."""
    expressions = Expressions()
    update = Update(expressions)
    for path, value in parts.items():
        update.set(path, value)
    condition = same(expressions, "status", RunStatus.RUNNING)
    if writer is not None:
        condition += f" AND {same(expressions, 'writer', writer)}"
    return update_request(table_name, key, update, condition)


def put_empty_map(table_name: str, key: Item, name: str) -> dict[str, Any]:
    """Return the UpdateItem that gives an existing RUN an empty map where it has none."""
    expressions = Expressions()
    update = Update(expressions)
    update.set_if_absent((name,), {"M": {}})
    exists = f"attribute_exists({expressions.path(('run_id',))})"
    return update_request(table_name, key, update, exists)


def set_status(
    table_name: str,
    run: PipelineRunLog,
    outcome: RunOutcome,
    before: Sequence[RunStatus],
    actor: str,
) -> dict[str, Any]:
    """Return the UpdateItem that changes one of the statuses `before` of a RUN without a lock."""
    expressions = Expressions()
    update = Update(expressions)
    if outcome.status.is_terminal:
        end_fields(update, run, in_order(run, outcome), actor)
    else:
        set_fields(update, {"status": outcome.status, "status_reason": outcome.reason})
        changed = run.model_copy(update={"status": outcome.status})
        derived_fields(update, changed, ("status",))
        update.increase(("row_version",))
    condition = status_in(expressions, before)
    request = update_request(table_name, run_key(run.run_id), update, condition)
    return {**request, "ReturnValues": "ALL_NEW"}


@dataclass(frozen=True)
class Builder:
    """Requests and transactions on one run table: a change of a run with all that depends on it.

    Attributes:
        table_name: The run table as DynamoDB knows it.
        actor: Name of the writer.
    """

    table_name: str
    actor: str

    # ---- start -----------------------------------------------------------------------------------

    def start_exclusive(
        self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: datetime
    ) -> list[Action]:
        """Return the start of a run of an exclusive pipeline, which takes the lock or fails.

        Args:
            put_run: The put of the RUN, whose id must be free.
            run: The run, with the new fence.
            plan: The items read and the decision; a dead holder is ended here.
            now: The present moment.
        """
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        update.set(("holder",), {"S": run.run_id})
        update.set(("fence",), {"N": str(run.fence)})
        update.set(("fenced_seq",), {"N": str(run.run_seq)})
        update.increase(("next_seq",))
        for lost in plan.lost:
            if lost.run_id == plan.state.holder:
                note_end(update, lost, lost_outcome(lost, None, now), plan.state)
        unchanged = _holder_and_fence(expressions, plan.state)
        return [
            put_run,
            update_action(self.table_name, state_key(run.pipeline_id), update, unchanged),
            *self._start_parts(run, plan, now),
        ]

    def count_start(self, pipeline_id: str) -> dict[str, Any]:
        """Return the UpdateItem that numbers a run of a pipeline without a limit.

        It has no condition: gaps between the numbers are harmless.
        """
        expressions = Expressions()
        update = companion_update(expressions, "STATE", pipeline_id)
        update.increase(("next_seq",))
        return expressions.into(
            {
                "TableName": self.table_name,
                "Key": state_key(pipeline_id),
                "UpdateExpression": update.text,
                "ReturnValues": "ALL_NEW",
            }
        )

    def start_shared(
        self, put_run: Action, run: PipelineRunLog, plan: StartPlan, now: datetime
    ) -> list[Action]:
        """Return the start of a run of a pipeline without a limit: no holder, no fence."""
        return [put_run, *self._start_parts(run, plan, now)]

    def _start_parts(self, run: PipelineRunLog, plan: StartPlan, now: datetime) -> list[Action]:
        actions = []
        for lost in plan.lost:
            actions.append(self.lose(lost, superseded_outcome(lost, run, now)))
            if lost.run_key not in (None, run.run_key) and lost.run_id in plan.slots_of_lost:
                actions.append(self.end_slot(lost, RunStatus.LOST, now))
        actions += [self.gone_or_ended(run_id) for run_id in plan.gone]
        if run.run_key is not None:
            actions.append(self.take_slot(run, plan.slot))
        return actions

    # ---- while it runs ---------------------------------------------------------------------------

    def beat(self, run: PipelineRunLog, stamp: LeaseStamp) -> dict[str, Any]:
        """Return the UpdateItem that renews a lease; its reply has the run as it then is.

        The lease must be the one the driver knows, so that a beat that arrives late never replaces
        a later one. It may become shorter, where the driver's clock was set right in between.
        """
        expressions = Expressions()
        update = Update(expressions)
        set_fields(update, stamp.fields)
        if stamp.clock_error_seconds is None:
            update.remove(("clock_error_seconds",))
        running = status_in(expressions, (RunStatus.RUNNING,))
        mine = same(expressions, "writer", run.writer)
        in_turn = same(expressions, "lease_until", run.lease_until)
        condition = f"{running} AND {mine} AND {in_turn}"
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

    # ---- end -------------------------------------------------------------------------------------

    def finish(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
    ) -> list[Action]:
        """Return the end of a run by its driver: status, lock, history, run key, watermarks."""
        live = self.end_run(run, outcome, live_and_mine)
        if run.fence is None:
            pipeline = self._move_history(run, outcome, state)
        else:
            pipeline = [self._free(run, outcome, state)]
        return [live, *pipeline, *self._end_parts(run, outcome)]

    def finish_late(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
    ) -> list[Action]:
        """Return the late end of a run that was marked lost, if no run has taken over."""
        outcome = replace(outcome, fields={**outcome.fields, "late_finish": True})
        late = self.end_run(run, outcome, lost_and_mine)
        if run.fence is None:
            pipeline = self._move_history(run, outcome, state)
        else:
            pipeline = [self._note_late(run, outcome, state)]
        return [late, *pipeline, *self._end_parts(run, outcome)]

    def reap(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState, *, owns_slot: bool
    ) -> list[Action]:
        """Return the end of a run whose lease ran out: LOST, its lock free, no successor."""
        actions = [self.lose(run, outcome)]
        if state.holder == run.run_id:
            actions.append(self._free(run, outcome, state))
        if owns_slot:
            actions.append(self.end_slot(run, RunStatus.LOST, outcome.end_time))
        return actions

    def release(
        self,
        pipeline_id: str,
        state: PipelineState,
        holder: PipelineRunLog | None,
        outcome: RunOutcome,
        *,
        owns_slot: bool,
    ) -> list[Action]:
        """Return the end of a holder by an operator: LOST, the lock free, the fence raised.

        The higher fence prevents a normal finish of the released run. A holder that has ended, or
        no longer exists, must still be so when the lock is freed.
        """
        expressions = Expressions()
        update = companion_update(expressions, "STATE", pipeline_id)
        update.remove(("holder",))
        detected = outcome.fields["detected_at"]
        update.set(("fence",), {"N": str(next_fence(state, detected))})
        unchanged = _holder_and_fence(expressions, state)
        if holder is None or holder.status.is_terminal:
            run = [self.gone_or_ended(state.holder or "")]
        else:
            note_end(update, holder, outcome, state)
            run = [self.end_run(holder, outcome, live_and_mine)]
            if owns_slot:
                run.append(self.end_slot(holder, RunStatus.LOST, outcome.end_time))
        state_item = state_key(pipeline_id)
        return [*run, update_action(self.table_name, state_item, update, unchanged)]

    # ---- actions on a run ------------------------------------------------------------------------

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
        """Return the UpdateItem that notes the late outcome of a run that stays lost."""
        expressions = Expressions()
        update = Update(expressions)
        update.set(("late_outcome",), {"S": str(outcome.status)})
        condition = lost_and_mine(expressions, run, unsuperseded=False)
        return update_request(self.table_name, run_key(run.run_id), update, condition)

    # ---- deletion --------------------------------------------------------------------------------

    def delete_run(self, run_id: str, status: str, writer: str) -> Action:
        """Return the deletion of a RUN that has ended, if it still has this status and writer.

        The status of a run that was lost may change, and then more may be stored beside it.
        """
        expressions = Expressions()
        ended = same(expressions, "status", status)
        condition = f"{ended} AND {same(expressions, 'writer', writer)}"
        return delete_action(self.table_name, run_key(run_id), expressions, condition)

    def free_slot(self, pipeline_id: str, key: str, seen: RunSlot, run_id: str) -> Action | None:
        """Return what makes a run key free of a run that is deleted with it, if no run came after.

        The only attempt at a key leaves nothing; else the number of attempts stays. None where the
        key has not been covered by this run.
        """
        expressions = Expressions()
        same_attempt = same(expressions, "last_run_id", seen.last_run_id)
        condition = f"{same_attempt} AND {same(expressions, 'status', seen.status)}"
        is_last, is_success = seen.last_run_id == run_id, seen.success_run_id == run_id
        item_key = slot_key(pipeline_id, key)
        if is_last and seen.attempt == 1:
            return delete_action(self.table_name, item_key, expressions, condition)
        if not is_success:
            return None
        update = companion_update(expressions, "SLOT", pipeline_id)
        if seen.status == RunStatus.SUCCESS and not is_last:
            update.set(("success_run_id",), {"S": seen.last_run_id})
        else:
            update.remove(("first_success_at",))
            update.remove(("success_run_id",))
        return update_action(self.table_name, item_key, update, condition)

    # ---- actions on run keys and watermarks ------------------------------------------------------

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
        """Return the move of a watermark, by a run or by hand, if it has not moved since."""
        expressions = Expressions()
        update = companion_update(expressions, "CURSOR", pipeline_id)
        values = {
            "name": move.seen.name,
            "value": move.value,
            "value_type": move.value_type,
            "prev": if_short(move.seen.value),  # 50 values of 64 KB, twice, exceed a transaction
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

    # ---- actions on the state of a pipeline ------------------------------------------------------

    def _free(self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState) -> Action:
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        update.remove(("holder",))
        note_end(update, run, outcome, state)
        i_hold = same(expressions, "holder", run.run_id)
        return update_action(self.table_name, state_key(run.pipeline_id), update, i_hold)

    def _note_late(self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState) -> Action:
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        note_end(update, run, outcome, state, counted=True)
        no_start_since = same(expressions, "fence", run.fence)
        no_holder_now = absent(expressions, "holder")
        key = state_key(run.pipeline_id)
        return update_action(self.table_name, key, update, f"{no_start_since} AND {no_holder_now}")

    def _move_history(
        self, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState
    ) -> list[Action]:
        """Move the history forward only: an earlier run does not replace a later one."""
        sequence = run.run_seq or 0
        newer = (state.last_seq or 0) < sequence
        newer_ok = outcome.status is RunStatus.SUCCESS and (state.last_ok_seq or 0) < sequence
        if not newer and not newer_ok:
            return []
        expressions = Expressions()
        update = companion_update(expressions, "STATE", run.pipeline_id)
        if newer:
            note_last(update, run, outcome)
        if newer_ok:
            note_last_ok(update, run, outcome)
        unchanged = (
            f"{same(expressions, 'last_seq', state.last_seq)} AND "
            f"{same(expressions, 'last_ok_seq', state.last_ok_seq)}"
        )
        key = state_key(run.pipeline_id)
        return [update_action(self.table_name, key, update, unchanged)]

    def _end_parts(self, run: PipelineRunLog, outcome: RunOutcome) -> list[Action]:
        actions = []
        if run.run_key is not None:
            actions.append(self.end_slot(run, outcome.status, outcome.end_time))
        if outcome.status is RunStatus.SUCCESS:
            actions += [
                self.move_cursor(run.pipeline_id, move, outcome.end_time, run=run)
                for move in outcome.moves
            ]
        return actions


def _holder_and_fence(expressions: Expressions, state: PipelineState) -> str:
    return (
        f"{same(expressions, 'holder', state.holder)} AND {same(expressions, 'fence', state.fence)}"
    )
