"""One boto3 client per process and config.

Creating a client is slow and not thread-safe, using one is fast and is. Sessions share one data
loader, because reading the service model is most of the cost.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.config.bodies import keep_bodies, take_bodies
from dynamodb_wrapper.exceptions import ConfigurationError

if TYPE_CHECKING:
    from dynamodb_wrapper.config.settings import DynamoDBConfig

logger = logging.getLogger(__name__)

_DEADLINE = "dynamodb_wrapper_deadline"
_SKEW_SECONDS = 30
_SKEW_EVERY_SECONDS = 60


class _Cache:
    """Clients of this process; a fork starts empty because sockets must not be shared."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may need a client while one is made
        self.pid = os.getpid()
        self.clients: dict[DynamoDBConfig, Any] = {}
        self.loader: Any = None


_cache = _Cache()


def client_for(config: DynamoDBConfig) -> Any:
    """Return this process's DynamoDB client for a config.

    Raises:
        ConfigurationError: No region is configured, or the profile or role cannot be used.
    """
    global _cache  # noqa: PLW0603 - a forked child must drop the parent's cache, lock included
    if _cache.pid != os.getpid():
        _cache = _Cache()
    cache = _cache
    client = cache.clients.get(config)
    if client is None:
        with cache.lock:
            client = cache.clients.get(config)
            if client is None:
                client = cache.clients[config] = _create_client(config, cache)
    return client


def close_clients() -> None:
    """Close the connections of every client this process has made, and forget the clients.

    For processes that go through many configurations; what still holds such a client may go on
    using it, on connections of its own. Clients that were passed in are left alone.
    """
    cache = _cache
    if cache.pid != os.getpid():
        return
    with cache.lock:
        clients, cache.clients = list(cache.clients.values()), {}
    for client in clients:
        client.close()


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
        self._client = client if self._injected else client_for(config)
        self._pid = os.getpid()

    @property
    def client(self) -> Any:
        """The client of this process.

        Raises:
            ConfigurationError: A client that was passed in is used in a forked process.
        """
        if self._pid != os.getpid():
            if self._injected:
                raise ConfigurationError(
                    "This process was forked after the repository was given its client, and a "
                    "connection must not be shared: make the repository anew in this process."
                )
            self._client, self._pid = client_for(self._config), os.getpid()
        return self._client


def _create_client(config: DynamoDBConfig, cache: _Cache) -> Any:
    from botocore.config import Config
    from botocore.exceptions import NoRegionError, PartialCredentialsError, ProfileNotFound

    longest = config.operation_timeout_seconds
    try:
        session = _create_session(config, cache)
        client = session.client(
            "dynamodb",
            region_name=config.region_name,
            endpoint_url=config.endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": config.max_attempts},
                connect_timeout=min(config.connect_timeout_seconds, longest),
                read_timeout=min(config.read_timeout_seconds, longest),
                max_pool_connections=config.max_pool_connections,
                user_agent_extra="dynamodb-wrapper",
                parameter_validation=False,  # requests are built and checked by `wire`
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
    take_bodies(client)
    _limit_total_time(client, config.operation_timeout_seconds)
    _refuse_damaged_replies(client, config.max_attempts)
    _warn_of_clock_skew(client)
    return client


def _create_session(config: DynamoDBConfig, cache: _Cache) -> Any:
    import boto3.session
    import botocore.session

    core = botocore.session.Session(profile=config.profile_name)
    keep_bodies(core)
    if cache.loader is None:
        cache.loader = core.get_component("data_loader")
    else:
        core.register_component("data_loader", cache.loader)
    if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
        token = config.aws_session_token
        core.set_credentials(
            config.aws_access_key_id.get_secret_value(),
            config.aws_secret_access_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
    session = boto3.session.Session(botocore_session=core, region_name=config.region_name)
    return _assume_role(session, core, config, config.role_arn) if config.role_arn else session


def _assume_role(source: Any, core: Any, config: DynamoDBConfig, role_arn: str) -> Any:
    import boto3.session
    import botocore.session
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    fetcher = AssumeRoleCredentialFetcher(
        client_creator=core.create_client,
        source_credentials=source.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": "dynamodb-wrapper"},
    )
    target = botocore.session.Session(profile=config.profile_name)
    keep_bodies(target)
    target.register_component("data_loader", core.get_component("data_loader"))
    # botocore offers no public setter for renewable credentials; its own provider chain does:
    # a provider placed first in the chain is asked first and renews them by itself.
    credentials = DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    target.get_component("credential_provider").providers.insert(0, _RoleProvider(credentials))
    return boto3.session.Session(botocore_session=target, region_name=config.region_name)


class _RoleProvider:
    METHOD = "dynamodb-wrapper-role"
    CANONICAL_NAME = None

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials


def _limit_total_time(client: Any, limit_seconds: float) -> None:
    """Begin no further attempt of a request once its time is used up."""
    from botocore.exceptions import ClientError

    def note_deadline(params: dict[str, Any], **_: Any) -> None:
        params["context"][_DEADLINE] = time.monotonic() + limit_seconds

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

    def check_last(response: Any, attempts: int, **_: Any) -> None:
        if response is None or attempts < max_attempts:
            return
        http, _parsed = response
        expected = http.headers.get("x-amz-crc32")
        actual = zlib.crc32(http.content)
        if expected is not None and int(expected) != actual:
            raise ChecksumError(
                checksum_type="crc32",
                expected_checksum=expected,
                actual_checksum=str(actual),
            )

    client.meta.events.register_first("needs-retry.dynamodb", check_last)


def _warn_of_clock_skew(client: Any) -> None:
    """Compare the clock of this machine with the date of a reply, once a minute at most.

    Nothing depends on the clocks agreeing, but leases run out early or late for everybody else.
    """
    last = [float("-inf")]

    def compare(parsed: Any, **_: Any) -> None:
        now = time.monotonic()
        if now - last[0] < _SKEW_EVERY_SECONDS:
            return
        last[0] = now
        text = (parsed or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        try:
            skew = time.time() - parsedate_to_datetime(text).timestamp()
        except (TypeError, ValueError):
            return
        if abs(skew) > _SKEW_SECONDS:
            logger.warning(
                "The clock of this machine is %.0f s %s DynamoDB's. Set it: leases of runs are "
                "judged by it.",
                abs(skew),
                "ahead of" if skew > 0 else "behind",
            )

    client.meta.events.register("after-call.dynamodb", compare)
