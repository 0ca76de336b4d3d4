"""What run control raises; the whole tree is drawn in ``errors``."""

from __future__ import annotations

from typing import Any

from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError


class RunError(DynamoDBWrapperError):
    """Root of what run control raises.

    Attributes:
        run_id: The run concerned.
        pipeline_id: Its pipeline.
    """

    def __init__(
        self,
        message: str,
        *,
        run_id: str | None = None,
        pipeline_id: str | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.run_id = run_id
        self.pipeline_id = pipeline_id


class RunStartError(RunError):
    """The run could not be recorded, so the body did not run."""


class AlreadyRunningError(RunStartError):
    """Another run holds this exclusive pipeline.

    Attributes:
        holder: Run id of the holder.
        since: When the holder started, as stored.
        host: Where the holder runs, as stored.
        last_heartbeat: When the holder last gave a sign of life, as stored.
        self_nested: Whether the holder is a run this code is itself inside of.
    """

    def __init__(
        self,
        message: str,
        *,
        holder: str | None = None,
        since: str | None = None,
        host: str | None = None,
        last_heartbeat: str | None = None,
        self_nested: bool = False,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.holder = holder
        self.since = since
        self.host = host
        self.last_heartbeat = last_heartbeat
        self.self_nested = self_nested


class AlreadySucceededError(RunStartError):
    """A run of this run key has succeeded before.

    Attributes:
        succeeded_run_id: That run.
    """

    def __init__(
        self, message: str, *, succeeded_run_id: str | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.succeeded_run_id = succeeded_run_id


class PipelineInactiveError(RunStartError):
    """The pipeline is switched off."""


class RunFinishError(RunError):
    """The outcome of a run could not be stored, or the run was ended by somebody else.

    Attributes:
        outcome: The status the body deserved.
    """

    def __init__(self, message: str, *, outcome: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.outcome = outcome


class LeaseLostError(RunError):
    """The lease of the run is not known to hold: another run may have taken over."""


class RunCancelledError(RunError):
    """Somebody asked for the run to be cancelled; it ends CANCELLED when this leaves its block."""


class RunTimedOutError(RunError):
    """The run is past its deadline; it ends TIMED_OUT when this leaves its block."""


class NoActiveRunError(RunError):
    """There is no run in this thread or task, or the run of a handle goes on no more.

    It has ended, or belongs to the process this one was forked from.
    """
