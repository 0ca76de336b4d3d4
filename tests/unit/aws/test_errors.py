"""Every error DynamoDB can answer with becomes one of ours, with its context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable

import botocore.session
import pytest
from botocore import exceptions as boto

from dynamodb_wrapper.aws.calls import OPERATIONS
from dynamodb_wrapper.aws.errors import ERROR_CLASSES
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    AccessDeniedError,
    ConditionFailedError,
    ConfigurationError,
    ConnectionError,
    DynamoDBWrapperError,
    LimitExceededError,
    ServiceError,
    TableBusyError,
    TableNotFoundError,
    ThrottledError,
    TransactionCanceledError,
    ValidationError,
)
from tests.support.client_faults import REQUEST_ID, always_refused_with, raised_instead
from tests.support.sample_models import Order, client_of, orders_of

if TYPE_CHECKING:
    from dynamodb_wrapper.repositories import BaseDynamoRepository

EXPECTED: dict[type[DynamoDBWrapperError], list[str]] = {
    AccessDeniedError: [
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "KMSAccessDeniedException",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ],
    ConditionFailedError: ["ConditionalCheckFailedException"],
    LimitExceededError: ["ItemCollectionSizeLimitExceededException", "LimitExceededException"],
    ServiceError: ["InternalServerError", "ServiceUnavailable"],
    TableBusyError: ["ResourceInUseException"],
    TableNotFoundError: ["ResourceNotFoundException", "TableNotFoundException"],
    ThrottledError: [
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    ],
    TransactionCanceledError: ["TransactionCanceledException"],
    ValidationError: [
        "IdempotentParameterMismatchException",
        "SerializationException",
        "ValidationException",
    ],
}
CASES = [(code, cls) for cls, codes in EXPECTED.items() for code in codes]


@pytest.fixture(scope="module")
def orders() -> BaseDynamoRepository[Order]:
    config = DynamoDBConfig.for_local_development("http://127.0.0.1:9", max_attempts=1)
    return orders_of(config, table_prefix="dev", operation_timeout_seconds=0.2)


def operation_model(name: str) -> Any:
    session = botocore.session.Session()
    return session.get_service_model("dynamodb").operation_model(name)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_error_botocore_knows_of_an_operation_is_mapped(operation: str) -> None:
    codes = {
        shape.metadata.get("error", {}).get("code", shape.name)
        for shape in operation_model(operation).error_shapes
    }
    assert codes - set(ERROR_CLASSES) == set()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_used_is_one_of_dynamodb(operation: str) -> None:
    assert operation_model(operation).name == operation


@pytest.mark.parametrize(("code", "cls"), CASES)
def test_a_refusal_becomes_our_error_with_its_context(
    orders: BaseDynamoRepository[Order], code: str, cls: type[DynamoDBWrapperError]
) -> None:
    with always_refused_with(client_of(orders), "GetItem", code), pytest.raises(cls) as caught:
        orders.get(("c1", "o1"))
    error = caught.value
    assert type(error) is cls
    assert error.table_name == "dev_orders"
    assert error.key == {"customer_id": "c1", "order_id": "o1"}
    assert error.operation == "GetItem"
    assert error.error_code == code
    assert error.request_id == REQUEST_ID
    item = f", item {error.key}" if cls is ValidationError else ""
    assert f"GetItem on table 'dev_orders'{item} was refused: injected" in error.message
    assert isinstance(error.__cause__, boto.ClientError)


@pytest.mark.parametrize(("code", "cls"), CASES)
def test_only_what_may_pass_later_is_retryable(
    orders: BaseDynamoRepository[Order], code: str, cls: type[DynamoDBWrapperError]
) -> None:
    with always_refused_with(client_of(orders), "GetItem", code), pytest.raises(cls) as caught:
        orders.get(("c1", "o1"))
    assert caught.value.retryable is (cls in (ThrottledError, ServiceError))


def test_an_unknown_code_is_still_our_error(orders: BaseDynamoRepository[Order]) -> None:
    with (
        always_refused_with(client_of(orders), "GetItem", "BrandNewException"),
        pytest.raises(DynamoDBWrapperError, match="BrandNewException"),
    ):
        orders.get(("c1", "o1"))


def test_an_unknown_failure_of_the_server_is_a_service_error(
    orders: BaseDynamoRepository[Order],
) -> None:
    with (
        always_refused_with(client_of(orders), "GetItem", "Strange", status=503),
        pytest.raises(ServiceError) as caught,
    ):
        orders.get(("c1", "o1"))
    assert caught.value.retryable


CALLS: dict[str, Callable[[Any], Any]] = {
    "BatchGetItem": lambda r: r.get_many([("c1", "o1")]),
    "BatchWriteItem": lambda r: r.put_many([Order(customer_id="c1", order_id="o1")]),
    "DeleteItem": lambda r: r.delete(("c1", "o1")),
    "DescribeTable": lambda r: r.check_table(),
    "GetItem": lambda r: r.get(("c1", "o1")),
    "PutItem": lambda r: r.put(Order(customer_id="c1", order_id="o1")),
    "Query": lambda r: r.query("c1").all(),
    "Scan": lambda r: r.scan().all(),
    "UpdateItem": lambda r: r.update(("c1", "o1"), set={"status": "x"}),
}


@pytest.mark.parametrize("operation", sorted(CALLS))
def test_every_operation_names_itself_and_the_table(
    orders: BaseDynamoRepository[Order], operation: str
) -> None:
    with (
        always_refused_with(client_of(orders), operation, "AccessDeniedException"),
        pytest.raises(AccessDeniedError, match=rf"permission for {operation}") as caught,
    ):
        CALLS[operation](orders)
    assert (caught.value.operation, caught.value.table_name) == (operation, "dev_orders")


@pytest.mark.parametrize("operation", ["GetItem", "PutItem", "UpdateItem", "DeleteItem"])
def test_the_key_of_an_error_is_plain_for_every_operation(
    orders: BaseDynamoRepository[Order], operation: str
) -> None:
    with (
        always_refused_with(client_of(orders), operation, "AccessDeniedException"),
        pytest.raises(AccessDeniedError) as caught,
    ):
        CALLS[operation](orders)
    assert caught.value.key == {"customer_id": "c1", "order_id": "o1"}


def test_a_refused_batch_write_keeps_the_code_of_its_cause(
    orders: BaseDynamoRepository[Order],
) -> None:
    code = "ProvisionedThroughputExceededException"
    with (
        always_refused_with(client_of(orders), "BatchWriteItem", code),
        pytest.raises(DynamoDBWrapperError) as caught,
    ):
        orders.put_many([Order(customer_id="c1", order_id="o1")])
    assert caught.value.error_code == code
    assert caught.value.retryable


FAILURES = [
    (boto.NoCredentialsError(), ConfigurationError, "no AWS credentials"),
    (boto.PartialCredentialsError(provider="env", cred_var="x"), ConfigurationError, "credentials"),
    (boto.EndpointConnectionError(endpoint_url="http://e"), ConnectionError, "failed"),
    (boto.ConnectTimeoutError(endpoint_url="http://e"), ConnectionError, "timed out"),
    (boto.ReadTimeoutError(endpoint_url="http://e"), ConnectionError, "timed out"),
    (boto.ConnectionClosedError(endpoint_url="http://e"), ConnectionError, "failed"),
    (boto.SSLError(endpoint_url="http://e", error="x"), ConnectionError, "failed"),
    (boto.ProxyConnectionError(proxy_url="http://p"), ConnectionError, "failed"),
    (boto.CredentialRetrievalError(provider="p", error_msg="m"), AccessDeniedError, "not sent"),
    (boto.ParamValidationError(report="bad"), ValidationError, "bad"),
    (boto.DataNotFoundError(data_path="x"), DynamoDBWrapperError, "failed"),
]


@pytest.mark.parametrize(
    ("failure", "cls", "message"), FAILURES, ids=lambda value: type(value).__name__
)
def test_a_failure_before_any_answer_becomes_our_error(
    orders: BaseDynamoRepository[Order],
    failure: Exception,
    cls: type[DynamoDBWrapperError],
    message: str,
) -> None:
    with (
        raised_instead(client_of(orders), "GetItem", failure),
        pytest.raises(cls, match=re.escape(message)) as caught,
    ):
        orders.get(("c1", "o1"))
    assert type(caught.value) is cls
    assert caught.value.table_name == "dev_orders"
    assert caught.value.__cause__ is failure


def test_a_missing_answer_names_endpoint_and_region(orders: BaseDynamoRepository[Order]) -> None:
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9 \(region us-east-1\)"):
        orders.get(("c1", "o1"))


def test_an_error_of_another_library_passes_unchanged(orders: BaseDynamoRepository[Order]) -> None:
    failure = RuntimeError("of an event handler of the user")
    with (
        raised_instead(client_of(orders), "GetItem", failure),
        pytest.raises(RuntimeError) as caught,
    ):
        orders.get(("c1", "o1"))
    assert caught.value is failure
