"""A row of any frame is stored as `put` stores its model, and a frame that was read goes back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Callable

import pytest
from pydantic import BaseModel

from dynamodb_wrapper import BaseDynamoRepository, Table, UtcDatetime
from tests.support.frame_doors import NOON, Color, Parcel, parcel, parcels, plain_row, stored
from tests.support.runs import plain_client

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

if TYPE_CHECKING:
    from dynamodb_wrapper import DynamoDBConfig

Parcels = BaseDynamoRepository[Parcel]


@pytest.fixture(scope="module")
def repository(local_engine: Any) -> Parcels:
    repository = parcels(local_engine.config)
    repository.put(parcel("put"))
    return repository


def objects(key: str) -> dict[str, Any]:
    """Return a row whose values are the Python values of the model."""
    item = parcel(key)
    return {name: getattr(item, name) for name in Parcel.model_fields}


def plain_table(key: str) -> Any:
    """Return a row as an Arrow table with a map for each dict."""
    row = plain_row(key)
    maps = {
        "by_color": pa.map_(pa.string(), pa.int64()),
        "by_day": pa.map_(pa.string(), pa.decimal128(10, 3)),
    }
    columns = {
        name: pa.array([list(value.items()) if name in maps else value], maps.get(name))
        for name, value in row.items()
    }
    return pa.table(columns)


def polars_frame(rows: Any) -> Any:
    """Return a frame by way of Arrow: older polars drops the time zone of moments in structs."""
    return pl.from_arrow(pa.Table.from_pylist(rows))


MADE: dict[str, Callable[[str], Any]] = {
    "pandas, objects": lambda key: pd.DataFrame([objects(key)]),
    "pandas, plain": lambda key: pd.DataFrame([plain_row(key)]),
    "pandas, arrow types": lambda key: plain_table(key).to_pandas(types_mapper=pd.ArrowDtype),
    "polars, plain": lambda key: polars_frame([plain_row(key)]),
    "Arrow table": plain_table,
    "Arrow batch": lambda key: plain_table(key).to_batches()[0],
}


@pytest.mark.parametrize("door", MADE)
def test_a_row_is_stored_as_put_stores_the_model(repository: Parcels, door: str) -> None:
    assert repository.put_many(MADE[door](door)) == 1
    assert stored(repository, door) == stored(repository, "put")
    assert repository.get(door) == parcel(door)


READ: dict[str, Callable[[Any], Any]] = {
    "arrow": lambda results: results.to_arrow(),
    "pandas": lambda results: results.to_pandas(),
    "pandas, arrow types": lambda results: results.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda results: results.to_polars(),
}


@pytest.mark.parametrize("door", READ)
def test_a_frame_that_was_read_is_written_back_as_it_was(
    local_config: DynamoDBConfig, door: str
) -> None:
    repository = parcels(local_config)
    others = {
        "either": NOON,
        "maybe": None,
        "by_color": {Color.BLUE: 3},
        "lines": [],
        "tags": set(),
        "free": 1.5,
    }
    repository.put_many([parcel("a"), parcel("b", nothing="x"), parcel("c", **others)])
    before = {key: stored(repository, key) for key in "abc"}
    frame = READ[door](repository.scan())
    repository.delete_many(["a", "b", "c"])
    assert repository.put_many(frame) == 3
    assert {key: stored(repository, key) for key in "abc"} == before


@pytest.mark.parametrize("made", [polars_frame, pa.Table.from_pylist])
def test_a_struct_in_the_place_of_a_map_has_only_the_keys_of_its_row(
    repository: Parcels, made: Callable[[Any], Any]
) -> None:
    """A column of structs has the keys of all rows."""
    rows = [{**plain_row("x"), "by_color": {"red": 3}}, {**plain_row("y"), "by_color": {"blue": 4}}]
    assert repository.put_many(made(rows)) == 2
    found = repository.get_many(["x", "y"])
    assert [item.by_color for item in found if item] == [{Color.RED: 3}, {Color.BLUE: 4}]


class Moment(BaseModel):
    pk: str
    at: UtcDatetime


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00+00:00"])
def test_columns_of_a_key_that_another_program_spelt_are_warned_of(
    local_config: DynamoDBConfig, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """The column has the moment alone: written back, it is the key of another item."""
    table = Table("moments", Moment, partition_key="pk", sort_key="at")
    repository = BaseDynamoRepository(local_config, table)
    repository.create_table()
    item = {"pk": {"S": "a"}, "at": {"S": text}}
    plain_client(local_config).put_item(TableName=repository.table_name, Item=item)
    with caplog.at_level(logging.WARNING):
        assert repository.scan().to_pandas().shape == (1, 2)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "keys in another form" in caplog.text
    caplog.clear()
    repository.delete_many(repository.scan().all())
    repository.put(Moment(pk="a", at=NOON))
    repository.put_many(repository.scan().to_arrow())
    assert (caplog.records, len(repository.scan().all())) == ([], 1)
