"""Concurrency, rate limit and progress for many requests of one operation."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Callable, Generic, NamedTuple, TypeVar

from dynamodb_wrapper.aws.calls import Consumed
from dynamodb_wrapper.aws.retries import THROTTLES, on_throttle
from dynamodb_wrapper.exceptions.errors import ThrottledError, ValidationError
from dynamodb_wrapper.models import arguments

PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")
_WORKERS = 4
"""Requests of a batch under way at once, unless the caller gives another number."""
_FEW = 4
"""Up to this number of requests are sent without threads."""
MAX_WORKERS = 256
_LEAST_SHARE = 1 / 64
_RECOVERY_PER_SECOND = 1.1


class Progress(NamedTuple):
    """The progress of an operation of many requests.

    Attributes:
        items: Items read or written.
        bytes: Bytes of the items on the wire.
        units: Read or write units consumed, as DynamoDB reported them.
        requests: Requests answered.
    """

    items: int = 0
    bytes: int = 0
    units: float = 0.0
    requests: int = 0


class RateLimiter:
    """Keeps the units that requests consume below a rate, on average over seconds.

    What a request will consume is not known before its reply. So a request is sent whenever nothing
    is owed, and the units it consumed are owed afterwards. Throttling halves the rate, which
    recovers by a tenth each second. Safe to share between threads, and between operations.

    Args:
        units_per_second: Read or write units.
        clock: Monotonic seconds.
        sleep: Waits seconds.
    """

    def __init__(
        self,
        units_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        rate: Any = units_per_second
        if isinstance(rate, bool) or not isinstance(rate, Real) or not float(rate) > 0:
            raise ValidationError(
                f"The rate is {units_per_second!r}; it is a number of units per second above 0."
            )
        self._most = self._rate = float(units_per_second)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.RLock()  # a signal handler may send a request meanwhile
        self._owed = 0.0
        self._at = clock()

    @property
    def units_per_second(self) -> float:
        """The rate at the moment."""
        with self._lock:
            self._pass()
            return self._rate

    def wait(self) -> None:
        """Wait until nothing is owed."""
        while True:
            with self._lock:
                self._pass()
                if self._owed <= 0:
                    return
                seconds = self._owed / self._rate
            self._sleep(seconds)

    def consumed(self, units: float) -> None:
        """Record what a request has consumed."""
        with self._lock:
            self._pass()
            self._owed += units

    def throttled(self) -> None:
        """Record that DynamoDB throttled a request."""
        with self._lock:
            self._pass()
            self._rate = max(self._rate / 2, self._most * _LEAST_SHARE)

    def _pass(self) -> None:
        now = self._clock()
        passed, self._at = max(0.0, now - self._at), now
        self._owed = max(0.0, self._owed - passed * self._rate)
        self._rate = min(self._most, self._rate * _RECOVERY_PER_SECOND**passed)


@dataclass
class Flow:
    """Workers, rate limit and progress of the requests of one operation.

    Attributes:
        workers: Requests under way at once, in as many threads; None chooses by their number.
        limiter: Holds requests back; None sends them at once.
        on_progress: Called in the caller's thread after every reply.
    """

    workers: int | None = None
    limiter: RateLimiter | None = None
    on_progress: Callable[[Progress], object] | None = None
    _so_far: Progress = field(default_factory=Progress, repr=False)

    def __post_init__(self) -> None:
        if self.on_progress is not None:
            arguments.function("on_progress", self.on_progress, "called with a Progress")
        if self.workers is None:
            return
        is_number = isinstance(self.workers, int) and not isinstance(self.workers, bool)
        if not is_number or not 1 <= self.workers <= MAX_WORKERS:
            raise ValidationError(
                f"workers is {self.workers!r}; it is the number of requests under way at once, "
                f"1 to {MAX_WORKERS}."
            )

    def workers_for(self, requests: int | None) -> int:
        """Return how many of a number of requests are sent at once; None: the number is unknown."""
        if self.workers is not None:
            return self.workers
        return 1 if requests is not None and requests <= _FEW else _WORKERS

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait until the next request may be sent; slow down when its attempts are throttled.

        Our own clients report each throttled attempt; a client that was passed in shows only the
        error after the last one.
        """
        if self.limiter is None:
            yield
            return
        self.limiter.wait()
        reported = []

        def report() -> None:
            reported.append(True)
            self.throttled()

        try:
            with on_throttle(report):
                yield
        except ThrottledError as error:
            if not reported and error.error_code in THROTTLES:
                self.throttled()
            raise

    def consumed(self, units: float) -> None:
        """Record what a request has consumed."""
        if self.limiter is not None:
            self.limiter.consumed(units)

    def throttled(self) -> None:
        """Record that DynamoDB throttled a request."""
        if self.limiter is not None:
            self.limiter.throttled()

    def advance(self, items: int, size_bytes: int, used: Consumed) -> None:
        """Add the result of a request and report the progress."""
        before = self._so_far
        self._so_far = Progress(
            before.items + items,
            before.bytes + size_bytes,
            before.units + used.read_units + used.write_units,
            before.requests + used.requests,
        )
        if self.on_progress is not None:
            self.on_progress(self._so_far)


