"""Replies to data operations, read as far as they are asked for."""

from __future__ import annotations

from typing import Any

from dynamodb_wrapper.config import RawResponse, read_body


class Reply:
    """What DynamoDB answered.

    Args:
        body: The body, where the client could hand it out.
        parsed: The response boto3 has parsed, where it could not.
    """

    __slots__ = ("_parsed", "body")

    def __init__(self, body: bytes | None, parsed: dict[str, Any] | None = None) -> None:
        self.body = body
        self._parsed = parsed

    def parsed(self) -> dict[str, Any]:
        """Return the response as boto3 would.

        Raises:
            ServiceError: The body is no JSON object.
        """
        if self._parsed is None:
            self._parsed = read_body(self.body or b"")
        return self._parsed


def reply_of(response: dict[str, Any]) -> Reply:
    """Return the reply in a response of a client; what a handler has changed in it counts."""
    if isinstance(response, RawResponse) and response.body is not None:
        return Reply(response.body)
    return Reply(None, response)
