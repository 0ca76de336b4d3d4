"""Send stages, metrics and other parts of a run to DynamoDB without failing its body."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import (
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.run import TableOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = SafeLogger(__name__)
Parts = dict[tuple[str, ...], Any]
_PER_REQUEST = 100
_AT_ONCE = 200  # each request costs a write unit per KB of the run, which grows with its parts
_MOST = {"stages": 1000, "metrics": 4000, "data_quality": 1000, "outputs": 1000, "inputs": 1000}
_WAIT_FOR_SEND_SECONDS = 4.0
_NAMED = {"data_quality": "checks of data quality"}
_TOTALS = ("records_read", "records_written", "records_failed")


class Recorder:
    """Keeps parts of a run until they are stored; several threads may record at once.

    A part is sent at once. After a failure parts wait for the next beat, so that an outage delays
    the body once and not with every metric; so do they once a run has more than 200 of them, which
    would otherwise take time that grows with the square of their number.

    Args:
        send: Stores parts; raises one of our errors.
        check: Raises for parts that cannot be stored.
        require_open: Raises once the run has ended or in a forked process.
        label: The run, for the log.
    """

    def __init__(
        self,
        send: Callable[[Mapping[tuple[str, ...], Any]], None],
        check: Callable[[Mapping[tuple[str, ...], Any]], None],
        require_open: Callable[[], None],
        label: str,
    ) -> None:
        self._send = send
        self.check = check
        self._require_open = require_open
        self._label = label
        self._pending: Parts = {}
        self._figures: Parts = {}
        self._names: dict[str, set[str]] = {field: set() for field in _MOST}
        # Reentrant: a signal handler may record while this very thread does.
        self._lock = threading.RLock()
        self._sending = threading.RLock()
        self._is_sending = False
        self._is_troubled = False
        self._is_closed = False
        self._is_over = False

    def record(self, parts: Mapping[tuple[str, ...], Any], *, at_once: bool = True) -> None:
        """Record parts of the run by their paths; send them now, or with the next beat.

        Raises:
            ValidationError: A part cannot be stored, or the run has too many; it is refused here,
                where its caller sees it.
            NoActiveRunError: The run has ended, or belongs to another process.
        """
        self._require_open()
        self.check(parts)
        for path in parts:
            if len(path) > 1:
                self.count(path[0], path[1])
        if not self.keep(parts, at_once=at_once):
            self._require_open()  # it ended meanwhile

    def count(self, field: str, name: str) -> None:
        """Count an entry of a field of the run.

        Raises:
            ValidationError: There are more than are kept with a run.
        """
        known, most = self._names.get(field), _MOST.get(field, 0)
        if known is None:
            return
        with self._lock:
            if name not in known and len(known) >= most:
                what = _NAMED.get(field, field)
                raise ValidationError(
                    f"Run {self._label} has {most:,} {what}, the most that are kept with a run: an "
                    "item of DynamoDB has 400 KB. The same name again replaces an entry: give the "
                    "passes of a loop one name and record totals, or begin a run for each part."
                )
            known.add(name)

    def keep(self, parts: Mapping[tuple[str, ...], Any], *, at_once: bool = True) -> bool:
        """Keep parts and try to store them; never raises for trouble with DynamoDB.

        Returns False after `take_rest`: it is too late to keep them.
        """
        with self._lock:
            if self._is_over:
                return False
            self._pending.update(parts)
            self._figures.update((path, value) for path, value in parts.items() if _counts(path))
        if at_once and not self._has_many() and not self._has_to_wait():
            self._send_pending(after_trouble=False)
        return True

    def _has_many(self) -> bool:
        return sum(map(len, self._names.values())) > _AT_ONCE

    def flush(self) -> None:
        """Try to store what is pending, also after a failure."""
        self._send_pending(after_trouble=True)

    def take_rest(self) -> Parts:
        """Return what is not stored, and keep no more; wait up to 4 s for parts being sent."""
        arrived = self._sending.acquire(timeout=_WAIT_FOR_SEND_SECONDS)
        try:
            with self._lock:
                self._is_over = True
                return {**self._sums(), **self._pending}
        finally:
            if arrived:
                self._sending.release()

    def _sums(self) -> Parts:
        """Return the totals of the run that were not recorded, as sums of outputs or stages."""
        outputs = [value.rows for (first, *_), value in self._figures.items() if first == "outputs"]
        stages = [value for (first, *_), value in self._figures.items() if first == "stages"]
        sums: Parts = {}
        for total in _TOTALS:
            known = [rows for stage in stages if (rows := getattr(stage, total)) is not None]
            if total == "records_written" and outputs:
                known = [] if None in outputs else outputs
            if known and (total,) not in self._figures:
                sums[(total,)] = sum(known)
        return sums

    def close(self) -> None:
        """Send no more at once; `flush` still does."""
        with self._lock:
            self._is_closed = True

    def _has_to_wait(self) -> bool:
        with self._lock:
            return self._is_troubled or self._is_closed

    def _send_pending(self, *, after_trouble: bool) -> None:
        with self._sending:
            if self._is_sending:
                return  # a signal handler within the loop below, which then sends its parts too
            try:
                self._is_sending = True
                while after_trouble or not self._has_to_wait():  # another thread may have failed
                    batch = self._next_batch()
                    if not batch or not self._try(batch):
                        return
            finally:
                self._is_sending = False

    def _next_batch(self) -> Parts:
        with self._lock:
            return dict(list(self._pending.items())[:_PER_REQUEST])

    def _try(self, batch: Parts) -> bool:
        """Send parts; they stay pending if anything, an exit included, prevents it."""
        try:
            self._send(batch)
        except (InvalidTransitionError, ItemNotFoundError) as error:
            if not self._is_over:
                logger.warning("Parts of run %s wait for its end: %s", self._label, error)
            self.close()  # it has ended or has another writer; taken for lost, it may end late
            return False
        except DynamoDBWrapperError as error:
            self._note_trouble(error)
            return False
        self._drop(batch)
        self._is_troubled = False
        return True

    def _note_trouble(self, error: DynamoDBWrapperError) -> None:
        warned, self._is_troubled = self._is_troubled, True
        if not warned:
            logger.warning(
                "Parts of run %s could not be stored; they are kept and sent again: %s",
                self._label,
                error,
            )

    def _drop(self, stored: Parts) -> None:
        with self._lock:
            for path, value in stored.items():
                if self._pending.get(path, self) is value:  # else there is a newer one
                    del self._pending[path]


def _counts(path: tuple[str, ...]) -> bool:
    """Return whether a part has, or is, a number of rows."""
    return path[0] in ("outputs", "stages", *_TOTALS)


class TableRecords:
    """The tables a run reads and writes.

    Args:
        recorder: Records them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.RLock()  # a signal handler may record while this thread does
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, TableOutput] = {}

    def read(self, *table_ids: str, at_once: bool = True) -> None:
        """Record tables that were read, beside those before."""
        with self._lock:  # held until it is recorded: a longer list must not be overtaken
            self._recorder.check({("inputs",): list(table_ids)})
            for table_id in table_ids:
                self._recorder.count("inputs", table_id)
            self._inputs.update(dict.fromkeys(table_ids))
            self._recorder.record({("inputs",): list(self._inputs)}, at_once=at_once)

    def written(
        self, table_id: str, output: TableOutput, *, adds: bool = False, at_once: bool = True
    ) -> None:
        """Record what was written to a table, in the place of what was before or added to it."""
        with self._lock:
            before = self._outputs.get(table_id) if adds else None
            if before is not None and before.rows is not None and output.rows is not None:
                output = output.model_copy(update={"rows": before.rows + output.rows})
            self._recorder.record({("outputs", table_id): output}, at_once=at_once)
            self._outputs[table_id] = output
