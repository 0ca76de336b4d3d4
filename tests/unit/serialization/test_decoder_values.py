"""Every type reads every stored value the same by the compiled and by the generic decoder."""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import pydantic
import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    Field,
    Json,
    PlainSerializer,
    PlainValidator,
    RootModel,
    SecretStr,
    SkipValidation,
    WrapValidator,
    condecimal,
    confloat,
    conint,
    constr,
)
from typing_extensions import TypeAliasType, TypedDict

from dynamodb_wrapper.models import EpochMillis, EpochSeconds, IsoDatetime, JsonDict, UtcDatetime
from tests.support.decoder_comparison import KEY, assert_compiled, assert_equal, holder, name_of

JsonValue = getattr(pydantic, "JsonValue", Any)  # since pydantic 2.5


class Color(str, Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Mixed(Enum):
    A = "a"
    B = 1


class Inner(BaseModel):
    a: int
    b: Optional[float] = None
    c: set[int]
    d: Optional[str]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    weight: float


class Numbers(RootModel[list[int]]):
    pass


@dataclass
class Point:
    a: int
    b: float = 0.5


class Typed(TypedDict):
    a: int
    b: float


class Pair(NamedTuple):
    a: int
    b: float


def sees_float(value: Any) -> float:
    """Return the name of the type a validator received."""
    return float(isinstance(value, float))


def sees_type(value: Any, handler: Any) -> Any:
    return handler(len(type(value).__name__))


def as_text(value: int) -> str:
    return str(value)


def text(content: str) -> dict[str, Any]:
    return {"S": content}


def number(content: str) -> dict[str, Any]:
    return {"N": content}


def many(*values: Any) -> dict[str, Any]:
    return {"L": list(values)}


def named(**values: Any) -> dict[str, Any]:
    return {"M": values}


NULL = {"NULL": True}
UID = "00000000-0000-0000-0000-000000000001"
MOMENT = "2026-01-01T10:00:00.000000Z"

STORED = [
    *map(number, ["1", "0", "-0", "-0.0", "1E+2", "1.5", "1.0", "-7", "0.1", "1767225600"]),
    *map(number, ["9" * 38, "9" * 39, "1." + "2" * 38, "1" + "0" * 100, "1E+100", "1E-130"]),
    *map(number, ["9007199254740993", "9.9999999999999999999999999999999999999E+125"]),
    *map(text, ["", "a", "red", "cat", "1", "1.5", "true", "PT1S", '\U0001f600é\n"\\\x00', "{}"]),
    *map(text, ["2026-01-01", MOMENT, "2026-01-01T10:00:00+02:00", "2026-01-01T10:00:00"]),
    *map(text, ["10:00:00", UID, "https://a.example", '{"a":1}']),
    {"B": b"\x00\xff"},
    {"B": b""},
    {"BOOL": True},
    {"BOOL": False},
    NULL,
    {"SS": ["a", "b"]},
    {"NS": ["1", "2.5", "-0"]},
    {"NS": ["1"]},
    {"BS": [b"a", b"\xff"]},
    many(),
    many(number("1")),
    many(number("1"), text("x")),
    many(number("1.5"), text("x")),
    many(NULL),
    many(text("a"), text("b")),
    many(many(number("1")), many()),
    many({"SS": ["a"]}),
    many(named(a=number("1"), b=NULL, d=NULL)),
    named(),
    named(a=number("1")),
    named(a=number("1"), b=number("1.5")),
    named(a=number("1"), b=number("-0"), zz=text("x")),
    named(a=number("1.5")),
    named(a=NULL),
    named(a=many(number("1.5"), number("2"))),
    named(a={"SS": ["x"]}),
    named(a=named(a=number("1"), c={"NS": ["1"]})),
    named(kind=text("cat"), lives=number("9")),
    named(kind=text("dog"), weight=number("1.5")),
    named(kind=text("cow")),
    named(B={"B": b"1"}, BS={"BS": [b"z"]}, S=text("x"), L=many(), M=named(M=named())),
    {"M": {"1": number("1")}},
    None,
]
"""Stored values of a field; None where the item has no such attribute."""

NUMBER_TYPES: list[Any] = [
    int,
    float,
    Decimal,
    bool,
    timedelta,
    Level,
    Literal[1],
    EpochSeconds,
    EpochMillis,
    Annotated[int, Field(gt=0)],
    Annotated[float, Field(gt=1)],
    Annotated[Decimal, Field(max_digits=3, decimal_places=1)],
    Annotated[int, Field(strict=True)],
    Annotated[float, Field(strict=True)],
    Annotated[Decimal, Field(strict=True)],
    conint(gt=0),
    confloat(multiple_of=0.5),
    condecimal(gt=Decimal(0)),
    Annotated[float, BeforeValidator(sees_float)],
    Annotated[int, WrapValidator(sees_type)],
    Annotated[Decimal, WrapValidator(sees_type)],
    Annotated[Decimal, PlainValidator(repr)],
    Annotated[float, AfterValidator(sees_float)],
    Optional[Annotated[float, BeforeValidator(sees_float)]],
    SkipValidation[float],
]
TEXT_TYPES: list[Any] = [
    str,
    bytes,
    datetime,
    UtcDatetime,
    IsoDatetime,
    date,
    time,
    UUID,
    Color,
    Mixed,
    Literal["a", "b"],
    Literal["a", 1],
    Literal[True],
    Annotated[str, Field(max_length=2)],
    constr(min_length=1),
    Annotated[int, PlainSerializer(as_text)],
    SecretStr,
    AnyUrl,
    Json,
    Json[dict[str, int]],
]
CONTAINER_TYPES: list[Any] = [
    Inner,
    Numbers,
    Annotated[Inner, BeforeValidator(lambda value: value)],
    Union[Cat, Dog],
    Annotated[Union[Cat, Dog], Field(discriminator="kind")],
    Union[int, str],
    Union[float, Decimal],
    Union[Inner, int, None],
    Union[bytes, str],
    list[int],
    list[float],
    list[Decimal],
    list[Inner],
    list[Optional[int]],
    list[list[int]],
    list[set[str]],
    list[EpochSeconds],
    list[timedelta],
    list[Union[Cat, Dog]],
    list[Annotated[float, BeforeValidator(sees_float)]],
    list[Annotated[Decimal, PlainValidator(repr)]],
    list[SkipValidation[float]],
    list,
    Sequence[float],
    deque[int],
    tuple[int, ...],
    tuple[int, str],
    tuple[float],
    tuple[()],
    set[int],
    set[str],
    set[bytes],
    set[float],
    set[Color],
    set[timedelta],
    frozenset[Decimal],
    AbstractSet[int],
    dict[str, int],
    dict[int, int],
    dict[str, float],
    dict[str, Inner],
    dict[str, list[float]],
    dict[str, set[str]],
    dict[str, Any],
    dict[str, Annotated[Decimal, WrapValidator(sees_type)]],
    Mapping[str, Optional[float]],
    defaultdict[str, int],
    dict,
    Any,
    object,
    JsonValue,
    dict[str, JsonValue],
    JsonDict,
    Point,
    Typed,
    Pair,
    list[Point],
    TypeAliasType("Names", list[str]),
    Optional[TypeAliasType("Amounts", dict[str, Decimal])],
]


@pytest.mark.parametrize("annotation", [*NUMBER_TYPES, *TEXT_TYPES, *CONTAINER_TYPES], ids=name_of)
def test_a_field_reads_any_stored_value_the_same_both_ways(annotation: Any) -> None:
    required, optional = holder(annotation), holder(Optional[annotation], None)
    for value in STORED:
        item = KEY if value is None else {**KEY, "value": value}
        assert_equal(required, item)
        assert_equal(optional, item)


@pytest.mark.parametrize("annotation", [int, float, Decimal, str, datetime, Inner, set[int]])
@pytest.mark.parametrize(
    "config", [{"strict": True}, {"extra": "forbid"}, {"frozen": True}], ids=name_of
)
def test_the_config_of_a_model_makes_no_difference_between_the_ways(
    annotation: Any, config: Any
) -> None:
    model = holder(annotation, **config)
    for value in STORED:
        assert_equal(model, KEY if value is None else {**KEY, "value": value})


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, number("1E+2"), 100),
        (int, number("100.0"), 100),
        (int, number("1" + "0" * 100), 10**100),
        (float, number("9007199254740993"), float(2**53)),
        (float, number("1E-130"), 1e-130),
        (Decimal, number("9" * 39), Decimal("9" * 39)),
        (set[str], many(), set()),
        (bytes, {"B": b"\x00\xff"}, b"\x00\xff"),
        (set[bytes], {"BS": [b"a", b"\xff"]}, {b"a", b"\xff"}),
        (str, text("\U0001f600"), "\U0001f600"),
        (Optional[int], NULL, None),
        (timedelta, number("0.000001"), timedelta(microseconds=1)),
        (dict[str, Any], named(a=number("1.5"), b=number("2")), {"a": 1.5, "b": 2}),
    ],
    ids=name_of,
)
def test_a_value_at_the_edge_is_read_as(annotation: Any, value: Any, expected: Any) -> None:
    found = assert_equal(holder(annotation), {**KEY, "value": value})
    assert found.model.value == expected


