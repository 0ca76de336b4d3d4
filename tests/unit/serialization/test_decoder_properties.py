"""Generated models read generated items, whole and damaged, the same both ways."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from dynamodb_wrapper.models import EpochMillis, EpochSeconds, IsoDatetime, UtcDatetime
from tests.support.decoder_comparison import KEY, assert_equal, decode_counts

Stored = st.SearchStrategy[Any]


class Color(str, Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    weight: float


class Kind(NamedTuple):
    """A type, and attribute values it is stored as."""

    annotation: Any
    stored: Stored


# ---- stored values -------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=6)
whole_texts = st.integers(-(10**38) + 1, 10**38 - 1).map(str) | st.integers(-9, 9).map(str)
decimal_texts = st.builds(
    lambda sign, digits, exponent: str(Decimal((sign, tuple(map(int, str(digits))), exponent))),
    st.integers(0, 1),
    st.integers(0, 10**38 - 1) | st.integers(0, 99),
    st.integers(-130, 88) | st.integers(-3, 3),
)
number_texts = whole_texts | decimal_texts
seconds = st.integers(0, 4 * 10**9).map(str)


def tagged(tag: str, content: Stored) -> Stored:
    return content.map(lambda found: {tag: found})


numbers = tagged("N", number_texts)
wholes = tagged("N", whole_texts)
strings = tagged("S", texts)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda moment: {"S": moment.isoformat() + "+01:00"}
)
anything = st.recursive(
    st.one_of(
        numbers,
        strings,
        moments,
        tagged("BOOL", st.booleans()),
        st.just({"NULL": True}),
        tagged("B", st.binary(max_size=4)),
        tagged("SS", st.lists(texts, unique=True, max_size=3)),
        tagged("NS", st.lists(whole_texts, unique=True, max_size=3)),
        tagged("BS", st.lists(st.binary(max_size=2), unique=True, max_size=3)),
    ),
    lambda inner: (
        tagged("L", st.lists(inner, max_size=3))
        | tagged("M", st.dictionaries(texts | st.sampled_from("abS"), inner, max_size=3))
    ),
    max_leaves=6,
)


def sees_type(value: Any) -> Any:
    return len(type(value).__name__) if isinstance(value, (int, float, Decimal)) else value


SCALARS = [
    Kind(str, strings),
    Kind(bytes, tagged("B", st.binary(max_size=4))),
    Kind(bool, tagged("BOOL", st.booleans())),
    Kind(int, wholes),
    Kind(float, numbers),
    Kind(Decimal, numbers),
    Kind(Annotated[int, Field(gt=0)], wholes),
    Kind(Annotated[Decimal, Field(max_digits=10)], numbers),
    Kind(Annotated[str, Field(max_length=3)], strings),
    Kind(Annotated[float, BeforeValidator(sees_type)], numbers),
    Kind(datetime, moments),
    Kind(UtcDatetime, moments),
    Kind(IsoDatetime, moments),
    Kind(EpochSeconds, tagged("N", seconds)),
    Kind(EpochMillis, tagged("N", seconds)),
    Kind(date, st.dates().map(lambda day: {"S": day.isoformat()})),
    Kind(time, st.times().map(lambda hour: {"S": hour.isoformat()})),
    Kind(timedelta, tagged("N", seconds | decimal_texts)),
    Kind(UUID, st.uuids().map(lambda uid: {"S": str(uid)})),
    Kind(Color, st.sampled_from([{"S": "red"}, {"S": "green"}])),
    Kind(Level, st.sampled_from([{"N": "1"}, {"N": "3"}])),
    Kind(Literal["a", 1], st.sampled_from([{"S": "a"}, {"N": "1"}, {"N": "2"}])),
    Kind(Union[int, str], wholes | strings),
    Kind(Any, anything),
    Kind(dict[str, Any], tagged("M", st.dictionaries(texts, anything, max_size=2))),
    Kind(
        Union[Cat, Dog],
        st.sampled_from(
            [
                {"M": {"kind": {"S": "cat"}}},
                {"M": {"kind": {"S": "dog"}, "weight": {"N": "1.5"}}},
                {"M": {"kind": {"S": "dog"}}},
            ]
        ),
    ),
]
SETS = [
    Kind(set[str], tagged("SS", st.lists(texts, unique=True, min_size=1, max_size=3))),
    Kind(set[int], tagged("NS", st.lists(whole_texts, unique=True, min_size=1, max_size=3))),
    Kind(frozenset[Decimal], tagged("NS", st.lists(number_texts, unique=True, min_size=1))),
    Kind(set[bytes], tagged("BS", st.lists(st.binary(max_size=2), unique=True, min_size=1))),
]


def containers(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        inner.map(lambda k: Kind(Optional[k.annotation], k.stored | st.just({"NULL": True}))),
        inner.map(lambda k: Kind(list[k.annotation], tagged("L", st.lists(k.stored, max_size=3)))),
        inner.map(
            lambda k: Kind(tuple[k.annotation, ...], tagged("L", st.lists(k.stored, max_size=2)))
        ),
        inner.map(
            lambda k: Kind(Sequence[k.annotation], tagged("L", st.lists(k.stored, max_size=2)))
        ),
        inner.map(
            lambda k: Kind(
                dict[str, k.annotation],
                tagged("M", st.dictionaries(texts, k.stored, max_size=3)),
            )
        ),
        st.lists(field_of(inner), max_size=3).map(nested),
    )


# ---- models --------------------------------------------------------------------------------------

NAMES = ["a", "b", "c"]
CONFIGS: list[Any] = [{}, {"extra": "allow"}, {"extra": "forbid"}, {"populate_by_name": True}]


class MadeField(NamedTuple):
    """A field of a generated model."""

    kind: Kind
    settings: dict[str, Any]
    has_default: bool
    config: dict[str, Any]


def field_of(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[MadeField]:
    aliases = st.sampled_from(
        [
            {},
            {},
            {},
            {"alias": "other"},
            {"serialization_alias": "out"},
            {"validation_alias": AliasChoices("in", "also")},
        ]
    )
    return st.builds(MadeField, kinds, aliases, st.booleans(), st.sampled_from(CONFIGS))


def model_of(fields: list[MadeField], **key: Any) -> Any:
    made: dict[str, Any] = dict(key)
    config: dict[str, Any] = {}
    for name, field in zip(NAMES, fields):
        default = None if field.has_default else ...
        made[name] = (field.kind.annotation, Field(default, **field.settings))
        config.update(field.config)
    return create_model("Made", __config__=ConfigDict(**config), **made)


def attribute_of(name: str, field: MadeField) -> str:
    return str(field.settings.get("serialization_alias") or field.settings.get("alias") or name)


def stored_of(fields: list[MadeField]) -> Stored:
    present: dict[str, Stored] = {}
    for name, field in zip(NAMES, fields):
        present[attribute_of(name, field)] = field.kind.stored
    unknown = st.dictionaries(
        st.sampled_from([*NAMES, "in", "also", "out", "zz"]), anything, max_size=1
    )
    rarely = st.integers(0, 3).flatmap(lambda n: unknown if n == 0 else st.just({}))
    return st.tuples(rarely, st.fixed_dictionaries({}, optional=present)).map(
        lambda parts: {**parts[0], **parts[1]}
    )


def nested(fields: list[MadeField]) -> Kind:
    return Kind(model_of(fields), tagged("M", stored_of(fields)))


kinds = st.recursive(st.sampled_from([*SCALARS, *SCALARS, *SETS]), containers, max_leaves=4)


@st.composite
def models_and_items(draw: Any) -> tuple[Any, list[Any]]:
    fields = draw(st.lists(field_of(kinds), min_size=1, max_size=3))
    items = draw(st.lists(stored_of(fields), min_size=1, max_size=4))
    return model_of(fields, id=(str, ...)), [{**item, **KEY} for item in items]


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Return every attribute value inside, as its container and its place in it."""
    found: list[tuple[Any, Any]] = []
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for place, inner in inside:
        found.append((value, place))
        ((tag, content),) = inner.items()
        if tag in ("M", "L"):
            found += places_in(content)
    return found


quick = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@quick
@given(made=models_and_items())
def test_generated_models_read_generated_items_the_same_both_ways(made: Any) -> None:
    model, items = made
    for item in items:
        assert_equal(model, item)


@pytest.mark.slow
@quick
@given(made=models_and_items(), data=st.data())
def test_generated_models_read_damaged_items_the_same_both_ways(made: Any, data: Any) -> None:
    model, items = made
    for item in items:
        damaged = deepcopy(item)
        holder, place = data.draw(st.sampled_from(places_in(damaged)))
        if holder is not damaged or place != "id":
            holder[place] = data.draw(anything)
        assert_equal(model, damaged)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(SCALARS), data=st.data())
def test_the_compiled_decoder_reads_what_the_generic_one_can_read(kind: Kind, data: Any) -> None:
    model = create_model("One", id=(str, ...), value=(kind.annotation, ...))
    item = {**KEY, "value": data.draw(kind.stored)}
    expected = (0, 1) if assert_equal(model, item).error else (1, 0)
    assert decode_counts(model, item) == expected
