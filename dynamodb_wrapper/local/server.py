"""`LocalDynamoDB`: start and stop a local engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dynamodb_wrapper.config.settings import DynamoDBConfig
from dynamodb_wrapper.exceptions.errors import LocalEngineError
from dynamodb_wrapper.local.engines import Engine, find_engine
from dynamodb_wrapper.local.process import HOST, EngineProcess, is_taken, reserved_port
from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from typing_extensions import Self

_PORT_ATTEMPTS = 5

logger = SafeLogger(__name__)


class LocalDynamoDB:
    """A DynamoDB engine on this machine, for development, demos and tests; Linux and macOS.

    ::

        with LocalDynamoDB() as local:
            repository = PipelineConfigRepository(local.config)

    It listens on 127.0.0.1 and ends with the ``with`` block, with the interpreter, or, where the
    process is killed, within a second.

    The engines:

    * ``dynoxide``: one small program that starts in milliseconds; taken from the PATH, else from
      the user's cache directory, else fetched into it with npm (Linux on x86-64).
    * ``dynamodb-local``: Amazon's own, fetched with Maven, run by Java 17 or later. It cannot
      be made to listen on 127.0.0.1 only: it listens on **every** interface, without a
      password. Use it in tests and CI only.
    * ``moto``: a Python server, from ``pip install 'dynamodb-wrapper[local]'``; memory only.
    * ``auto``: dynoxide, or moto where dynoxide is not available; the log (INFO) says why.

    Args:
        engine: One of the above.
        path: File (dynoxide) or folder (either) that keeps the data; without it they are kept in
            memory.
        port: Port to listen on; 0 picks a free one.
    """

    def __init__(
        self, engine: str = "auto", *, path: str | os.PathLike[str] | None = None, port: int = 0
    ) -> None:
        self._wanted = engine
        self._path = None if path is None else Path(path).absolute()
        self._wanted_port = port
        self._lock = threading.Lock()
        self._process: EngineProcess | None = None
        self._engine: str | None = None
        self._port = 0

    @property
    def engine(self) -> str:
        """Name of the engine that runs."""
        self._require_started()
        return str(self._engine)

    @property
    def endpoint_url(self) -> str:
        """Address of the engine."""
        self._require_started()
        return f"http://{HOST}:{self._port}"

    @property
    def config(self) -> DynamoDBConfig:
        """Config for the engine, with placeholder credentials; needs no environment variable."""
        return DynamoDBConfig.for_local_development(self.endpoint_url)

    @property
    def pid(self) -> int:
        """Process id of the engine."""
        return self._require_started().pid

    @property
    def is_running(self) -> bool:
        """Whether the engine was started and has not ended since."""
        return self._process is not None and self._process.alive

    def start(self) -> Self:
        """Start the engine and return once it answers; does nothing if it runs already.

        Raises:
            LocalEngineError: The engine is not available, its port is taken, or it does not start.
        """
        with self._lock:
            if not self.is_running:
                engine = find_engine(self._wanted, self._path)
                self._process = self._launch(engine)
                self._engine = engine.name
                logger.info("%s answers at %s.", self._engine, self.endpoint_url)
        return self

    def stop(self) -> None:
        """End the engine and wait until it is gone; does nothing if none runs."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self, engine: Engine) -> EngineProcess:
        for attempt in range(_PORT_ATTEMPTS):
            with reserved_port(self._wanted_port) as port:
                process = EngineProcess([*engine.command, str(port)], folder=engine.folder)
                try:
                    process.wait_until_ready(port)
                except LocalEngineError as error:
                    if self._wanted_port or not is_taken(port) or attempt + 1 == _PORT_ATTEMPTS:
                        raise LocalEngineError(f"{engine.name}: {error}") from error
                    logger.info("Port %s was taken meanwhile; trying another.", port)
                except BaseException:
                    process.stop()
                    raise
                else:
                    self._port = port
                    return process
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _require_started(self) -> EngineProcess:
        if self._process is None:
            raise LocalEngineError("The engine does not run: use it in a with block or call start.")
        return self._process
