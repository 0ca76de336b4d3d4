"""A pipeline on real data, configured from DynamoDB and recorded there.

python examples/pyspark_usage.py
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from demo import open_store, print_table, section, spark_log_in
from flight_data import FLIGHTS, FlightData, flight_data

from dynamodb_wrapper import (
    DynamoDBConfig,
    PipelineConfig,
    PipelineConfigRepository,
    PipelineRunLog,
    PipelineRunLogsRepository,
    TableConfig,
    TableConfigRepository,
    create_tables,
)
from dynamodb_wrapper.models import utc_now
from dynamodb_wrapper.utils import SparkDynamoDBIntegration

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PIPELINE = "nyc-flights"
RAW_SCHEMA = """
    year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay DOUBLE, arr_time INT,
    sched_arr_time INT, arr_delay DOUBLE, carrier STRING, flight INT, tailnum STRING,
    origin STRING, dest STRING, air_time DOUBLE, distance DOUBLE, hour INT, minute INT,
    time_hour TIMESTAMP
"""
AIRPORT_SCHEMA = (
    "faa STRING, name STRING, lat DOUBLE, lon DOUBLE, alt INT, tz INT, dst STRING, tzone STRING"
)


class UnknownAirportError(Exception):
    """The quality gate of this pipeline."""


def main() -> None:
    """Register the pipeline, run it, let a stricter run fail, show the history."""
    print("Delays of the 336,776 flights that left New York in 2013, as a recorded pipeline.")
    data = flight_data()
    with open_store() as config, tempfile.TemporaryDirectory() as folder:
        register(config, data, Path(folder))
        integration = SparkDynamoDBIntegration(config)
        pipeline = FlightPipeline(integration, Path(folder) / "spark.log")
        try:
            succeeded = pipeline.run()
            failed = pipeline.run_strictly()
        finally:
            integration.stop()
        show(config, succeeded, failed)


def register(config: DynamoDBConfig, data: FlightData, folder: Path) -> None:
    """Store what the pipeline is, and which tables it reads and writes."""
    section("1. Register the pipeline and its tables")
    create_tables(config)
    csv = {"data_format": "csv", "pipeline_id": PIPELINE}
    options = {"header": True, "nullValue": "NA"}
    made = {"pipeline_id": PIPELINE, "write_mode": "overwrite"}
    tables = [
        TableConfig(
            table_id="flights-raw",
            table_type="source",
            location=data.flights.as_uri(),
            schema_definition=RAW_SCHEMA,
            read_options=options,
            **csv,
        ),
        TableConfig(
            table_id="airlines",
            table_type="lookup",
            location=data.airlines.as_uri(),
            schema_definition="carrier STRING, name STRING",
            read_options=options,
            **csv,
        ),
        TableConfig(
            table_id="airports",
            table_type="lookup",
            location=data.airports.as_uri(),
            schema_definition=AIRPORT_SCHEMA,
            read_options=options,
            caching_enabled=True,
            **csv,
        ),
        TableConfig(
            table_id="flights",
            table_type="destination",
            location=(folder / "flights").as_uri(),
            partition_columns=["month"],
            **made,
        ),
        TableConfig(
            table_id="daily-delays",
            table_type="destination",
            location=(folder / "daily_delays").as_uri(),
            **made,
        ),
    ]
    TableConfigRepository(config).put_many(tables)
    PipelineConfigRepository(config).put(
        PipelineConfig(
            pipeline_id=PIPELINE,
            description="Delays per day and carrier",
            input_tables=["flights-raw", "airlines", "airports"],
            output_tables=["flights", "daily-delays"],
            resources={"driver_memory": "1g"},
            spark_config={
                "spark.sql.shuffle.partitions": 4,
                "spark.sql.session.timeZone": "UTC",
                "spark.ui.enabled": False,
                "spark.ui.showConsoleProgress": False,
                "spark.log.level": "ERROR",
            },
        )
    )
    print_table(
        ("table", "type", "format", "partitions"),
        [
            (
                table.table_id,
                table.table_type,
                table.data_format,
                ", ".join(table.partition_columns) or None,
            )
            for table in TableConfigRepository(config).get_tables_by_pipeline(PIPELINE)
        ],
    )


class FlightPipeline:
    """The steps of the pipeline; locations and settings are read from its configuration."""

    def __init__(self, integration: SparkDynamoDBIntegration, spark_log: Path) -> None:
        self.integration = integration
        self.spark_log = spark_log

    def run(self) -> str:
        """Clean the flights, summarise their delays; return the run id."""
        section("2. Run it")
        with self.integration.pipeline_run_context(PIPELINE) as run_id:
            run = self.integration.current_run()
            spark = self.session()
            self.clean(spark)
            flights = self.integration.read_table(spark, "flights")
            self.check(spark, flights)
            self.summarise(spark, flights)
            run.log_rows(read=FLIGHTS)  # the rows written are those of the run's outputs
            run.advance_watermark("flown-until", date(2013, 12, 31))  # stored with the success
        return run_id

    def run_strictly(self) -> str:
        """Demand that every airport is known, which this data does not give; return the run id."""
        section("3. Run it again, strictly: every destination must be a known airport")
        run_id = ""
        try:
            with self.integration.pipeline_run_context(
                PIPELINE, parameters={"strict": True}
            ) as run_id:
                spark = self.session()
                flights = self.integration.read_table(spark, "flights")
                self.check(spark, flights, strict=True)
        except UnknownAirportError:
            print("  The exception left the run unchanged; it is caught here.")
        return run_id

    def session(self) -> SparkSession:
        """Return the session, configured from DynamoDB."""
        with spark_log_in(self.spark_log):
            spark = self.integration.create_spark_session()
        settings = self.integration.session_settings
        print(
            f"  Spark {spark.version}: {len(settings.applied) if settings else 0} settings from "
            "DynamoDB are in force."
        )
        return spark

    def clean(self, spark: SparkSession) -> None:
        """Write the flights by month, with a mark for those that did not fly.

        The tables read and written, and the figures of the stage, are stored with the run, and so
        is an exception that leaves it.
        """
        from pyspark.sql import Observation
        from pyspark.sql import functions as F  # noqa: N812

        run = self.integration.current_run()
        with run.stage("clean") as stage:
            raw = self.integration.read_table(spark, "flights-raw")
            seen = Observation("raw")  # counted while the write runs, without another action
            cleaned = raw.observe(
                seen,
                F.count(F.lit(1)).alias("rows"),
                F.count(F.when(F.col("arr_delay").isNull(), 1)).alias("incomplete"),
            ).select(
                F.make_date("year", "month", "day").alias("date"),
                *("month", "carrier", "flight", "tailnum", "origin", "dest", "distance"),
                *("dep_delay", "arr_delay"),
                F.col("dep_time").isNull().alias("cancelled"),
            )
            written = self.integration.write_table(cleaned, "flights")
            stage.log_rows(read=seen.get["rows"], written=written.rows)
            run.log_metric("incomplete_flights", seen.get["incomplete"])
            if seen.get["rows"] != FLIGHTS:
                raise RuntimeError(f"{seen.get['rows']} rows were read, not {FLIGHTS}")

    def check(self, spark: SparkSession, flights: DataFrame, *, strict: bool = False) -> None:
        """Look for destinations that are no known airport: a warning, or the end of the run."""
        run = self.integration.current_run()
        with run.stage("check"):
            airports = self.integration.read_table(spark, "airports", columns=["faa"])
            unknown = flights.join(airports, flights.dest == airports.faa, "left_anti")
            counts = {
                row["dest"]: row["count"] for row in unknown.groupBy("dest").count().collect()
            }
            airports.unpersist()
            message = (
                f"{sum(counts.values()):,} flights go to {len(counts)} airports that are not in "
                f"the list: {', '.join(sorted(counts))}"
            )
            run.log_quality(
                "destination-is-known",
                not counts,
                severity="error" if strict else "warn",
                table_id="flights",
                column="dest",
                failed_rows=sum(counts.values()),
                message=message,
            )
            print(f"  Quality: {message}.")
            if counts and strict:
                raise UnknownAirportError(message)

    def summarise(self, spark: SparkSession, flights: DataFrame) -> None:
        """Write the delays per day and carrier, with the carrier's name."""
        from pyspark.sql import functions as F  # noqa: N812

        run = self.integration.current_run()
        with run.stage("summarise") as stage:
            airlines = self.integration.read_table(spark, "airlines").withColumnRenamed(
                "name", "airline"
            )
            airports = self.integration.read_table(spark, "airports", columns=["faa", "name"])
            daily = (
                flights.join(F.broadcast(airlines), "carrier", "left")
                .join(F.broadcast(airports), flights.dest == airports.faa, "left")
                .groupBy("date", "carrier", "airline")
                .agg(
                    F.count(F.lit(1)).alias("flights"),
                    F.sum(F.col("cancelled").cast("int")).alias("cancelled"),
                    F.avg("dep_delay").alias("mean_departure_delay"),
                    F.avg("arr_delay").alias("mean_arrival_delay"),
                    F.max_by("name", "distance").alias("farthest_airport"),
                )
            )
            run.check_lease()  # is the run still this driver's? asked right before a write
            written = self.integration.write_table(daily, "daily-delays")
            airports.unpersist()
            stage.log_rows(read=FLIGHTS, written=written.rows)
        self.print_worst_days(self.integration.read_table(spark, "daily-delays"))

    def print_worst_days(self, daily: DataFrame) -> None:
        """Print the days with the longest delays."""
        worst = daily.where("flights >= 100").orderBy("mean_departure_delay", ascending=False)
        print("\n  The worst days of a carrier with a hundred flights or more:")
        print_table(
            ("date", "airline", "flights", "cancelled", "mean delay, minutes"),
            [
                (row.date, row.airline, row.flights, row.cancelled, row.mean_departure_delay)
                for row in worst.limit(5).collect()
            ],
        )


