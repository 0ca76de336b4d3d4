"""The credentials this process works with, as values to take out of what is stored."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.client import credentials_in_use, credentials_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config.settings import DynamoDBConfig

_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
_PARTS = ("access_key", "secret_key", "token")
_REMEMBERED = 96  # values: the keys of a day that are renewed every hour


class ProcessSecrets:
    """Secret values of a config and of the SDK's credential chain, as they are at the moment.

    Iterating yields those of the config, of the environment, and of the clients of this process:
    profile, assumed role, container, instance. Renewed ones are found as soon as a client has
    them, and the former ones are remembered, because they are valid for a while. Nothing is
    requested, resolved or renewed for it.

    Args:
        config: Its credentials come first.
        client: A boto3 client that is used besides those of this library.
    """

    def __init__(self, config: DynamoDBConfig, client: Any = None) -> None:
        self._config = config
        self._client = client
        self._seen: dict[str, None] = {}
        self._lock = threading.RLock()  # a signal handler may record while this thread does
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return "ProcessSecrets()"

    def __iter__(self) -> Iterator[str]:
        if self._pid != os.getpid():  # another thread may have held the lock at the fork
            self._lock, self._pid = threading.RLock(), os.getpid()
        with self._lock:
            for value in self._now():
                if isinstance(value, str) and value:
                    self._seen.pop(value, None)
                    self._seen[value] = None
            while len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
            return iter((*self._config.secret_values(), *self._seen))

    def _now(self) -> Iterator[Any]:
        yield from map(os.environ.get, _VARIABLES)
        session = getattr(sys.modules.get("boto3"), "DEFAULT_SESSION", None)
        of_session = getattr(getattr(session, "_session", None), "_credentials", None)
        for credentials in (*credentials_in_use(), credentials_of(self._client), of_session):
            yield from _held(credentials)


def _held(credentials: Any) -> Iterator[Any]:
    """Yield the values that credentials hold; their properties would renew them first."""
    try:
        values = vars(credentials)
    except TypeError:  # None
        return
    for name in _PARTS:
        yield values.get(f"_{name}", values.get(name))
