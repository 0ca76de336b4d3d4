"""Every legal value is read back equal to what was written."""

from __future__ import annotations

import math
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar, Union
from uuid import UUID, uuid4

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, create_model

from dynamodb_wrapper.exceptions import IncompatibleItemError, ItemTooLargeError, ValidationError
from dynamodb_wrapper.models import (
    EpochMillis,
    EpochSeconds,
    IsoDatetime,
    JsonDict,
    PipelineConfig,
    Table,
    UtcDatetime,
)
from dynamodb_wrapper.models.control_tables import PIPELINE_CONFIG
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.values import decode_item, encode_value, item_body, item_size

T = TypeVar("T")
LARGEST = Decimal("9." + "9" * 37 + "E+125")


class Color(str, Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Inner(BaseModel):
    needed: Optional[int]
    numbers: set[int]
    free: dict[str, Any] = Field(default_factory=dict)
    name: str = Field(default="", alias="innerName")


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: Optional[int]
    toys: set[str]
    shape: dict[str, Any] = Field(default_factory=dict)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]
    weight: float


class Box(BaseModel, Generic[T]):
    content: T
    others: list[T]


class Prices(RootModel[dict[str, Decimal]]):
    pass


def stored_and_read(annotation: Any, value: Any, **config: Any) -> tuple[Any, Any]:
    """Return a value as its model holds it, and as it is read back."""
    base = create_model("Base", __config__=ConfigDict(**config)) if config else None
    model: Any = create_model("Holder", __base__=base, id=(str, ...), value=(annotation, ...))
    item = model(id="x", value=value)
    codec = Codec(Table("t", model, partition_key="id"), model)
    return item.value, codec.decode(codec.encode(item)).value


def assert_round_trip(annotation: Any, value: Any, **config: Any) -> None:
    taken, found = stored_and_read(annotation, value, **config)
    assert found == taken
    assert type(found) is type(taken)


# ---- values of one type --------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
whole = st.integers(-(10**38) + 1, 10**38 - 1)
decimals = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
    st.integers(0, 1),
    st.integers(1, 10**38 - 1),
    st.integers(-130, 88),
)
floats = st.floats(-1e125, 1e125, allow_nan=False).filter(lambda f: f == 0 or abs(f) >= 1e-130)
moments = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=5, minutes=30))]),
)
json_scalars = st.none() | st.booleans() | whole | texts | floats.filter(lambda f: f % 1 != 0)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
inners = st.builds(
    Inner,
    needed=st.none() | whole,
    numbers=st.sets(whole, max_size=3),
    free=st.dictionaries(texts, json_values, max_size=2),
    innerName=texts,
)
cats = st.builds(Cat, lives=st.none() | whole, toys=st.sets(texts, max_size=2))
dogs = st.builds(Dog, tricks=st.lists(texts, max_size=2), weight=floats)

SCALARS: list[tuple[Any, Any]] = [
    (str, texts),
    (bytes, st.binary(max_size=20)),
    (bool, st.booleans()),
    (int, whole),
    (float, floats),
    (Decimal, decimals),
    (datetime, moments),
    (UtcDatetime, moments),
    (IsoDatetime, moments),
    (EpochSeconds, moments),
    (EpochMillis, moments),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
]
MEMBERS = [pair for pair in SCALARS if pair[0] not in (bool, IsoDatetime)]
CONTAINERS: list[tuple[Any, Any]] = [
    (Inner, inners),
    (list[Inner], st.lists(inners, max_size=2)),
    (dict[str, Inner], st.dictionaries(texts, inners, max_size=2)),
    (Optional[Inner], st.none() | inners),
    (Union[Inner, str], inners | texts),
    (Union[Inner, int, None], inners | whole | st.none()),
    (Union[Cat, Dog], cats | dogs),
    (list[Union[Cat, Dog]], st.lists(cats | dogs, max_size=3)),
    (dict[str, Union[Cat, Dog, None]], st.dictionaries(texts, cats | dogs | st.none(), max_size=2)),
    (Annotated[Union[Cat, Dog], Field(discriminator="kind")], cats | dogs),
    (Union[Cat, list[Cat]], cats | st.lists(cats, max_size=2)),
    (dict[str, Any], st.dictionaries(texts, json_values, max_size=4)),
    (JsonDict, st.dictionaries(texts, json_values, max_size=4)),
    (Any, json_values),
    (tuple[int, str, Decimal], st.tuples(whole, texts, decimals)),
    (tuple[int, ...], st.lists(whole, max_size=3).map(tuple)),
    (tuple[Inner, dict[str, Any]], st.tuples(inners, st.dictionaries(texts, json_values))),
    (list[list[int]], st.lists(st.lists(whole, max_size=2), max_size=2)),
    (list[set[int]], st.lists(st.sets(whole, max_size=2), max_size=2)),
    (dict[str, set[str]], st.dictionaries(texts, st.sets(texts, max_size=2), max_size=2)),
    (dict[str, dict[str, Optional[Decimal]]], st.just({"a": {"b": None, "c": Decimal("0.1")}})),
    (deque[int], st.lists(whole, max_size=3).map(deque)),
    (frozenset[str], st.frozensets(texts, max_size=3)),
    (Box[int], st.builds(Box[int], content=whole, others=st.lists(whole, max_size=2))),
    (
        Box[Optional[Inner]],
        st.builds(Box[Optional[Inner]], content=st.none() | inners, others=st.just([None])),
    ),
    (Prices, st.dictionaries(texts, decimals, max_size=3).map(Prices)),
    (list[Prices], st.dictionaries(texts, decimals, max_size=3).map(lambda d: [Prices(d)])),
    (Union[int, str], whole | texts),
    (Union[bytes, str], st.binary(max_size=5) | texts),
    (Union[int, Decimal, str], whole | texts),
    (Union[bool, str], st.booleans() | texts),
]


