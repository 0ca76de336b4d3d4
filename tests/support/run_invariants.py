"""The invariants of run control, checked with plain boto3 and without the library.

The messages begin with the number of the invariant:

1. At most one holder per exclusive pipeline; the holder's run is live; every live run of an
   exclusive pipeline is its holder.
2. A terminal run holds no lock and has an end time; its watermarks were committed if and only if it
   is a success without a successor, and no operator set them meanwhile.
3. The fence of an exclusive pipeline never decreases and no two runs share one.
4. A body that succeeded is never stored as failed, cancelled or timed out.
5. A result that the library reported as stored is stored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


Item = dict[str, Any]
LIVE = ("pending", "running")
_KINDS = ("RUN", "STATE", "SLOT", "CURSOR", "CHUNK", "TAG")  # the last two decide nothing
_READ = (
    "run_id kind pipeline_id status status_reason end_time detected_at lease_until gx_live writer "
    "fence run_key attempt previous_run_id superseded_by late_finish late_outcome row_version "
    "watermark_conflict holder last_run_id last_status success_run_id first_success_at name value "
    "prev moved_by"
).split()


def items_of(client: Any, table_name: str, attributes: Sequence[str]) -> Iterator[Item]:
    """Yield attributes of every item of a table, read consistently, as plain values."""
    read = TypeDeserializer().deserialize
    request = {
        "TableName": table_name,
        "ConsistentRead": True,
        "ProjectionExpression": ", ".join(f"#{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
    }
    for page in client.get_paginator("scan").paginate(**request):
        for item in page["Items"]:
            yield {name: read(value) for name, value in item.items()}


@dataclass
class Told:
    """The results that callers of the library received, to be compared with the stored ones.

    Attributes:
        read: Values of watermarks that a run was given, by run id and name.
        advanced: Values it asked to be committed.
        succeeded: Runs whose body succeeded.
        beaten: Leases renewed by the beats since the last check; None for a beat whose run had
            ended.
        leases: The latest end of lease that each run received.
        finished: Runs whose driver received the confirmation of their success.
        ended: Runs whose end was reported as stored, with their status.
        by_hand: Runs whose status an operator set.
        again: Runs started with `rerun`, although their run key may have succeeded.
        resets: How often an operator set each watermark, by pipeline and name.
        resets_seen: How often that had been when a run read it.
    """

    read: dict[str, Item] = field(default_factory=dict)
    advanced: dict[str, Item] = field(default_factory=dict)
    succeeded: set[str] = field(default_factory=set)
    beaten: dict[str, str | None] = field(default_factory=dict)
    leases: dict[str, str] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    by_hand: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    resets: Counter[tuple[str, str]] = field(default_factory=Counter)
    resets_seen: dict[tuple[str, str], int] = field(default_factory=dict)


class Invariants:
    """Checks the whole run table after every step and compares it with the steps before.

    Args:
        client: A client of boto3.
        table_name: The run table.
        exclusive: Ids of the exclusive pipelines.
        told: The results that callers received.
    """

    def __init__(self, client: Any, table_name: str, exclusive: frozenset[str], told: Told) -> None:
        self._client = client
        self._table_name = table_name
        self._exclusive = exclusive
        self._told = told
        self._ends: dict[str, Item] = {}
        self._fences: dict[str, int] = {}
        self._successes: dict[str, Item] = {}
        self._versions: dict[str, int] = {}
        self._committed: dict[tuple[str, str], Any] = {}
        self.runs: dict[str, Item] = {}
        self.states: dict[str, Item] = {}

    def check(self) -> None:
        """Read the table and check the five invariants."""
        found: dict[str, list[Item]] = {kind: [] for kind in _KINDS}
        for item in items_of(self._client, self._table_name, _READ):
            found[item["kind"]].append(item)
        self.runs = {run["run_id"]: run for run in found["RUN"]}
        self.states = {state["pipeline_id"]: state for state in found["STATE"]}
        self._check_holders()
        self._check_fences()
        for cursor in found["CURSOR"]:
            self._check_cursor(cursor)
        for run in self.runs.values():
            if run["status"] in LIVE:
                self._check_live(run)
            else:
                self._check_ended(run)
                self._check_watermarks(run)
        for slot in found["SLOT"]:
            self._check_slot(slot)
        self._check_told()

    # ---- 1 and 3: lock and fence -----------------------------------------------------------------

    def _check_holders(self) -> None:
        for pipeline_id, state in self.states.items():
            holder = state.get("holder")
            if holder is not None:
                assert pipeline_id in self._exclusive, f"1: {pipeline_id} has a holder"
                assert holder in self.runs, f"1: holder {holder} is no run"
                assert self.runs[holder]["status"] in LIVE, f"1: holder {holder} has ended"
            if "last_run_id" in state:
                last = self.runs[state["last_run_id"]]
                assert last["status"] == state["last_status"], f"the history of {pipeline_id} lies"

    def _check_live(self, run: Item) -> None:
        run_id, pipeline_id = run["run_id"], run["pipeline_id"]
        assert run_id not in self._ends, f"2: {run_id} is live again"
        assert "gx_live" in run, f"{run_id} is not listed as running"
        assert "end_time" not in run, f"2: {run_id} is live and has an end"
        assert "lease_until" in run, f"1: {run_id} is live for ever"
        if pipeline_id in self._exclusive:
            holder = self.states[pipeline_id].get("holder")
            assert holder == run_id, f"1: {run_id} is live, {holder} holds {pipeline_id}"

    def _check_fences(self) -> None:
        for pipeline_id in self._exclusive & self.states.keys():
            fence = int(self.states[pipeline_id]["fence"])
            assert fence >= self._fences.get(pipeline_id, 0), f"3: {pipeline_id} went back"
            self._fences[pipeline_id] = fence
            runs = [run for run in self.runs.values() if run["pipeline_id"] == pipeline_id]
            fences = [int(run["fence"]) for run in runs]
            assert len(set(fences)) == len(fences), f"3: runs of {pipeline_id} share a fence"
            assert max(fences) <= fence, f"3: {pipeline_id} is behind its runs"

    # ---- 2: ends and watermarks ------------------------------------------------------------------

    def _check_ended(self, run: Item) -> None:
        run_id = run["run_id"]
        assert "end_time" in run, f"2: {run_id} has ended without an end time"
        assert "lease_until" not in run, f"2: {run_id} has ended and keeps its lease"
        assert "gx_live" not in run, f"2: {run_id} has ended and is listed as running"
        if run["status"] == "lost" and run["status_reason"] != "released":
            assert run["detected_at"] > self._told.leases.get(run_id, ""), (
                f"5: {run_id} had a lease"
            )
        before = self._ends.get(run_id, run)
        if before["status"] != run["status"]:
            assert before["status"] == "lost", f"2: {run_id} was {before['status']}"
            assert run["late_finish"], f"2: {run_id} came back from the dead"
            assert "superseded_by" not in before, f"2: {run_id} was superseded"
            assert before["writer"] == run["writer"], f"2: {run_id} has another writer"
        else:
            noted = {k: v for k, v in run.items() if k not in before}
            assert noted.keys() <= {"late_outcome"}, f"2: {run_id} has changed: {noted}"
            assert {k: run.get(k) for k in before} == before, f"2: {run_id} has changed"
        self._ends[run_id] = run

    def _check_cursor(self, cursor: Item) -> None:
        key, name, version = cursor["run_id"], cursor["name"], int(cursor["row_version"])
        seen = self._versions.get(key, 0)
        assert version >= seen, f"2: watermark {key} went back"
        self._versions[key] = version
        run_id = cursor.get("moved_by")
        if version == seen or run_id is None:
            return
        assert (run_id, name) not in self._committed, f"2: {run_id} moved {name} twice"
        assert version == seen + 1, f"2: watermark {key} was moved behind our back"
        self._committed[run_id, name] = cursor["value"]
        assert cursor.get("prev") == self._told.read[run_id].get(name), f"2: {run_id} went on from"

    def _check_watermarks(self, run: Item) -> None:
        run_id, conflict = run["run_id"], bool(run.get("watermark_conflict"))
        is_due = run["status"] == "success" and "superseded_by" not in run and not conflict
        is_due = is_due and run_id not in self._told.by_hand  # without its watermarks
        for name, value in self._told.advanced.get(run_id, {}).items():
            if run_id in self._told.finished:
                assert is_due, f"5: {run_id} was said to have moved {name}"
            committed = self._committed.get((run_id, name))
            assert committed == (value if is_due else None), (
                f"2: {run_id} is {run['status']} and committed {committed!r}, wanted {value!r}"
            )
        if conflict:
            names = self._told.advanced[run_id]
            assert any(self._was_reset(run, name) for name in names), f"2: who disturbed {run_id}?"

    def _was_reset(self, run: Item, name: str) -> bool:
        seen = self._told.resets_seen[run["run_id"], name]
        return self._told.resets[run["pipeline_id"], name] > seen

    # ---- run keys --------------------------------------------------------------------------------

    def _check_slot(self, slot: Item) -> None:
        key, pipeline_id = slot["run_key"], slot["pipeline_id"]
        tried = [
            run
            for run in self.runs.values()
            if run["pipeline_id"] == pipeline_id and run.get("run_key") == key
        ]
        tried.sort(key=lambda run: run["attempt"])
        numbers = [int(run["attempt"]) for run in tried]
        assert numbers == list(range(1, len(tried) + 1)), f"attempts at {key}: {numbers}"
        before = [run.get("previous_run_id") for run in tried]
        assert before == [None, *(run["run_id"] for run in tried)][:-1], f"attempts at {key}"
        assert sum(run["status"] in LIVE for run in tried) <= 1, f"1: {key} runs twice"
        last = tried[-1]
        assert slot["last_run_id"] == last["run_id"], f"{key} forgot its last attempt"
        assert slot["status"] == last["status"], f"{key} is {slot['status']}, not {last['status']}"
        done = [run["run_id"] for run in tried if run["status"] == "success"]
        unasked = [run_id for run_id in done if run_id not in self._told.again]
        assert len(unasked) <= 1, f"{key} succeeded twice"
        assert ("success_run_id" in slot) == bool(done), f"{key} forgot that it succeeded"
        first = {name: slot.get(name) for name in ("success_run_id", "first_success_at")}
        if done:
            assert first == self._successes.setdefault(slot["run_id"], first), f"{key} changed"

    # ---- 4 and 5: what was returned --------------------------------------------------------------

    def _check_told(self) -> None:
        for run_id, lease in self._told.beaten.items():
            run = self.runs[run_id]
            is_live = run["status"] in LIVE
            assert is_live == (lease is not None), f"5: the beat of {run_id}, {run['status']}"
            assert run.get("lease_until", "") >= (lease or ""), f"5: the lease of {run_id}"
        self._told.beaten.clear()
        for run_id in self._told.succeeded - self._told.by_hand:
            status = self.runs[run_id]["status"]
            assert status in ("running", "success", "lost"), f"4: {run_id} is stored as {status}"
        for run_id, told in self._told.ended.items():
            run, status = self.runs[run_id], self.runs[run_id]["status"]
            if told == "lost" and run["late_finish"]:
                continue
            assert status == told, f"5: {run_id} was said to be {told} and is {status}"
