"""Callables that receive the events of runs; an exception of theirs never fails a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.runs.outcome import stack_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynamodb_wrapper.models.run import PipelineRunLog

logger = SafeLogger(__name__)

STARTED = "started"
FINISHED = "finished"
FAILED = "failed"
LOST = "lost"
LEASE_AT_RISK = "lease_at_risk"


@dataclass(frozen=True)
class RunEvent:
    """An event of a run, as hooks receive it.

    Attributes:
        kind: ``started``, ``finished`` (however it ended), ``failed`` (FAILED or TIMED_OUT, after
            ``finished``), ``lost`` (taken for dead, by any process) or ``lease_at_risk``.
        run_id: The run.
        pipeline_id: Its pipeline.
        status: Its status now.
        run: The run as far as it is known; each hook gets its own copy.
        stored: Whether `run` is stored in DynamoDB; False for an end that is kept in the spool.
    """

    kind: str
    run_id: str
    pipeline_id: str
    status: str
    run: PipelineRunLog
    stored: bool = True


Hook = Callable[[RunEvent], object]


class Hooks:
    """Calls hooks; an exception of a hook, `SystemExit` included, is logged and not raised.

    Args:
        hooks: Called one after the other.
        secrets: Values to take out of what is logged.
    """

    def __init__(self, hooks: Iterable[Hook] = (), secrets: Iterable[str] = ()) -> None:
        self._hooks = tuple(hooks)
        self._secrets = secrets

    def notify(self, kind: str, run: PipelineRunLog, *, stored: bool = True) -> None:
        """Call every hook, one after the other, in this thread."""
        for hook in self._hooks:
            try:
                seen = run.model_copy(deep=True)
                hook(RunEvent(kind, run.run_id, run.pipeline_id, str(run.status), seen, stored))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a hook must not fail the run
                stack = stack_text(error, self._secrets)
                logger.warning("A hook failed on %r of run %s:\n%s", kind, run.run_id, stack)

    def notify_in_background(self, kind: str, run: PipelineRunLog) -> None:
        """Call every hook from a separate daemon thread: one that hangs delays nothing."""
        if self._hooks:
            name = f"dynamodb-wrapper-hooks-{run.run_id}"
            threading.Thread(target=self.notify, args=(kind, run), name=name, daemon=True).start()
