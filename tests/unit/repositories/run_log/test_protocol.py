"""Run control in every order of events: nothing goes wrong, and no clause is there for nothing.

The requests are the library's own, so are the sequences that send them; see `tests.model`. A
failure shows the shortest way to what is wrong. ``python -m tests.model`` explores further.
"""

from __future__ import annotations

import logging

import pytest

from dynamodb_wrapper.repositories.run_log.protocol import Builder
from tests.model import mutants
from tests.model.checker import explore
from tests.model.clauses import clauses
from tests.model.library import BUILT, Library
from tests.model.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.newest_only

STATES = 80_000
"""More than any scenario has, but for those that are cut."""

CUT = {
    "two drivers, two faults": 15_000,
    "a reaper, a fault": 15_000,
    "a release, a fault": 15_000,
    "run id used again, lost again": 10_000,
    "no limit, run id used again, lost again": 10_000,
}
"""Scenarios that have more states than a test should wait for, and how many are seen."""

PARTS = {"end_run", "lose", "gone_or_ended", "take_slot", "end_slot", "move_cursor"}
"""Methods of the builder that make one action, for others."""

CAUGHT_IN = {
    "beat: update RUN(status, writer, lease_until) without lease_until": "one driver, two beats",
    "beat: update RUN(status, writer, lease_until) without writer": (
        "run id used again after its record has expired"
    ),
    "delete_run: delete RUN(status, writer) without status": "deleted, run key, a reaper",
    "finish: update CURSOR(row_version) without row_version": "a watermark, reset",
    "finish: update RUN(status, writer) without status": "no limit, one driver, a reaper",
    "finish: update RUN(status, writer) without writer": (
        "run id used again after its record has expired"
    ),
    "finish: update STATE(last_seq, last_ok_seq) without last_ok_seq": "no limit, three drivers",
    "finish: update STATE(last_seq, last_ok_seq) without last_seq": "no limit",
    "finish_late: update CURSOR(row_version) without row_version": "a watermark, reset, a reaper",
    "finish_late: update RUN(status, writer, superseded_by) without status": (
        "ended by hand, a reaper"
    ),
    "finish_late: update RUN(status, writer, superseded_by) without writer": (
        "no limit, run id used again, lost again"
    ),
    "finish_late: update SLOT(last_run_id) without last_run_id": "no limit, run key, a reaper",
    "finish_late: update STATE(fence, holder) without fence": "a reaper",
    "finish_late: update STATE(last_seq, last_ok_seq) without last_ok_seq": (
        "no limit, three drivers, a reaper"
    ),
    "finish_late: update STATE(last_seq, last_ok_seq) without last_seq": "no limit, a reaper",
    "free_slot: delete SLOT(last_run_id, status) without last_run_id": "deleted, run key, rerun",
    "free_slot: update SLOT(last_run_id, status) without status": "deleted, run key, rerun",
    "move_cursor: update CURSOR(row_version) without row_version": "a watermark, reset",
    "note_late_outcome: update RUN(status, writer) without writer": (
        "run id used again, lost again"
    ),
    "reap: update RUN(status, lease_until) without lease_until": "one driver, a beat, a reaper",
    "release: update STATE(holder, fence) without fence": (
        "run id used again after its record has expired"
    ),
    "request_cancel: update RUN(status) without status": "a request to cancel",
    "start_exclusive: put RUN(run_id or expires_at) without run_id or expires_at": (
        "run id used again"
    ),
    "start_exclusive: update RUN(status, lease_until) without lease_until": "a reaper, a beat",
    "start_exclusive: update SLOT(last_run_id, status) without status": "run key, a reaper",
    "start_exclusive: update STATE(holder, fence) without fence": "two drivers",
    "start_shared: put RUN(run_id or expires_at) without run_id or expires_at": (
        "no limit, one driver, a reaper"
    ),
    "start_shared: update RUN(status, lease_until) without lease_until": (
        "no limit, run key, a beat"
    ),
    "start_shared: update SLOT(last_run_id, status) without last_run_id": (
        "no limit, run key, three drivers"
    ),
    "start_shared: update SLOT(last_run_id, status) without status": "no limit, run key, a reaper",
}
"""Each clause that can be missed, and a scenario that misses it."""

