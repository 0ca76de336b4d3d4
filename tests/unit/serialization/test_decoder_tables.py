"""Decoding for tables: our own models, TTLs, smaller models, index entries, mixed pages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Optional

import pytest
from botocore.parsers import create_parser
from botocore.session import get_session
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from dynamodb_wrapper.exceptions import IncompatibleItemError
from dynamodb_wrapper.models import (
    Derived,
    EpochSeconds,
    GlobalIndex,
    PipelineConfig,
    PipelineRunLog,
    Table,
    TableConfig,
    TableType,
)
from dynamodb_wrapper.models.control_tables import PIPELINE_CONFIG, PIPELINE_RUN_LOGS, TABLE_CONFIG
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader, stored_batch, stored_items
from dynamodb_wrapper.serialization.json_body import Reply
from dynamodb_wrapper.serialization.values import identity
from tests.support.decoder_comparison import (
    KEY,
    assert_compiled,
    assert_equal,
    body_of,
    decode_counts,
    described,
    name_of,
    table_of,
)

NOW = datetime.now(timezone.utc).replace(microsecond=0)

# ---- our models ----------------------------------------------------------------------------------

DOCUMENTS: dict[str, tuple[Table[Any], Any]] = {
    "pipeline": (
        PIPELINE_CONFIG,
        PipelineConfig(
            pipeline_id="p",
            tags={"team": "a"},
            config={"a": 1, "b": [1.5, None, {"c": "d"}]},
            spark_config={"spark.sql.shuffle.partitions": "8"},
            max_runtime=timedelta(hours=1),
            input_tables=["a", "b"],
            created_at=NOW,
        ),
    ),
    "table": (
        TABLE_CONFIG,
        TableConfig(table_id="t", table_type=TableType.SOURCE, location="s3://a/b", record_count=5),
    ),
    "run": (
        PIPELINE_RUN_LOGS,
        PipelineRunLog(
            run_id="r", pipeline_id="p", start_time=NOW, expires_at=NOW + timedelta(days=1)
        ),
    ),
}
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "of a later version": {"later": {"M": {"b": {"B": b"x"}}}, "more": {"NULL": True}},
    "another kind": {"kind": {"N": "1"}, "schema_version": {"S": "2"}},
    "an index attribute": {"gx_more": {"S": "x"}, "gx_list": {"N": "1"}, "gx_pipeline": {"S": "q"}},
    "wrong": {"tags": {"S": "x"}, "row_version": {"NULL": True}},
    "a number as text": {"row_version": {"S": "5"}},
    "an unknown member": {"status": {"S": "floating"}, "pipeline_type": {"S": "floating"}},
    "a later part": {"sla": {"M": {"later": {"N": "1.5"}}}, "resources": {"M": {"x": {"S": "y"}}}},
    "no time zone": {"created_at": {"S": "2026-01-01T00:00:00"}},
    "broken": {"updated_at": {"S": "soon"}},
    "a stage": {"stages": {"M": {"s": {"M": {"seq": {"N": "1"}, "more": {"N": "1.5"}}}}}},
}
each_document = pytest.mark.parametrize(("table", "document"), DOCUMENTS.values(), ids=DOCUMENTS)


def stored(table: Table[Any], document: Any) -> Any:
    return Codec(table, table.model).encode(document)


@each_document
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_our_models_are_read_the_same_both_ways(
    table: Table[Any], document: Any, change: Any
) -> None:
    assert_equal(table.model, {**stored(table, document), **change}, table)


@each_document
def test_our_models_are_read_by_the_code_made_for_them(table: Table[Any], document: Any) -> None:
    found = assert_compiled(table.model, stored(table, document), table)
    assert found == document
    assert found.unknown_attributes == {}


@each_document
def test_unknown_attributes_of_our_models_are_kept(table: Table[Any], document: Any) -> None:
    later = CHANGES["of a later version"]
    found = assert_equal(table.model, {**stored(table, document), **later}, table)
    assert found.model.unknown_attributes == later


# ---- TTL -----------------------------------------------------------------------------------------


class Session(BaseModel):
    id: str
    user: str = ""
    expires_at: Optional[EpochSeconds] = Field(default=None, alias="expiresAt")


class User(BaseModel):
    user: str


SESSIONS = table_of(Session, ttl="expires_at")


def in_seconds(seconds: int) -> dict[str, str]:
    return {"N": str(int(NOW.timestamp()) + seconds)}


PAST, FUTURE = in_seconds(-3600), in_seconds(3600)
ODD: list[Any] = [
    {"S": "1"},
    {"NULL": True},
    {"BOOL": True},
    {"L": []},
    {"M": {"N": {"N": "1"}}},
    {"N": "4.5E+11"},
    {"N": "99999999999.5"},
    {"N": "9" * 38},
    {"NS": ["1"]},
]


def page_of(model: Any, table: Table[Any], *items: Any) -> tuple[Any, Any]:
    """Read a page with compiled code and with the generic decoder."""
    codec = Codec(table, model)
    reply = {"Items": list(items)}
    compiled = ItemReader(codec).page(Reply(body_of(reply)))
    generic = ItemReader(codec).page(Reply(None, reply))
    assert described(compiled.models) == described(generic.models)
    all_places = list(range(len(items)))
    assert (compiled.places or all_places) == (generic.places or all_places)
    assert compiled.count == generic.count == len(items)
    return compiled.models, compiled.places


@pytest.mark.parametrize("model", [Session, User], ids=["whole", "smaller"])
def test_expired_items_are_left_out(model: Any) -> None:
    items = [
        {**KEY, "user": {"S": "a"}, "expiresAt": PAST},
        {**KEY, "user": {"S": "b"}, "expiresAt": FUTURE},
        {**KEY, "user": {"S": "c"}},
        {**KEY, "user": {"S": "d"}, "expiresAt": {"N": "1.5"}},
    ]
    models, places = page_of(model, SESSIONS, *items)
    assert [found.user for found in models] == ["b", "c"]
    assert places == [1, 2]
    assert decode_counts(model, items[1], SESSIONS) == (1, 0)


@pytest.mark.parametrize("model", [Session, User], ids=["whole", "smaller"])
@pytest.mark.parametrize("odd", ODD, ids=name_of)
def test_a_ttl_of_an_odd_type_is_read_the_same_both_ways(model: Any, odd: Any) -> None:
    assert_equal(model, {**KEY, "user": {"S": "a"}, "expiresAt": odd}, SESSIONS)


@pytest.mark.parametrize("model", [Session, User], ids=["whole", "smaller"])
def test_an_expired_item_is_found_by_no_kind_of_read(model: Any) -> None:
    reader = ItemReader(Codec(SESSIONS, model))
    item = {**KEY, "user": {"S": "a"}, "expiresAt": PAST}
    assert reader.one(Reply(body_of({"Item": item}))).model is None
    batch = reader.batch(Reply(body_of({"Responses": {"t": [item]}})), "t")
    assert batch.by_key == {}
    assert reader.counts.generic == 0


def test_an_expired_item_need_not_fit_the_model() -> None:
    bad = {**KEY, "user": {"N": "1"}, "expiresAt": PAST}
    models, places = page_of(Session, SESSIONS, bad, {**KEY, "expiresAt": FUTURE})
    assert (len(models), places) == (1, [1])


# ---- smaller models and index entries ------------------------------------------------------------


class Order(BaseModel):
    id: str
    number: int
    status: str = "new"
    total: Decimal = Decimal(0)
    rate: float = 1


ORDERS = Table(
    "t",
    Order,
    partition_key="id",
    sort_key="number",
    indexes=[GlobalIndex("open", Derived("ix_open", ("status",), str.upper), "number")],
)
ENTRY = {**KEY, "number": {"N": "7"}, "ix_open": {"S": "NEW"}, "total": {"N": "1.50"}}


class Total(BaseModel):
    total: Decimal


class Strict(Total):
    model_config = ConfigDict(extra="forbid")


class Open(Total):
    model_config = ConfigDict(extra="allow")


class OpenPartition(Total):
    ix_open: str = "hidden"


class FromKey(Total):
    other: str = Field(default="", validation_alias=AliasChoices("other", "id"))


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    number: float = Field(default=0, alias="total")


class Renamed(BaseModel):
    id: str = Field(alias="total", default="")
    amount: Any = Field(default=None, serialization_alias="number")


SMALLER: list[Any] = [Total, Strict, Open, OpenPartition, FromKey, ByName, Renamed, Order]


@pytest.mark.parametrize("model", SMALLER, ids=lambda model: model.__name__)
def test_a_smaller_model_is_read_the_same_both_ways(model: Any) -> None:
    for more in ({}, {"rate": {"N": "1"}}, {"other": {"S": "x"}}, {"total": {"S": "much"}}):
        assert_equal(model, {**ENTRY, **more}, ORDERS)


@pytest.mark.parametrize("model", [Total, Strict, Open, Order], ids=lambda model: model.__name__)
def test_an_index_entry_is_read_by_the_code_made_for_it(model: Any) -> None:
    assert assert_compiled(model, ENTRY, ORDERS).total == Decimal("1.50")


def test_a_batch_finds_models_by_their_key_whichever_way_they_are_read() -> None:
    items = [{**ENTRY, "number": {"N": text}} for text in ("1", "2.0", "3E+0")]
    reply = {"Responses": {"t": items}, "UnprocessedKeys": {"t": {"Keys": [KEY]}}}
    codec = Codec(ORDERS, Total)
    compiled = ItemReader(codec).batch(Reply(body_of(reply)), "t")
    generic = ItemReader(codec).batch(Reply(None, reply), "t")
    assert compiled.by_key == generic.by_key
    assert len(compiled.by_key) == 3
    assert compiled.left == generic.left == {"t": {"Keys": [KEY]}}


# ---- pages and batches of several ----------------------------------------------------------------


GOOD = {**KEY, "number": {"N": "1"}, "rate": {"N": "1.5"}}
SLOW = {**KEY, "number": {"N": "1E+2"}}
BAD = {**KEY, "number": {"S": "one"}}


def test_an_item_for_the_generic_decoder_leaves_the_others_of_its_page_compiled() -> None:
    reader = ItemReader(Codec(ORDERS, Order))
    found = reader.page(Reply(body_of({"Items": [GOOD, SLOW, GOOD]})))
    assert [order.number for order in found.models] == [1, 100, 1]
    assert (reader.counts.compiled, reader.counts.generic) == (2, 1)


def test_an_item_for_the_generic_decoder_leaves_the_others_of_its_batch_compiled() -> None:
    reader = ItemReader(Codec(ORDERS, Order))
    items = [GOOD, SLOW, {**GOOD, "number": {"N": "2"}}]
    found = reader.batch(Reply(body_of({"Responses": {"t": items}})), "t")
    assert [order.number for order in found.by_key.values()] == [1, 100, 2]
    assert (reader.counts.compiled, reader.counts.generic) == (2, 1)


def test_an_item_that_does_not_fit_is_named_among_those_that_do() -> None:
    reader = ItemReader(Codec(ORDERS, Order))
    for reply, read in (
        ({"Items": [GOOD, BAD, GOOD]}, reader.page),
        ({"Responses": {"t": [GOOD, BAD]}}, lambda body: reader.batch(body, "t")),
        ({"Item": BAD}, reader.one),
    ):
        with pytest.raises(IncompatibleItemError, match="number: Input should be a valid") as found:
            read(Reply(body_of(reply)))
        assert found.value.key == {"id": "x", "number": "one"}
        assert [error["loc"] for error in found.value.errors()] == [("number",)]


def test_what_is_around_the_items_is_read_the_same_both_ways() -> None:
    reply = {
        "Items": [GOOD, SLOW],
        "Count": 2,
        "ScannedCount": 9,
        "LastEvaluatedKey": {"id": {"B": b"\x00"}, "number": {"N": "1"}},
        "ConsumedCapacity": {"TableName": "t", "CapacityUnits": 1.5},
    }
    codec = Codec(ORDERS, Order)
    for items in ([GOOD], [GOOD, SLOW], []):
        part = {**reply, "Items": items}
        compiled = ItemReader(codec).page(Reply(body_of(part)))
        generic = ItemReader(codec).page(Reply(None, part))
        assert compiled.models == generic.models
        assert compiled.last_key == generic.last_key == reply["LastEvaluatedKey"]
        assert compiled.capacity == generic.capacity == reply["ConsumedCapacity"]


def test_nothing_found_is_read_the_same_both_ways() -> None:
    reader = ItemReader(Codec(ORDERS, Order))
    assert reader.one(Reply(b"{}")).model is None
    assert reader.one(Reply(b'{"Item":{}}')).model is None
    assert reader.page(Reply(b'{"Items":[],"Count":0}')).models == []
    assert reader.page(Reply(b'{"Items":[],"LastEvaluatedKey":null}')).last_key is None
    assert reader.batch(Reply(b'{"Responses":{"t":[]}}'), "t").by_key == {}
    assert reader.batch(Reply(b'{"Responses":{}}'), "t").by_key == {}


PLAIN: dict[str, Any] = {
    "id": {"S": "é\n"},
    "n": {"N": "-12.50"},
    "b": {"B": b"\x00\xff"},
    "yes": {"BOOL": True},
    "nothing": {"NULL": True},
    "texts": {"SS": ["a", "b"]},
    "numbers": {"NS": ["1", "2.5"]},
    "blobs": {"BS": [b"", b"x"]},
    "list": {"L": [{"M": {"B": {"S": "named as a type"}}}, {"L": []}]},
    "map": {"M": {"inner": {"B": b"y"}, "BS": {"L": [{"S": "z"}]}}},
}


def by_boto3(operation: str, body: bytes) -> dict[str, Any]:
    model = get_session().get_service_model("dynamodb").operation_model(operation)
    response = {"status_code": 200, "headers": {}, "body": body}
    return create_parser("json").parse(response, model.output_shape)


def test_without_a_model_items_are_what_boto3_makes_of_them() -> None:
    key = {"id": PLAIN["id"], "b": PLAIN["b"]}
    capacity = {"TableName": "t", "CapacityUnits": 0.5}
    page = {"Items": [PLAIN, {}], "Count": 2, "LastEvaluatedKey": key, "ConsumedCapacity": capacity}
    body = body_of(page)
    found, theirs = stored_items(Reply(body)), by_boto3("Scan", body)
    assert found.models == theirs["Items"] == [PLAIN, {}]
    assert found.last_key == theirs["LastEvaluatedKey"] == key
    assert (found.capacity, found.count) == (theirs["ConsumedCapacity"], theirs["Count"])
    batch = {"Responses": {"t": [PLAIN]}, "UnprocessedKeys": {"t": {"Keys": [key]}}}
    body = body_of(batch)
    several, theirs = stored_batch(["id"], Reply(body), "t"), by_boto3("BatchGetItem", body)
    assert list(several.by_key.values()) == theirs["Responses"]["t"] == [PLAIN]
    assert several.left == theirs["UnprocessedKeys"]


@pytest.mark.parametrize("number", ["5", "5.0", "-0.5"])
def test_a_key_is_identified_alike_on_both_sides_of_a_request(number: str) -> None:
    class Reading(BaseModel):
        zone: bytes
        at: Decimal

    keys = Codec(Table("readings", Reading, partition_key="zone", sort_key="at"), Reading).keys
    stored = {"note": {"S": "x"}, "zone": {"B": b"z"}, "at": {"N": number}}
    same = {"at": {"N": str(Decimal(number) * 10 / 10)}, "zone": {"B": b"z"}}
    assert keys.identity(stored) == identity(same)
