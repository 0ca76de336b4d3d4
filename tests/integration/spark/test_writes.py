"""What was there before a write is as asked afterwards, or untouched; plain Spark looks."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import (
    SparkDynamoDBIntegration,
    TableConfig,
    TableConfigRepository,
    ValidationError,
    create_tables,
)
from dynamodb_wrapper.models import TABLE_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dynamodb_wrapper import DynamoDBConfig

SCHEMA = "id BIGINT, name STRING, day STRING"
OLD = [(1, "one", "mon"), (2, "two", "tue")]
NEW = [(3, "three", "tue"), (4, "four", "wed")]
FILES = ("parquet", "csv", "json", "orc")
CATALOG = ("catalog-managed", "catalog-external")
MODES = ("append", "overwrite", "overwrite_partitions", "error")
DETAILS = ("Type", "Provider", "Location", "Comment")


class Target:
    """A configured table of some kind that holds the old rows."""

    def __init__(self, config: DynamoDBConfig, spark: Any, folder: Path, kind: str) -> None:
        create_tables(config, TABLE_CONFIG)
        self.repository = TableConfigRepository(config)
        self.integration = SparkDynamoDBIntegration(config)
        self.spark, self.kind = spark, kind
        self.path = str(folder / "data of t")
        self.name = f"t_{uuid.uuid4().hex}"
        self.is_catalog = kind not in FILES
        self.repository.create(
            TableConfig(
                table_id="t",
                table_type="destination",
                table_name=self.name,
                data_format="catalog" if self.is_catalog else kind,
                location=None if self.is_catalog else self.path,
                schema_definition=SCHEMA,
                partition_columns=["day"],
            )
        )
        if self.is_catalog:
            place = f"LOCATION '{self.path}'" if kind == "catalog-external" else ""
            spark.sql(
                f"CREATE TABLE {self.name} ({SCHEMA}) USING orc PARTITIONED BY (day) {place} "
                "COMMENT 'of the tests' TBLPROPERTIES ('kept' = 'yes')"
            )
            self.frame(OLD).write.insertInto(self.name)
        else:
            self.frame(OLD).write.format(kind).partitionBy("day").save(self.path)

    def frame(self, rows: list[Any], schema: str = SCHEMA) -> Any:
        return self.spark.createDataFrame(rows, schema)

    def plainly(self) -> Any:
        if self.is_catalog:
            return self.spark.table(self.name)
        return self.spark.read.format(self.kind).schema(SCHEMA).load(self.path)

    def rows(self) -> list[tuple[Any, ...]]:
        if self.is_catalog:
            self.spark.catalog.refreshTable(self.name)
        found = self.plainly().select("id", "name", "day").collect()
        return sorted(tuple(row) for row in found)

    def definition(self) -> Any:
        if not self.is_catalog:
            return None
        rows = self.spark.sql(f"DESCRIBE TABLE EXTENDED {self.name}").collect()
        details = [(row[0], row[1]) for row in rows if row[0] in DETAILS]
        columns = [(c.name, c.isPartition) for c in self.spark.catalog.listColumns(self.name)]
        kept = self.spark.sql(f"SHOW TBLPROPERTIES {self.name} ('kept')").first()[1]
        return details, columns, kept

    def write(self, frame: Any, mode: str) -> Any:
        return self.integration.write_table(frame, "t", mode=mode)


@pytest.fixture
def target(
    local_config: DynamoDBConfig, spark: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Target]:
    made = Target(local_config, spark, tmp_path, getattr(request, "param", "parquet"))
    yield made
    spark.sql(f"DROP TABLE IF EXISTS {made.name}")


def expected(target: Target, mode: str, rows: list[Any]) -> list[Any] | None:
    """Return the rows that should be there afterwards; None where the write is refused."""
    if mode == "error" or (mode == "overwrite_partitions" and target.is_catalog):
        return None
    if mode == "append":
        return sorted(OLD + rows)
    if mode == "overwrite":
        return rows
    days = {row[2] for row in rows}
    return sorted([row for row in OLD if row[2] not in days] + rows)


ROWS: dict[str, list[Any] | None] = {"rows": NEW, "no rows": [], "from itself": None}
WHOLE_TABLE = [(mode, rows) for mode in MODES for rows in ROWS]
MAIN_WAYS = [("overwrite", "rows"), ("overwrite", "from itself"), ("append", "no rows")]
WRITES = [
    pytest.param(kind, *way, id=" ".join([kind, *way]))
    for kind in (*FILES, *CATALOG)
    for way in (WHOLE_TABLE if kind in ("parquet", "catalog-external") else MAIN_WAYS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "mode", "given"), WRITES, indirect=["target"])
def test_a_write_does_what_was_asked_or_touches_nothing(
    target: Target, mode: str, given: str
) -> None:
    rows = ROWS[given]
    before = target.definition()
    frame = target.plainly() if rows is None else target.frame(rows)
    wanted = expected(target, mode, OLD if rows is None else rows)
    if wanted is None or (rows is None and mode == "overwrite"):
        with pytest.raises(ValidationError, match="'t'"):
            target.write(frame, mode)
        wanted = OLD
    else:
        summary = target.write(frame, mode)
        assert summary.rows == len(OLD if rows is None else rows)
    assert target.rows() == wanted
    assert target.definition() == before


def from_itself(target: Target, way: str) -> Any:
    spark, frame = target.spark, target.plainly()
    if way == "cached":
        frame = frame.cache()
        frame.count()
    elif way == "joined":
        frame = target.frame(NEW).join(frame.select("id").distinct(), "id", "left_anti")
    elif way == "in a subquery":
        frame.createOrReplaceTempView("own_source")
        target.frame(NEW).createOrReplaceTempView("new_rows")
        frame = spark.sql("SELECT * FROM new_rows WHERE id > (SELECT max(id) FROM own_source)")
    elif way == "one partition":
        frame = spark.read.parquet(f"{target.path}/day=mon").selectExpr("*", "'x' AS day")
    elif way == "from an RDD":
        frame = spark.createDataFrame(frame.rdd, frame.schema)
    return frame


@pytest.mark.parametrize(
    "way", ["cached", "joined", "in a subquery", "one partition", "from an RDD"]
)
def test_overwriting_what_is_read_in_any_way_is_refused(target: Target, way: str) -> None:
    frame = from_itself(target, way)
    with pytest.raises(ValidationError, match=r"'t'.*reads.*nothing was written.*checkpoint"):
        target.write(frame, "overwrite")
    target.spark.catalog.clearCache()
    assert target.rows() == OLD


def test_what_was_cut_off_may_overwrite_its_source(target: Target) -> None:
    assert target.write(target.plainly().localCheckpoint(), "overwrite").rows == 2
    assert target.rows() == OLD


@pytest.mark.parametrize("kind", ["VIEW", "TEMPORARY VIEW"])
@pytest.mark.parametrize("mode", MODES)
def test_a_view_is_not_written_to(target: Target, kind: str, mode: str) -> None:
    name = f"view_{uuid.uuid4().hex}"
    target.spark.sql(f"CREATE {kind} {name} AS SELECT 1L AS id, 'x' AS name, 'mon' AS day")
    target.repository.create(
        TableConfig(
            table_id="v",
            table_type="destination",
            data_format="catalog",
            table_name=name,
            partition_columns=["day"],
        )
    )
    try:
        with pytest.raises(ValidationError, match=r"'v'.*is a view"):
            target.integration.write_table(target.frame(NEW), "v", mode=mode)
        assert target.spark.table(name).count() == 1
    finally:
        target.spark.sql(f"DROP VIEW {name}")


@pytest.mark.parametrize("target", ["catalog-managed"], indirect=True)
def test_columns_of_a_catalog_table_are_matched_by_name(target: Target) -> None:
    turned = target.frame(NEW).selectExpr("day AS Day", "name", "id")
    target.write(turned, "overwrite")
    assert target.rows() == NEW
    with pytest.raises(ValidationError, match=r"'t'.*lacks \['name'\].*\['other'\]"):
        target.write(target.frame(NEW).withColumnRenamed("name", "other"), "append")
    assert target.rows() == NEW


@pytest.mark.parametrize("target", ["catalog-managed"], indirect=True)
def test_the_sessions_dynamic_mode_replaces_partitions_only_if_asked_for(target: Target) -> None:
    target.spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    try:
        with pytest.raises(ValidationError, match=r"'t'.*'static'"):
            target.write(target.frame(NEW), "overwrite")
        assert target.rows() == OLD
        target.write(target.frame(NEW), "overwrite_partitions")
    finally:
        target.spark.conf.unset("spark.sql.sources.partitionOverwriteMode")
    assert target.rows() == [OLD[0], *NEW]


@pytest.mark.parametrize("target", ["parquet", "orc"], indirect=True)
def test_no_rows_leave_a_table_that_plain_spark_reads_without_a_schema(target: Target) -> None:
    assert target.write(target.frame([]), "overwrite").rows == 0
    found = target.spark.read.format(target.kind).load(target.path)
    assert (sorted(found.columns), found.count()) == (["day", "id", "name"], 0)
    target.write(target.frame(NEW), "append")
    assert target.rows() == NEW


def test_a_write_that_fails_leaves_no_figures(target: Target) -> None:
    written = target.write(target.frame(OLD), "overwrite")
    assert target.integration.update_table_stats_after_write(written).record_count == 2
    broken = target.frame(NEW).selectExpr("id", "raise_error('no such luck') AS name", "day")
    broken = broken.selectExpr("id", "CAST(name AS STRING) AS name", "day")
    with pytest.raises(Exception, match="no such luck"):
        target.write(broken, "overwrite")
    known = target.repository.get_or_raise("t")
    assert (known.record_count, known.size_bytes, known.file_count) == (None, None, None)
