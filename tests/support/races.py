"""Workers of races: two processes write equal items while first attempts fail."""

from __future__ import annotations

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    DynamoDBWrapperError,
    ItemAlreadyExistsError,
    VersionConflictError,
)
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

THREADS = 12
"""Threads of each worker."""


class Marker(BaseModel):
    name: str
    is_set: bool = True


class Counting(BaseModel):
    name: str
    n: int = 0
    version: int = 0


MARKERS = Table("race_markers", Marker, partition_key="name")
TOKENS = Table("race_tokens", Marker, partition_key="name", write_token="gx_write")
COUNTERS = Table("race_counters", Counting, partition_key="name", version_field="version")
_BY_NAME: dict[str, Table[Any]] = {"markers": MARKERS, "tokens": TOKENS, "counters": COUNTERS}


def worker_config(url: str, transport: str, **settings: Any) -> DynamoDBConfig:
    return DynamoDBConfig.for_local_development(
        url, transport=transport, max_attempts=5, max_pool_connections=THREADS, **settings
    )


def race(
    config: DynamoDBConfig,
    pipe: Connection,
    *,
    transport: str,
    table: str,
    names: list[str],
    read_timeout_seconds: float,
) -> None:
    """Say that the worker is ready, wait for the start, and send the outcome of each name.

    Each worker has a client and hence a retry quota for itself, and an actor's name as two
    machines have.
    """
    settings = {"actor": uuid.uuid4().hex, "read_timeout_seconds": read_timeout_seconds}
    own = worker_config(str(config.endpoint_url), transport, **settings)
    repository = BaseDynamoRepository(own, _BY_NAME[table])
    work = incremented if table == "counters" else created
    pipe.send("ready")
    times = pipe.recv()
    with ThreadPoolExecutor(THREADS) as pool:
        pipe.send(list(pool.map(partial(work, repository, times), names)))


def created(repository: BaseDynamoRepository[Any], _: int, name: str) -> str:
    try:
        repository.create(Marker(name=name))
    except DynamoDBWrapperError as error:
        return _outcome_of(error, ItemAlreadyExistsError)
    return "held"


def incremented(repository: BaseDynamoRepository[Any], times: int, name: str) -> Counter[str]:
    found: Counter[str] = Counter()
    while found["acknowledged"] + found["unknown"] + found["unanswered"] < times:
        counter = repository.get_or_raise(name, consistent=True)
        counter.n += 1
        try:
            repository.update(counter)
        except DynamoDBWrapperError as error:
            found[_outcome_of(error, VersionConflictError)] += 1
        else:
            found["acknowledged"] += 1
    return found


def _outcome_of(error: DynamoDBWrapperError, refusal: type[DynamoDBWrapperError]) -> str:
    if type(error) is refusal:
        return "unknown" if error.maybe_applied else "refused"
    return "unanswered" if error.maybe_applied else "gave up"  # botocore's retry quota is used up
