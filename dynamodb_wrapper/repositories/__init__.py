"""Typed repositories over DynamoDB tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.lazy import loader

if TYPE_CHECKING:
    from dynamodb_wrapper.repositories.base import (
        BaseDynamoRepository,
    )
    from dynamodb_wrapper.repositories.pipelines import (
        PipelineConfigRepository,
    )
    from dynamodb_wrapper.repositories.results import (
        Page,
        Results,
    )
    from dynamodb_wrapper.repositories.run_logs import (
        PipelineRunLogsRepository,
    )
    from dynamodb_wrapper.repositories.table_admin import (
        Difference,
    )
    from dynamodb_wrapper.repositories.table_configs import (
        TableConfigRepository,
    )
    from dynamodb_wrapper.repositories.tables import (
        create_tables,
    )
    from dynamodb_wrapper.repositories.transaction import (
        Transaction,
    )
    from dynamodb_wrapper.wire.arrow_misfits import (
        Quarantined,
    )
    from dynamodb_wrapper.wire.decoding import (
        Counts,
    )
    from dynamodb_wrapper.wire.flow import (
        Progress,
        RateLimiter,
    )
    from dynamodb_wrapper.wire.requests import (
        Consumed,
    )

_HOMES = {
    "dynamodb_wrapper.repositories.base": ("BaseDynamoRepository",),
    "dynamodb_wrapper.repositories.pipelines": ("PipelineConfigRepository",),
    "dynamodb_wrapper.repositories.results": (
        "Page",
        "Results",
    ),
    "dynamodb_wrapper.repositories.run_logs": ("PipelineRunLogsRepository",),
    "dynamodb_wrapper.repositories.table_admin": ("Difference",),
    "dynamodb_wrapper.repositories.table_configs": ("TableConfigRepository",),
    "dynamodb_wrapper.repositories.tables": ("create_tables",),
    "dynamodb_wrapper.repositories.transaction": ("Transaction",),
    "dynamodb_wrapper.wire.arrow_misfits": ("Quarantined",),
    "dynamodb_wrapper.wire.decoding": ("Counts",),
    "dynamodb_wrapper.wire.flow": (
        "Progress",
        "RateLimiter",
    ),
    "dynamodb_wrapper.wire.requests": ("Consumed",),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


__all__ = [
    "BaseDynamoRepository",
    "Consumed",
    "Counts",
    "Difference",
    "Page",
    "PipelineConfigRepository",
    "PipelineRunLogsRepository",
    "Progress",
    "Quarantined",
    "RateLimiter",
    "Results",
    "TableConfigRepository",
    "Transaction",
    "create_tables",
]
