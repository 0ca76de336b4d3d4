"""Texts too large for a run: log lines and whole stack traces, compressed, in items beside it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from dynamodb_wrapper.models import utc_text
from dynamodb_wrapper.repositories.run_items import chunk_key
from dynamodb_wrapper.wire.attributes import decode_item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from dynamodb_wrapper.models import PipelineRunLog
    from dynamodb_wrapper.wire.requests import Caller

CHUNK_BYTES = 65_536
_KEPT_LONGER_DAYS = 7  # than the run: its end, from which its days are counted, is not known yet
_SECONDS_PER_DAY = 86_400


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
        }
        if run.retention_days is not None:
            days = run.retention_days + _KEPT_LONGER_DAYS
            item["expires_at"] = {"N": str(int(now.timestamp()) + days * _SECONDS_PER_DAY)}
        self._caller.call("PutItem", {"TableName": self._caller.table_name, "Item": item})

    def read(self, run_id: str, kind: str, count: int) -> Iterator[str]:
        """Yield the texts of chunks in order; one that is missing is left out."""
        for number in range(1, count + 1):
            request = {
                "TableName": self._caller.table_name,
                "Key": chunk_key(run_id, kind, number),
                "ConsistentRead": True,
            }
            item = self._caller.call("GetItem", request).get("Item")
            if item:
                yield gzip.decompress(bytes(decode_item(item)["data"])).decode()


def chunks_of(text: str, size_bytes: int = CHUNK_BYTES) -> list[str]:
    """Return a text in pieces of at most so many bytes, cut between lines where there are any."""
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
