"""Pages as columns: read by Arrow itself, with the same values as through the models."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from dynamodb_wrapper.exceptions import IncompatibleItemError, ServiceError, ValidationError
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply, read_body
from tests.support.column_models import (
    LOOSE_CODEC,
    OPTIONAL,
    WIDE_CODEC,
    Wide,
    a_wide,
    attribute_values,
    body_of,
    plain,
    wides,
)

pa = pytest.importorskip("pyarrow")
from dynamodb_wrapper.arrow.reader import ArrowReader  # noqa: E402 - only where it is there

NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)


def reader(
    mismatch: Any = "raise", schema: Any = None, codec: Any = WIDE_CODEC
) -> ArrowReader[Any]:
    return ArrowReader(ItemReader(codec), "prod_wide", schema, mismatch)


RAISING, NULLING, WIDE_READER = reader(), reader("null"), ItemReader(WIDE_CODEC)


def rows(found: Any) -> list[dict[str, Any]]:
    (page,) = found.models
    return [as_given(row) for row in page.batch.to_pylist()]


def as_given(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "amount": Decimal(row["amount"])} if row.get("amount") else row


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(wides, max_size=4),
    st.lists(st.sets(st.sampled_from(OPTIONAL)), min_size=4, max_size=4),
)
def test_columns_are_what_the_models_say(models: list[Any], absent: list[set[str]]) -> None:
    items = [
        {name: value for name, value in WIDE_CODEC.encode(model).items() if name not in left_out}
        for model, left_out in zip(models, absent)
    ]
    body = body_of(items, last_key={"key": {"S": "x"}})
    compiled, generic = RAISING.counts.compiled, RAISING.counts.generic
    found = RAISING.page(Reply(body))
    assert RAISING.counts.compiled == compiled + len(models)
    expected = [
        {n: plain(getattr(m, n)) for n in type(m).model_fields}
        for m in WIDE_READER.page(Reply(body)).models
    ]
    assert rows(found) == expected
    assert (found.last_key, found.capacity, found.count) == (
        {"key": {"S": "x"}},
        {"CapacityUnits": 1.5},
        len(models),
    )
    other = RAISING.page(Reply(None, read_body(body)))
    assert RAISING.counts.generic == generic + len(models)
    assert other.models[0].batch.equals(found.models[0].batch)


NAMES = list(Wide.model_fields)[1:]


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(NAMES) - 1), st.lists(attribute_values, max_size=2))
def test_any_value_becomes_what_the_models_make_of_it(place: int, strange: list[Any]) -> None:
    item = {**WIDE_CODEC.encode(a_wide()), **dict(zip(NAMES[place:], strange))}
    body = body_of([item])
    found = NULLING.page(Reply(body)).models[0].batch
    assert found.equals(NULLING.page(Reply(None, read_body(body))).models[0].batch)


# ---- what does not fit ---------------------------------------------------------------------------

WRONG: dict[str, Any] = {
    "text": {"N": "1"},
    "whole": {"S": "one"},
    "real": {"S": "half"},
    "amount": {"S": "much"},
    "price": {"N": "1.2345"},
    "yes": {"S": "perhaps"},
    "data": {"N": "1"},
    "moment": {"S": "yesterday"},
    "iso": {"S": "2026-01-01T00:00:00"},
    "day": {"S": "2026-02-30"},
    "clock": {"S": "25:00"},
    "span": {"S": "long"},
    "seconds": {"N": "99999999999999"},
    "colour": {"S": "green"},
    "size": {"S": "l"},
    "level": {"N": "3"},
    "ident": {"S": "x"},
    "small": {"N": "1000"},
    "short": {"S": ""},
    "place": {"S": "Oslo"},
    "maybe_text": {"BOOL": True},
    "maybe_whole": {"N": "1.5"},
    "maybe_millis": {"S": "never"},
    "maybe_data": {"L": []},
    "needed": {"M": {}},
    "words": {"S": "a"},
    "gaps": {"L": [{"N": "1"}, {"S": "x"}]},
    "rows": {"L": [{"L": [{"BOOL": True}, {"S": "x"}]}]},
    "tags": {"N": "1"},
    "numbers": {"SS": ["x"]},
    "blobs": {"NS": ["1"]},
    "parts": {"L": [{"M": {"SKU": {"S": "s"}, "price": {"S": "cheap"}}}]},
    "maybe_place": {"M": {"street": {"S": "no city"}}},
}
PAGES, BAD_PAGE, MANY_PAGES = 8, 5, 50


def pages_with(column: str) -> list[bytes]:
    """Return pages, on one of them an item with a value that does not fit."""
    good = [WIDE_CODEC.encode(a_wide(key=f"good-{number}")) for number in range(3)]
    bad = {**WIDE_CODEC.encode(a_wide(key="bad")), column: WRONG[column]}
    return [body_of([*good, bad] if page == BAD_PAGE else good) for page in range(PAGES)]


def test_every_type_has_a_value_that_does_not_fit() -> None:
    assert set(WRONG) == set(type(a_wide()).model_fields) - {"key"}


@pytest.mark.slow
@pytest.mark.parametrize("column", WRONG)
def test_a_value_of_a_wrong_type_is_raised_with_table_key_column_and_stored_type(
    column: str,
) -> None:
    by_arrow = reader()
    good, *_, bad = sorted(pages_with(column), key=len)
    with pytest.raises(IncompatibleItemError) as refusal:
        for body in [*[good] * (MANY_PAGES - 1), bad]:
            by_arrow.page(Reply(body))
    error = refusal.value
    assert by_arrow.counts.compiled == (MANY_PAGES - 1) * 3
    assert error.key == {"key": "bad"}
    assert error.table_name == "prod_wide"
    assert f"stored as {next(iter(WRONG[column]))}" in error.message
    assert f"column '{column}" in error.message
    assert {problem["loc"][0] for problem in error.errors()} == {column}


@pytest.mark.parametrize("column", WRONG)
def test_a_value_of_a_wrong_type_is_null_and_nothing_else_is(column: str) -> None:
    by_arrow = reader("null")
    found = [row for body in pages_with(column) for row in rows(by_arrow.page(Reply(body)))]
    assert len(found) == PAGES * 3 + 1
    (bad,) = [row for row in found if row["key"] == "bad"]
    good = rows(reader().page(Reply(body_of([WIDE_CODEC.encode(a_wide(key="bad"))]))))
    assert bad == {**good[0], column: None}


@pytest.mark.parametrize("column", WRONG)
def test_an_item_that_does_not_fit_is_kept_apart_with_key_column_and_reason(column: str) -> None:
    by_arrow = reader("quarantine")
    found = [by_arrow.page(Reply(body)).models[0] for body in pages_with(column)]
    assert sum(page.batch.num_rows for page in found) == PAGES * 3
    apart = [entry for page in found for entry in page.quarantined]
    assert {(entry.key["key"], entry.column.split(".")[0]) for entry in apart} == {("bad", column)}
    assert all(f"stored as {next(iter(WRONG[column]))}" in entry.reason for entry in apart)


REQUIRED = [name for name, info in type(a_wide()).model_fields.items() if info.is_required()]


@pytest.mark.parametrize("name", [n for n in REQUIRED if n not in ("key", "needed")])
def test_a_missing_attribute_is_no_silent_null(name: str) -> None:
    item = WIDE_CODEC.encode(a_wide())
    del item[name]
    with pytest.raises(IncompatibleItemError, match=f"'{name}'.*not stored"):
        reader().page(Reply(body_of([item])))


def test_a_number_too_large_for_its_column_is_no_silent_null() -> None:
    item = {**WIDE_CODEC.encode(a_wide()), "whole": {"N": str(2**70)}}
    with pytest.raises(IncompatibleItemError, match=r"'whole' \(int64\).*stored as N") as refusal:
        reader().page(Reply(body_of([item])))
    assert str(2**70) not in refusal.value.message
    as_text = reader(schema=pa.schema([("whole", pa.string())]))
    assert rows(as_text.page(Reply(body_of([item])))) == [{"whole": str(2**70)}]


def test_under_null_an_item_nothing_can_be_blamed_for_is_raised() -> None:
    class Ordered(BaseModel):
        key: str
        low: int
        high: int

        @model_validator(mode="after")
        def _in_order(self) -> Any:
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    codec = Codec(Table("ordered", Ordered, partition_key="key"), Ordered)
    item = {"key": {"S": "k"}, "low": {"N": "2"}, "high": {"N": "1"}}
    with pytest.raises(IncompatibleItemError, match="low is above high"):
        reader("null", codec=codec).page(Reply(body_of([item])))
    found = reader("quarantine", codec=codec).page(Reply(body_of([item]))).models[0]
    assert [entry.column for entry in found.quarantined] == [""]


# ---- what the model makes of a value -------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "stored", "value"),
    [
        ("whole", {"N": "1E+2"}, 100),
        ("whole", {"N": "5.0"}, 5),
        ("whole", {"S": "5"}, 5),
        ("amount", {"N": "1E+2"}, Decimal(100)),
        ("ident", {"S": "00000000000000000000000000000001"}, str(UUID(int=1))),
        ("moment", {"S": "2026-01-01T00:00:00+01:00"}, NEW_YEAR - timedelta(hours=1)),
        ("moment", {"S": "2026-01-01 00:00:00Z"}, NEW_YEAR),
        ("tags", {"L": [{"S": "b"}, {"S": "a"}, {"S": "b"}]}, ["a", "b"]),
        ("maybe_whole", {"NULL": True}, None),
        ("yes", {"N": "1"}, True),
        ("text", {"S": '\n"\\\u2028\U0001f600\x00'}, '\n"\\\u2028\U0001f600\x00'),
    ],
)
def test_a_column_holds_what_the_model_would(column: str, stored: Any, value: Any) -> None:
    item = {**WIDE_CODEC.encode(a_wide()), column: stored}
    body = body_of([item])
    (row,) = rows(reader().page(Reply(body)))
    assert row[column] == value
    assert plain(getattr(ItemReader(WIDE_CODEC).page(Reply(body)).models[0], column)) == value


def test_a_page_on_many_lines_is_read_as_one() -> None:
    body = json.dumps(json.loads(body_of([WIDE_CODEC.encode(a_wide())])), indent=1).encode()
    by_arrow = reader()
    assert len(rows(by_arrow.page(Reply(body)))) == 1
    assert by_arrow.counts.compiled == 1


ODD_TEXTS = (
    "",
    "ünï\U0001f600\u2028",
    'say "}" and "},{"',
    '"',
    "\\",
    '\\"',
    '\\\\"}',
    '"},"key":{"S":"',
    " }],",
    '{}],"Count":1}',
    '{"Items":[',
    "a\nb\tc\x00\x1f\x7f",
    "/",
    "x" * 3000,
)


@pytest.mark.parametrize("in_ascii", [False, True])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
def test_odd_texts_are_read_as_they_are_stored(separators: tuple[str, str], in_ascii: bool) -> None:
    items = [{**WIDE_CODEC.encode(a_wide()), "key": {"S": text}} for text in ODD_TEXTS]
    page = json.loads(body_of(items))
    body = json.dumps(page, separators=separators, ensure_ascii=in_ascii).encode()
    by_arrow = reader()
    assert [row["key"] for row in rows(by_arrow.page(Reply(body)))] == list(ODD_TEXTS)
    assert by_arrow.counts.compiled == len(ODD_TEXTS)


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
from pydantic import BaseModel
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.arrow.reader import ArrowReader
from dynamodb_wrapper.serialization.json_body import Reply
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader

class Made(BaseModel):
    key: str
    number: int

table = Table("made", Made, partition_key="key")
found = ArrowReader(ItemReader(Codec(table, Made)), "made", None, "raise")
print(found.page(Reply(sys.argv[1].encode())).models[0].batch.to_pylist(), found.counts.compiled)
"""


