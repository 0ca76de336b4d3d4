"""Every signal at every moment of a run, while DynamoDB is quick, slow or away: real processes.

What a handler raises leaves the block; a success is never lost; no run stays alive without a driver
that beats or an outcome in the spool; the process does not wait longer than documented.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.runs import RunEvent, RunOptions, RunTracker
from tests.support.gateway import AWAY, MUTE, QUICK, SLOW, Gateway
from tests.support.runs import run_table_items, state, with_pipelines

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.processes import Drivers

START, BODY, STAGE, END, HOOK = "start", "body", "stage", "end", "hook"
CASES = list(product((START, BODY, STAGE, END, HOOK), (QUICK, SLOW, AWAY)))
ENDS_PROCESS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
VARIANTS = [
    *product((signal.SIGALRM, signal.SIGUSR1, *ENDS_PROCESS), ("Exception", "BaseException")),
    *product(ENDS_PROCESS, ("default",)),
]
HURRIED_SECONDS = 5 + 3  # the wait, and the request under way when it is over
BUSY_SECONDS = 10  # of a machine that does other things


class TooLongError(Exception):
    """What a handler of a program raises."""


class LeaveNow(BaseException):
    """The same, past ``except Exception``."""


class Seen(NamedTuple):
    """What came of one case."""

    pipeline_id: str
    place: str
    gateway: str
    raised: str
    seconds: float
    is_restored: bool
    kept: list[str]
    holder: dict[str, str] | None


def meet_signals(config: DynamoDBConfig, pipe: Any, number: int, kind: str, spool: str) -> None:
    """Meet a signal in every place and state, and report what came of each."""

    def handle(*_: Any) -> None:
        raise TooLongError if kind == "Exception" else LeaveNow

    logging.getLogger("dynamodb_wrapper").setLevel("CRITICAL")
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before: Any = default if kind == "default" else handle
    signal.signal(number, before)
    with Gateway(str(config.endpoint_url)) as gateway:
        settings = {"endpoint_url": gateway.url, "spool_directory": spool, "max_attempts": 2}
        through = config.model_copy(update=settings)
        for place, how in CASES:
            if not is_met(number, kind, place, how):
                continue
            pipeline_id = f"{number:d}-{kind}-{place}-{how}"
            begin = time.monotonic()
            raised = leave_a_block(through, gateway, pipeline_id, place, how, number)
            seconds = time.monotonic() - begin
            gateway.state = QUICK
            kept = [
                json.loads(path.read_text())["outcome"]["status"]
                for path in Path(spool).glob("*.jsonl")
            ]
            is_restored = signal.getsignal(number) is before
            holder = state(config, pipeline_id).get("holder")
            RunTracker(through).replay_outcomes()
            pipe.send(Seen(pipeline_id, place, how, raised, seconds, is_restored, kept, holder))
    pipe.send(None)


def is_met(number: int, kind: str, place: str, how: str) -> bool:
    """Return whether a case is tried: where no run is open a signal may end the process at once."""
    ends_process = kind == "default" and number != signal.SIGINT
    return not (ends_process and (place == HOOK or (place, how) == (START, AWAY)))


def leave_a_block(
    config: DynamoDBConfig, gateway: Gateway, pipeline_id: str, place: str, how: str, number: int
) -> str:
    """Run a block that meets a signal, and return the name of what leaves it."""

    def press() -> None:
        os.kill(os.getpid(), number)

    def hook(event: RunEvent) -> None:
        if place == HOOK and event.kind == "finished":
            press()
            time.sleep(0.2)

    options = RunOptions(finish_seconds=60 if place == END else 1)
    tracker = RunTracker(config, hooks=[hook])
    try:
        if place == START:
            gateway.state = how
            gateway.on_next("" if how == AWAY else "TransactWriteItems", press)
        with tracker.run(pipeline_id, options=options) as run:
            gateway.state = how
            if place == BODY:
                press()
                time.sleep(5)
            if place == STAGE:
                gateway.on_next("UpdateItem", press)
                with run.stage("load"):
                    time.sleep(5)
            if place == END:
                gateway.on_next("" if how == AWAY else "TransactWriteItems", press)
    except BaseException as error:
        return type(error).__name__
    return ""


def raised_by(number: int, kind: str) -> str:
    if kind != "default":
        return "TooLongError" if kind == "Exception" else "LeaveNow"
    return "KeyboardInterrupt" if number == signal.SIGINT else "SystemExit"


def end_by(number: int, kind: str) -> tuple[str, str]:
    """Return status and reason of a run whose body a signal has ended."""
    if number in (signal.SIGTERM, signal.SIGHUP):
        return "cancelled", "signal"
    return ("cancelled", "user_cancel") if kind == "default" else ("failed", "exception")


@pytest.mark.newest_only
@pytest.mark.slow
def test_no_signal_at_any_moment_loses_a_success_an_exception_or_a_lock(
    local_config: DynamoDBConfig, drivers: Drivers, tmp_path: Path
) -> None:
    config = with_pipelines(local_config)
    PipelineConfigRepository(config).put_many(
        PipelineConfig(pipeline_id=f"{number:d}-{kind}-{place}-{how}")
        for (number, kind), (place, how) in product(VARIANTS, CASES)
    )
    started = [
        drivers.fork(
            meet_signals, config, number=number, kind=kind, spool=str(tmp_path / f"{number}-{kind}")
        )
        for number, kind in VARIANTS
    ]
    seen = {variant: list(iter(driver.hear, None)) for variant, driver in zip(VARIANTS, started)}
    assert sum(map(len, seen.values())) == len(VARIANTS) * len(CASES) - 8
    items = run_table_items(config)
    for (number, kind), cases in seen.items():
        for case in cases:
            assert case.raised == raised_by(number, kind), case
            assert case.is_restored, case
            limit = HURRIED_SECONDS if (case.place, case.gateway) == (END, AWAY) else 5
            assert case.seconds < limit + BUSY_SECONDS, case
            is_success = case.place in (END, HOOK)
            status, reason = ("success", None) if is_success else end_by(number, kind)
            runs = [item for item in items.values() if item.get("pipeline_id") == case.pipeline_id]
            runs = [item for item in runs if item["kind"] == "RUN"]
            ends = [(run["status"], run.get("status_reason")) for run in runs]
            if (case.place, case.gateway) == (START, AWAY):
                assert ends == [], case
                assert (case.kept, case.holder) == ([], None), case
            else:
                assert ends == [(status, reason)], case
                assert case.kept == ([status] if case.gateway == AWAY else []), case
                assert (case.holder is not None) == (case.gateway == AWAY), case
            assert "holder" not in state(config, case.pipeline_id), case


def start_without_a_reply(config: DynamoDBConfig, pipe: Any) -> None:
    """Begin a run whose start is stored and never answered; two signals come meanwhile."""

    def press_twice() -> None:
        gateway.state = MUTE
        threading.Thread(target=press, daemon=True).start()

    def press() -> None:
        for _ in range(2):
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGTERM)
        gateway.state = QUICK

    with Gateway(str(config.endpoint_url)) as gateway:
        through = config.model_copy(update={"endpoint_url": gateway.url})
        gateway.on_next("TransactWriteItems", press_twice)
        begin = time.monotonic()
        try:
            with RunTracker(through).run("exclusive"):
                pipe.send("the body was entered")
        finally:
            pipe.send(time.monotonic() - begin)


def test_a_second_signal_interrupts_a_start_that_is_not_answered(
    local_tables: DynamoDBConfig, drivers: Drivers
) -> None:
    driver = drivers.fork(start_without_a_reply, local_tables)
    assert driver.hear() < HURRIED_SECONDS  # one wait for a reply alone is 10 s
    assert driver.exit_code() == 143
    (run,) = (one for one in run_table_items(local_tables).values() if one["kind"] == "RUN")
    assert (run["status"], run["status_reason"]) == ("cancelled", "signal")
    assert "holder" not in state(local_tables, "exclusive")
