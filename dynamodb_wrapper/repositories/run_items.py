"""The items run control keeps beside the runs, under keys nobody can give a run.

One item each: the state of a pipeline, a run key of a pipeline, a watermark of a pipeline, a chunk
of what is too large for the run itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynamodb_wrapper.models.run_state import Cursor, PipelineState, RunSlot
from dynamodb_wrapper.wire.attributes import Item, decode_item


def is_companion(run_id: object) -> bool:
    """Tell whether a key is that of an item beside the runs: no run has a ``#`` in its id."""
    return isinstance(run_id, str) and "#" in run_id


def run_key(run_id: str) -> Item:
    """Return the key of a RUN item."""
    return {"run_id": {"S": run_id}}


def state_key(pipeline_id: str) -> Item:
    """Return the key of the STATE item of a pipeline."""
    return run_key(f"#pipeline#{pipeline_id}")


def slot_key(pipeline_id: str, key: str) -> Item:
    """Return the key of the SLOT item of a run key."""
    return run_key(f"#slot#{pipeline_id}#{key}")


def cursor_key(pipeline_id: str, name: str) -> Item:
    """Return the key of the CURSOR item of a watermark."""
    return run_key(f"#cursor#{pipeline_id}#{name}")


def chunk_key(run_id: str, kind: str, number: int) -> Item:
    """Return the key of a CHUNK item; `kind` is ``log`` or ``err``, numbers begin at 1."""
    return run_key(f"{run_id}#{kind}#{number:04d}")


def read_state(item: Mapping[str, Any] | None) -> PipelineState:
    """Return what a STATE item says; an absent one says nothing has run yet."""
    return PipelineState(**_known(PipelineState, item))


def read_slot(item: Mapping[str, Any] | None) -> RunSlot | None:
    """Return what a SLOT item says, None where the run key was never tried."""
    return RunSlot(**_known(RunSlot, item)) if item else None


def read_cursor(name: str, item: Mapping[str, Any] | None) -> Cursor:
    """Return what a CURSOR item says; an absent one has version 0."""
    return Cursor(**{**_known(Cursor, item), "name": name})


def _known(kind: type, item: Mapping[str, Any] | None) -> dict[str, Any]:
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: value for name, value in decode_item(item or {}).items() if name in names}
