"""boto3 clients: one per process and config, made from a session with the config's credentials.

A client is not shared between a mock of moto and the world outside of it, nor kept when the
environment variables change that it was made from.

Creating a client is slow and not thread-safe; using one is fast and thread-safe. Sessions share
one data loader, because reading the service model is most of the cost.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    InvalidConfigError,
    InvalidRegionError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from dynamodb_wrapper.aws.clock import ServiceClock
from dynamodb_wrapper.aws.fast_path import DirectTransport, direct_transport
from dynamodb_wrapper.aws.interception import TrackingEmitter
from dynamodb_wrapper.aws.raw_replies import (
    depth_in_boto3,
    install_raw_bodies,
    install_raw_parser,
    start_of,
)
from dynamodb_wrapper.aws.retries import watch_lost_replies, watch_throttles
from dynamodb_wrapper.aws.service_data import fast_loader
from dynamodb_wrapper.exceptions.errors import ConfigurationError, ConnectionError

if TYPE_CHECKING:
    from dynamodb_wrapper.config.settings import DynamoDBConfig

_SENT = "dynamodb_wrapper_sent"
_CHECKSUM = "x-amz-crc32"
_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Variables botocore reads credentials, region, endpoint, authorities and proxies from."""
_DAMAGED = "dynamodb_wrapper_damaged"


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
    if not loaders:
        loaders.append(fast_loader(session.get_component("data_loader")))
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
    session = botocore.session.Session(profile=config.profile_name, event_hooks=events)
    install_raw_parser(session)
    if config.region_name is not None:
        session.set_config_variable("region", config.region_name)
    return session


def _assume_role(
    source: Any, config: DynamoDBConfig, role_arn: str, events: TrackingEmitter | None
) -> Any:
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=source.create_client,
        source_credentials=source.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": "dynamodb-wrapper"},
    )
    target = _new_session(config, events)
    target.register_component("data_loader", source.get_component("data_loader"))
    # botocore offers no public setter for renewable credentials, but its provider chain does:
    # the provider placed first in the chain is asked first and renews them.
    credentials = _RoleCredentials(fetcher, source.get_credentials())
    target.get_component("credential_provider").providers.insert(0, _RoleProvider(credentials))
    return target


class _RoleCredentials(DeferredRefreshableCredentials):
    """Credentials of a role, and those it is assumed with."""

    def __init__(self, fetcher: Any, source: Any) -> None:
        super().__init__(refresh_using=fetcher.fetch_credentials, method="assume-role")
        self.source = source


class _RoleProvider:
    METHOD = "dynamodb-wrapper-role"
    CANONICAL_NAME = None

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials


class _OpenClient(NamedTuple):
    client: Any
    direct: DirectTransport | None  # sends data operations; None where boto3 does
    is_mocked: bool = False  # whether moto answers its requests
    environment: tuple[str | None, ...] = ()

    def close(self) -> None:
        self.client.close()
        if self.direct is not None:
            self.direct.close()


