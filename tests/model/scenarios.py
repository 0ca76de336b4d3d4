"""The small worlds the protocol is explored in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from tests.model.items import CURSOR, STATE, slot
from tests.model.library import Driver, Timepiece

FRESH = Driver("fresh", "writer-fresh")


@dataclass(frozen=True)
class Scenario:
    """Who is in the world, and what may happen to them.

    Attributes:
        run_keys: One driver per entry, with this run key.
        run_ids: Ids the drivers' runs are given; by default each has its own.
        exclusive: Whether the pipeline takes one run at a time.
        rerun: Whether drivers do a covered run key again.
        ticks: How often the clock may move.
        ticks_late: Whether the clock waits until every run has begun.
        lease_ticks: How long a lease lasts after the tick it was taken at.
        timepieces: The clocks of the drivers; by default all show the time.
        corrects: Whether drivers that do not know DynamoDB's clock know it from their first beat.
        tries: How often each driver starts again after a refusal, with what it has seen.
        reaper: The clock of the reapers, which then look until they have reaped.
        faults: How many requests may meet trouble on their way.
        late: Whether trouble may be a delivery after the driver has gone on.
        beats: How many beats each driver may send.
        outcomes: What a body may come to; one entry for all drivers, or one for each.
        helpers: What others may do once each: reap, release, reset, cancel, end (by hand), expire;
            delete; to any run, or to the one that is named as in "reap run-0".
        watermark: Whether runs move a watermark.
        cursor_first: Whether drivers read the watermark before they start: a mistake.
    """

    run_keys: tuple[Optional[str], ...] = (None, None)
    run_ids: tuple[str, ...] = ()
    exclusive: bool = True
    rerun: bool = False
    ticks: int = 1
    ticks_late: bool = False
    lease_ticks: int = 0
    timepieces: tuple[Timepiece, ...] = ()
    corrects: bool = False
    tries: int = 0
    reaper: Optional[Timepiece] = None
    faults: int = 1
    late: bool = True
    beats: int = 0
    outcomes: tuple[str, ...] = ("success failed",)
    helpers: tuple[str, ...] = ()
    watermark: bool = False
    cursor_first: bool = False

    @property
    def drivers(self) -> tuple[Driver, ...]:
        """The drivers, in order."""
        ids = self.run_ids or tuple(f"run-{n}" for n in range(len(self.run_keys)))
        timepieces = self.timepieces or (Timepiece(),) * len(ids)
        rest = self.exclusive, self.rerun, self.lease_ticks
        return tuple(
            Driver(run_id, f"writer-{n}", run_key, *rest, timepiece)
            for n, (run_id, run_key, timepiece) in enumerate(zip(ids, self.run_keys, timepieces))
        )

    def beating(self, driver: Driver) -> Driver:
        """Return a driver as it beats: it may know DynamoDB's clock by then."""
        if not self.corrects:
            return driver
        return driver._replace(timepiece=driver.timepiece._replace(knows=True))

    @property
    def knows(self) -> bool:
        """Whether every lease is written by DynamoDB's clock."""
        return all(timepiece.knows for timepiece in self.timepieces)

    def outcomes_of(self, number: int) -> tuple[str, ...]:
        """Return what the body of a driver may come to."""
        return tuple(self.outcomes[number % len(self.outcomes)].split())

    @property
    def keys_of_runs(self) -> tuple[str, ...]:
        """The run keys, without none."""
        return tuple(dict.fromkeys(key for key in self.run_keys if key is not None))

    @property
    def run_names(self) -> tuple[str, ...]:
        """The ids of the runs the drivers start."""
        return tuple(dict.fromkeys(driver.run_id for driver in self.drivers))

    @property
    def expires(self) -> bool:
        """Whether records may be deleted, so that a history can name what is gone."""
        return any(helper.startswith(("expire", "delete")) for helper in self.helpers)

    @property
    def items(self) -> tuple[str, ...]:
        """The keys of all items of the world."""
        slots = (slot(key) for key in self.keys_of_runs)
        return (*self.run_names, FRESH.run_id, STATE, CURSOR, *slots)


