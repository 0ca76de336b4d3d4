"""What drivers do next: start, read the watermark, beat, finish, and what they meet on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    ConnectionError,
    RunFinishError,
    ThrottledError,
)
from tests.model.library import Library, record_of
from tests.model.sequences import LOOK, Place, Result, beginning
from tests.model.states import Copy, Next, Process, Step, World
from tests.model.table import UNREACHABLE, Reply, Request, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.scenarios import Scenario


class Drivers:
    """The moves of the drivers of a scenario.

    A crash needs no move of its own: it is a process that moves no more, and what must hold is
    checked in every state. A pause is a process that does not move while the clock does.

    Args:
        scenario: Who is there, and what may happen.
        library: Whose sequences they follow.
        table: Holds the items.
    """

    def __init__(self, scenario: Scenario, library: type[Library], table: Table) -> None:
        self._scenario = scenario
        self._library = library
        self._table = table
        self._drivers = scenario.drivers
        self._names = tuple(
            driver.run_id + (f" by {driver.writer}" if scenario.run_ids else "")
            for driver in self._drivers
        )
        self._outcomes = tuple(map(scenario.outcomes_of, range(len(self._drivers))))
        self._records: dict[Place, int] = {}
        self._first = tuple(beginning(library, "start", driver) for driver in self._drivers)
        self._beating = tuple(map(scenario.beating, self._drivers))

    @property
    def idle(self) -> tuple[Process, ...]:
        """What the drivers know before anything has happened."""
        new = Process("start", beats=self._scenario.beats, tries=self._scenario.tries)
        if self._scenario.cursor_first:
            reading = new._replace(phase="cursor", place=self._sequence("read_cursor"))
            return (reading,) * len(self._first)
        return tuple(new._replace(place=first) for first in self._first)

    def after(self, world: World) -> Iterator[Next]:
        """Yield what drivers, and requests of theirs that are late, can do next."""
        for number, process in enumerate(world.drivers):
            yield from self._driver(world, number, process)
        for copy in sorted(world.late, key=lambda late: (late.sender, late.place.number)):
            yield self._delivery(world, copy)

    def _driver(self, world: World, number: int, process: Process) -> Iterator[Next]:
        if process.phase == "over" or self._waits_for_its_twin(world, number, process):
            return
        if process.phase == "body":
            if process.beats:
                about = process.record, process.lease, self._beating[number], world.clock
                place = self._sequence("beat", *about)
                beating = process._replace(phase="beat", place=place, beats=process.beats - 1)
                yield self._did(world, number, beating, "makes a beat")
            for outcome in self._outcomes[number]:
                ended = self._finishing(process._replace(outcome=outcome))
                yield from self._call(world, number, ended)
        elif process.phase == "spooled":
            yield from self._call(world, number, self._finishing(process))
        else:
            yield from self._call(world, number, process)

    def _waits_for_its_twin(self, world: World, number: int, process: Process) -> bool:
        """Of drivers that are alike, the first begins first: other orders are the same world."""
        if process.place is not self._first[number] or number == 0:
            return False
        twin, other = self._drivers[number - 1], self._drivers[number]
        alike = twin._replace(run_id="", writer="") == other._replace(run_id="", writer="")
        alike = alike and self._outcomes[number - 1] == self._outcomes[number]
        return alike and world.drivers[number - 1].place is self._first[number - 1]

    def _finishing(self, process: Process) -> Process:
        cursor = process.cursor if process.outcome == "success" else None
        place = self._sequence("finish", process.record, process.outcome, cursor)
        return process._replace(phase="finish", place=place, doubt=False)

    def _call(self, world: World, number: int, process: Process) -> Iterator[Next]:
        place = process.place
        assert place is not None
        request = place.question
        if not isinstance(request, Request):
            landed = self._landed(number, process, place.after(Reply("clock", tick=world.clock)))
            yield self._did(world, number, landed, f"{request}: {world.clock}")
            return
        items, reply = self._table.send(request, world.items)
        late = world.late
        if late and process.doubt and reply.kind == "done" and request.has_token:
            late = frozenset(copy for copy in late if copy.place is not place)  # by its token
        place = place.after(reply)
        if place.question is LOOK and not self._scenario.timepieces:
            place = place.after(Reply("clock", tick=world.clock))  # clocks do not matter here
        landed = self._landed(number, process, place)
        arrived = World(world.clock, world.faults, items, world.drivers, world.helpers, late)
        yield self._did(arrived, number, landed, request, reply)
        if request.is_write and (world.faults or process.doubt):
            yield from self._troubles(world, arrived, number, process, reply.kind == "done")

    def _troubles(
        self, world: World, arrived: World, number: int, process: Process, done: bool
    ) -> Iterator[Next]:
        """Yield what a write can meet on its way, besides arriving and being answered."""
        place, beats = process.place, process.phase == "beat"
        assert place is not None
        request = place.question
        assert isinstance(request, Request)
        if not beats:
            landed = self._landed(number, process, place.after(UNREACHABLE))
            spent = world if process.doubt else world._replace(faults=world.faults - 1)
            yield self._did(spent, number, landed, request, "gives up")
        if not world.faults:
            return
        doubtful = process._replace(doubt=True)
        if not beats and done:
            told = "done, but the reply is lost; it is sent again after its token is forgotten"
            spent = arrived._replace(faults=world.faults - 1)
            yield self._did(spent, number, doubtful, request, told)
        if self._scenario.late:
            copies = world.late | {Copy(number, place, request)}
            spent = world._replace(faults=world.faults - 1, late=copies)
            if beats:
                doubtful = process._replace(phase="body", place=None)
            yield self._did(spent, number, doubtful, request, "times out, still on its way")

    def _did(
        self, world: World, number: int, process: Process, what: object, how: object = ""
    ) -> Next:
        clock, faults, items, drivers, helpers, late = world
        drivers = (*drivers[:number], process, *drivers[number + 1 :])
        after = World(clock, faults, items, drivers, helpers, late)
        return Step(self._names[number], what, how, self._drivers[number].writer), after

    def _landed(self, number: int, process: Process, place: Place) -> Process:
        """Return what a driver knows after a reply, of the end of its sequence as well."""
        result = place.question
        if not isinstance(result, Result):
            return process._replace(place=place, doubt=False)
        free = process._replace(place=None, doubt=False)
        if process.phase == "start":
            if isinstance(result.error, AlreadyRunningError) and process.tries:
                again = self._sequence("start", self._drivers[number], result.seen)
                return free._replace(place=again, tries=process.tries - 1)
            if result.error is not None:
                return Process("over", told=("not started", type(result.error).__name__))
            begun = free._replace(record=self._record(place, result), tries=0)
            begun = _with_lease(begun, result.value)
            if not self._scenario.watermark or self._scenario.cursor_first:
                return begun._replace(phase="body")
            return begun._replace(phase="cursor", place=self._sequence("read_cursor"))
        if process.phase == "cursor":
            seen = free._replace(cursor=place.last.items[0])
            if not self._scenario.cursor_first:
                return seen._replace(phase="body")
            return seen._replace(phase="start", place=self._first[number])
        if process.phase == "beat":
            return self._after_beat(number, free._replace(phase="body"), *result.value)
        return _finished(free, result)

    def _after_beat(self, number: int, process: Process, run: Any, renewed: bool) -> Process:
        if run is None or run.writer != self._drivers[number].writer or run.status.is_terminal:
            return _with_lease(process, None)
        return _with_lease(process, run)._replace(told=() if renewed else ("beat refused",))

    def _record(self, place: Place, result: Result) -> int:
        if place not in self._records:
            self._records[place] = record_of(result.value)
        return self._records[place]

    def _delivery(self, world: World, copy: Copy) -> Next:
        items, reply = self._table.send(copy.request, world.items)
        name, writer = self._names[copy.sender], self._drivers[copy.sender].writer
        step = Step(f"{name}, late", copy.request, reply, writer)
        return step, world._replace(items=items, late=world.late - {copy})

    def _sequence(self, method: str, *arguments: object) -> Place:
        return beginning(self._library, method, *arguments)


def _with_lease(process: Process, run: Any) -> Process:
    """Return what a driver knows once it has seen its run: the lease, if it may still beat."""
    return process._replace(lease=run.lease_until if run is not None and process.beats else None)


def _finished(process: Process, result: Result) -> Process:
    """Return what a driver knows once its finish has come back."""
    if isinstance(result.error, (ConnectionError, ThrottledError)):
        return process._replace(phase="spooled")
    over = process._replace(phase="over", record=None, beats=0, lease=None)
    if isinstance(result.error, RunFinishError):
        return over._replace(told=("stays lost",))
    if result.error is not None:
        return over._replace(told=("error", type(result.error).__name__, str(result.error)))
    run = result.value
    return over._replace(
        told=("stored", str(run.status), str(run.late_finish), str(run.watermark_conflict))
    )
