"""The library's own sequences of calls, set up for the model: only the caller is another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from dynamodb_wrapper.aws.clock import ClockReading
from dynamodb_wrapper.aws.transactions import Action
from dynamodb_wrapper.models import PIPELINE_RUN_LOGS, PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run import WatermarkMove
from dynamodb_wrapper.models.run_state import CursorMove, RunOutcome
from dynamodb_wrapper.repositories.item_requests import ItemRequests
from dynamodb_wrapper.repositories.run_log.finish import RunEnds
from dynamodb_wrapper.repositories.run_log.items import RunReads, read_cursor
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp, LeaseWatch
from dynamodb_wrapper.repositories.run_log.live import LiveRuns, cursor_move
from dynamodb_wrapper.repositories.run_log.protocol import Builder
from dynamodb_wrapper.repositories.run_log.removal import RunRemoval, StoredRun
from dynamodb_wrapper.repositories.run_log.start import RunStarts
from dynamodb_wrapper.repositories.run_log.takeover import StartPlan
from tests.model.items import ITEMS, PIPELINE, WATERMARK, moment
from tests.model.table import BUILT_BY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynamodb_wrapper.models.run_state import Cursor
    from tests.model.expressions import Item

TABLE = "runs"
BY_HAND = "by hand"
BUILT = (
    "start_exclusive count_start start_shared beat request_cancel finish finish_late reap release "
    "note_late_outcome delete_run free_slot"
).split()

REQUESTS = ItemRequests(PIPELINE_RUN_LOGS, TABLE, "model", "test")


def marked(built: Any, by: str) -> Any:
    """Return what a builder made, with the name of its method on every request."""
    if isinstance(built, list):
        return [marked(action, by) for action in built]
    if built is None:
        return None
    if isinstance(built, dict):
        return {**built, BUILT_BY: by}
    return built._replace(request={**built.request, BUILT_BY: by})


class MarkedBuilder(Builder):
    """The library's builder; what it builds says by which method."""

    def move_cursor(self, *args: Any, run: Optional[PipelineRunLog] = None, **more: Any) -> Action:
        action: Action = super().move_cursor(*args, run=run, **more)
        by_hand: Action = marked(action, "move_cursor")
        return action if run is not None else by_hand


_built: dict[Any, Any] = {}
_kept: set[int] = set()


def _said(value: Any) -> Any:
    """Return a value that is equal where what a builder was asked is."""
    if isinstance(value, PipelineRunLog):
        return id(value) if id(value) in _kept else value.model_dump_json()
    if isinstance(value, Action):
        return id(value)
    if isinstance(value, (StartPlan, RunOutcome, CursorMove)):
        return tuple(map(_said, vars(value).values()))
    if isinstance(value, (tuple, frozenset)):
        return tuple(map(_said, value))
    return repr(value) if isinstance(value, dict) else value


def _marking(name: str) -> Callable[..., Any]:
    built = getattr(Builder, name)

    def build(self: Builder, *args: Any, **more: Any) -> Any:
        asked = (type(self), name, _said(args), _said(tuple(more.values())))
        if asked not in _built:
            _built[asked] = marked(built(self, *args, **more), name), args  # ids are of living
        return _built[asked][0]

    return build


for _name in BUILT:
    setattr(MarkedBuilder, _name, _marking(_name))


class Timepiece(NamedTuple):
    """The clock of a machine, and what is known there of DynamoDB's.

    Attributes:
        ahead: By how many ticks the machine's clock is ahead of DynamoDB's.
        knows: Whether replies have shown DynamoDB's clock.
        error: To how many ticks it is known then.
    """

    ahead: int = 0
    knows: bool = True
    error: int = 0

    def read(self, tick: int) -> ClockReading:
        """Return what the library reads at a tick of DynamoDB's clock."""
        if not self.knows:
            return ClockReading(moment(tick + self.ahead, tick))
        ahead = min(max(self.ahead, -self.error), self.error)
        earliest, latest = moment(tick - self.error), moment(tick + self.error)
        return ClockReading(moment(tick + ahead, tick), earliest, latest)


Sightings = tuple[tuple[int, int], ...]
"""The runs an observer has seen, each with the tick; a run that did not change once."""


