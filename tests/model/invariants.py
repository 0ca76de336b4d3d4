"""What must hold: in every state, over every step, and of what callers were told.

The numbers are those of the statements of run control: 1 one holder, 2 an end is whole and final,
3 the fence, 4 what a body came to, 5 what callers were told; E for what users expect besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional

from tests.model.expressions import Item
from tests.model.items import (
    CURSOR,
    ITEMS,
    PIPELINE,
    STATE,
    made_at,
    number_of,
    slot,
    text_of,
)
from tests.model.library import BY_HAND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.library import Driver
    from tests.model.scenarios import Scenario
    from tests.model.states import Process

LIVE = ("pending", "running")
_OF_DRIVERS = ("beat", "finish", "finish_late", "note_late_outcome")
FAILURES = ("failed", "timed_out", "lost")


class View(NamedTuple):
    """The items of a state, by what they are."""

    runs: dict[str, Item]
    state: Item
    cursor: Item
    slots: dict[str, Item]

    def is_live(self, run_id: Optional[str]) -> bool:
        """Whether a run exists and has not ended."""
        return run_id in self.runs and text_of(self.runs[run_id], "status") in LIVE


def view(scenario: Scenario, items: tuple[int, ...]) -> View:
    """Return the items of a state by what they are."""
    found = {key: ITEMS[number] for key, number in zip(scenario.items, items)}
    runs = {key: item for key, item in found.items() if not key.startswith("#") and item}
    slots = {key: found[slot(key)] or {} for key in scenario.keys_of_runs}
    return View(runs, found[STATE] or {}, found[CURSOR] or {}, slots)


# ---- in every state ------------------------------------------------------------------------------


def broken_in(now: View, scenario: Scenario) -> Iterator[str]:
    """Yield what does not hold in a state."""
    for run_id, run in now.runs.items():
        yield from _broken_in_run(run_id, run)
    yield from _broken_holder(now, scenario)
    yield from _broken_numbers(now)
    yield from _broken_keys(now, scenario)
    if not scenario.expires:
        yield from _broken_history(now, scenario)


def _broken_in_run(run_id: str, run: Item) -> Iterator[str]:
    status = text_of(run, "status")
    live = status in LIVE
    if not live and "end_time" not in run:
        yield f"2 {run_id} is {status} and has no end time"
    if live != ("lease_until" in run):
        yield f"2 {run_id} is {status}; its lease is {text_of(run, 'lease_until')}"
    if live != ("gx_live" in run) or text_of(run, "gx_status") != f"test#{status}":
        yield f"2 {run_id} is {status}, but is listed otherwise"
    if text_of(run, "gx_pipeline_status") != f"{PIPELINE}#{status}":
        yield f"2 {run_id} is {status}, but its pipeline lists it otherwise"
    if "superseded_by" in run and status != "lost":
        yield f"2 superseded {run_id} is {status}"
    if "writer" not in run:
        yield f"2 {run_id} is no record of a run"


def _broken_holder(now: View, scenario: Scenario) -> Iterator[str]:
    holder = text_of(now.state, "holder")
    live = [run_id for run_id in now.runs if now.is_live(run_id)]
    if holder is not None and not now.is_live(holder):
        yield f"1 the holder {holder} is not live"
    if scenario.exclusive:
        yield from (f"1 live {run_id} holds no lock" for run_id in live if run_id != holder)
    elif holder is not None or "fence" in now.state:
        yield "1 a pipeline without a limit has a lock"


def _broken_numbers(now: View) -> Iterator[str]:
    fences = [fence for run in now.runs.values() if (fence := number_of(run, "fence")) is not None]
    if len(fences) != len(set(fences)):
        yield "3 two runs share a fence"
    if fences and max(fences) > (number_of(now.state, "fence") or 0):
        yield "3 a run has a higher fence than its pipeline"
    numbers = [number_of(run, "run_seq") for run in now.runs.values()]
    if len(numbers) != len(set(numbers)):
        yield "3 two runs share a number"


def _broken_keys(now: View, scenario: Scenario) -> Iterator[str]:
    for key, item in now.slots.items():
        runs = {name: run for name, run in now.runs.items() if text_of(run, "run_key") == key}
        good = [name for name, run in runs.items() if text_of(run, "status") == "success"]
        live = [name for name in runs if now.is_live(name)]
        if len(good) > 1 and not scenario.rerun:
            yield f"E run key {key} succeeded twice"
        if len(live) > 1:
            yield f"E run key {key} runs twice at once"
        if len({text_of(run, "attempt") for run in runs.values()}) < len(runs):
            yield f"E two runs are the same attempt at run key {key}"
        last = text_of(item, "last_run_id")
        if last not in runs:
            continue
        if text_of(item, "status") != text_of(runs[last], "status"):
            yield f"E run key {key}: {last} is said to be {text_of(item, 'status')}"
        if live and live != [last]:
            yield f"E run key {key} names {last}, but {live} is live"
        first = text_of(item, "success_run_id")
        if (first is None) == bool(good) or (first is not None and first not in good):
            yield f"E run key {key} is said to be covered by {first}, not one of {good}"


def _broken_history(now: View, scenario: Scenario) -> Iterator[str]:
    ended = sorted(
        (number_of(run, "run_seq") or 0, run_id, str(text_of(run, "status")))
        for run_id, run in now.runs.items()
        if not now.is_live(run_id)
    )
    good = [end for end in ended if end[2] == "success"]
    told = [end for end in ended if scenario.exclusive or end[2] != "lost"]
    for what, ends in (("last", told), ("last_ok", good)):
        said = number_of(now.state, f"{what}_seq"), text_of(now.state, f"{what}_run_id")
        if said != (ends[-1][:2] if ends else (None, None)):
            yield f"E {what} is said to be {said}, but is the newest of {ends}"
    if told and text_of(now.state, "last_status") != told[-1][2]:
        yield f"E last_status is {text_of(now.state, 'last_status')} of {told[-1]}"
    failures = 0
    for _, _, status in ended:
        failures = 0 if status == "success" else failures + (status in FAILURES)
    if scenario.exclusive and (number_of(now.state, "consecutive_failures") or 0) != failures:
        yield f"E {number_of(now.state, 'consecutive_failures')} failures counted, not {failures}"


# ---- over every step -----------------------------------------------------------------------------


def broken_by(
    before: View, now: View, clock: int, built_by: str, writer: str, scenario: Scenario
) -> Iterator[str]:
    """Yield what a step that changed items broke.

    Args:
        before: The items before.
        now: The items after.
        clock: The present moment.
        built_by: What kind of request it was.
        writer: Of the driver that sent it; empty where somebody else did.
        scenario: Who is there.
    """
    if (number_of(now.state, "fence") or 0) < (number_of(before.state, "fence") or 0):
        yield "3 the fence went down"
    succeeded = []
    for run_id, run in now.runs.items():
        old = before.runs.get(run_id)
        if old is None or old == run:
            continue
        if text_of(old, "writer") != text_of(run, "writer"):
            yield f"5 the record of {run_id} was replaced by another's"
        if built_by in _OF_DRIVERS and writer and text_of(old, "writer") != writer:
            yield f"5 {writer} changed the record of another's {run_id}"
        if before.is_live(run_id):
            yield from _broken_life(run_id, old, run, clock, scenario)
        else:
            yield from _broken_end(run_id, old, run)
        if text_of(run, "status") == "success" != text_of(old, "status"):
            succeeded.append(run_id)
    if scenario.watermark:
        yield from _broken_watermark(before, now, succeeded)


def _broken_life(
    run_id: str, old: Item, run: Item, clock: int, scenario: Scenario
) -> Iterator[str]:
    lease, status = _true_lease(old, scenario), text_of(run, "status")
    if status in LIVE and _true_lease(run, scenario) < lease:
        yield f"E the lease of {run_id} was shortened"
    released = text_of(run, "status_reason") == "released"
    if status == "lost" and not released and lease >= clock:
        yield f"E {run_id} was taken for lost although its lease had been renewed"


def _true_lease(run: Item, scenario: Scenario) -> int:
    """Return when the lease of a run ends, counted from when its driver made it."""
    return made_at(text_of(run, "lease_until") or "") + scenario.lease_ticks


def _broken_end(run_id: str, old: Item, run: Item) -> Iterator[str]:
    changed = {name for name in {*old, *run} if old.get(name) != run.get(name)}
    if changed == {"late_outcome"} and text_of(old, "status") == "lost":
        return
    is_late = text_of(old, "status") == "lost" and "superseded_by" not in old
    is_late = is_late and text_of(old, "status_reason") != "released"
    if not is_late or not _is_true(run, "late_finish") or "status" not in changed:
        yield f"2 {run_id} had ended, then {sorted(changed)} changed"


def _broken_watermark(before: View, now: View, succeeded: list[str]) -> Iterator[str]:
    moved = before.cursor != now.cursor
    mover = text_of(now.cursor, "moved_by") if moved else None
    if moved and text_of(now.cursor, "prev") != text_of(before.cursor, "value"):
        yield "2 the watermark does not tell the value it had before"
    if mover is not None and succeeded != [mover]:
        yield f"2 {mover} moved the watermark, but did not succeed"
    for run_id in succeeded:
        conflict = _is_true(now.runs[run_id], "watermark_conflict")
        if not conflict and mover != run_id:
            yield f"2 {run_id} succeeded, but did not move the watermark"
        if conflict == bool(now.runs[run_id].get("watermarks", {}).get("M")):
            yield f"2 {run_id} does not tell truly whether it moved the watermark"
        if conflict and (not before.cursor or "moved_by" in before.cursor):
            yield f"2 {run_id} did not move the watermark, which nobody had reset"


# ---- what callers were told ----------------------------------------------------------------------


def broken_promises(
    now: View, driver: Driver, process: Process, scenario: Scenario
) -> Iterator[str]:
    """Yield what a driver was told that is not so."""
    who, told = driver.run_id, process.told
    run = now.runs.get(who)
    mine = run is not None and text_of(run, "writer") == driver.writer
    if run is None or not mine:
        if (
            not scenario.expires
            and process.phase not in ("start", "cursor")
            and told[:1] != ("not started",)
        ):
            yield f"5 {who} was told that it runs, but is not stored"
        return
    status = text_of(run, "status")
    by_hand = text_of(run, "status_reason") == BY_HAND
    if status not in ("running", "lost", process.outcome) and not by_hand:
        yield f"4 {who} came to {process.outcome}, stored is {status}"
    yield from _broken_start(run, driver, process)
    if told == ("beat refused",):
        yield f"E a beat of {who} was refused, which nobody had come before"
    if told[:1] == ("stored",):
        flags = tuple(str(_is_true(run, name)) for name in ("late_finish", "watermark_conflict"))
        if told[1:] != (status, *flags):
            yield f"5 {who} was told {told}, stored is {status}, {flags}"
    elif told[:1] == ("error",) and not by_hand:
        yield f"E the finish of {who} failed: {told[1:]}"
    elif told == ("stays lost",):
        slot_of_mine = now.slots.get(driver.run_key or "", {})
        superseded = (
            "superseded_by" in run
            or number_of(run, "fence") != number_of(now.state, "fence")
            or (driver.run_key is not None and text_of(slot_of_mine, "last_run_id") != who)
        )
        if status != "lost" or not superseded:
            yield f"E {who} is {status} and was not superseded, but its finish was refused"
        noted = {process.outcome, "failed" if "end" in scenario.helpers else None}
        if text_of(run, "late_outcome") not in noted:
            yield f"5 {who} was told that its late outcome is noted"


def _broken_start(run: Item, driver: Driver, process: Process) -> Iterator[str]:
    if process.told[:1] == ("not started",):
        unknown = process.told[1] in ("ConnectionError", "ThrottledError")
        if text_of(run, "status") in LIVE and not unknown:
            yield f"5 {driver.run_id} was told {process.told[1]}, but runs"
    elif process.record is not None:
        record = ITEMS[process.record] or {}
        differing = [
            name
            for name in ("fence", "run_seq", "attempt", "run_key", "previous_run_id")
            if record.get(name) != run.get(name)
        ]
        if differing:
            yield f"5 {driver.run_id} was told another {', '.join(differing)} than is stored"


def _is_true(item: Item, name: str) -> bool:
    return item.get(name) == {"BOOL": True}