@pytest.mark.parametrize(("annotation", "values"), SCALARS, ids=str)
def test_a_scalar_comes_back(annotation: Any, values: Any) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(value=values)
    def check(value: Any) -> None:
        assert_round_trip(annotation, value)

    check()


@pytest.mark.parametrize(("annotation", "values"), SCALARS, ids=str)
def test_an_optional_scalar_comes_back(annotation: Any, values: Any) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(value=st.none() | values)
    def check(value: Any) -> None:
        assert_round_trip(Optional[annotation], value)

    check()


@pytest.mark.parametrize(("annotation", "values"), MEMBERS, ids=str)
def test_a_list_and_a_dict_of_scalars_come_back(annotation: Any, values: Any) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(members=st.lists(values, max_size=3), named=st.dictionaries(texts, values, max_size=3))
    def check(members: Any, named: Any) -> None:
        assert_round_trip(list[annotation], members)
        assert_round_trip(dict[str, annotation], named)

    check()


@pytest.mark.parametrize(
    ("annotation", "values"), [p for p in MEMBERS if p[0] != Literal["a", 1]], ids=str
)
def test_a_set_of_scalars_comes_back(annotation: Any, values: Any) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(members=st.sets(values, max_size=4))
    def check(members: Any) -> None:
        assert_round_trip(set[annotation], members)

    check()


@pytest.mark.slow
@pytest.mark.parametrize(("annotation", "values"), CONTAINERS, ids=str)
def test_a_container_comes_back(annotation: Any, values: Any) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(value=values)
    def check(value: Any) -> None:
        assert_round_trip(annotation, value)

    check()


@pytest.mark.parametrize(
    ("annotation", "key"),
    [
        (int, 5),
        (float, 1.5),
        (Decimal, Decimal("1.5")),
        (bool, True),
        (date, date(2026, 1, 1)),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone.utc)),
        (timedelta, timedelta(days=1, microseconds=5)),
        (UUID, uuid4()),
        (Color, Color.RED),
        (Level, Level.HIGH),
    ],
    ids=str,
)
def test_a_dict_with_typed_keys_comes_back(annotation: Any, key: Any) -> None:
    assert_round_trip(dict[annotation, int], {key: 1})


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, ""),
        (bytes, b""),
        (list[int], []),
        (dict[str, int], {}),
        (set[int], set()),
        (Optional[set[int]], None),
        (Optional[set[int]], set()),
        (Optional[int], None),
        (Any, None),
        (object, None),
        (tuple[()], ()),
    ],
    ids=str,
)
def test_an_empty_value_comes_back(annotation: Any, value: Any) -> None:
    assert_round_trip(annotation, value)


@pytest.mark.parametrize(
    "value",
    [
        Decimal(0),
        Decimal("-0"),
        LARGEST,
        LARGEST.copy_negate(),
        Decimal("1E-130"),
        Decimal("-1E-130"),
        Decimal("1." + "0" * 60),
        Decimal("1" + "0" * 100),
        Decimal("0." + "0" * 50 + "1"),
        Decimal("1E+125"),
        Decimal("12345678901234567890123456789012345678"),
        Decimal("0.12345678901234567890123456789012345678"),
    ],
    ids=str,
)
def test_a_number_at_the_edge_comes_back(value: Decimal) -> None:
    assert_round_trip(Decimal, value)


def test_whole_numbers_in_free_dicts_come_back_as_int_and_others_as_float() -> None:
    value = {"a": 1, "b": 1.5, "c": [2, 2.5], "d": {"e": 3, "f": 0.1}, "g": 10**30}
    _, found = stored_and_read(dict[str, Any], value)
    assert found == value
    assert [type(found["a"]), type(found["b"]), type(found["d"]["f"])] == [int, float, float]


