"""The stages of a run."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pydantic

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import RunStatus, StageStatus
from dynamodb_wrapper.models.measures import Metric
from dynamodb_wrapper.models.run import StageInfo
from dynamodb_wrapper.repositories.run_log.items import checked_name
from dynamodb_wrapper.repositories.run_log.protocol import duration_seconds, not_before
from dynamodb_wrapper.runs.outcome import exit_code_of, is_group
from dynamodb_wrapper.serialization.problems import clean_errors, explain

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.runs.liveness import Liveness
    from dynamodb_wrapper.runs.recorder import Recorder

logger = SafeLogger(__name__)

ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)
MOST_METRICS = 1000
"""Metrics of a stage that are kept."""
_ERRORS_KEPT = 8
_LARGEST_GROUP = 1000


class Stages:
    """The stages of a run: those under way, and which one an exception left first.

    Args:
        describe: Returns the text of an exception without secrets.
    """

    def __init__(self, describe: Callable[[BaseException], str]) -> None:
        self.describe = describe
        self._under_way: list[Stage] = []
        self._raised_in: deque[tuple[Callable[[], BaseException | None], str]] = deque(
            maxlen=_ERRORS_KEPT
        )

    def begin(self, stage: Stage) -> None:
        """Note that a stage is under way."""
        self._under_way.append(stage)

    def end(self, stage: Stage) -> str | None:
        """Note that a stage has ended; return the one that is current now, None if that stays."""
        is_current = self._under_way[-1:] == [stage]
        if stage in self._under_way:
            self._under_way.remove(stage)
        return self._under_way[-1].name if is_current and self._under_way else None

    def end_all(self, outcome: RunOutcome) -> None:
        """End the stages that are under way when their run ends, as in a generator that waits."""
        while self._under_way:
            self._under_way[-1].end_with_run(outcome)
            self._under_way.pop()

    def note(self, name: str, error: BaseException) -> None:
        """Remember that an exception leaves a stage; the run's error is stored with its name."""
        if self.stage_of(error) is None:
            self._raised_in.append((_reference(error), name))

    def stage_of(self, error: BaseException) -> str | None:
        """Return the name of the innermost stage that an exception, or one of a group, left."""
        # By identity of live objects: ids are used again, and errors may claim equality.
        known = [(reference(), name) for reference, name in list(self._raised_in)]
        inner, seen = [error], 0
        while seen < len(inner) < _LARGEST_GROUP:
            if is_group(inner[seen]):
                inner += inner[seen].exceptions  # type: ignore[attr-defined]
            seen += 1
        return next((name for one in inner for raised, name in known if raised is one), None)


