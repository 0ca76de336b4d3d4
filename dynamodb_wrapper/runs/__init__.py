"""Run control: record runs of pipelines, lock them, and find dead ones."""

from dynamodb_wrapper.runs.context import RunContext
from dynamodb_wrapper.runs.coverage import Coverage, PartitionState, WatermarkStep
from dynamodb_wrapper.runs.current import current_run, find_current_run
from dynamodb_wrapper.runs.hooks import Hook, RunEvent
from dynamodb_wrapper.runs.options import RunArguments, RunOptions
from dynamodb_wrapper.runs.reaper import ReplayedOutcome
from dynamodb_wrapper.runs.run import Run
from dynamodb_wrapper.runs.stages import Stage
from dynamodb_wrapper.runs.tracker import RunTracker

__all__ = [
    "Coverage",
    "Hook",
    "PartitionState",
    "ReplayedOutcome",
    "Run",
    "RunArguments",
    "RunContext",
    "RunEvent",
    "RunOptions",
    "RunTracker",
    "Stage",
    "WatermarkStep",
    "current_run",
    "find_current_run",
]
