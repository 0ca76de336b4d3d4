"""What a run records while it goes on."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import DataQualityResult, Metric, TableOutput
from dynamodb_wrapper.runs import arguments
from dynamodb_wrapper.runs.stages import checked, storable
from dynamodb_wrapper.runs.standing import RunStanding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dynamodb_wrapper.models import LogInfo, PipelineConfig, PipelineRunLog
    from dynamodb_wrapper.runs.logs import LogCapture
    from dynamodb_wrapper.runs.recording import Parts, Recorder


_ERRORS_KEPT = 8


class RunRecords(RunStanding):
    """The part of a run handle that records; its methods may be called from several threads.

    What is recorded is stored at once, costing a write unit per KB of the run; trouble with
    DynamoDB never reaches the body there: what could not be stored is sent again with the next
    beat or with the end of the run.
    """

    def __init__(
        self,
        record: PipelineRunLog,
        pipeline: PipelineConfig,
        clock: Callable[[], datetime],
        *,
        tracked: bool,
    ) -> None:
        super().__init__(record, pipeline, clock, tracked=tracked)
        self._input_lock = threading.RLock()  # a signal handler may record while this thread does
        self._inputs: dict[str, None] = {}
        self._raised_in: deque[tuple[Callable[[], BaseException | None], str]] = deque(
            maxlen=_ERRORS_KEPT
        )
        self.logs: LogCapture | None = None
        # Set by whoever begins the run, before anybody sees it.
        self.recorder: Recorder
        self.check_parts: Callable[[Parts], None]
        self.describe: Callable[[BaseException], str]

    def stage_that_raised(self, error: BaseException) -> str | None:
        """Return the name of the innermost stage an exception came out of."""
        # By identity of what is still there: ids are used again, and errors may claim equality.
        return next((name for known, name in list(self._raised_in) if known() is error), None)

    def note_stage_raised(self, name: str, error: BaseException) -> None:
        """Note that an exception comes out of a stage."""
        if self.stage_that_raised(error) is None:
            self._raised_in.append((_reference(error), name))

    def log_metric(self, name: str, value: Metric | float) -> None:
        """Record a metric; the same name again replaces it.

        NaN and the infinities, which DynamoDB has no numbers for, are stored as text. Costs a
        write unit per KB of the run. See: UpdateItem.

        Args:
            name: Name of the metric.
            value: A number or a text.

        Raises:
            ValidationError: The value is no number and no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.log_metrics({name: value})

    def log_metrics(self, metrics: Mapping[str, Metric | float]) -> None:
        """Record metrics in one write; as `log_metric`."""
        given = arguments.mapping(metrics, "metrics")
        self.record_parts({("metrics", name): storable(value) for name, value in given.items()})

    def rows(
        self, *, read: int | None = None, written: int | None = None, failed: int | None = None
    ) -> None:
        """Record how many rows the run read, wrote and could not process; totals, not additions.

        Costs a write unit per KB of the run, once for all of them. See: UpdateItem.

        Args:
            read: Number of rows read.
            written: Number of rows written.
            failed: Number of rows that could not be processed.

        Raises:
            ValidationError: A count is negative or no whole number.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        totals = {"records_read": read, "records_written": written, "records_failed": failed}
        given: Parts = {(name,): value for name, value in totals.items() if value is not None}
        if given:
            self.record_parts(given)

    def record_quality(
        self, name: str, result: DataQualityResult | bool, **details: Any
    ) -> DataQualityResult:
        """Record the result of a data quality check, and return it; the same name replaces it.

        A check that did not pass does not fail the run. Costs a write unit per KB of the run.
        See: UpdateItem.

        Args:
            name: Name of the check.
            result: The result, or whether the check passed.
            details: Further fields of `DataQualityResult`, such as ``failed_rows=3``; of no effect
                beside a whole result.

        Raises:
            ValidationError: A detail is unknown, or does not fit.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        if not isinstance(result, DataQualityResult):
            unknown = sorted(set(details) - set(DataQualityResult.model_fields))
            if unknown:
                known = ", ".join(DataQualityResult.model_fields)
                raise ValidationError(f"A check has no {', '.join(unknown)}; it has {known}.")
            values = {"evaluated_at": self.clock(), **details, "passed": result}
            result = checked(DataQualityResult, values)
        self.record_parts({("data_quality", name): result})
        return result

    def inputs(self, *table_ids: str) -> None:
        """Record which tables the run reads; further calls add to them.

        Costs a write unit per KB of the run. See: UpdateItem.

        Args:
            table_ids: The tables.

        Raises:
            ValidationError: An id is no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        with self._input_lock:  # held until it is recorded: a longer list must not be overtaken
            self.check_parts({("inputs",): list(table_ids)})
            self._inputs.update(dict.fromkeys(table_ids))
            self.record_parts({("inputs",): list(self._inputs)})

    def output(
        self,
        table_id: str,
        rows: int | None = None,
        bytes: int | None = None,
    ) -> None:
        """Record what the run wrote to a table; the same table again replaces it.

        Costs a write unit per KB of the run. See: UpdateItem.

        Args:
            table_id: The table.
            rows: Number of rows, where it is known.
            bytes: Size in bytes, where it is known.

        Raises:
            ValidationError: A number is negative or no whole number.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        output = checked(TableOutput, {"rows": rows, "bytes": bytes})
        self.record_parts({("outputs", table_id): output})

    def record_parts(self, parts: Parts) -> None:
        """Record parts of the run by their paths.

        Raises:
            ValidationError: A part cannot be stored; it is refused here, where its caller sees it.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self.require_open()
        self.check_parts(parts)
        if not self.recorder.record(parts):
            self.require_open()  # it ended meanwhile

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


def _reference(error: BaseException) -> Callable[[], BaseException | None]:
    """Return what finds an exception again; weak where it can be, for frames hang on it."""
    try:
        return weakref.ref(error)
    except TypeError:  # Python's own exceptions
        return lambda: error