class Stage:
    """A stage of a run while it goes on; its figures are stored when it ends.

    ::

        with run.stage("load") as stage:
            rows = load()
            stage.log_rows(read=len(rows))

    Args:
        name: Name of the stage, unique within the run; the same name again replaces it.
        seq: Its place.
        liveness: Whether the run is open, and its clock.
        recorder: Stores the stage.
        stages: The stages of the run.
    """

    def __init__(
        self, name: str, seq: int, liveness: Liveness, recorder: Recorder, stages: Stages
    ) -> None:
        self.name = name
        self._liveness = liveness
        self._recorder = recorder
        self._stages = stages
        self._info = StageInfo(seq=seq)

    def __reduce__(self) -> NoReturn:
        raise ValidationError(
            f"A Stage cannot be pickled or copied: its run {self._liveness.record.run_id} belongs "
            "to the process that started it. Pass the run_id, and record the results in this "
            "process."
        )

    def log_rows(
        self, *, read: int | None = None, written: int | None = None, failed: int | None = None
    ) -> None:
        """Note how many rows the stage read, wrote and could not process; totals, not additions.

        Sends nothing by itself.

        Args:
            read: Number of rows read.
            written: Number of rows written.
            failed: Number of rows that could not be processed.

        Raises:
            ValidationError: A count is negative or no whole number.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        counts = {"records_read": read, "records_written": written, "records_failed": failed}
        self._note({name: value for name, value in counts.items() if value is not None})

    def log_metric(self, name: str, value: Metric | float) -> None:
        """Note a metric of the stage; the same name again replaces it. Sends nothing by itself.

        Args:
            name: Name of the metric.
            value: A number or a text; NaN and the infinities are stored as text.

        Raises:
            ValidationError: The value is no number and no text.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        checked_name(name, "A metric")
        before = self._info.metrics
        if name not in before and len(before) >= MOST_METRICS:
            raise ValidationError(
                f"Stage {self.name!r} has {MOST_METRICS:,} metrics, the most that are kept with a "
                "stage. The same name again replaces a metric: note totals."
            )
        noted = self._noted({"metrics": {name: value}})
        self._info = self._info.model_copy(update={"metrics": {**before, **noted.metrics}})

    def skip(self) -> None:
        """Note that there was nothing to do: the stage ends as SKIPPED. Sends nothing by itself.

        Raises:
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._note({"status": StageStatus.SKIPPED})

    def __enter__(self) -> Stage:
        self._change({"start_time": self._liveness.clock()})
        self._recorder.record({("stages", self.name): self._info, ("current_stage",): self.name})
        self._stages.begin(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._liveness.is_open:
            logger.debug("Stage %s outlived run %s.", self.name, self._liveness.record.run_id)
            return  # an exception that leaves the stage goes on
        values: dict[str, Any] = {}
        if error is not None and not _is_calm_exit(error):
            values["status"] = StageStatus.FAILED
            values["error"] = self._stages.describe(error)
            self._stages.note(self.name, error)
        self._end(values, self._liveness.clock())
        parts: dict[tuple[str, ...], Any] = {("stages", self.name): self._info}
        current = self._stages.end(self)
        if current is not None:
            parts[("current_stage",)] = current
        self._recorder.keep(parts)

    def end_with_run(self, outcome: RunOutcome) -> None:
        """End the stage because its run ends: it failed, unless the run succeeded."""
        values: dict[str, Any] = {}
        if outcome.status not in (RunStatus.SUCCESS, RunStatus.SKIPPED):
            values["status"] = StageStatus.FAILED
            values["error"] = f"The run ended as {outcome.status} while the stage was under way."
        self._end(values, outcome.end_time)
        self._recorder.keep({("stages", self.name): self._info})

    def _end(self, values: dict[str, Any], moment: datetime) -> None:
        end = not_before(self._info.start_time, moment)
        if "status" not in values and self._info.status is StageStatus.RUNNING:
            values["status"] = StageStatus.SUCCESS
        values["end_time"] = end
        values["duration_seconds"] = duration_seconds(self._info.start_time, end)
        self._change(values)

    def _note(self, values: dict[str, Any]) -> None:
        """Change the stage; values that cannot be stored raise here and not at the end."""
        noted = self._noted(values)
        self._info = self._info.model_copy(update={name: getattr(noted, name) for name in values})

    def _noted(self, values: dict[str, Any]) -> StageInfo:
        """Return values as a stage has them, checked."""
        self._liveness.require_open()
        noted = checked(StageInfo, {"seq": self._info.seq, **values})
        self._recorder.check({("stages", self.name): noted})
        return noted

    def _change(self, values: dict[str, Any]) -> None:
        """Replace the record, checked: a thread that stores it never sees half a change."""
        known = {name: getattr(self._info, name) for name in StageInfo.model_fields}
        self._info = checked(StageInfo, {**known, **values})


def _reference(error: BaseException) -> Callable[[], BaseException | None]:
    """Return a callable that returns the exception while it exists; weak where it can be.

    An exception holds the frames of its traceback.
    """
    try:
        return weakref.ref(error)
    except TypeError:  # Python's own exceptions
        return lambda: error


def _is_calm_exit(error: BaseException) -> bool:
    """Return whether nothing has failed: an exit with code 0, or a generator that is closed."""
    return isinstance(error, GeneratorExit) or exit_code_of(error) == 0


def checked(model: type[ModelT], values: dict[str, Any]) -> ModelT:
    """Return a part of a run.

    Raises:
        ValidationError: A value does not fit; it is named.
    """
    try:
        return model(**values)
    except pydantic.ValidationError as error:
        raise ValidationError(
            f"{model.__name__}: {explain(error)}.", errors=clean_errors(error)
        ) from error
