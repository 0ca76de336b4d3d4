"""The field types: values they accept, convert and refuse."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Optional
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from dynamodb_wrapper.models import (
    STORED,
    EpochMillis,
    EpochSeconds,
    IsoDatetime,
    JsonDict,
    RunStatus,
    UtcDatetime,
    WriteMode,
    new_run_id,
    to_utc,
    utc_text,
)
from dynamodb_wrapper.models.enums import RunStatusField
from dynamodb_wrapper.models.fields import Id, Settings, Tags

INDIA = timezone(timedelta(hours=5, minutes=30))
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=timezone.utc)
TIME_TYPES = [UtcDatetime, IsoDatetime, EpochSeconds, EpochMillis]


def taken(annotation: Any, value: Any, **options: Any) -> Any:
    return TypeAdapter(annotation).validate_python(value, **options)


def dumped(annotation: Any, value: Any) -> Any:
    adapter = TypeAdapter(annotation)
    return adapter.dump_python(adapter.validate_python(value))


def test_an_aware_datetime_is_brought_to_utc() -> None:
    found = taken(UtcDatetime, MOMENT.astimezone(INDIA))
    assert (found, found.utcoffset()) == (MOMENT, timedelta(0))


@pytest.mark.parametrize("annotation", TIME_TYPES)
def test_a_naive_datetime_is_refused(annotation: Any) -> None:
    with pytest.raises(PydanticError, match="has no time zone"):
        taken(annotation, datetime(2026, 1, 1))


@pytest.mark.parametrize("annotation", [EpochSeconds, EpochMillis])
@pytest.mark.parametrize("number", [10**18, -(10**18), 1e20])
def test_a_number_beyond_the_calendar_is_refused(annotation: Any, number: float) -> None:
    with pytest.raises(PydanticError, match="beyond the years"):
        taken(annotation, number)


@pytest.mark.parametrize("annotation", [EpochSeconds, EpochMillis])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), Decimal("NaN")])
def test_a_number_that_is_none_is_refused(annotation: Any, number: Any) -> None:
    with pytest.raises(PydanticError):
        taken(annotation, number)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=INDIA),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_a_moment_beyond_the_calendar_in_utc_is_refused(moment: datetime) -> None:
    with pytest.raises(PydanticError, match="beyond the years"):
        taken(UtcDatetime, moment)


def test_utc_text_has_27_characters_and_names_microseconds() -> None:
    assert utc_text(datetime(26, 1, 1, tzinfo=timezone.utc)) == "0026-01-01T00:00:00.000000Z"
    assert utc_text(MOMENT.astimezone(INDIA)) == "2026-03-01T12:30:15.123456Z"


class Moment(datetime):
    """A subclass of datetime, such as that of pandas."""


@given(
    moment=st.datetimes(
        datetime(1, 1, 2),
        datetime(9999, 12, 30),
        timezones=st.sampled_from([timezone.utc, INDIA, ZoneInfo("Europe/Berlin")]),
    ),
    kind=st.sampled_from([datetime, Moment]),
    is_whole=st.booleans(),
)
def test_utc_text_is_the_iso_format_of_the_moment_in_utc(
    moment: datetime, kind: type[datetime], is_whole: bool
) -> None:
    given_moment = kind.combine(moment.date(), moment.timetz())
    if is_whole:
        given_moment = given_moment.replace(microsecond=0)
    text = utc_text(given_moment)
    expected = given_moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
    assert text == expected.replace("+00:00", "Z")
    assert len(text) == 27


def test_to_utc_refuses_a_naive_datetime() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        to_utc(datetime(2026, 1, 1))


def test_an_iso_datetime_keeps_its_offset() -> None:
    assert dumped(IsoDatetime, MOMENT.astimezone(INDIA)) == "2026-03-01T18:00:15.123456+05:30"


@pytest.mark.parametrize(
    ("annotation", "number", "kept"),
    [
        (EpochSeconds, 1772368215, MOMENT.replace(microsecond=0)),
        (EpochMillis, 1772368215123, MOMENT.replace(microsecond=123000)),
    ],
)
def test_epoch_types_are_numbers_when_stored(annotation: Any, number: int, kept: datetime) -> None:
    assert dumped(annotation, MOMENT) == number
    assert taken(annotation, MOMENT) == kept
    assert taken(annotation, number) == kept
    assert taken(annotation, Decimal(number)) == kept


def test_epoch_types_take_moments_before_1970() -> None:
    assert dumped(EpochSeconds, datetime(1969, 12, 31, 23, 59, 59, 5, tzinfo=timezone.utc)) == -1


@pytest.mark.parametrize(
    "text", ["orders_daily", "a", "9", "silver.orders", "a:b/c=d@e+f-g", "a" * 255]
)
def test_an_id_follows_the_pattern(text: str) -> None:
    assert taken(Id, text) == text


@pytest.mark.parametrize("text", ["", "#a", "a#b", " a", "a b", "_a", "-a", "é", "a" * 256, "a\n"])
def test_an_id_off_the_pattern_is_refused_at_create_and_accepted_on_read(text: str) -> None:
    with pytest.raises(PydanticError, match="must start with"):
        taken(Id, text)
    assert taken(Id, text, context=STORED) == text


def test_json_takes_what_json_can_say_and_whole_decimals_as_int() -> None:
    given = {"a": [1, 1.5, "t", None, True], "b": {"c": Decimal(2), "d": Decimal("2.5")}, "t": (1,)}
    expected = {"a": [1, 1.5, "t", None, True], "b": {"c": 2, "d": 2.5}, "t": [1]}
    assert taken(JsonDict, given) == expected


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {"b": [1, float("nan")]}}, r"a\.b\[1\]"),
        ({"a": {"b": {1: 2}}}, r"a\.b"),
        ({"a": [object()]}, r"a\[0\] is a object"),
        ({"a": {1, 2}}, "a is a set"),
        ({"a": MOMENT}, "a is a datetime"),
    ],
)
def test_json_refuses_anything_else_and_names_the_place(value: Any, place: str) -> None:
    with pytest.raises(PydanticError, match=place):
        taken(JsonDict, value)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, "true"), (False, "false"), (5, "5"), (1.5, "1.5"), ("x", "x")]
)
def test_a_setting_becomes_text_with_booleans_in_lower_case(value: Any, expected: str) -> None:
    assert taken(Settings, {"spark.x": value}) == {"spark.x": expected}


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_setting_is_one_value(value: Any) -> None:
    with pytest.raises(PydanticError, match="a setting is"):
        taken(Settings, {"spark.x": value})


@pytest.mark.parametrize(
    "tags", [{}, {str(n): "" for n in range(50)}, {"k" * 128: "v" * 256}], ids=len
)
def test_tags_within_the_limits_are_taken(tags: dict[str, str]) -> None:
    assert taken(Tags, tags) == tags


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({str(n): "" for n in range(51)}, "51 tags"),
        ({"k" * 129: ""}, "128"),
        ({"": "v"}, "128"),
        ({"k": "v" * 257}, "256"),
        ({"k": 1}, "string"),
    ],
    ids=["51 tags", "long key", "empty key", "long value", "number"],
)
def test_tags_beyond_the_limits_are_refused(tags: Any, message: str) -> None:
    with pytest.raises(PydanticError, match=message):
        taken(Tags, tags)


def test_an_unknown_enum_value_is_kept_when_it_comes_from_dynamodb() -> None:
    found = taken(RunStatusField, "exploded", context=STORED)
    assert isinstance(found, RunStatus)
    assert (found.value, str(found), f"{found}") == ("exploded", "exploded", "exploded")


def test_an_unknown_enum_value_is_refused_elsewhere() -> None:
    with pytest.raises(PydanticError):
        taken(RunStatusField, "exploded")


def test_an_unknown_enum_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(PydanticError):
        taken(Optional[RunStatusField], 5, context=STORED)


@pytest.mark.parametrize("member", [RunStatus.SUCCESS, WriteMode.OVERWRITE_PARTITIONS])
def test_an_enum_prints_as_its_stored_text(member: Any) -> None:
    assert [str(member), f"{member}", f"{member:>25}".strip()] == [member.value] * 3


def test_run_ids_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(200)]
    assert ids == sorted(set(ids))
