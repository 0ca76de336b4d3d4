"""Send several writes as one TransactWriteItems: all or none."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.aws.calls import Caller, Consumed, botocore_error
from dynamodb_wrapper.aws.errors import advice
from dynamodb_wrapper.exceptions.errors import (
    CancellationReason,
    ThrottledError,
    TransactionCanceledError,
    ValidationError,
)
from dynamodb_wrapper.serialization.codec import plain
from dynamodb_wrapper.serialization.values import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynamodb_wrapper.serialization.values import Item

MAX_ACTIONS = 100
_RESENT = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_MISMATCH = "IdempotentParameterMismatchException"
_UNKNOWN = (
    " The reply to an earlier attempt was lost. DynamoDB remembers the transaction's token for ten "
    "minutes, so it applied nothing; an endpoint that does not may have applied it: read the items."
)
_VERBS = {"put": "Put", "update": "Update", "delete": "Delete", "check": "ConditionCheck"}


class Action(NamedTuple):
    """One action of a transaction.

    Attributes:
        verb: ``put``, ``update``, ``delete`` or ``check``.
        key: Key attributes as stored.
        request: Parameters sent to DynamoDB, table name included.
    """

    verb: str
    key: Item
    request: dict[str, Any]

    @property
    def table_name(self) -> str:
        """The table as DynamoDB knows it."""
        return str(self.request["TableName"])

    def as_item(self) -> dict[str, Any]:
        """Return the entry of TransactItems; a refusal returns the stored item."""
        return {
            _VERBS[self.verb]: {"ReturnValuesOnConditionCheckFailure": "ALL_OLD", **self.request}
        }


def transact(
    caller: Caller,
    actions: Sequence[Action],
    *,
    token: str | None = None,
    meter: Consumed | None = None,
) -> None:
    """Send a transaction; conflicts and throttles are resent until the time is used up.

    Raises:
        TransactionCanceledError: Refused, with one reason per action.
        ThrottledError: Conflicts or throttles lasted until the time was used up.
        ValidationError: DynamoDB rejected the transaction as invalid, or the token was used for
            another one.
    """
    _check(actions)
    request = {
        "TransactItems": [action.as_item() for action in actions],
        "ClientRequestToken": token or str(uuid.uuid4()),
    }
    refusal: TransactionCanceledError | None = None
    maybe_applied = False
    for _ in caller.backoff().waits():
        try:
            caller.call("TransactWriteItems", request, meter=meter)
            return
        except TransactionCanceledError as error:
            maybe_applied |= error.maybe_applied
            refusal = _explained(error, actions, maybe_applied)
            codes = {reason.code for reason in refusal.reasons if reason.code}
            if "ValidationError" in codes:
                raise _invalid(refusal) from error
            if not codes or not codes <= _RESENT:
                raise refusal from error
        except ValidationError as error:
            if token is None or error.error_code != _MISMATCH:
                raise
            raise _repeated_differently(token, error) from error
    assert refusal is not None  # noqa: S101 - the loop ends only after a refusal
    raise ThrottledError(
        f"TransactWriteItems kept meeting conflicts or throttles for {caller.limit_seconds:g} s. "
        "Try again later.",
        table_name=caller.table_name,
        operation="TransactWriteItems",
        error_code=next((r.code for r in refusal.reasons if r.code), None),
        retryable=True,
        maybe_applied=maybe_applied,
    ) from refusal


def _check(actions: Sequence[Action]) -> None:
    if len(actions) > MAX_ACTIONS:
        raise ValidationError(
            f"The transaction has {len(actions)} actions; DynamoDB takes {MAX_ACTIONS}. Split it, "
            "or use put_many where the items need not change together."
        )
    seen: set[Any] = set()
    for action in actions:
        item = (action.table_name, identity(action.key))
        if item in seen:
            raise ValidationError(
                f"The transaction has two actions on the item {plain(action.key)} of table "
                f"{action.table_name!r}; DynamoDB takes one. Join them.",
                table_name=action.table_name,
                key=plain(action.key),
            )
        seen.add(item)


def _explained(
    error: TransactionCanceledError, actions: Sequence[Action], maybe_applied: bool
) -> TransactionCanceledError:
    given = botocore_error(error).get("CancellationReasons") or []
    reasons = []
    for position, (action, reason) in enumerate(zip(actions, given)):
        code = reason.get("Code")
        reasons.append(
            CancellationReason(
                position=position,
                action=action.verb,
                code=None if code in (None, "None") else code,
                message=reason.get("Message"),
                table_name=action.table_name,
                key=plain(action.key) or {},
                current=plain(reason.get("Item") or None),
            )
        )
    refused = "; ".join(
        f"{r.action} of {dict(r.key)} in {r.table_name!r}: {r.code}" for r in reasons if r.code
    )
    nothing = "" if maybe_applied else " and nothing was written"
    return TransactionCanceledError(
        f"The transaction was refused{nothing}: {refused or error.message}."
        f"{_UNKNOWN if maybe_applied else ''}",
        reasons=reasons,
        table_name=error.table_name,
        operation=error.operation,
        error_code=error.error_code,
        request_id=error.request_id,
        maybe_applied=maybe_applied,
    )


def _invalid(refusal: TransactionCanceledError) -> ValidationError:
    reason = next(r for r in refusal.reasons if r.code == "ValidationError")
    return ValidationError(
        f"DynamoDB rejected the transaction as invalid: {reason.action} of {dict(reason.key)} in "
        f"{reason.table_name!r}: {reason.message}.{advice(reason.message or '')}",
        table_name=reason.table_name,
        key=reason.key,
        operation="TransactWriteItems",
        error_code=reason.code,
        request_id=refusal.request_id,
        maybe_applied=refusal.maybe_applied,
    )


def _repeated_differently(token: str, error: ValidationError) -> ValidationError:
    return ValidationError(
        f"The token {token!r} was used for a transaction with other content within the last ten "
        "minutes, so nothing was written now. If this is the same block repeated, DynamoDB has "
        "accepted it before, and the block has built another request: it takes values from the "
        "clock, from chance or from items it reads again, or ran in another process without at=. "
        "Read the items to see what is stored; use another token for other changes.",
        table_name=error.table_name,
        operation=error.operation,
        error_code=error.error_code,
        request_id=error.request_id,
    )
