"""The Spark jobs of a run: marked when its session is made, cancelled when it is to end early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def mark_jobs(session: SparkSession, run_id: str) -> None:
    """Let the jobs of this thread, from now on, be cancelled by the run's id.

    On classic Spark it sets the thread's job group; on Spark Connect it adds a tag.
    """
    context = _context(session)
    if context is None:
        session.addTag(run_id)
    else:
        context.setJobGroup(run_id, f"run {run_id}", interruptOnCancel=True)


def unmark_jobs(session: SparkSession, run_id: str) -> None:
    """Let later jobs of this thread go on when the run is cancelled."""
    context = _context(session)
    if context is None:
        session.removeTag(run_id)
    else:
        for name in ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"):
            context.setLocalProperty(name, None)


def cancel_jobs(session: SparkSession, run_id: str) -> None:
    """Cancel the jobs marked with the run's id; may be called from any thread."""
    context = _context(session)
    if context is None:
        session.interruptTag(run_id)
    else:
        context.cancelJobGroup(run_id)


def _context(session: SparkSession) -> Any:
    """Return the SparkContext, None on Spark Connect, which has none."""
    try:
        return session.sparkContext
    except Exception:  # noqa: BLE001 - Connect raises an error of its own
        return None
