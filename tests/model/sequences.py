"""Runs the library's sequences one call at a time.

A sequence that waits for a reply is the list of the replies it has had: it is run again from its
beginning with these, until it asks for what is not in the list. So any number of sequences can be
interleaved in any order, and each is the library's own code.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Optional, Union

from botocore.exceptions import ClientError, ReadTimeoutError

from dynamodb_wrapper.aws.errors import translate
from dynamodb_wrapper.exceptions import DynamoDBWrapperError
from tests.model.items import ITEMS
from tests.model.library import TABLE, Library, Sightings
from tests.model.table import Reply, Request, understand

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTEMPTS = 4
CLOCK = "reads the clock"
LOOK = "judges a lease"
_CHUNKS = ("#log#", "#err#")
"""What is beside a run and decides nothing: in the model no run has it."""


class Result(NamedTuple):
    """How a sequence ended, and the runs it has seen."""

    value: Any = None
    error: Optional[DynamoDBWrapperError] = None
    seen: Sightings = ()


Question = Union[Request, str, Result]


class Place:
    """A place in a sequence: what has been answered so far; equal ones are one object.

    A sequence that reads the clock again is where it was when it read it first: `start` forgets
    what it has read when it looks again. Each time that is tried out on one way from there.

    Attributes:
        question: The request it sends, `CLOCK` or `LOOK` where it reads the clock, or its result.
        last: The reply that led here.
        number: Orders places as they were found.
    """

    __slots__ = ("_next", "_replies", "_sequence", "_top", "number", "question")
    _numbers = count()

    def __init__(
        self, sequence: Sequence, replies: tuple[Reply, ...], top: Optional[Place] = None
    ) -> None:
        self.number = next(self._numbers)
        self._sequence = sequence
        self._replies = replies
        self._next: dict[Reply, Place] = {}
        self.question: Question = sequence.run(replies)
        self._top = self if self.question is CLOCK else top

    @property
    def last(self) -> Reply:
        """The reply that led here."""
        return self._replies[-1]

    def after(self, reply: Reply) -> Place:
        """Return the place a reply leads to."""
        if reply not in self._next:
            place = Place(self._sequence, (*self._replies, reply), self._top)
            if place.question is CLOCK and self._top is not None:
                self._top.check_same(place._replies)
                place = self._top
            self._next[reply] = place
        return self._next[reply]

    def check_same(self, replies: tuple[Reply, ...]) -> None:
        """Check that a sequence goes on after these replies as it does from here."""
        place = self
        while place._next:
            further = next(iter(place._next.values()))
            if further is self or isinstance(further.question, Result):
                break
            place = further
        way = place._replies[len(self._replies) :]
        assert self._sequence.run((*replies, *way)) is place.question, "It remembers."


class Sequence(NamedTuple):
    """A call of one of the methods of `Library`."""

    library: type[Library]
    method: str
    arguments: tuple[Any, ...]

    def run(self, replies: tuple[Reply, ...]) -> Question:
        """Return what comes after these replies."""
        replay = Replay(replies)
        library = self.library(replay)
        try:
            value = getattr(library, self.method)(*self.arguments)
        except _AskedError as asked:
            return asked.question
        except DynamoDBWrapperError as error:
            return Result(error=error.with_traceback(None), seen=library.seen)
        return Result(value, seen=library.seen)


_beginnings: dict[Sequence, Place] = {}


def beginning(library: type[Library], method: str, *arguments: Any) -> Place:
    """Return the first place of a sequence."""
    sequence = Sequence(library, method, arguments)
    if sequence not in _beginnings:
        _beginnings[sequence] = Place(sequence, ())
    return _beginnings[sequence]


class _AskedError(BaseException):
    """The sequence asks for what has not been answered; no code of the library catches this."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question


class Replay:
    """A caller that answers from a list, and a clock that does."""

    table_name = TABLE
    limit_seconds = 1.0

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        self._replies = list(replies)

    def backoff(self) -> Replay:
        return self

    def waits(self) -> Iterator[None]:
        """Yield as often as a sequence may try again."""
        yield from [None] * ATTEMPTS

    def clock(self) -> int:
        return self._tick(CLOCK)

    def look(self) -> int:
        return self._tick(LOOK)

    def _tick(self, question: str) -> int:
        if not self._replies:
            raise _AskedError(question)
        return self._replies.pop(0).tick

    def call(self, operation: str, request: dict[str, Any], **_: Any) -> dict[str, Any]:
        if operation == "GetItem" and any(mark in str(request["Key"]) for mark in _CHUNKS):
            return {}
        if not self._replies:
            raise _AskedError(understand(operation, request))
        reply = self._replies.pop(0)
        if reply.kind == "unreachable":
            self._fail(operation, ReadTimeoutError(endpoint_url="model"))
        if reply.kind == "refused":
            self._fail(operation, _refusal(operation, reply))
        name = "Item" if operation == "GetItem" else "Attributes"
        shown = [item for item in map(ITEMS.__getitem__, reply.items) if item is not None]
        return {name: shown[0]} if shown else {}

    def _fail(self, operation: str, error: Exception) -> NoReturn:
        ours = translate(error, operation=operation, table_name=TABLE, key=None, client=self)
        assert ours is not None
        raise ours from error

    @property
    def meta(self) -> Any:
        """What an error text says of the client."""
        return self

    region_name = endpoint_url = "model"


def _refusal(operation: str, reply: Reply) -> ClientError:
    response: dict[str, Any] = {"Error": {"Code": "ConditionalCheckFailedException"}}
    shown = [ITEMS[number] for number in reply.items]
    if operation == "TransactWriteItems":
        response["Error"]["Code"] = "TransactionCanceledException"
        response["CancellationReasons"] = [
            _reason(item, no) for item, no in zip(shown, reply.refused)
        ]
    elif shown[0] is not None:
        response["Item"] = shown[0]
    return ClientError(response, operation)


def _reason(item: Any, refused: bool) -> dict[str, Any]:
    if not refused:
        return {"Code": "None"}
    shown = {} if item is None else {"Item": item}
    return {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", **shown}
