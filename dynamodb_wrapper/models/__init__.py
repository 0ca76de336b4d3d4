"""The three models, their tables, and how a table of your own is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.lazy import loader

if TYPE_CHECKING:
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

_HOMES = {
    "dynamodb_wrapper.models.document": ("Document",),
    "dynamodb_wrapper.models.enums": (
        "DataFormat",
        "PartitionGrain",
        "PipelineType",
        "RunStatus",
        "Severity",
        "StageStatus",
        "TableType",
        "TriggerType",
        "WriteMode",
        "enum_of",
    ),
    "dynamodb_wrapper.models.fields": (
        "EpochMillis",
        "EpochSeconds",
        "IsoDatetime",
        "JsonDict",
        "STORED",
        "StoredAs",
        "UtcDatetime",
        "is_stored",
        "to_utc",
        "utc_now",
        "utc_text",
    ),
    "dynamodb_wrapper.models.ids": ("new_run_id",),
    "dynamodb_wrapper.models.partitions": (
        "Partition",
        "partition_of",
        "partition_of_key",
        "partitions_between",
    ),
    "dynamodb_wrapper.models.pipeline": (
        "PipelineConfig",
        "Resources",
        "Sla",
    ),
    "dynamodb_wrapper.models.run": (
        "DataQualityResult",
        "LogInfo",
        "Metric",
        "PipelineRunLog",
        "RunErrorInfo",
        "RunSummary",
        "RuntimeInfo",
        "StageInfo",
        "TableOutput",
        "WatermarkMove",
    ),
    "dynamodb_wrapper.models.statistics": (
        "RunStatistics",
        "statistics_of",
    ),
    "dynamodb_wrapper.models.table": (
        "Derived",
        "GlobalIndex",
        "ModelT",
        "Table",
        "attribute_name",
    ),
    "dynamodb_wrapper.models.table_config": (
        "STATISTICS",
        "TableConfig",
    ),
    "dynamodb_wrapper.models.tables": (
        "PIPELINE_CONFIG",
        "PIPELINE_RUN_LOGS",
        "TABLE_CONFIG",
    ),
    "dynamodb_wrapper.models.transitions": (
        "LIVE",
        "TERMINAL",
        "check_transition",
        "may_finish_late",
        "predecessors",
    ),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


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
