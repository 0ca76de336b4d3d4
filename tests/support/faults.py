"""Faults between client and DynamoDB for the requests of a run, a config or a thread."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from dynamodb_wrapper.aws.client import client_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig

Fault = Callable[[Any], Any]

_NETWORK = URLLib3Session()


class Body:
    """The body of a simulated response."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content

    def read(self, *_: Any) -> bytes:
        return self._content


def passed(request: Any) -> None:
    """Let the request through; for counting."""


def reset(request: Any) -> Any:
    """The connection breaks before DynamoDB sees the request."""
    raise ConnectionClosedError(endpoint_url=request.url)


def silence(request: Any) -> Any:
    """DynamoDB does not answer in time and does nothing."""
    raise ReadTimeoutError(endpoint_url=request.url)


def lost_reply(request: Any) -> Any:
    """DynamoDB executes the request, and the reply is lost."""
    _NETWORK.send(request)
    raise ConnectionClosedError(endpoint_url=request.url)


def answer(code: str, status: int = 400, **more: Any) -> Fault:
    """DynamoDB answers with an error."""

    def respond(request: Any) -> AWSResponse:
        kind = f"com.amazonaws.dynamodb.v20120810#{code}"
        body = json.dumps({"__type": kind, "message": f"{code}, injected", **more}).encode()
        headers = {"x-amzn-requestid": "injected", "content-length": str(len(body))}
        return AWSResponse(request.url, status, headers, Body(body))

    return respond


def cancelled(*codes: str) -> Fault:
    """DynamoDB cancels a transaction, with one code per action."""
    reasons = [{"Code": code, "Message": code} for code in codes]
    return answer("TransactionCanceledException", CancellationReasons=reasons)


def conflict(request: Any) -> Any:
    """DynamoDB finds another transaction on the item."""
    if _operation(request) == "TransactWriteItems":
        return cancelled("TransactionConflict", "None")(request)
    return answer("TransactionConflictException")(request)


def _operation(request: Any) -> str:
    return str(request.headers["X-Amz-Target"].decode().partition(".")[2])


throttle = answer("ThrottlingException")
server_error = answer("InternalServerError", 500)
access_denied = answer("AccessDeniedException")

ALL = {
    "throttle": throttle,
    "conflict": conflict,
    "time-out": silence,
    "reset": reset,
    "lost reply": lost_reply,
    "500": server_error,
    "access denied": access_denied,
}


@contextmanager
def injected(
    client: Any, fault: Fault, *operations: str, after: int = 0, times: int = 1_000_000
) -> Iterator[list[str]]:
    """Inject a fault into attempts of operations.

    Args:
        client: A boto3 client.
        fault: The fault.
        operations: Names of AWS operations; none means all.
        after: Attempts that pass before.
        times: Attempts that meet the fault.

    Yields:
        The operations that met it, in order.
    """
    met: list[str] = []
    seen = [0]

    def meet(request: Any, **_: Any) -> Any:
        operation = _operation(request)
        if operations and operation not in operations:
            return None
        seen[0] += 1
        if not after < seen[0] <= after + times:
            return None
        met.append(operation)
        return fault(request)

    client.meta.events.register("before-send.dynamodb", meet)
    try:
        yield met
    finally:
        client.meta.events.unregister("before-send.dynamodb", meet)


@contextmanager
def outage(config: DynamoDBConfig, fault: Fault = reset, *operations: str) -> Iterator[list[str]]:
    """Inject a fault into every attempt of both clients of a config.

    Args:
        config: The config of the tracker.
        fault: The fault.
        operations: Names of AWS operations; none means all.

    Yields:
        The operations that met it, in order.
    """
    met: list[str] = []

    def meet(request: Any, **_: Any) -> Any:
        operation = _operation(request)
        if operations and operation not in operations:
            return None
        met.append(operation)
        return fault(request)

    clients = [client_for(config), client_for(config.impatient())]
    for client in clients:
        client.meta.events.register("before-send.dynamodb", meet)
    try:
        yield met
    finally:
        for client in clients:
            client.meta.events.unregister("before-send.dynamodb", meet)


@dataclass
class _Plan:
    fault: Fault
    first: int
    last: float
    seen: int = 0
    met: list[str] = field(default_factory=list)


class Troubles:
    """Faults for the requests of single threads, so that many can be tried at once.

    Args:
        clients: The boto3 clients whose attempts are counted together.
    """

    def __init__(self, *clients: Any) -> None:
        self._plans: dict[int, _Plan] = {}
        for client in clients:
            client.meta.events.register("before-send.dynamodb", self._meet)

    def _meet(self, request: Any, **_: Any) -> Any:
        plan = self._plans.get(threading.get_ident())
        if plan is None:
            return None
        plan.seen += 1
        if not plan.first <= plan.seen <= plan.last:
            return None
        plan.met.append(_operation(request))
        return plan.fault(request)

    @contextmanager
    def here(
        self, fault: Fault, *, first: int = 1, times: float = float("inf")
    ) -> Iterator[list[str]]:
        """Inject a fault into attempts of this thread.

        Args:
            fault: The fault.
            first: Number of the first attempt that meets it.
            times: Attempts that meet it.

        Yields:
            The operations that met it, in order.
        """
        plan = self._plans[threading.get_ident()] = _Plan(fault, first, first + times - 1)
        try:
            yield plan.met
        finally:
            del self._plans[threading.get_ident()]
