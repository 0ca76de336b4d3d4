"""The three models, their tables, and how a table of your own is declared."""

from dynamodb_wrapper.models.document import (
    Document,
)
from dynamodb_wrapper.models.enums import (
    DataFormat,
    PartitionGrain,
    PipelineType,
    RunStatus,
    Severity,
    StageStatus,
    TableType,
    TriggerType,
    WriteMode,
    enum_of,
)
from dynamodb_wrapper.models.fields import (
    STORED,
    EpochMillis,
    EpochSeconds,
    IsoDatetime,
    JsonDict,
    StoredAs,
    UtcDatetime,
    is_stored,
    to_utc,
    utc_now,
    utc_text,
)
from dynamodb_wrapper.models.ids import (
    new_run_id,
)
from dynamodb_wrapper.models.partitions import (
    Partition,
    partition_of,
    partition_of_key,
    partitions_between,
)
from dynamodb_wrapper.models.pipeline import (
    PipelineConfig,
    Resources,
    Sla,
)
from dynamodb_wrapper.models.run import (
    DataQualityResult,
    LogInfo,
    Metric,
    PipelineRunLog,
    RunErrorInfo,
    RunSummary,
    RuntimeInfo,
    StageInfo,
    TableOutput,
    WatermarkMove,
)
from dynamodb_wrapper.models.statistics import (
    RunStatistics,
    statistics_of,
)
from dynamodb_wrapper.models.table import (
    Derived,
    GlobalIndex,
    ModelT,
    Table,
    attribute_name,
)
from dynamodb_wrapper.models.table_config import (
    STATISTICS,
    TableConfig,
)
from dynamodb_wrapper.models.tables import (
    PIPELINE_CONFIG,
    PIPELINE_RUN_LOGS,
    TABLE_CONFIG,
)
from dynamodb_wrapper.models.transitions import (
    LIVE,
    TERMINAL,
    check_transition,
    may_finish_late,
    predecessors,
)

__all__ = [
    "LIVE",
    "PIPELINE_CONFIG",
    "PIPELINE_RUN_LOGS",
    "STATISTICS",
    "STORED",
    "TABLE_CONFIG",
    "TERMINAL",
    "DataFormat",
    "DataQualityResult",
    "Derived",
    "Document",
    "EpochMillis",
    "EpochSeconds",
    "GlobalIndex",
    "IsoDatetime",
    "JsonDict",
    "LogInfo",
    "Metric",
    "ModelT",
    "Partition",
    "PartitionGrain",
    "PipelineConfig",
    "PipelineRunLog",
    "PipelineType",
    "Resources",
    "RunErrorInfo",
    "RunStatistics",
    "RunStatus",
    "RunSummary",
    "RuntimeInfo",
    "Severity",
    "Sla",
    "StageInfo",
    "StageStatus",
    "StoredAs",
    "Table",
    "TableConfig",
    "TableOutput",
    "TableType",
    "TriggerType",
    "UtcDatetime",
    "WatermarkMove",
    "WriteMode",
    "attribute_name",
    "check_transition",
    "enum_of",
    "is_stored",
    "may_finish_late",
    "new_run_id",
    "partition_of",
    "partition_of_key",
    "partitions_between",
    "predecessors",
    "statistics_of",
    "to_utc",
    "utc_now",
    "utc_text",
]
