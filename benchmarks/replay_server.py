"""A server in another process that answers DynamoDB requests from memory.

An emulator needs most of the time of a scan for itself; this server only looks up bytes that were
made beforehand, so that the client is measured. It speaks enough HTTP/1.1 for botocore: keep-alive,
`Content-Length`, the checksum header. It runs as a script with the standard library only.
"""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

FIRST_PAGE = 0

_PREFIX = "DynamoDB_20120810."
_KEEP_WRITES, _KEPT_WRITES = "Replay.KeepWrites", "Replay.KeptWrites"
_WRITES = (f"{_PREFIX}PutItem", f"{_PREFIX}BatchWriteItem")
_PAGE = re.compile(rb"page-(\d{8})")
_END_SECONDS = 5.0
_NOT_RECORDED = {
    "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
    "message": "No response is recorded for this request.",
}
Place = tuple[str, str, str, bool]


@dataclass(frozen=True)
class Recording:
    """A response and the requests it answers.

    Several recordings for the same requests answer one after the other; the last one is repeated.

    Attributes:
        operation: ``GetItem``, ``Scan`` …
        table: Full name of the table.
        body: The response, as JSON.
        place: The key or start key of the request, in the form of `place_of`.
        measured: Whether the request asks for its consumed capacity.
        crc32: Sent instead of the checksum of the body, for tests of clients.
        repeated: Whether it answers the first request and every request whose start key is a
            `page_key` without another recording. The page key in the body is then replaced by that
            of the next page.
    """

    operation: str
    table: str
    body: str
    place: str = ""
    measured: bool = False
    crc32: Optional[int] = None
    repeated: bool = False


def page_key(partition_key: str, sort_key: str, number: int) -> dict[str, Any]:
    """Return the last key of a repeated page; the first page has the number `FIRST_PAGE`."""
    return {partition_key: {"S": "pages"}, sort_key: {"S": f"page-{number:08d}"}}


def place_of(key: Any) -> str:
    """Return a key or start key as text that does not depend on the order of its attributes."""
    return json.dumps(key, sort_keys=True) if key else ""


class ReplayServer:
    """The process of the server; it ends when the context is left.

    It also ends when this process does, because its standard input closes.

    Args:
        recordings: The responses; other requests get a ResourceNotFoundException.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._recordings = list(recordings)
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint_url = ""

    def __enter__(self) -> Self:
        process = self._process = subprocess.Popen(
            [sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self._hand_over(process)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @contextmanager
    def writes(self) -> Iterator[list[dict[str, Any]]]:
        """Yield a list that has, when the context is left, the items of all puts made in it."""
        items: list[dict[str, Any]] = []
        self._ask(_KEEP_WRITES)
        try:
            yield items
        finally:
            kept = self._ask(_KEPT_WRITES)
        for request in kept:
            entries = [e for of_table in request.get("RequestItems", {}).values() for e in of_table]
            items += [e["PutRequest"]["Item"] for e in entries] or [request["Item"]]

    def _ask(self, target: str) -> Any:
        connection = HTTPConnection(self.endpoint_url[len("http://") :], timeout=_END_SECONDS)
        try:
            connection.request("POST", "/", b"{}", {"X-Amz-Target": target})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _hand_over(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([asdict(r) for r in self._recordings]).encode() + b"\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("The replay server did not start; its error is above.")
        self.endpoint_url = f"http://127.0.0.1:{int(port)}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_pages(endpoint_url: str, table: str) -> list[bytes]:
    """Return the body of every response of a scan, read without any client."""
    connection = HTTPConnection(endpoint_url[len("http://") :], timeout=10)
    pages: list[bytes] = []
    request: dict[str, Any] = {"TableName": table}
    while True:
        connection.request("POST", "/", json.dumps(request), {"X-Amz-Target": f"{_PREFIX}Scan"})
        response = connection.getresponse()
        pages.append(response.read())
        if response.status != 200:
            raise RuntimeError(f"The server answered {pages[-1]!r}.")
        start = json.loads(pages[-1]).get("LastEvaluatedKey")
        if start is None:
            connection.close()
            return pages
        request["ExclusiveStartKey"] = start


class _Responses:
    """The bytes of the responses, by operation, table, key and whether capacity is wanted."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._lock = threading.Lock()
        self._found: dict[Place, list[bytes]] = {}
        self._repeated: dict[tuple[str, str, bool], bytes] = {}
        self._kept: list[Any] | None = None
        for number, recording in enumerate(recordings):
            body = recording.body.encode()
            if recording.repeated:
                self._repeated[recording.operation, recording.table, recording.measured] = body
                continue
            place = (recording.operation, recording.table, recording.place, recording.measured)
            response = _response(200, body, number, recording.crc32)
            self._found.setdefault(place, []).append(response)
        self._missing = _response(400, json.dumps(_NOT_RECORDED).encode(), len(self._found), None)

    def to(self, target: str, body: bytes) -> bytes:
        """Return the response to a request."""
        request = json.loads(body)
        if target in (_KEEP_WRITES, _KEPT_WRITES):
            return self._switch(keep=target == _KEEP_WRITES)
        if self._kept is not None and target in _WRITES:
            self._kept.append(request)
        return self._replay(target[len(_PREFIX) :], request, body)

    def _replay(self, operation: str, request: dict[str, Any], body: bytes) -> bytes:
        tables = request.get("RequestItems") or {request.get("TableName", ""): None}
        table = next(iter(tables))
        place = place_of(request.get("Key") or request.get("ExclusiveStartKey"))
        measured = request.get("ReturnConsumedCapacity", "NONE") != "NONE"
        found = self._found.get((operation, table, place, measured))
        if found:
            with self._lock:
                return found.pop(0) if len(found) > 1 else found[0]
        page = self._repeated.get((operation, table, measured))
        start = _PAGE.search(body)
        if page is None or (place and start is None):
            return self._missing
        number = FIRST_PAGE if start is None else int(start.group(1)) + 1
        return _response(200, _PAGE.sub(b"page-%08d" % number, page), number, None)

    def _switch(self, *, keep: bool) -> bytes:
        kept, self._kept = self._kept, [] if keep else None
        return _response(200, json.dumps(kept or []).encode(), 0, None)


def _response(status: int, body: bytes, number: int, crc32: int | None) -> bytes:
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Bad Request'}",
        "Server: Server",
        "Content-Type: application/x-amz-json-1.0",
        f"Content-Length: {len(body)}",
        "Connection: keep-alive",
        f"x-amzn-RequestId: {number:052d}",
        f"x-amz-crc32: {zlib.crc32(body) if crc32 is None else crc32}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class _Connection(socketserver.StreamRequestHandler):
    """Answers the requests of one connection until the client closes it."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        try:
            while self._answer():
                pass
        except ConnectionError:
            pass  # the client closed the connection, which it may do at any time

    def _answer(self) -> bool:
        if not self.rfile.readline():
            return False
        headers = {}
        for line in iter(self.rfile.readline, b"\r\n"):
            if not line:
                return False
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", "0")))
        # in one write: with two, the delayed acknowledgement of the first costs 40 ms
        self.wfile.write(self.server.responses.to(headers.get("x-amz-target", ""), body))
        return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, responses: _Responses) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.responses = responses


def _serve() -> None:
    """Read the recordings, print the port and serve until standard input closes."""
    recordings = [Recording(**values) for values in json.loads(sys.stdin.buffer.readline())]
    with _Server(_Responses(recordings)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    _serve()
