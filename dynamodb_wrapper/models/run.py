"""The record of a run, and its id."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Optional

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from dynamodb_wrapper.models.document import Document, Part
from dynamodb_wrapper.models.enums import (
    RunStatus,
    RunStatusField,
    Severity,
    SeverityField,
    StageStatus,
    StageStatusField,
    TriggerType,
    TriggerTypeField,
)
from dynamodb_wrapper.models.fields import (
    ENVIRONMENT_PATTERN,
    EpochSeconds,
    Id,
    JsonDict,
    UtcDatetime,
    utc_now,
)
from dynamodb_wrapper.models.measures import MetricField

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid6 import uuid7

MAX_EXTERNAL_ID = 510
"""Characters of an external id: in UTF-8 it must fit the key of an index, 2,048 bytes."""


def new_run_id() -> str:
    """Return a UUID of version 7 as text: unique, and in the order of creation."""
    return str(uuid7())


class StageInfo(Part):
    """One stage of a run.

    Attributes:
        seq: Order in which the stages began; None for those stored without a run handle.
        duration_seconds: With milliseconds.
    """

    seq: Optional[int] = None
    status: StageStatusField = StageStatus.RUNNING
    start_time: Optional[UtcDatetime] = None
    end_time: Optional[UtcDatetime] = None
    duration_seconds: Optional[Decimal] = None
    records_read: Optional[int] = Field(default=None, ge=0)
    records_written: Optional[int] = Field(default=None, ge=0)
    records_failed: Optional[int] = Field(default=None, ge=0)
    metrics: dict[str, MetricField] = Field(default_factory=dict)
    error: Optional[str] = None


class DataQualityResult(Part):
    """Outcome of one data quality check.

    Attributes:
        severity: Only failed checks of severity ``error`` make the run's quality fail.
    """

    passed: bool
    severity: SeverityField = Severity.ERROR
    check_type: Optional[str] = None
    table_id: Optional[str] = None
    column: Optional[str] = None
    expected: MetricField = None
    actual: MetricField = None
    failed_rows: Optional[int] = Field(default=None, ge=0)
    message: Optional[str] = None
    evaluated_at: Optional[UtcDatetime] = None


class RunErrorInfo(Part):
    """Why a run failed, with secrets taken out.

    Attributes:
        message: At most 2 KB.
        fingerprint: The same for errors of one type that come from the same place in the code.
        stage: Name of the stage the exception came out of.
        stack_head: Beginning of the stack trace, at most 4 KB.
        stack_tail: End of the stack trace where it was longer, at most 4 KB.
        chunks: Number of items that hold the whole stack trace; 0 where head and tail do.
    """

    type: str
    message: str = ""
    fingerprint: Optional[str] = None
    stage: Optional[str] = None
    stack_head: Optional[str] = None
    stack_tail: Optional[str] = None
    chunks: int = 0


class RuntimeInfo(Part):
    """Where a run runs."""

    host: Optional[str] = None
    pid: Optional[int] = None
    user: Optional[str] = None
    python_version: Optional[str] = None
    library_version: Optional[str] = None
    spark_version: Optional[str] = None
    spark_application_id: Optional[str] = None


class TableOutput(Part):
    """What a run wrote to a table.

    Attributes:
        rows: Number of rows; None where it is not known.
        bytes: Size in bytes; None where it is not known. Of a table that `write_table` wrote, the
            size of all its data afterwards.
        files: Number of files; None where it is not known. As `bytes`.
    """

    rows: Optional[int] = Field(default=None, ge=0)
    bytes: Optional[int] = Field(default=None, ge=0)
    files: Optional[int] = Field(default=None, ge=0)


class WatermarkMove(Part):
    """A watermark a run moved; `models.run_state.unpack` reads the values.

    Attributes:
        value_type: Type of `after`.
        before: Value the run found, as stored; None for the first.
        before_type: Type of `before`.
        after: Value the run committed, as stored; None where it is too large to be noted.
    """

    value_type: str
    before: Any = None
    before_type: Optional[str] = None
    after: Any = None


class LogInfo(Part):
    """The log lines that are stored with a run.

    Attributes:
        lines: Number of lines stored.
        dropped: Number of lines left out, because the limits of a run were reached.
        chunks: Number of items that hold them.
    """

    lines: int = 0
    dropped: int = 0
    chunks: int = 0


class PipelineRunLog(Document):
    """The record of a run.

    Runs made by run control carry a `writer`: only the calls that know the rules of a run change
    them. Records of foreign runs, stored by `create_run_log`, have none.

    Attributes:
        run_id: Key of the item; sorts by time unless given.
        status_reason: Refines the status: exception, user_cancel, released...
        status_detail: Explanation given with a change of the status.
        run_key: What the run is for, such as the day ``2026-03-29``; succeeds once.
        partition_start: Beginning of the time the run covers.
        partition_end: Its end, exclusive.
        attempt: Number of this attempt at the run key.
        previous_run_id: The attempt before.
        run_seq: Number of the run within its pipeline; gaps are harmless.
        fence: Number that only grows within an exclusive pipeline; None for others.
        writer: Random id of the handle that owns the run.
        parent_run_id: The run that this one was started inside of, or for.
        root_run_id: The outermost of these.
        external_id: Id of the job in another system, such as Airflow, that started the run.
        superseded_by: The run that took over after this one was lost.
        late_finish: Whether the outcome was stored after the run had been marked lost.
        heartbeat_at: When the driver was last known to be alive.
        lease_until: Until when the run may count itself alive; absent once it has ended.
        lease_grace_seconds: Time after that during which other runs do not take over.
        clock_error_seconds: By how much the clock of `heartbeat_at` and `lease_until` may be behind
            DynamoDB's; None where the driver could not compare them. Absent once it has ended.
        deadline: When the run should stop itself.
        cancel_requested_at: When cancellation was requested.
        cancel_requested_by: Who requested it.
        duration_seconds: With milliseconds.
        pipeline_version: Version of the configuration the run began with.
        config_hash: Its hash.
        parameters: As given, with secrets taken out.
        exit_code: Of a body that ended by SystemExit; None where the process ended before its run.
        late_outcome: Outcome of the body where another process had ended the run before.
        watermarks: Watermarks the run moved, by name.
        watermark_conflict: Whether another process changed a watermark meanwhile, so that the
            run succeeded without moving it.
        records_read: Rows read: as logged for the run, else the sum of its stages.
        records_written: Rows written: as logged for the run, else the sum of its outputs, else that
            of its stages.
        records_failed: Rows that could not be processed; as `records_read`.
        inputs: Ids of the tables the run read.
        outputs: Rows, bytes and files written, by table id.
        current_stage: The stage under way that began last; of none, the one that ended last.
        detected_at: When a lost run was found or released.
        retention_days: Days the run is kept after its end; None keeps it.
        expires_at: TTL; readers skip the run from then on. Set when a run ends.
    """

    KIND: ClassVar[str] = "RUN"

    run_id: Id = Field(default_factory=new_run_id)
    pipeline_id: str = Field(min_length=1)
    environment: Optional[str] = Field(default=None, pattern=ENVIRONMENT_PATTERN)
    status: RunStatusField = RunStatus.RUNNING
    status_reason: Optional[str] = None
    status_detail: Optional[str] = Field(default=None, max_length=2048)
    trigger_type: TriggerTypeField = TriggerType.MANUAL
    run_key: Optional[Id] = None
    partition_start: Optional[UtcDatetime] = None
    partition_end: Optional[UtcDatetime] = None
    attempt: int = Field(default=1, ge=1)
    previous_run_id: Optional[str] = None
    run_seq: Optional[int] = None
    fence: Optional[int] = None
    writer: Optional[str] = None
    parent_run_id: Optional[str] = None
    root_run_id: Optional[str] = None
    external_id: Optional[str] = Field(default=None, min_length=1, max_length=MAX_EXTERNAL_ID)
    superseded_by: Optional[str] = None
    late_finish: bool = False
    heartbeat_at: Optional[UtcDatetime] = None
    lease_until: Optional[UtcDatetime] = None
    lease_grace_seconds: Optional[float] = Field(default=None, ge=0)
    clock_error_seconds: Optional[float] = Field(default=None, ge=0)
    deadline: Optional[UtcDatetime] = None
    cancel_requested_at: Optional[UtcDatetime] = None
    cancel_requested_by: Optional[str] = None
    start_time: Optional[UtcDatetime] = None
    end_time: Optional[UtcDatetime] = None
    duration_seconds: Optional[Decimal] = None
    detected_at: Optional[UtcDatetime] = None
    pipeline_version: Optional[int] = None
    config_hash: Optional[str] = None
    parameters: JsonDict = Field(default_factory=dict)
    runtime: RuntimeInfo = Field(default_factory=RuntimeInfo)
    stages: dict[str, StageInfo] = Field(default_factory=dict)
    current_stage: Optional[str] = None
    metrics: dict[str, MetricField] = Field(default_factory=dict)
    data_quality: dict[str, DataQualityResult] = Field(default_factory=dict)
    inputs: list[str] = Field(default_factory=list)
    outputs: dict[str, TableOutput] = Field(default_factory=dict)
    watermarks: dict[str, WatermarkMove] = Field(default_factory=dict)
    watermark_conflict: bool = False
    logs: LogInfo = Field(default_factory=LogInfo)
    records_read: Optional[int] = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("records_read", "total_records_processed"),
    )
    records_written: Optional[int] = Field(default=None, ge=0)
    records_failed: Optional[int] = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("records_failed", "total_records_failed"),
    )
    error_type: Optional[str] = None
    error: Optional[RunErrorInfo] = None
    exit_code: Optional[int] = None
    late_outcome: Optional[str] = None
    notes: Optional[str] = Field(default=None, max_length=4096)
    retention_days: Optional[int] = Field(default=None, ge=1)
    expires_at: Optional[EpochSeconds] = None

    @property
    def data_quality_passed(self) -> bool:
        """Whether no check of severity ``error`` failed."""
        return all(
            check.passed or check.severity is not Severity.ERROR
            for check in self.data_quality.values()
        )

    def is_expired(self, now: datetime) -> bool:
        """Whether the run is live but its driver has not renewed its lease in time.

        A run without a lease never expires. This compares two clocks, which may differ: starts and
        `RunTracker.reap` decide otherwise, see docs/leases.md.
        """
        return _is_expired(self, now)

    @property
    def is_overdue(self) -> bool:
        """Whether `is_expired` now, by the clock of this machine."""
        return self.is_expired(utc_now())

    @property
    def is_tracked(self) -> bool:
        """Whether run control owns this run."""
        return self.writer is not None

    def check_rules(self) -> None:
        """Check the rules between fields; raises ValueError."""
        if self.start_time and self.end_time and self.end_time < self.start_time:
            raise ValueError("end_time is before start_time")


class IndexedRun(BaseModel):
    """The fields of a run that the indexes of lists hold; they change at its start and end only."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    run_id: str
    pipeline_id: str
    environment: Optional[str] = None
    status: RunStatusField
    status_reason: Optional[str] = None
    trigger_type: TriggerTypeField = TriggerType.MANUAL
    run_key: Optional[str] = None
    attempt: int = 1
    start_time: Optional[UtcDatetime] = None
    end_time: Optional[UtcDatetime] = None
    duration_seconds: Optional[Decimal] = None
    records_read: Optional[int] = None
    records_written: Optional[int] = None
    error_type: Optional[str] = None


