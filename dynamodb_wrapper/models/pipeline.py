"""Configuration of a pipeline."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Optional

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dynamodb_wrapper.models.document import Document, Part, Rule
from dynamodb_wrapper.models.enums import (
    PartitionGrain,
    PartitionGrainField,
    PipelineType,
    PipelineTypeField,
)
from dynamodb_wrapper.models.fields import (
    ENVIRONMENT_PATTERN,
    Id,
    JsonDict,
    SecretFree,
    Settings,
    is_stored,
    time_zone,
)

RETENTION_DAYS = 400
"""Days a run is kept unless its pipeline says otherwise: a year can be compared with the last."""
_MEMORY = re.compile(r"^[1-9]\d*(\.\d+)?\s*[kmgt]b?$", re.IGNORECASE)


class Resources(Part):
    """Sizes of a Spark application; they become Spark settings.

    Attributes:
        driver_memory: A Spark size such as ``4g``.
        executor_memory: A Spark size; ``memory_gb`` is accepted as a number of GiB.
        executor_cores: ``cpu_cores`` is accepted as well.
    """

    model_config = ConfigDict(populate_by_name=True)
    REFUSES_UNKNOWN: ClassVar[bool] = True

    driver_cores: Optional[int] = Field(default=None, ge=1)
    driver_memory: Optional[str] = None
    executor_cores: Optional[int] = Field(
        default=None, ge=1, validation_alias=AliasChoices("executor_cores", "cpu_cores")
    )
    executor_memory: Optional[str] = None
    num_executors: Optional[int] = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _accept_memory_gb(cls, data: Any) -> Any:
        if isinstance(data, dict) and "memory_gb" in data and "executor_memory" not in data:
            data = dict(data)
            gigabytes = data.pop("memory_gb")
            data["executor_memory"] = None if gigabytes is None else f"{gigabytes}g"
        return data

    @field_validator("driver_memory", "executor_memory")
    @classmethod
    def _spark_size(cls, size: Optional[str]) -> Optional[str]:
        if size is not None and not _MEMORY.fullmatch(size):
            raise ValueError("is not a Spark size; write for example 512m or 8g")
        return size

    def spark_settings(self) -> dict[str, str]:
        """Return the Spark settings these sizes stand for."""
        settings = {
            "spark.driver.cores": self.driver_cores,
            "spark.driver.memory": self.driver_memory,
            "spark.executor.cores": self.executor_cores,
            "spark.executor.memory": self.executor_memory,
            "spark.executor.instances": self.num_executors,
        }
        return {key: str(value) for key, value in settings.items() if value is not None}


class Sla(Part):
    """Service level of a pipeline; `RunTracker.statistics` counts the runs that missed it.

    Attributes:
        max_duration: How long a run may take.
        freshness: How old the last success may be.
    """

    REFUSES_UNKNOWN: ClassVar[bool] = True

    max_duration: Optional[timedelta] = Field(default=None, gt=timedelta())
    freshness: Optional[timedelta] = Field(default=None, gt=timedelta())


def _lease_covers_beats(heartbeat: timedelta, lease: timedelta) -> None:
    if lease < 3 * heartbeat:
        raise ValueError(
            f"lease_duration ({lease}) must be at least three times heartbeat_interval "
            f"({heartbeat}): two beats may fail before the lease runs out"
        )


class PipelineConfig(Document):
    """A pipeline and how it runs.

    Attributes:
        pipeline_id: Key of the item.
        pipeline_name: For people; the id unless given.
        owner: The person or team to ask.
        environment: Deployment of the pipeline; that of the config unless given.
        is_active: A run of an inactive pipeline is refused.
        source_config: Free-form; secrets only as references.
        destination_config: Free-form; secrets only as references.
        config: Free-form; secrets only as references.
        input_tables: Table ids the pipeline reads.
        output_tables: Table ids the pipeline writes.
        schedule_timezone: IANA name; the days of `partition_grain` begin at its midnight.
        partition_grain: Length of time one run key stands for; ``none`` for free-form keys.
        max_concurrent_runs: 1 makes the pipeline exclusive; None sets no limit.
        max_runtime: After this a run is to stop itself; None sets no limit.
        heartbeat_interval: Time between two signs of life of a run.
        lease_duration: How long a run counts as alive after its last sign of life; at least three
            times `heartbeat_interval`.
        lease_grace: How long after its lease a run is left alone by others.
        sla: Expected duration and freshness.
        spark_config: Settings whose names begin with ``spark.``; values are stored as text.
        resources: Sizes of the Spark application.
        retention_days: Days a run is kept after its end, with what is stored beside it; then
            DynamoDB's TTL deletes it. None keeps runs for ever.
        version: Raised by every write that may change the configuration; 1 for an object that
            was never stored, also where `put` replaces a pipeline with it.
    """

    KIND: ClassVar[str] = "PIPELINE"
    COUNTED: ClassVar[Optional[str]] = "version"
    NOT_CONFIGURATION: ClassVar[frozenset[str]] = frozenset(
        [
            "is_active",
            "version",
            "row_version",
            "created_at",
            "created_by",
            "updated_at",
            "updated_by",
        ]
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(("heartbeat_interval", "lease_duration"), _lease_covers_beats, lambda _: False),
    )

    pipeline_id: Id
    pipeline_name: str = Field(default="", max_length=256)
    description: Annotated[Optional[str], SecretFree] = Field(default=None, max_length=4096)
    owner: Optional[str] = None
    environment: Optional[str] = Field(default=None, pattern=ENVIRONMENT_PATTERN)
    is_active: bool = True
    pipeline_type: PipelineTypeField = PipelineType.BATCH
    source_config: Annotated[JsonDict, SecretFree] = Field(default_factory=dict)
    destination_config: Annotated[JsonDict, SecretFree] = Field(default_factory=dict)
    config: Annotated[JsonDict, SecretFree] = Field(default_factory=dict)
    input_tables: list[str] = Field(default_factory=list)
    output_tables: list[str] = Field(default_factory=list)
    schedule_timezone: str = "UTC"
    partition_grain: PartitionGrainField = PartitionGrain.NONE
    max_concurrent_runs: Optional[int] = 1
    max_runtime: Optional[timedelta] = Field(default=None, gt=timedelta())
    heartbeat_interval: timedelta = Field(default=timedelta(seconds=30), gt=timedelta())
    lease_duration: timedelta = Field(default=timedelta(minutes=5), le=timedelta(days=1))
    lease_grace: timedelta = Field(
        default=timedelta(seconds=60), ge=timedelta(), le=timedelta(days=1)
    )
    sla: Sla = Field(default_factory=Sla)
    spark_config: Settings = Field(default_factory=dict)
    resources: Resources = Field(default_factory=Resources)
    retention_days: Optional[int] = Field(default=RETENTION_DAYS, ge=1, le=36_500)
    version: int = Field(default=1, ge=1, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_after_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("pipeline_name") and "pipeline_id" in data:
            return {**data, "pipeline_name": str(data["pipeline_id"])[:256]}
        return data

    @field_validator("max_concurrent_runs")
    @classmethod
    def _one_or_no_limit(cls, limit: Optional[int]) -> Optional[int]:
        if limit not in (1, None):
            raise ValueError("is 1 (one run at a time) or None (no limit); others are unsupported")
        return limit

    @field_validator("schedule_timezone")
    @classmethod
    def _known_timezone(cls, name: str, info: ValidationInfo) -> str:
        if not is_stored(info):
            time_zone(name)
        return name

    @field_validator("spark_config")
    @classmethod
    def _spark_names(cls, settings: dict[str, str]) -> dict[str, str]:
        for name in settings:
            if not name.startswith("spark."):
                raise ValueError(f"{name!r} is not a Spark setting: names begin with 'spark.'")
        return settings

    @property
    def is_exclusive(self) -> bool:
        """Whether only one run at a time may hold the pipeline."""
        return self.max_concurrent_runs == 1

    @property
    def config_hash(self) -> str:
        """SHA-256 of the configuration; does not depend on author and time of changes."""
        content = self.model_dump(mode="json", exclude=set(self.NOT_CONFIGURATION))
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
