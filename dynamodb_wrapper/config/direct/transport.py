"""First attempts of data operations, made past the boto3 client.

Most requests are answered at the first attempt, and for these the client is by far the largest
cost. Whatever comes instead of a clean answer is handed to the client as what came of its own first
attempt. So errors, retries, their quota and their waits are the client's, in every version of it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionError, HTTPClientError

from dynamodb_wrapper.config.bodies import RawResponse, sent_by
from dynamodb_wrapper.config.direct import first_attempt
from dynamodb_wrapper.config.direct.pool import Pool
from dynamodb_wrapper.config.direct.signing import Signer, UnknownSignatureError
from dynamodb_wrapper.config.direct.skew import Skew
from dynamodb_wrapper.config.json_bodies import write_body
from dynamodb_wrapper.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.config.clock import Clock
    from dynamodb_wrapper.config.direct.listeners import Listeners
    from dynamodb_wrapper.config.direct.replies import Answer
    from dynamodb_wrapper.config.direct.settings import Settings

logger = logging.getLogger(__name__)

_RETRY_QUOTA = 500


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
        listeners: Know who else takes part.
        settings: How endpoints are reached.
        clock: Sees the dates of replies.
        is_demanded: Whether a signature that is not known is an error.
    """

    def __init__(
        self,
        client: Any,
        credentials: Any,
        listeners: Listeners,
        settings: Settings,
        clock: Clock,
        is_demanded: bool,
    ) -> None:
        self._client = client
        self._credentials = credentials
        self.listeners = listeners
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
        first_attempt.register(client)
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
        with first_attempt.attempted(outcome, begun, self._client.meta.endpoint_url):
            return sent_by(self._client, method, request)

    def close(self) -> None:
        """Close the idle connections; new ones can be made."""
        way = self._way
        if way is not None:
            way.pool.close()

    def _way_now(self, method: str, request: Mapping[str, Any]) -> _Way | None:
        """Return how to send a request; None where only the client can."""
        why_not = self.listeners.found()
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
            with first_attempt.prepared_only():
                sent_by(self._client, method, request)
        except first_attempt.PreparedOnly as found:
            return found.request
        raise RuntimeError("The boto3 client answered a request without sending it.")

    def _give_quota_back(self, operation: str) -> None:
        """Tell the client of a success: each gives it back a part of its quota of retries."""
        self._quota_used -= 1
        self._client.meta.events.emit(
            f"after-call.dynamodb.{operation}",
            http_response=first_attempt.response(self._client.meta.endpoint_url, 200, {}, b""),
            parsed={},
            model=self._client.meta.service_model.operation_model(operation),
            context={},
        )

    def _correct_date(self, request: Any, **_: Any) -> None:
        """Sign what the client sends by DynamoDB's clock, if this machine's is wrong."""
        way = self._way
        if self._skew.seconds and way is not None and not first_attempt.is_prepared_only():
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
