"""`RunStore`: the reads and writes of run control in the run table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.batches import batch_get
from dynamodb_wrapper.aws.calls import Caller
from dynamodb_wrapper.aws.client import Connection
from dynamodb_wrapper.aws.clock import ClockReading
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.control_tables import PIPELINE_RUN_LOGS
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.repositories.queries import Queries, Reading, Results
from dynamodb_wrapper.repositories.run_log.finish import RunEnds
from dynamodb_wrapper.repositories.run_log.items import (
    RunChunks,
    RunReads,
    identity,
    read_slot,
    slot_key,
)
from dynamodb_wrapper.repositories.run_log.labels import put_tags
from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp, LeaseWatch
from dynamodb_wrapper.repositories.run_log.live import LiveRuns, RunParts
from dynamodb_wrapper.repositories.run_log.protocol import Builder
from dynamodb_wrapper.repositories.run_log.removal import RunRemoval
from dynamodb_wrapper.repositories.run_log.requests import RunLogRequests
from dynamodb_wrapper.repositories.run_log.start import RunStarts
from dynamodb_wrapper.serialization.decoder import stored_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.models.run_state import Cursor, PipelineState, RunOutcome, RunSlot


class RunStore:
    """Starts, renews, changes and ends the runs of one run table, for `RunTracker`.

    Args:
        caller: Sends to the run table.
        requests: Builds the requests of run records.

    Attributes:
        caller: Sends to the run table; counts what is consumed.
        ends: Ends runs.
        removal: Deletes and expires runs.
    """

    def __init__(self, caller: Caller, requests: RunLogRequests) -> None:
        self.caller = caller
        self._requests = requests
        build = Builder(caller.table_name, requests.actor)
        self._reads = RunReads(caller, requests.codec.decode)
        self._starts = RunStarts(
            self._reads, build, lambda run: requests.start(run).as_action(), self._unlimited_runs
        )
        self._life = LiveRuns(self._reads, build, requests.secrets)
        self._chunks = RunChunks(caller)
        self._parts = RunParts(caller, requests)
        self.ends = RunEnds(self._reads, build, self._parts.storable)
        self.removal = RunRemoval(self._reads, build)

    @classmethod
    def of(cls, config: DynamoDBConfig, *, client: Any = None) -> RunStore:
        """Return the store of a configuration; `client` is a boto3 client to use instead."""
        requests = RunLogRequests(PIPELINE_RUN_LOGS, config, client)
        connection = Connection(config, client)
        caller = Caller(connection, requests.table_name, config.operation_timeout_seconds)
        return cls(caller, requests)

    # ---- start, life and end ---------------------------------------------------------------------

    def start(
        self,
        run: PipelineRunLog,
        *,
        exclusive: bool,
        rerun: bool = False,
        watch: LeaseWatch | None = None,
    ) -> tuple[PipelineRunLog, tuple[PipelineRunLog, ...]]:
        """Store a new run; return it, and the dead runs it took over from.

        An exclusive run takes its pipeline's lock in the same transaction, a run with a run key
        takes the key. Costs 8 to 12 write units and a read unit; two write units and a read unit
        more for the run key, 8 to 14 and a read unit for a run that is taken over, three to four
        write units for each tag, one to two for an external id.
        See: TransactWriteItems.

        Args:
            run: The run; its number, fence and attempt are filled in.
            exclusive: Whether the pipeline has one run at a time.
            rerun: Whether a run key that has succeeded may run again.
            watch: Decides which runs are dead; by DynamoDB's clock alone unless given.

        Raises:
            AlreadyRunningError: A live run holds the pipeline or the run key.
            AlreadySucceededError: The run key has succeeded.
            ItemAlreadyExistsError: The run id was used before.
        """
        prepared = self._requests.prepared(run)
        judge = watch or self._watch_at(None)
        return self._starts.start(prepared, judge, exclusive=exclusive, rerun=rerun)

    def beat(
        self,
        run: PipelineRunLog,
        *,
        now: datetime,
        lease_until: datetime,
        clock_error_seconds: float | None = None,
    ) -> PipelineRunLog | None:
        """Renew the lease of a run and return the run as it then is; None if it no longer exists.

        Nothing is renewed if the run has ended or has another writer: status and writer of the
        returned run show it. Costs a write unit per KB of the run. See: UpdateItem.

        Args:
            run: The run as it was last read.
            now: The present moment.
            lease_until: When the lease ends; never stored twice, or observers take it for the same.
            clock_error_seconds: By how much the clock of both may be behind DynamoDB's; None where
                that is not known.
        """
        return self._life.beat(run, LeaseStamp(now, lease_until, clock_error_seconds))

    def request_cancel(
        self, run_id: str, *, by: str, now: datetime | None = None
    ) -> PipelineRunLog:
        """Ask a live run to end itself, and return it; its driver sees that with its next beat.

        Costs a write unit per KB of the run. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended.
        """
        if not isinstance(by, str) or not by.strip():
            raise ValidationError("A cancellation needs `by`: a string that names who asks for it.")
        return self._life.request_cancel(run_id, self._requests.clean_text(by), now or utc_now())

    def set_status(
        self, run: PipelineRunLog, outcome: RunOutcome, before: Sequence[RunStatus]
    ) -> PipelineRunLog:
        """Change the status of a run that holds no lock, if its status is one of `before`.

        Costs a write unit per KB of the run and of its index entries. See: UpdateItem.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The stored status is another.
        """
        clean = replace(outcome, error=self._requests.clean_error(outcome.error))
        return self._parts.set_status(run, clean, before)

    def reap(
        self, run_id: str, *, now: datetime | None = None, watch: LeaseWatch | None = None
    ) -> PipelineRunLog | None:
        """End a run whose lease has run out as LOST, and return it; None if it is not dead.

        Its lock and its run key are freed in the same transaction. Safe to repeat. Costs two to
        three read units, and 10 to 16 write units for a dead run. See: TransactWriteItems.

        Args:
            run_id: The run.
            now: Taken for the time of DynamoDB's clock; its replies show that otherwise.
            watch: Decides which runs are dead, instead of that.
        """
        return self.ends.reap(run_id, watch or self._watch_at(now))

    def _watch_at(self, now: datetime | None) -> LeaseWatch:
        if now is None:
            return LeaseWatch(self.caller.connection.clock.read)
        return LeaseWatch(lambda: ClockReading(now, now, now))

    def release(
        self, pipeline_id: str, *, reason: str, now: datetime | None = None
    ) -> PipelineRunLog | None:
        """End the run that holds a pipeline as LOST, free the pipeline, return the run.

        `PipelineRunLogsRepository.release` documents it.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise ValidationError(
                "release needs a reason: a string, which the next operator will read."
            )
        clean = self._requests.clean_text(reason)
        return self.ends.release(pipeline_id, clean, now or utc_now())

    def live_runs(self, environment: str | None = None) -> list[PipelineRunLog]:
        """Return the live runs, whole and read consistently, oldest first.

        Costs half a read unit per 4 KB of index entries and one per 4 KB of each run.
        See: Query, BatchGetItem.
        """
        reading = Reading(
            index="live", consistent=True, keep=lambda run: not run.status.is_terminal
        )
        partition = environment or self._requests.environment
        plan = Queries(self._requests).query(partition, None, reading)
        return Results(self.caller, self._requests.table, plan).all()

    def _unlimited_runs(self, pipeline_id: str) -> list[PipelineRunLog]:
        """Return the live runs of a pipeline that took no lock, read consistently."""
        reading = Reading(
            index="by_pipeline_status",
            consistent=True,
            keep=lambda run: not run.status.is_terminal and run.is_tracked and run.fence is None,
        )
        partition = f"{pipeline_id}#{RunStatus.RUNNING}"
        plan = Queries(self._requests).query(partition, None, reading)
        return Results(self.caller, self._requests.table, plan).all()

    # ---- parts of a live run ---------------------------------------------------------------------

    def put_parts(
        self, run_id: str, parts: Mapping[tuple[str, ...], Any], *, writer: str | None = None
    ) -> None:
        """Store parts of a running run, replacing what their paths held; nothing is read before.

        Values are absolute, so that repeating the call changes nothing. Costs a write unit per KB
        of the run. See: UpdateItem.

        Args:
            run_id: The run.
            parts: Values by path: a field, or a field and an entry of its map.
            writer: Random id of the handle that must own the run; any if None.

        Raises:
            ItemNotFoundError: There is no such run.
            InvalidTransitionError: The run has ended, or has another writer.
        """
        self._parts.put(run_id, parts, writer=writer)

    def check_parts(self, parts: Mapping[tuple[str, ...], Any]) -> None:
        """Refuse parts of a run that could not be stored; sends nothing, costs nothing.

        Raises:
            ValidationError: A field is unknown, or its value does not fit.
        """
        self._parts.encoded(parts)

    def attach_runtime(self, run_id: str, facts: Mapping[str, str | int]) -> None:
        """Store fields of `RuntimeInfo` that a running run learns late. As `put_parts`."""
        self._parts.put(run_id, {("runtime", name): fact for name, fact in facts.items()})

    # ---- items beside the runs -------------------------------------------------------------------

    def state(self, pipeline_id: str) -> PipelineState:
        """Return the holder of a pipeline and the outcomes of its last runs.

        Costs one read unit; the read is consistent. See: GetItem.
        """
        return self._reads.state(pipeline_id)

    def slots(self, pipeline_id: str, run_keys: Sequence[str]) -> list[RunSlot | None]:
        """Return the last attempt at each run key, in the order of the keys; None without one.

        Costs one read unit per key; the read is consistent. See: BatchGetItem.
        """
        keys = [slot_key(pipeline_id, key) for key in run_keys]
        read = partial(stored_batch, ["run_id"])
        found = batch_get(self.caller, keys, {"ConsistentRead": True}, read)
        return [read_slot(item) for item in found]

    def cursor(self, pipeline_id: str, name: str) -> Cursor:
        """Return a watermark of a pipeline; version 0 where there is none.

        Costs a read unit per 4 KB; the read is consistent. See: GetItem.

        Raises:
            ValidationError: The name cannot be stored, or holds a secret of the process.
        """
        return self._reads.cursor(pipeline_id, self._watermark_name(name))

    def reset_watermark(
        self, pipeline_id: str, name: str, value: Any, *, now: datetime | None = None
    ) -> Cursor:
        """Set a watermark by hand and return it; a run under way does not overwrite it.

        Such a run succeeds without moving the watermark, and has `watermark_conflict` set.
        Costs a write unit per KB and a read unit per 4 KB. See: UpdateItem.

        Raises:
            ValidationError: The type of the value cannot be stored, or it is over 64 KB; the name
                cannot be stored, or one of both holds a secret of the process.
        """
        known_as = self._watermark_name(name)
        return self._life.reset_watermark(pipeline_id, known_as, value, now or utc_now())

    def put_chunk(
        self, run: PipelineRunLog, kind: str, number: int, text: str, now: datetime
    ) -> None:
        """Store a piece of the log (``log``) or of the stack trace (``err``) of a run.

        Storing it again changes nothing. Costs a write unit per KB of the compressed text.
        See: PutItem.

        Args:
            run: The run.
            kind: ``log`` or ``err``.
            number: Place of the piece, from 1.
            text: At most 64 KB.
            now: The present moment.
        """
        self._chunks.put(run, kind, number, text, now)

    def put_tags(self, run: PipelineRunLog, now: datetime) -> None:
        """Store the items by which a stored record is found by its tags.

        Storing them again changes nothing. Costs two write units per tag. See: BatchWriteItem.
        """
        put_tags(self.caller, run, now)

    def read_chunks(self, run_id: str, kind: str, count: int) -> str:
        """Return the text of the first `count` pieces together; a missing one is left out.

        Costs a read unit per 4 KB of each; the reads are consistent. See: GetItem.
        """
        return "".join(self._chunks.read(run_id, kind, count))

    def _watermark_name(self, name: str) -> str:
        return identity(name, "A watermark", self._requests.secrets)
