"""Scenarios of runs that write to Delta tables; prints their results as one JSON object.

Run as ``python -m tests.support.delta_scenarios SETTINGS``, because the Spark session that all
tests share has no Delta. In every scenario a zombie is the run of a driver that was taken for dead:
a later run of its pipeline has taken over, and the driver continues to write.
"""

from __future__ import annotations

import contextvars
import faulthandler
import itertools
import json
import os
import sys
import threading
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import DynamoDBWrapperError
from dynamodb_wrapper.models import PipelineConfig, utc_now
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from dynamodb_wrapper.runs import Run, RunTracker
from tests.support.runs import beat

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Path(__file__).parents[2] / "docs" / "fencing.md"
GATE_SECONDS = 60
GIVE_UP_SECONDS = 540


def a_session(jars: Iterable[str], folder: Path) -> Any:
    from pyspark.sql import SparkSession

    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.driver.host": "127.0.0.1",
        "spark.jars": ",".join(jars),
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.execution.pythonUDF.arrow.enabled": "false",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.stats.collect": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    return session


class Lab:
    """Pipelines, runs and Delta tables; each scenario uses different ones."""

    def __init__(self, config: DynamoDBConfig, spark: Any, folder: Path) -> None:
        self.config = config
        self.spark = spark
        self.folder = folder
        self._numbers = itertools.count(1)
        self._hours = itertools.count()

    # ---- runs ------------------------------------------------------------------------------------

    def a_pipeline(self, **settings: Any) -> str:
        pipeline_id = f"pipeline-{next(self._numbers)}"
        PipelineConfigRepository(self.config).create(
            PipelineConfig(pipeline_id=pipeline_id, **settings)
        )
        return pipeline_id

    def start(self, pipeline_id: str) -> Run:
        """Start a run an hour after the one before, so that it takes over from it."""
        ahead = timedelta(hours=next(self._hours))
        tracker = RunTracker(self.config, clock=lambda: utc_now() + ahead)
        return contextvars.Context().run(tracker.start, pipeline_id)

    def a_takeover(self) -> tuple[Run, Run]:
        """Return a zombie and the run that took over from it."""
        pipeline_id = self.a_pipeline()
        return self.start(pipeline_id), self.start(pipeline_id)

    def status(self, run: Run) -> str:
        record = PipelineRunLogsRepository(self.config).get_or_raise(run.run_id, consistent=True)
        return str(record.status)

    # ---- tables ----------------------------------------------------------------------------------

    def a_table(self, columns: str = "who STRING") -> str:
        path = str(self.folder / f"table-{next(self._numbers)}")
        self.spark.sql(f"CREATE TABLE delta.`{path}` ({columns}) USING delta")
        return path

    def append(self, path: str, who: str, options: dict[str, str]) -> None:
        rows = self.spark.sql(f"SELECT '{who}' AS who")
        rows.write.format("delta").mode("append").options(**options).save(path)

    def rows(self, path: str) -> list[str]:
        return sorted(row.who for row in self.spark.read.format("delta").load(path).collect())

    def log(self, path: str) -> list[dict[str, Any]]:
        """Return the actions of all commits to a table, in order."""
        commits = sorted(Path(path, "_delta_log").glob("*.json"))
        return [json.loads(line) for file in commits for line in file.read_text().splitlines()]

    def commits(self, path: str) -> int:
        return len(list(Path(path, "_delta_log").glob("*.json")))

    def refusal(self, act: Callable[[], Any]) -> list[str]:
        """Return class and message of the library error that a call raises."""
        try:
            act()
        except DynamoDBWrapperError as error:
            return [type(error).__name__, error.message]
        return ["nothing", "was raised"]


# ---- zombies -------------------------------------------------------------------------------------


def zombie_after_the_first_commit(lab: Lab) -> Any:
    path, (zombie, successor) = lab.a_table(), lab.a_takeover()
    lab.append(path, "zombie, before", zombie.delta_txn_options())
    successor.fence_table(lab.spark, path)
    lab.append(path, "successor", successor.delta_txn_options())
    lab.append(path, "zombie, after", zombie.delta_txn_options())
    successor.finish()
    return {
        "rows": lab.rows(path),
        "zombie": lab.status(zombie),
        "successor": lab.status(successor),
    }


