"""Repositories on each transport, and errors in a form that can be compared."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import DynamoDBWrapperError
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository

TRANSPORTS = ("boto3", "direct")


class Order(BaseModel):
    customer_id: str
    order_id: str
    note: str = ""


ORDERS = Table("orders", Order, partition_key="customer_id", sort_key="order_id")


def config_of(url: str, transport: str, **settings: Any) -> DynamoDBConfig:
    given = {"max_attempts": 3, "read_timeout_seconds": 5, "connect_timeout_seconds": 2}
    return DynamoDBConfig.for_local_development(url, transport=transport, **{**given, **settings})


def orders(url: str, transport: str, **settings: Any) -> BaseDynamoRepository[Order]:
    return BaseDynamoRepository(config_of(url, transport, **settings), ORDERS)


def described(error: DynamoDBWrapperError) -> dict[str, Any]:
    """Return the content of an error without the parts that differ in every request."""
    response = getattr(error.__cause__, "response", None) or {}
    metadata = response.get("ResponseMetadata", {})
    return {
        "error": type(error),
        "code": error.error_code,
        "retryable": error.retryable,
        "request": error.request_id,
        "cause": [cls.__name__ for cls in type(error.__cause__).__mro__],  # made per client
        "text": str(error),
        **{name: value for name, value in response.items() if name != "ResponseMetadata"},
        "status": metadata.get("HTTPStatusCode"),
        "retries": metadata.get("RetryAttempts"),
        "headers": metadata.get("HTTPHeaders"),
        "exhausted": metadata.get("MaxAttemptsReached"),
    }


def outcome(repository: BaseDynamoRepository[Order]) -> Any:
    try:
        return repository.get(("c", "o"))
    except DynamoDBWrapperError as error:
        return described(error)
