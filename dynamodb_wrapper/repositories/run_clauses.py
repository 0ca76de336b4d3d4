"""The clauses conditions of run control are made of, and the actions that carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import PipelineRunLog, utc_text
from dynamodb_wrapper.models.tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.repositories.run_items import run_key
from dynamodb_wrapper.wire.codec import put_derived
from dynamodb_wrapper.wire.expressions import Expressions
from dynamodb_wrapper.wire.paths import encode_at, resolve, validated
from dynamodb_wrapper.wire.transactions import Action
from dynamodb_wrapper.wire.updates import Update

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from dynamodb_wrapper.models import Derived, RunStatus
    from dynamodb_wrapper.wire.attributes import AttributeValue, Item

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


def before(expressions: Expressions, name: str, moment: datetime) -> str:
    """Return the clause that an attribute holds an earlier moment."""
    return f"{expressions.path((name,))} < {expressions.value(stored(moment))}"


def stored(value: str | int | datetime) -> AttributeValue:
    """Return a value as DynamoDB holds it."""
    if isinstance(value, str):
        return {"S": str(value)}
    return {"N": str(value)} if isinstance(value, int) else {"S": utc_text(value)}


# ---- what updates set ----------------------------------------------------------------------------


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


def check_action(table_name: str, run_id: str, expressions: Expressions, condition: str) -> Action:
    """Return a condition on a RUN that is not written."""
    request = {
        "TableName": table_name,
        "Key": run_key(run_id),
        "ConditionExpression": condition,
    }
    return Action("check", run_key(run_id), expressions.into(request))
