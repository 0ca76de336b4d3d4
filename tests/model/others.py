"""What others do to runs: reap, release, end, cancel, reset a watermark; and DynamoDB's TTL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.items import ABSENT, ITEMS, STATE, text_of, tick_of
from tests.model.library import Library, Timepiece
from tests.model.sequences import LOOK, Place, Result, beginning
from tests.model.states import Next, Process, Step, World
from tests.model.table import Reply, Request, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.library import Sightings
    from tests.model.scenarios import Scenario


class Others:
    """The moves of the helpers of a scenario.

    Args:
        scenario: Who is there, and what may happen.
        library: Whose sequences they follow.
        table: Holds the items.
    """

    def __init__(self, scenario: Scenario, library: type[Library], table: Table) -> None:
        self._scenario = scenario
        self._library = library
        self._table = table
        self._places = {key: place for place, key in enumerate(scenario.items)}

    @property
    def idle(self) -> tuple[Process, ...]:
        """What they know before anything has happened."""
        return tuple(Process("idle") for _ in self._scenario.helpers)

    def after(self, world: World) -> Iterator[Next]:
        """Yield what they can do next."""
        for number, process in enumerate(world.helpers):
            yield from self._helper(world, number, process)

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
        for place in self._tasks(world, task, names, process.seen):
            yield self._helps(world, number, process._replace(phase="busy", place=place))

    def _tasks(
        self, world: World, task: str, names: tuple[str, ...], seen: Sightings
    ) -> Iterator[Place]:
        if task == "reap":
            for name in names:
                run = ITEMS[world.items[self._places[name]]]
                lease = None if run is None else text_of(run, "lease_until")
                reaper = self._scenario.reaper
                if lease is not None and (reaper is not None or tick_of(lease) < world.clock):
                    yield self._sequence("reap", name, reaper or Timepiece(), seen)
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
        if place.question is LOOK:
            place = place.after(Reply("clock", tick=world.clock))
        while reply.kind == "done" and isinstance(place.question, Request):
            place = place.after(self._table.send(place.question, items)[1])  # what it has come to
        after = process._replace(place=place)
        if isinstance(place.question, Result):
            is_waiting = self._scenario.reaper is not None and place.question.value is None
            after = Process("idle", seen=place.question.seen) if is_waiting else Process("over")
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

    def _sequence(self, method: str, *arguments: object) -> Place:
        return beginning(self._library, method, *arguments)
