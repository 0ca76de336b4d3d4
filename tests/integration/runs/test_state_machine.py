"""Drivers that start, beat, pause, die, take over and come back, in every order Hypothesis finds.

The rules call the public API; the invariants are checked with plain boto3 after each (see
`tests.support.run_invariants`). Clocks are controlled, and those of different machines differ.
Between the request and the reply of a transaction another driver may act, the driver may be
killed, the reply may be lost.

The search is the same every time. ``RUN_MACHINE_EXAMPLES=2000`` makes it a random one of as many
examples instead.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

import pytest
from botocore.exceptions import ConnectionClosedError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    AlreadySucceededError,
    ConnectionError,
    InvalidTransitionError,
    LeaseLostError,
    RunCancelledError,
    RunFinishError,
    RunStartError,
    RunTimedOutError,
)
from dynamodb_wrapper.models import PipelineConfig, utc_text
from dynamodb_wrapper.runs import Run, RunOptions, RunTracker
from tests.support import faults
from tests.support.engines import Capability
from tests.support.run_invariants import LIVE, Invariants, Told
from tests.support.runs import beat, outcome_of, plain_client, silence, with_pipelines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engines import Engine

BEAT, LEASE, GRACE = timedelta(hours=1), timedelta(hours=3), timedelta(minutes=1)
FIRST_LEASE = timedelta(seconds=90)
EXCLUSIVE = frozenset({"exclusive", "limited"})
PIPELINES = st.sampled_from(["exclusive", "limited", "unlimited"])
RUN_KEYS = st.sampled_from([None, None, "monday", "tuesday"])
WATERMARKS = st.sampled_from(["orders", "returns"])
SKEWS = st.sampled_from([timedelta(), timedelta(seconds=40), timedelta(seconds=-40)])
TIMES = st.sampled_from([timedelta(seconds=1), FIRST_LEASE, FIRST_LEASE + GRACE, BEAT])
MEANWHILE = st.sampled_from(
    [None] * 3
    + "beaten beaten ended ended reaped released started marked reset".split()
    + ["started and ended", "killed before", "killed after", "reply lost"]
)
BY_HAND = st.sampled_from(["success", "failed", "cancelled"])


class KilledError(BaseException):
    """The process is gone: nothing of the library may take note of it."""


@dataclass(eq=False)
class Driver:
    """A process with a run; a paused one is one that no rule is drawn for."""

    run: Run
    is_gone: bool = False
    problem: Exception | None = None

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def must_be_stored(self) -> bool:
        """Whether its end cannot be lost quietly."""
        run = self.run
        return run.fence is not None or run.record.run_key is not None

    def __repr__(self) -> str:
        return f"Driver({self.run.pipeline_id}, key={self.run.record.run_key})"


class RunMachine(RuleBasedStateMachine):
    """All drivers of three pipelines, their operators and the reaper."""

    drivers = Bundle("drivers")

    def __init__(self, config: DynamoDBConfig, client: Any, reached: Counter[str]) -> None:
        super().__init__()
        self.config = config
        self.client = client
        self.reached = reached
        self.now = self.beginning = datetime.now(timezone.utc)
        self.told = Told()
        self.table_name = config.table_name("pipeline_run_logs")
        self.seen = Invariants(client, self.table_name, EXCLUSIVE, self.told)
        self.trackers: dict[timedelta, RunTracker] = {}
        self.everybody: list[Driver] = []
        self.veterans: list[Driver] = []
        self.born: list[Driver] = []
        self.number = 0

    def teardown(self) -> None:
        for driver in self.everybody:
            silence(driver.run)
        table = {"TableName": self.table_name}
        for page in self.client.get_paginator("scan").paginate(**table, ConsistentRead=True):
            for item in page["Items"]:
                self.client.delete_item(**table, Key={"run_id": item["run_id"]})

    @invariant()
    def holds(self) -> None:
        self.reached["steps"] += 1
        self.seen.check()

    # ---- the life of drivers ---------------------------------------------------------------------

    @rule(
        target=drivers,
        pipeline_id=PIPELINES,
        run_key=RUN_KEYS,
        rerun=st.booleans(),
        skew=SKEWS,
        meanwhile=MEANWHILE,
    )
    def start(
        self,
        pipeline_id: str,
        run_key: str | None,
        rerun: bool,
        skew: timedelta,
        meanwhile: str | None,
    ) -> MultipleResults[Driver]:
        with self.while_sending(meanwhile, pipeline_id):
            self.begin(pipeline_id, run_key, rerun, skew)
        return self.newborn()

    @rule(target=drivers, driver=drivers, run_key=RUN_KEYS, meanwhile=MEANWHILE)
    def take_over(
        self, driver: Driver, run_key: str | None, meanwhile: str | None
    ) -> MultipleResults[Driver]:
        self.let_expire(driver)
        with self.while_sending(meanwhile, driver.run.pipeline_id):
            self.begin(driver.run.pipeline_id, run_key or driver.run.record.run_key)
        return self.newborn()

    @rule(target=drivers, driver=drivers, meanwhile=MEANWHILE)
    def beat(self, driver: Driver, meanwhile: str | None) -> MultipleResults[Driver]:
        with self.while_sending(meanwhile, driver.run.pipeline_id, driver, "UpdateItem"):
            self.beat_of(driver)
        return self.newborn()

    @rule(driver=drivers)
    def pause(self, driver: Driver) -> None:
        """One driver sleeps past its lease while all others go on."""
        for _ in range(2):
            self.now += 2 * BEAT
            self.beat_of(*(other for other in self.everybody if other is not driver))

    @rule(driver=consumes(drivers))
    def kill(self, driver: Driver) -> None:
        self.forget(driver)

    @rule(driver=drivers, name=WATERMARKS)
    def advance_watermark(self, driver: Driver, name: str) -> None:
        self.advance(driver, name)

    @rule(target=drivers, driver=consumes(drivers), meanwhile=MEANWHILE)
    def succeed(self, driver: Driver, meanwhile: str | None) -> MultipleResults[Driver]:
        with self.while_sending(meanwhile, driver.run.pipeline_id, driver):
            self.end(driver)
        return self.newborn()

    @rule(target=drivers, driver=consumes(drivers), meanwhile=MEANWHILE)
    def fail(self, driver: Driver, meanwhile: str | None) -> MultipleResults[Driver]:
        with self.while_sending(meanwhile, driver.run.pipeline_id, driver):
            self.end(driver, ValueError("bad column"))
        return self.newborn()

    @rule(driver=consumes(drivers))
    def skip(self, driver: Driver) -> None:
        if outcome_of(driver.run) is None:
            driver.run.skip("nothing new")
        self.end(driver)

    @rule(driver=consumes(drivers))
    def obey(self, driver: Driver) -> None:
        """Go on only if nothing speaks against it, as a careful body does."""
        try:
            self.beat_of(driver)
            driver.run.raise_if_cancelled()
            driver.run.check_lease()
        except (RunCancelledError, LeaseLostError, RunTimedOutError) as stop:
            self.reached[type(stop).__name__] += 1
            self.end(driver, stop)
        else:
            self.end(driver)

    @rule(target=drivers, driver=consumes(drivers), is_replaced=st.booleans())
    def finish_late(self, driver: Driver, is_replaced: bool) -> MultipleResults[Driver]:
        """End a run that was taken for lost, perhaps after another has taken its place."""
        self.let_expire(driver)
        self.reap_all(timedelta())
        if is_replaced:
            self.begin(driver.run.pipeline_id, driver.run.record.run_key)
        self.end(driver)
        return self.newborn()

    @precondition(lambda self: self.veterans)
    @rule(which=st.integers(0, 99), error=st.sampled_from([None, ValueError("bad column")]))
    def end_again(self, which: int, error: Exception | None) -> None:
        """Ending twice is no second end: it returns or raises the outcome of the first."""
        driver = self.veterans[which % len(self.veterans)]
        end = driver.run.finish if error is None else partial(driver.run.fail, error)
        assert outcome_of(driver.run) is not None
        wanted = "failed" if error else "skipped" if driver.run.internals.skip_reason else "success"
        refused = driver.problem if error is None else None
        if outcome_of(driver.run).status != wanted:
            with pytest.raises(InvalidTransitionError, match=f"{outcome_of(driver.run).status} to"):
                end()
        elif refused is None:
            end()
        else:
            with pytest.raises(RunFinishError) as told_again:
                end()
            assert told_again.value is refused

    # ---- what others do --------------------------------------------------------------------------

    @precondition(lambda self: self.everybody)
    @rule(length=TIMES)
    def pass_time(self, length: timedelta) -> None:
        self.now += length

    @precondition(lambda self: self.everybody)
    @rule(target=drivers, skew=SKEWS, pipeline_id=PIPELINES, meanwhile=MEANWHILE)
    def reap(
        self, skew: timedelta, pipeline_id: str, meanwhile: str | None
    ) -> MultipleResults[Driver]:
        with self.while_sending(meanwhile, pipeline_id):
            self.reap_all(skew)
            if meanwhile is None:
                self.look_for_dead(self.now + skew)
        return self.newborn()

    @rule(target=drivers, driver=drivers, meanwhile=MEANWHILE)
    def release(self, driver: Driver, meanwhile: str | None) -> MultipleResults[Driver]:
        with self.while_sending(meanwhile, driver.run.pipeline_id):
            self.release_pipeline(driver.run.pipeline_id)
        return self.newborn()

    @rule(driver=drivers)
    def cancel(self, driver: Driver) -> None:
        is_live = self.stored_status(driver) in LIVE
        try:
            asked = self.tracker().cancel(driver.run_id, by="operator")
        except InvalidTransitionError:
            assert not is_live
        else:
            assert is_live
            assert asked.cancel_requested_by == "operator"

    @rule(driver=drivers, status=BY_HAND)
    def mark(self, driver: Driver, status: str) -> None:
        self.mark_by_hand(driver, status)

    @rule(driver=drivers, name=WATERMARKS)
    def reset_watermark(self, driver: Driver, name: str) -> None:
        self.reset(driver.run.pipeline_id, name)

    # ---- single actions, with their results -----------------------------------------------------

    def begin(
        self,
        pipeline_id: str,
        run_key: str | None = None,
        rerun: bool = False,
        skew: timedelta = timedelta(),
    ) -> None:
        tracker, options = self.tracker(skew), RunOptions(rerun=rerun, capture_logs=None)
        begin = partial(tracker.start, pipeline_id, run_key=run_key, options=options)
        before = set(self.seen.runs)
        try:
            driver = Driver(contextvars.Context().run(begin))
        except RunStartError as refusal:
            self.look()
            self.check_refusal(refusal, run_key, self.now + skew)
            return
        finally:
            self.look()
            if rerun:
                self.told.again |= self.seen.runs.keys() - before
        assert self.stored_status(driver) in LIVE, "5: a start was told and is not stored"
        assert rerun or not self.has_succeeded(pipeline_id, run_key), f"{run_key} was done"
        self.everybody.append(driver)
        self.born.append(driver)
        self.told.read[driver.run_id] = {}
        self.advance(driver, "orders")
        self.reached[f"begun: {pipeline_id}"] += 1

    def check_refusal(self, refusal: RunStartError, run_key: str | None, now: datetime) -> None:
        if isinstance(refusal, AlreadySucceededError):
            covered = self.seen.runs[str(refusal.succeeded_run_id)]
            assert (covered["run_key"], covered["status"]) == (run_key, "success")
            self.reached["refused: succeeded"] += 1
        elif isinstance(refusal, AlreadyRunningError):
            assert self.is_held(str(refusal.holder), now), f"5: {refusal}"
            self.reached["refused: running"] += 1
        else:
            assert refusal.retryable
            self.reached["start unknown"] += 1

    def beat_of(self, *drivers: Driver) -> None:
        for driver in drivers:
            if driver.is_gone or outcome_of(driver.run) is not None:
                continue
            lease = driver.run.internals.liveness.clock() + LEASE
            with suppress(ConnectionError):
                is_mine = beat(driver.run)
                self.told.beaten[driver.run_id] = utc_text(lease) if is_mine else None
                if is_mine:
                    self.told.leases[driver.run_id] = utc_text(lease + GRACE)
                self.reached[f"beat: {is_mine}"] += 1
        self.look()

    def advance(self, driver: Driver, name: str) -> None:
        run = driver.run
        if driver.is_gone or run.fence is None or outcome_of(run) is not None:
            return
        read = self.told.read[run.run_id]
        if name not in read:
            read[name] = run.watermark(name)
            self.told.resets_seen[run.run_id, name] = self.told.resets[run.pipeline_id, name]
        self.number += 1
        run.advance_watermark(name, self.number)
        self.told.advanced.setdefault(run.run_id, {})[name] = self.number
        self.reached["advanced"] += 1

    def end(self, driver: Driver, error: BaseException | None = None) -> None:
        if driver.is_gone or outcome_of(driver.run) is not None:
            return
        run = driver.run
        try:
            if error is None:
                run.finish()
            else:
                run.fail(error)  # which never raises, but notes on the error what went wrong
        except RunFinishError as trouble:
            driver.problem = trouble
        finally:
            assert outcome_of(run) is not None
            status = str(outcome_of(run).status)
            self.told.succeeded |= {run.run_id} if status == "success" else set()
        self.veterans.append(driver)
        self.look()
        now = self.seen.runs[run.run_id]
        notes = getattr(error, "__notes__", [])
        is_told = not notes and driver.problem is None
        if is_told and (driver.must_be_stored or run.run_id not in self.told.by_hand):
            self.told.ended[run.run_id] = status
            self.told.finished |= {run.run_id} if status == "success" else set()
            self.reached[f"ended{' late' if now['late_finish'] else ''}: {status}"] += 1
        else:
            conflict = ", watermark conflict" if now.get("watermark_conflict") else ""
            self.reached[f"end refused: {now['status']}{conflict}"] += 1

    def reap_all(self, skew: timedelta) -> None:
        with suppress(ConnectionError):
            for lost in self.tracker(skew).reap():
                self.told.ended[lost.run_id] = "lost"
                self.reached["reaped"] += 1

    def look_for_dead(self, now: datetime) -> None:
        self.look()
        for run_id, run in self.seen.runs.items():
            is_dead = run["status"] in LIVE and not self.is_held(run_id, now)
            assert not is_dead, f"{run_id} is dead and was not reaped"

    def release_pipeline(self, pipeline_id: str) -> None:
        try:
            released = self.tracker().release(pipeline_id, reason="looks dead")
        except ConnectionError:
            return
        self.look()
        if released is not None:
            self.told.ended[released.run_id] = "lost"
            self.reached["released"] += 1

    def mark_by_hand(self, driver: Driver, status: str) -> None:
        self.look()
        is_live = self.stored_status(driver) in LIVE
        try:
            self.tracker().runs.update_run_status(driver.run_id, status)
        except InvalidTransitionError:
            assert not is_live
        if is_live:
            self.told.by_hand.add(driver.run_id)
            self.told.ended[driver.run_id] = status
            self.reached["marked by hand"] += 1

    def reset(self, pipeline_id: str, name: str) -> None:
        self.number += 1
        self.tracker().reset_watermark(pipeline_id, name, -self.number)
        self.told.resets[pipeline_id, name] += 1
        assert self.tracker().watermark(pipeline_id, name) == -self.number

    def forget(self, driver: Driver) -> None:
        """The process is gone: no beat, no end, no trace."""
        silence(driver.run)
        driver.is_gone = True

    def let_expire(self, driver: Driver) -> None:
        """Let just so much time pass that others may take the driver for dead."""
        self.look()
        lease = self.stored(driver).get("lease_until")
        while lease is not None and lease >= utc_text(self.now - GRACE):
            self.now += GRACE

    # ---- while a request is on its way -----------------------------------------------------------

    @contextmanager
    def while_sending(
        self,
        what: str | None,
        pipeline_id: str,
        owner: Driver | None = None,
        operation: str = "TransactWriteItems",
    ) -> Iterator[None]:
        """Let something happen when the first request of an operation is about to be sent."""
        if what is None:
            yield
            return
        happened: list[bool] = []

        def happen(request: Any) -> Any:
            if happened:
                return None
            happened.append(True)
            self.reached[f"meanwhile {what}"] += 1
            return self.happening(what, pipeline_id, owner)(request)

        with ExitStack() as stack:
            for config in (self.config, self.config.impatient()):
                stack.enter_context(faults.injected(client_for(config), happen, operation))
            try:
                yield
            except KilledError:
                if owner is not None:
                    self.forget(owner)

    def happening(self, what: str, pipeline_id: str, owner: Driver | None) -> Callable[[Any], Any]:
        others = [driver for driver in self.everybody if driver is not owner]
        working = [driver for driver in others if outcome_of(driver.run) is None]
        working.sort(key=lambda driver: driver.run.pipeline_id != pipeline_id)
        actions: dict[str, Callable[[], object]] = {
            "beaten": lambda: self.beat_of(*others),
            "ended": lambda: [self.end(driver) for driver in working[:1]],
            "reaped": lambda: self.reap_all(timedelta()),
            "released": lambda: self.release_pipeline(pipeline_id),
            "started": lambda: self.begin_later(pipeline_id),
            "started and ended": lambda: self.begin_and_end_later(pipeline_id),
            "marked": lambda: [self.mark_by_hand(d, "cancelled") for d in self.everybody[-1:]],
            "reset": lambda: self.reset(pipeline_id, "orders"),
        }
        if what in actions:
            return lambda request: [actions[what]()].clear()  # the request goes on
        return {"killed before": killed, "killed after": killed_after, "reply lost": lost}[what]

    def begin_later(self, pipeline_id: str) -> None:
        """The sender was stopped for so long that its lease, if it had one, is gone."""
        self.now += LEASE + 2 * GRACE
        self.begin(pipeline_id)

    def begin_and_end_later(self, pipeline_id: str) -> None:
        self.begin_later(pipeline_id)
        for driver in self.born[-1:]:
            self.end(driver)

    # ---- what is there ---------------------------------------------------------------------------

    def tracker(self, skew: timedelta = timedelta()) -> RunTracker:
        if skew not in self.trackers:
            self.trackers[skew] = RunTracker(self.config, clock=lambda: self.clock(skew))
        return self.trackers[skew]

    def newborn(self) -> MultipleResults[Driver]:
        born, self.born = self.born, []
        return multiple(*born)

    def look(self) -> None:
        self.seen.check()

    def stored(self, driver: Driver) -> dict[str, Any]:
        return self.seen.runs[driver.run_id]

    def stored_status(self, driver: Driver) -> str:
        return str(self.stored(driver)["status"])

    def by_hand(self, driver: Driver) -> bool:
        return driver.run_id in self.told.by_hand

    def has_succeeded(self, pipeline_id: str, run_key: str | None) -> bool:
        """Return whether a run of a run key has succeeded."""
        wanted = (pipeline_id, run_key, "success")
        runs = self.seen.runs.values()
        return run_key is not None and any(
            (run["pipeline_id"], run.get("run_key"), run["status"]) == wanted for run in runs
        )

    def is_held(self, run_id: str, now: datetime) -> bool:
        run = self.seen.runs[run_id]
        return run["status"] in LIVE and run["lease_until"] >= utc_text(now - GRACE)

    def clock(self, skew: timedelta) -> datetime:
        """Return the time of a machine; that of heartbeat threads stands still."""
        is_main = threading.current_thread() is threading.main_thread()
        return (self.now if is_main else self.beginning) + skew


def killed(request: Any) -> Any:
    raise KilledError


def killed_after(request: Any) -> Any:
    try:
        faults.lost_reply(request)
    except ConnectionClosedError:
        raise KilledError from None


def lost(request: Any) -> Any:
    return faults.lost_reply(request)


def by_hand_only(request: Any) -> Any:
    """The network of heartbeat threads is down: only `Run.beat` beats."""
    if threading.current_thread() is not threading.main_thread():
        return faults.reset(request)
    return None


# ---- the search ----------------------------------------------------------------------------------

RANDOM_EXAMPLES = int(os.environ.get("RUN_MACHINE_EXAMPLES", "0"))
STEPS = 50
EXAMPLES = 30
REACHED = {
    "begun: exclusive",
    "begun: limited",
    "begun: unlimited",
    "beat: True",
    "beat: False",
    "refused: running",
    "reaped",
    "released",
    "marked by hand",
    "ended: success",
    "ended: failed",
    "ended late: success",
    "end refused: lost",
}
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def prepare(config: DynamoDBConfig) -> None:
    """Create the tables and the three pipelines."""
    times = {"heartbeat_interval": BEAT, "lease_duration": LEASE, "lease_grace": GRACE}
    with_pipelines(
        config,
        PipelineConfig(pipeline_id="exclusive", **times),
        PipelineConfig(pipeline_id="limited", max_runtime=2 * BEAT, **times),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None, **times),
    )


@pytest.mark.newest_only
@pytest.mark.slow
def test_the_invariant_holds_for_all_actions_of_drivers_operators_and_clocks(
    config: DynamoDBConfig, engine: Engine
) -> None:
    engine.require(Capability.ATOMIC_WRITES, Capability.FAST_TRANSACTIONS)
    hasty = config.model_copy(update={"max_attempts": 1})
    prepare(hasty)
    reached: Counter[str] = Counter()
    with faults.injected(client_for(hasty.impatient()), by_hand_only):
        run_state_machine_as_test(
            partial(RunMachine, hasty, plain_client(hasty), reached),
            settings=settings(
                max_examples=RANDOM_EXAMPLES or EXAMPLES,
                stateful_step_count=STEPS,
                derandomize=not RANDOM_EXAMPLES,
                database=None,
                deadline=None,
                suppress_health_check=QUIET,
            ),
        )
    assert reached.keys() >= REACHED, "the search is blind"
    assert reached["steps"] >= 1000