class Watch:
    """The library's watch of leases, with clocks and memory of the model.

    Args:
        caller: Asks for the tick.
        timepiece: The observer's.
        seen: What it has seen before this call; within a call it forgets.
        kind: The watch.
    """

    def __init__(
        self, caller: Any, timepiece: Timepiece, seen: Sightings, kind: type[LeaseWatch]
    ) -> None:
        self._caller = caller
        self._timepiece = timepiece
        self._before = self.seen = seen
        self._kind = kind

    def read_clock(self) -> ClockReading:
        """Return what the clock shows."""
        return self._timepiece.read(self._caller.clock())

    def is_dead(self, run: PipelineRunLog) -> bool:
        """Return whether a run is dead by what was seen before this call, and now."""
        if run.status.is_terminal:
            return False
        now = self._tick = self._caller.look()
        sightings = (*self._before, (number_of_run(run), now))
        ticks = [tick for _, tick in sightings]
        watch = self._kind(lambda: self._timepiece.read(now), lambda: ticks.pop(0) / 1000)
        verdicts = [watch.is_dead(_record(number)) for number, _ in sightings]
        is_new = not self._before or self._before[-1][0] != sightings[-1][0]
        self.seen = sightings if is_new else self._before
        return verdicts[-1]


class ReapersWatch(Watch):
    """One that needs no second look for the moment of the end."""

    def read_clock(self) -> ClockReading:
        """Return what the clock showed when the run was judged."""
        return self._timepiece.read(self._tick)


class Driver(NamedTuple):
    """A process that starts a run.

    Attributes:
        run_id: Of the run.
        writer: Of its handle.
        run_key: What the run is for.
        exclusive: Whether the pipeline takes one run at a time.
        rerun: Whether a covered run key is run again.
        lease_ticks: How long a lease lasts after the tick it was taken at.
        timepiece: Its clock.
    """

    run_id: str
    writer: str
    run_key: Optional[str] = None
    exclusive: bool = True
    rerun: bool = False
    lease_ticks: int = 0
    timepiece: Timepiece = Timepiece()

    @property
    def run(self) -> PipelineRunLog:
        """The run as the driver wants to start it."""
        return _wanted(self)


@lru_cache(maxsize=64)
def _wanted(driver: Driver) -> PipelineRunLog:
    return PipelineRunLog(
        run_id=driver.run_id,
        pipeline_id=PIPELINE,
        environment="test",
        writer=driver.writer,
        run_key=driver.run_key,
        start_time=moment(0),
        heartbeat_at=moment(0),
        lease_until=moment(driver.lease_ticks),
    )


