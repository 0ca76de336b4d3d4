"""Translate DynamoDB's error codes to the errors of this library; the only place that does."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore import exceptions as boto

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
PROXY_REFUSAL = 407
_SOURCE_LINE = re.compile(r" \(_ssl\.c:\d+\)")
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "doesn't match")
_AUTHORITIES = ("No such file", "NO_CERTIFICATE_OR_CRL_FOUND", "invalid path", "Permission denied")
_INTERRUPTED = ("EOF", "timed out", "closed")
_PROXY_BUSY = ("Tunnel connection failed: 5", "closed connection", "reset by peer")
_PROXY_STEP = (
    "Check HTTPS_PROXY or HTTP_PROXY, with user and password where the proxy asks for them (407), "
    "or name the host in NO_PROXY."
)
_CREDENTIALS = "botocore.credentials"
_RETRYABLE = frozenset({"InternalServerError", "InternalFailure", "ServiceUnavailable"})
_NEXT_STEPS: dict[type[DynamoDBWrapperError], str] = {
    AccessDeniedError: "Check the credentials and the permission for {operation} on the table.",
    ThrottledError: "Try again later, or raise the table's capacity.",
    TableBusyError: "Wait until the table is ACTIVE.",
    TableNotFoundError: (
        "Table {table} does not exist in region {region}{endpoint}. Check the region, "
        "DYNAMODB_ENVIRONMENT and DYNAMODB_TABLE_PREFIX, or create it with create_table()."
    ),
}
_ADVICE = (
    (
        ("incorrect data type", "list_append requires", "function: list_append"),
        "A field that this changes is stored as another type than the change needs, or as NULL; "
        "set it to a value first.",
    ),
    (
        ("Nesting Levels",),
        "An item holds at most 31 lists and mappings in one another; store the inner ones as text.",
    ),
)


def advice(text: str) -> str:
    """Return what to do about a refusal that DynamoDB describes, empty where nothing is known."""
    return next((" " + step for signs, step in _ADVICE if any(s in text for s in signs)), "")


def translate(
    error: Exception,
    *,
    operation: str,
    table_name: str | None,
    key: Mapping[str, Any] | None,
    client: Any,
) -> DynamoDBWrapperError | None:
    """Return our error for one of botocore's, None for anything else."""
    if isinstance(error, DynamoDBWrapperError):
        return None
    context: dict[str, Any] = {"operation": operation, "table_name": table_name, "key": key}
    if _is_credentials_error(error):
        return _credentials_error(error, context)
    if isinstance(error, boto.ClientError):
        return _service_error(error, context, client)
    if isinstance(error, boto.BotoCoreError):
        return _client_error(error, context, client)
    return None


