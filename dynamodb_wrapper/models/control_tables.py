"""The three control tables and their indexes.

Index attributes begin with ``gx_`` and are derived, so that items of other tools that hold another
type under the same name are not refused by DynamoDB.
"""

from __future__ import annotations

from datetime import datetime

from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import utc_text
from dynamodb_wrapper.models.pipeline import PipelineConfig
from dynamodb_wrapper.models.run import IndexedRun, PipelineRunLog
from dynamodb_wrapper.models.table import Derived, GlobalIndex, Table
from dynamodb_wrapper.models.table_config import TableConfig


def or_absent(value: str | None) -> str | None:
    """Return the value; absent where it is empty."""
    return value or None


def activity_and_id(is_active: bool, item_id: str) -> str:
    """Return ``A#<id>`` for an active item, ``I#<id>`` for an inactive one."""
    return f"{'A' if is_active else 'I'}#{item_id}"


def joined(first: str | None, second: str) -> str | None:
    """Return ``<first>#<second>``; absent without the first."""
    return f"{first}#{second}" if first else None


def start_and_run(start_time: datetime | None, run_id: str) -> str | None:
    """Return ``<start>#<run_id>``, which sorts by time."""
    return f"{utc_text(start_time)}#{run_id}" if start_time else None


def live_environment(environment: str | None, status: RunStatus, writer: str | None) -> str | None:
    """Return the environment of a run of run control that has not ended; else absent."""
    return environment if writer is not None and not status.is_terminal else None


def external_label(external_id: str | None) -> str | None:
    """Return the entry of an external id in the index ``by_label``; absent without one."""
    return f"id#{external_id}" if external_id else None


def tag_label(name: str, value: str) -> str:
    """Return the entry of a tag in the index ``by_label``."""
    return f"tag#{name}={value}"


_LIST = Derived("gx_list", ("environment",), or_absent)


_STARTED = Derived("gx_started", ("start_time", "run_id"), start_and_run)


PIPELINE_CONFIG: Table[PipelineConfig] = Table(
    "pipeline_config",
    PipelineConfig,
    partition_key="pipeline_id",
    version_field="row_version",
    indexes=[
        GlobalIndex(
            "by_list",
            _LIST,
            Derived("gx_list_sort", ("is_active", "pipeline_id"), activity_and_id),
            project="keys",
        )
    ],
)


TABLE_CONFIG: Table[TableConfig] = Table(
    "table_config",
    TableConfig,
    partition_key="table_id",
    version_field="row_version",
    indexes=[
        GlobalIndex(
            "by_pipeline",
            Derived("gx_pipeline", ("pipeline_id",), or_absent),
            Derived("gx_role", ("table_type", "table_id"), joined),
            project="keys",
        ),
        GlobalIndex(
            "by_list",
            Derived("gx_list", ("environment", "table_type"), joined),
            Derived("gx_list_sort", ("is_active", "table_id"), activity_and_id),
            project="keys",
        ),
    ],
)


PIPELINE_RUN_LOGS: Table[PipelineRunLog] = Table(
    "pipeline_run_logs",
    PipelineRunLog,
    partition_key="run_id",
    ttl="expires_at",
    version_field="row_version",
    indexes=[
        GlobalIndex(
            "by_pipeline",
            Derived("gx_pipeline", ("pipeline_id",), or_absent),
            _STARTED,
            project=IndexedRun,
        ),
        GlobalIndex(
            "by_pipeline_status",
            Derived("gx_pipeline_status", ("pipeline_id", "status"), joined),
            _STARTED,
            project=IndexedRun,
        ),
        GlobalIndex(
            "by_status",
            Derived("gx_status", ("environment", "status"), joined),
            _STARTED,
            project=IndexedRun,
        ),
        GlobalIndex(
            "live",
            Derived("gx_live", ("environment", "status", "writer"), live_environment),
            _STARTED,
            project="keys",
        ),
        GlobalIndex(
            "children",
            Derived("gx_parent", ("parent_run_id",), or_absent),
            _STARTED,
            project="keys",
        ),
        GlobalIndex(
            "by_label",  # also holds the items of tags, which run control puts beside a run
            Derived("gx_label", ("external_id",), external_label),
            _STARTED,
            project="keys",
        ),
    ],
)