class Library:
    """The sequences of run control on one caller; what they take and return is plain.

    Args:
        caller: Sends requests, and says what the clock shows.

    Attributes:
        seen: The runs the last start, or reaper, has seen so far.
    """

    BUILDER: type[Builder] = MarkedBuilder
    WATCH: type[LeaseWatch] = LeaseWatch

    def __init__(self, caller: Any) -> None:
        reads = RunReads(caller, decoded)
        build = self.BUILDER(TABLE, "model")
        self._reads = reads
        self._caller = caller
        self._watch: Optional[Watch] = None
        self._starts = RunStarts(reads, build, self.created)
        self._ends = RunEnds(reads, build, lambda outcome: outcome)
        self._life = LiveRuns(reads, build)
        self._removal = RunRemoval(reads, build)

    def created(self, run: PipelineRunLog) -> Action:
        """Return the put of a run that begins."""
        return created(run)

    @property
    def seen(self) -> Sightings:
        """The runs that were seen so far."""
        return () if self._watch is None else self._watch.seen

    def start(self, driver: Driver, seen: Sightings = ()) -> PipelineRunLog:
        """Start a run and return its record."""
        watch: Any = Watch(self._caller, driver.timepiece, seen, self.WATCH)
        self._watch = watch
        begun, _ = self._starts.start(
            driver.run, watch, exclusive=driver.exclusive, rerun=driver.rerun
        )
        return begun

    def stamp(self, timepiece: Timepiece, tick: int, ticks: int) -> LeaseStamp:
        """Return the lease that a driver writes at a tick."""
        return LeaseStamp.of(timepiece.read(tick), timedelta(milliseconds=ticks))

    def read_cursor(self) -> Cursor:
        """Read the watermark."""
        return self._reads.cursor(PIPELINE, WATERMARK)

    def beat(
        self, record: int, known: datetime, driver: Driver, tick: int
    ) -> tuple[Optional[PipelineRunLog], bool]:
        """Renew the lease of a run, which is the one its driver knows; return whether it is new."""
        run = _record(record).model_copy(update={"lease_until": known})
        stamp = self.stamp(driver.timepiece, tick, driver.lease_ticks)
        found = self._life.beat(run, stamp)
        return found, found is not None and found.lease_until == stamp.lease_until

    def finish(self, record: int, status: str, cursor: Optional[int]) -> PipelineRunLog:
        """Finish a run; one that has read the watermark moves it."""
        run = _record(record)
        outcome = RunOutcome(RunStatus(status), end_time=moment(0))
        if cursor is not None:
            move = cursor_move(read_cursor(WATERMARK, ITEMS[cursor]), run.run_id)
            told = {WATERMARK: WatermarkMove(value_type="text", after=run.run_id)}
            outcome = replace(outcome, moves=(move,), fields={"watermarks": told})
        return self._ends.finish(run, outcome)

    def reap(
        self, run_id: str, timepiece: Timepiece, seen: Sightings = ()
    ) -> Optional[PipelineRunLog]:
        """End a run whose lease has run out."""
        watch: Any = ReapersWatch(self._caller, timepiece, seen, self.WATCH)
        self._watch = watch
        return self._ends.reap(run_id, watch)

    def release(self) -> Optional[PipelineRunLog]:
        """Free the pipeline by hand."""
        return self._ends.release(PIPELINE, BY_HAND, moment(0))

    def end(self, run_id: str) -> Optional[PipelineRunLog]:
        """Fail a live run by hand, as `update_run_status` does."""
        run = self._reads.run(run_id)
        if run is None or run.status.is_terminal:
            return None
        return self._ends.finish(run, RunOutcome(RunStatus.FAILED, BY_HAND, end_time=moment(0)))

    def delete(self, run_id: str) -> Optional[StoredRun]:
        """Delete a run that has ended, and free its run key."""
        found = self._removal.find(run_id)
        return None if found is None else self._removal.delete(found, free_run_key=True)

    def reset(self) -> Cursor:
        """Set the watermark by hand."""
        return self._life.reset_watermark(PIPELINE, WATERMARK, BY_HAND, moment(0))

    def cancel(self, run_id: str) -> PipelineRunLog:
        """Ask a run to end itself."""
        return self._life.request_cancel(run_id, "somebody", moment(0))


_decoded: dict[int, tuple[Item, PipelineRunLog]] = {}
_created: dict[str, Action] = {}
_records: dict[str, int] = {}
_numbers: dict[int, int] = {}


def decoded(item: Item) -> PipelineRunLog:
    """Return the run of a stored item; nobody changes it."""
    if id(item) not in _decoded:
        run = REQUESTS.codec.decode(item)
        _decoded[id(item)] = (item, run)
        _kept.add(id(run))
        _numbers[id(run)] = ITEMS.number(item)
    return _decoded[id(item)][1]


def created(run: PipelineRunLog) -> Action:
    """Return the put of a run that begins, as the library makes it; equal runs are made once."""
    text = run.model_dump_json()
    if text not in _created:
        _created[text] = REQUESTS.create(run).as_action()
    return _created[text]


def number_of_run(run: PipelineRunLog) -> int:
    """Return the number of a stored run."""
    return _numbers[id(run)]


def record_of(run: PipelineRunLog) -> int:
    """Return a run as its driver keeps it, without its lease, which is kept apart."""
    no_lease = {"lease_until": moment(0), "heartbeat_at": moment(0), "clock_error_seconds": None}
    kept = run.model_copy(update=no_lease)
    text = kept.model_dump_json()
    if text not in _records:
        _records[text] = ITEMS.number(REQUESTS.codec.encode(kept))
    return _records[text]


def _record(number: int) -> PipelineRunLog:
    return decoded(ITEMS[number] or {})
