"""The actions that change a run's status, its pipeline's lock and its history together.

Pure builders: they read nothing and send nothing. Every clause of a condition guards one of the
statements run control makes; a clause is changed only together with the model that checks them.

STATE is one item per pipeline under the key ``#pipeline#<pipeline_id>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import LIVE, TERMINAL, PipelineRunLog, RunStatus, utc_text
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
from dynamodb_wrapper.models.table import Derived
from dynamodb_wrapper.models.tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.wire.attributes import decode_item
from dynamodb_wrapper.wire.codec import put_derived
from dynamodb_wrapper.wire.expressions import Expressions
from dynamodb_wrapper.wire.paths import encode_at, resolve, validated
from dynamodb_wrapper.wire.transactions import Action
from dynamodb_wrapper.wire.updates import Update

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.wire.attributes import Item

_FAILURES = (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST)
_MILLISECOND = timedelta(milliseconds=1)


def state_key(pipeline_id: str) -> Item:
    """Return the key of the STATE item of a pipeline."""
    return {"run_id": {"S": f"#pipeline#{pipeline_id}"}}


def run_key(run_id: str) -> Item:
    """Return the key of a RUN item."""
    return {"run_id": {"S": run_id}}


def read_state(item: Mapping[str, Any] | None) -> PipelineState:
    """Return what a STATE item says; an absent one says nothing has run yet."""
    if not item:
        return PipelineState()
    plain = decode_item(item)
    names = PipelineState.__dataclass_fields__
    return PipelineState(**{name: value for name, value in plain.items() if name in names})


def next_fence(state: PipelineState, now: datetime) -> int:
    """Return a higher fence than any before, also after a restore to an older point in time."""
    return max((state.fence or 0) + 1, int(now.timestamp()))


# ---- start -------------------------------------------------------------------------------------


def start_exclusive(
    table_name: str, put_run: Action, run: PipelineRunLog, state: PipelineState
) -> list[Action]:
    """Return the start of a run of an exclusive pipeline: it takes the lock or does not begin.

    Args:
        table_name: The run table.
        put_run: Puts the RUN if its id is free.
        run: The run, with the new fence.
        state: What was read before.
    """
    expressions = Expressions()
    update = _state_update(expressions, run.pipeline_id)
    update.set(("holder",), {"S": run.run_id})
    update.set(("fence",), {"N": str(run.fence)})
    update.increase(("next_seq",))
    nobody_holds = f"attribute_not_exists({expressions.path(('holder',))})"
    nobody_started = _same(expressions, "fence", state.fence)
    condition = f"{nobody_holds} AND {nobody_started}"
    return [put_run, _state_action(table_name, run.pipeline_id, update, condition)]


def count_start(table_name: str, pipeline_id: str) -> dict[str, Any]:
    """Return the UpdateItem that numbers a run of a pipeline without a limit; gaps are harmless."""
    expressions = Expressions()
    update = _state_update(expressions, pipeline_id)
    update.increase(("next_seq",))
    return expressions.into(
        {
            "TableName": table_name,
            "Key": state_key(pipeline_id),
            "UpdateExpression": update.text,
            "ReturnValues": "ALL_NEW",
        }
    )


# ---- end ---------------------------------------------------------------------------------------


def finish_exclusive(
    table_name: str, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState, actor: str
) -> list[Action]:
    """Return the end of a run that holds its pipeline: status, lock and history in one."""
    expressions = Expressions()
    update = _state_update(expressions, run.pipeline_id)
    update.remove(("holder",))
    _note_last(update, run, outcome)
    if outcome.status is RunStatus.SUCCESS:
        _note_last_ok(update, run, outcome)
    _count_failures(update, outcome, state)
    i_hold = _same_text(expressions, "holder", run.run_id)
    return [
        end_run(table_name, run, outcome, actor),
        _state_action(table_name, run.pipeline_id, update, i_hold),
    ]


def finish_shared(
    table_name: str, run: PipelineRunLog, outcome: RunOutcome, state: PipelineState, actor: str
) -> list[Action]:
    """Return the end of a run of a pipeline without a limit.

    History moves forward only: a run that began earlier does not replace a later one.
    """
    actions = [end_run(table_name, run, outcome, actor)]
    sequence = run.run_seq or 0
    newer = (state.last_seq or 0) < sequence
    newer_ok = outcome.status is RunStatus.SUCCESS and (state.last_ok_seq or 0) < sequence
    if not newer and not newer_ok:
        return actions
    expressions = Expressions()
    update = _state_update(expressions, run.pipeline_id)
    if newer:
        _note_last(update, run, outcome)
    if newer_ok:
        _note_last_ok(update, run, outcome)
    unchanged = (
        f"{_same(expressions, 'last_seq', state.last_seq)} AND "
        f"{_same(expressions, 'last_ok_seq', state.last_ok_seq)}"
    )
    return [*actions, _state_action(table_name, run.pipeline_id, update, unchanged)]


def end_run(table_name: str, run: PipelineRunLog, outcome: RunOutcome, actor: str) -> Action:
    """Return the update that ends a RUN, if it is live and this writer's."""
    expressions = Expressions()
    update = Update(expressions)
    end_fields(update, run, outcome, actor)
    live = _status_in(expressions, LIVE)
    mine = _same_text(expressions, "writer", run.writer)
    return _run_action(table_name, run.run_id, update, f"{live} AND {mine}")


