"""Cancels the Spark jobs of a run that ends early."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynamodb_wrapper.runs.run import Run
    from dynamodb_wrapper.runs.services import Services

logger = logging.getLogger(__name__)


def start_cancelling(services: Services, run: Run) -> threading.Thread | None:
    """Cancel a run's Spark jobs from a thread of its own, where that is wanted and possible.

    After an interruption the replies to this thread may be one off, so that no call may be made.
    """
    cancel = services.cancel_jobs
    if cancel is None or not run.options.cancel_spark_jobs:
        return None
    name = f"dynamodb-wrapper-cancel-{run.run_id}"
    thread = threading.Thread(target=_cancelled, args=(cancel, run), name=name, daemon=True)
    thread.start()
    return thread


def _cancelled(cancel: Callable[[str], None], run: Run) -> None:
    try:
        cancel(run.run_id)
    except Exception as error:  # noqa: BLE001 - the run ends all the same
        why = run.describe(error)
        logger.warning("The Spark jobs of run %s could not be cancelled: %s", run.run_id, why)
