"""Send the first attempt of a data operation without botocore.

Most requests are answered at the first attempt, where botocore is by far the largest cost. If the
first attempt fails for any reason, botocore takes over and treats it as its own first attempt: it
decides on errors, retries, the retry quota and waits, in every version.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionError, HTTPClientError

from dynamodb_wrapper.aws.clock import Skew
from dynamodb_wrapper.aws.http_pool import Answer, Pool, settings_of
from dynamodb_wrapper.aws.interception import Interception, TrackingEmitter
from dynamodb_wrapper.aws.raw_replies import RawResponse, sent_by
from dynamodb_wrapper.aws.signing import Signer, UnknownSignatureError
from dynamodb_wrapper.exceptions.errors import ConfigurationError
from dynamodb_wrapper.serialization.json_body import write_body

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dynamodb_wrapper.aws.clock import Clock
    from dynamodb_wrapper.aws.http_pool import Settings

logger = logging.getLogger(__name__)
_RETRY_QUOTA = 500
_PARTS_OF_BOTOCORE = {
    "botocore.discovery": "endpoint discovery (AWS_ENDPOINT_DISCOVERY_ENABLED) is on",
    "botocore.monitoring": "client-side monitoring (AWS_CSM_ENABLED) is on",
}


class PreparedOnly(Exception):
    """A request was prepared and not sent.

    Attributes:
        request: What would have been sent.
    """

    def __init__(self, request: Any) -> None:
        super().__init__("a request was prepared and not sent")
        self.request = request


class _Call(threading.local):
    """What is known of the call this thread makes of the client."""

    is_prepared_only = False
    outcome: Any = None
    begun: float | None = None


_call = _Call()


def register(client: Any) -> None:
    """Let first attempts of a client be made without it."""
    client.meta.events.register_first("before-send.dynamodb", _stand_in)


def _stand_in(request: Any, **_: Any) -> Any:
    if _call.is_prepared_only:
        raise PreparedOnly(request)
    outcome, _call.outcome = _call.outcome, None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def begun() -> float | None:
    """Return when the first attempt of this thread's call began, if it was made without it."""
    return _call.begun


def is_prepared_only() -> bool:
    """Whether this thread's call only prepares a request."""
    return _call.is_prepared_only


@contextmanager
def prepared_only() -> Iterator[None]:
    """Have the call inside the block raise `PreparedOnly` instead of sending."""
    _call.is_prepared_only = True
    try:
        yield
    finally:
        _call.is_prepared_only = False


@contextmanager
def attempted(outcome: Answer | Exception, begun: float, url: str) -> Iterator[None]:
    """Have the call inside the block take an outcome for that of its first attempt.

    Args:
        outcome: An answer, or botocore's exception that there was instead.
        begun: When the attempt began, in monotonic seconds.
        url: Where it went.
    """
    came: Any = outcome
    if isinstance(outcome, Answer):
        came = response(url, outcome.status, outcome.headers, outcome.body)
    _call.outcome, _call.begun = came, begun
    try:
        yield
    finally:
        _call.outcome = _call.begun = None