def test_a_frozen_model_comes_back() -> None:
    assert_round_trip(datetime, datetime(2026, 1, 1, tzinfo=timezone.utc), frozen=True)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, datetime(2026, 1, 1, tzinfo=timezone.utc)),
        (date, date(2026, 1, 1)),
        (UUID, UUID(int=5)),
        (tuple[int, ...], (1, 2)),
        (set[int], {1}),
        (float, 2.0),
        (Decimal, Decimal("1.5")),
        (timedelta, timedelta(seconds=1)),
        (Color, Color.RED),
        (frozenset[str], frozenset()),
    ],
    ids=str,
)
def test_a_strict_model_comes_back(annotation: Any, value: Any) -> None:
    assert_round_trip(annotation, value, strict=True)


def test_extra_values_of_a_model_that_allows_them_come_back() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        id: str

    item = Open.model_validate({"id": "x", "more": {"n": 1, "f": 1.5}, "text": "t", "none": None})
    codec = Codec(Table("t", Open, partition_key="id"), Open)
    assert codec.decode(codec.encode(item)) == item


@pytest.mark.parametrize("settings_", [{}, {"populate_by_name": True}], ids=str)
def test_aliases_come_back_and_are_the_stored_names(settings_: Any) -> None:
    class Aliased(BaseModel):
        model_config = ConfigDict(**settings_)
        item_id: str = Field(alias="itemId")
        total: int = Field(alias="grandTotal")
        only_out: Optional[str] = Field(default=None, serialization_alias="out")
        only_in: Optional[str] = Field(default=None, validation_alias="in")

    item = Aliased.model_validate({"itemId": "x", "grandTotal": 5, "only_out": "o", "in": "i"})
    codec = Codec(Table("t", Aliased, partition_key="item_id"), Aliased)
    stored = codec.encode(item)
    assert set(stored) == {"itemId", "grandTotal", "out", "only_in"}
    assert codec.decode(stored) == item


def test_user_fields_may_have_the_names_our_documents_use() -> None:
    class Named(BaseModel):
        id: str
        kind: str
        schema_version: int

    item = Named(id="x", kind="k", schema_version=7)
    codec = Codec(Table("t", Named, partition_key="id"), Named)
    assert codec.decode(codec.encode(item)) == item


class Node(BaseModel):
    id: str
    children: list[Node] = Field(default_factory=list)
    friend: Optional[Node] = None


def test_a_model_that_holds_itself_comes_back() -> None:
    item = Node(id="a", children=[Node(id="b", friend=Node(id="c"))])
    codec = Codec(Table("t", Node, partition_key="id"), Node)
    assert codec.decode(codec.encode(item)) == item


# ---- the form in which values are stored ---------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", {"S": "text"}),
        ("", {"S": ""}),
        (b"\x00", {"B": b"\x00"}),
        (True, {"BOOL": True}),
        (None, {"NULL": True}),
        (5, {"N": "5"}),
        (1.5, {"N": "1.5"}),
        (0.1, {"N": "0.1"}),
        (-0.0, {"N": "0"}),
        (Decimal("1.10"), {"N": "1.10"}),
        (Color.RED, {"S": "red"}),
        (Level.LOW, {"N": "1"}),
        (date(2026, 1, 2), {"S": "2026-01-02"}),
        (timedelta(seconds=1, microseconds=5), {"N": "1.000005"}),
        (UUID(int=1), {"S": "00000000-0000-0000-0000-000000000001"}),
        ({"a"}, {"SS": ["a"]}),
        ({1}, {"NS": ["1"]}),
        ({b"a"}, {"BS": [b"a"]}),
        ([1, "a"], {"L": [{"N": "1"}, {"S": "a"}]}),
        ({"a": None}, {"M": {"a": {"NULL": True}}}),
    ],
    ids=str,
)
def test_a_value_is_stored_as(value: Any, expected: Any) -> None:
    assert encode_value(value, "here") == expected


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 1, tzinfo=timezone.utc),
        datetime(1, 1, 1, tzinfo=timezone.utc),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
    ids=str,
)
def test_a_time_stamp_always_has_27_characters(moment: datetime) -> None:
    assert len(encode_value(moment, "here")["S"]) == 27


@settings(max_examples=50, deadline=None, database=None)
@given(first=moments, second=moments)
def test_stored_time_stamps_sort_by_time(first: datetime, second: datetime) -> None:
    texts_ = [encode_value(moment, "here")["S"] for moment in (first, second)]
    assert (texts_[0] < texts_[1]) == (first < second)


def test_none_and_empty_sets_are_not_stored() -> None:
    model: Any = create_model(
        "M", id=(str, ...), a=(Optional[int], None), b=(set[int], ...), c=(Optional[int], ...)
    )
    codec = Codec(Table("t", model, partition_key="id"), model)
    assert set(codec.encode(model(id="x", a=None, b=set(), c=None))) == {"id"}


