"""boto3 clients: one per process and config, made from a session with the config's credentials.

Creating a client is slow and not thread-safe, using one is fast and is. Sessions share one data
loader, because reading the service model is most of the cost.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.aws.clock import Clock
from dynamodb_wrapper.aws.raw_replies import keep_bodies, take_bodies
from dynamodb_wrapper.aws.throttles import tell_of_throttles
from dynamodb_wrapper.exceptions.errors import ConfigurationError

if TYPE_CHECKING:
    from dynamodb_wrapper.aws.fast_path import DirectTransport
    from dynamodb_wrapper.aws.interception import TrackingEmitter
    from dynamodb_wrapper.config.settings import DynamoDBConfig

_DEADLINE = "dynamodb_wrapper_deadline"
_CHECKSUM = "x-amz-crc32"


def create_session(
    config: DynamoDBConfig, loaders: list[Any], events: TrackingEmitter | None
) -> Any:
    """Return the session a client is made with.

    Args:
        config: Credentials, profile, region.
        loaders: The data loader all sessions share; the first session adds it.
        events: Used by the session instead of botocore's own.

    Raises:
        ProfileNotFound: The profile is not there.
    """
    session = _new_session(config, None if config.role_arn else events)
    if loaders:
        session.register_component("data_loader", loaders[0])
    else:
        from dynamodb_wrapper.aws.service_data import faster

        loaders.append(faster(session.get_component("data_loader")))
        session.register_component("data_loader", loaders[0])
    if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
        token = config.aws_session_token
        session.set_credentials(
            config.aws_access_key_id.get_secret_value(),
            config.aws_secret_access_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
    return _assume_role(session, config, config.role_arn, events) if config.role_arn else session


def _new_session(config: DynamoDBConfig, events: TrackingEmitter | None) -> Any:
    import botocore.session

    session = botocore.session.Session(profile=config.profile_name, event_hooks=events)
    keep_bodies(session)
    if config.region_name is not None:
        session.set_config_variable("region", config.region_name)
    return session


def _assume_role(
    source: Any, config: DynamoDBConfig, role_arn: str, events: TrackingEmitter | None
) -> Any:
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    fetcher = AssumeRoleCredentialFetcher(
        client_creator=source.create_client,
        source_credentials=source.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": "dynamodb-wrapper"},
    )
    target = _new_session(config, events)
    target.register_component("data_loader", source.get_component("data_loader"))
    # botocore offers no public setter for renewable credentials; its own provider chain does:
    # a provider placed first in the chain is asked first and renews them by itself.
    credentials = DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    target.get_component("credential_provider").providers.insert(0, _RoleProvider(credentials))
    return target


class _RoleProvider:
    METHOD = "dynamodb-wrapper-role"
    CANONICAL_NAME = None

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials


class _Made(NamedTuple):
    client: Any
    direct: DirectTransport | None  # sends data operations; None where the client does

    def close(self) -> None:
        self.client.close()
        if self.direct is not None:
            self.direct.close()


class _Cache:
    """Clients of this process; a fork starts empty because sockets must not be shared."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may need a client while one is made
        self.pid = os.getpid()
        self.made: dict[DynamoDBConfig, _Made] = {}
        self.loaders: list[Any] = []


_cache = _Cache()


def client_for(config: DynamoDBConfig) -> Any:
    """Return this process's DynamoDB client for a config.

    Raises:
        ConfigurationError: No region is configured, or the profile or role cannot be used.
    """
    return _made_for(config).client


def _made_for(config: DynamoDBConfig) -> _Made:
    global _cache  # noqa: PLW0603 - a forked child must drop the parent's cache, lock included
    if _cache.pid != os.getpid():
        _cache = _Cache()
    cache = _cache
    made = cache.made.get(config)
    if made is None:
        with cache.lock:
            made = cache.made.get(config)
            if made is None:
                made = cache.made[config] = _make(config, cache)
    return made


def close_clients() -> None:
    """Close the connections of every client this process has made, and forget the clients.

    For processes that go through many configurations; what still holds such a client may go on
    using it, on connections of its own. Clients that were passed in are left alone.
    """
    cache = _cache
    if cache.pid != os.getpid():
        return
    with cache.lock:
        forgotten, cache.made = list(cache.made.values()), {}
    for made in forgotten:
        made.close()


class Connection:
    """The client a repository sends with; a forked process gets one of its own.

    Sockets must not be shared: two processes on one would read each other's replies.

    Args:
        config: Leads to the shared client.
        client: Used instead, in this process only.
    """

    def __init__(self, config: DynamoDBConfig, client: Any = None) -> None:
        self._config = config
        self._injected = client is not None
        self._made = _Made(client, None) if self._injected else _made_for(config)
        self._pid = os.getpid()

    @property
    def client(self) -> Any:
        """The client of this process.

        Raises:
            ConfigurationError: A client that was passed in is used in a forked process.
        """
        return self._here().client

    @property
    def direct(self) -> DirectTransport | None:
        """What sends data operations past the client; None where the client does.

        Raises:
            ConfigurationError: A client that was passed in is used in a forked process.
        """
        return self._here().direct

    def _here(self) -> _Made:
        if self._pid != os.getpid():
            if self._injected:
                raise ConfigurationError(
                    "This process was forked after the repository was given its client, and a "
                    "connection must not be shared: make the repository anew in this process."
                )
            self._made, self._pid = _made_for(self._config), os.getpid()
        if self._made.direct is not None:
            self._made.direct.interception.adopt()
        return self._made