def zombie_after_the_first_commit_without_fence(lab: Lab) -> Any:
    path, (zombie, successor) = lab.a_table(), lab.a_takeover()
    lab.append(path, "successor", successor.delta_txn_options())
    lab.append(path, "zombie", zombie.delta_txn_options())
    return lab.rows(path)


def zombie_between_fence_and_first_write(lab: Lab) -> Any:
    path, (zombie, successor) = lab.a_table(), lab.a_takeover()
    successor.fence_table(lab.spark, path)
    lab.append(path, "zombie", zombie.delta_txn_options())
    return lab.rows(path)


def zombie_before_the_first_write_without_fence(lab: Lab) -> Any:
    path, (zombie, successor) = lab.a_table(), lab.a_takeover()
    lab.append(path, "zombie", zombie.delta_txn_options())
    lab.append(path, "successor", successor.delta_txn_options())
    return lab.rows(path)


def zombie_in_flight(lab: Lab) -> Any:
    """The zombie's append has begun, and is not committed, when the table is fenced."""
    path, (zombie, successor), gate = lab.a_table(), lab.a_takeover(), Gate(lab)
    came_to: list[str] = []

    def append() -> None:
        rows = gate.held(lab.spark.sql("SELECT 'zombie' AS who"))
        options = zombie.delta_txn_options()
        try:
            rows.write.format("delta").mode("append").options(**options).save(path)
        except Exception as error:
            came_to.append(str(error))

    writing = threading.Thread(target=append)
    writing.start()
    gate.wait_until_reached()
    successor.fence_table(lab.spark, path)
    gate.open()
    writing.join()
    refused = ["ConcurrentTransactionException" in message for message in came_to]
    return {"rows": lab.rows(path), "refused": refused}


def zombie_overtakes_the_fence(lab: Lab) -> Any:
    """The zombie commits while the successor's fence is under way."""
    path, (zombie, successor), gate = lab.a_table(), lab.a_takeover(), Gate(lab)
    fencing = threading.Thread(target=successor.fence_table, args=(SlowOnce(lab, gate), path))
    fencing.start()
    gate.wait_until_reached()
    lab.append(path, "zombie, before", zombie.delta_txn_options())
    gate.open()
    fencing.join()
    lab.append(path, "zombie, after", zombie.delta_txn_options())
    versions = [action["txn"]["version"] for action in lab.log(path) if "txn" in action]
    assert successor.fence is not None
    return {"rows": lab.rows(path), "fenced": versions[-1] == successor.fence * 1000}


class Gate:
    """Holds a Spark task until it is opened."""

    def __init__(self, lab: Lab) -> None:
        folder = Path(lab.a_table())
        self._reached, self._open = folder / "reached", folder / "open"

    def held(self, rows: Any) -> Any:
        """Return the rows, each of which waits at the gate when it is computed."""
        from pyspark.sql.functions import col, udf

        reached, opened = str(self._reached), str(self._open)

        def wait(value: str) -> str:
            import pathlib
            import time

            pathlib.Path(reached).touch()
            deadline = time.monotonic() + GATE_SECONDS
            while not pathlib.Path(opened).exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            return value

        return rows.select(udf(wait, "string")(col("who")).alias("who"))

    def wait_until_reached(self) -> None:
        waiting = threading.Event()
        for _ in range(GATE_SECONDS * 50):
            if self._reached.exists():
                return
            waiting.wait(0.02)
        raise TimeoutError("No task reached the gate.")

    def open(self) -> None:
        self._open.touch()


class SlowOnce:
    """A session whose first check for an empty DataFrame waits until the gate is opened."""

    def __init__(self, lab: Lab, gate: Gate) -> None:
        self._lab, self._gate = lab, gate
        self._is_first = True

    @property
    def read(self) -> SlowOnce:
        return self

    def format(self, _: str) -> SlowOnce:
        return self

    def load(self, path: str) -> Any:
        if not self._is_first:
            return self._lab.spark.read.format("delta").load(path)
        self._is_first = False
        return self

    def limit(self, count: int) -> Any:
        held = self._gate.held(self._lab.spark.sql("SELECT 'a' AS who"))
        return held.where("who = 'b'").limit(count + 1)


# ---- legal runs ----------------------------------------------------------------------------------