def test_without_numpy_pages_are_read() -> None:
    body = body_of([{"key": {"S": "a"}, "number": {"N": "1"}}]).decode()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY, body], capture_output=True, text=True, check=False
    )
    if "numpy" in done.stderr:
        pytest.skip("this pyarrow needs numpy itself")
    assert done.stdout.strip() == "[{'key': 'a', 'number': 1}] 1", done.stderr


def test_a_page_of_megabytes_is_one_batch() -> None:
    item = WIDE_CODEC.encode(a_wide(text="x" * 1000))
    body = body_of([item] * 4000)
    by_arrow = reader()
    assert by_arrow.page(Reply(body)).models[0].batch.num_rows == by_arrow.counts.compiled == 4000
    assert len(body) > 4 * 2**20


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"Items":[null]}', b'{"Items":[{"key":{"S":1}}]}', b"\xff"]
)
def test_a_body_that_is_no_reply_is_an_error_of_ours(body: bytes) -> None:
    with pytest.raises((ServiceError, IncompatibleItemError)):
        reader().page(Reply(body))


@pytest.mark.parametrize("wrong", [b"m\xffrk", b"m\\ud800rk", b"m\xed\xa0\x80rk"])
def test_text_that_is_not_utf8_is_an_error_of_ours(wrong: bytes) -> None:
    body = body_of([WIDE_CODEC.encode(a_wide(text="mark"))]).replace(b"mark", wrong)
    with pytest.raises(ServiceError):
        reader().page(Reply(body))


