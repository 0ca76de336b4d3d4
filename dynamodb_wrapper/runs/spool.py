"""Outcomes that could not be stored, kept in files until they can be.

One file per run in the spool directory, readable by this user only; one line of JSON. Secrets are
taken out of texts before. Runs begin and end without a spool; that there is none is said once.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dynamodb_wrapper.exceptions.errors import ConfigurationError
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
_MOST_BYTES = 32 * 1024 * 1024  # an outcome with all its texts, every character escaped, has less
_MOST_PREPARED = 16
_UNFINISHED_SECONDS = 600  # no file is being written for longer
_WOULD_BE_LOST = (
    "An outcome of a run that DynamoDB does not take would be lost with this process, for it "
    "cannot be kept in a file: %s"
)
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
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
        directory: Made when it is first needed; the error that says so where there can be none.
        secrets: Values to take out.
    """

    def __init__(self, directory: Path | ConfigurationError, secrets: Iterable[str] = ()) -> None:
        self._path = directory
        self._secrets = secrets
        self._prepared: dict[str, int] = {}

    @property
    def directory(self) -> Path:
        """Where the files are.

        Raises:
            ConfigurationError: There is no place for them.
        """
        if isinstance(self._path, ConfigurationError):
            raise ConfigurationError(self._path.message)
        return self._path

    # ---- write -----------------------------------------------------------------------------------

    def prepare(self, run_id: str) -> None:
        """Open the file that the end of a run may need, while there is a descriptor for it.

        It has no name until it is needed, so that nothing is left of a process that is killed;
        only Linux has such files. Logs a warning where no outcome could be kept, once a process.
        The descriptors of a process that has very many runs open are left to the program.
        """
        if len(self._prepared) >= _MOST_PREPARED:
            return
        try:
            descriptor = _nameless_file(self._made())
        except ConfigurationError as error:
            self._warn(_WOULD_BE_LOST, error)
            return
        except OSError as error:
            way_out = "Set DYNAMODB_SPOOL_DIRECTORY to a directory that this user may write."
            self._warn(_WOULD_BE_LOST, f"{error}. {way_out}")
            return
        if descriptor is not None:
            self._prepared[run_id] = descriptor

    def discard(self, run_id: str) -> None:
        """Close the file of a run whose end is stored."""
        descriptor = self._prepared.pop(run_id, None)
        if descriptor is not None:
            os.close(descriptor)

    def keep(self, run: SpooledRun) -> Path:
        """Write an outcome to its file and return it; it is synced to disk on return.

        Raises:
            OSError: It cannot be written.
            ConfigurationError: There is no place for it.
        """
        line = (self._line(run) + "\n").encode()
        run_id = run.record.run_id
        target = self._made() / f"{_file_name(run_id)}.jsonl"
        unfinished = target.with_suffix(f".{os.getpid()}.tmp")
        try:
            descriptor = self._prepared.pop(run_id, None)
            if descriptor is None or not _name_file(descriptor, line, unfinished):
                _write_file(unfinished, line)
            unfinished.replace(target)
        finally:
            with suppress(OSError):
                unfinished.unlink()  # there is one if the disk is full, say
        return target

    def _made(self) -> Path:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.directory

    def _warn(self, message: str, error: Exception | str) -> None:
        """Log that there is no spool, once a process and directory."""
        if str(self._path) not in _said:
            _said.add(str(self._path))
            logger.warning(message, error)

    # ---- read ------------------------------------------------------------------------------------

    def kept(
        self, table_name: str, pipeline_id: str | None = None, *, of_other_users: bool = False
    ) -> Iterator[Entry]:
        """Yield the outcomes of a table, and of one pipeline if given; other files are left.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        for path in self._files(of_other_users=of_other_users):
            run = _read(path)
            if run is None or run.table_name != table_name:
                continue
            if pipeline_id in (None, run.record.pipeline_id):
                yield Entry(path, run)

    def unreadable(self) -> list[Path]:
        """Return the files that cannot be read, of every table.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        return [path for path in self._files() if not _is_readable(path)]

    def report(self, error: ConfigurationError) -> None:
        """Log that the spool cannot be read, unless it was said before that there is none."""
        self._warn("Outcomes of earlier runs are left in the spool: %s", error)

    def _files(self, *, of_other_users: bool = False) -> list[Path]:
        """Return the files of outcomes; delete those that were never finished."""
        if isinstance(self._path, ConfigurationError):
            return []
        try:
            found = sorted(self._path.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationError(
                f"The spool {self._path} cannot be read ({error.strerror}). Give this user access "
                "to it, or set DYNAMODB_SPOOL_DIRECTORY to another directory."
            ) from error
        for path in found:
            if path.suffix == ".tmp":
                _delete_if_old(path)
        files = [path for path in found if path.suffix == ".jsonl"]
        return files if of_other_users else [path for path in files if _is_own(path)]

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

    def drop(self) -> bool:
        """Delete the file, whose outcome is stored; return whether it is gone."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:  # the disk is read-only now, say: storing it again changes nothing
            return False
        return True

    def set_aside(self) -> Path:
        """Rename the file, so that it is not tried again, and return it.

        Another process that replays the same outcome may have done so before. Where the disk is
        read-only it stays as it is.
        """
        aside = self.path.with_suffix(".refused")
        try:
            self.path.replace(aside)
        except FileNotFoundError:
            return aside
        except OSError:
            return self.path
        return aside


def _file_name(run_id: str) -> str:
    """Return a name valid on every file system; run ids may hold slashes and colons."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def _nameless_file(directory: Path) -> int | None:
    """Return the descriptor of a file without a name; None on systems that have none.

    Raises:
        OSError: No file can be made in the directory.
    """
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except AttributeError:
        pass
    except OSError as error:
        if error.errno not in _NO_NAMELESS_FILES:
            raise
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
    return None


def _name_file(descriptor: int, content: bytes, path: Path) -> bool:
    """Write a file without a name and give it one; return whether that went well."""
    try:
        _write(descriptor, content)
        # With a descriptor Python follows the link, which leads to the file itself.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _write_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write(descriptor, content)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _delete_if_old(path: Path) -> None:
    """Delete a file that a process began and never finished."""
    with suppress(OSError):
        if time.time() - path.lstat().st_mtime > _UNFINISHED_SECONDS:
            path.unlink()


def _is_own(path: Path) -> bool:
    """Return whether a file belongs to this user; that it does not is logged once a process."""
    try:
        owner = path.lstat().st_uid
    except OSError:
        return True  # reading it says what is wrong
    if not hasattr(os, "geteuid") or owner == os.geteuid():
        return True
    if str(path) not in _said:
        _said.add(str(path))
        logger.warning(
            "The spooled outcome %s belongs to another user (%s) and is left alone; "
            "RunTracker.replay_outcomes(of_other_users=True) stores it as well.",
            path,
            owner,
        )
    return False


_said: set[str] = set()
"""Directories and files about which a warning was logged."""


def _read(path: Path) -> SpooledRun | None:
    try:
        return _parsed(path)
    except FileNotFoundError:
        return None  # another process has just stored it
    except Exception as error:  # noqa: BLE001 - one bad file stops no start
        logger.warning("The spooled outcome %s cannot be read: %s", path, error)
        return None


def _is_readable(path: Path) -> bool:
    try:
        _parsed(path)
    except FileNotFoundError:
        return True  # as above
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _content(path: Path) -> bytes:
    """Return what a file holds; a link, a pipe and a file that is too large are refused."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no file")
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return content


def _parsed(path: Path) -> SpooledRun:
    content = json.loads(_content(path).decode(), object_hook=_untagged)
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