def writes_of_one_run(lab: Lab) -> Any:
    """Write to two tables in turn, with options made before the fence, and fence once more."""
    first, second, run = lab.a_table(), lab.a_table(), lab.start(lab.a_pipeline())
    made_before = run.delta_txn_options()
    run.fence_table(lab.spark, first)
    lab.append(first, "one", made_before)
    lab.append(second, "two", run.delta_txn_options())
    run.fence_table(lab.spark, first)
    lab.append(first, "three", run.delta_txn_options())
    return {"first": lab.rows(first), "second": lab.rows(second)}


def run_after_run(lab: Lab) -> Any:
    """Return the rows of a run that ends, of one that fences and is lost, and of its successor."""
    path, pipeline_id = lab.a_table(), lab.a_pipeline()
    first = lab.start(pipeline_id)
    lab.append(path, "first", first.delta_txn_options())
    first.finish()
    second = lab.start(pipeline_id)
    second.fence_table(lab.spark, path)
    lab.append(path, "second", second.delta_txn_options())
    third = lab.start(pipeline_id)
    lab.append(path, "third", third.delta_txn_options())
    return lab.rows(path)


def two_deployments(lab: Lab) -> Any:
    """Pipelines of one name in two run tables write to one Delta table at the same time."""
    path = lab.a_table()
    other = lab.config.model_copy(update={"table_prefix": f"{lab.config.table_prefix}other"})
    create_tables(other)
    later = Lab(other, lab.spark, lab.folder / "other")
    pipeline_id = lab.a_pipeline()
    PipelineConfigRepository(other).create(PipelineConfig(pipeline_id=pipeline_id))
    run = later.start(pipeline_id)  # its hours begin anew: its fence is lower
    rival = lab.start(pipeline_id)
    lab.append(path, "rival", rival.delta_txn_options())
    lab.append(path, "run", run.delta_txn_options())
    assert run.fence is not None
    assert rival.fence is not None
    return {"rows": lab.rows(path), "later_fence_first": rival.fence > run.fence}


def state_lost_and_restored(lab: Lab) -> Any:
    path, pipeline_id = lab.a_table(), lab.a_pipeline()
    client, table = client_for(lab.config), lab.config.table_name("pipeline_run_logs")
    key = {"run_id": {"S": f"#pipeline#{pipeline_id}"}}
    fences = []

    def run_once(name: str) -> None:
        run = lab.start(pipeline_id)
        lab.append(path, name, run.delta_txn_options())
        run.finish()
        fences.append(run.fence)

    run_once("1, before")
    older = client.get_item(TableName=table, Key=key)["Item"]
    client.delete_item(TableName=table, Key=key)
    run_once("2, after the loss")
    client.put_item(TableName=table, Item=older)
    run_once("3, after the restore")
    return {"rows": lab.rows(path), "fences": fences}


def lost_and_not_superseded(lab: Lab) -> Any:
    """A driver that was taken for dead ends late without a successor, and its rows stay."""
    path, run = lab.a_table(), lab.start(lab.a_pipeline())
    later = RunTracker(lab.config, clock=lambda: utc_now() + timedelta(days=30))
    reaped = [lost.run_id for lost in later.reap()]
    lab.append(path, "late", run.delta_txn_options())
    run.finish()
    return {
        "reaped": run.run_id in reaped,
        "rows": lab.rows(path),
        "status": lab.status(run),
    }


# ---- what the options do not do ------------------------------------------------------------------


def options_in_another_order(lab: Lab) -> Any:
    path, run = lab.a_table(), lab.start(lab.a_pipeline())
    made_first, made_second = run.delta_txn_options(), run.delta_txn_options()
    lab.append(path, "made second", made_second)
    lab.append(path, "made second, used again", made_second)
    lab.append(path, "made first", made_first)
    return lab.rows(path)


def ways_to_write(lab: Lab) -> Any:
    """Return for each kind of write whether a zombie's write to a fenced table was skipped."""
    lab.spark.sql("CREATE TABLE ways (who STRING, day STRING) USING delta PARTITIONED BY (day)")
    path = str(Path(lab.spark.sql("DESCRIBE DETAIL ways").first().location.replace("file:", "")))
    zombie, successor = lab.a_takeover()
    lab.spark.sql("INSERT INTO ways VALUES ('successor', 'mon')")
    successor.fence_table(lab.spark, path)
    came_to = {}
    for way, write in WAYS.items():
        before = lab.commits(path)
        write(lab.spark, path, zombie.delta_txn_options())
        came_to[way] = "skipped" if lab.commits(path) == before else "written"
    return came_to


