"""Two workers write equal items while first attempts fail: neither takes the other's for its own.

A proxy in front of the engine spoils 30 % of the first attempts of writes, each kind in turn.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    DynamoDBWrapperError,
    ItemAlreadyExistsError,
    VersionConflictError,
)
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.support.fault_proxy import KINDS, FaultProxy
from tests.support.transports import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engines import Engine

SHARE = 0.3
THREADS = 24
RACES = int(os.environ.get("RACES", "40"))
"""Items that are raced for in each test; RACES=500 for a long search."""


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


@pytest.fixture(scope="module")
def proxy(local_engine: Engine) -> Iterator[FaultProxy]:
    with FaultProxy(str(local_engine.config.endpoint_url)) as proxy:
        create_tables(_config(proxy, "boto3"), MARKERS, TOKENS, COUNTERS)
        yield proxy


def _config(proxy: FaultProxy, transport: str, actor: str | None = None) -> DynamoDBConfig:
    return DynamoDBConfig.for_local_development(
        proxy.url,
        transport=transport,
        actor=actor,
        max_attempts=5,
        read_timeout_seconds=1 if actor else 10,
        max_pool_connections=THREADS,
    )


def repositories(
    proxy: FaultProxy, transport: str, table: Table[Any]
) -> list[BaseDynamoRepository[Any]]:
    """Return a repository for each of two workers, with new clients: each has its retry quota."""
    actors = [f"{worker}-{uuid.uuid4().hex}" for worker in ("one", "two")]
    return [BaseDynamoRepository(_config(proxy, transport, actor), table) for actor in actors]


def created(repository: BaseDynamoRepository[Marker], name: str) -> str:
    try:
        repository.create(Marker(name=name))
    except DynamoDBWrapperError as error:
        return outcome_of(error, ItemAlreadyExistsError)
    return "held"


def outcome_of(error: DynamoDBWrapperError, refusal: type[DynamoDBWrapperError]) -> str:
    if type(error) is refusal:
        return "unknown" if error.maybe_applied else "refused"
    return "unanswered" if error.maybe_applied else "gave up"  # botocore's retry quota is used up


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_marker_has_one_holder(proxy: FaultProxy, kind: str, transport: str) -> None:
    one, two = repositories(proxy, transport, MARKERS)
    names = [f"{uuid.uuid4().hex}-{number}" for number in range(RACES)]
    proxy.spoil(kind, SHARE)
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = [
            (pool.submit(created, one, name), pool.submit(created, two, name)) for name in names
        ]
        found = Counter(tuple(sorted(f.result() for f in pair)) for pair in waiting)
    assert proxy.spoiled > 0
    assert found[("held", "held")] == 0, found
    assert found[("held", "refused")] > 0
    others = {"throttle": {"gave up"}}.get(kind, {"unknown", "unanswered"})
    assert {outcome for pair in found for outcome in pair} <= {"held", "refused", *others}
    held = sum(count for pair, count in found.items() if "held" in pair)
    stored = sum(found is not None for found in one.get_many(names, consistent=True))
    assert stored == held + proxy.unseen["PutItem"], "an item is not its holder's"
    assert found[("refused", "refused")] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["500 after", "reset before", "reset after", "damaged reply"])
def test_a_holder_is_recognised_by_its_write_token(
    proxy: FaultProxy, kind: str, transport: str
) -> None:
    one, two = repositories(proxy, transport, TOKENS)
    names = [uuid.uuid4().hex for _ in range(RACES)]
    proxy.spoil(kind, SHARE)
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = [[pool.submit(created, r, name) for r in (one, two)] for name in names]
        found = Counter(tuple(sorted(f.result() for f in pair)) for pair in waiting)
    assert proxy.spoiled > 0
    allowed = {("held", "refused"), ("held", "unknown")}
    assert {pair for pair in found if "unanswered" not in pair} == allowed & set(found)
    assert found[("held", "held")] == 0
    assert found[("held", "refused")] > 0


def incremented(repository: BaseDynamoRepository[Counting], name: str, times: int) -> Counter[str]:
    found: Counter[str] = Counter()
    while found["acknowledged"] + found["unknown"] + found["unanswered"] < times:
        counter = repository.get_or_raise(name, consistent=True)
        counter.n += 1
        try:
            repository.update(counter)
        except DynamoDBWrapperError as error:
            found[outcome_of(error, VersionConflictError)] += 1
        else:
            found["acknowledged"] += 1
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_versioned_increments_end_at_the_acknowledged_sum(
    proxy: FaultProxy, kind: str, transport: str
) -> None:
    one, two = repositories(proxy, transport, COUNTERS)
    names = [uuid.uuid4().hex for _ in range(THREADS // 2)]
    proxy.spoil(None)
    one.put_many([Counting(name=name) for name in names])
    proxy.spoil(kind, SHARE)
    each = -(-RACES // len(names))
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = [pool.submit(incremented, r, name, each) for name in names for r in (one, two)]
        found: Counter[str] = sum((future.result() for future in waiting), Counter())
    stored = sum(one.get_or_raise(name, consistent=True).n for name in names)
    assert proxy.spoiled > 0
    assert stored == found["acknowledged"] + proxy.unseen["UpdateItem"], found
    assert found["unknown"] + found["unanswered"] >= proxy.unseen["UpdateItem"]
    if kind == "throttle":
        assert found["unknown"] == 0
