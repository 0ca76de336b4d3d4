"""The one table of environment variables; reading, error texts and docs come from it."""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """An environment variable and the field it sets; of several for a field the first set wins."""

    name: str
    field: str
    meaning: str


VARIABLES: tuple[Variable, ...] = (
    Variable("AWS_REGION", "region_name", "AWS region"),
    Variable("AWS_DEFAULT_REGION", "region_name", "AWS region, as older SDKs name it"),
    Variable("DYNAMODB_ENDPOINT_URL", "endpoint_url", "address of a local or private endpoint"),
    Variable("AWS_ENDPOINT_URL_DYNAMODB", "endpoint_url", "the same, as the SDK names it"),
    Variable("AWS_ENDPOINT_URL", "endpoint_url", "endpoint of all AWS services"),
    Variable("DYNAMODB_TABLE_PREFIX", "table_prefix", "put before every table name"),
    Variable("DYNAMODB_ENVIRONMENT", "environment", "deployment; part of table names unless prod"),
    Variable("ENVIRONMENT", "default_environment", "environment of items when the above is unset"),
    Variable("AWS_ACCESS_KEY_ID", "aws_access_key_id", "access key"),
    Variable("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "secret of the access key"),
    Variable("AWS_SESSION_TOKEN", "aws_session_token", "token of temporary keys"),
    Variable("AWS_PROFILE", "profile_name", "profile of the shared AWS configuration"),
    Variable("DYNAMODB_ROLE_ARN", "role_arn", "role to assume"),
    Variable("DYNAMODB_MAX_POOL_CONNECTIONS", "max_pool_connections", "connections per client"),
    Variable("AWS_MAX_ATTEMPTS", "max_attempts", "attempts of one request"),
    Variable("DYNAMODB_CONNECT_TIMEOUT_SECONDS", "connect_timeout_seconds", "limit to connect"),
    Variable("DYNAMODB_READ_TIMEOUT_SECONDS", "read_timeout_seconds", "limit to wait for a reply"),
    Variable(
        "DYNAMODB_OPERATION_TIMEOUT_SECONDS",
        "operation_timeout_seconds",
        "no further attempt is begun after this",
    ),
    Variable("DYNAMODB_TRANSPORT", "transport", "auto, boto3 or direct"),
    Variable("DYNAMODB_USER_TIMEZONE", "user_timezone", "time zone for display"),
    Variable("DYNAMODB_ACTOR", "actor", "who writes, for created_by and updated_by"),
    Variable(
        "DYNAMODB_SPOOL_DIRECTORY",
        "spool_directory",
        "where outcomes of runs are kept that could not be stored",
    ),
)


def variables_of_field(field: str) -> list[str]:
    """Return the variables that set a field, the strongest first."""
    return [variable.name for variable in VARIABLES if variable.field == field]