def test_none_is_stored_where_absence_means_something_else() -> None:
    model: Any = create_model("M", id=(str, ...), a=(Optional[int], 5))
    codec = Codec(Table("t", model, partition_key="id"), model)
    assert codec.encode(model(id="x", a=None))["a"] == {"NULL": True}


@settings(max_examples=50, deadline=None, database=None)
@given(value=st.dictionaries(texts, json_values, max_size=4))
def test_boto3_reads_every_stored_value(value: dict[str, Any]) -> None:
    read = TypeDeserializer().deserialize(encode_value(value, "here"))
    assert str(decode_item({"v": encode_value(value, "here")})["v"].keys()) == str(read.keys())


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "NaN"),
        (math.inf, "infinity"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "infinity"),
        (10**38 + 1, "39 significant digits"),
        (Decimal("1." + "1" * 38), "39 significant digits"),
        (10**126, "9.99e125"),
        (10**5000, "9.99e125"),
        (Decimal("1E+126"), "9.99e125"),
        (1e300, "9.99e125"),
        (Decimal("9E-131"), "1e-130"),
        (5e-324, "1e-130"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        (datetime(2026, 1, 1), "no time zone"),
        ({1, "a"}, "text only"),
        ({True}, "text only"),
        ({(1, 2)}, "text only"),
        ({b"k": 1}, "key of a map"),
        ({1: "a", "1": "b"}, "same text"),
        (SecretStr("hunter2"), "secrets stay out"),
        (object(), "cannot be stored"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_dynamodb_cannot_hold_is_refused_naming_the_place_and_not_the_value(
    value: Any, message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        encode_value({"inner": [value]}, "Order.details")
    assert "Order.details.inner[0]" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["", None])
def test_an_empty_or_missing_key_is_refused_before_sending(key: Any) -> None:
    model: Any = create_model("M", id=(Optional[str], ...))
    codec = Codec(Table("things", model, partition_key="id"), model)
    with pytest.raises(ValidationError, match=r"'things'.*'id'"):
        codec.encode(model(id=key))


@pytest.mark.parametrize("text", ["a" * 2048, "é" * 1024], ids=len)
def test_a_key_may_have_2048_bytes(text: str) -> None:
    model: Any = create_model("M", id=(str, ...))
    codec = Codec(Table("things", model, partition_key="id"), model)
    assert codec.encode(model(id=text))["id"] == {"S": text}


@pytest.mark.parametrize("text", ["a" * 2049, "é" * 1025], ids=len)
def test_a_partition_key_over_2048_bytes_is_refused(text: str) -> None:
    model: Any = create_model("M", id=(str, ...))
    codec = Codec(Table("things", model, partition_key="id"), model)
    with pytest.raises(ValidationError, match="2048"):
        codec.encode(model(id=text))


def test_a_sort_key_over_1024_bytes_is_refused() -> None:
    model: Any = create_model("M", id=(str, ...), at=(str, ...))
    codec = Codec(Table("things", model, partition_key="id", sort_key="at"), model)
    with pytest.raises(ValidationError, match="1024"):
        codec.encode(model(id="x", at="a" * 1025))


def test_an_item_over_400_kb_is_refused_naming_its_largest_attribute() -> None:
    item = {"id": {"S": "x"}, "blob": {"B": b"x" * 500_000}}
    with pytest.raises(ItemTooLargeError, match="'blob' with 500,000 bytes") as caught:
        item_body(item, "dev_things", ["id"])
    assert caught.value.size_bytes == item_size(item)
    assert caught.value.key == {"id": "x"}


def test_an_item_of_exactly_400_kb_is_accepted() -> None:
    item = {"id": {"S": "x"}, "blob": {"B": b"x" * (400 * 1024 - 7)}}
    item_body(item, "dev_things", ["id"])
    assert item_size(item) == 400 * 1024


def test_an_item_that_does_not_fit_is_refused_naming_table_key_and_field() -> None:
    codec = Codec(PIPELINE_CONFIG, PipelineConfig)
    with pytest.raises(IncompatibleItemError) as caught:
        codec.decode({"pipeline_id": {"S": "p1"}, "is_active": {"S": "s3cr3t"}})
    assert "'p1'" in str(caught.value)
    assert "pipeline_config" in str(caught.value)
    assert "is_active" in str(caught.value)
    assert "s3cr3t" not in str(caught.value) + str(caught.value.errors())


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "true", "1", "null"])
def test_a_text_is_never_guessed_to_be_something_else(text: str) -> None:
    _, found = stored_and_read(dict[str, Any], {"a": text})
    assert found == {"a": text}
    assert_round_trip(Union[str, datetime], text)