def test_a_reply_without_items_has_no_rows() -> None:
    found = reader().page(Reply(b'{"Count":0,"ScannedCount":0}'))
    assert (found.models[0].batch.num_rows, found.last_key, found.capacity) == (0, None, None)


# ---- what Arrow cannot read ----------------------------------------------------------------------

LOOSE_ITEMS: list[Any] = [
    {"key": {"S": "a"}, "count": {"N": "1"}},
    {
        "key": {"S": "b"},
        "expires_at": {"N": "4102444800"},
        "labels": {"M": {"x": {"N": "1"}, "y": {"N": "2"}}},
        "details": {"M": {"deep": {"L": [{"N": "1.5"}, {"NULL": True}, {"S": "ü"}]}}},
        "anything": {"SS": ["b", "a"]},
        "either": {"S": "text"},
        "patterned": {"S": "abc"},
        "trimmed": {"S": "  x  "},
    },
    {"key": {"S": "gone"}, "expires_at": {"N": "5"}, "count": {"S": "wrong, but expired"}},
]


def test_fields_arrow_cannot_read_are_read_by_the_model_beside_the_others() -> None:
    by_arrow = reader(codec=LOOSE_CODEC)
    found = rows(by_arrow.page(Reply(body_of(LOOSE_ITEMS))))
    assert by_arrow.counts.compiled == 2
    assert found[1] == {
        "key": "b",
        "count": 0,
        "expires_at": datetime(2100, 1, 1, tzinfo=timezone.utc),
        "labels": [("x", 1), ("y", 2)],
        "details": '{"deep":[1.5,null,"ü"]}',
        "anything": '["a","b"]',
        "either": '"text"',
        "patterned": "abc",
        "trimmed": "x",
    }
    assert found == rows(reader(codec=LOOSE_CODEC).page(Reply(None, {"Items": LOOSE_ITEMS})))