_NO_LEASE = "an ended run has no lease, and the clause on the lease says so"
_LIVE = "who takes the lock or the run key of a live run ends it: the clause on its status says so"
_BY_HAND = "only a change by hand leaves a holder, or a run key, to a run that is not live"
UNOBSERVABLE = {
    "beat: update RUN(status, writer, lease_until) without status": _NO_LEASE,
    "delete_run: delete RUN(status, writer) without writer": (
        "who reads that a run has ended means no live one: the clause on its status says so"
    ),
    "finish: update SLOT(last_run_id) without last_run_id": _LIVE,
    "finish: update STATE(holder) without holder": _LIVE,
    "finish_late: update RUN(status, writer, superseded_by) without superseded_by": (
        "a successor has raised the fence or taken the run key"
    ),
    "finish_late: update STATE(fence, holder) without holder": (
        "under the fence of a lost run nobody holds the lock"
    ),
    "free_slot: delete SLOT(last_run_id, status) without status": (
        "the first attempt at a run key changes its status with its run"
    ),
    "free_slot: update SLOT(last_run_id, status) without last_run_id": (
        "another attempt that has ended alike leaves the run key covered, or not, alike"
    ),
    "note_late_outcome: update RUN(status, writer) without status": (
        "what keeps a run from a late finish keeps it lost"
    ),
    "reap: update RUN(status, lease_until) without status": _NO_LEASE,
    "reap: update SLOT(last_run_id) without last_run_id": _LIVE,
    "reap: update STATE(holder) without holder": _LIVE,
    "release: check RUN(run_id or status) without run_id or status": _BY_HAND,
    "release: update RUN(status, writer) without status": "the holder of a fence is live",
    "release: update RUN(status, writer) without writer": "a fence has one holder",
    "release: update SLOT(last_run_id) without last_run_id": _LIVE,
    "release: update STATE(holder, fence) without holder": _LIVE,
    "start_exclusive: check RUN(run_id or status) without run_id or status": _BY_HAND,
    "start_exclusive: update RUN(status, lease_until) without status": _NO_LEASE,
    "start_exclusive: update SLOT(last_run_id) without last_run_id": _LIVE,
    "start_exclusive: update SLOT(last_run_id, status) without last_run_id": (
        "another attempt has raised the fence"
    ),
    "start_exclusive: update STATE(holder, fence) without holder": (
        "who takes the lock raises the fence, who frees it has ended"
    ),
    "start_shared: check RUN(run_id or status) without run_id or status": _BY_HAND,
    "start_shared: update RUN(status, lease_until) without status": _NO_LEASE,
}
"""The other clauses, and what says the same: they guard against changes by hand."""

TOGETHER = {
    "the lock of a start": (
        {"start_exclusive: update STATE(holder, fence)"},
        "two drivers",
    ),
    "the lock of a late finish": ({"finish_late: update STATE(fence, holder)"}, "a reaper"),
    "all of a release": (
        {"release: update RUN(status, writer)", "release: update STATE(holder, fence)"},
        "a release",
    ),
    "the run key of a deletion": (
        {
            "free_slot: delete SLOT(last_run_id, status)",
            "free_slot: update SLOT(last_run_id, status)",
        },
        "deleted, run key",
    ),
    "the run key of a start": (
        {"start_shared: update SLOT(last_run_id, status)"},
        "no limit, run key, a fault",
    ),
}
"""Conditions that are missed as a whole."""

