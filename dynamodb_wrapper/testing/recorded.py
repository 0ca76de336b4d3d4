"""Check how a run was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.runs.tracker import RunTracker


def assert_recorded(
    tracker: RunTracker,
    pipeline_id: str,
    *,
    status: str = "success",
    outputs: Mapping[str, int] | None = None,
    **fields: Any,
) -> PipelineRunLog:
    """Check the newest run of a pipeline, and return it whole.

    ::

        run = assert_recorded(run_tracker, "orders-daily", outputs={"orders": 14})

    Costs a read unit or two. See: Query, GetItem.

    Args:
        tracker: Where the run was recorded.
        pipeline_id: The pipeline.
        status: The status the run must have ended with.
        outputs: Rows that it must have written, by table id; all its tables.
        fields: Further fields of `PipelineRunLog` and the values they must have, such as
            ``records_read=17``, ``error_type="KeyError"``, ``inputs=["raw.orders"]``.

    Raises:
        AssertionError: There is no run, or it differs; the message shows the run, the differences
            and the error it ended with.
    """
    newest = tracker.runs.latest(pipeline_id)
    if newest is None:
        raise AssertionError(f"Pipeline {pipeline_id!r} has no run.")
    run = tracker.runs.get_or_raise(newest.run_id, consistent=True)
    found: dict[str, Any] = {"status": str(run.status)}
    wanted: dict[str, Any] = {"status": str(status), **fields}
    if outputs is not None:
        found["outputs"] = {name: output.rows for name, output in run.outputs.items()}
        wanted["outputs"] = dict(outputs)
    found.update({name: _field(run, name) for name in fields})
    differences = [
        f"  {name}: {found[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if found[name] != value
    ]
    if differences:
        lines = [f"{newest}", *differences]
        if run.error is not None:
            lines.append(f"  error: {run.error.type}: {run.error.message}")
        raise AssertionError("\n".join(lines))
    return run


def _field(run: PipelineRunLog, name: str) -> Any:
    if name not in type(run).model_fields:
        raise AssertionError(
            f"A run has no field {name!r}; it has {', '.join(type(run).model_fields)}."
        )
    return getattr(run, name)
