"""Run moto's server so that it answers one request at a time.

moto copies its tables before a transaction and puts the copies back when the transaction is
refused: what another request wrote in between is undone, although it was accepted. DynamoDB never
does that.
"""

from __future__ import annotations

import sys
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class OneAtATime:
    """A WSGI application that hands one request at a time to another one.

    Args:
        application: Answers the requests.
    """

    def __init__(self, application: Callable[[Any, Any], Iterable[bytes]]) -> None:
        self._application = application
        self._answering = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        """Return the whole answer to a request."""
        # Read whole before others have to wait: its sender may be slow.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:
            environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(length))
        with self._answering:
            answer = self._application(environ, start_response)
            try:
                return list(answer)
            finally:
                close = getattr(answer, "close", None)
                if close is not None:
                    close()


def main(host: str, port: int) -> None:
    """Serve until the process ends.

    Args:
        host: Address to bind.
        port: Port to bind.
    """
    application = DomainDispatcherApplication(create_backend_app)
    run_simple(host, port, OneAtATime(application), threaded=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