@pytest.mark.parametrize(
    ("column", "stored"), [("patterned", {"S": "ABC"}), ("labels", {"M": {"x": {"S": "y"}}})]
)
def test_what_only_the_model_can_check_is_checked(column: str, stored: Any) -> None:
    item = {**LOOSE_ITEMS[0], column: stored}
    with pytest.raises(IncompatibleItemError, match=f"'{column}"):
        reader(codec=LOOSE_CODEC).page(Reply(body_of([item])))


class Shouting(BaseModel):
    key: str
    text: str

    @field_validator("text")
    @classmethod
    def _loud(cls, value: str) -> str:
        return value.upper()


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, str_to_upper=True)
    key: str
    text: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: str
    text: str = "HELLO"


@pytest.mark.parametrize("model", [Shouting, Stripped])
def test_validators_and_settings_of_the_model_count(model: Any) -> None:
    codec = Codec(Table("own", model, partition_key="key"), model)
    body = body_of([{"key": {"S": "K"}, "text": {"S": "hello"}}])
    assert rows(reader(codec=codec).page(Reply(body))) == [{"key": "K", "text": "HELLO"}]


def test_an_attribute_a_model_forbids_is_refused() -> None:
    codec = Codec(Table("own", Closed, partition_key="key"), Closed)
    item = {"key": {"S": "K"}, "more": {"S": "x"}}
    with pytest.raises(IncompatibleItemError, match="more"):
        reader(codec=codec).page(Reply(body_of([item])))
    assert rows(reader(codec=codec).page(Reply(body_of([{"key": {"S": "K"}}]))))


# ---- schemas -------------------------------------------------------------------------------------


def test_a_schema_chooses_columns_their_order_and_types() -> None:
    schema = pa.schema(
        [("whole", pa.int32()), ("amount", pa.decimal128(20, 4)), ("text", pa.large_string())]
    )
    by_arrow = reader(schema=schema)
    found = by_arrow.page(Reply(body_of([WIDE_CODEC.encode(a_wide())]))).models[0]
    assert found.batch.schema == schema
    assert found.batch.to_pylist() == [{"whole": 1, "amount": Decimal("1.5000"), "text": "t"}]
    assert by_arrow.counts.compiled == 1


def test_a_column_that_was_not_asked_for_does_not_matter() -> None:
    item = {**WIDE_CODEC.encode(a_wide()), "yes": {"S": "perhaps"}, "whole": {"N": "1E+2"}}
    by_arrow = reader(schema=pa.schema([("whole", pa.int64())]))
    assert rows(by_arrow.page(Reply(body_of([item])))) == [{"whole": 100}]


def test_a_schema_with_what_is_no_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="nowhere"):
        reader(schema=pa.schema([("nowhere", pa.int64())]))
