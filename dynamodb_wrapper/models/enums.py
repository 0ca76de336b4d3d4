"""Enumerations; the values are what is stored."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import Annotated, Any, TypeVar

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.fields import keep_unknown, unknown_member


class StoredEnum(str, Enum):
    """An enum whose members print as their stored text in every Python version."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return unknown_member, (type(self), self.value)


EnumT = TypeVar("EnumT", bound=StoredEnum)


def enum_of(kind: type[EnumT], value: str) -> EnumT:
    """Return the member of an enum.

    Raises:
        ValidationError: The enum has no such value; its values are named.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            return kind(value)
    values = ", ".join(str(member) for member in kind)
    given = repr(value) if isinstance(value, str) else f"A {type(value).__name__}"
    raise ValidationError(f"{given} is no {kind.__name__}; use one of {values}.")


class RunStatus(StoredEnum):
    """State of a run. The library itself never writes ``pending``."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        """Whether a run in this state has ended."""
        return self not in (RunStatus.PENDING, RunStatus.RUNNING)


class StageStatus(StoredEnum):
    """State of one stage of a run."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"


class PipelineType(StoredEnum):
    """Purpose of a pipeline."""

    BATCH = "batch"
    STREAMING = "streaming"
    BACKFILL = "backfill"
    MAINTENANCE = "maintenance"


class TriggerType(StoredEnum):
    """Trigger of a run."""

    MANUAL = "manual"
    SCHEDULE = "schedule"
    EVENT = "event"
    DEPENDENCY = "dependency"
    API = "api"
    RETRY = "retry"
    BACKFILL = "backfill"
    TEST = "test"


class TableType(StoredEnum):
    """Role of a table in its pipeline."""

    SOURCE = "source"
    DESTINATION = "destination"
    LOOKUP = "lookup"
    INTERMEDIATE = "intermediate"
    QUARANTINE = "quarantine"


class DataFormat(StoredEnum):
    """Storage format of a table; ``catalog`` leaves it to Spark's catalog."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"
    ORC = "orc"
    TEXT = "text"
    AVRO = "avro"
    DELTA = "delta"
    ICEBERG = "iceberg"
    CATALOG = "catalog"


class WriteMode(StoredEnum):
    """Handling of existing data by a write."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    OVERWRITE_PARTITIONS = "overwrite_partitions"
    ERROR = "error"


class Severity(StoredEnum):
    """Weight of a data quality check."""

    WARN = "warn"
    ERROR = "error"


class PartitionGrain(StoredEnum):
    """Length of the partitions of a pipeline; ``none`` has no partitions."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    NONE = "none"


RunStatusField = Annotated[RunStatus, keep_unknown(RunStatus)]
StageStatusField = Annotated[StageStatus, keep_unknown(StageStatus)]
PipelineTypeField = Annotated[PipelineType, keep_unknown(PipelineType)]
TriggerTypeField = Annotated[TriggerType, keep_unknown(TriggerType)]
TableTypeField = Annotated[TableType, keep_unknown(TableType)]
DataFormatField = Annotated[DataFormat, keep_unknown(DataFormat)]
WriteModeField = Annotated[WriteMode, keep_unknown(WriteMode)]
SeverityField = Annotated[Severity, keep_unknown(Severity)]
PartitionGrainField = Annotated[PartitionGrain, keep_unknown(PartitionGrain)]
