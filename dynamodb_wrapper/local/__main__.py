"""Run an engine until Ctrl-C: ``python -m dynamodb_wrapper.local``.

What it prints can be sourced by a shell.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from dynamodb_wrapper.exceptions.errors import LocalEngineError
from dynamodb_wrapper.local.engines import ENGINES, find_engine
from dynamodb_wrapper.local.server import LocalDynamoDB

_WATCH_SECONDS = 1


def main() -> int:
    """Parse, run, return the exit code."""
    options = _parse()
    logging.basicConfig(level=logging.INFO, format="# %(message)s", stream=sys.stderr)
    try:
        if options.fetch:
            print(f"# {find_engine(options.engine, options.path).name} is there.")
            return 0
        return _serve(LocalDynamoDB(options.engine, path=options.path, port=options.port))
    except LocalEngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dynamodb_wrapper.local",
        description="Run a local DynamoDB engine until Ctrl-C or SIGTERM.",
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one (default 8000)")
    parser.add_argument("--path", type=Path, help="file or folder of the data (default: memory)")
    parser.add_argument("--fetch", action="store_true", help="only download the engine")
    return parser.parse_args()


def _serve(local: LocalDynamoDB) -> int:
    asked_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_stop.set())
    with local:
        print(f"# {local.engine} listens on {local.endpoint_url}; Ctrl-C stops it.")
        print(f"export DYNAMODB_ENDPOINT_URL={local.endpoint_url}")
        print("export AWS_REGION=us-east-1")
        print("export AWS_ACCESS_KEY_ID=local")
        print("export AWS_SECRET_ACCESS_KEY=local", flush=True)
        while not asked_to_stop.wait(_WATCH_SECONDS):
            if not local.is_running:
                raise LocalEngineError(f"{local.engine} ended by itself.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
