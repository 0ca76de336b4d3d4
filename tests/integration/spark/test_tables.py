"""Configured tables are written and read on a real session; plain Spark checks each way."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import (
    ItemNotFoundError,
    SparkDynamoDBIntegration,
    TableConfig,
    TableConfigRepository,
    ValidationError,
    create_tables,
)
from dynamodb_wrapper.exceptions import ConfigurationError, MissingDependencyError
from dynamodb_wrapper.models import TABLE_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from dynamodb_wrapper import DynamoDBConfig

SCHEMA = "id BIGINT, name STRING, day STRING"
OLD = [(1, "one", "mon"), (2, "two", "tue")]
NEW = [(3, "three", "tue"), (4, None, "wed")]
FORMATS = ("parquet", "csv", "json", "orc")
AFTERWARDS = {
    "append": OLD + NEW,
    "overwrite": NEW,
    "overwrite_partitions": [OLD[0], *NEW],
}


class Tables:
    """Registers tables and looks at their data with plain Spark."""

    def __init__(self, config: DynamoDBConfig, spark: Any, folder: Path) -> None:
        create_tables(config, TABLE_CONFIG)
        self.repository = TableConfigRepository(config)
        self.integration = SparkDynamoDBIntegration(config)
        self.spark = spark
        self.folder = folder

    def register(self, **fields: Any) -> str:
        values = {
            "table_id": "t",
            "table_type": "destination",
            "location": str(self.folder / "data"),
            **fields,
        }
        return self.repository.create(TableConfig(**values)).table_id

    def frame(self, rows: list[Any] = OLD, schema: str = SCHEMA) -> Any:
        return self.spark.createDataFrame(rows, schema)

    def write(self, rows: list[Any] = OLD, mode: str | None = None, table_id: str = "t") -> Any:
        return self.integration.write_table(self.frame(rows), table_id, mode=mode)

    def read(self, **options: Any) -> Any:
        return self.integration.read_table(self.spark, "t", **options)

    def stored(self, data_format: str, schema: str = SCHEMA) -> list[tuple[Any, ...]]:
        reader = self.spark.read.format(data_format).schema(schema)
        return rows_of(reader.load(str(self.folder / "data")))


def rows_of(frame: Any) -> list[tuple[Any, ...]]:
    rows = frame.select("id", "name", "day").collect()
    return sorted((tuple(row) for row in rows), key=lambda row: row[0])


@pytest.fixture
def tables(local_config: DynamoDBConfig, spark: Any, tmp_path: Path) -> Tables:
    return Tables(local_config, spark, tmp_path)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("mode", AFTERWARDS)
def test_each_format_is_written_in_each_mode(tables: Tables, data_format: str, mode: str) -> None:
    tables.register(data_format=data_format, partition_columns=["day"])
    tables.write(OLD, "error")
    summary = tables.write(NEW, mode)
    assert tables.stored(data_format) == AFTERWARDS[mode]
    assert (summary.rows, summary.mode, summary.data_format) == (2, mode, data_format)


@pytest.mark.parametrize("data_format", FORMATS)
def test_mode_error_refuses_what_is_there_and_leaves_it(tables: Tables, data_format: str) -> None:
    tables.register(data_format=data_format)
    tables.write(OLD)
    with pytest.raises(ValidationError, match=r"'t'.*already.*mode 'error'") as caught:
        tables.write(NEW, "error")
    assert str(tables.folder / "data") in str(caught.value)
    assert tables.stored(data_format) == OLD


@pytest.mark.parametrize("data_format", FORMATS)
def test_each_format_written_by_plain_spark_is_read(tables: Tables, data_format: str) -> None:
    tables.frame(OLD).write.format(data_format).save(str(tables.folder / "data"))
    tables.register(data_format=data_format, schema_definition=SCHEMA)
    assert rows_of(tables.read()) == OLD


def test_text_is_written_and_read(tables: Tables) -> None:
    tables.register(data_format="text")
    lines = tables.frame([("first",), ("second",)], "value STRING")
    assert tables.integration.write_table(lines, "t").rows == 2
    assert sorted(row.value for row in tables.read().collect()) == ["first", "second"]


def test_the_tables_own_mode_is_used_when_none_is_given(tables: Tables) -> None:
    tables.register(write_mode="append")
    assert str(tables.write(OLD).mode) == "append"
    tables.write(NEW)
    assert tables.stored("parquet") == OLD + NEW


def test_overwrite_replaces_every_partition_under_every_setting_of_the_session(
    tables: Tables,
) -> None:
    tables.register(partition_columns=["day"])
    tables.write(OLD)
    tables.spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    try:
        tables.write(NEW, "overwrite")
    finally:
        tables.spark.conf.unset("spark.sql.sources.partitionOverwriteMode")
    assert tables.stored("parquet") == NEW


def test_a_write_of_no_rows_counts_zero(tables: Tables) -> None:
    tables.register()
    assert tables.write([]).rows == 0
    assert tables.stored("parquet") == []


def test_a_frame_that_filters_and_joins_is_counted_after_them(tables: Tables) -> None:
    tables.register()
    left = tables.spark.range(1000).where("id % 10 = 0")
    frame = left.join(tables.spark.range(50), "id")
    summary = tables.integration.write_table(frame, "t")
    assert summary.rows == tables.spark.read.parquet(summary.location).count() == 5


def test_options_of_the_table_reach_the_writer_and_the_reader(tables: Tables) -> None:
    tables.register(
        data_format="csv",
        schema_definition=SCHEMA,
        connection_config={"sep": ";"},
        write_options={"header": True},
        read_options={"header": True},
    )
    tables.write(OLD)
    lines = [row.value for row in tables.spark.read.text(str(tables.folder / "data")).collect()]
    assert "id;name;day" in lines
    assert rows_of(tables.read()) == OLD


def test_a_schema_may_be_the_json_of_a_struct_type_as_text_or_as_a_dict(tables: Tables) -> None:
    schema = tables.frame().schema
    tables.frame().write.csv(str(tables.folder / "data"))
    tables.register(data_format="csv", schema_definition=schema.jsonValue())
    tables.register(
        table_id="t2",
        data_format="csv",
        schema_definition=schema.json(),
        location=str(tables.folder / "data"),
    )
    assert tables.read().schema == schema
    assert tables.integration.read_table(tables.spark, "t2").schema == schema


@pytest.mark.parametrize("definition", ["id BIGINT,, name", {"fields": "none"}, "{not json"])
def test_a_schema_that_is_none_is_refused_with_the_tables_id(
    tables: Tables, definition: Any
) -> None:
    tables.frame().write.csv(str(tables.folder / "data"))
    tables.register(data_format="csv", schema_definition="id BIGINT")
    tables.repository.update("t", set={"schema_definition": definition})
    with pytest.raises(ValidationError, match="'t'"):
        tables.read()


def test_columns_selects_before_caching(tables: Tables) -> None:
    tables.register(caching_enabled=True, cache_level="MEMORY_ONLY")
    tables.write(OLD)
    frame = tables.read(columns=["name", "id"])
    assert frame.columns == ["name", "id"]
    assert frame.storageLevel.useMemory
    assert not frame.storageLevel.useDisk
    frame.unpersist()


def test_a_table_is_not_cached_unless_configured(tables: Tables) -> None:
    tables.register()
    tables.write(OLD)
    assert not tables.read().storageLevel.useMemory


def test_an_unknown_storage_level_is_refused_by_name(tables: Tables) -> None:
    tables.register(caching_enabled=True, cache_level="IN_THE_CLOUD")
    with pytest.raises(ValidationError, match=r"'IN_THE_CLOUD'.*MEMORY_AND_DISK"):
        tables.read()


@pytest.mark.parametrize("columns", [[], "name"])
def test_columns_must_be_a_list_of_names(tables: Tables, columns: Any) -> None:
    tables.register()
    with pytest.raises(ValidationError, match="columns is"):
        tables.read(columns=columns)


def test_an_unknown_column_is_refused_with_the_tables_id(tables: Tables) -> None:
    tables.register()
    tables.write(OLD)
    with pytest.raises(ValidationError, match=r"'t'.*wrong") as caught:
        tables.read(columns=["wrong"])
    assert type(caught.value.__cause__).__name__ == "AnalysisException"


def test_a_missing_path_is_refused_with_table_and_location(tables: Tables) -> None:
    tables.register()
    with pytest.raises(ValidationError, match=r"'t' cannot be read.*nothing at") as caught:
        tables.read()
    assert str(tables.folder / "data") in str(caught.value)
    assert type(caught.value.__cause__).__name__ == "AnalysisException"


def test_a_missing_partition_column_is_refused_with_the_tables_id(tables: Tables) -> None:
    tables.register(partition_columns=["country"])
    with pytest.raises(ValidationError, match=r"'t' cannot be written.*country"):
        tables.write(OLD)


def test_an_unknown_table_is_not_found(tables: Tables) -> None:
    with pytest.raises(ItemNotFoundError, match="nowhere"):
        tables.integration.read_table(tables.spark, "nowhere")
    with pytest.raises(ItemNotFoundError, match="nowhere"):
        tables.write(table_id="nowhere")


def test_an_inactive_table_is_neither_read_nor_written(tables: Tables) -> None:
    tables.register(is_active=False)
    with pytest.raises(ValidationError, match="'t' is switched off"):
        tables.read()
    with pytest.raises(ValidationError, match="'t' is switched off"):
        tables.write()
    assert not (tables.folder / "data").exists()


def test_an_option_that_refers_to_a_secret_is_refused(tables: Tables) -> None:
    tables.register(connection_config={"password": "secretsmanager:db"})
    with pytest.raises(ConfigurationError, match="not resolved"):
        tables.read()


@pytest.mark.parametrize(
    ("data_format", "package"),
    [
        ("delta", "io.delta:delta-"),
        ("iceberg", "org.apache.iceberg:iceberg-spark-runtime-"),
        ("avro", "org.apache.spark:spark-avro_"),
    ],
)
def test_a_format_spark_lacks_names_its_package(
    tables: Tables, data_format: str, package: str
) -> None:
    tables.register(data_format=data_format)
    for call in (tables.read, tables.write):
        with pytest.raises(MissingDependencyError, match=r"spark\.jars\.packages") as caught:
            call()
        assert package in str(caught.value)


@pytest.mark.parametrize(
    ("location", "package"),
    [
        ("s3a://bucket/orders", r"org\.apache\.hadoop:hadoop-aws:\d"),
        ("s3://bucket/orders", r"org\.apache\.hadoop:hadoop-aws:\d"),
        ("abfss://c@account.dfs.core.windows.net/x", r"org\.apache\.hadoop:hadoop-azure:\d"),
        ("gs://bucket/orders", r"gcs-connector"),
    ],
)
def test_a_file_system_spark_lacks_names_its_package(
    tables: Tables, location: str, package: str
) -> None:
    tables.register(location=location)
    for call in (tables.read, tables.write):
        with pytest.raises(MissingDependencyError, match=package) as caught:
            call()
        assert location in str(caught.value)


def test_an_error_of_the_users_own_code_stays_the_users_error(tables: Tables) -> None:
    from pyspark.sql import functions

    tables.register()
    broken = tables.spark.range(3).select(
        functions.expr("CAST(raise_error('no such luck') AS STRING)")
    )
    with pytest.raises(Exception, match="no such luck") as caught:
        tables.integration.write_table(broken, "t")
    assert type(caught.value).__module__.startswith(("pyspark", "py4j"))


def test_a_stream_is_refused(tables: Tables) -> None:
    tables.register()
    stream = tables.spark.readStream.format("rate").load()
    with pytest.raises(ValidationError, match="foreachBatch"):
        tables.integration.write_table(stream, "t")


class TestCatalog:
    @pytest.fixture
    def name(self, tables: Tables, request: pytest.FixtureRequest) -> Any:
        name = f"catalog_{abs(hash(request.node.name))}"
        tables.register(data_format="catalog", table_name=name, location=None)
        yield name
        tables.spark.sql(f"DROP TABLE IF EXISTS {name}")

    def test_a_catalog_table_is_made_appended_to_and_replaced(
        self, tables: Tables, name: str
    ) -> None:
        assert tables.write(OLD).location == name
        assert rows_of(tables.spark.table(name)) == OLD
        tables.write(NEW, "append")
        assert rows_of(tables.read()) == OLD + NEW
        assert tables.write(NEW, "overwrite").rows == 2
        assert rows_of(tables.spark.table(name)) == NEW

    def test_mode_error_refuses_a_table_that_is_there(self, tables: Tables, name: str) -> None:
        tables.write(OLD)
        with pytest.raises(ValidationError, match=name):
            tables.write(NEW, "error")
        assert rows_of(tables.spark.table(name)) == OLD

    def test_overwriting_partitions_of_a_table_of_files_is_refused_and_loses_nothing(
        self, tables: Tables, name: str
    ) -> None:
        changes = {"partition_columns": ["day"], "schema_definition": None}
        tables.repository.update("t", set=changes)
        tables.write(OLD)
        with pytest.raises(ValidationError, match="'t'"):
            tables.write(NEW, "overwrite_partitions")
        assert rows_of(tables.spark.table(name)) == OLD

    def test_a_missing_catalog_table_is_refused_by_name(self, tables: Tables, name: str) -> None:
        with pytest.raises(ValidationError, match=name):
            tables.read()


class TestStatistics:
    @pytest.mark.parametrize("data_format", FORMATS)
    def test_a_write_computes_each_row_once_and_its_statistics_start_no_job(
        self, tables: Tables, data_format: str
    ) -> None:
        tables.register(data_format=data_format)
        context, group = tables.spark.sparkContext, uuid.uuid4().hex
        computed = context.accumulator(0)

        def noted(row: Any) -> Any:
            computed.add(1)
            return row

        frame = tables.spark.createDataFrame(context.parallelize(OLD, 2).map(noted), SCHEMA)
        context.setJobGroup(group, "one write")
        summary = tables.integration.write_table(frame, "t", mode="overwrite")
        jobs = context.statusTracker().getJobIdsForGroup(group)
        reported = tables.integration.update_table_stats_after_write(summary)
        assert len(jobs) > 0
        assert context.statusTracker().getJobIdsForGroup(group) == jobs
        context.setLocalProperty("spark.jobGroup.id", None)
        assert computed.value == reported.record_count == summary.rows == 2

    def test_a_write_that_replaces_the_table_reports_its_rows_and_files(
        self, tables: Tables
    ) -> None:
        tables.register(partition_columns=["day"])
        summary = tables.write(OLD, "overwrite")
        reported = tables.integration.update_table_stats_after_write(summary)
        files = [f for f in (tables.folder / "data").rglob("*.parquet") if f.name[0] not in "._"]
        assert reported.record_count == 2
        assert reported.file_count == summary.file_count == len(files)
        assert reported.size_bytes == sum(file.stat().st_size for file in files)
        assert reported.last_data_at == summary.finished_at
        assert reported.row_version == tables.repository.get_or_raise("t").row_version

    @pytest.mark.parametrize("mode", ["append", "overwrite_partitions"])
    def test_a_write_beside_other_rows_claims_no_total_and_drops_the_old_one(
        self, tables: Tables, mode: str
    ) -> None:
        tables.register(partition_columns=["day"])
        tables.integration.update_table_stats_after_write(tables.write(OLD, "overwrite"))
        reported = tables.integration.update_table_stats_after_write(tables.write(NEW, mode))
        assert reported.record_count is None
        assert reported.file_count is not None

    def test_a_total_the_caller_knows_is_stored(self, tables: Tables) -> None:
        tables.register()
        tables.write(OLD)
        reported = tables.integration.update_table_stats_after_write(
            tables.write(NEW, "append"), record_count=4, run_id="mine"
        )
        assert (reported.record_count, reported.last_run_id) == (4, "mine")

    def test_figures_of_a_write_of_ones_own_are_reported_by_table_id(self, tables: Tables) -> None:
        tables.register()
        reported = tables.integration.update_table_stats_after_write("t", record_count=7)
        assert reported.record_count == 7
        assert reported.last_data_at is not None

    def test_a_table_id_without_figures_is_refused(self, tables: Tables) -> None:
        tables.register()
        with pytest.raises(ValidationError, match="at least one figure"):
            tables.integration.update_table_stats_after_write("t")
