"""Outcomes that could not be stored, kept in files until they can be.

One file per run in the spool directory, readable by this user only; one line of JSON. Secrets are
taken out of texts before.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import STORED
from dynamodb_wrapper.models.run import PipelineRunLog, RunErrorInfo
from dynamodb_wrapper.models.run_state import Cursor, CursorMove, RunOutcome
from dynamodb_wrapper.redaction import redact_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

logger = SafeLogger(__name__)

RunText = tuple[str, int, str]
"""Kind (``log`` or ``err``), number and content of a text beside a run."""

_FORMAT = 1
_UNREADABLE = (OSError, ValueError, ArithmeticError, AttributeError, KeyError, TypeError)
_READ_AS = {
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$decimal": Decimal,
    "$bytes": base64.b64decode,
    "$dict": dict,
}


@dataclass(frozen=True)
class SpooledRun:
    """A run whose end is not stored.

    Attributes:
        table_name: The run table.
        record: The run as it was last seen.
        outcome: Its outcome.
        is_stored: Whether its start is stored; False for an untracked run.
        texts: Texts that go beside the run.
    """

    table_name: str
    record: PipelineRunLog
    outcome: RunOutcome
    is_stored: bool = True
    texts: tuple[RunText, ...] = ()


class Spool:
    """A directory of outcomes.

    Args:
        directory: Made when it is first needed.
        secrets: Values to take out.
    """

    def __init__(self, directory: Path, secrets: Iterable[str] = ()) -> None:
        self.directory = directory
        self._secrets = secrets

    def keep(self, run: SpooledRun) -> Path:
        """Write an outcome to its file and return it; it is synced to disk on return.

        Raises:
            OSError: It cannot be written.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self.directory / f"{_file_name(run.record.run_id)}.jsonl"
        unfinished = target.with_suffix(f".{os.getpid()}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(unfinished, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(self._line(run) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        return target

    def kept(self, table_name: str, pipeline_id: str | None = None) -> Iterator[Entry]:
        """Yield the outcomes of a table, and of one pipeline if given; other files are left."""
        for path in self._files():
            run = _read(path)
            if run is None or run.table_name != table_name:
                continue
            if pipeline_id in (None, run.record.pipeline_id):
                yield Entry(path, run)

    def unreadable(self) -> list[Path]:
        """Return the files that cannot be read, of every table."""
        return [path for path in self._files() if not _is_readable(path)]

    def _files(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(path for path in self.directory.iterdir() if path.suffix == ".jsonl")

    def _line(self, run: SpooledRun) -> str:
        outcome = asdict(run.outcome)
        moves = outcome.pop("moves")
        outcome["error"] = run.outcome.error
        outcome["fields"] = run.outcome.fields
        parts = [[list(path), value] for path, value in run.outcome.parts.items()]
        content = redact_values(
            _tagged(
                {
                    "format": _FORMAT,
                    "table_name": run.table_name,
                    "is_stored": run.is_stored,
                    "record": run.record.model_dump(round_trip=True),
                    "outcome": {**outcome, "parts": parts},
                    "texts": run.texts,
                }
            ),
            self._secrets,
        )
        return json.dumps({**content, "moves": _tagged(list(moves))})


@dataclass(frozen=True)
class Entry:
    """A file of the spool."""

    path: Path
    run: SpooledRun

    def drop(self) -> None:
        """Delete the file: its outcome is stored."""
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Rename the file, so that it is not tried again, and return it.

        Another process that replays the same outcome may have done so before.
        """
        aside = self.path.with_suffix(".refused")
        with suppress(FileNotFoundError):
            self.path.replace(aside)
        return aside


def _file_name(run_id: str) -> str:
    """Return a name valid on every file system; run ids may hold slashes and colons."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def _read(path: Path) -> SpooledRun | None:
    try:
        return _parsed(path)
    except FileNotFoundError:
        return None  # another process has just stored it
    except _UNREADABLE as error:
        logger.warning("The spooled outcome %s cannot be read: %s", path, error)
        return None


def _is_readable(path: Path) -> bool:
    try:
        _parsed(path)
    except FileNotFoundError:
        return True  # as above
    except _UNREADABLE:
        return False
    return True


def _parsed(path: Path) -> SpooledRun:
    content = json.loads(path.read_text(encoding="utf-8"), object_hook=_untagged)
    if content["format"] != _FORMAT:
        raise ValueError(f"has format {content['format']}")
    record = PipelineRunLog.model_validate(content["record"], context=STORED)
    return SpooledRun(
        content["table_name"],
        record,
        _outcome(content),
        is_stored=content["is_stored"],
        texts=tuple((kind, number, text) for kind, number, text in content["texts"]),
    )


def _outcome(content: dict[str, Any]) -> RunOutcome:
    values = dict(content["outcome"])
    error = values.pop("error")
    moves = [
        CursorMove(Cursor(**move["seen"]), move["value"], move["value_type"])
        for move in content["moves"]
    ]
    return RunOutcome(
        **{
            **values,
            "status": RunStatus(values["status"]),
            "error": None if error is None else RunErrorInfo.model_validate(error, context=STORED),
            "dropped": tuple(values["dropped"]),
            "parts": {tuple(path): value for path, value in values["parts"]},
            "moves": tuple(moves),
        }
    )


def _tagged(value: Any) -> Any:
    """Return a value as JSON, with tags for the types JSON lacks."""
    if isinstance(value, BaseModel):
        return _tagged(value.model_dump(round_trip=True))
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        inner = {str(name): _tagged(part) for name, part in value.items()}
        looks_tagged = any(name in _READ_AS for name in inner)
        return {"$dict": list(inner.items())} if looks_tagged else inner
    if isinstance(value, (list, tuple)):
        return [_tagged(part) for part in value]
    return str(value) if isinstance(value, str) else value


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        ((name, content),) = value.items()
        if name in _READ_AS:
            return _READ_AS[name](content)  # type: ignore[operator]
    return value
