"""Columns that reading made hold what `get` gives, and become the same items again."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

import pytest
from pydantic import BaseModel, ConfigDict, Field, Json
from pydantic.dataclasses import dataclass
from typing_extensions import NotRequired, TypedDict

from dynamodb_wrapper.arrow.frames import ColumnReader, map_items, to_pandas, to_polars
from dynamodb_wrapper.exceptions import IncompatibleItemError, ValidationError
from dynamodb_wrapper.models import EpochSeconds, IsoDatetime, UtcDatetime
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply
from tests.support.decoder_comparison import body_of, codec_of, holder, name_of

pa = pytest.importorskip("pyarrow")

DIGITS = Decimal("0.12345678901234567890")


class Kind(Enum):
    CAT = "cat"


class Day(Enum):
    FIRST = date(2026, 1, 1)


class Span(Enum):
    SHORT = timedelta(seconds=1.5)


class Raw(Enum):
    X = b"\xff"


class Inner(BaseModel):
    size: int = Field(alias="innerSize")


class Other(BaseModel):
    color: str = Field(alias="itsColor")


@dataclass
class Point:
    a: int
    free: Any
    data: bytes = b"\xff"
    words: Optional[list[str]] = None


class Typed(TypedDict):
    a: int
    free: Any
    day: NotRequired[date]


class Pair(NamedTuple):
    a: int
    note: Optional[str]
    kind: Day = Day.FIRST


def arrow(table: Any) -> Any:
    return table


def pandas(table: Any) -> Any:
    pytest.importorskip("pandas")
    return to_pandas(table, {})


def pandas_of_arrow(table: Any) -> Any:
    types = pytest.importorskip("pandas").ArrowDtype
    return to_pandas(table, {"types_mapper": types})


def polars(table: Any) -> Any:
    pytest.importorskip("polars")
    return to_polars(table)


FRAMES: list[Callable[[Any], Any]] = [arrow, pandas, pandas_of_arrow, polars]
made = pytest.mark.parametrize("made", FRAMES)


def table_of(codec: Any, *pages: list[Any], schema: Any = None, mismatch: Any = "raise") -> Any:
    """Return the table of some pages of items."""
    columns = ColumnReader(ItemReader(codec), "made", schema, mismatch)
    replies = [Reply(body_of({"Items": page, "Count": len(page)})) for page in pages]
    return columns.table(columns.page(columns.read(reply).models).batch for reply in replies)


VALUES: list[tuple[Any, Any, Any]] = [
    (Any, {"a": [1.5, DIGITS, 2, "t"]}, '{"a":[1.5,0.12345678901234567890,2,"t"]}'),
    (Any, "text", '"text"'),
    (Union[list[Any], dict[str, Any], None], [1.5], "[1.5]"),
    (Union[Decimal, str], Decimal("1.5"), "1.5"),
    (Union[Decimal, str], "1.5", '"1.5"'),
    (Union[int, str], "5", '"5"'),
    (list[Any], [DIGITS, 1], "[0.12345678901234567890,1]"),
    (deque[int], deque([1, 2]), "[1,2]"),
    (dict[str, Union[int, str]], {"a": "1", "b": 2}, [("a", '"1"'), ("b", "2")]),
    (dict[date, int], {date(2026, 1, 1): 1}, [("2026-01-01", 1)]),
    (dict[timedelta, int], {timedelta(days=1, seconds=1): 1}, [("P1DT1S", 1)]),
    (dict[Day, int], {Day.FIRST: 1}, [("2026-01-01", 1)]),
    (Json, ["a", 1.5], '["a",1.5]'),
    (Json, "a", '"a"'),
    (Json[list[int]], [1, 2], [1, 2]),
    (list[Json[Any]], [["a"], "b"], ['["a"]', '"b"']),
    (Literal[Kind.CAT], Kind.CAT, "cat"),
    (list[Kind], [Kind.CAT], ["cat"]),
    (Day, Day.FIRST, '"2026-01-01"'),
    (set[Day], {Day.FIRST}, ['"2026-01-01"']),
    (Span, Span.SHORT, "1.5"),
    (Raw, Raw.X, b"\xff"),
    (Union[Inner, Other], Inner(innerSize=1), '{"innerSize":1}'),
    (Point, Point(1, 1.5), {"a": 1, "free": "1.5", "data": b"\xff", "words": None}),
    (Optional[Point], None, None),
    (
        list[Point],
        [Point(1, [DIGITS], b"", ["w"])],
        [{"a": 1, "free": "[0.12345678901234567890]", "data": b"", "words": ["w"]}],
    ),
    (Typed, {"a": 1, "free": None}, {"a": 1, "free": None, "day": None}),
    (
        Typed,
        {"a": 1, "free": "x", "day": date(2026, 1, 1)},
        {"a": 1, "free": '"x"', "day": date(2026, 1, 1)},
    ),
    (Pair, Pair(1, None), {"a": 1, "note": None, "kind": '"2026-01-01"'}),
    (list[Pair], [Pair(1, "n")], [{"a": 1, "note": "n", "kind": '"2026-01-01"'}]),
]


@made
@pytest.mark.parametrize(("annotation", "value", "column"), VALUES, ids=name_of)
def test_a_column_holds_the_value_and_becomes_the_same_item(
    annotation: Any, value: Any, column: Any, made: Callable[[Any], Any]
) -> None:
    model = holder(annotation)
    codec = codec_of(model)
    item = model.model_construct(id="x", value=value)
    stored = codec.encode(item)
    table = table_of(codec, [stored])
    assert table.column("value").to_pylist() == [column]
    (written,) = map_items(made(table), model, codec.encode)
    assert codec.decode(written) == codec.decode(stored)
    assert codec.decode(written).value == value


def test_a_dict_of_the_user_is_taken_as_it_is() -> None:
    pd = pytest.importorskip("pandas")
    model = holder(dict[str, Union[int, str]])
    frame = pd.DataFrame({"id": ["x"], "value": [{"a": "text", "b": 1}]})
    (written,) = map_items(frame, model, lambda item: item)
    assert written.value == {"a": "text", "b": 1}


def test_null_with_a_default_is_the_default_in_columns_as_well() -> None:
    model = holder(list[str], ["a"])
    item = {"id": {"S": "x"}, "value": {"NULL": True}}
    present = {"id": {"S": "y"}, "value": {"L": [{"S": "b"}]}}
    table = table_of(codec_of(model), [item, present], [present])
    assert table.column("value").to_pylist() == [["a"], ["b"], ["b"]]


# ---- nanoseconds ---------------------------------------------------------------------------------

BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
TICK = timedelta(microseconds=2)
NANOSECONDS: list[tuple[Any, Any, Any]] = [
    (UtcDatetime, pa.timestamp("ns", "UTC"), BEGIN + TICK),
    (IsoDatetime, pa.timestamp("ns", "UTC"), BEGIN + TICK),
    (EpochSeconds, pa.timestamp("ns", "UTC"), BEGIN),
    (timedelta, pa.duration("ns"), TICK),
    (time, pa.time64("ns"), time(0, 0, 0, 2)),
]


@pytest.mark.parametrize("made", [arrow, pandas_of_arrow, polars])
@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize(("annotation", "type_", "expected"), NANOSECONDS, ids=name_of)
def test_nanoseconds_are_refused_with_their_row(
    annotation: Any, type_: Any, expected: Any, is_list: bool, made: Callable[[Any], Any]
) -> None:
    pytest.importorskip("pandas")
    model = holder(list[annotation] if is_list else annotation)  # type: ignore[misc]
    codec = codec_of(model)
    values = pa.array([2_000, 3_001], pa.int64()).cast(type_)
    if is_list:
        values = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), values)
    table = pa.table({"id": ["a", "b"], "value": values})
    with pytest.raises(ValidationError, match="Row 1, column 'value': it has nanoseconds"):
        list(map_items(made(table), model, codec.encode))
    (whole,) = map_items(made(table.slice(0, 1)), model, codec.encode)
    found = codec.decode(whole).value
    assert (found[0] if is_list else found) == expected


@pytest.mark.parametrize("kind", ["Timestamp", "Timedelta"])
def test_nanoseconds_of_a_pandas_frame_are_refused(kind: str) -> None:
    pd = pytest.importorskip("pandas")
    model = holder(UtcDatetime if kind == "Timestamp" else timedelta)
    value = pd.Timestamp(1, tz="UTC") if kind == "Timestamp" else pd.Timedelta(1)
    for dtype in (None, object):
        frame = pd.DataFrame({"id": ["a"], "value": pd.Series([value], dtype=dtype)})
        with pytest.raises(ValidationError, match="Row 0, column 'value': it has nanoseconds"):
            list(map_items(frame, model, codec_of(model).encode))


def test_scalars_of_numpy_in_a_pandas_frame_are_their_python_values() -> None:
    pd, np = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    model = holder(Any)
    frame = pd.DataFrame(
        {
            "id": [np.str_("a"), "b", "c"],
            "value": pd.Series([np.int64(4), np.timedelta64(1500, "ms"), pd.NA], dtype=object),
        }
    )
    codec = codec_of(model)
    found = [item.get("value") for item in map_items(frame, model, codec.encode)]
    assert found == [{"N": "4"}, {"N": "1.500000"}, None]


# ---- extra attributes ----------------------------------------------------------------------------


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    a: int = 0


LOOSE = codec_of(Loose)
ITEMS = [
    Loose.model_validate({"id": "1", "color": "red", "price": 1.5}),
    Loose.model_validate({"id": "2", "size": [1, {"b": DIGITS}], "copy": True}),
    Loose(id="3"),
]
STORED = [LOOSE.encode(item) for item in ITEMS]


@made
def test_extra_attributes_are_columns_of_json_and_are_written_back(made: Any) -> None:
    table = table_of(LOOSE, STORED[:1], STORED[1:2], STORED[2:])
    assert table.schema.names == ["id", "a", "color", "copy", "price", "size"]
    assert table.column("color").to_pylist() == ['"red"', None, None]
    assert table.column("copy").to_pylist() == [None, "true", None]
    assert json.loads(table.column("size").to_pylist()[1], parse_float=Decimal) == [
        1,
        {"b": DIGITS},
    ]
    assert list(map_items(made(table), Loose, LOOSE.encode)) == STORED


def test_extra_attributes_are_the_same_for_one_page_and_for_many() -> None:
    assert table_of(LOOSE, STORED).equals(table_of(LOOSE, STORED[:2], STORED[2:]).combine_chunks())


def test_a_table_without_items_has_the_declared_columns() -> None:
    assert table_of(LOOSE).schema.names == table_of(LOOSE, []).schema.names == ["id", "a"]


def test_a_schema_chooses_extra_attributes_and_their_types() -> None:
    schema = pa.schema(
        [
            ("size", pa.string()),
            ("price", pa.float64()),
            ("id", pa.string()),
            ("copy", pa.bool_()),
            ("missing", pa.int32()),
        ]
    )
    table = table_of(LOOSE, STORED, schema=schema)
    assert table.schema == schema
    assert table.to_pylist()[0] == {
        "size": None,
        "price": 1.5,
        "id": "1",
        "copy": None,
        "missing": None,
    }
    assert table.column("copy").to_pylist() == [None, True, None]


@pytest.mark.parametrize("mismatch", ["raise", "null"])
def test_an_extra_attribute_that_does_not_fit_its_type_is_named(mismatch: str) -> None:
    schema = pa.schema([("id", pa.string()), ("color", pa.int64())])
    if mismatch == "raise":
        with pytest.raises(IncompatibleItemError, match=r"column 'color'.*stored as S"):
            table_of(LOOSE, STORED, schema=schema)
    else:
        table = table_of(LOOSE, STORED, schema=schema, mismatch=mismatch)
        assert table.column("color").to_pylist() == [None] * 3


def test_a_model_without_extra_attributes_refuses_other_columns() -> None:
    model = holder(int)
    with pytest.raises(ValidationError, match="names other"):
        table_of(codec_of(model), [], schema=pa.schema([("other", pa.string())]))


def test_a_text_of_an_extra_attribute_that_is_no_json_is_refused() -> None:
    table = pa.table({"id": ["a"], "color": ["red"]})
    with pytest.raises(ValidationError, match="Row 0, column 'color': it is no JSON text"):
        list(map_items(table, Loose, LOOSE.encode))


def test_an_extra_attribute_with_the_name_of_a_renamed_field_is_refused() -> None:
    class Renamed(BaseModel):
        model_config = ConfigDict(extra="allow")
        id: str
        a: Annotated[int, Field(alias="b")] = 0

    codec = codec_of(Renamed)
    item = {"id": {"S": "x"}, "b": {"N": "1"}, "a": {"S": "other"}}
    with pytest.raises(ValidationError, match="extra attributes 'a'"):
        table_of(codec, [item])
