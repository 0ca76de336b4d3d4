"""Every state that can follow one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.drivers import Drivers
from tests.model.items import ABSENT
from tests.model.others import Others
from tests.model.states import Next, Step, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.library import Library
    from tests.model.scenarios import Scenario
    from tests.model.table import Table


class Moves:
    """The moves of everybody in a scenario, and of the clock.

    Args:
        scenario: Who is there, and what may happen.
        library: Whose sequences they follow.
        table: Holds the items.
    """

    def __init__(self, scenario: Scenario, library: type[Library], table: Table) -> None:
        self._scenario = scenario
        self._drivers = Drivers(scenario, library, table)
        self._others = Others(scenario, library, table)

    @property
    def beginning(self) -> World:
        """The state before anything has happened."""
        items = (ABSENT,) * len(self._scenario.items)
        faults = self._scenario.faults
        return World(0, faults, items, self._drivers.idle, self._others.idle, frozenset())

    def after(self, world: World) -> Iterator[Next]:
        """Yield what can happen next."""
        if world.clock < self._scenario.ticks and not self._clock_waits(world):
            tick = world.clock + 1
            yield Step("clock", f"is {tick}"), world._replace(clock=tick)
        yield from self._drivers.after(world)
        yield from self._others.after(world)

    def _clock_waits(self, world: World) -> bool:
        return self._scenario.ticks_late and any(
            process.phase in ("start", "cursor") for process in world.drivers
        )