def show(config: DynamoDBConfig, succeeded: str, failed: str) -> None:
    """Print what DynamoDB knows now."""
    runs, tables = PipelineRunLogsRepository(config), TableConfigRepository(config)
    success, failure = runs.get_or_raise(succeeded), runs.get_or_raise(failed)
    section("4. What DynamoDB knows now")
    print_table(
        ("stage", "status", "seconds", "read", "written"),
        [
            (
                name,
                stage.status,
                float(stage.duration_seconds or 0),
                stage.records_read,
                stage.records_written,
            )
            for name, stage in sorted(success.stages.items(), key=lambda entry: entry[1].seq or 0)
        ],
    )
    print()
    print_table(
        ("table", "rows", "files", "bytes", "written by run"),
        [
            (
                table.table_id,
                table.record_count,
                table.file_count,
                table.size_bytes,
                table.last_run_id,
            )
            for table in tables.get_destination_tables(PIPELINE)
        ],
    )
    print(f"\n  Runs, newest first; times in {config.user_timezone}:")
    print_table(
        ("run", "status", "started", "seconds", "read", "written", "error"),
        [
            (
                run.run_id,
                str(run.status).upper(),
                f"{config.to_user_timezone(run.start_time or utc_now()):%Y-%m-%d %H:%M:%S}",
                float(run.duration_seconds or 0),
                run.records_read,
                run.records_written,
                (run.error_type or "-").rpartition(".")[2],
            )
            for run in runs.get_runs_by_pipeline(PIPELINE)
        ],
    )
    print()
    print(verdict(success))
    print(verdict(failure))


def verdict(run: PipelineRunLog) -> str:
    """Return the result of a run in one line."""
    name = str(run.status).upper()
    if run.error is None:
        return f"{name}: read {run.records_read or 0:,} rows, wrote {run.records_written or 0:,}."
    return f"{name}: {run.error.type.rpartition('.')[2]}: {run.error.message}."


if __name__ == "__main__":
    main()
