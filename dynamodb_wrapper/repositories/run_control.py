"""Sends the transactions of a run and decides from their refusals.

There is one way to change a run's status, and it leads through here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    ConditionFailedError,
    InvalidTransitionError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    RunFinishError,
    ThrottledError,
    TransactionCanceledError,
    ValidationError,
)
from dynamodb_wrapper.models import LIVE, PipelineRunLog, RunStatus, utc_now
from dynamodb_wrapper.models.run_state import PipelineState, RunOutcome
from dynamodb_wrapper.repositories import run_transactions as build
from dynamodb_wrapper.wire.codec import plain
from dynamodb_wrapper.wire.transactions import Action, transact

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.wire.requests import Caller

logger = logging.getLogger(__name__)

Ended = TypeVar("Ended")


class RunControl:
    """Start, finish and release of runs on one run table.

    Args:
        caller: Sends to the run table.
        decode: Makes a run of a stored item.
        create: Makes the put of a run whose id must be free.
        actor: Who writes.
    """

    def __init__(
        self,
        caller: Caller,
        decode: Callable[[Any], PipelineRunLog],
        create: Callable[[PipelineRunLog], Action],
        actor: str,
    ) -> None:
        self._caller = caller
        self._decode = decode
        self._create = create
        self._actor = actor
        self._table = caller.table_name

    # ---- reads for decisions: base items, consistently -------------------------------------------

    def state(self, pipeline_id: str) -> PipelineState:
        """Return the state of a pipeline. Costs one read unit."""
        return build.read_state(self._get(build.state_key(pipeline_id)))

    def run(self, run_id: str) -> PipelineRunLog | None:
        """Return a run as it is now. Costs a read unit per 4 KB."""
        item = self._get(build.run_key(run_id))
        return None if item is None else self._decode(item)

    def _get(self, key: dict[str, Any]) -> dict[str, Any] | None:
        request = {"TableName": self._table, "Key": key, "ConsistentRead": True}
        return self._caller.call("GetItem", request, key=plain(key)).get("Item") or None

    # ---- start -----------------------------------------------------------------------------------

    def start(self, run: PipelineRunLog, *, exclusive: bool) -> PipelineRunLog:
        """Store a run that begins; of an exclusive pipeline only if nobody holds it."""
        return self._start_exclusive(run) if exclusive else self._start_shared(run)

    def _start_shared(self, run: PipelineRunLog) -> PipelineRunLog:
        response = self._caller.call("UpdateItem", build.count_start(self._table, run.pipeline_id))
        sequence = build.read_state(response["Attributes"]).next_seq
        begun = run.model_copy(update={"run_seq": sequence})
        try:
            transact(self._caller, [self._create(begun)])
        except TransactionCanceledError as error:
            return self._own_earlier_start(begun, error)
        return begun

    def _start_exclusive(self, run: PipelineRunLog) -> PipelineRunLog:
        for _ in self._caller.backoff().waits():
            state = self.state(run.pipeline_id)
            if state.holder is not None:
                raise self._already_running(run, state.holder)
            values = {
                "fence": build.next_fence(state, utc_now()),
                "run_seq": state.next_seq + 1,
            }
            begun = run.model_copy(update=values)
            put_run = self._create(begun)
            try:
                transact(
                    self._caller,
                    build.start_exclusive(self._table, put_run, begun, state),
                )
            except TransactionCanceledError as error:
                if error.reasons and error.reasons[0].code:
                    return self._own_earlier_start(begun, error)
                holder = (error.reasons[1].current or {}).get("holder") if error.reasons else None
                if holder is not None:
                    raise self._already_running(run, holder) from error
                continue  # somebody started and ended in between: look again
            return begun
        raise ThrottledError(
            f"Pipeline {run.pipeline_id!r} kept changing hands for "
            f"{self._caller.limit_seconds:g} s. Try again later.",
            table_name=self._table,
            operation="TransactWriteItems",
            retryable=True,
        )

    def _own_earlier_start(
        self, run: PipelineRunLog, error: TransactionCanceledError
    ) -> PipelineRunLog:
        """Recognise the run of an attempt whose reply was lost; another's id is refused."""
        found = error.reasons[0].current or {} if error.reasons else {}
        if found.get("writer") == run.writer and found.get("status") in tuple(map(str, LIVE)):
            stored = self.run(run.run_id)
            if stored is not None:
                return stored
        raise ItemAlreadyExistsError(
            f"There is a run {run.run_id!r} already; a run id is used once.",
            current=found,
            table_name=self._table,
            key={"run_id": run.run_id},
            operation="TransactWriteItems",
        ) from error

    def _already_running(self, run: PipelineRunLog, holder: str) -> AlreadyRunningError:
        held = self.run(holder)
        since = held.start_time.isoformat() if held is not None and held.start_time else None
        host = held.runtime.host if held is not None else None
        where = f" on {host} (pid {held.runtime.pid})" if held is not None and host else ""
        return AlreadyRunningError(
            f"Pipeline {run.pipeline_id!r} is held by run {holder}, running since "
            f"{since or 'an unknown time'}{where}. If that run is dead, end it and free the "
            f"pipeline with PipelineRunLogsRepository.release({run.pipeline_id!r}, reason=...).",
            pipeline_id=run.pipeline_id,
            run_id=run.run_id,
            holder=holder,
            since=since,
            host=host,
            table_name=self._table,
        )

    # ---- end -------------------------------------------------------------------------------------

    def finish(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        """Store how a run ended, free its lock and move its pipeline's history on.

        Safe to repeat: the same outcome stored before is success. A run that has grown too large
        ends with less detail: its end matters more than its details.
        """
        return self._with_less_detail(outcome, lambda smaller: self._finish(run, smaller))

    def _with_less_detail(self, outcome: RunOutcome, send: Callable[[RunOutcome], Ended]) -> Ended:
        for smaller in (outcome, outcome.without_details()):
            try:
                return send(smaller)
            except ValidationError as error:
                if error.error_code is None:
                    raise  # not DynamoDB's word
                logger.warning("The end of a run was refused; it is sent with less: %s", error)
        return send(outcome.without_parts())

    def _finish(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        for _ in self._caller.backoff().waits():
            state = self.state(run.pipeline_id)
            holds = run.fence is not None
            finish = build.finish_exclusive if holds else build.finish_shared
            actions = finish(self._table, run, outcome, state, self._actor)
            try:
                transact(self._caller, actions)
            except TransactionCanceledError as error:
                if error.reasons and error.reasons[0].code:
                    return self._stored_before(run, outcome, error)
                if holds:
                    raise self._lock_gone(run, outcome, error) from error
                continue  # another run ended in between: look again
            return self._after(run, outcome)
        raise ThrottledError(
            f"The history of pipeline {run.pipeline_id!r} kept changing for "
            f"{self._caller.limit_seconds:g} s.",
            table_name=self._table,
            operation="TransactWriteItems",
            retryable=True,
        )

    def _after(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        stored = self.run(run.run_id)
        if stored is not None:
            return stored
        return run.model_copy(update={"status": outcome.status, "end_time": outcome.end_time})

    def _stored_before(
        self, run: PipelineRunLog, outcome: RunOutcome, error: TransactionCanceledError
    ) -> PipelineRunLog:
        """Decide from the run as it is: an earlier attempt of ours, ended by others, or gone."""
        stored = self.run(run.run_id)
        if stored is None:
            raise ItemNotFoundError(
                f"There is no run {run.run_id!r} any more.",
                table_name=self._table,
                key={"run_id": run.run_id},
            ) from error
        if stored.writer == run.writer and stored.status is outcome.status:
            return stored
        if stored.writer == run.writer and stored.status is RunStatus.LOST:
            self._note_late(run, outcome)
            raise RunFinishError(
                f"Run {run.run_id} of pipeline {run.pipeline_id!r} came to {outcome.status}, but "
                f"had been ended as lost ({stored.status_reason}) before. It stays lost; "
                f"late_outcome says {outcome.status}.",
                run_id=run.run_id,
                pipeline_id=run.pipeline_id,
                outcome=str(outcome.status),
            ) from error
        whose = "" if stored.writer == run.writer else " by somebody else, who replaced its record"
        raise InvalidTransitionError(
            f"Run {run.run_id} came to {outcome.status}, but had ended as {stored.status} "
            f"before{whose}; an end is final.",
            key={"run_id": run.run_id},
            table_name=self._table,
        ) from error

    def _note_late(self, run: PipelineRunLog, outcome: RunOutcome) -> None:
        request = build.note_late_outcome(self._table, run, outcome)
        try:
            self._caller.call("UpdateItem", request, key={"run_id": run.run_id})
        except ConditionFailedError:
            logger.warning("The late outcome of run %s could not be noted.", run.run_id)

    def _lock_gone(
        self, run: PipelineRunLog, outcome: RunOutcome, error: TransactionCanceledError
    ) -> RunFinishError:
        holder = (error.reasons[1].current or {}).get("holder") if error.reasons else None
        return RunFinishError(
            f"Run {run.run_id} came to {outcome.status}, but pipeline {run.pipeline_id!r} is held "
            f"by {holder or 'nobody'}: its STATE item was changed by hand. The run is unchanged.",
            run_id=run.run_id,
            pipeline_id=run.pipeline_id,
            outcome=str(outcome.status),
        )

    def release(self, pipeline_id: str, reason: str) -> PipelineRunLog | None:
        """End the holder as lost and free the pipeline; None when nobody holds it."""
        now = utc_now()
        fields = {"detected_at": now, "status_detail": reason}
        outcome = RunOutcome(RunStatus.LOST, "released", end_time=now, fields=fields)
        return self._with_less_detail(outcome, lambda smaller: self._release(pipeline_id, smaller))

    def _release(self, pipeline_id: str, outcome: RunOutcome) -> PipelineRunLog | None:
        for _ in self._caller.backoff().waits():
            state = self.state(pipeline_id)
            if state.holder is None:
                return None
            holder = self.run(state.holder)
            actions = build.release(self._table, pipeline_id, state, holder, outcome, self._actor)
            try:
                transact(self._caller, actions)
            except TransactionCanceledError:
                continue  # the holder ended, or another took over: look again
            return self.run(state.holder)
        raise ThrottledError(
            f"Pipeline {pipeline_id!r} kept changing hands for {self._caller.limit_seconds:g} s.",
            table_name=self._table,
            operation="TransactWriteItems",
            retryable=True,
        )
