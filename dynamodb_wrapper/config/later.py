"""A client that is made when it is needed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Callable

from dynamodb_wrapper.config.bodies import RawResponse, sent_by

if TYPE_CHECKING:
    from dynamodb_wrapper.config.clients import Made
    from dynamodb_wrapper.config.direct import DirectTransport, EarlyTransport


class MadeLater:
    """Stands for a client, and for its transport until there is one.

    Args:
        early: Makes first attempts meanwhile.
        make: Makes the client when it is first called, in any thread; is told whether a request
            was sent that the client has to answer for.
    """

    def __init__(self, early: EarlyTransport, make: Callable[[MadeLater, bool], Made]) -> None:
        self._early = early
        self._make = make
        self.made: Made | None = None

    @property
    def client(self) -> Any:
        """The client."""
        return self._now().client

    @property
    def direct(self) -> DirectTransport | MadeLater | None:
        """What sends data operations past the client; None where the client does."""
        return self if self.made is None else self.made.direct

    def send(self, operation: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a request, as `DirectTransport.send` does."""
        ended = self._early.attempt(operation, request) if self.made is None else None
        if isinstance(ended, RawResponse):
            return ended
        client, direct = self._now(is_sent=ended is not None)
        if direct is not None:
            if ended is None:
                return direct.send(operation, method, request)
            return direct.go_on(*ended, method, request)
        from dynamodb_wrapper.config.direct import first_attempt

        taken: AbstractContextManager[None] = nullcontext()
        if ended is not None:  # its settings have changed meanwhile; the attempt was made even so
            taken = first_attempt.attempted(*ended, client.meta.endpoint_url)
        with taken:
            return sent_by(client, method, request)

    def adopt(self) -> None:
        """Give the client what every client made from now on has."""
        if self.made is not None:
            self.made.adopt()

    def close(self) -> None:
        """Close idle connections."""
        self._early.close()
        if self.made is not None:
            self.made.close()

    def _now(self, *, is_sent: bool = False) -> Made:
        if self.made is not None:
            return self.made
        made = self._make(self, is_sent)
        self._early.end()
        return made
