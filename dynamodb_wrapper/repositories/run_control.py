"""The methods of `PipelineRunLogsRepository` that run control is made of.

There is one way to change a run's status, and it leads through here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import PIPELINE_RUN_LOGS, PipelineRunLog, utc_now
from dynamodb_wrapper.redaction import redact_known, redact_values, stored_text
from dynamodb_wrapper.repositories.queries import Reading
from dynamodb_wrapper.repositories.run_chunks import RunChunks
from dynamodb_wrapper.repositories.run_ends import RunEnds
from dynamodb_wrapper.repositories.run_history import RunHistory
from dynamodb_wrapper.repositories.run_items import is_companion, read_slot, slot_key
from dynamodb_wrapper.repositories.run_life import RunLife
from dynamodb_wrapper.repositories.run_names import identity as name_of
from dynamodb_wrapper.repositories.run_parts import RunParts
from dynamodb_wrapper.repositories.run_reads import RunReads
from dynamodb_wrapper.repositories.run_starts import RunStarts
from dynamodb_wrapper.repositories.run_transactions import Builder
from dynamodb_wrapper.wire.batches import batch_get
from dynamodb_wrapper.wire.decoding import stored_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from dynamodb_wrapper.models import RunErrorInfo
    from dynamodb_wrapper.models.run_state import Cursor, PipelineState, RunOutcome, RunSlot
    from dynamodb_wrapper.wire.attributes import Item
    from dynamodb_wrapper.wire.transactions import Action


class RunControl(RunHistory):
    """Start, life and end of runs; `RunTracker` is built on it."""

    TABLE = PIPELINE_RUN_LOGS

    def __init__(self, config: Any, table: Any = None, *, client: Any = None) -> None:
        super().__init__(config, table, client=client)
        build = Builder(self._caller.table_name, config.actor_name())
        self._secrets = config.secret_values()
        self._reads = RunReads(self._caller, self._decode)
        self._starts = RunStarts(self._reads, build, self._start_action)
        self._life = RunLife(self._reads, build)
        self._ends = RunEnds(self._reads, build)
        self._chunks = RunChunks(self._caller)
        self._parts = RunParts(self._caller, self._decode, self._requests, self._secrets)

    def start_run(
        self,
        run: PipelineRunLog,
        *,
        exclusive: bool,
        rerun: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> tuple[PipelineRunLog, tuple[PipelineRunLog, ...]]:
        """Store a run that begins; return it, and the dead runs it took over from.

        An exclusive run takes its pipeline's lock in the same transaction, a run with a run key
        takes the key. Costs 8 to 12 write units and a read unit; two write units and a read unit
        more for the run key, 8 to 14 and a read unit for a run that is taken over.
        See: TransactWriteItems.

        Args:
            run: The run; its number, fence and attempt are filled in.
            exclusive: Whether the pipeline takes one run at a time.
            rerun: Whether a run key that has succeeded is run again.
            clock: The present moment.

        Raises:
            AlreadyRunningError: A live run holds the pipeline or works at the run key.
            AlreadySucceededError: The run key has succeeded.
            ItemAlreadyExistsError: The run id was used before.
        """
        prepared = self._prepared(run)
        return self._starts.start(prepared, clock, exclusive=exclusive, rerun=rerun)

    def beat(
        self, run: PipelineRunLog, *, now: datetime, lease_until: datetime
    ) -> PipelineRunLog | None:
        """Renew the lease of a run and return the run as it then is; None where it is gone.

        Nothing is renewed where the run has ended or has another writer: status and writer tell.
        Costs a write unit per KB of the run. See: UpdateItem.
        """
        return self._life.beat(run, now, lease_until)

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
            raise ValidationError("A cancellation needs `by`: a text that says who asks for it.")
        return self._life.request_cancel(run_id, self._text(by), now or utc_now())

    def finish_run(self, run: PipelineRunLog, outcome: RunOutcome) -> PipelineRunLog:
        """Store how a run ended, free its lock and move the history on; safe to repeat.

        A run that was taken for lost ends as what it came to, if nobody has taken over. Costs
        10 to 16 write units and a read unit, two write units more for the run key and for each
        watermark. See: TransactWriteItems.

        Raises:
            RunFinishError: Another run took over, or the pipeline was released; the outcome is
                noted on the run as `late_outcome`.
            InvalidTransitionError: The run ended otherwise before.
        """
        storable = replace(
            outcome,
            parts=self._parts.encodable(outcome.parts),
            error=self._clean_error(outcome.error),
        )
        return self._ends.finish(run, storable)

    def reap_run(self, run_id: str, *, now: datetime | None = None) -> PipelineRunLog | None:
        """End a run whose lease has run out as LOST, and return it; None where it is not dead.

        Its lock and its run key are freed in the same transaction. Safe to repeat. Costs two to
        three read units, and 10 to 16 write units for a dead run. See: TransactWriteItems.
        """
        return self._ends.reap(run_id, now or utc_now())

    def release(
        self, pipeline_id: str, *, reason: str, now: datetime | None = None
    ) -> PipelineRunLog | None:
        """End the run that holds a pipeline as LOST, free the pipeline, return the run.

        For a run that is dead and whose lease you do not want to wait for: a run that is still at
        work goes on working, and can then not store its success. None when nobody holds the
        pipeline. Costs 10 to 16 write units and three read units. See: TransactWriteItems.

        Args:
            pipeline_id: The pipeline.
            reason: Stored with the run as `status_detail`.
            now: The present moment.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise ValidationError(
                "release needs a reason: a text, which is what the next person will read."
            )
        return self._ends.release(pipeline_id, self._text(reason), now or utc_now())

    def live_runs(self, environment: str | None = None) -> list[PipelineRunLog]:
        """Return the whole of the runs that run now, oldest first, each read consistently.

        Costs as `get_running_pipelines`. See: Query, BatchGetItem.
        """
        reading = Reading(
            index="live", consistent=True, keep=lambda run: not run.status.is_terminal
        )
        return self._results(environment or self._environment, None, reading).all()

    # ---- items beside the runs -------------------------------------------------------------------

    def pipeline_state(self, pipeline_id: str) -> PipelineState:
        """Return who holds a pipeline and how its last runs ended.

        Costs one read unit; the read is consistent. See: GetItem.
        """
        return self._reads.state(pipeline_id)

    def run_slots(self, pipeline_id: str, run_keys: Sequence[str]) -> list[RunSlot | None]:
        """Return who tried each run key last, in the order of the keys; None where nobody did.

        Costs one read unit per key; the read is consistent. See: BatchGetItem.
        """
        keys = [slot_key(pipeline_id, key) for key in run_keys]
        read = partial(stored_batch, ["run_id"])
        found = batch_get(self._caller, keys, {"ConsistentRead": True}, read)
        return [read_slot(item) for item in found]

    def watermark(self, pipeline_id: str, name: str) -> Cursor:
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

        Such a run succeeds without moving the watermark, and says so (`watermark_conflict`).
        Costs a write unit per KB and a read unit per 4 KB. See: UpdateItem.

        Raises:
            ValidationError: The value is of no kind that is kept, or over 64 KB; the name cannot
                be stored, or holds a secret of the process.
        """
        known_as = self._watermark_name(name)
        return self._life.reset_watermark(pipeline_id, known_as, value, now or utc_now())

    def put_chunk(
        self, run: PipelineRunLog, kind: str, number: int, text: str, now: datetime
    ) -> None:
        """Store a piece of the log (``log``) or of the stack trace (``err``) of a run.

        Costs a write unit per KB of the compressed text. See: PutItem.
        """
        self._chunks.put(run, kind, number, text, now)

    def get_log_lines(self, run_id: str) -> list[str]:
        """Return the log lines stored with a run.

        Costs a read unit per 4 KB of the run and of each chunk. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such run.
        """
        run = self.get_or_raise(run_id, consistent=True)
        text = "".join(self._chunks.read(run_id, "log", run.logs.chunks))
        return text.removesuffix("\n").split("\n") if text else []  # no other ends a line of ours

    def get_stack_trace(self, run_id: str) -> str | None:
        """Return the whole stack trace of a failed run; None where the run has no error.

        Costs as `get_log_lines`. See: GetItem.

        Raises:
            ItemNotFoundError: There is no such run.
        """
        run = self.get_or_raise(run_id, consistent=True)
        if run.error is None:
            return None
        whole = "".join(self._chunks.read(run_id, "err", run.error.chunks))
        return whole or f"{run.error.stack_head or ''}{run.error.stack_tail or ''}"

    def _is_own(self, key: Item) -> bool:
        return not is_companion(key["run_id"]["S"])

    def _start_action(self, run: PipelineRunLog) -> Action:
        return self._requests.create(run).as_action()

    def _prepared(self, run: PipelineRunLog) -> PipelineRunLog:
        self._requests.check_model(run)
        if run.start_time is None:
            run.start_time = utc_now()
        run.parameters = redact_values(run.parameters, self._secrets)
        run.error = self._clean_error(run.error)
        if run.environment is None:
            run.environment = self._environment
        return run

    def _watermark_name(self, name: str) -> str:
        return name_of(name, "A watermark", self._secrets)

    def _text(self, text: str) -> str:
        return stored_text(text, self._secrets, 2000)

    def _clean_error(self, error: RunErrorInfo | None) -> RunErrorInfo | None:
        if error is None:
            return None
        texts = {name: value for name, value in error if name != "type" and isinstance(value, str)}
        clean = {name: stored_text(text, self._secrets, 4096) for name, text in texts.items()}
        kind = redact_known(error.type, self._secrets)
        return error.model_copy(update={**clean, "type": kind})
