"""First attempts of a process that has not imported botocore.

Importing it and making a client take longer than everything else until the first reply. Where the
client would add nothing, see `alone`, it is made when it is needed: when what comes is no clean
answer, when another operation is asked for, when botocore is imported by somebody else.
"""

from __future__ import annotations

import logging
import os
import platform
import ssl
import time
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from dynamodb_wrapper.config.bodies import RawResponse, names_an_account
from dynamodb_wrapper.config.clock import Clock
from dynamodb_wrapper.config.direct.alone import Surroundings, keys_of, setting_for_the_client
from dynamodb_wrapper.config.direct.pool import Pool, Road
from dynamodb_wrapper.config.direct.signing import DEFAULT_PORTS, Signer
from dynamodb_wrapper.config.direct.skew import Skew
from dynamodb_wrapper.config.json_bodies import write_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.config.settings import DynamoDBConfig

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """What came of an attempt, if not a clean answer.

    Attributes:
        outcome: An `Answer`, or botocore's exception.
        begun: When the attempt began, in monotonic seconds.
    """

    outcome: Any
    begun: float


class EarlyTransport:
    """Makes first attempts as long as nobody but this library can take part in them.

    Args:
        road: How the endpoint is reached.
        signer: Makes the heads of requests.
        pool_size: Idle connections that are kept.
        surroundings: Know who else could take part.
    """

    def __init__(
        self, road: Road, signer: Signer, pool_size: int, surroundings: Surroundings
    ) -> None:
        self._pool = Pool(road, pool_size)
        self._signer = signer
        self._surroundings = surroundings
        self._clock = Clock()

    def attempt(self, operation: str, request: Mapping[str, Any]) -> RawResponse | Ended | None:
        """Return the response to a request, or what came instead; None where the client must send.

        Args:
            operation: ``GetItem`` …
            request: Its parameters.
        """
        why_not = self._surroundings.found()
        if why_not is None and names_an_account(request):
            why_not = "a table is named by its ARN"
        if why_not is not None:
            logger.debug("The boto3 client is needed: %s.", why_not)
            return None
        begun, body = time.monotonic(), write_body(request)
        try:
            answer = self._pool.exchange(self._signer.head(operation, body) + body)
        except Exception as error:
            from botocore.exceptions import ConnectionError, HTTPClientError

            if not isinstance(error, (ConnectionError, HTTPClientError)):
                raise
            return Ended(error, begun)
        if answer.is_clean:
            self._clock.compare(answer.headers.get("date"))
            return RawResponse({}, answer.body)
        if Skew().explains(answer):  # corrected by the transport of the client
            return None
        return Ended(answer, begun)

    def close(self) -> None:
        """Close the idle connections; new ones can be made."""
        self._pool.close()

    def end(self) -> None:
        """Close all connections, the busy ones after their use."""
        self._pool.end()


def early_transport(config: DynamoDBConfig) -> EarlyTransport | None:
    """Return what makes first attempts without a client; None where the client is needed at once.

    Args:
        config: Leads to the client.
    """
    surroundings = Surroundings()
    why_not = surroundings.found() or setting_for_the_client(config, os.environ)
    if why_not is not None:
        logger.debug("The boto3 client is made at once: %s.", why_not)
        return None
    try:
        road = _road_to(endpoint_of(config), config)
    except OSError as error:
        logger.debug("The boto3 client is made at once: %s.", error)
        return None
    logger.debug("The boto3 client of %s is made when it is needed.", road.url)
    pool_size = config.max_pool_connections
    return EarlyTransport(road, _signer(road.url, config), pool_size, surroundings)


def endpoint_of(config: DynamoDBConfig) -> str:
    """Return where the requests of a config go, in AWS's commercial partition."""
    url = config.endpoint_url or f"https://dynamodb.{config.region_name}.amazonaws.com"
    return url.rstrip("/")


def _road_to(url: str, config: DynamoDBConfig) -> Road:
    parts, longest = urlsplit(url), config.operation_timeout_seconds
    return Road(
        url=f"{url}/",
        host=str(parts.hostname),
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        tls=secured_by(authorities()) if parts.scheme == "https" else None,
        proxy=None,
        connect_timeout=min(config.connect_timeout_seconds, longest),
        read_timeout=min(config.read_timeout_seconds, longest),
    )


def _signer(url: str, config: DynamoDBConfig) -> Signer:
    """Return what makes requests like those of the client."""
    keys, signed = keys_of(config), "content-type;host;x-amz-date;x-amz-target"
    headers = {
        "x-amz-target": "DynamoDB_20120810.",
        "content-type": "application/x-amz-json-1.0",
        "user-agent": f"dynamodb-wrapper lang/python#{platform.python_version()}",
        "amz-sdk-request": f"attempt=1; max={config.max_attempts}",
    }
    if keys.token:
        headers["x-amz-security-token"] = keys.token
        signed = signed.replace("x-amz-target", "x-amz-security-token;x-amz-target")
    return Signer(url, headers, signed, (str(config.region_name), "dynamodb"), keys, Skew())


def authorities() -> str:
    """Return the file of the authorities that botocore trusts.

    Raises:
        OSError: It is not there.
    """
    try:
        from certifi import where
    except ImportError:
        spec = find_spec("botocore")
        assert spec is not None  # noqa: S101 - it is a dependency
        (place, *_) = spec.submodule_search_locations or ("",)
        path = os.path.join(place, "cacert.pem")
    else:
        path = where()
    os.stat(path)
    return path


@lru_cache(maxsize=1)
def secured_by(path: str) -> ssl.SSLContext:
    """Return what secures connections as botocore does.

    Args:
        path: File of the authorities.

    Raises:
        OSError: They cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.post_handshake_auth = True
    context.load_verify_locations(cafile=path)
    return context
