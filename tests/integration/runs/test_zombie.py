"""A driver that sleeps past its lease inside a Spark action, and what it finds when it wakes."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import LeaseLostError, RunFinishError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories import PipelineConfigRepository, create_tables
from dynamodb_wrapper.runs import RunOptions, RunTracker
from dynamodb_wrapper.spark import SparkDynamoDBIntegration
from tests.support.engines import isolated
from tests.support.processes import Drivers, eventually
from tests.support.runs import QUICK, beat, item, lease_ok, state, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

WAIT = RunOptions(on_conflict="wait", wait_seconds=120)
SPARK = {"spark.master": "local[1]", "spark.ui.enabled": "false"}


def work_in_spark(config: DynamoDBConfig, pipe: Any, began: str, go_on: str) -> None:
    """Wait inside a Spark action until a file is there, then behave as if nothing had happened."""

    def wait_for_file(_: int) -> None:
        Path(began).touch()
        while not Path(go_on).exists():
            time.sleep(0.05)

    integration = SparkDynamoDBIntegration(config)
    try:
        with integration.pipeline_run_context("exclusive") as run_id:
            run = integration.current_run()
            spark = integration.create_spark_session()
            pipe.send(run_id)
            spark.sparkContext.parallelize([0], 1).foreach(wait_for_file)
            pipe.send((beat(run), lease_ok(run)))
            try:
                run.check_lease()
            except LeaseLostError as error:
                pipe.send(error)
            run.log_metric("rows", 666)
            run.advance_watermark("count", 666)
    except RunFinishError as error:
        pipe.send(error)


@dataclass(frozen=True)
class Scene:
    """What was seen of a zombie and of the run that took over from it.

    Attributes:
        beats: When the first driver beat while its Spark action blocked.
        zombie: Its run at the end.
        winner: The other run before the zombie woke.
        before: What was stored of the pipeline and the winner before the zombie woke.
        after: The same when the zombie was through.
        beat: What the zombie's own beat said, and whether it thought its lease good.
        refusals: What the zombie met.
    """

    beats: list[Any]
    zombie: PipelineRunLog
    winner: PipelineRunLog
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    beat: tuple[bool, bool]
    refusals: list[Any]


@pytest.fixture(scope="module")
def scene(
    spark_installation: None, local_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Stop a driver with SIGSTOP past lease and grace, let another run in, wake the driver."""
    config, files = isolated(local_engine.config), tmp_path_factory.mktemp("zombie")
    began, go_on = files / "began", files / "go on"
    create_tables(config)
    pipelines = PipelineConfigRepository(config)
    pipelines.create(PipelineConfig(pipeline_id="exclusive", spark_config=SPARK, **QUICK))
    with Drivers() as drivers:
        driver = drivers.launch(work_in_spark, config, began=str(began), go_on=str(go_on))
        run_id = driver.hear()
        eventually(began.exists)
        beats = [stored(config, run_id).heartbeat_at]
        for _ in range(3):
            beats.append(eventually(lambda: beat_after(config, run_id, beats[-1])))
        driver.signal(signal.SIGSTOP)
        with RunTracker(config).run("exclusive", options=WAIT) as run:
            run.advance_watermark("count", 7)
        winner = stored(config, run.run_id)
        before = everything(config, run.run_id)
        go_on.touch()
        driver.signal(signal.SIGCONT)
        beat, refusals = driver.hear(), [driver.hear(), driver.hear()]
        assert driver.exit_code() == 0
        after = everything(config, run.run_id)
        yield Scene(beats, stored(config, run_id), winner, before, after, beat, refusals)


def beat_after(config: DynamoDBConfig, run_id: str, last: Any) -> Any:
    beat = stored(config, run_id).heartbeat_at
    return beat if beat is not None and beat > last else None


def everything(config: DynamoDBConfig, run_id: str) -> list[dict[str, Any]]:
    """Return the winner, the pipeline and the watermark as plain boto3 reads them."""
    cursor = item(config, "#cursor#exclusive#count")
    return [item(config, run_id), state(config, "exclusive"), cursor]


def test_a_blocking_spark_action_does_not_starve_the_heartbeat(scene: Scene) -> None:
    assert len(set(scene.beats)) == 4


def test_another_run_took_over_when_lease_and_grace_had_run_out(scene: Scene) -> None:
    assert scene.zombie.superseded_by == scene.winner.run_id
    assert scene.zombie.end_time is not None
    assert scene.zombie.end_time >= scene.beats[-1]
    assert scene.winner.start_time is not None
    assert (scene.winner.start_time - scene.zombie.end_time).total_seconds() > 4
    assert scene.winner.status is RunStatus.SUCCESS
    assert scene.winner.watermarks["count"].after == 7


def test_the_zombies_beat_is_refused(scene: Scene) -> None:
    assert scene.beat == (False, False)
    assert scene.zombie.heartbeat_at == scene.zombie.end_time


def test_the_zombie_learns_to_write_no_more(scene: Scene) -> None:
    refusal = scene.refusals[0]
    assert isinstance(refusal, LeaseLostError)
    assert refusal.run_id == scene.zombie.run_id
    assert "was taken over" in str(refusal)


def test_the_zombies_success_is_not_stored(scene: Scene) -> None:
    refusal = scene.refusals[1]
    assert isinstance(refusal, RunFinishError)
    assert (refusal.run_id, refusal.outcome) == (scene.zombie.run_id, "success")
    assert (scene.zombie.status, scene.zombie.status_reason) == (RunStatus.LOST, "superseded")
    assert scene.zombie.late_outcome == "success"
    assert not scene.zombie.late_finish
    assert scene.zombie.metrics == {}


def test_nothing_of_the_winner_is_touched(scene: Scene) -> None:
    assert scene.after == scene.before
