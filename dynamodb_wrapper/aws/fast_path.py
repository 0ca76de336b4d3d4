"""Send the first attempt of a data operation without botocore.

Most requests are answered at the first attempt, where botocore is by far the largest cost. If the
first attempt fails for any reason, botocore takes over and treats it as its own first attempt: it
decides on errors, retries, the retry quota and waits, in every version. Its further attempts use
connections of this library as well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionError, HTTPClientError

from dynamodb_wrapper.aws.clock import ClockOffset, ServiceClock
from dynamodb_wrapper.aws.http_pool import Answer, ConnectionSettings, Pool, connection_settings_of
from dynamodb_wrapper.aws.interception import Interception, TrackingEmitter
from dynamodb_wrapper.aws.raw_replies import RawResponse, attempt_for, in_boto3, send_through_client
from dynamodb_wrapper.aws.signing import Signer, UnknownSignatureError, head_of
from dynamodb_wrapper.exceptions.errors import ConfigurationError
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.serialization.json_body import write_body

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger = SafeLogger(__name__)
_RETRY_QUOTA = 500
_UNSUPPORTED_HANDLERS = {
    "botocore.discovery": "endpoint discovery (AWS_ENDPOINT_DISCOVERY_ENABLED) is on",
    "botocore.monitoring": "client-side monitoring (AWS_CSM_ENABLED) is on",
}


class _PreparedError(Exception):
    """A request was prepared and is not to be sent.

    Attributes:
        request: The prepared request.
    """

    def __init__(self, request: Any) -> None:
        super().__init__("a request was prepared and not sent")
        self.request = request


class _PreparedOnly:
    """Has a call prepare its request and raise `_PreparedError` instead of sending it."""

    started: float | None = None

    def answer(self, request: Any) -> Any:
        raise _PreparedError(request)


class _Continued:
    """Has a call use the outcome of a first attempt made directly.

    Its later attempts are sent over new connections of the pool, where the time of a reply is
    limited as a whole.

    Args:
        outcome: The answer, or botocore's exception where there was none.
        started: When the attempt began, in monotonic seconds.
        pool: Makes the connections.
    """

    def __init__(self, outcome: Answer | Exception, started: float, pool: Pool) -> None:
        self._outcome: Answer | Exception | None = outcome
        self.started: float | None = started
        self._pool = pool

    def answer(self, request: Any) -> Any:
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            sent = head_of(request, self._pool.endpoint.request_lines) + request.body
            outcome = self._pool.exchange(sent, is_new=True)
        if isinstance(outcome, Exception):
            raise outcome
        return response(request.url, outcome.status, outcome.headers, outcome.body)


def _answer_attempt(request: Any, **_: Any) -> Any:
    attempt = attempt_for(request.body)
    return None if attempt is None else attempt.answer(request)


def response(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return a response as botocore's own connections give it."""
    return AWSResponse(url, status, headers, _Content(body))  # type: ignore[arg-type]  # any mapping


class _Content:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content

    def read(self, *_: Any) -> bytes:
        return self._content


@dataclass(frozen=True)
class _Sender:
    """Signer and connections, for as long as the credentials stay the same."""

    credentials: Any = field(repr=False)
    signer: Signer
    pool: Pool

    def exchange(self, operation: str, body: bytes) -> Answer:
        head = self.signer.head(operation, body, self.pool.endpoint.request_lines)
        return self.pool.exchange(head + body)


