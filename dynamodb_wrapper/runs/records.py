"""What a run records while it goes on."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import DataQualityResult, Metric, TableOutput
from dynamodb_wrapper.runs import arguments
from dynamodb_wrapper.runs.stages import checked, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dynamodb_wrapper.models import LogInfo
    from dynamodb_wrapper.runs.logs import LogCapture
    from dynamodb_wrapper.runs.recording import Parts, Recorder


class RunRecords:
    """The part of a run handle that records; its methods may be called from several threads.

    What is recorded is stored at once, costing a write unit per KB of the run; trouble with
    DynamoDB never reaches the body there: what could not be stored is sent again with the next
    beat or with the end of the run.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self._input_lock = threading.Lock()
        self._inputs: dict[str, None] = {}
        self._raised_in: dict[int, str] = {}
        self.logs: LogCapture | None = None
        # Set by whoever begins the run, before anybody sees it.
        self.recorder: Recorder
        self.check_parts: Callable[[Parts], None]
        self.describe: Callable[[BaseException], str]

    def stage_that_raised(self, error: BaseException) -> str | None:
        """Return the name of the innermost stage an exception came out of."""
        return self._raised_in.get(id(error))

    def note_stage_raised(self, name: str, error: BaseException) -> None:
        """Note that an exception comes out of a stage."""
        self._raised_in.setdefault(id(error), name)

    def log_metric(self, name: str, value: Metric | float) -> None:
        """Record a metric; the same name again replaces it.

        NaN and the infinities, which DynamoDB has no numbers for, are stored as text.

        Raises:
            ValidationError: The value is no number and no text.
        """
        self.log_metrics({name: value})

    def log_metrics(self, metrics: Mapping[str, Metric | float]) -> None:
        """Record metrics in one write; as `log_metric`."""
        given = arguments.mapping(metrics, "metrics")
        self._record_parts({("metrics", name): storable(value) for name, value in given.items()})

    def rows(
        self, *, read: int | None = None, written: int | None = None, failed: int | None = None
    ) -> None:
        """Record how many rows the run read, wrote and could not process; totals, not additions."""
        totals = {"records_read": read, "records_written": written, "records_failed": failed}
        given: Parts = {(name,): value for name, value in totals.items() if value is not None}
        if given:
            self._record_parts(given)

    def record_quality(
        self, name: str, result: DataQualityResult | bool, **details: Any
    ) -> DataQualityResult:
        """Record the result of a data quality check.

        Args:
            name: Name of the check.
            result: The result, or whether the check passed.
            details: Further fields of `DataQualityResult`, such as ``failed_rows=3``.
        """
        if not isinstance(result, DataQualityResult):
            unknown = sorted(set(details) - set(DataQualityResult.model_fields))
            if unknown:
                known = ", ".join(DataQualityResult.model_fields)
                raise ValidationError(f"A check has no {', '.join(unknown)}; it has {known}.")
            values = {"evaluated_at": self.clock(), **details, "passed": result}
            result = checked(DataQualityResult, values)
        self._record_parts({("data_quality", name): result})
        return result

    def inputs(self, *table_ids: str) -> None:
        """Record which tables the run reads."""
        with self._input_lock:  # held until it is recorded: a longer list must not be overtaken
            known = {**self._inputs, **dict.fromkeys(table_ids)}
            self._record_parts({("inputs",): list(known)})
            self._inputs = known

    def output(
        self,
        table_id: str,
        rows: int | None = None,
        bytes: int | None = None,
    ) -> None:
        """Record what the run wrote to a table.

        Args:
            table_id: The table.
            rows: Number of rows, where it is known.
            bytes: Size in bytes, where it is known.
        """
        output = checked(TableOutput, {"rows": rows, "bytes": bytes})
        self._record_parts({("outputs", table_id): output})

    def _record_parts(self, parts: Parts) -> None:
        self.check_parts(parts)  # what cannot be stored is refused here, where its caller sees it
        self.recorder.record(parts)

    # ---- log lines -------------------------------------------------------------------------------

    def log_totals(self) -> LogInfo | None:
        """Return how many log lines will be stored with the run; None where none are."""
        return None if self.logs is None else self.logs.final_totals()

    def detach_logs(self) -> None:
        """Take no more log lines."""
        if self.logs is not None:
            logging.getLogger().removeHandler(self.logs)

    def store_logs(self) -> None:
        """Store the log lines that have come together."""
        if self.logs is not None:
            totals = self.logs.store_lines()
            if totals is not None:
                self.recorder.record({("logs",): totals})
