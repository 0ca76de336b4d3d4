"""Two processes write equal items while first attempts fail: none takes the other's for its own.

A proxy in front of the engine spoils 30 % of the first attempts of writes, each kind in turn.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.support.fault_proxy import KINDS, TIME_OUT_SECONDS, FaultProxy
from tests.support.races import COUNTERS, MARKERS, TOKENS, Counting, race, worker_config
from tests.support.transports import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engines import Engine
    from tests.support.processes import Drivers

pytestmark = pytest.mark.newest_only
SHARE = 0.3
RACES = int(os.environ.get("RACES", "24"))
"""Items that are raced for in each test; RACES=500 for a long search."""


@pytest.fixture(scope="module")
def proxy(local_engine: Engine) -> Iterator[FaultProxy]:
    with FaultProxy(str(local_engine.config.endpoint_url)) as proxy:
        create_tables(worker_config(proxy.url, "boto3"), MARKERS, TOKENS, COUNTERS)
        yield proxy


def raced(
    proxy: FaultProxy, drivers: Drivers, kind: str, transport: str, table: str, **given: Any
) -> list[list[Any]]:
    """Return the outcomes of two workers that are let go together."""
    names, times = given["names"], given.get("times", 0)
    config = worker_config(proxy.url, transport)
    limit = TIME_OUT_SECONDS if kind.startswith("time-out") else 30.0
    to_do = {"transport": transport, "table": table, "names": names}
    workers = [drivers.fork(race, config, read_timeout_seconds=limit, **to_do) for _ in range(2)]
    for worker in workers:
        assert worker.hear() == "ready"
    proxy.spoil(kind, SHARE)
    for worker in workers:
        worker.tell(times)
    return [worker.hear() for worker in workers]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_marker_has_one_holder(
    proxy: FaultProxy, drivers: Drivers, kind: str, transport: str
) -> None:
    names = [f"{uuid.uuid4().hex}-{number}" for number in range(RACES)]
    outcomes = raced(proxy, drivers, kind, transport, "markers", names=names)
    found = Counter(tuple(sorted(pair)) for pair in zip(*outcomes))
    assert proxy.spoiled > 0
    assert found[("held", "held")] == 0, found
    assert found[("held", "refused")] > 0
    others = {"throttle": {"gave up"}}.get(kind, {"unknown", "unanswered"})
    assert {outcome for pair in found for outcome in pair} <= {"held", "refused", *others}
    held = sum(count for pair, count in found.items() if "held" in pair)
    reader = BaseDynamoRepository(worker_config(proxy.url, transport), MARKERS)
    stored = sum(marker is not None for marker in reader.get_many(names, consistent=True))
    assert stored == held + proxy.unseen["PutItem"], "an item is not its holder's"
    assert found[("refused", "refused")] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["500 after", "reset before", "reset after", "damaged reply"])
def test_a_holder_is_recognised_by_its_write_token(
    proxy: FaultProxy, drivers: Drivers, kind: str, transport: str
) -> None:
    names = [uuid.uuid4().hex for _ in range(RACES)]
    outcomes = raced(proxy, drivers, kind, transport, "tokens", names=names)
    found = Counter(tuple(sorted(pair)) for pair in zip(*outcomes))
    assert proxy.spoiled > 0
    allowed = {("held", "refused"), ("held", "unknown")}
    assert {pair for pair in found if "unanswered" not in pair} == allowed & set(found)
    assert found[("held", "held")] == 0
    assert found[("held", "refused")] > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_versioned_increments_end_at_the_acknowledged_sum(
    proxy: FaultProxy, drivers: Drivers, kind: str, transport: str
) -> None:
    names = [uuid.uuid4().hex for _ in range(12)]
    reader = BaseDynamoRepository(worker_config(proxy.url, transport), COUNTERS)
    proxy.spoil(None)
    reader.put_many([Counting(name=name) for name in names])
    each = -(-RACES // len(names))
    outcomes = raced(proxy, drivers, kind, transport, "counters", names=names, times=each)
    found: Counter[str] = sum((count for counts in outcomes for count in counts), Counter())
    stored = sum(reader.get_or_raise(name, consistent=True).n for name in names)
    assert proxy.spoiled > 0
    assert stored == found["acknowledged"] + proxy.unseen["UpdateItem"], found
    assert found["unknown"] + found["unanswered"] >= proxy.unseen["UpdateItem"]
    if kind == "throttle":
        assert found["unknown"] == 0