class DirectTransport:
    """Sends the data operations of one client.

    Args:
        client: Prepares the first request, and takes over after a failure.
        credentials: The client's; botocore renews them in time.
        interception: Finds the tools that must see each request.
        settings: How endpoints are reached.
        clock: Learns from the dates of replies.
        is_required: Whether an unknown signature is an error.
    """

    def __init__(
        self,
        client: Any,
        credentials: Any,
        interception: Interception,
        settings: ConnectionSettings,
        clock: ServiceClock,
        is_required: bool,
    ) -> None:
        self._client = client
        self._credentials = credentials
        self.interception = interception
        self._settings = settings
        self._clock = clock
        self._is_required = is_required
        self._sender: _Sender | None = None
        self._unsupported: Any = None  # credentials whose signatures `signing` does not know
        self._last_reason: str | None = None
        self._quota_used = 0
        self._offset = ClockOffset()
        self.requests = 0
        """Requests answered at the first attempt, without boto3."""
        client.meta.events.register_first("before-send.dynamodb", _answer_attempt)
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
        sender = self._current_sender(method, request)
        if sender is None:
            return send_through_client(self._client, method, request)
        started = time.monotonic()
        body = write_body(request)
        try:
            answer = sender.exchange(operation, body)
            if self._offset.learn_from(answer):
                answer = sender.exchange(operation, body)
        except (ConnectionError, HTTPClientError) as error:
            return self._fall_back(_Continued(error, started, sender.pool), method, request)
        if not answer.is_clean:
            return self._fall_back(_Continued(answer, started, sender.pool), method, request)
        self.requests += 1
        self._clock.note(answer.headers.get("date"), started)
        if self._quota_used:
            self._release_quota(operation)
        return RawResponse({}, answer.body)

    def _fall_back(
        self, attempt: _Continued, method: str, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Let botocore continue after a failed first attempt, and return the response."""
        self._quota_used = _RETRY_QUOTA
        return send_through_client(self._client, method, request, attempt)

    def close(self) -> None:
        """Close the idle connections; new ones can be made."""
        sender = self._sender
        if sender is not None:
            sender.pool.close()

    def _current_sender(self, method: str, request: Mapping[str, Any]) -> _Sender | None:
        """Return the sender of a request; None where boto3 must send it."""
        reason = self.interception.found()
        if reason is None and _names_an_arn(request):
            reason = "a table is named by its ARN, which may choose another endpoint"
        if reason is None and self._credentials is None:
            reason = "there are no credentials"
        if reason is not None:
            self._log_reason(reason)
            return None
        credentials = in_boto3(self._credentials.get_frozen_credentials)
        sender = self._sender
        if sender is not None and sender.credentials == credentials:
            return sender
        if credentials == self._unsupported and not self._is_required:
            return None
        self._sender = self._learn_sender(credentials, method, request)
        return self._sender

    def _learn_sender(
        self, credentials: Any, method: str, request: Mapping[str, Any]
    ) -> _Sender | None:
        """Return a sender that signs as the client does, None where that is not possible."""
        prepared = self._prepared(method, request)
        try:
            signer = Signer.like(prepared, credentials, self._offset)
            endpoint = self._settings.endpoint_for(prepared.url)
        except (UnknownSignatureError, OSError) as error:
            if credentials == self._credentials.get_frozen_credentials():
                self._refuse_signature(credentials, error)
            self._log_reason(f"a request was prepared and {error}")
            return None
        before = self._sender
        pool = before.pool if before is not None and before.pool.endpoint == endpoint else None
        return _Sender(credentials, signer, pool or Pool(endpoint, self._settings.pool_size))

    def _refuse_signature(self, credentials: Any, error: Exception) -> None:
        self._unsupported = credentials
        if self._is_required:
            raise ConfigurationError(
                f"transport='direct' cannot be used: a request was prepared and {error}. Leave the "
                "signature and AWS_CA_BUNDLE to their defaults, or choose transport='auto'."
            ) from error

    def _prepared(self, method: str, request: Mapping[str, Any]) -> Any:
        try:
            send_through_client(self._client, method, request, _PreparedOnly())
        except _PreparedError as found:
            return found.request
        raise RuntimeError("The boto3 client answered a request without sending it.")

    def _release_quota(self, operation: str) -> None:
        """Report a success to botocore: each returns a part of the retry quota it has used."""
        self._quota_used -= 1
        in_boto3(
            self._client.meta.events.emit,
            event_name=f"after-call.dynamodb.{operation}",
            http_response=response(self._client.meta.endpoint_url, 200, {}, b""),
            parsed={},
            model=self._client.meta.service_model.operation_model(operation),
            context={},
        )

    def _correct_date(self, request: Any, **_: Any) -> None:
        """Sign what boto3 sends by DynamoDB's clock, if this machine's is wrong."""
        sender = self._sender
        if not self._offset.seconds or sender is None:
            return
        if not isinstance(attempt_for(request.data), _PreparedOnly):
            sender.signer.sign_again(request)

    def _log_reason(self, reason: str) -> None:
        if reason != self._last_reason:
            self._last_reason = reason
            logger.debug("Requests are sent by the boto3 client: %s.", reason)


def _names_an_arn(request: Mapping[str, Any]) -> bool:
    """Return whether a table is named by its ARN."""
    names = [*request.get("RequestItems", ()), request.get("TableName", "")]
    for action in request.get("TransactItems", ()):
        names += [asked["TableName"] for asked in action.values()]
    return any(name.startswith("arn:") for name in names)


def direct_transport(
    client: Any,
    session: Any,
    events: TrackingEmitter,
    clock: ServiceClock,
    *,
    operation_timeout: float,
    is_required: bool,
) -> DirectTransport | None:
    """Return the transport of a client; None where its settings need boto3's.

    Args:
        client: A client that was just made.
        session: The botocore session it was made with.
        events: The emitter that session was made with.
        clock: Learns from the dates of replies.
        operation_timeout: Seconds after which no further attempt of an operation starts.
        is_required: Whether it is an error that a setting needs boto3.

    Raises:
        ConfigurationError: It is required, and a setting is not supported; it is named.
    """
    try:
        _check_handlers(events)
        settings = connection_settings_of(client, session, operation_timeout)
    except ConfigurationError as error:
        if is_required:
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
    return DirectTransport(client, credentials, interception, settings, clock, is_required)


def _check_handlers(events: TrackingEmitter) -> None:
    for other in events.foreign:
        for module, setting in _UNSUPPORTED_HANDLERS.items():
            if str(getattr(other.handler, "__module__", "")).startswith(module):
                raise ConfigurationError(f"{setting}.")
