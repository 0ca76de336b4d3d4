"""What a model writes it reads again: by both decoders, as the same value of the same type."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from dynamodb_wrapper.exceptions import IncompatibleItemError, ValidationError
from dynamodb_wrapper.models import JsonDict, UtcDatetime
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply
from dynamodb_wrapper.serialization.values import decode_free, encode_value
from tests.support.decoder_comparison import (
    KEY,
    assert_compiled,
    body_of,
    codec_of,
    described,
    holder,
    name_of,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
UID = UUID(int=7)
DIGITS = Decimal("0.12345678901234567890123456789012345678")


class Kind(Enum):
    CAT = "cat"
    DOG = "dog"


class Share(Enum):
    TENTH = 0.1
    WHOLE = 2.0
    MANY = 1e20


class Size(Enum):
    SMALL = (1, 2)
    NAMED = ("x",)


class Day(Enum):
    FIRST = date(2026, 1, 1)


class Moment(Enum):
    NOON = NOON


class Span(Enum):
    SHORT = timedelta(microseconds=1_500_001)


class Ident(Enum):
    ONE = UID


class Price(Enum):
    LOW = Decimal("1.50")
    HIGH = DIGITS


class Raw(Enum):
    X = b"x"


class Yes(Enum):
    YES = True


class Mixed(Enum):
    A = "a"
    B = 1
    C = 1.5


class Level(IntEnum):
    LOW = 1


class Cat(BaseModel):
    kind: Literal[Kind.CAT]
    day: Day = Day.FIRST


class Dog(BaseModel):
    kind: Literal[Kind.DOG]
    span: timedelta
    free: Any


@dataclass
class Point:
    a: int
    free: Any
    data: bytes = b"\xff"


class Typed(TypedDict):
    a: int
    span: timedelta
    free: Any


class Pair(NamedTuple):
    day: Day
    free: Any


SPAN = timedelta(microseconds=123456789012345678)
CAT = Cat(kind=Kind.CAT, day=Day.FIRST)
ENUMS: list[type[Enum]] = [
    Kind,
    Share,
    Size,
    Day,
    Moment,
    Span,
    Ident,
    Price,
    Raw,
    Yes,
    Mixed,
    Level,
]
VALUES: list[tuple[Any, Any]] = [
    *((kind, member) for kind in ENUMS for member in kind),
    *((list[kind], list(kind)) for kind in ENUMS),  # type: ignore[valid-type]
    *((Optional[kind], next(iter(kind))) for kind in ENUMS),
    *((set[kind], set(kind)) for kind in (Kind, Share, Day, Span, Ident, Price, Raw)),  # type: ignore[valid-type]
    (Union[Day, int], Day.FIRST),
    (Union[set[Day], str], {Day.FIRST}),
    (tuple[Day, int], (Day.FIRST, 1)),
    (Union[list[Day], dict[str, Day]], {"x": Day.FIRST}),
    (Literal[Kind.CAT], Kind.CAT),
    (Literal[Kind.CAT, "x", 3], 3),
    (Literal[Share.TENTH], Share.TENTH),
    (list[Literal[Kind.CAT]], [Kind.CAT]),
    (set[Literal[Kind.CAT, Kind.DOG]], {Kind.CAT}),
    (
        Annotated[Union[Cat, Dog], Field(discriminator="kind")],
        Dog(kind=Kind.DOG, span=SPAN, free=[1.5]),
    ),
    (list[Union[Cat, Dog]], [Dog(kind=Kind.DOG, span=SPAN, free=None), CAT]),
    (dict[int, Cat], {1: CAT}),
    (dict[int, dict[UUID, list[Share]]], {1: {UID: [Share.TENTH]}}),
    (dict[float, int], {0.1: 1}),
    (dict[date, int], {date(2026, 1, 1): 1}),
    (dict[timedelta, int], {timedelta(seconds=1.5): 1}),
    (dict[Decimal, int], {Decimal("1.50"): 1}),
    (dict[bool, int], {True: 1, False: 0}),
    (dict[Literal[1, 2], int], {1: 1}),
    (dict[Literal[True], int], {True: 1}),
    (dict[Literal[Kind.CAT], int], {Kind.CAT: 1}),
    *(
        (dict[kind, int], {member: n for n, member in enumerate(kind)})  # type: ignore[valid-type]
        for kind in ENUMS
        if kind not in (Size, Raw)
    ),
    (Any, {"a": [1.5, 2, DIGITS, None, "t", True]}),
    (JsonDict, {"a": [1.5, 2, DIGITS]}),
    (list[Any], [1.5, DIGITS]),
    (Union[list[Any], dict[str, Any], None], [1.5, DIGITS]),
    (Union[list[Any], dict[str, Any], None], {"a": [1.5, DIGITS]}),
    (Union[set[Any], None], {1.5}),
    (deque[Any], deque([1.5])),
    (OrderedDict[str, Any], OrderedDict(a=1.5)),
    (Point, Point(1, {"a": [1.5, DIGITS]})),
    (list[Point], [Point(1, 2.5)]),
    (Typed, {"a": 1, "span": SPAN, "free": [1.5]}),
    (Pair, Pair(Day.FIRST, [1.5])),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=name_of)
def test_a_value_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    model = holder(annotation)
    codec, reader = codec_of(model), ItemReader(codec_of(model))
    stored = codec.encode(model(id="x", value=value))
    (found,) = reader.page(Reply(body_of({"Items": [stored], "Count": 1}))).models
    assert reader.counts.compiled == 1
    assert described(found.value) == described(value)
    assert described(codec.decode(stored).value) == described(value)


@pytest.mark.parametrize("key", [b"x", (1, 2), None, Raw.X, Size.SMALL], ids=name_of)
def test_a_key_that_no_text_stands_for_is_refused(key: Any) -> None:
    model = holder(dict[type(key), int])  # type: ignore[misc]
    with pytest.raises(ValidationError, match="cannot be the key of a map"):
        codec_of(model).encode(model.model_construct(id="x", value={key: 1}))


def test_a_value_that_is_no_member_is_refused_with_the_field() -> None:
    with pytest.raises(IncompatibleItemError, match="value: Input should be"):
        codec_of(holder(Day)).decode({**KEY, "value": {"S": "2026-01-02"}})


def test_a_validator_of_the_field_sees_what_is_stored() -> None:
    class Lower(BaseModel):
        id: str
        kind: Literal[Kind.CAT] = Kind.CAT

        @field_validator("kind", mode="before")
        @classmethod
        def _lower(cls, value: Any) -> Any:
            return Kind(value.lower()) if isinstance(value, str) else value

    assert codec_of(Lower).decode({**KEY, "kind": {"S": "CAT"}}).kind is Kind.CAT


# ---- free numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1.0", 1),
        ("1E+2", 100),
        ("0.1", 0.1),
        ("1.5E-7", 1.5e-7),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("12345678901234567.5", Decimal("12345678901234567.5")),
        ("0.30000000000000001", Decimal("0.30000000000000001")),
        ("9" * 38, 10**38 - 1),
    ],
)
def test_a_free_number_keeps_every_digit(text: str, expected: Any) -> None:
    found = decode_free({"N": text})
    assert (type(found), found) == (type(expected), expected)
    assert Decimal(encode_value(found, "x")["N"]) == Decimal(text)


# ---- NULL ----------------------------------------------------------------------------------------


class Defaults(BaseModel):
    id: str
    words: list[str] = ["a"]
    text: str = "t"
    number: int = Field(default_factory=lambda: 5)
    names: dict[str, int] = {}
    tags: set[str] = set()
    needed_tags: set[str]
    inner: Optional[Cat] = None


def test_null_in_the_place_of_a_value_with_a_default_is_the_default() -> None:
    null = {"NULL": True}
    item = {**KEY, **dict.fromkeys(Defaults.model_fields.keys() - {"id"}, null)}
    codec = codec_of(Defaults)
    reader = ItemReader(codec)
    expected = Defaults(id="x", needed_tags=set())
    assert codec.decode(item) == expected
    assert reader.page(Reply(body_of({"Items": [item, KEY]}))).models == [expected, expected]


def test_null_inside_a_union_of_models_is_the_default() -> None:
    class Left(BaseModel):
        kind: Literal["left"]
        words: list[str] = ["a"]

    class Right(BaseModel):
        kind: Literal["right"]
        words: list[str] = ["b"]
        note: Optional[str] = "n"

    model = holder(Annotated[Union[Left, Right], Field(discriminator="kind")])
    value = {"kind": {"S": "right"}, "words": {"NULL": True}, "note": {"NULL": True}}
    found = codec_of(model).decode({**KEY, "value": {"M": value}}).value
    assert found == Right(kind="right", note=None)


def test_null_is_no_value_of_a_required_field() -> None:
    with pytest.raises(IncompatibleItemError, match="value"):
        codec_of(holder(str)).decode({**KEY, "value": {"NULL": True}})


def test_a_validator_that_reads_null_itself_receives_it() -> None:
    class Own(BaseModel):
        id: str
        words: list[str] = ["default"]

        @field_validator("words", mode="before")
        @classmethod
        def _words(cls, value: Any) -> Any:
            return ["from null"] if value is None else value

    assert codec_of(Own).decode({**KEY, "words": {"NULL": True}}).words == ["from null"]


# ---- scalars of numpy and pandas -----------------------------------------------------------------


def test_scalars_of_numpy_are_stored_by_their_python_value() -> None:
    np = pytest.importorskip("numpy")
    given = {
        "a": [np.float64(1.5), np.float32(0.5), np.int64(3), np.bool_(True), np.str_("x")],
        "b": [np.bytes_(b"x"), np.timedelta64(1500, "ms"), np.datetime64("NaT")],
        "c": [np.datetime64("2026-01-01"), np.timedelta64(2000, "ns")],
    }
    plain = {"a": [1.5, 0.5, 3, True, "x"], "b": [b"x", timedelta(seconds=1.5), None]}
    plain["c"] = [date(2026, 1, 1), timedelta(microseconds=2)]
    model = holder(Any)
    codec = codec_of(model)
    assert codec.encode(model(id="x", value=given)) == codec.encode(model(id="x", value=plain))


def test_scalars_of_pandas_are_stored_by_their_python_value() -> None:
    pd = pytest.importorskip("pandas")
    given = [pd.NA, pd.NaT, pd.Timestamp("2026-01-01T12:00", tz="UTC"), pd.Timedelta(1500, "ms")]
    assert encode_value(given, "x") == encode_value([None, None, NOON, timedelta(seconds=1.5)], "x")


def test_nanoseconds_are_refused_and_never_cut_off() -> None:
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    with pytest.raises(ValidationError, match=r"x\[0\]: .* has nanoseconds"):
        encode_value([np.datetime64(1, "ns")], "x")
    with pytest.raises(ValidationError, match=r"x: .* has nanoseconds"):
        encode_value(np.timedelta64(1, "ns"), "x")
    for annotation, value in (
        (UtcDatetime, pd.Timestamp(1, tz="UTC")),
        (datetime, pd.Timestamp(1, tz="UTC")),
        (list[datetime], [pd.Timestamp(1, tz="UTC")]),
        (timedelta, pd.Timedelta(1)),
        (Any, pd.Timestamp(1, tz="UTC")),
    ):
        model = holder(annotation)
        with pytest.raises(ValidationError, match=r"Holder\.value.* has nanoseconds"):
            codec_of(model).encode(model(id="x", value=value))


@pytest.mark.parametrize("unit", ["M", "Y"])
def test_a_duration_of_no_fixed_length_is_refused(unit: str) -> None:
    np = pytest.importorskip("numpy")
    with pytest.raises(ValidationError, match="x: the timedelta64 counts months or years"):
        encode_value(np.timedelta64(1, unit), "x")


def test_a_number_of_numpy_that_python_lacks_is_refused() -> None:
    np = pytest.importorskip("numpy")
    with pytest.raises(ValidationError, match="cannot be stored"):
        encode_value(np.longdouble(1.5), "x")


def test_the_plain_types_are_still_read_by_generated_code() -> None:
    assert_compiled(holder(dict[str, int]), {**KEY, "value": {"M": {"a": {"N": "1"}}}})
