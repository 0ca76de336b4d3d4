"""A driver is killed in the middle of a run; the next one takes over, nothing is lost or doubled.

python examples/run_control.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from demo import open_store, print_table, section

from dynamodb_wrapper import (
    AlreadyRunningError,
    DynamoDBConfig,
    PipelineConfig,
    PipelineConfigRepository,
    RunEvent,
    RunOptions,
    RunTracker,
    create_tables,
)

PIPELINE = "orders-import"
BATCH = 100


def main() -> None:
    """Import two batches; the driver of a third is killed; the next start takes over."""
    print("An import that remembers its position, and a driver that is killed in the middle of it.")
    with open_store() as config:
        create_tables(config)
        PipelineConfigRepository(config).put(
            PipelineConfig(
                pipeline_id=PIPELINE,
                # Short, so that the demo is; the defaults are 30 s, 5 min and 60 s.
                heartbeat_interval=timedelta(seconds=1),
                lease_duration=timedelta(seconds=3),
                lease_grace=timedelta(seconds=1),
            )
        )
        tracker = RunTracker(config, hooks=[announce])

        section("1. Two runs, each continues where the last one stopped")
        for _ in range(2):
            import_batch(tracker)

        section("2. A third run, in another process, which is killed with SIGKILL")
        driver = start_driver(config)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        print(f"  Process {driver.pid} is gone. The pipeline is still locked for its run:")
        try:
            tracker.start(PIPELINE)
        except AlreadyRunningError as error:
            print(
                f"  AlreadyRunningError: held by {error.holder}, last seen {error.last_heartbeat}"
            )

        section("3. The next start waits for the lease to run out, and takes over")
        start = time.monotonic()
        import_batch(tracker, RunOptions(on_conflict="wait", wait_seconds=30))
        print(f"  That took {time.monotonic() - start:.1f} s, of which the lease is 4 s.")

        section("4. What DynamoDB knows now")
        show(tracker)


def import_batch(tracker: RunTracker, options: RunOptions | None = None) -> None:
    """Import the next batch; the watermark moves in the transaction that stores the success."""
    with tracker.run(PIPELINE, options=options) as run:
        position = run.watermark("position", 0)
        with run.stage("import") as stage:
            run.check_lease()
            stage.log_rows(read=BATCH, written=BATCH)
        run.log_rows(read=BATCH, written=BATCH)
        run.advance_watermark("position", position + BATCH)
    print(f"  Run {run.run_id}: rows {position} to {position + BATCH}.")


def announce(event: RunEvent) -> None:
    """Print the event of a run; your hook may page the team on call."""
    if event.kind in ("lost", "failed"):
        print(
            f"  Hook: run {event.run_id} is {event.status}, superseded by "
            f"{event.run.superseded_by}."
        )


def start_driver(config: DynamoDBConfig) -> subprocess.Popen[str]:
    """Start a process that is in the middle of a run when this returns."""
    where = {
        "DYNAMODB_ENDPOINT_URL": config.endpoint_url or "",
        "DYNAMODB_TABLE_PREFIX": config.table_prefix or "",
        "AWS_REGION": config.region_name or "",
    }
    keys = (config.aws_access_key_id, config.aws_secret_access_key)
    if keys[0] is not None and keys[1] is not None:
        where["AWS_ACCESS_KEY_ID"] = keys[0].get_secret_value()
        where["AWS_SECRET_ACCESS_KEY"] = keys[1].get_secret_value()
    driver = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--driver"],
        env={**os.environ, **where},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None  # noqa: S101 - it is a pipe
    run = json.loads(driver.stdout.readline())
    print(f"  Process {driver.pid} works on run {run['run_id']}, at row {run['position']}.")
    return driver


def drive() -> None:
    """Begin a run and never end it."""
    tracker = RunTracker(DynamoDBConfig.from_env())
    with tracker.run(PIPELINE) as run, run.stage("import"):
        position = run.watermark("position", 0)
        run.advance_watermark("position", position + BATCH)
        print(json.dumps({"run_id": run.run_id, "position": position}), flush=True)
        time.sleep(600)


def show(tracker: RunTracker) -> None:
    """Print the runs, newest first, and the watermark."""
    runs = [
        tracker.runs.get_or_raise(run.run_id) for run in tracker.runs.get_runs_by_pipeline(PIPELINE)
    ]
    print_table(
        ("run", "status", "fence", "rows", "watermark", "superseded by"),
        [
            (
                run.run_id,
                str(run.status).upper(),
                str(run.fence),
                run.records_written,
                " ".join(f"{m.before or 0} to {m.after}" for m in run.watermarks.values()) or None,
                run.superseded_by,
            )
            for run in runs
        ],
    )
    print(
        f"\nThe watermark is {tracker.watermark(PIPELINE, 'position')}: three batches, "
        "three successes, one lost run that moved nothing."
    )


if __name__ == "__main__":
    drive() if sys.argv[1:] == ["--driver"] else main()