def error_code(error: BaseException) -> str:
    """Return DynamoDB's code of a botocore error, empty where there is none."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _service_error(error: Any, context: dict[str, Any], client: Any) -> DynamoDBWrapperError:
    code = error_code(error)
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if status == PROXY_REFUSAL:
        refusal = proxy_refusal(client.meta.endpoint_url)
        return ConnectionError(f"{context['operation']} {refusal.text}", **context)
    found = ERROR_CLASSES.get(code, ServiceError if status >= 500 else DynamoDBWrapperError)
    text = error.response.get("Error", {}).get("Message") or code
    next_step = _NEXT_STEPS.get(found, "").format(
        operation=context["operation"],
        table=f"{context['table_name']!r}",
        region=client.meta.region_name,
        endpoint=f" at {client.meta.endpoint_url}",
    )
    on_table = f" on table {context['table_name']!r}" if context["table_name"] else ""
    if found is ValidationError:
        next_step = advice(text).lstrip()
        on_table += f", item {context['key']}" if context["key"] else ""
    return found(
        f"{context['operation']}{on_table} was refused: {text} ({code}). {next_step}".rstrip(),
        **context,
        error_code=code,
        request_id=metadata.get("RequestId"),
        retryable=found is ThrottledError or code in _RETRYABLE or status >= 500,
    )


def _is_credentials_error(error: Exception) -> bool:
    """Return whether an error was raised while botocore obtained credentials."""
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return False  # no provider was asked
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == _CREDENTIALS for frame, _ in frames)


def _credentials_error(error: Exception, context: dict[str, Any]) -> DynamoDBWrapperError:
    shown = (boto.BotoCoreError, boto.ClientError, RuntimeError)
    why = str(error) if isinstance(error, shown) else type(error).__name__  # it may show a secret
    text = (
        f"{context['operation']} was not sent: its credentials could not be obtained or renewed: "
    )
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        asked = getattr(error, "kwargs", {}).get("endpoint_url", "the service that issues them")
        failure = failure_of(error, asked, "of the credentials")
        shown_why = why if failure.is_retryable else f"it {failure.text}"
        return ConnectionError(f"{text}{shown_why}", **context, retryable=failure.is_retryable)
    metadata = (getattr(error, "response", None) or {}).get("ResponseMetadata", {})
    return AccessDeniedError(
        f"{text}{why}",
        **context,
        error_code=error_code(error) or None,
        request_id=metadata.get("RequestId"),
        retryable=metadata.get("HTTPStatusCode", 0) >= 500,
    )


def _client_error(error: Exception, context: dict[str, Any], client: Any) -> DynamoDBWrapperError:
    operation, endpoint = context["operation"], client.meta.endpoint_url
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return ConfigurationError(
            f"{operation} was not sent: no AWS credentials were found. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with an instance or job role.",
            **context,
        )
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        failure = failure_of(error, endpoint, client.meta.region_name)
        return ConnectionError(
            f"{operation} {failure.text}", **context, retryable=failure.is_retryable
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


class Failure(NamedTuple):
    """Why there was no answer.

    Attributes:
        text: What happened and what to do, to follow the name of the operation.
        is_retryable: Whether the same request may be answered later without a change.
    """

    text: str
    is_retryable: bool


def failure_of(error: Exception, endpoint: str, region: str) -> Failure:
    """Return the description of one of botocore's exceptions.

    Args:
        error: A ConnectionError or HTTPClientError of botocore.
        endpoint: The address that gave no answer.
        region: The region of the client.
    """
    if isinstance(error, boto.SSLError):
        why = _reason(error)
        if not any(sign in why for sign in _INTERRUPTED):
            return Failure(_tls_failure(why, endpoint), is_retryable=False)
    if isinstance(error, boto.ProxyConnectionError):
        why, proxy = _reason(error), _without_user(str(error.kwargs.get("proxy_url", "")))
        return Failure(
            f"failed: the proxy {proxy} did not connect to {endpoint}: {why}. {_PROXY_STEP}",
            is_retryable=any(sign in why for sign in _PROXY_BUSY),
        )
    kind = "timed out" if "imeout" in type(error).__name__ else "failed"
    step = "Check the region, DYNAMODB_ENDPOINT_URL and the network."
    return Failure(f"{kind}: no answer from {endpoint} (region {region}). {step}", True)


def _without_user(url: str) -> str:
    """Return an address without user and password; botocore leaves some of odd ones."""
    scheme, _, rest = url.rpartition("//")
    return f"{scheme}//{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]


def proxy_refusal(endpoint: str) -> Failure:
    """Return the description of a reply with status 407, which only a proxy sends."""
    return Failure(
        f"failed: the proxy before {endpoint} asks for a user and a password (407 Proxy "
        f"Authentication Required). {_PROXY_STEP}",
        is_retryable=False,
    )


def _tls_failure(why: str, endpoint: str) -> str:
    if any(sign in why for sign in _AUTHORITIES):
        return (
            f"failed: the certificates of trusted authorities cannot be read: {why}. Correct "
            "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle, which names a file of certificates in "
            "PEM form or a directory of them."
        )
    if not any(sign in why for sign in _CERTIFICATE):
        return (
            f"failed: TLS with {endpoint} was not agreed on: {why}. Check whether "
            "DYNAMODB_ENDPOINT_URL should begin with http://, and which versions of TLS the "
            "endpoint, or a proxy before it, speaks."
        )
    if "mismatch" in why or "doesn't match" in why:
        return (
            f"failed: the certificate of {endpoint} is not accepted: certificate verify failed: it "
            "belongs to another host. Correct DYNAMODB_ENDPOINT_URL; if a proxy answers in its "
            "place, check HTTPS_PROXY."
        )
    text = f"failed: the certificate of {endpoint} is not accepted: {why}. "
    if "expired" in why or "not yet valid" in why:
        return f"{text}Check the clock of this machine; else the certificate must be renewed."
    return (
        f"{text}If a proxy, or an endpoint of your own, has a certificate of a private authority, "
        "name the file with that authority's certificate in AWS_CA_BUNDLE."
    )


def _reason(error: Any) -> str:
    """Return the text of the exception that one of botocore's was made of."""
    inner = error.kwargs.get("error", "")
    while type(inner).__module__.startswith("urllib3."):  # it wraps what it caught
        wrapped = [*inner.args[-1:], inner.__cause__, inner.__context__]
        found = next((one for one in wrapped if isinstance(one, Exception)), None)
        if found is None:
            break
        inner = found
    return " ".join(_SOURCE_LINE.sub("", str(inner)).split()).rstrip(".")
