"""What is raised: its place in the tree, its context, and that both survive pickling."""

from __future__ import annotations

import builtins
import copy
import pickle
from typing import Any

import pytest

from dynamodb_wrapper import exceptions
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    BatchWriteError,
    CancellationReason,
    ConditionFailedError,
    ConfigurationError,
    ConnectionError,
    DynamoDBWrapperError,
    IncompatibleItemError,
    IndexNotFoundError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    ItemTooLargeError,
    MissingDependencyError,
    RunFinishError,
    RunSkippedError,
    RunStartError,
    TableNotFoundError,
    TransactionCanceledError,
    ValidationError,
    VersionConflictError,
)
from tests.support.sample_models import Order

CONTEXT = {
    "table_name": "dev_orders",
    "key": {"customer_id": "c1", "order_id": "o1"},
    "operation": "PutItem",
    "error_code": "SomeException",
    "request_id": "R1",
    "retryable": True,
    "maybe_applied": True,
}
REASON = CancellationReason(
    position=0,
    action="put",
    code="ConditionalCheckFailed",
    message="no",
    table_name="dev_orders",
    key={"customer_id": "c1"},
    current={"customer_id": "c1", "version": 3},
)
OWN_CONTEXT: dict[type[DynamoDBWrapperError], dict[str, Any]] = {
    AlreadyRunningError: {"holder": "r1", "since": "2026", "host": "h", "pipeline_id": "p"},
    BatchWriteError: {"written": 3, "unprocessed": [Order(customer_id="c", order_id="o")]},
    ConditionFailedError: {"current": {"version": 3}},
    IndexNotFoundError: {"index_name": "by_status"},
    ItemTooLargeError: {"size_bytes": 500_000},
    RunFinishError: {"outcome": "success", "run_id": "r1"},
    RunSkippedError: {"run_id": "r1", "holder": "r2", "succeeded_run_id": "r3"},
    TransactionCanceledError: {"reasons": (REASON,)},
    VersionConflictError: {"current": {"version": 3}},
}
CLASSES = sorted(
    (
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, DynamoDBWrapperError)
    ),
    key=lambda cls: cls.__name__,
)


def raised(cls: type[DynamoDBWrapperError]) -> DynamoDBWrapperError:
    return cls("what happened", **CONTEXT, **OWN_CONTEXT.get(cls, {}))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_class_survives_pickling_with_its_context(
    cls: type[DynamoDBWrapperError], protocol: int
) -> None:
    error = raised(cls)
    found = pickle.loads(pickle.dumps(error, protocol))
    assert type(found) is cls
    assert found.__dict__ == error.__dict__
    assert str(found) == "what happened"
    assert found.args == error.args


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_can_be_copied(cls: type[DynamoDBWrapperError]) -> None:
    error = raised(cls)
    assert copy.deepcopy(error).__dict__ == error.__dict__


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_keeps_the_context_it_is_given(cls: type[DynamoDBWrapperError]) -> None:
    error = raised(cls)
    given = {**CONTEXT, **OWN_CONTEXT.get(cls, {})}
    assert {name: getattr(error, name) for name in given} == given
    assert error.message == "what happened"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_needs_only_a_message(cls: type[DynamoDBWrapperError]) -> None:
    error = cls("only this")
    assert str(error) == "only this"
    assert error.table_name is None
    assert error.retryable is False
    assert error.maybe_applied is False


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_is_drawn_in_the_tree(cls: type[DynamoDBWrapperError]) -> None:
    from dynamodb_wrapper.exceptions import errors

    assert cls.__name__ in str(errors.__doc__)


@pytest.mark.parametrize(
    ("cls", "parent"),
    [
        (ConnectionError, builtins.ConnectionError),
        (ConnectionError, OSError),
        (ValidationError, ValueError),
        (ConfigurationError, ValueError),
        (MissingDependencyError, ImportError),
        (ItemAlreadyExistsError, ConditionFailedError),
        (VersionConflictError, ConditionFailedError),
        (ItemTooLargeError, ValidationError),
        (IncompatibleItemError, ValidationError),
        (IndexNotFoundError, TableNotFoundError),
        (RunSkippedError, RunStartError),
    ],
)
def test_relatives_are_caught_together(cls: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(cls, parent)


def test_an_absent_item_is_no_failed_condition() -> None:
    assert not issubclass(ItemNotFoundError, ConditionFailedError)


def test_validation_errors_are_a_list_of_their_own() -> None:
    error = ValidationError("wrong", errors=[{"loc": ("a",), "msg": "bad", "type": "x"}])
    error.errors().clear()
    assert error.errors() == [{"loc": ("a",), "msg": "bad", "type": "x"}]


def test_validation_errors_survive_pickling() -> None:
    error = ValidationError("wrong", errors=[{"loc": ("a",), "msg": "bad", "type": "x"}])
    assert pickle.loads(pickle.dumps(error)).errors() == error.errors()