def response(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return a response as the client's own connections give it."""
    return AWSResponse(url, status, headers, _Content(body))  # type: ignore[arg-type]  # any mapping


class _Content:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content

    def read(self, *_: Any) -> bytes:
        return self._content


@dataclass(frozen=True)
class _Way:
    """How requests are sent while the credentials stay the same."""

    credentials: Any = field(repr=False)
    signer: Signer
    pool: Pool

    def exchange(self, operation: str, body: bytes) -> Answer:
        return self.pool.exchange(self.signer.head(operation, body, self.pool.road.begin) + body)


class DirectTransport:
    """Sends the data operations of one client.

    Args:
        client: Prepares the first request, and takes over after a failure.
        credentials: The client's; renewed by botocore when it is time.
        interception: Finds the tools that must see each request.
        settings: How endpoints are reached.
        clock: Sees the dates of replies.
        is_demanded: Whether a signature that is not known is an error.
    """

    def __init__(
        self,
        client: Any,
        credentials: Any,
        interception: Interception,
        settings: Settings,
        clock: Clock,
        is_demanded: bool,
    ) -> None:
        self._client = client
        self._credentials = credentials
        self.interception = interception
        self._settings = settings
        self._clock = clock
        self._is_demanded = is_demanded
        self._way: _Way | None = None
        self._unknown: Any = None  # credentials that make signatures nobody here knows
        self._why_not: str | None = None
        self._quota_used = 0
        self._skew = Skew()
        self.requests = 0
        """Requests answered at the first attempt, past the client."""
        register(client)
        client.meta.events.register_last("request-created.dynamodb", self._correct_date)

    def send(self, operation: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a request.

        Args:
            operation: ``GetItem`` …
            method: The client's method for it.
            request: Its parameters.

        Raises:
            BotoCoreError: As the client raises it.
            ClientError: As the client raises it.
        """
        way = self._way_now(method, request)
        if way is None:
            return sent_by(self._client, method, request)
        begun = time.monotonic()
        body = write_body(request)
        try:
            answer = way.exchange(operation, body)
            if self._skew.explains(answer):
                answer = way.exchange(operation, body)
        except (ConnectionError, HTTPClientError) as error:
            return self._go_on(error, begun, method, request)
        if not answer.is_clean:
            return self._go_on(answer, begun, method, request)
        self.requests += 1
        self._clock.compare(answer.headers.get("date"))
        if self._quota_used:
            self._give_quota_back(operation)
        return RawResponse({}, answer.body)

    def _go_on(
        self, outcome: Answer | Exception, begun: float, method: str, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Have the client go on where a first attempt ended, and return the response.

        Args:
            outcome: An answer that is not clean, or botocore's exception.
            begun: When the attempt began, in monotonic seconds.
            method: The client's method.
            request: Its parameters.
        """
        self._quota_used = _RETRY_QUOTA
        with attempted(outcome, begun, self._client.meta.endpoint_url):
            return sent_by(self._client, method, request)

    def close(self) -> None:
        """Close the idle connections; new ones can be made."""
        way = self._way
        if way is not None:
            way.pool.close()

    def _way_now(self, method: str, request: Mapping[str, Any]) -> _Way | None:
        """Return how to send a request; None where only the client can."""
        why_not = self.interception.found()
        if why_not is None and _names_an_account(request):
            why_not = "a table is named by its ARN, which may choose another endpoint"
        if why_not is None and self._credentials is None:
            why_not = "there are no credentials"
        if why_not is not None:
            self._tell(why_not)
            return None
        credentials = self._credentials.get_frozen_credentials()
        way = self._way
        if way is not None and way.credentials == credentials:
            return way
        if credentials == self._unknown and not self._is_demanded:
            return None
        self._way = self._way_like_the_clients(credentials, method, request)
        return self._way

    def _way_like_the_clients(
        self, credentials: Any, method: str, request: Mapping[str, Any]
    ) -> _Way | None:
        """Learn from the client how it would send a request."""
        prepared = self._prepared(method, request)
        try:
            signer = Signer.like(prepared, credentials, self._skew)
            road = self._settings.road_to(prepared.url)
        except (UnknownSignatureError, OSError) as error:
            if credentials == self._credentials.get_frozen_credentials():
                self._remember_unknown(credentials, error)
            self._tell(f"a request was prepared and {error}")
            return None
        before = self._way
        pool = before.pool if before is not None and before.pool.road == road else None
        return _Way(credentials, signer, pool or Pool(road, self._settings.pool_size))

    def _remember_unknown(self, credentials: Any, error: Exception) -> None:
        self._unknown = credentials
        if self._is_demanded:
            raise ConfigurationError(
                f"transport='direct' cannot be used: a request was prepared and {error}. Leave the "
                "signature and AWS_CA_BUNDLE to their defaults, or choose transport='auto'."
            ) from error

    def _prepared(self, method: str, request: Mapping[str, Any]) -> Any:
        try:
            with prepared_only():
                sent_by(self._client, method, request)
        except PreparedOnly as found:
            return found.request
        raise RuntimeError("The boto3 client answered a request without sending it.")

    def _give_quota_back(self, operation: str) -> None:
        """Tell the client of a success: each gives it back a part of its quota of retries."""
        self._quota_used -= 1
        self._client.meta.events.emit(
            f"after-call.dynamodb.{operation}",
            http_response=response(self._client.meta.endpoint_url, 200, {}, b""),
            parsed={},
            model=self._client.meta.service_model.operation_model(operation),
            context={},
        )

    def _correct_date(self, request: Any, **_: Any) -> None:
        """Sign what the client sends by DynamoDB's clock, if this machine's is wrong."""
        way = self._way
        if self._skew.seconds and way is not None and not is_prepared_only():
            way.signer.sign_again(request)

    def _tell(self, why_not: str) -> None:
        if why_not != self._why_not:
            self._why_not = why_not
            logger.debug("Requests are sent by the boto3 client: %s.", why_not)


def _names_an_account(request: Mapping[str, Any]) -> bool:
    """Whether a table is named by its ARN."""
    names = [*request.get("RequestItems", ()), request.get("TableName", "")]
    for action in request.get("TransactItems", ()):
        names += [asked["TableName"] for asked in action.values()]
    return any(name.startswith("arn:") for name in names)


def direct_transport(
    client: Any, session: Any, events: TrackingEmitter, clock: Clock, *, is_demanded: bool
) -> DirectTransport | None:
    """Return the transport of a client; None where its settings need boto3's.

    Args:
        client: A client that was just made.
        session: The botocore session it was made with.
        events: What that session was made with.
        clock: Sees the dates of replies.
        is_demanded: Whether it is an error if there is none.

    Raises:
        ConfigurationError: It is demanded, and a setting is not supported; it is named.
    """
    try:
        _check_parts(events)
        settings = settings_of(client, session)
    except ConfigurationError as error:
        if is_demanded:
            raise ConfigurationError(
                f"transport='direct' cannot be used: {error} Change that, or choose "
                "transport='auto'."
            ) from error
        logger.debug("The client of %s uses transport 'boto3': %s", client.meta.endpoint_url, error)
        return None
    interception = Interception(client, events)
    credentials = session.get_credentials()
    logger.debug(
        "The client of %s uses transport 'direct': every setting is supported.",
        client.meta.endpoint_url,
    )
    return DirectTransport(client, credentials, interception, settings, clock, is_demanded)


def _check_parts(events: TrackingEmitter) -> None:
    for other in events.foreign:
        for module, setting in _PARTS_OF_BOTOCORE.items():
            if str(getattr(other.handler, "__module__", "")).startswith(module):
                raise ConfigurationError(f"{setting}.")
