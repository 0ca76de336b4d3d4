"""Loggers of the library, whose lines never raise."""

from __future__ import annotations

import logging

_CALLER = 3  # frames from `logging.Logger.log` to the line that logs: `log`, `debug`, the line


class SafeLogger:
    """Logs under a module's name; what a handler or filter of the program raises ends here.

    A run must be stored and its lock freed even where the program's logging fails on a line about
    it. Lines the program logs itself are not touched.

    Args:
        name: The module.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def log(self, level: int, message: str, *args: object, stacklevel: int = 2) -> None:
        """Log a line; an exception of the program's logging is dropped."""
        try:
            self._logger.log(level, message, *args, stacklevel=stacklevel)
        except Exception:  # noqa: BLE001 - there is no place left to report it to
            return

    def debug(self, message: str, *args: object) -> None:
        """Log a line for those who look for an error."""
        self.log(logging.DEBUG, message, *args, stacklevel=_CALLER)

    def info(self, message: str, *args: object) -> None:
        """Log a line about what is done."""
        self.log(logging.INFO, message, *args, stacklevel=_CALLER)

    def warning(self, message: str, *args: object) -> None:
        """Log a line about what the program should look at."""
        self.log(logging.WARNING, message, *args, stacklevel=_CALLER)

    def error(self, message: str, *args: object) -> None:
        """Log a line about what went wrong."""
        self.log(logging.ERROR, message, *args, stacklevel=_CALLER)
