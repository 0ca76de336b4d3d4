"""Which engine runs, and with which command."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from dynamodb_wrapper.exceptions import LocalEngineError
from dynamodb_wrapper.local.fetch import cached_dynoxide, fetch_dynamodb_local, fetch_dynoxide
from dynamodb_wrapper.local.java import java_command, java_problem
from dynamodb_wrapper.local.ports import HOST

ENGINES = ("auto", "dynoxide", "dynamodb-local", "moto")
_SERVER_RUNNER = "software.amazon.dynamodb.services.local.main.ServerRunner"
_MOTO_MODULES = ("moto", "flask", "flask_cors")

logger = logging.getLogger(__name__)


class Engine(NamedTuple):
    """An engine that can be started.

    Attributes:
        name: One of ``ENGINES`` but ``auto``.
        command: The whole command but the port number, which comes last.
        folder: Working directory the engine needs.
    """

    name: str
    command: tuple[str, ...]
    folder: Path | None = None


def find_engine(name: str, path: Path | None) -> Engine:
    """Return the engine asked for, or the best there is for ``auto``; fetch it where needed.

    Raises:
        LocalEngineError: The engine cannot be had here; what to install is named.
    """
    if name == "auto":
        return _best(path)
    if name == "dynoxide":
        return _dynoxide(path)
    if name == "dynamodb-local":
        return _dynamodb_local(path)
    if name == "moto":
        return _moto(path)
    raise LocalEngineError(f"There is no engine {name!r}; there are {', '.join(ENGINES)}.")


def _best(path: Path | None) -> Engine:
    try:
        return _dynoxide(path)
    except LocalEngineError as dynoxide_error:
        logger.info("Falling back to moto. %s", dynoxide_error)
        try:
            return _moto(path)
        except LocalEngineError as moto_error:
            raise LocalEngineError(
                f"No local engine can be had.\ndynoxide: {dynoxide_error}\nmoto: {moto_error}"
            ) from dynoxide_error


def _dynoxide(path: Path | None) -> Engine:
    program = _dynoxide_program()
    command = [program, "serve", "--host", HOST]
    if path is not None:
        file = path / "dynoxide.db" if path.is_dir() else path
        file.parent.mkdir(parents=True, exist_ok=True)
        command += ["--db-path", str(file)]
    return Engine("dynoxide", (*command, "--port"))


def _dynoxide_program() -> str:
    on_path = shutil.which("dynoxide")
    if on_path is not None:
        logger.info("Engine dynoxide: found on the PATH, %s.", on_path)
        return on_path
    cached = cached_dynoxide()
    if cached is not None:
        logger.info("Engine dynoxide: found in the cache, %s.", cached)
        return str(cached)
    fetched = fetch_dynoxide()
    logger.info("Engine dynoxide: fetched with npm into %s.", fetched)
    return str(fetched)


def _dynamodb_local(path: Path | None) -> Engine:
    problem = java_problem()
    java = java_command()
    if problem is not None or java is None:
        raise LocalEngineError(f"DynamoDB Local needs Java. {problem}")
    jars = fetch_dynamodb_local()
    logger.info("Engine DynamoDB Local: jars in %s.", jars)
    store = ["-inMemory"]
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        store = ["-dbPath", str(path)]
    server = [f"-Djava.library.path={jars}", "-cp", f"{jars}/*", _SERVER_RUNNER]
    command = (java, *server, "-disableTelemetry", "-sharedDb", *store, "-port")
    return Engine("dynamodb-local", command, folder=jars)


def _moto(path: Path | None) -> Engine:
    missing = [name for name in _MOTO_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalEngineError(
            f"The engine moto needs {', '.join(missing)}: pip install 'dynamodb-wrapper[local]'."
        )
    if path is not None:
        raise LocalEngineError("The engine moto keeps everything in memory; it has no file store.")
    logger.info("Engine moto: its server, run by %s.", sys.executable)
    return Engine("moto", (sys.executable, "-m", "moto.server", "-H", HOST, "-p"))