def limiter_of(rate: float | RateLimiter | None) -> RateLimiter | None:
    """Return the limiter for the argument ``rate``.

    Raises:
        ValidationError: It is neither a limiter nor a rate.
    """
    if rate is None or isinstance(rate, RateLimiter):
        return rate
    try:
        return RateLimiter(rate)
    except ValidationError:
        raise ValidationError(
            f"rate is {rate!r}; it is a number of units per second above 0, or a RateLimiter."
        ) from None


@dataclass
class Done(Generic[PartT, ResultT]):
    """A part of the work that has ended.

    Attributes:
        part: The part.
        result: What the work returned; None after an error.
        error: The exception it raised.
    """

    part: PartT
    result: ResultT | None = None
    error: Exception | None = None


def side_by_side(
    work: Callable[[PartT], ResultT],
    parts: Iterable[PartT],
    workers: int,
    *,
    apart: Callable[[PartT, PartT], bool] = lambda *_: False,
    follow_up: Callable[[Done[PartT, ResultT]], PartT | None] = lambda _: None,
) -> Generator[Done[PartT, ResultT], None, None]:
    """Work on parts in threads and yield each when it has ended. The one worker pool.

    A further part is taken only when a thread is free and the caller has dealt with the last one
    yielded, so at most `workers` parts are in memory. Threads run in a copy of the caller's context
    variables. Close the generator to stop early: parts that have not started are cancelled, those
    under way are waited for.

    Args:
        work: Called with a part.
        parts: Taken one after the other, in the caller's thread.
        workers: Parts under way at once; with one everything runs in the caller's thread.
        apart: Whether a part must wait until an earlier one has ended.
        follow_up: Called in the caller's thread when a part has ended, before it is yielded;
            returns a part that continues it, which begins at once, or None.
    """
    if workers == 1:
        yield from _one_after_the_other(work, parts, follow_up)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="dynamodb-wrapper") as pool:
        under_way: dict[Future[Done[PartT, ResultT]], PartT] = {}

        def submit(part: PartT) -> None:
            under_way[pool.submit(copy_context().run, _done, work, part)] = part

        def completed() -> Iterator[Done[PartT, ResultT]]:
            finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in finished:
                del under_way[future]
            for future in finished:
                done = future.result()
                following = follow_up(done)
                if following is not None:
                    submit(following)
                yield done

        try:
            for part in parts:
                while len(under_way) == workers or any(apart(p, part) for p in under_way.values()):
                    yield from completed()
                submit(part)
            while under_way:
                yield from completed()
        finally:
            for future in under_way:
                future.cancel()


def _one_after_the_other(
    work: Callable[[PartT], ResultT],
    parts: Iterable[PartT],
    follow_up: Callable[[Done[PartT, ResultT]], PartT | None],
) -> Iterator[Done[PartT, ResultT]]:
    for first in parts:
        part: PartT | None = first
        while part is not None:
            done = _done(work, part)
            part = follow_up(done)
            yield done


def _done(work: Callable[[PartT], ResultT], part: PartT) -> Done[PartT, ResultT]:
    try:
        return Done(part, work(part))
    except Exception as error:  # noqa: BLE001 - the caller deals with it
        return Done(part, error=error)
