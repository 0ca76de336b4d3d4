"""Shared by the examples: a DynamoDB to work on, and aligned output."""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dynamodb_wrapper import DynamoDBConfig
from dynamodb_wrapper.local import LocalDynamoDB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@contextmanager
def open_store() -> Iterator[DynamoDBConfig]:
    """Yield the config of an empty store: the configured endpoint's, else a local engine's."""
    config = DynamoDBConfig.from_env()
    if config.endpoint_url is not None:
        if config.table_prefix is None:
            prefix = f"demo_{uuid.uuid4().hex[:8]}"
            config = config.model_copy(update={"table_prefix": prefix})
        print(f"Works on {config.endpoint_url}, in tables named {config.table_name('...')}.")
        yield config
        return
    with LocalDynamoDB() as local:
        print(
            f"No endpoint is configured (DYNAMODB_ENDPOINT_URL), so a local DynamoDB was started "
            f"for this demo:\n{local.engine} at {local.endpoint_url}, in memory."
        )
        yield local.config.model_copy(update={"user_timezone": config.user_timezone})


@contextmanager
def spark_log_in(file: Path) -> Iterator[None]:
    """Let a JVM that starts inside the block write its log to a file, not to the terminal."""
    terminal = os.dup(2)
    with file.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    except BaseException:
        os.write(terminal, file.read_bytes())
        raise
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def section(title: str) -> None:
    """Print a headline."""
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in aligned columns, numbers to the right."""
    cells = [[text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells)]
    numeric = [
        all(isinstance(v, (int, float, type(None))) for v in column) for column in zip(*rows)
    ]
    for line in (header, ["-" * width for width in widths], *cells):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric)
        )
        print("  " + "  ".join(padded).rstrip())


def text(value: object) -> str:
    """Return a value for people."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
