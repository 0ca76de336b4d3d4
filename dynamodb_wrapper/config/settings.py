"""`DynamoDBConfig`, the one settings object, and the table of environment variables it reads."""

from __future__ import annotations

import getpass
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Optional
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from dynamodb_wrapper.exceptions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CREDENTIAL_FIELDS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_UNPREFIXED_ENVIRONMENTS = frozenset({"prod", "production"})
_ENVIRONMENT = r"^[a-z][a-z0-9-]{0,31}$"


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
        "no further attempt starts after this",
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


class DynamoDBConfig(BaseModel):
    """Where the tables are and how they are reached.

    Constructing it reads nothing; only `from_env` looks at the environment. Frozen and hashable:
    one client per process serves every repository with an equal config. Pickles leave credentials
    out, so on an executor the SDK's default credential chain applies; where that finds none, the
    first request raises ConfigurationError.

    Attributes:
        region_name: AWS region; without it the SDK's own configuration decides.
        endpoint_url: Address of a local engine or a private endpoint.
        table_prefix: Put before every table name, joined by ``_``.
        environment: Deployment such as ``dev``; part of table names unless ``prod``/``production``.
        default_environment: Environment of items when `environment` is not set.
        aws_access_key_id: Only where the SDK's default chain is not enough.
        aws_secret_access_key: Belongs to the access key id.
        aws_session_token: Belongs to temporary keys.
        profile_name: Profile of the shared AWS configuration files.
        role_arn: Role to assume; renewed by the SDK before it expires.
        max_pool_connections: Connections kept per client.
        max_attempts: Attempts of one request, the first included.
        connect_timeout_seconds: Limit of one attempt to connect.
        read_timeout_seconds: Limit of one wait for a reply.
        operation_timeout_seconds: No further attempt starts after this.
        transport: ``boto3`` sends everything through boto3; ``direct`` sends data operations over
            connections of this library, and raises ConfigurationError where a setting needs boto3;
            ``auto`` is direct where every setting supports it.
        user_timezone: Used for display only; everything is stored in UTC.
        actor: Who writes, for ``created_by`` and ``updated_by``; else the user of the OS.
        spool_directory: Keeps outcomes of runs that could not be stored; by default in the user's
            state directory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    region_name: Optional[str] = Field(default=None, pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")
    endpoint_url: Optional[str] = Field(default=None, pattern=r"^https?://[^\s/@]+(/\S*)?$")
    table_prefix: Optional[str] = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    environment: Optional[str] = Field(default=None, pattern=_ENVIRONMENT)
    default_environment: str = Field(default="dev", pattern=_ENVIRONMENT)
    aws_access_key_id: Optional[SecretStr] = None
    aws_secret_access_key: Optional[SecretStr] = None
    aws_session_token: Optional[SecretStr] = None
    profile_name: Optional[str] = Field(default=None, min_length=1)
    role_arn: Optional[str] = Field(default=None, pattern=r"^arn:[\w-]+:iam::\d{12}:role/\S+$")
    max_pool_connections: int = Field(default=50, ge=1, le=1000)
    max_attempts: int = Field(default=5, ge=1, le=20)
    connect_timeout_seconds: float = Field(default=5, gt=0, le=60)
    read_timeout_seconds: float = Field(default=10, gt=0, le=300)
    operation_timeout_seconds: float = Field(default=30, gt=0, le=3600)
    transport: Literal["auto", "boto3", "direct"] = "auto"
    user_timezone: str = "UTC"
    actor: Optional[str] = Field(default=None, min_length=1, max_length=256)
    spool_directory: Optional[str] = Field(default=None, min_length=1)
    _lost_credentials: bool = PrivateAttr(default=False)

    @field_validator("user_timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is not a time zone; use an IANA name such as Europe/Berlin") from None
        return name

    @field_validator(*_CREDENTIAL_FIELDS)
    @classmethod
    def _one_line(cls, secret: Optional[SecretStr]) -> Optional[SecretStr]:
        if secret is not None and not secret.get_secret_value().isprintable():
            raise ValueError("holds a line end or another control character; copy it again")
        return secret

    @field_validator("endpoint_url", "role_arn", "profile_name")
    @classmethod
    def _printable(cls, text: Optional[str]) -> Optional[str]:
        if text is not None and not text.isprintable():
            raise ValueError("holds a line end or another control character")
        return text

    def model_post_init(self, _context: Any, /) -> None:
        """Check that fields which need each other are set together."""
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together")
        if self.aws_session_token is not None and self.aws_access_key_id is None:
            raise ValueError(
                "AWS_SESSION_TOKEN needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY beside it"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> DynamoDBConfig:
        """Build the config from environment variables.

        An empty variable counts as not set. Keys win over a profile, as in the SDK.

        Args:
            environ: Read instead of the process's environment.

        Raises:
            ConfigurationError: A variable holds a value that cannot be used; it is named.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for variable in VARIABLES:
            if source.get(variable.name) and variable.field not in values:
                text = source[variable.name].strip()
                values[variable.field] = text.lower() if "environment" in variable.field else text
        if "aws_access_key_id" in values:
            values.pop("profile_name", None)
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            raise ConfigurationError(_explain(error, source)) from error

    @classmethod
    def for_local_development(
        cls, endpoint_url: str = "http://127.0.0.1:8000", **settings: Any
    ) -> DynamoDBConfig:
        """Build a config for a local engine, with placeholder credentials and short time-outs."""
        local: dict[str, Any] = {
            "endpoint_url": endpoint_url,
            "region_name": "us-east-1",
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
            "connect_timeout_seconds": 2,
        }
        return cls(**{**local, **settings})

    def impatient(self) -> DynamoDBConfig:
        """Return the config of a client that gives up quickly: one attempt, 3 seconds in all.

        Heartbeats and the end of a run use it and retry themselves.
        """
        return self.model_copy(
            update={
                "max_attempts": 1,
                "connect_timeout_seconds": min(1.0, self.connect_timeout_seconds),
                "read_timeout_seconds": min(2.0, self.read_timeout_seconds),
                "operation_timeout_seconds": min(3.0, self.operation_timeout_seconds),
                "max_pool_connections": min(4, self.max_pool_connections),
            }
        )

    def spool_path(self) -> Path:
        """Return the directory of outcomes of runs that could not be stored.

        Raises:
            ConfigurationError: It is not set, and this user has no home directory, or the root user
                has that of another user: then files of root would stand in it.
        """
        if self.spool_directory is not None:
            return Path(self.spool_directory)
        import platformdirs

        try:
            path = Path(platformdirs.user_state_dir("dynamodb-wrapper")) / "spool"
        except RuntimeError:  # older versions return a path that begins with ~
            path = Path("~")
        if not path.is_absolute():
            why = "this user has no home directory"
        elif _is_of_another_than_root(path):
            why = f"{path} would be root's in the home directory of another user"
        else:
            return path
        raise ConfigurationError(
            f"There is no place for outcomes of runs: {why}. Set DYNAMODB_SPOOL_DIRECTORY to a "
            "directory that this user may write."
        )

    def table_name(self, base: str) -> str:
        """Return the name of a table as DynamoDB knows it.

        Prefix, environment (unless ``prod`` or ``production``) and base name, joined by ``_``.
        """
        parts = [self.table_prefix, self.environment, base]
        if self.environment in _UNPREFIXED_ENVIRONMENTS:
            parts[1] = None
        return "_".join(part for part in parts if part)

    @property
    def item_environment(self) -> str:
        """Environment of items that name none."""
        return self.environment or self.default_environment

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine."""
        host = (self.endpoint_url or "").split("://")[-1].split("/")[0]
        return host.startswith(("127.", "localhost", "[::1]", "0.0.0.0"))

    def actor_name(self) -> str:
        """Return who writes: `actor`, else the user of the operating system."""
        if self.actor:
            return self.actor
        try:
            return getpass.getuser()
        except (KeyError, OSError, ImportError):  # a container may know no user
            return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"

    def secret_values(self) -> tuple[str, ...]:
        """Return the secret values this config holds, for redaction."""
        secrets = (self.aws_access_key_id, self.aws_secret_access_key, self.aws_session_token)
        return tuple(secret.get_secret_value() for secret in secrets if secret is not None)

    def to_user_timezone(self, moment: datetime) -> datetime:
        """Return the same moment in the user's time zone, for display."""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.astimezone(ZoneInfo(self.user_timezone))

    @property
    def lost_credentials(self) -> bool:
        """Whether the config had credentials, which were left out when it was pickled."""
        return self._lost_credentials

    def __eq__(self, other: object) -> bool:
        """Return whether all settings are the same; lost credentials are none."""
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __getstate__(self) -> dict[Any, Any]:
        state = dict(super().__getstate__())
        state["__dict__"] = {**state["__dict__"], **dict.fromkeys(_CREDENTIAL_FIELDS)}
        if self.aws_access_key_id is not None:
            private = state.get("__pydantic_private__") or {}
            state["__pydantic_private__"] = {**private, "_lost_credentials": True}
        return state


def _is_of_another_than_root(path: Path) -> bool:
    """Return whether this is the root user, and what exists of a path is another user's."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    there = next(part for part in (path, *path.parents) if os.path.exists(part))
    return there.stat().st_uid != 0


def _explain(error: pydantic.ValidationError, source: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        field = str(problem["loc"][0]) if problem["loc"] else ""
        names = [name for name in variables_of_field(field) if source.get(name)]
        text = problem["msg"].replace("Value error, ", "")
        lines.append(f"{names[0]}: {text}" if names else text)
    return "The environment holds a setting that cannot be used. " + "; ".join(lines) + "."