MISTAKES = {
    mutants.ReapLeavesTheHolder: "a reaper",
    mutants.TakeoverWantsNoHolder: "two drivers",
    mutants.LostHasNoEndTime: "two drivers",
    mutants.LateFinishWantsTheLock: "a reaper",
    mutants.StartIsNotShownWhatItMet: "two drivers, two faults",
    mutants.ReleaseRemovesOnlyTheHolder: "a release",
    mutants.ReleaseLeavesTheFence: "a release",
    mutants.ReapLeavesTheRunKey: "run key, a reaper",
    mutants.TakeoverLeavesTheOtherRunKey: "two run keys",
    mutants.OlderRunLeavesTheHistory: "no limit",
    mutants.SharedRunsCopyTheFence: "no limit",
    mutants.FinishForgetsTheWatermark: "a watermark, reset",
    mutants.StartForgetsWhomItLost: "two drivers",
    mutants.ObserverJudgesByItsOwnClock: "a holder behind, a reaper ahead that knows no date",
    mutants.HolderSaysItsClockIsDynamoDBs: "a holder behind, a reaper ahead",
    mutants.HolderKeepsItsErrorToItself: "a holder behind, known to a tick, a reaper",
    mutants.ObserverTakesTheLatestTime: "a holder, a reaper ahead, known to a tick",
    mutants.AnyLeaseIsTakenForDynamoDBs: "a holder behind that knows no date, a reaper ahead",
    mutants.ObserverTakesAnyLeaseForTheFirst: (
        "a holder behind, a reaper ahead that knows no date"
    ),
    mutants.ObserverDoesNotWait: "a holder behind, a reaper ahead that knows no date",
    mutants.LeasesOnlyGrow: "a holder ahead that learns the time",
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The library warns of every takeover, and there are thousands."""
    caplog.set_level(logging.CRITICAL, logger="dynamodb_wrapper")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_goes_wrong_with(name: str) -> None:
    found = explore(SCENARIOS[name], limit=CUT.get(name, STATES))
    assert found.broken is None, f"\n{found}"
    assert found.complete is (name not in CUT)
    assert found.met <= set(clauses())


def test_the_model_knows_every_method_of_the_builder() -> None:
    methods = {name for name in dir(Builder) if callable(getattr(Builder, name))}
    assert {name for name in methods if not name.startswith("_")} == {*BUILT, *PARTS}


def test_every_clause_is_missed_somewhere_or_has_a_reason() -> None:
    assert sorted(map(str, clauses())) == sorted([*CAUGHT_IN, *UNOBSERVABLE])


@pytest.mark.slow
@pytest.mark.parametrize("clause", CAUGHT_IN)
def test_something_goes_wrong(clause: str) -> None:
    dropped = frozenset(known for known in clauses() if str(known) == clause)
    found = explore(SCENARIOS[CAUGHT_IN[clause]], limit=STATES, dropped=dropped)
    assert found.broken is not None


@pytest.mark.parametrize("conditions", TOGETHER)
def test_something_goes_wrong_without(conditions: str) -> None:
    beginnings, name = TOGETHER[conditions]
    dropped = frozenset(c for c in clauses() if str(c).partition(" without ")[0] in beginnings)
    found = explore(SCENARIOS[name], limit=STATES, dropped=dropped)
    assert found.broken is not None


@pytest.mark.parametrize("library", MISTAKES, ids=lambda library: library.__name__)
def test_a_mistake_is_found(library: type[Library]) -> None:
    found = explore(SCENARIOS[MISTAKES[library]], limit=STATES, library=library)
    assert found.broken is not None


def test_a_watermark_that_is_read_before_the_start_is_found() -> None:
    early = Scenario(ticks=0, faults=0, watermark=True, cursor_first=True)
    found = explore(early, limit=STATES)
    assert found.broken == "2 run-1 did not move the watermark, which nobody had reset"


def test_the_way_to_what_is_wrong_is_shown_step_by_step() -> None:
    found = explore(SCENARIOS["two drivers"], limit=STATES, library=mutants.LostHasNoEndTime)
    assert str(found).splitlines() == [
        "2 run-0 is lost and has no end time, once a fresh run has taken over "
        "(12 states, depth 2, cut)",
        "   1 run-0        reads the clock: 0",
        "   2 run-0        reads #pipeline#p -> nothing",
        "   3 run-0        start_exclusive(run-0, #pipeline#p) -> done",
    ]
