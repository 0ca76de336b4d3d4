"""Keep a superseded driver's writes out of a Delta table, as far as Delta can detect them.

Delta remembers, per table and application id, the highest version written, and skips a write that
names no higher one. The application id is the pipeline of one run table; the versions of a run
begin at its fence times 1000, so that those of a later run are higher.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from dynamodb_wrapper.exceptions.errors import ValidationError

WRITES_PER_RUN = 999
_BARRIER_ATTEMPTS = 5
# Recognised by name: `runs` imports no Spark, and Delta's own package may not be installed.
_NOT_A_TABLE = "AnalysisException"
_NO_DELTA = "DATA_SOURCE_NOT_FOUND"
_OVERTAKEN = ("ConcurrentTransactionException", "DELTA_CONCURRENT_TRANSACTION")


class DeltaFence:
    """Numbers the Delta writes of one run.

    Args:
        run_table: The run table, whose pipelines the fences are comparable within.
        pipeline_id: The pipeline.
        fence: The run's; None for a pipeline without a limit of runs.
    """

    def __init__(self, run_table: str, pipeline_id: str, fence: int | None) -> None:
        self._run_table = run_table
        self._pipeline_id = pipeline_id
        self._fence = fence
        self._numbers = count(1)

    def options(self) -> dict[str, str]:
        """Return the writer options of the next write."""
        fence = self._required()
        number = next(self._numbers)
        if number > WRITES_PER_RUN:
            raise ValidationError(
                f"A run can fence {WRITES_PER_RUN} Delta writes; this would be one more. "
                "Write larger pieces, or split the work into several runs."
            )
        return self._numbered(fence, number)

    def raise_barrier(self, spark: Any, path: str) -> None:
        """Commit an empty append under the run's fence, below every write of the run.

        If a write of an earlier run is committed at the same time, Delta refuses the append; it is
        sent again.
        """
        options = self._numbered(self._required(), 0)
        for attempt in range(1, _BARRIER_ATTEMPTS + 1):
            try:
                _append_nothing(spark, path, options)
                return
            except Exception as error:
                why = _why_no_table(error)
                if why is not None:
                    raise ValidationError(f"{path!r} cannot be fenced: {why}") from error
                if attempt == _BARRIER_ATTEMPTS or not _is_overtaken(error):
                    raise

    def _numbered(self, fence: int, number: int) -> dict[str, str]:
        return {
            "txnAppId": f"dynamodb-wrapper:{self._run_table}:{self._pipeline_id}",
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


def _append_nothing(spark: Any, path: str, options: dict[str, str]) -> None:
    empty = spark.read.format("delta").load(path).limit(0)
    empty.write.format("delta").mode("append").options(**options).save(path)


def _why_no_table(error: Exception) -> str | None:
    """Return why the path cannot be fenced, if the path or the session is the reason."""
    if _NO_DELTA in str(error):
        return "the session knows no data source 'delta'; start it with Delta's jars and settings."
    if any(kind.__name__ == _NOT_A_TABLE for kind in type(error).__mro__):
        return " ".join(str(error).strip().split("\n\n")[0].split())
    return None


def _is_overtaken(error: Exception) -> bool:
    text = f"{type(error).__name__}: {error}"
    return any(sign in text for sign in _OVERTAKEN)