def _beating(holder: Timepiece, taker: Timepiece, *, corrects: bool = False) -> Scenario:
    """Return a world of two drivers that beat; who is refused tries again with what it has seen."""
    return Scenario(
        ticks=3,
        lease_ticks=1,
        timepieces=(holder, taker),
        corrects=corrects,
        tries=2,
        faults=0,
        beats=1,
        outcomes=("success",),
    )


def _reaped(holder: Timepiece, reaper: Timepiece) -> Scenario:
    """Return a world of a driver that beats, and a reaper that looks again and again."""
    return Scenario(
        (None,),
        ticks=4,
        lease_ticks=1,
        timepieces=(holder,),
        reaper=reaper,
        faults=0,
        beats=2,
        helpers=("reap",),
        outcomes=("success",),
    )


_ONE, _THREE = (None,), (None, None, None)
_SAME_KEY = ("a", "a")
_SAME_ID = ("run", "run")

SCENARIOS = {
    "two drivers": Scenario(faults=0),
    "two drivers, a fault, a beat": Scenario(ticks=2, lease_ticks=1, beats=1),
    "two drivers, two faults": Scenario(faults=2),
    "one driver, two beats": Scenario(_ONE, ticks=2, lease_ticks=1, beats=2),
    "one driver, a beat, a reaper": Scenario(
        _ONE, ticks=2, lease_ticks=1, beats=1, faults=0, helpers=("reap",)
    ),
    "a reaper": Scenario(faults=0, helpers=("reap",)),
    "a reaper, a beat": Scenario(ticks=2, lease_ticks=1, beats=1, faults=0, helpers=("reap",)),
    "a reaper, a fault": Scenario(helpers=("reap",)),
    "three drivers": Scenario(_THREE, faults=0, outcomes=("success",)),
    "a release": Scenario(faults=0, helpers=("release",)),
    "a release, a fault": Scenario(ticks=0, helpers=("release",)),
    "a request to cancel": Scenario(_ONE, ticks=0, helpers=("cancel",)),
    "ended by hand": Scenario(faults=0, helpers=("end",)),
    "ended by hand, a reaper": Scenario(_ONE, faults=0, helpers=("reap", "end"), exclusive=False),
    "ended by hand, run key": Scenario(_SAME_KEY, faults=0, helpers=("end",)),
    # clocks; a lease is one tick, and an offset of three is longer than what happens
    "a holder ahead, a taker behind": _beating(Timepiece(3), Timepiece(-3)),
    "a holder behind, a taker ahead": _beating(Timepiece(-3), Timepiece(3)),
    "a holder behind, a taker ahead, known to a tick": _beating(
        Timepiece(-3, error=1), Timepiece(3, error=1)
    ),
    "a holder behind that knows no date, a taker ahead": _beating(
        Timepiece(-3, knows=False), Timepiece(3)
    ),
    "a holder behind, a taker ahead that knows no date": _beating(
        Timepiece(-3), Timepiece(3, knows=False)
    ),
    "a holder behind that learns the time, a taker": _beating(
        Timepiece(-3, knows=False), Timepiece(), corrects=True
    ),
    "a holder ahead that learns the time": replace(
        _reaped(Timepiece(3, knows=False), Timepiece()),
        corrects=True,
        faults=1,
        beats=3,
        helpers=(),
    ),
    "a holder behind, a reaper ahead": _reaped(Timepiece(-3), Timepiece(3)),
    "a holder ahead, a reaper behind": _reaped(Timepiece(3), Timepiece(-3)),
    "a holder behind, known to a tick, a reaper": _reaped(Timepiece(-3, error=1), Timepiece()),
    "a holder, a reaper ahead, known to a tick": _reaped(Timepiece(), Timepiece(3, error=1)),
    "a holder behind that knows no date, a reaper ahead": _reaped(
        Timepiece(-3, knows=False), Timepiece(3)
    ),
    "a holder behind, a reaper ahead that knows no date": _reaped(
        Timepiece(-3), Timepiece(3, knows=False)
    ),
    "no date for anybody, a reaper ahead": _reaped(
        Timepiece(-3, knows=False), Timepiece(3, knows=False)
    ),
    # watermarks
    "a watermark, reset": Scenario(_ONE, ticks=0, faults=0, watermark=True, helpers=("reset",)),
    "a watermark, reset, a fault": Scenario(
        watermark=True, helpers=("reset",), outcomes=("success",)
    ),
    "a watermark, reset, a reaper": Scenario(
        watermark=True, faults=0, helpers=("reset", "reap"), outcomes=("success",)
    ),
    # run keys
    "run key, a fault": Scenario(_SAME_KEY),
    "run key, a reaper": Scenario(_SAME_KEY, faults=0, helpers=("reap",)),
    "run key, rerun": Scenario(_SAME_KEY, faults=0, rerun=True, helpers=("reap",)),
    "two run keys": Scenario(("a", "b"), faults=0, helpers=("reap",)),
    "two run keys, three drivers": Scenario(("a", "b", "a"), ticks=0, faults=0),
    # deletion
    "deleted": Scenario(faults=0, helpers=("delete",)),
    "deleted, a reaper": Scenario(_ONE, helpers=("reap", "delete")),
    "deleted, run key": Scenario(_SAME_KEY, faults=0, exclusive=False, helpers=("delete",)),
    "deleted, run key, a reaper": Scenario(
        _SAME_KEY, faults=0, exclusive=False, helpers=("reap", "delete")
    ),
    "deleted, run key, exclusive": Scenario(_SAME_KEY, faults=0, helpers=("delete",)),
    "deleted, run key, rerun": Scenario(
        _SAME_KEY, faults=0, exclusive=False, rerun=True, helpers=("delete",)
    ),
    "deleted, run id used again": Scenario(
        run_ids=_SAME_ID, ticks=0, faults=0, helpers=("expire", "delete")
    ),
    # without a limit
    "no limit": Scenario(ticks=0, faults=0, exclusive=False),
    "no limit, three drivers": Scenario(_THREE, ticks=0, faults=0, exclusive=False),
    "no limit, three drivers, a reaper": Scenario(
        _THREE,
        ticks_late=True,
        faults=0,
        exclusive=False,
        helpers=("reap run-0",),
        outcomes=("success", "success", "failed"),
    ),
    "no limit, one driver, a reaper": Scenario(_ONE, exclusive=False, helpers=("reap",)),
    "no limit, a reaper": Scenario(faults=0, exclusive=False, helpers=("reap",)),
    "no limit, a fault": Scenario(exclusive=False),
    "no limit, run key, a fault": Scenario(_SAME_KEY, exclusive=False),
    "no limit, run key, a beat": Scenario(_SAME_KEY, faults=0, beats=1, exclusive=False),
    "no limit, run key, a reaper": Scenario(
        _SAME_KEY, faults=0, exclusive=False, helpers=("reap",)
    ),
    "no limit, run key, three drivers": Scenario(
        ("a", "a", "a"), ticks=0, faults=0, exclusive=False
    ),
    # a given run id, used again
    "run id used again": Scenario(run_ids=_SAME_ID, ticks=0, faults=0),
    "run id used again after its record has expired": Scenario(
        run_ids=_SAME_ID, beats=1, lease_ticks=1, faults=0, helpers=("release", "expire")
    ),
    "run id used again, lost again": Scenario(
        run_ids=_SAME_ID,
        ticks=0,
        faults=0,
        helpers=("release", "release", "expire"),
        outcomes=("success",),
    ),
    "no limit, run id used again, lost again": Scenario(
        run_ids=_SAME_ID,
        ticks=2,
        faults=0,
        exclusive=False,
        helpers=("reap", "reap", "expire"),
        outcomes=("success",),
    ),
}