def _make(config: DynamoDBConfig, cache: _Cache) -> _Made:
    from botocore.config import Config
    from botocore.exceptions import (
        CredentialRetrievalError,
        InvalidConfigError,
        NoRegionError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    longest = config.operation_timeout_seconds
    events = _events_of(config)
    try:
        session = create_session(config, cache.loaders, events)
        # What `boto3.client` returns as well; importing boto3 takes longer than making it.
        client = session.create_client(
            "dynamodb",
            region_name=config.region_name,
            endpoint_url=config.endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": config.max_attempts},
                connect_timeout=min(config.connect_timeout_seconds, longest),
                read_timeout=min(config.read_timeout_seconds, longest),
                max_pool_connections=config.max_pool_connections,
                user_agent_extra="dynamodb-wrapper",
                parameter_validation=False,  # requests are built and checked by `serialization`
            ),
        )
    except NoRegionError as error:
        raise ConfigurationError(
            "No AWS region is configured: set AWS_REGION, or region_name of DynamoDBConfig."
        ) from error
    except ProfileNotFound as error:
        raise ConfigurationError(
            f"The AWS profile {config.profile_name!r} does not exist: correct AWS_PROFILE, "
            "or profile_name of DynamoDBConfig."
        ) from error
    except PartialCredentialsError as error:
        raise ConfigurationError(f"The AWS credentials are incomplete: {error}") from error
    except (CredentialRetrievalError, InvalidConfigError) as error:
        raise ConfigurationError(f"The AWS credentials cannot be used: {error}") from error
    take_bodies(client)
    _limit_total_time(client, config.operation_timeout_seconds)
    _refuse_damaged_replies(client, config.max_attempts)
    tell_of_throttles(client)
    clock = Clock()
    _warn_of_clock_skew(client, clock)
    return _Made(client, _direct_transport(config, client, session, events, clock))


def _events_of(config: DynamoDBConfig) -> TrackingEmitter | None:
    if config.transport == "boto3":
        return None
    from dynamodb_wrapper.aws.interception import TrackingEmitter

    return TrackingEmitter()


def _direct_transport(
    config: DynamoDBConfig, client: Any, core: Any, events: TrackingEmitter | None, clock: Clock
) -> DirectTransport | None:
    if events is None:
        return None
    from dynamodb_wrapper.aws.fast_path import direct_transport

    return direct_transport(client, core, events, clock, is_demanded=config.transport == "direct")


def _limit_total_time(client: Any, limit_seconds: float) -> None:
    """Begin no further attempt of a request once its time is used up."""
    from botocore.exceptions import ClientError

    from dynamodb_wrapper.aws.fast_path import begun

    def note_deadline(params: dict[str, Any], **_: Any) -> None:
        params["context"][_DEADLINE] = (begun() or time.monotonic()) + limit_seconds

    def stop_when_late(
        response: Any, caught_exception: Any, request_dict: dict[str, Any], operation: Any, **_: Any
    ) -> None:
        deadline = request_dict["context"].get(_DEADLINE)
        if deadline is None or time.monotonic() < deadline:
            return
        if caught_exception is not None:
            raise caught_exception
        http, parsed = response
        if http.status_code >= 300:
            raise ClientError(parsed, operation.name)

    client.meta.events.register("before-call.dynamodb", note_deadline)
    client.meta.events.register_first("needs-retry.dynamodb", stop_when_late)


def _refuse_damaged_replies(client: Any, max_attempts: int) -> None:
    """Check the last attempt's reply as well: botocore hands it out without looking."""
    from botocore.exceptions import ChecksumError

    def check(response: Any, attempts: int, **_: Any) -> None:
        if response is None or _CHECKSUM not in response[0].headers:
            return
        http, _parsed = response
        expected, actual = http.headers[_CHECKSUM], zlib.crc32(http.content)
        if not _is_number(expected):
            http.headers[_CHECKSUM] = "-1"  # of no reply, but botocore can compare it
        elif int(expected) == actual:
            return
        if attempts >= max_attempts:
            raise ChecksumError(
                checksum_type="crc32",
                expected_checksum=expected,
                actual_checksum=str(actual),
            )

    client.meta.events.register_first("needs-retry.dynamodb", check)


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _warn_of_clock_skew(client: Any, clock: Clock) -> None:
    def compare(parsed: Any, **_: Any) -> None:
        metadata = (parsed or {}).get("ResponseMetadata", {})
        clock.compare(metadata.get("HTTPHeaders", {}).get("date"))

    client.meta.events.register("after-call.dynamodb", compare)