def rows_of_zombie(spark: Any) -> Any:
    return spark.sql("SELECT 'zombie' AS who, 'mon' AS day")


def by_writer(mode: str, **more: str) -> Callable[[Any, str, dict[str, str]], None]:
    def write(spark: Any, path: str, options: dict[str, str]) -> None:
        writer = rows_of_zombie(spark).write.format("delta").mode(mode)
        writer.options(**more, **options).save(path)

    return write


def by_name(spark: Any, path: str, options: dict[str, str]) -> None:
    writer = rows_of_zombie(spark).write.format("delta").mode("append")
    writer.options(**options).saveAsTable("ways")


def by_write_to(act: Callable[[Any], None]) -> Callable[[Any, str, dict[str, str]], None]:
    def write(spark: Any, path: str, options: dict[str, str]) -> None:
        act(rows_of_zombie(spark).writeTo("ways").options(**options))

    return write


def without_options(spark: Any, path: str, options: dict[str, str]) -> None:
    rows_of_zombie(spark).write.format("delta").mode("append").save(path)


def by_insert_into(spark: Any, path: str, options: dict[str, str]) -> None:
    rows_of_zombie(spark).write.options(**options).insertInto("ways")


def by_stream(spark: Any, path: str, options: dict[str, str]) -> None:
    source, checkpoint = f"{path}-source", f"{path}-checkpoint"
    rows_of_zombie(spark).write.format("delta").save(source)
    stream = spark.readStream.format("delta").load(source).writeStream.format("delta")
    stream = stream.options(**options).option("checkpointLocation", checkpoint)
    stream.trigger(availableNow=True).start(path).awaitTermination()


def by_sql(statement: str) -> Callable[[Any, str, dict[str, str]], None]:
    def write(spark: Any, path: str, options: dict[str, str]) -> None:
        spark.sql(statement)

    return write


def by_sql_with_settings(statement: str) -> Callable[[Any, str, dict[str, str]], None]:
    def write(spark: Any, path: str, options: dict[str, str]) -> None:
        settings = {f"spark.databricks.delta.write.{name}": options[name] for name in options}
        for name, value in settings.items():
            spark.conf.set(name, value)
        try:
            spark.sql(statement)
        finally:
            for name in settings:
                spark.conf.unset(name)

    return write


INSERT = "INSERT INTO ways VALUES ('zombie', 'mon')"
MERGE = (
    "MERGE INTO ways USING (SELECT 'merged' AS who, 'mon' AS day) AS new ON ways.who = new.who "
    "WHEN NOT MATCHED THEN INSERT *"
)
UPDATE = "UPDATE ways SET day = 'tue'"
WAYS: dict[str, Callable[[Any, str, dict[str, str]], None]] = {
    "save, append": by_writer("append"),
    "save, overwrite": by_writer("overwrite"),
    "save, replaceWhere": by_writer("overwrite", replaceWhere="day = 'mon'"),
    "save, dynamic partitions": by_writer("overwrite", partitionOverwriteMode="dynamic"),
    "saveAsTable": by_name,
    "writeTo, append": by_write_to(lambda writer: writer.append()),
    "writeTo, overwritePartitions": by_write_to(lambda writer: writer.overwritePartitions()),
    "MERGE, settings": by_sql_with_settings(MERGE),
    "UPDATE, settings": by_sql_with_settings(UPDATE),
    "save, without options": without_options,
    "insertInto": by_insert_into,
    "stream": by_stream,
    "INSERT": by_sql(INSERT),
    "MERGE": by_sql(MERGE),
    "UPDATE": by_sql(UPDATE),
}


# ---- tables --------------------------------------------------------------------------------------


def table_of_full_columns(lab: Lab) -> Any:
    path, run = lab.a_table("who STRING NOT NULL"), lab.start(lab.a_pipeline())
    before = lab.commits(path)
    run.fence_table(lab.spark, path)
    return {"rows": lab.rows(path), "commits": lab.commits(path) - before}


