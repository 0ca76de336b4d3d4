"""Rows of Spark DataFrames are stored as `put` stores their models, by driver and executors."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import BaseDynamoRepository, DynamoDBConfig, ValidationError
from tests.support.frame_doors import Parcel, parcel, parcels, plain_row, stored

pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINE = "struct<sku:string,at:timestamp,tags:array<string>>"
SCHEMA = f"""
    id string, number string, moment timestamp, seconds timestamp, millis timestamp, padded int,
    color string, level int, side string, price decimal(20,3), amount decimal(12,2),
    tags array<string>, sizes array<int>, data binary, day date, span interval day to second,
    line {LINE}, lines array<{LINE}>, by_color map<string,int>, by_day map<string,decimal(10,3)>,
    maybe timestamp, nothing string, free string
"""


def aware(value: Any) -> Any:
    """Return a value of a row with the time zone of its moments, which Spark leaves out."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    if isinstance(value, list):
        return [aware(inner) for inner in value]
    return {k: aware(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.slow
def test_rows_are_stored_as_put_stores_the_model(local_config: DynamoDBConfig, spark: Any) -> None:
    """One test for all ways: each starts jobs with Python workers."""
    repository = parcels(local_config)
    repository.put(parcel("put"))
    table, endpoint, prefix = repository.table, local_config.endpoint_url, local_config.table_prefix

    def a_frame(key: str) -> Any:
        """Return a frame of one parcel, without the time of day, which Spark lacks before 4.1."""
        row = {name: value for name, value in plain_row(key).items() if name != "clock"}
        return spark.createDataFrame([row], SCHEMA).coalesce(1)

    def there() -> BaseDynamoRepository[Parcel]:
        config = DynamoDBConfig(
            region_name="us-east-1",
            endpoint_url=endpoint,
            table_prefix=prefix,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        return BaseDynamoRepository(config, table)

    def put_rows(rows: Iterable[Any]) -> None:
        free = parcel("").free  # a row has JSON text where a column has any value
        fields = (aware(row.asDict(recursive=True)) for row in rows)
        there().put_many(Parcel(**{**values, "free": free}) for values in fields)

    def put_batches(batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"count": [there().put_many(batch)]})

    a_frame("foreachPartition").foreachPartition(put_rows)
    a_frame("mapInArrow").mapInArrow(put_batches, "count long").collect()
    keys = ["foreachPartition", "mapInArrow"]
    if hasattr(a_frame("toArrow"), "toArrow"):  # since 4.0
        repository.put_many(a_frame("toArrow").toArrow())
        found = repository.scan().to_arrow().drop_columns(["clock"])
        before = {key: stored(repository, key) for key in ("put", *keys)}
        spark.createDataFrame(found).mapInArrow(put_batches, "count long").collect()
        assert {key: stored(repository, key) for key in before} == before
        keys.append("toArrow")
    expected = stored(repository, "put")
    assert {key: stored(repository, key) for key in keys} == dict.fromkeys(keys, expected)
    with pytest.raises(ValidationError, match=r"Row 0, column 'moment': .* has no time zone"):
        repository.put_many(a_frame("toPandas").toPandas())
