"""Fences of runs, written to a stand-in for Delta; test_delta.py has the real one."""

from __future__ import annotations

import contextlib
import contextvars
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Callable

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import DynamoDBWrapperError, LeaseLostError, ValidationError
from dynamodb_wrapper.models import PipelineConfig, utc_now
from dynamodb_wrapper.runs import Run, RunTracker
from tests.support.runs import beat, with_pipelines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig

PATH = "s3://lake/orders"


class ConcurrentTransactionException(Exception):
    """As Delta's own package names it."""


class Table:
    """A session with one table: a number that is not higher than the last is skipped.

    Every step of a read or a write returns the session itself; `save` commits.
    """

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.commits = 0
        self.troubles: list[Exception] = []
        self._last: dict[str, int] = {}
        self._options: dict[str, str] = {}
        self.read = self.write = self

    def format(self, kind: str) -> Table:
        assert kind == "delta"
        return self

    def load(self, path: str) -> Table:
        assert path == PATH
        return self

    def limit(self, count: int) -> Table:
        assert count == 0
        return self

    def mode(self, mode: str) -> Table:
        assert mode == "append"
        return self

    def options(self, **options: str) -> Table:
        self._options = options
        return self

    def save(self, path: str) -> None:
        assert path == PATH
        if self.troubles:
            raise self.troubles.pop()
        self.append(None, self._options)

    def append(self, row: str | None, options: dict[str, str]) -> None:
        application, version = options["txnAppId"], int(options["txnVersion"])
        if version <= self._last.get(application, -1):
            return
        self._last[application] = version
        self.commits += 1
        if row is not None:
            self.rows.append(row)


@pytest.fixture
def table() -> Table:
    return Table()


Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a run in a separate context, as a driver whose clock is some hours ahead."""
    runs: list[Run] = []

    def start(config: DynamoDBConfig, pipeline_id: str = "exclusive", hours: int = 0) -> Run:
        ahead = timedelta(hours=hours)
        tracker = RunTracker(config, clock=lambda: utc_now() + ahead)
        runs.append(contextvars.Context().run(tracker.start, pipeline_id))
        return runs[-1]

    yield start
    for run in runs:
        with contextlib.suppress(DynamoDBWrapperError):  # most have lost their lease
            run.finish()


def number(options: dict[str, str]) -> int:
    return int(options["txnVersion"])


class TestZombies:
    def test_add_no_rows_after_the_successors_first_commit(
        self, tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        zombie, successor = start(tables), start(tables, hours=1)
        table.append("successor", successor.delta_txn_options())
        table.append("zombie", zombie.delta_txn_options())
        assert table.rows == ["successor"]

    def test_add_no_rows_to_a_fenced_table(
        self, tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        zombie, successor = start(tables), start(tables, hours=1)
        successor.fence_table(table, PATH)
        table.append("zombie", zombie.delta_txn_options())
        table.append("successor", successor.delta_txn_options())
        assert table.rows == ["successor"]

    def test_cannot_fence_once_they_know(
        self, tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        zombie, _ = start(tables), start(tables, hours=1)
        assert not beat(zombie)
        with pytest.raises(LeaseLostError, match="taken over"):
            zombie.fence_table(table, PATH)
        assert table.commits == 0

    def test_cannot_fence_before_they_know_once_a_successor_has(
        self, tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        zombie, successor = start(tables), start(tables, hours=1)
        successor.fence_table(table, PATH)
        zombie.fence_table(table, PATH)
        table.append("zombie", zombie.delta_txn_options())
        assert (table.rows, table.commits) == ([], 1)


class TestLegalRuns:
    def test_keep_all_rows_run_after_run(
        self, tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        for hours in range(3):
            run = start(tables, hours=hours)
            run.fence_table(table, PATH)
            table.append(f"{hours}a", run.delta_txn_options())
            table.append(f"{hours}b", run.delta_txn_options())
            run.finish()
        assert table.rows == ["0a", "0b", "1a", "1b", "2a", "2b"]

    def test_keep_the_rows_of_options_made_before_the_fence(
        self, local_tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        run = start(local_tables)
        options = run.delta_txn_options()
        run.fence_table(table, PATH)
        table.append("row", options)
        assert table.rows == ["row"]

    def test_have_higher_fences_after_the_state_is_lost_and_after_it_is_restored(
        self, tables: DynamoDBConfig, start: Start
    ) -> None:
        client, name = client_for(tables), tables.table_name("pipeline_run_logs")
        key = {"run_id": {"S": "#pipeline#exclusive"}}
        before = start(tables)
        before.finish()
        state = client.get_item(TableName=name, Key=key)["Item"]
        client.delete_item(TableName=name, Key=key)
        lost = start(tables, hours=1)
        lost.finish()
        client.put_item(TableName=name, Item=state)
        restored = start(tables, hours=2)
        fences = [run.fence or 0 for run in (before, lost, restored)]
        assert fences == sorted(set(fences))

    def test_of_two_deployments_write_as_two_applications(
        self, local_tables: DynamoDBConfig, start: Start, pipeline_configs: list[PipelineConfig]
    ) -> None:
        other = local_tables.model_copy(update={"table_prefix": f"{local_tables.table_prefix}x"})
        runs = [start(local_tables), start(with_pipelines(other, *pipeline_configs))]
        assert len({run.delta_txn_options()["txnAppId"] for run in runs}) == 2


class TestNumbers:
    def test_of_a_run_are_different_and_below_those_of_the_next_run(
        self, local_tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        run = start(local_tables)
        with ThreadPoolExecutor(8) as pool:
            drawn = list(pool.map(lambda _: number(run.delta_txn_options()), range(999)))
        run.finish()
        follower = start(local_tables)
        follower.fence_table(table, PATH)
        assert len(set(drawn)) == 999
        assert run.fence is not None
        assert min(drawn) > run.fence * 1000
        application = follower.delta_txn_options()["txnAppId"]
        table.append("too late", {"txnAppId": application, "txnVersion": str(max(drawn))})
        assert table.rows == []

    def test_of_a_run_end_at_999(self, local_tables: DynamoDBConfig, start: Start) -> None:
        run = start(local_tables)
        for _ in range(999):
            run.delta_txn_options()
        with pytest.raises(ValidationError, match="999 Delta writes"):
            run.delta_txn_options()

    def test_are_refused_to_a_pipeline_without_a_limit(
        self, tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        run = start(tables, "unlimited")
        with pytest.raises(ValidationError, match="'unlimited' sets no limit of runs"):
            run.delta_txn_options()
        with pytest.raises(ValidationError, match="'unlimited' sets no limit of runs"):
            run.fence_table(table, PATH)
        assert table.commits == 0


class TestTroubleWithTheTable:
    def test_a_fence_that_is_overtaken_is_raised_again(
        self, local_tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        table.troubles = [ConcurrentTransactionException("overtaken") for _ in range(4)]
        start(local_tables).fence_table(table, PATH)
        assert table.commits == 1

    def test_a_fence_that_is_overtaken_again_and_again_is_given_up(
        self, local_tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        table.troubles = [ConcurrentTransactionException("overtaken") for _ in range(5)]
        with pytest.raises(ConcurrentTransactionException):
            start(local_tables).fence_table(table, PATH)
        assert table.commits == 0

    def test_any_other_trouble_leaves_as_the_same_exception(
        self, local_tables: DynamoDBConfig, table: Table, start: Start
    ) -> None:
        trouble = OSError("the store is down")
        table.troubles = [trouble]
        with pytest.raises(OSError, match="the store is down") as raised:
            start(local_tables).fence_table(table, PATH)
        assert raised.value is trouble
        assert table.commits == 0
