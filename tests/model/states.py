"""A state of the model: what is stored, what each process knows, what is on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from datetime import datetime

    from tests.model.library import Sightings
    from tests.model.sequences import Place
    from tests.model.table import Request


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
        lease: The end of the lease it knows, while it may still beat.
        tries: How often it may still start again after a refusal.
        seen: The runs that a reaper has seen.
        doubt: Whether its request may have arrived before.
        told: What the library told the caller at last.
    """

    phase: str
    place: Optional[Place] = None
    record: Optional[int] = None
    cursor: Optional[int] = None
    outcome: Optional[str] = None
    beats: int = 0
    lease: Optional[datetime] = None
    tries: int = 0
    seen: Sightings = ()
    doubt: bool = False
    told: tuple[str, ...] = ()


class Copy(NamedTuple):
    """A request that is still on its way after its sender has given it up for lost.

    Attributes:
        sender: Number of the driver.
        place: Where its sequence stood.
        request: What it sent.
    """

    sender: int
    place: Place
    request: Request


class World(NamedTuple):
    """A state of the model.

    Attributes:
        clock: The present moment.
        faults: How many requests may still meet trouble.
        items: Numbers of the items, in the order of the scenario's keys.
        drivers: What each driver knows.
        helpers: What each of the others knows.
        late: What is still on its way.
    """

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
