"""Run control: what ran, what runs, and how it ended."""

from dynamodb_wrapper.runs.context import RunContext
from dynamodb_wrapper.runs.run import Run, current_run, find_current_run

__all__ = ["Run", "RunContext", "current_run", "find_current_run"]
