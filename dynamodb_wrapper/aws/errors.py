"""Translate DynamoDB's error codes to the errors of this library; the only place that does."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import (
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

if TYPE_CHECKING:
    from collections.abc import Mapping

ERROR_CLASSES: dict[str, type[DynamoDBWrapperError]] = {
    # a condition, a transaction
    "ConditionalCheckFailedException": ConditionFailedError,
    "TransactionCanceledException": TransactionCanceledError,
    "IdempotentParameterMismatchException": ValidationError,
    "TransactionConflictException": ThrottledError,
    "TransactionInProgressException": ThrottledError,
    "ReplicatedWriteConflictException": ThrottledError,
    # capacity
    "ProvisionedThroughputExceededException": ThrottledError,
    "ThrottlingException": ThrottledError,
    "RequestLimitExceeded": ThrottledError,
    "LimitExceededException": LimitExceededError,
    "ItemCollectionSizeLimitExceededException": LimitExceededError,
    # tables
    "ResourceNotFoundException": TableNotFoundError,
    "TableNotFoundException": TableNotFoundError,
    "ResourceInUseException": TableBusyError,
    "ContinuousBackupsUnavailableException": ServiceError,
    # requests
    "ValidationException": ValidationError,
    "SerializationException": ValidationError,
    "InvalidEndpointException": ConfigurationError,
    # credentials
    "AccessDeniedException": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "InvalidSignatureException": AccessDeniedError,
    "InvalidClientTokenId": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
    "ExpiredTokenException": AccessDeniedError,
    "ExpiredToken": AccessDeniedError,
    "MissingAuthenticationTokenException": AccessDeniedError,
    "IncompleteSignatureException": AccessDeniedError,
    "PolicyNotFoundException": AccessDeniedError,
    "AccessDenied": AccessDeniedError,
    "KMSAccessDeniedException": AccessDeniedError,
    # the service itself
    "InternalServerError": ServiceError,
    "InternalFailure": ServiceError,
    "ServiceUnavailable": ServiceError,
}
CONFLICT_CODES = frozenset(
    {
        "TransactionConflictException",
        "TransactionInProgressException",
        "ReplicatedWriteConflictException",
    }
)
_CREDENTIALS = "botocore.credentials"
_RETRYABLE = frozenset({"InternalServerError", "InternalFailure", "ServiceUnavailable"})
_WAYS_OUT: dict[type[DynamoDBWrapperError], str] = {
    AccessDeniedError: "Check the credentials and the permission for {operation} on the table.",
    ThrottledError: "Try again later, or raise the table's capacity.",
    TableBusyError: "Wait until the table is ACTIVE.",
    TableNotFoundError: (
        "Table {table} does not exist in region {region}{endpoint}. Check the region, "
        "DYNAMODB_ENVIRONMENT and DYNAMODB_TABLE_PREFIX, or create it with create_table()."
    ),
}


def translate(
    error: Exception,
    *,
    operation: str,
    table_name: str | None,
    key: Mapping[str, Any] | None,
    client: Any,
) -> DynamoDBWrapperError | None:
    """Return our error for one of botocore's, None for anything else."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, DynamoDBWrapperError):
        return None
    context: dict[str, Any] = {"operation": operation, "table_name": table_name, "key": key}
    if _is_of_credentials(error):
        return _of_credentials(error, context)
    if isinstance(error, ClientError):
        return _of_service(error, context, client)
    if isinstance(error, BotoCoreError):
        return _of_client(error, context, client)
    return None


def error_code(error: BaseException) -> str:
    """Return DynamoDB's code of a botocore error, empty where there is none."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _of_service(error: Any, context: dict[str, Any], client: Any) -> DynamoDBWrapperError:
    code = error_code(error)
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    found = ERROR_CLASSES.get(code, ServiceError if status >= 500 else DynamoDBWrapperError)
    text = error.response.get("Error", {}).get("Message") or code
    way_out = _WAYS_OUT.get(found, "").format(
        operation=context["operation"],
        table=f"{context['table_name']!r}",
        region=client.meta.region_name,
        endpoint=f" at {client.meta.endpoint_url}",
    )
    where = f" on table {context['table_name']!r}" if context["table_name"] else ""
    return found(
        f"{context['operation']}{where} was refused: {text} ({code}). {way_out}".rstrip(),
        **context,
        error_code=code,
        request_id=metadata.get("RequestId"),
        retryable=found is ThrottledError or code in _RETRYABLE or status >= 500,
    )


def _is_of_credentials(error: Exception) -> bool:
    """Whether it was raised while credentials were got, by whatever botocore asks for them."""
    from botocore import exceptions as boto

    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return False  # there is nobody to ask
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == _CREDENTIALS for frame, _ in frames)


def _of_credentials(error: Exception, context: dict[str, Any]) -> DynamoDBWrapperError:
    from botocore import exceptions as boto

    told = (boto.BotoCoreError, boto.ClientError, RuntimeError)
    why = str(error) if isinstance(error, told) else type(error).__name__  # it may show a secret
    text = f"{context['operation']} was not sent: its credentials could not be got or renewed: "
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        return ConnectionError(f"{text}{why}", **context, retryable=True)
    metadata = (getattr(error, "response", None) or {}).get("ResponseMetadata", {})
    return AccessDeniedError(
        f"{text}{why}",
        **context,
        error_code=error_code(error) or None,
        request_id=metadata.get("RequestId"),
        retryable=metadata.get("HTTPStatusCode", 0) >= 500,
    )


def _of_client(error: Exception, context: dict[str, Any], client: Any) -> DynamoDBWrapperError:
    from botocore import exceptions as boto

    operation, endpoint = context["operation"], client.meta.endpoint_url
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return ConfigurationError(
            f"{operation} was not sent: no AWS credentials were found. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with an instance or job role.",
            **context,
        )
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        kind = "timed out" if "imeout" in type(error).__name__ else "failed"
        return ConnectionError(
            f"{operation} {kind}: no answer from {endpoint} (region {client.meta.region_name}). "
            "Check the region, DYNAMODB_ENDPOINT_URL and the network.",
            **context,
            retryable=True,
        )
    if isinstance(error, boto.ChecksumError):
        return ConnectionError(
            f"{operation}: every reply from {endpoint} was damaged (wrong checksum).",
            **context,
            retryable=True,
        )
    if isinstance(error, boto.ParamValidationError):
        return ValidationError(f"{operation} was not sent: {error}", **context)
    if isinstance(error, (boto.CredentialRetrievalError, boto.TokenRetrievalError)):
        return AccessDeniedError(f"{operation} was not sent: {error}", **context)
    return DynamoDBWrapperError(f"{operation} failed: {error}", **context)
