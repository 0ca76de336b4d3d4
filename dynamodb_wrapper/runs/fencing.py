"""Keeps a superseded driver's writes out of a Delta table, as far as Delta can tell.

Delta remembers, per table and application id, the highest version written, and skips a write that
names no higher one. The application id is the pipeline; the versions of a run begin at its fence
times 1000, so that those of a later run are higher.
"""

from __future__ import annotations

import threading
from typing import Any

from dynamodb_wrapper.exceptions import ValidationError

WRITES_PER_RUN = 999
_APPLICATION = "dynamodb-wrapper:"


class DeltaFence:
    """Numbers the Delta writes of one run.

    Args:
        pipeline_id: The pipeline.
        fence: The run's; None for a pipeline without a limit of runs.
    """

    def __init__(self, pipeline_id: str, fence: int | None) -> None:
        self._pipeline_id = pipeline_id
        self._fence = fence
        self._lock = threading.Lock()
        self._writes = 0

    def options(self) -> dict[str, str]:
        """Return the writer options of the next write."""
        fence = self._required()
        with self._lock:
            if self._writes >= WRITES_PER_RUN:
                raise ValidationError(
                    f"A run can fence {WRITES_PER_RUN} Delta writes; this would be one more. "
                    "Write larger pieces, or split the work into several runs."
                )
            self._writes += 1
            return self._numbered(fence, self._writes)

    def raise_barrier(self, spark: Any, path: str) -> None:
        """Commit an empty append under the run's fence, below every write of the run."""
        options = self._numbered(self._required(), 0)
        empty = spark.read.format("delta").load(path).limit(0)
        empty.write.format("delta").mode("append").options(**options).save(path)

    def _numbered(self, fence: int, number: int) -> dict[str, str]:
        return {
            "txnAppId": f"{_APPLICATION}{self._pipeline_id}",
            "txnVersion": str(fence * 1000 + number),
        }

    def _required(self) -> int:
        if self._fence is None:
            raise ValidationError(
                f"Pipeline {self._pipeline_id!r} sets no limit of runs, so its runs have no fence: "
                "Delta would drop the rows of the run that commits later under a lower number. "
                "Make it exclusive (max_concurrent_runs=1)."
            )
        return self._fence
