"""The bytes of pages, read without any client."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

_HEADERS = {"X-Amz-Target": "DynamoDB_20120810.Scan"}


def read_pages(endpoint_url: str, table: str) -> list[bytes]:
    """Return the response to every request of a scan."""
    connection = HTTPConnection(endpoint_url[len("http://") :], timeout=10)
    pages: list[bytes] = []
    request: dict[str, Any] = {"TableName": table}
    while True:
        connection.request("POST", "/", json.dumps(request), _HEADERS)
        response = connection.getresponse()
        pages.append(response.read())
        if response.status != 200:
            raise RuntimeError(f"The server answered {pages[-1]!r}.")
        start = json.loads(pages[-1]).get("LastEvaluatedKey")
        if start is None:
            connection.close()
            return pages
        request["ExclusiveStartKey"] = start
