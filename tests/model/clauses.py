"""Every clause of every condition the builder can emit, from one call of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome, RunSlot
from dynamodb_wrapper.repositories.run_log.items import read_cursor
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp
from dynamodb_wrapper.repositories.run_log.live import cursor_move
from dynamodb_wrapper.repositories.run_log.takeover import StartPlan
from tests.model.items import PIPELINE, WATERMARK, moment
from tests.model.library import TABLE, MarkedBuilder, created
from tests.model.table import Clause, Request, understand

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUILD = MarkedBuilder(TABLE, "model")
_NOW = moment(9)
_FREE = PipelineState()
_FAILED_ONLY = PipelineState(fence=3, next_seq=3, last_seq=3)
_FREE_AGAIN = PipelineState(fence=4, next_seq=4, last_seq=4, last_ok_seq=3)
_HELD = PipelineState(holder="old", fence=4, next_seq=4)


def _run(run_id: str, **fields: Any) -> PipelineRunLog:
    values = {"writer": f"writer of {run_id}", "lease_until": moment(1), "run_seq": 4, **fields}
    return PipelineRunLog(run_id=run_id, pipeline_id=PIPELINE, environment="test", **values)


_OLD = _run("old", run_key="k", fence=4)
_ENDED = _run("old", status=RunStatus.FAILED, fence=4)
_SLOT = RunSlot("old", "running")


def requests() -> Iterator[Request]:
    """Yield requests that have every condition the builder knows."""
    for actions in (*_starts(), *_ends()):
        yield understand("TransactWriteItems", {"TransactItems": [a.as_item() for a in actions]})
    for request in _updates():
        yield understand("UpdateItem", request)


def clauses() -> tuple[Clause, ...]:
    """Return every clause of every condition the builder can emit."""
    found = (clause for request in requests() for part in request.parts for clause in part.clauses)
    return tuple(sorted(set(found), key=str))


def _starts() -> Iterator[Any]:
    free, again = StartPlan(_FREE, None), StartPlan(_FREE_AGAIN, RunSlot("old", "failed"))
    taking = StartPlan(_HELD, None, (_OLD,), frozenset({"old"}))
    after_ended = StartPlan(_HELD, None, gone=("old",))
    for plan in (free, again, taking, after_ended):
        run = _run("new", run_key="other", fence=5)
        yield _BUILD.start_exclusive(created(run), run, plan, _NOW)
    for plan in (StartPlan(_FREE, None), StartPlan(_FREE, _SLOT, (_OLD,))):
        run = _run("new", run_key="k")
        yield _BUILD.start_shared(created(run), run, plan, _NOW)
    run = _run("new", run_key="k")
    yield _BUILD.start_shared(created(run), run, StartPlan(_FREE, _SLOT, gone=("old",)), _NOW)


def _ends() -> Iterator[Any]:
    first = cursor_move(read_cursor(WATERMARK, None), "first")
    next_ = cursor_move(read_cursor(WATERMARK, {"row_version": {"N": "3"}}), "next")
    lost = RunOutcome(RunStatus.LOST, end_time=_NOW, fields={"detected_at": _NOW})
    for move in (first, next_):
        good = RunOutcome(RunStatus.SUCCESS, end_time=_NOW, moves=(move,))
        for run in (_OLD, _run("shared", run_key="k")):
            for state in (_FREE, _FAILED_ONLY, _FREE_AGAIN):
                yield _BUILD.finish(run, good, state)
                yield _BUILD.finish_late(run, good, state)
    yield _BUILD.reap(_OLD, lost, _HELD, owns_slot=True)
    yield _BUILD.release(PIPELINE, _HELD, _OLD, lost, owns_slot=True)
    yield _BUILD.release(PIPELINE, _HELD, _ENDED, lost, owns_slot=False)
    deletion = _BUILD.delete_run("old", "failed", "w")
    for attempt, covered_by in ((1, None), (2, "old")):
        seen = RunSlot("old", "failed", attempt, success_run_id=covered_by)
        yield [deletion, _BUILD.free_slot(PIPELINE, "k", seen, "old")]


def _updates() -> Iterator[dict[str, Any]]:
    good = RunOutcome(RunStatus.SUCCESS, end_time=_NOW)
    yield _BUILD.beat(_OLD, LeaseStamp(_NOW, moment(10), 0.0))
    yield _BUILD.request_cancel("old", "somebody", _NOW)
    yield _BUILD.note_late_outcome(_OLD, good)
    yield _BUILD.count_start(PIPELINE)
    for item in (None, {"row_version": {"N": "3"}}):
        move = cursor_move(read_cursor(WATERMARK, item), "by hand")
        yield _BUILD.move_cursor(PIPELINE, move, _NOW).request
