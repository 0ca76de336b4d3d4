"""Everything this library raises, as one tree.

::

    DynamoDBWrapperError
    ├── ItemNotFoundError             the key holds no item
    ├── ConditionFailedError          a condition did not hold; see .maybe_applied
    │   ├── ItemAlreadyExistsError    create met an existing key
    │   └── VersionConflictError      another writer changed the item first
    ├── TransactionCanceledError      the transaction was refused as a whole; see .reasons
    ├── ValidationError               the input is wrong (also a ValueError)
    │   ├── ItemTooLargeError         over 400 KB
    │   ├── InvalidTransitionError    a run cannot go from this status to that one
    │   └── IncompatibleItemError     a stored item does not fit the model
    ├── ConnectionError               no answer from DynamoDB (also a builtin ConnectionError)
    ├── ThrottledError                retries ran out
    ├── ServiceError                  DynamoDB failed, or refused for another reason
    │   ├── LimitExceededError        an account or table limit was reached
    │   └── TableBusyError            the table is being created, changed or deleted
    ├── AccessDeniedError             credentials were refused or lack a permission
    ├── TableNotFoundError
    │   └── IndexNotFoundError
    ├── BatchWriteError               a batch stopped half way; see .written and .unprocessed
    ├── ConfigurationError            a setting is missing or wrong (also a ValueError)
    ├── MissingDependencyError        an optional package is not installed (also an ImportError)
    ├── LocalEngineError              a local DynamoDB engine could not be started
    └── RunError                      run control
        ├── RunStartError             the run could not be recorded; the body did not run
        │   ├── AlreadyRunningError   another run holds the pipeline; see .holder
        │   ├── AlreadySucceededError the run key is covered; see .succeeded_run_id
        │   ├── RunSkippedError       one of these two, with on_conflict="skip"; see .run_id
        │   └── PipelineInactiveError
        ├── RunFinishError            the outcome could not be stored
        ├── LeaseLostError            the run may have been taken over; stop writing
        ├── RunCancelledError         a cancellation of the run was requested
        ├── RunTimedOutError          the run is past its deadline
        └── NoActiveRunError          there is no run here, or it has ended

Every class takes one message and keyword-only context, and survives pickling with both,
because errors travel back from Spark executors.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _rebuild(
    cls: type[DynamoDBWrapperError], message: str, context: dict[str, Any], extra: dict[str, Any]
) -> DynamoDBWrapperError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.message = message
    error.__dict__.update(context)
    error.__dict__.update(extra)
    return error


class DynamoDBWrapperError(Exception):
    """Root of everything this library raises.

    Attributes:
        message: What happened, and what to do.
        table_name: Name of the table as DynamoDB knows it.
        key: Key of the item, attribute name to value.
        operation: AWS operation, such as ``PutItem``.
        error_code: DynamoDB's own code, such as ``ConditionalCheckFailedException``.
        request_id: AWS request id, for a support case.
        retryable: Whether the same call may succeed later without a change.
        maybe_applied: Whether the write may have been applied all the same: the reply to one of
            its attempts was lost (reset, time-out, damaged, or an error of the server). Read the
            item to find out. Never after throttles and refusals alone: those write nothing.
    """

    message: str
    table_name: str | None
    key: Mapping[str, Any] | None
    operation: str | None
    error_code: str | None
    request_id: str | None
    retryable: bool
    maybe_applied: bool

    def __init__(
        self,
        message: str,
        *,
        table_name: str | None = None,
        key: Mapping[str, Any] | None = None,
        operation: str | None = None,
        error_code: str | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        maybe_applied: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.table_name = table_name
        self.key = key
        self.operation = operation
        self.error_code = error_code
        self.request_id = request_id
        self.retryable = retryable
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The builtin parents of some classes treat args differently: rebuild by attributes.
        return _rebuild, (type(self), self.message, {}, dict(self.__dict__))


class ItemNotFoundError(DynamoDBWrapperError):
    """The key holds no item."""


class ConditionFailedError(DynamoDBWrapperError):
    """A condition did not hold, so nothing was written.

    With `maybe_applied`, what was refused is the repetition of an attempt whose reply was lost.
    That attempt may have been applied, and may itself be why the condition does not hold.

    Attributes:
        current: The item as it is stored now, attribute name to value, where DynamoDB returned it.
    """

    def __init__(
        self, message: str, *, current: Mapping[str, Any] | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.current = current


class ItemAlreadyExistsError(ConditionFailedError):
    """The key already holds an item."""


class VersionConflictError(ConditionFailedError):
    """Another writer changed the item since it was read. Read it again, then repeat the change."""


class CancellationReason(NamedTuple):
    """Why one action of a transaction was refused.

    Attributes:
        position: Place of the action in the transaction, from 0.
        action: ``put``, ``update``, ``delete`` or ``check``.
        code: DynamoDB's code; ``None`` for an action that did not cause the refusal.
        message: DynamoDB's text.
        table_name: Table of the action.
        key: Key of the action's item, attribute name to value.
        current: The item as it is stored now, where DynamoDB returned it.
    """

    position: int
    action: str
    code: str | None
    message: str | None
    table_name: str
    key: Mapping[str, Any]
    current: Mapping[str, Any] | None


class TransactionCanceledError(DynamoDBWrapperError):
    """The transaction was refused as a whole; nothing was written.

    With `maybe_applied`, an earlier attempt may have been applied whose reply was lost, if the
    endpoint does not remember the tokens of transactions. DynamoDB does, for ten minutes.

    Attributes:
        reasons: One reason per action, in the order of the actions.
    """

    def __init__(
        self, message: str, *, reasons: Sequence[CancellationReason] = (), **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.reasons = tuple(reasons)


class ValidationError(DynamoDBWrapperError, ValueError):
    """The input is wrong. Unless a subclass says otherwise, nothing was written.

    The original pydantic error, where there is one, is the ``__cause__``.
    """

    def __init__(
        self, message: str, *, errors: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> None:
        super().__init__(message, **context)
        self._errors = tuple(dict(error) for error in errors)

    def errors(self) -> list[dict[str, Any]]:
        """Return one entry per problem: ``loc``, ``msg`` and ``type``, never the input."""
        return [dict(error) for error in self._errors]


class ItemTooLargeError(ValidationError):
    """The item is over DynamoDB's limit of 400 KB.

    Attributes:
        size_bytes: Size of the item as DynamoDB counts it.
    """

    def __init__(self, message: str, *, size_bytes: int | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.size_bytes = size_bytes


class InvalidTransitionError(ValidationError):
    """A run cannot change from its status to the wanted one."""


class IncompatibleItemError(ValidationError):
    """A stored item does not fit the model it is read into.

    After an update the message says that the change was written.
    """


class ConnectionError(DynamoDBWrapperError, builtins.ConnectionError):
    """No answer from DynamoDB: wrong endpoint or region, network down, or time-out."""


class ThrottledError(DynamoDBWrapperError):
    """DynamoDB kept refusing for lack of capacity or because of a conflict; retries ran out."""


class ServiceError(DynamoDBWrapperError):
    """DynamoDB failed, or refused for another reason."""


class LimitExceededError(ServiceError):
    """A limit of the account, the table or the request rate of the control plane was reached."""


class TableBusyError(ServiceError):
    """The table is being created, changed or deleted, or exists already."""


class AccessDeniedError(DynamoDBWrapperError):
    """The credentials were refused, have expired or lack a permission."""


class TableNotFoundError(DynamoDBWrapperError):
    """The table does not exist in this account, region and endpoint."""


class IndexNotFoundError(TableNotFoundError):
    """The table exists but lacks an index the call needs.

    Attributes:
        index_name: The missing index.
    """

    def __init__(self, message: str, *, index_name: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.index_name = index_name


class BatchWriteError(DynamoDBWrapperError):
    """A batch stopped before everything was written. Writing is safe to repeat.

    Attributes:
        written: Number of requests DynamoDB accepted.
        unprocessed: The items or keys that were not written, in the order given.
    """

    def __init__(
        self, message: str, *, written: int = 0, unprocessed: Sequence[Any] = (), **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.written = written
        self.unprocessed = list(unprocessed)


class ConfigurationError(DynamoDBWrapperError, ValueError):
    """A setting is missing or wrong; the message names the variable or field."""


class MissingDependencyError(DynamoDBWrapperError, ImportError):
    """An optional package is needed and not installed; the message names the command."""


class LocalEngineError(DynamoDBWrapperError):
    """A local DynamoDB engine could not be fetched or started."""


class RunError(DynamoDBWrapperError):
    """Root of what run control raises.

    Attributes:
        run_id: The run concerned.
        pipeline_id: Its pipeline.
    """

    def __init__(
        self,
        message: str,
        *,
        run_id: str | None = None,
        pipeline_id: str | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.run_id = run_id
        self.pipeline_id = pipeline_id


class RunStartError(RunError):
    """The run could not be recorded, so the body did not run."""


class AlreadyRunningError(RunStartError):
    """Another run holds this exclusive pipeline.

    Attributes:
        holder: Run id of the holder.
        since: When the holder started, as stored.
        host: Where the holder runs, as stored.
        last_heartbeat: When the holder last gave a sign of life, as stored.
        self_nested: Whether this code runs inside the holder.
    """

    def __init__(
        self,
        message: str,
        *,
        holder: str | None = None,
        since: str | None = None,
        host: str | None = None,
        last_heartbeat: str | None = None,
        self_nested: bool = False,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.holder = holder
        self.since = since
        self.host = host
        self.last_heartbeat = last_heartbeat
        self.self_nested = self_nested


class AlreadySucceededError(RunStartError):
    """A run of this run key has succeeded before.

    Attributes:
        succeeded_run_id: That run.
    """

    def __init__(
        self, message: str, *, succeeded_run_id: str | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.succeeded_run_id = succeeded_run_id


class RunSkippedError(RunStartError):
    """The run was skipped, as ``on_conflict="skip"`` asks, so the body did not run.

    Attributes:
        run_id: The run that is stored as SKIPPED; None where that could not be stored.
        holder: Run id of the live run that is in the way.
        succeeded_run_id: The run that covered the run key before.
    """

    def __init__(
        self,
        message: str,
        *,
        holder: str | None = None,
        succeeded_run_id: str | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.holder = holder
        self.succeeded_run_id = succeeded_run_id


class PipelineInactiveError(RunStartError):
    """The pipeline is switched off."""


class RunFinishError(RunError):
    """The outcome of a run could not be stored, or another process ended the run.

    Attributes:
        outcome: The status that should have been stored.
    """

    def __init__(self, message: str, *, outcome: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.outcome = outcome


class LeaseLostError(RunError):
    """The lease of the run is not known to hold: another run may have taken over."""


class RunCancelledError(RunError):
    """A cancellation was requested; the run ends CANCELLED when this error leaves its block."""


class RunTimedOutError(RunError):
    """The run is past its deadline; it ends TIMED_OUT when this error leaves its block."""


class NoActiveRunError(RunError):
    """There is no active run in this thread or task.

    Or the run of a handle has ended, or belongs to the process this one was forked from.
    """
