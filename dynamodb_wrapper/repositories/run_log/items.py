"""Items of the run table: keys, names, reads, and chunks of long texts.

Besides the runs there is one item per pipeline (STATE), per run key (SLOT), per watermark (CURSOR),
per piece of a log or stack trace (CHUNK) and per tag of a run (TAG). Their keys hold a ``#``, which
no run id does. CHUNK and TAG belong to a run, and expire and are deleted with it; the others stay.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.exceptions.errors import (
    IncompatibleItemError,
    ThrottledError,
    ValidationError,
)
from dynamodb_wrapper.models.fields import utc_text
from dynamodb_wrapper.models.run_state import Cursor, PipelineState, RunSlot
from dynamodb_wrapper.redaction import redact_known
from dynamodb_wrapper.repositories.run_log.takeover import Seen
from dynamodb_wrapper.serialization.codec import plain
from dynamodb_wrapper.serialization.values import Item, decode_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from dynamodb_wrapper.aws.calls import Caller
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.repositories.run_log.leases import LeaseWatch

MAX_NAME_BYTES = 1024
CHUNK_BYTES = 65_536
MOST_CHUNKS = 1000  # a run has at most some 500; a damaged number must not cost a billion requests
_GZIP = 31  # as zlib numbers the formats it reads
_KEPT_LONGER_DAYS = 7  # than the run: its days count from its end, which is not known yet
_SECONDS_PER_DAY = 86_400


def checked_name(name: Any, what: str) -> str:
    """Return a name that can be stored.

    Args:
        name: The name.
        what: What it names, for error texts.

    Raises:
        ValidationError: It is not a string, empty, invalid UTF-8, or over 1,024 bytes.
    """
    if not isinstance(name, str):
        raise ValidationError(f"{what} has a name that is a {type(name).__name__}; use a string.")
    if not name:
        raise ValidationError(f"{what} has an empty name; give it one.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValidationError(
            f"{what} has a name with a lone surrogate, which is no UTF-8."
        ) from None  # Python's error holds the name
    if size > MAX_NAME_BYTES:
        raise ValidationError(
            f"{what} has a name of {size:,} bytes; {MAX_NAME_BYTES:,} are the limit."
        )
    return str(name)


def identity(name: Any, what: str, secrets: Iterable[str]) -> str:
    """Return a name that is part of a key, which may hold no secret.

    Raises:
        ValidationError: As `checked_name`, or it holds a secret of the process; never shown.
    """
    checked = checked_name(name, what)
    refuse_secret(checked, what, secrets)
    return checked


def refuse_secret(name: str | None, what: str, secrets: Iterable[str]) -> None:
    """Raise if a name holds a secret of the process; it is never shown.

    Raises:
        ValidationError: It does.
    """
    if name is not None and redact_known(name, secrets) != name:
        raise ValidationError(
            f"{what} has a name that holds a secret of this process; it would be stored in the "
            "clear. Choose another name."
        )


def is_companion(run_id: object) -> bool:
    """Return whether a key is that of an item beside the runs: no run id has a ``#``."""
    return isinstance(run_id, str) and "#" in run_id


def refuse_companion(key: Any) -> None:
    """Refuse the key of an item beside the runs, such as the lock and history of a pipeline."""
    run_id = key.get("run_id") if isinstance(key, Mapping) else key
    if is_companion(run_id):
        raise ValidationError(
            f"{run_id!r} is no run but an item of run control; release() frees a pipeline."
        )


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


def tag_key(run_id: str, name: str) -> Item:
    """Return the key of a TAG item."""
    return run_key(f"{run_id}#tag#{name}")


def beside_expiry(run: PipelineRunLog, now: datetime) -> Item:
    """Return the TTL of an item that is stored beside a run now; empty for one that is kept."""
    if run.expires_at is not None:
        return {"expires_at": {"N": str(int(run.expires_at.timestamp()))}}
    if run.retention_days is None:
        return {}
    days = run.retention_days + _KEPT_LONGER_DAYS
    return {"expires_at": {"N": str(int(now.timestamp()) + days * _SECONDS_PER_DAY)}}