class RunSummary(IndexedRun):
    """The fields of a run that lists of runs return; `get_by_run_id` returns all.

    Attributes:
        heartbeat_at: When the driver of a live run was last known to be alive.
        lease_until: Until when a live run may count itself alive; None for one that has ended or
            that another system controls.
        lease_grace_seconds: Time after that before the run is overdue.
        is_overdue: Whether the run was live when it was read, and had not renewed its lease in
            time: its driver is most likely dead. `reap` ends such runs as LOST, and so does the
            next start of the pipeline.
    """

    heartbeat_at: Optional[UtcDatetime] = None
    lease_until: Optional[UtcDatetime] = None
    lease_grace_seconds: Optional[float] = None
    is_overdue: bool = False

    def __str__(self) -> str:
        """Return the run in one line: pipeline, status, start, duration, rows, why it failed."""
        started = f", started {self.start_time:%Y-%m-%d %H:%M:%S} UTC" if self.start_time else ""
        took = "" if self.duration_seconds is None else f", {self.duration_seconds} s"
        read = "" if self.records_read is None else f", read {self.records_read:,}"
        written = "" if self.records_written is None else f", written {self.records_written:,}"
        why = self.error_type or self.status_reason
        beat = f", last beat {self.heartbeat_at:%H:%M:%S}" if self.heartbeat_at else ""
        overdue = f", OVERDUE{beat}" if self.is_overdue else ""
        return (
            f"{self.pipeline_id} {self.status}{f' ({why})' if why else ''}{overdue}"
            f"{started}{took}{read}{written}, run {self.run_id}"
        )

    def judge(self, now: datetime) -> None:
        """Set `is_overdue` by a clock."""
        self.is_overdue = _is_expired(self, now)


def _is_expired(run: PipelineRunLog | RunSummary, now: datetime) -> bool:
    if run.status.is_terminal or run.lease_until is None:
        return False
    return run.lease_until + timedelta(seconds=run.lease_grace_seconds or 0) < now