def end_fields(update: Update, run: PipelineRunLog, outcome: RunOutcome, actor: str) -> None:
    """Add what every end of a run sets, index attributes included."""
    values: dict[str, Any] = {
        "status": outcome.status,
        "status_reason": outcome.reason,
        "end_time": outcome.end_time,
        "duration_seconds": duration_seconds(run.start_time, outcome.end_time),
        "error_type": None if outcome.error is None else outcome.error.type,
        "error": outcome.error,
        "exit_code": outcome.exit_code,
        "updated_by": actor,
        "updated_at": outcome.end_time,
        "expires_at": _expiry(run, outcome),
        **outcome.fields,
    }
    for name in outcome.dropped:
        update.set((name,), {"M": {}})
    set_fields(update, values)
    derived_fields(update, run.model_copy(update=values), ("status",))
    update.increase(("row_version",))


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


def _expiry(run: PipelineRunLog, outcome: RunOutcome) -> datetime | None:
    if run.retention_days is None:
        return None
    return outcome.end_time + timedelta(days=run.retention_days)


def duration_seconds(start: datetime | None, end: datetime) -> Decimal | None:
    """Return the seconds between two moments, with milliseconds."""
    return None if start is None else Decimal((end - start) // _MILLISECOND) / 1000


# ---- release -----------------------------------------------------------------------------------


def release(
    table_name: str,
    pipeline_id: str,
    state: PipelineState,
    holder: PipelineRunLog | None,
    outcome: RunOutcome,
    actor: str,
) -> list[Action]:
    """Return the end of a holder by an operator: LOST, the lock free, the fence raised.

    The higher fence keeps the released run from finishing as if nothing had happened. A holder
    that has ended already, or is gone, must still be so when the lock is freed.
    """
    expressions = Expressions()
    update = _state_update(expressions, pipeline_id)
    update.remove(("holder",))
    update.set(("fence",), {"N": str(next_fence(state, outcome.end_time))})
    same_holder = (
        f"{expressions.path(('holder',))} = {expressions.value({'S': state.holder or ''})}"
    )
    condition = f"{same_holder} AND {_same(expressions, 'fence', state.fence)}"
    if holder is None or holder.status.is_terminal:
        return [
            _gone_or_ended(table_name, state.holder or ""),
            _state_action(table_name, pipeline_id, update, condition),
        ]
    _note_last(update, holder, outcome)
    _count_failures(update, outcome, state)
    return [
        end_run(table_name, holder, outcome, actor),
        _state_action(table_name, pipeline_id, update, condition),
    ]


def _gone_or_ended(table_name: str, run_id: str) -> Action:
    expressions = Expressions()
    gone = f"attribute_not_exists({expressions.path(('run_id',))})"
    ended = _status_in(expressions, TERMINAL)
    request = {
        "TableName": table_name,
        "Key": run_key(run_id),
        "ConditionExpression": f"{gone} OR {ended}",
    }
    return Action("check", run_key(run_id), expressions.into(request))


def note_late_outcome(table_name: str, run: PipelineRunLog, outcome: RunOutcome) -> dict[str, Any]:
    """Return the UpdateItem that notes what a run came to after somebody else had ended it."""
    expressions = Expressions()
    update = Update(expressions)
    update.set(("late_outcome",), {"S": str(outcome.status)})
    lost = _status_in(expressions, (RunStatus.LOST,))
    mine = _same_text(expressions, "writer", run.writer)
    return expressions.into(
        {
            "TableName": table_name,
            "Key": run_key(run.run_id),
            "UpdateExpression": update.text,
            "ConditionExpression": f"{lost} AND {mine}",
        }
    )


# ---- parts -------------------------------------------------------------------------------------


def _state_update(expressions: Expressions, pipeline_id: str) -> Update:
    update = Update(expressions)
    update.set(("kind",), {"S": "STATE"})
    update.set(("schema_version",), {"N": "1"})
    update.set(("pipeline_id",), {"S": pipeline_id})
    update.increase(("row_version",))
    return update


def _note_last(update: Update, run: PipelineRunLog, outcome: RunOutcome) -> None:
    update.set(("last_seq",), {"N": str(run.run_seq or 0)})
    update.set(("last_run_id",), {"S": run.run_id})
    update.set(("last_status",), {"S": str(outcome.status)})
    update.set(("last_end",), {"S": utc_text(outcome.end_time)})


def _note_last_ok(update: Update, run: PipelineRunLog, outcome: RunOutcome) -> None:
    update.set(("last_ok_seq",), {"N": str(run.run_seq or 0)})
    update.set(("last_ok_run_id",), {"S": run.run_id})
    update.set(("last_ok_end",), {"S": utc_text(outcome.end_time)})


def _count_failures(update: Update, outcome: RunOutcome, state: PipelineState) -> None:
    """Only the holder changes the count, so that what was read while holding is still so."""
    if outcome.status is RunStatus.SUCCESS:
        update.set(("consecutive_failures",), {"N": "0"})
    elif outcome.status in _FAILURES:
        update.set(("consecutive_failures",), {"N": str(state.consecutive_failures + 1)})


def _set_derived(update: Update, derived: Derived, run: PipelineRunLog) -> None:
    computed: Item = {}
    put_derived(computed, derived, derived.value_of(run))
    if computed:
        update.set((derived.attribute,), computed[derived.attribute])
    else:
        update.remove((derived.attribute,))


def _status_in(expressions: Expressions, statuses: Iterable[RunStatus]) -> str:
    values = ", ".join(expressions.value({"S": str(status)}) for status in statuses)
    return f"{expressions.path(('status',))} IN ({values})"


def _same(expressions: Expressions, name: str, seen: int | None) -> str:
    path = expressions.path((name,))
    if seen is None:
        return f"attribute_not_exists({path})"
    return f"{path} = {expressions.value({'N': str(seen)})}"


def _same_text(expressions: Expressions, name: str, seen: str | None) -> str:
    path = expressions.path((name,))
    if seen is None:
        return f"attribute_not_exists({path})"
    return f"{path} = {expressions.value({'S': seen})}"


def _state_action(table_name: str, pipeline_id: str, update: Update, condition: str) -> Action:
    return _update_action(table_name, state_key(pipeline_id), update, condition)


def _run_action(table_name: str, run_id: str, update: Update, condition: str) -> Action:
    return _update_action(table_name, run_key(run_id), update, condition)


def _update_action(table_name: str, key: Item, update: Update, condition: str) -> Action:
    request = {
        "TableName": table_name,
        "Key": key,
        "UpdateExpression": update.text,
        "ConditionExpression": condition,
    }
    return Action("update", key, update.expressions.into(request))
