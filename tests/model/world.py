"""A state of the model, and every state that can come next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional

from dynamodb_wrapper.exceptions import ConnectionError, RunFinishError, ThrottledError
from tests.model.items import ABSENT, ITEMS, STATE, text_of, tick_of
from tests.model.library import Library, record_of
from tests.model.sequences import CLOCK, Place, Result, beginning
from tests.model.table import UNREACHABLE, Reply, Request, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.scenarios import Scenario


class Process(NamedTuple):
    """What one process knows.

    Attributes:
        phase: Of a driver: start, cursor, body, beat, finish, spooled, over; of a helper: idle,
            busy, over.
        place: Where its sequence stands.
        record: The run as its start returned it.
        cursor: The watermark it has read.
        outcome: What the body came to.
        beats: Beats it may still send.
        doubt: Whether its request may have arrived before.
        told: What the library told the caller at last.
    """

    phase: str
    place: Optional[Place] = None
    record: Optional[int] = None
    cursor: Optional[int] = None
    outcome: Optional[str] = None
    beats: int = 0
    doubt: bool = False
    told: tuple[str, ...] = ()


class Copy(NamedTuple):
    """A request that is still on its way after its sender has given it up for lost."""

    sender: int
    place: Place
    request: Request


class World(NamedTuple):
    """A state of the model."""

    clock: int
    faults: int
    items: tuple[int, ...]
    drivers: tuple[Process, ...]
    helpers: tuple[Process, ...]
    late: frozenset[Copy]


class Step(NamedTuple):
    """How one state became another.

    Attributes:
        who: Who moved.
        what: A request, or what else was done.
        how: The reply, or what became of it.
        writer: Of the run whose driver moved; empty where somebody else did.
    """

    who: str
    what: object
    how: object = ""
    writer: str = ""

    def __str__(self) -> str:
        return f"{self.who:12} {self.what}" + (f" -> {self.how}" if self.how else "")


Next = tuple[Step, World]


class Moves:
    """Every state that can follow one.

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
        self._places = {key: place for place, key in enumerate(scenario.items)}
        self._names = tuple(
            driver.run_id + (f" by {driver.writer}" if scenario.run_ids else "")
            for driver in self._drivers
        )
        self._outcomes = tuple(map(scenario.outcomes_of, range(len(self._drivers))))
        self._records: dict[Place, int] = {}
        self._first = tuple(beginning(library, "start", driver) for driver in self._drivers)

    @property
    def beginning(self) -> World:
        """The state before anything has happened."""
        scenario = self._scenario
        phase = "cursor" if scenario.cursor_first else "start"
        drivers = []
        for first in self._first:
            place = beginning(self._library, "read_cursor") if scenario.cursor_first else first
            drivers.append(Process(phase, place, beats=scenario.beats))
        items = (ABSENT,) * len(scenario.items)
        helpers = tuple(Process("idle") for _ in scenario.helpers)
        return World(0, scenario.faults, items, tuple(drivers), helpers, frozenset())

    def after(self, world: World) -> Iterator[Next]:
        """Yield what can happen next."""
        if world.clock < self._scenario.ticks and not self._clock_waits(world):
            tick = world.clock + 1
            yield Step("clock", f"is {tick}"), world._replace(clock=tick)
        for number, process in enumerate(world.drivers):
            yield from self._driver(world, number, process)
        for number, process in enumerate(world.helpers):
            yield from self._helper(world, number, process)
        for copy in world.late:
            yield self._delivery(world, copy)

    def _clock_waits(self, world: World) -> bool:
        return self._scenario.ticks_late and any(
            process.phase in ("start", "cursor") for process in world.drivers
        )

    # ---- drivers ---------------------------------------------------------------------------------

    def _driver(self, world: World, number: int, process: Process) -> Iterator[Next]:
        if process.phase == "over" or self._waits_for_its_twin(world, number, process):
            return
        if process.phase == "body":
            if process.beats:
                until = world.clock + self._scenario.lease_ticks
                place = self._sequence("beat", process.record, world.clock, until)
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
            yield self._did(world, number, landed, f"{CLOCK}: {world.clock}")
            return
        items, reply = self._table.send(request, world.items)
        late = world.late
        if late and reply.kind == "done" and request.has_token:
            late = frozenset(copy for copy in late if copy.place is not place)
        landed = self._landed(number, process, place.after(reply))
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
            if result.error is not None:
                return Process("over", told=("not started", type(result.error).__name__))
            begun = free._replace(record=self._record(place, result))
            if not self._scenario.watermark or self._scenario.cursor_first:
                return begun._replace(phase="body")
            return begun._replace(phase="cursor", place=self._sequence("read_cursor"))
        if process.phase == "cursor":
            seen = free._replace(cursor=place.last.items[0])
            if not self._scenario.cursor_first:
                return seen._replace(phase="body")
            return seen._replace(phase="start", place=self._first[number])
        if process.phase == "beat":
            return free._replace(phase="body")
        return _finished(free, result)

    def _record(self, place: Place, result: Result) -> int:
        if place not in self._records:
            self._records[place] = record_of(result.value)
        return self._records[place]

    # ---- others ----------------------------------------------------------------------------------

    def _helper(self, world: World, number: int, process: Process) -> Iterator[Next]:
        helpers = self._scenario.helpers
        if process.phase == "busy":
            yield self._helps(world, number, process)
        twins = zip(helpers[:number], world.helpers)
        if process.phase != "idle" or (helpers[number], "idle") in [(t, p.phase) for t, p in twins]:
            return
        task, _, only = helpers[number].partition(" ")
        names = (only,) if only else self._scenario.run_names
        if task == "expire":
            yield from self._expiries(world, number, names)
            return
        for place in self._tasks(world, task, names):
            yield self._helps(world, number, Process("busy", place))

    def _tasks(self, world: World, task: str, names: tuple[str, ...]) -> Iterator[Place]:
        if task == "reap":
            for name in names:
                run = ITEMS[world.items[self._places[name]]]
                lease = None if run is None else text_of(run, "lease_until")
                if lease is not None and tick_of(lease) < world.clock:
                    yield self._sequence("reap", name, world.clock)
        elif task == "release":
            state = ITEMS[world.items[self._places[STATE]]]
            if state is not None and "holder" in state:
                yield self._sequence("release")
        elif task == "reset":
            yield self._sequence("reset")
        else:
            yield from (self._sequence(task, name) for name in names)

    def _helps(self, world: World, number: int, process: Process) -> Next:
        assert process.place is not None
        request = process.place.question
        assert isinstance(request, Request)
        items, reply = self._table.send(request, world.items)
        place = process.place.after(reply)
        while reply.kind == "done" and isinstance(place.question, Request):
            place = place.after(self._table.send(place.question, items)[1])  # what it has come to
        over = isinstance(place.question, Result)
        after = Process("over") if over else Process("busy", place)
        step = Step(self._scenario.helpers[number], request, reply)
        return self._helped(world, number, after, items, step)

    def _helped(
        self, world: World, number: int, process: Process, items: tuple[int, ...], step: Step
    ) -> Next:
        helpers = (*world.helpers[:number], process, *world.helpers[number + 1 :])
        clock, faults, _, drivers, _, late = world
        return step, World(clock, faults, items, drivers, helpers, late)

    def _expiries(self, world: World, number: int, names: tuple[str, ...]) -> Iterator[Next]:
        """DynamoDB deletes the record of a run that has ended."""
        for name in names:
            place = self._places[name]
            run = ITEMS[world.items[place]]
            if run is not None and "lease_until" not in run:
                items = (*world.items[:place], ABSENT, *world.items[place + 1 :])
                step = Step("TTL", f"deletes {name}")
                yield self._helped(world, number, Process("over"), items, step)

    def _delivery(self, world: World, copy: Copy) -> Next:
        items, reply = self._table.send(copy.request, world.items)
        name, writer = self._names[copy.sender], self._drivers[copy.sender].writer
        step = Step(f"{name}, late", copy.request, reply, writer)
        return step, world._replace(items=items, late=world.late - {copy})

    def _sequence(self, method: str, *arguments: object) -> Place:
        return beginning(self._library, method, *arguments)


def _finished(process: Process, result: Result) -> Process:
    """Return what a driver knows once its finish has come back."""
    if isinstance(result.error, (ConnectionError, ThrottledError)):
        return process._replace(phase="spooled")
    over = process._replace(phase="over", record=None, beats=0)
    if isinstance(result.error, RunFinishError):
        return over._replace(told=("stays lost",))
    if result.error is not None:
        return over._replace(told=("error", type(result.error).__name__, str(result.error)))
    run = result.value
    return over._replace(
        told=("stored", str(run.status), str(run.late_finish), str(run.watermark_conflict))
    )
