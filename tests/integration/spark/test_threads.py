"""Runs in the threads PySpark makes, and the log lines of PySpark itself."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import DynamoDBConfig, PipelineConfig, SparkDynamoDBIntegration
from dynamodb_wrapper.runs import RunOptions, current_run, find_current_run
from tests.support.runs import with_pipelines

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("job")


@pytest.fixture
def integration(local_config: DynamoDBConfig) -> SparkDynamoDBIntegration:
    return SparkDynamoDBIntegration(with_pipelines(local_config, PipelineConfig(pipeline_id="p")))


def first_line(record: logging.LogRecord) -> str:
    return record.getMessage().split("\n")[0]


@pytest.mark.slow
def test_a_run_is_handed_to_the_batches_of_a_stream(
    integration: SparkDynamoDBIntegration, spark: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.txt").write_text("one\ntwo\n")
    seen: list[Any] = []

    with integration.pipeline_run_context("p") as run_id:
        run = integration.current_run()

        def load(batch: Any, number: int) -> None:
            seen.append(find_current_run())
            with run.attach():
                log.warning("batch %d", number)
                current_run().log_metric("rows", batch.count())

        stream = (
            spark.readStream.text(str(tmp_path / "in"))
            .writeStream.foreachBatch(load)
            .option("checkpointLocation", str(tmp_path / "checkpoint"))
            .trigger(availableNow=True)
            .start()
        )
        stream.awaitTermination()
    assert seen == [None]
    found = integration.tracker.runs.get_or_raise(run_id)
    assert (found.status, found.metrics) == ("success", {"rows": 2})
    lines = integration.tracker.runs.get_log_lines(run_id)
    assert [line.partition("job: ")[2] for line in lines] == ["batch 0"]


def test_the_lines_of_pyspark_are_kept_and_still_seen_by_handlers(
    integration: SparkDynamoDBIntegration, spark: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = logging.getLogger("py4j")
    before = gateway.level, list(gateway.handlers), gateway.propagate
    with caplog.at_level(logging.DEBUG, "py4j"):
        with integration.pipeline_run_context(
            "p", options=RunOptions(capture_logs="DEBUG")
        ) as run_id:
            assert spark.range(3).count() == 3
    seen = [record for record in caplog.records if record.name.startswith("py4j")]
    own = [record for record in seen if record.thread == threading.get_ident()]
    kept = [
        line.partition("py4j.clientserver: ")[2]
        for line in integration.tracker.runs.get_log_lines(run_id)
        if " py4j" in line
    ]
    # PySpark's own threads have lines too, which belong to the run if they began inside of it.
    assert own
    mine, stored = (Counter(map(first_line, records)) for records in (own, seen))
    assert not mine - Counter(kept), "a line of the body is missing"
    assert not Counter(kept) - stored, "a line was kept that handlers did not see"
    assert (gateway.level, list(gateway.handlers), gateway.propagate) == before