def identity_column(lab: Lab) -> Any:
    """Return the refusal to fence such a table; None where Delta is too old to have it."""
    path, run = str(lab.folder / "identity"), lab.start(lab.a_pipeline())
    java, session = lab.spark._jvm.io.delta.tables.DeltaTable, lab.spark._jsparkSession
    number = java.columnBuilder(session, "number").dataType("bigint")
    names = {method.getName() for method in number.getClass().getMethods()}
    if "generatedAlwaysAsIdentity" not in names:
        return None
    builder = java.create(session).location(path).addColumn("who", "string")
    builder.addColumn(number.generatedAlwaysAsIdentity().build()).execute()
    before = lab.commits(path)
    refusal = lab.refusal(lambda: run.fence_table(lab.spark, path))
    return {"path": path, "refusal": refusal, "commits": lab.commits(path) - before}


def no_table(lab: Lab) -> Any:
    run, empty = lab.start(lab.a_pipeline()), lab.folder / "empty"
    missing, parquet = lab.folder / "missing", lab.folder / "parquet"
    empty.mkdir()
    lab.spark.sql("SELECT 'x' AS who").write.parquet(str(parquet))
    refusals = {
        str(path): lab.refusal(lambda path=path: run.fence_table(lab.spark, str(path)))
        for path in (missing, empty, parquet)
    }
    made = [str(path) for path in (missing, empty / "_delta_log", parquet / "_delta_log")]
    return {"refusals": refusals, "made": [path for path in made if os.path.exists(path)]}


# ---- refusals ------------------------------------------------------------------------------------


def unlimited_pipeline(lab: Lab) -> Any:
    path, run = lab.a_table(), lab.start(lab.a_pipeline(max_concurrent_runs=None))
    before = lab.commits(path)
    refusals = [
        lab.refusal(lambda: run.fence_table(lab.spark, path)),
        lab.refusal(run.delta_txn_options),
    ]
    return {"refusals": refusals, "commits": lab.commits(path) - before}


def lost_lease(lab: Lab) -> Any:
    path, (zombie, _) = lab.a_table(), lab.a_takeover()
    before = lab.commits(path)
    beat(zombie)
    refusals = [lab.refusal(lambda: zombie.fence_table(lab.spark, path))]
    at = [utc_now()]
    tracker = RunTracker(lab.config, clock=lambda: at[0])
    overslept = contextvars.Context().run(tracker.start, lab.a_pipeline())
    at[0] += timedelta(hours=1)
    refusals.append(lab.refusal(lambda: overslept.fence_table(lab.spark, path)))
    return {"refusals": refusals, "commits": lab.commits(path) - before}


# ---- the page ------------------------------------------------------------------------------------


def examples_of_the_page(lab: Lab) -> Any:
    """Run the examples of the page that need Delta only."""
    path, pipeline_id = lab.a_table(), lab.a_pipeline()
    blocks = [part.split("```")[0] for part in PAGE.read_text().split("```python\n")[1:]]
    names = {
        "tracker": RunTracker(lab.config),
        "spark": lab.spark,
        "path": path,
        "pipeline_id": pipeline_id,
        "orders": lab.spark.sql("SELECT 'order' AS who"),
        "returns": lab.spark.sql("SELECT 'return' AS who"),
    }
    run_blocks = [block for block in blocks if "iceberg" not in block.lower()]
    for block in run_blocks:
        exec(block, names)
    return {"rows": lab.rows(path), "blocks": len(run_blocks)}


SCENARIOS = (
    zombie_after_the_first_commit,
    zombie_after_the_first_commit_without_fence,
    zombie_between_fence_and_first_write,
    zombie_before_the_first_write_without_fence,
    zombie_in_flight,
    zombie_overtakes_the_fence,
    writes_of_one_run,
    run_after_run,
    two_deployments,
    state_lost_and_restored,
    lost_and_not_superseded,
    options_in_another_order,
    ways_to_write,
    table_of_full_columns,
    identity_column,
    no_table,
    unlimited_pipeline,
    lost_lease,
    examples_of_the_page,
)


def main(settings: dict[str, Any]) -> None:
    """Run the scenarios and print their results."""
    faulthandler.dump_traceback_later(GIVE_UP_SECONDS, exit=True)
    folder = Path(settings["folder"])
    config = DynamoDBConfig.for_local_development(**settings["dynamodb"])
    create_tables(config)
    lab = Lab(config, a_session(settings["jars"], folder), folder)
    told: dict[str, Any] = {}
    for scenario in SCENARIOS:
        try:
            told[scenario.__name__] = scenario(lab)
        except Exception:
            told[scenario.__name__] = {"broken": traceback.format_exc()}
    lab.spark.stop()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