COMPILED: list[tuple[Any, Any]] = [
    (str, text("a")),
    (bytes, {"B": b"a"}),
    (bool, {"BOOL": True}),
    (int, number("1")),
    (float, number("1.5")),
    (float, number("1")),
    (Decimal, number("1.50")),
    (datetime, text(MOMENT)),
    (UtcDatetime, text(MOMENT)),
    (IsoDatetime, text("2026-01-01T10:00:00+02:00")),
    (EpochSeconds, number("1767225600")),
    (EpochMillis, number("1767225600000")),
    (date, text("2026-01-01")),
    (time, text("10:00:00")),
    (timedelta, number("1.5")),
    (UUID, text(UID)),
    (Color, text("red")),
    (Level, number("1")),
    (Mixed, text("a")),
    (Mixed, number("1")),
    (Literal["a", "b"], text("a")),
    (Literal["a", 1], number("1")),
    (Annotated[int, Field(gt=0)], number("1")),
    (Annotated[int, PlainSerializer(as_text)], text("1")),
    (SecretStr, text("a")),
    (Json[dict[str, int]], text('{"a":1}')),
    (Inner, named(a=number("1"), b=NULL, c={"NS": ["1"]}, d=text("x"))),
    (Inner, named(a=number("1"))),
    (Numbers, many(number("1"))),
    (Union[Cat, Dog], named(kind=text("dog"), weight=number("1.5"))),
    (
        Annotated[Union[Cat, Dog], Field(discriminator="kind")],
        named(kind=text("cat"), lives=number("9")),
    ),
    (Union[int, str], text("x")),
    (list[int], many(number("1"), number("2"))),
    (list[int], many()),
    (list[Inner], many(named(a=number("1")))),
    (list[Optional[int]], many(NULL, number("1"))),
    (list[EpochSeconds], many(number("1"))),
    (list[Union[Cat, Dog]], many(named(kind=text("cat"), lives=number("9")))),
    (tuple[int, ...], many(number("1"))),
    (tuple[int, str], many(number("1"), text("x"))),
    (deque[int], many(number("1"))),
    (set[int], {"NS": ["1", "2"]}),
    (set[str], {"SS": ["a"]}),
    (set[bytes], {"BS": [b"a"]}),
    (frozenset[Decimal], {"NS": ["1.5"]}),
    (dict[str, int], named(a=number("1"))),
    (dict[int, int], {"M": {"1": number("1")}}),
    (dict[str, Inner], named(a=named(a=number("1")))),
    (dict[str, list[float]], named(a=many(number("1.5"), number("2")))),
    (dict[str, Any], named(a=many(number("1.5"), NULL, {"B": b"x"}))),
    (Any, many(named(a=NULL))),
    (JsonValue, named(a=text("x"))),
    (JsonDict, named(a=number("1"))),
    (Point, named(a=number("1"))),
    (Typed, named(a=number("1"), b=number("1.5"))),
    (Pair, many(number("1"), number("1.5"))),
]


@pytest.mark.parametrize(("annotation", "value"), COMPILED, ids=name_of)
def test_a_supported_type_is_read_by_the_code_made_for_it(annotation: Any, value: Any) -> None:
    assert_compiled(holder(annotation), {**KEY, "value": value})
    optional = holder(Optional[annotation], None)
    for item in ({**KEY, "value": value}, {**KEY, "value": NULL}, KEY):
        assert_compiled(optional, item)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs the type statement")
def test_a_type_that_names_itself_is_read_the_same_both_ways() -> None:
    names: dict[str, Any] = {}
    exec("type Tree = int | list[Tree]\ntype Rose = list[Rose | None]", names)
    assert_compiled(holder(names["Tree"]), {**KEY, "value": many(number("1"), many())})
    assert_compiled(holder(names["Rose"]), {**KEY, "value": many(NULL, many())})
