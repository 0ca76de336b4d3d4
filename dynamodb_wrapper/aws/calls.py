"""Send one request to DynamoDB: measure its units, translate its errors, resend on conflicts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dynamodb_wrapper.aws.client import Connection
from dynamodb_wrapper.aws.errors import CONFLICT_CODES, translate
from dynamodb_wrapper.aws.raw_replies import DATA_OPERATIONS, reply_of, send_through_client
from dynamodb_wrapper.aws.retries import Backoff, maybe_applied
from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    IndexNotFoundError,
    TableNotFoundError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.serialization.json_body import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = SafeLogger(__name__)
OPERATIONS = tuple(
    sorted(
        {
            *DATA_OPERATIONS,
            "CreateTable",
            "DescribeContinuousBackups",
            "DescribeTable",
            "DescribeTimeToLive",
            "UpdateContinuousBackups",
            "UpdateTable",
            "UpdateTimeToLive",
        }
    )
)
_METHODS = {name: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in OPERATIONS}
_WRITES = frozenset({"BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"})
_MAX_BITS = 64
_adding = threading.RLock()  # a signal handler may send a request while a thread adds


@dataclass
class Consumed:
    """Capacity that requests consumed, as DynamoDB reported it.

    Attributes:
        read_units: Read units; 0 where an engine reports none.
        write_units: Write units.
        requests: Number of requests answered.
    """

    read_units: float = 0.0
    write_units: float = 0.0
    requests: int = 0

    def add(self, other: Consumed) -> None:
        """Add what other requests consumed; safe from several threads."""
        with _adding:
            self.read_units += other.read_units
            self.write_units += other.write_units
            self.requests += other.requests


_meters: ContextVar[tuple[tuple[object, Consumed], ...]] = ContextVar("meters", default=())


@dataclass(frozen=True)
class Caller:
    """Sends the requests of one repository.

    Attributes:
        connection: Provides this process's client.
        table_name: The table as DynamoDB knows it.
        limit_seconds: Time for one operation, resending included.
    """

    connection: Connection
    table_name: str
    limit_seconds: float
    token: object = field(default_factory=object, repr=False)

    @property
    def client(self) -> Any:
        """The boto3 client of this process."""
        return self.connection.client

    def backoff(self) -> Backoff:
        """Return the waits of one operation."""
        return Backoff(self.limit_seconds)

    def call(
        self,
        operation: str,
        request: dict[str, Any],
        *,
        key: Mapping[str, Any] | None = None,
        meter: Consumed | None = None,
    ) -> dict[str, Any]:
        """Send and measure a request; return the response as boto3 does."""
        response = self.fetch(operation, request, key=key).parsed()
        self.measure(operation, response.get("ConsumedCapacity"), meter)
        return response

    def fetch(
        self, operation: str, request: dict[str, Any], *, key: Mapping[str, Any] | None = None
    ) -> Reply:
        """Send a request and return the unread reply; call `measure` after reading it.

        A conflict with a transaction is resent with full jitter: the SDK resends throttles and
        server errors, but not conflicts. An error has `maybe_applied` if any attempt may have been.
        """
        if operation in DATA_OPERATIONS:
            request = {"ReturnConsumedCapacity": "TOTAL", **request}
        refused: DynamoDBWrapperError | None = None
        for _ in self.backoff().waits():
            try:
                return self._send(operation, request, key)
            except DynamoDBWrapperError as error:
                if refused is not None and refused.maybe_applied:
                    error.maybe_applied = True
                if not isinstance(error, ThrottledError) or error.error_code not in CONFLICT_CODES:
                    raise
                refused = error
        assert refused is not None  # noqa: S101 - the loop ends only after a refusal
        raise refused

    def _send(
        self, operation: str, request: dict[str, Any], key: Mapping[str, Any] | None
    ) -> Reply:
        try:
            return self._exchange(operation, request)
        except Exception as error:
            ours = translate(
                error,
                operation=operation,
                table_name=self.table_name,
                key=key,
                client=self.client,
            )
            if ours is None:
                raise
            ours.maybe_applied = operation in _WRITES and maybe_applied(error)
            raise self._missing_index(request, ours) or ours from error

    def _exchange(self, operation: str, request: dict[str, Any]) -> Reply:
        name = _METHODS[operation]
        direct = self.connection.direct if operation in DATA_OPERATIONS else None
        if direct is not None:
            return reply_of(direct.send(operation, name, request))
        return self._through_client(name, request)

    def _through_client(self, method: str, request: dict[str, Any]) -> Reply:
        sent = time.monotonic()
        try:
            response = send_through_client(self.client, method, request)
        except ClientError as error:
            self.connection.note_date(error.response, sent)
            raise
        self.connection.note_date(response, sent)
        return reply_of(response)

    def _missing_index(
        self, request: Mapping[str, Any], error: DynamoDBWrapperError
    ) -> IndexNotFoundError | None:
        """Return the error for a missing index, found by describing the table: engines differ."""
        index = request.get("IndexName")
        if index is None or not isinstance(error, (ValidationError, TableNotFoundError)):
            return None
        try:
            described = self._send("DescribeTable", {"TableName": self.table_name}, None)
        except DynamoDBWrapperError as failure:
            logger.debug("Table %s cannot be described: %s", self.table_name, failure)
            return None
        table = described.parsed()["Table"]
        if index in {i["IndexName"] for i in table.get("GlobalSecondaryIndexes", [])}:
            return None
        return IndexNotFoundError(
            f"Table {self.table_name!r} has no index {index!r}; create_table() adds it.",
            table_name=self.table_name,
            operation=error.operation,
            error_code=error.error_code,
            request_id=error.request_id,
            index_name=index,
        )

    def measure(self, operation: str, capacity: Any, meter: Consumed | None = None) -> None:
        """Add the capacity that a reply reports to the meter and to every open `consumed` block."""
        used = consumed_by(operation, capacity)
        if meter is not None:
            meter.add(used)
        for token, open_meter in _meters.get():
            if token is self.token:
                open_meter.add(used)

    @contextmanager
    def consumed(self) -> Iterator[Consumed]:
        """Measure what the requests of this repository consume inside the block."""
        meter = Consumed()
        before = _meters.get()
        try:  # begun before it is set: a signal handler may raise in between
            _meters.set((*before, (self.token, meter)))
            yield meter
        finally:
            _meters.set(before)


def consumed_by(operation: str, capacity: Any) -> Consumed:
    """Return the capacity that the ``ConsumedCapacity`` of a reply reports."""
    entries = capacity if isinstance(capacity, list) else [capacity]
    found: list[Any] = [e.get("CapacityUnits") for e in entries if isinstance(e, dict)]
    units = float(sum(filter(_is_amount, found)))
    if operation in _WRITES:
        return Consumed(write_units=units, requests=1)
    return Consumed(read_units=units, requests=1)


def _is_amount(value: Any) -> bool:
    """Return whether a value of a possibly damaged reply is a number that fits a float."""
    if isinstance(value, int):
        return value.bit_length() <= _MAX_BITS
    return isinstance(value, float)


def botocore_error(error: BaseException) -> Any:
    """Return the response of the botocore error behind one of ours, an empty dict without one."""
    return getattr(error.__cause__, "response", None) or {}