class _Cache:
    """Clients of this process; a fork starts empty because sockets must not be shared."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may need a client while one is made
        self.pid = os.getpid()
        self.open: dict[tuple[DynamoDBConfig, bool, int], _OpenClient] = {}
        self.loaders: list[Any] = []
        self.clocks: dict[tuple[str, bool], ServiceClock] = {}

    def clock_of(self, client: Any) -> ServiceClock:
        """Return the clock of the service a client talks to; its other clients share it."""
        endpoint = str(getattr(getattr(client, "meta", None), "endpoint_url", None))
        return self.clocks.setdefault((endpoint, is_mocked()), ServiceClock())


_cache = _Cache()


def client_for(config: DynamoDBConfig) -> Any:
    """Return this process's DynamoDB client for a config.

    Raises:
        ConfigurationError: No region is configured, or the profile or role cannot be used.
    """
    return _open_client_for(config).client


def _open_client_for(config: DynamoDBConfig, depth: int = 0) -> _OpenClient:
    """Return the open client of a config.

    Args:
        config: The config.
        depth: Calls of boto3 the thread is in the middle of; at each depth there is another client.
    """
    global _cache  # noqa: PLW0603 - a forked child must drop the parent's cache, lock included
    if _cache.pid != os.getpid():
        _cache = _Cache()
    cache, key = _cache, (config, is_mocked(), depth)
    environment = tuple(map(os.environ.get, _ENVIRONMENT))
    found = cache.open.get(key)
    if found is None or found.environment != environment:
        with cache.lock:
            found = cache.open.get(key)
            if found is None or found.environment != environment:
                made = _create(config, cache)
                found = made._replace(is_mocked=key[1], environment=environment)
                cache.open[key] = found
    return found


def credentials_in_use() -> list[Any]:
    """Return the credentials of the clients this process has made; nothing is resolved for it.

    What botocore offers to ask for them resolves or renews them.
    """
    found = [credentials_of(opened.client) for opened in list(_cache.open.values())]
    return [*found, *(one.source for one in found if isinstance(one, _RoleCredentials))]


def credentials_of(client: Any) -> Any:
    """Return the credentials a boto3 client signs with, None where they are not known."""
    return getattr(getattr(client, "_request_signer", None), "_credentials", None)


def is_mocked() -> bool:
    """Return whether moto answers the requests of this process at the moment."""
    stubber = getattr(sys.modules.get("moto.core.models"), "botocore_stubber", None)
    return stubber is not None and bool(getattr(stubber, "enabled", False))


def close_clients() -> None:
    """Close the connections of every client this process has made, and forget the clients.

    For processes that use many configurations. A repository that holds such a client can still use
    it: it opens new connections. Clients that were passed in are left alone.
    """
    cache = _cache
    if cache.pid != os.getpid():
        return
    with cache.lock:
        forgotten, cache.open = list(cache.open.values()), {}
    for found in forgotten:
        found.close()


class Connection:
    """The client a repository sends with; a forked process makes another.

    Requests of a signal handler that interrupts a request of boto3 have a client apart.

    Sockets must not be shared: two processes on one would read each other's replies. A mock of moto
    has a client apart as well: one made outside has real credentials, or none.

    Args:
        config: Identifies the shared client.
        client: Used instead, in this process only.
    """

    def __init__(self, config: DynamoDBConfig, client: Any = None) -> None:
        self._config = config
        self._injected = client is not None
        self._open = _OpenClient(client, None) if self._injected else _open_client_for(config)
        self._pid = os.getpid()

    @property
    def client(self) -> Any:
        """The client of this process.

        Raises:
            ConfigurationError: A client that was passed in is used in a forked process.
        """
        return self._current().client

    @property
    def direct(self) -> DirectTransport | None:
        """The transport that sends data operations directly; None where boto3 sends them.

        Raises:
            ConfigurationError: A client that was passed in is used in a forked process.
        """
        return self._current().direct

    @property
    def clock(self) -> ServiceClock:
        """The clock of the service, which the dates of its replies show."""
        return _cache.clock_of(self.client)

    def note_date(self, response: Any, sent: float) -> None:
        """Learn from the date of a response of a client that was passed in; others do so alone.

        Args:
            response: The response of boto3, or that of its error.
            sent: `time.monotonic` when its request was sent.
        """
        if self._injected:
            self.clock.note(_date_of(response), sent)

    def _current(self) -> _OpenClient:
        if self._pid != os.getpid():
            if self._injected:
                raise ConfigurationError(
                    "This process was forked after the repository was given its client, and a "
                    "connection must not be shared: make the repository anew in this process."
                )
            self._open, self._pid = _open_client_for(self._config), os.getpid()
        if not self._injected and self._open.is_mocked != is_mocked():
            self._open = _open_client_for(self._config)
        depth = depth_in_boto3()
        opened = self._open if not depth or self._injected else self._open_at(depth)
        if opened.direct is not None:
            opened.direct.interception.adopt()
        return opened

    def _open_at(self, depth: int) -> _OpenClient:
        """Return the client of a handler that interrupts a call of boto3.

        A thread cannot take the locks of boto3's client and its pool twice.
        """
        return _open_client_for(self._config, depth)


def _create(config: DynamoDBConfig, cache: _Cache) -> _OpenClient:
    longest = config.operation_timeout_seconds
    events = None if config.transport == "boto3" else TrackingEmitter()
    try:
        session = create_session(config, cache.loaders, events)
        _refuse_controls(config.region_name or session.get_config_variable("region"))
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
    except OSError as error:
        raise ConnectionError(
            f"No client could be made: {error}. Look for files and connections that the program "
            "leaves open, and at its limit (`ulimit -n`).",
            retryable=True,
        ) from error
    except NoRegionError as error:
        raise ConfigurationError(
            "No AWS region is configured: set AWS_REGION, or region_name of DynamoDBConfig."
        ) from error
    except InvalidRegionError as error:
        raise ConfigurationError(f"{error} Correct AWS_REGION or AWS_DEFAULT_REGION.") from error
    except ProfileNotFound as error:
        raise ConfigurationError(
            f"The AWS profile {config.profile_name!r} does not exist: correct AWS_PROFILE, "
            "or profile_name of DynamoDBConfig."
        ) from error
    except PartialCredentialsError as error:
        raise ConfigurationError(f"The AWS credentials are incomplete: {error}") from error
    except (CredentialRetrievalError, InvalidConfigError) as error:
        raise ConfigurationError(f"The AWS credentials cannot be used: {error}") from error
    except ValueError as error:  # an endpoint of the SDK's environment that is no address
        raise ConfigurationError(
            f"No client could be made: {error}. Correct DYNAMODB_ENDPOINT_URL, or "
            "AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL and the profile."
        ) from error
    if config.lost_credentials and session.get_credentials() is None:
        client.meta.events.register_first("before-call.dynamodb", _refuse_lost_credentials)
    install_raw_bodies(client)
    _limit_total_time(client, longest)
    _refuse_damaged_replies(client)
    watch_throttles(client)
    watch_lost_replies(client)  # last, hence asked first: another handler may raise
    clock = cache.clock_of(client)
    _note_dates(client, clock)
    if events is None:
        return _OpenClient(client, None)
    direct = direct_transport(
        client,
        session,
        events,
        clock,
        operation_timeout=longest,
        is_required=config.transport == "direct",
    )
    return _OpenClient(client, direct)


def _refuse_controls(region: Any) -> None:
    if isinstance(region, str) and not region.isprintable():
        raise ConfigurationError(
            f"The region {region!r} holds control characters: correct AWS_REGION, "
            "AWS_DEFAULT_REGION or the profile."
        )


def _refuse_lost_credentials(**_: Any) -> None:
    raise ConfigurationError(
        "Nothing was sent: this config had credentials and was pickled, which leaves them out, and "
        "this process has none. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY here, run with an "
        "instance or job role, or make the config in this process."
    )


def _limit_total_time(client: Any, limit_seconds: float) -> None:
    """Start no further attempt of a request once its time is used up."""

    def note_start(params: dict[str, Any], **_: Any) -> None:
        params["context"][_SENT] = start_of(params["context"]) or time.monotonic()

    def stop_when_late(
        response: Any, caught_exception: Any, request_dict: dict[str, Any], operation: Any, **_: Any
    ) -> None:
        sent = request_dict["context"].get(_SENT)
        if sent is None or time.monotonic() < sent + limit_seconds:
            return
        if caught_exception is not None:
            raise caught_exception
        http, parsed = response
        if http.status_code >= 300:
            raise ClientError(parsed, operation.name)

    client.meta.events.register("before-call.dynamodb", note_start)
    client.meta.events.register_first("needs-retry.dynamodb", stop_when_late)


def _refuse_damaged_replies(client: Any) -> None:
    """Refuse a damaged reply that is not retried: botocore returns it."""

    def check(response: Any, request_dict: dict[str, Any], **_: Any) -> None:
        context = request_dict["context"]
        context.pop(_DAMAGED, None)
        if response is None or _CHECKSUM not in response[0].headers:
            return
        http, _parsed = response
        expected, actual = http.headers[_CHECKSUM], zlib.crc32(http.content)
        if not _is_number(expected):
            http.headers[_CHECKSUM] = "-1"  # matches no reply, and botocore can compare it
        elif int(expected) == actual:
            return
        context[_DAMAGED] = expected, str(actual)

    def refuse(context: dict[str, Any], **_: Any) -> None:
        if _DAMAGED in context:
            expected, actual = context[_DAMAGED]
            raise ChecksumError(
                checksum_type="crc32", expected_checksum=expected, actual_checksum=actual
            )

    client.meta.events.register_first("needs-retry.dynamodb", check)
    client.meta.events.register_first("after-call.dynamodb", refuse)


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _note_dates(client: Any, clock: ServiceClock) -> None:
    def note(parsed: Any, context: dict[str, Any], **_: Any) -> None:
        if _SENT in context:
            clock.note(_date_of(parsed), context[_SENT])

    client.meta.events.register("after-call.dynamodb", note)


def _date_of(response: Any) -> str | None:
    """Return the ``Date`` header of a response of boto3; None where it shows none."""
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    date = headers.get("date") if isinstance(headers, dict) else None
    return date if isinstance(date, str) else None
