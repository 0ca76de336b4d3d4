"""Send the start transactions of a run and interpret their refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dynamodb_wrapper.aws.transactions import Action, transact
from dynamodb_wrapper.exceptions.errors import (
    AlreadyRunningError,
    AlreadySucceededError,
    ItemAlreadyExistsError,
    TransactionCanceledError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.repositories.run_log.items import read_state
from dynamodb_wrapper.repositories.run_log.labels import tag_actions
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp
from dynamodb_wrapper.repositories.run_log.protocol import next_fence, run_after, superseded_outcome
from dynamodb_wrapper.repositories.run_log.takeover import Refusal, StartPlan, decide_start
from dynamodb_wrapper.repositories.write_results import has_landed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dynamodb_wrapper.aws.clock import ClockReading
    from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
    from dynamodb_wrapper.repositories.run_log.items import RunReads
    from dynamodb_wrapper.repositories.run_log.leases import LeaseWatch
    from dynamodb_wrapper.repositories.run_log.protocol import Builder

logger = SafeLogger(__name__)
_MOST_UNLIMITED = 25  # a transaction has 100 actions


class RunStarts:
    """Starts runs of one run table.

    Args:
        reads: Reads for decisions.
        build: Builds the transactions.
        create: Returns the put of a run whose id must be free.
        unlimited: Returns the live runs of a pipeline that took no lock.
    """

    def __init__(
        self,
        reads: RunReads,
        build: Builder,
        create: Callable[[PipelineRunLog], Action],
        unlimited: Callable[[str], Iterable[PipelineRunLog]] = lambda _: (),
    ) -> None:
        self._reads = reads
        self._build = build
        self._create = create
        self._unlimited = unlimited
        self._caller = reads.caller

    def start(
        self,
        run: PipelineRunLog,
        watch: LeaseWatch,
        *,
        exclusive: bool,
        rerun: bool = False,
    ) -> tuple[PipelineRunLog, tuple[PipelineRunLog, ...]]:
        """Store a new run; return it and the dead runs it took over from.

        An exclusive pipeline must not be held by a live run. A run key must not have a live run,
        nor, unless `rerun`, a success.
        """
        numbered = run if exclusive else self._numbered(run)
        for _ in self._caller.backoff().waits():
            reading = watch.read_clock()
            now = reading.now
            seen = self._reads.before_start(run, watch, exclusive=exclusive)
            if exclusive and seen.state.may_have_unlimited:
                others = tuple(self._unlimited(run.pipeline_id))[:_MOST_UNLIMITED]
                dead = {other.run_id for other in others if watch.is_dead(other)}
                seen = replace(seen, unlimited=others, dead=seen.dead | dead)
            plan = decide_start(seen, rerun=rerun)
            if isinstance(plan, Refusal):
                raise self._refused(run, plan)
            started = self._started(numbered, plan, reading, exclusive=exclusive)
            make = self._build.start_exclusive if exclusive else self._build.start_shared
            try:
                actions = make(self._create(started), started, plan, now)
                tags = tag_actions(self._build.table_name, started, now)
                transact(self._caller, [*actions, *tags])
            except TransactionCanceledError as error:
                if error.reasons and error.reasons[0].code:
                    return self._stored_before(started, error), ()
                continue  # an item has changed since it was read: read again
            ended = tuple(self._after_takeover(lost, started, now) for lost in plan.lost)
            for lost in ended:
                logger.warning(
                    "Run %s takes over pipeline %s from run %s, whose lease ran out: it is lost.",
                    run.run_id,
                    run.pipeline_id,
                    lost.run_id,
                )
            return started, ended
        raise self._reads.gave_up(f"Pipeline {run.pipeline_id!r}")

    def _numbered(self, run: PipelineRunLog) -> PipelineRunLog:
        request = self._build.count_start(run.pipeline_id)
        response = self._caller.call("UpdateItem", request)
        sequence = read_state(response["Attributes"]).next_seq
        return run.model_copy(update={"run_seq": sequence})

    def _started(
        self, run: PipelineRunLog, plan: StartPlan, reading: ClockReading, *, exclusive: bool
    ) -> PipelineRunLog:
        values: dict[str, object] = {}
        if run.lease_until is not None and run.heartbeat_at is not None:
            values.update(LeaseStamp.of(reading, run.lease_until - run.heartbeat_at).fields)
        if exclusive:
            values["fence"] = next_fence(plan.state, reading.now)
            values["run_seq"] = plan.state.next_seq + 1
        if plan.slot is not None:
            values["attempt"] = plan.slot.attempt + 1
            values["previous_run_id"] = plan.slot.last_run_id
        return run.model_copy(update=values)

    def _after_takeover(
        self, lost: PipelineRunLog, started: PipelineRunLog, now: datetime
    ) -> PipelineRunLog:
        outcome = superseded_outcome(lost, started, now)
        return run_after(lost, outcome, self._build.actor)

    def _stored_before(
        self, run: PipelineRunLog, error: TransactionCanceledError
    ) -> PipelineRunLog:
        """Return the run that an attempt whose reply was lost has stored.

        Raises:
            ItemAlreadyExistsError: The id belongs to another run.
        """
        found = error.reasons[0].current or {} if error.reasons else {}
        if has_landed(found, {"writer": run.writer, "status": str(run.status)}):
            stored = self._reads.run(run.run_id)
            if stored is not None:
                return stored
        raise ItemAlreadyExistsError(
            f"There is a run {run.run_id!r} already; a run id is used once.",
            current=found,
            table_name=self._caller.table_name,
            key={"run_id": run.run_id},
            operation="TransactWriteItems",
        ) from error

    def _refused(self, run: PipelineRunLog, refusal: Refusal) -> DynamoDBWrapperError:
        table = self._caller.table_name
        if refusal.running is None:
            return AlreadySucceededError(
                f"Run key {run.run_key!r} of pipeline {run.pipeline_id!r} was covered by run "
                f"{refusal.succeeded}; rerun=True does it again.",
                pipeline_id=run.pipeline_id,
                run_id=run.run_id,
                succeeded_run_id=refusal.succeeded,
                table_name=table,
            )
        return _already_running(run, refusal.running, table)


def _already_running(run: PipelineRunLog, other: PipelineRunLog, table: str) -> AlreadyRunningError:
    since = other.start_time.isoformat() if other.start_time else None
    beat = other.heartbeat_at.isoformat() if other.heartbeat_at else None
    host = other.runtime.host
    where = f" on {host} (pid {other.runtime.pid})" if host else ""
    what = f"Pipeline {run.pipeline_id!r}"
    way_out = f"release({run.pipeline_id!r}, reason=...) frees an exclusive pipeline at once"
    if other.fence is None and other.run_key is not None and run.run_key == other.run_key:
        what = f"Run key {run.run_key!r} of pipeline {run.pipeline_id!r}"
    elif other.fence is None:
        what = f"{what} was made exclusive while runs of it were live: it"
        way_out = f"cancel({other.run_id!r}, by=...) asks the run to end itself"
    return AlreadyRunningError(
        f"{what} is held by run {other.run_id}, running since {since or 'an unknown time'}{where}, "
        f"last heartbeat {beat or 'unknown'}. Once its lease has run out the next start takes "
        f"over; {way_out}.",
        pipeline_id=run.pipeline_id,
        run_id=run.run_id,
        holder=other.run_id,
        since=since,
        host=host,
        last_heartbeat=beat,
        table_name=table,
    )
