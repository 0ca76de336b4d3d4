"""Explores every interleaving of a scenario, breadth first, and looks for a state that is wrong."""

from __future__ import annotations

import gc
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from dynamodb_wrapper.exceptions import AlreadySucceededError, ThrottledError
from tests.model.invariants import broken_by, broken_in, broken_promises, view
from tests.model.library import Library, Timepiece
from tests.model.moves import Moves
from tests.model.scenarios import FRESH, Scenario
from tests.model.sequences import CLOCK, LOOK, Place, Result, beginning
from tests.model.states import Step, World
from tests.model.table import Answer, Clause, Reply, Request, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONG_AFTER = 90
_MOST_STEPS = 40
_REAPER = Timepiece(ahead=-3)


@dataclass(frozen=True)
class Exploration:
    """What an exploration found.

    Attributes:
        states: Number of states seen.
        depth: Steps to the deepest.
        complete: Whether they are all there are.
        broken: What does not hold, None where all does.
        trace: The shortest way to what does not hold.
        met: The clauses that were evaluated.
        answers: Each request, the numbers of its items before and after, and the reply.
    """

    states: int
    depth: int
    complete: bool
    broken: Optional[str] = None
    trace: tuple[Step, ...] = ()
    met: frozenset[Clause] = field(default=frozenset(), repr=False)
    answers: tuple[Answer, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        extent = f"{self.states} states, depth {self.depth}, "
        extent += "complete" if self.complete else "cut"
        if self.broken is None:
            return f"holds ({extent})"
        steps = "\n".join(f"  {number:2} {step}" for number, step in enumerate(self.trace, 1))
        return f"{self.broken} ({extent})\n{steps}"


def explore(
    scenario: Scenario,
    *,
    limit: int,
    library: type[Library] = Library,
    dropped: frozenset[Clause] = frozenset(),
) -> Exploration:
    """Explore a scenario until something is wrong, nothing is left, or `limit` states are seen.

    Args:
        scenario: Who is there, and what may happen.
        limit: Number of states.
        library: Whose sequences are followed.
        dropped: Clauses no condition asks for.
    """
    table = Table(scenario.items, dropped)
    search = _Search(Moves(scenario, library, table), Judge(scenario, library, table))
    collected = gc.isenabled()
    gc.disable()  # millions of tuples, no cycles among them
    try:
        search.run(limit)
    finally:
        if collected:
            gc.enable()
    return search.found(table)


class _Search:
    """A search, breadth first: the first wrong state has a shortest trace."""

    def __init__(self, moves: Moves, judge: Judge) -> None:
        self._moves = moves
        self._judge = judge
        self._came: dict[World, Optional[tuple[World, Step]]] = {moves.beginning: None}
        self._waiting = deque([(moves.beginning, 0)])
        self._depth = 0
        self._broken: Optional[tuple[str, World]] = None

    def run(self, limit: int) -> None:
        """Search until something is wrong, nothing is left, or so many states are seen."""
        came, waiting = self._came, self._waiting
        while waiting and len(came) < limit and self._broken is None:
            world, self._depth = waiting.popleft()
            for step, after in self._moves.after(world):
                if after in came:
                    continue
                came[after] = (world, step)
                broken = self._judge.broken(world, step, after)
                if broken is not None:
                    self._broken = (broken, after)
                    break
                waiting.append((after, self._depth + 1))

    def found(self, table: Table) -> Exploration:
        """Return what the search has found."""
        broken, world = self._broken or (None, None)
        trace = () if world is None else tuple(self._trace(world))[::-1]
        complete = not self._waiting and broken is None
        met, answers = frozenset(table.met), tuple(table.answers())
        return Exploration(len(self._came), self._depth, complete, broken, trace, met, answers)

    def _trace(self, world: World) -> Iterator[Step]:
        origin = self._came[world]
        while origin is not None:
            world, step = origin
            yield step
            origin = self._came[world]


class Judge:
    """Says what is wrong with a state.

    Args:
        scenario: Who is there.
        library: Whose sequences are followed.
        table: Holds the items.
    """

    def __init__(self, scenario: Scenario, library: type[Library], table: Table) -> None:
        self._scenario = scenario
        self._library = library
        self._table = table
        self._known: dict[Any, Optional[str]] = {}

    def broken(self, before: World, step: Step, now: World) -> Optional[str]:
        """Return the first thing that does not hold, None where all does."""
        if before.items != now.items:
            built_by = step.what.built_by if isinstance(step.what, Request) else ""
            about = (before.items, now.items, now.clock, built_by, step.writer)
            found = self._once(self._broken_items, now.items) or self._once(self._broken_by, *about)
            if found is not None:
                return found
        for number, process in enumerate(now.drivers):
            found = self._once(self._broken_promise, now.items, number, process)
            if found is not None:
                return found
        return None

    def _once(self, ask: Any, *about: Any) -> Optional[str]:
        question = (ask, *about)
        if question not in self._known:
            self._known[question] = next(ask(*about), None)
        return self._known[question]

    def _broken_items(self, items: tuple[int, ...]) -> Iterator[str]:
        yield from broken_in(view(self._scenario, items), self._scenario)
        yield from self._broken_future(items)

    def _broken_by(
        self, before: tuple[int, ...], now: tuple[int, ...], clock: int, built_by: str, writer: str
    ) -> Iterator[str]:
        old, new = view(self._scenario, before), view(self._scenario, now)
        yield from broken_by(old, new, clock, built_by, writer, self._scenario)

    def _broken_promise(self, items: tuple[int, ...], number: int, process: Any) -> Iterator[str]:
        driver = self._scenario.drivers[number]
        yield from broken_promises(view(self._scenario, items), driver, process, self._scenario)

    # ---- if everybody stopped now ----------------------------------------------------------------

    def _broken_future(self, items: tuple[int, ...]) -> Iterator[str]:
        """Yield what a fresh process meets once everybody has crashed and all leases are over."""
        now = view(self._scenario, items)
        for key in self._scenario.keys_of_runs or (None,):
            for rerun in (False, True) if key else (False,):
                fresh = FRESH._replace(run_key=key, exclusive=self._scenario.exclusive, rerun=rerun)
                result, after = self._alone(items, "start", fresh)
                if not self._scenario.knows and result.seen:  # it has to look twice
                    result, after = self._alone(items, "start", fresh, result.seen, after=2)
                covered = "first_success_at" in now.slots.get(key or "", {}) and not rerun
                if covered and not isinstance(result.error, AlreadySucceededError):
                    yield f"E run key {key} is covered, but starts again: {result}"
                if not covered and result.error is not None:
                    yield f"E a fresh start is refused for ever: {result.error}"
                for broken in broken_in(view(self._scenario, after), self._scenario):
                    yield f"{broken}, once a fresh run has taken over"
        for run_id in filter(now.is_live, now.runs):
            result, after = self._alone(items, "reap", run_id, _REAPER)
            if not self._scenario.knows and result.value is None:
                result, after = self._alone(items, "reap", run_id, _REAPER, result.seen, after=2)
            reaped = view(self._scenario, after)
            if result.value is None or reaped.is_live(run_id):
                yield f"E dead {run_id} cannot be reaped: {result}"
            for broken in broken_in(reaped, self._scenario):
                yield f"{broken}, once it is dead and reaped"

    def _alone(
        self, items: tuple[int, ...], method: str, *arguments: Any, after: int = 1
    ) -> tuple[Result, tuple[int, ...]]:
        place: Place = beginning(self._library, method, *arguments)
        for _ in range(_MOST_STEPS):
            if isinstance(place.question, Result):
                return place.question, items
            if place.question in (CLOCK, LOOK):
                place = place.after(Reply("clock", tick=after * _LONG_AFTER))
                continue
            assert isinstance(place.question, Request)
            items, reply = self._table.send(place.question, items)
            place = place.after(reply)
        return Result(error=ThrottledError("It goes round in circles.")), items