def read_state(item: Mapping[str, Any] | None) -> PipelineState:
    """Return the state in a STATE item; of an absent one, that of a pipeline that never ran."""
    return PipelineState(**_known(PipelineState, item))


def read_slot(item: Mapping[str, Any] | None) -> RunSlot | None:
    """Return the slot in a SLOT item, None where the run key was never tried."""
    if not item:
        return None
    try:
        return RunSlot(**_known(RunSlot, item))
    except TypeError as error:
        missing = "last_run_id or status is missing"
        raise _damaged(decode_item(item), missing) from error


def read_cursor(name: str, item: Mapping[str, Any] | None) -> Cursor:
    """Return the watermark in a CURSOR item; an absent one has version 0."""
    return Cursor(**{**_known(Cursor, item), "name": name})


def _known(kind: type, item: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the attributes of an item that a class of `models.run_state` has fields for.

    Raises:
        IncompatibleItemError: One has another type: the item was damaged, or changed by hand.
    """
    stored = decode_item(item or {})
    found = {}
    for name, type_ in _types_of_fields(kind):
        value = stored.get(name)
        if value is None:
            continue
        if type_ is not None and type(value) is not type_:
            wanted = "whole number" if type_ is int else "text"
            raise _damaged(stored, f"{name} is a {type(value).__name__} and must be a {wanted}")
        found[name] = value
    return found


@lru_cache(maxsize=8)
def _types_of_fields(kind: type) -> tuple[tuple[str, type | None], ...]:
    """Return the fields of a class and the type of each; None for any."""
    types = {"str": str, "int": int}
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return tuple((name, types.get(field.type.split(" ")[0])) for name, field in fields.items())


def _damaged(item: Mapping[str, Any], what: str) -> IncompatibleItemError:
    return IncompatibleItemError(
        f"Item {item.get('run_id')!r} of the run table is damaged: {what}. Restore the item, or "
        "the attribute, from a backup."
    )


class RunReads:
    """Reads of one run table.

    Args:
        caller: Sends to the run table.
        decode: Returns the run in a stored item.
    """

    def __init__(self, caller: Caller, decode: Callable[[Any], PipelineRunLog]) -> None:
        self.caller = caller
        self.decode = decode

    def state(self, pipeline_id: str) -> PipelineState:
        """Return the state of a pipeline. Costs one read unit."""
        return read_state(self.item(state_key(pipeline_id)))

    def run(self, run_id: str) -> PipelineRunLog | None:
        """Return a run as it is now. Costs a read unit per 4 KB."""
        if is_companion(run_id):
            return None
        item = self.item(run_key(run_id))
        return None if item is None else self.decode(item)

    def slot(self, pipeline_id: str, key: str) -> RunSlot | None:
        """Return the last attempt at a run key. Costs one read unit."""
        return read_slot(self.item(slot_key(pipeline_id, key)))

    def cursor(self, pipeline_id: str, name: str) -> Cursor:
        """Return a watermark. Costs a read unit per 4 KB."""
        item = self.item(cursor_key(pipeline_id, name))
        return read_cursor(name, item)

    def owns_slot(self, run: PipelineRunLog) -> bool:
        """Return whether a run is the last attempt at its run key."""
        if run.run_key is None:
            return False
        slot = self.slot(run.pipeline_id, run.run_key)
        return slot is not None and slot.last_run_id == run.run_id

    def before_start(self, run: PipelineRunLog, watch: LeaseWatch, *, exclusive: bool) -> Seen:
        """Return the items that decide whether a run can start. Costs one to five read units."""
        state = self.state(run.pipeline_id) if exclusive else read_state(None)
        slot = self.slot(run.pipeline_id, run.run_key) if run.run_key else None
        holder = self.run(state.holder) if state.holder else None
        attempt, holder_slot = None, None
        if slot is not None and slot.is_live:
            same = slot.last_run_id == state.holder
            attempt = holder if same else self.run(slot.last_run_id)
        others = {other.run_id: other for other in (holder, attempt) if other is not None}
        dead = frozenset(run_id for run_id, other in others.items() if watch.is_dead(other))
        if holder is not None and holder.run_id in dead and holder.run_key:
            same = holder.run_key == run.run_key
            holder_slot = slot if same else self.slot(holder.pipeline_id, holder.run_key)
        return Seen(state, holder, slot, attempt, holder_slot, dead)

    def gave_up(self, what: str) -> ThrottledError:
        """Return the error for items that kept changing between read and write."""
        return ThrottledError(
            f"{what} kept changing for {self.caller.limit_seconds:g} s. Try again later.",
            table_name=self.caller.table_name,
            operation="TransactWriteItems",
            retryable=True,
        )

    def item(self, key: Item) -> Item | None:
        """Return an item as it is stored, also one whose TTL has passed. Costs as `run`."""
        request = {"TableName": self.caller.table_name, "Key": key, "ConsistentRead": True}
        return self.caller.call("GetItem", request, key=plain(key)).get("Item") or None


class RunChunks:
    """Chunks of texts on one run table.

    Args:
        caller: Sends to the run table.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def put(self, run: PipelineRunLog, kind: str, number: int, text: str, now: datetime) -> None:
        """Store a chunk; storing it again changes nothing. Costs a write unit per KB.

        Args:
            run: The run.
            kind: ``log`` or ``err``.
            number: Place of the chunk, from 1.
            text: At most 64 KB.
            now: The present moment.
        """
        item = {
            **chunk_key(run.run_id, kind, number),
            "kind": {"S": "CHUNK"},
            "schema_version": {"N": "1"},
            "pipeline_id": {"S": run.pipeline_id},
            "created_at": {"S": utc_text(now)},
            "data": {"B": gzip.compress(text.encode(), mtime=0)},
            **beside_expiry(run, now),
        }
        self._caller.call("PutItem", {"TableName": self._caller.table_name, "Item": item})

    def read(self, run_id: str, kind: str, count: int) -> Iterator[str]:
        """Yield the texts of chunks in order; one that is missing is left out.

        At most 1,000 are read, which is more than a run has; of a damaged one what can be read.
        """
        for number in range(1, min(count, MOST_CHUNKS) + 1):
            request = {
                "TableName": self._caller.table_name,
                "Key": chunk_key(run_id, kind, number),
                "ConsistentRead": True,
            }
            item = self._caller.call("GetItem", request).get("Item")
            if item:
                yield _text_of_chunk(decode_item(item).get("data"), number)
        if count > MOST_CHUNKS:
            yield f"[the run counts {count:,} pieces, of which {MOST_CHUNKS:,} were looked for]\n"


def _text_of_chunk(data: Any, number: int) -> str:
    """Return the text of a chunk; what is damaged or too long is left out, which is marked."""
    if not isinstance(data, bytes):
        return f"[piece {number} is damaged: it holds no bytes]\n"
    reader = zlib.decompressobj(wbits=_GZIP)
    try:
        content = reader.decompress(data, CHUNK_BYTES)
        rest = reader.decompress(reader.unconsumed_tail, 1)
    except zlib.error:
        return f"[piece {number} is damaged: it cannot be decompressed]\n"
    text = content.decode("utf-8", "replace")
    is_whole = reader.eof and not rest
    return text if is_whole else f"{text}\n[the rest of piece {number} is damaged]\n"


def chunks_of(text: str, size_bytes: int = CHUNK_BYTES) -> list[str]:
    """Return a text in pieces of at most so many bytes, cut between lines where possible."""
    pieces: list[str] = []
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        for part in _parts(line, size_bytes):
            length = len(part.encode())
            if size + length > size_bytes:
                pieces.append("".join(piece))
                piece, size = [], 0
            piece.append(part)
            size += length
    return [*pieces, "".join(piece)] if piece else pieces


def _parts(line: str, size_bytes: int) -> Iterator[str]:
    step = size_bytes // 4  # a character has at most four bytes
    return (line[i : i + step] for i in range(0, len(line), step))
