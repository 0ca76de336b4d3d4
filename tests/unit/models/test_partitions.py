"""Partitions of time follow the zone's own days, without overlap or gap."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dynamodb_wrapper.models import (
    STORED,
    PartitionGrain,
    partition_of,
    partition_of_key,
    partitions_between,
)
from dynamodb_wrapper.models.enums import PartitionGrainField

UTC = timezone.utc
HOUR, DAY, WEEK, MONTH, NONE = PartitionGrain
GRAINS = [HOUR, DAY, WEEK, MONTH]
LOCAL_GRAINS = [DAY, WEEK, MONTH]
INSTANT = timedelta(microseconds=1)
ZONES = [
    "UTC",
    "Africa/Cairo",
    "America/Havana",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Toronto",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Chatham",
]

zones = st.sampled_from(ZONES)
days = st.dates(date(1900, 1, 1), date(2100, 1, 1))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
few = settings(max_examples=60, deadline=None, database=None)
each_grain = pytest.mark.parametrize("grain", GRAINS, ids=str)
each_local_grain = pytest.mark.parametrize("grain", LOCAL_GRAINS, ids=str)


def hours_of(day: str, zone: str) -> float:
    partition = partition_of(date.fromisoformat(day), DAY, zone)
    return (partition.end - partition.start) / timedelta(hours=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


class TestKeys:
    @pytest.mark.parametrize(
        ("grain", "key", "start", "end"),
        [
            (HOUR, "2026-03-29T09Z", utc(2026, 3, 29, 9), utc(2026, 3, 29, 10)),
            (DAY, "2026-03-29", utc(2026, 3, 28, 23), utc(2026, 3, 29, 22)),
            (WEEK, "2026-W13", utc(2026, 3, 22, 23), utc(2026, 3, 29, 22)),
            (MONTH, "2026-03", utc(2026, 2, 28, 23), utc(2026, 3, 31, 22)),
        ],
        ids=str,
    )
    def test_a_moment_lies_in_the_partition_of_the_zone(
        self, grain: PartitionGrain, key: str, start: datetime, end: datetime
    ) -> None:
        found = partition_of(utc(2026, 3, 29, 9, 59, 59, 999999), grain, "Europe/Berlin")
        assert (found.key, found.start, found.end) == (key, start, end)
        assert (found.start.tzinfo, found.end.tzinfo) == (UTC, UTC)

    def test_the_zone_of_the_moment_does_not_matter(self) -> None:
        in_japan = utc(2026, 3, 29, 20).astimezone(ZoneInfo("Asia/Tokyo"))
        assert partition_of(in_japan, DAY, "Europe/Berlin").key == "2026-03-29"

    @pytest.mark.parametrize(
        ("grain", "key"), [(DAY, "2026-12-31"), (WEEK, "2026-W53"), (MONTH, "2026-12")], ids=str
    )
    def test_a_plain_date_is_a_local_day(self, grain: PartitionGrain, key: str) -> None:
        assert partition_of(date(2026, 12, 31), grain, "Pacific/Chatham").key == key

    def test_the_week_of_a_day_may_belong_to_the_next_year(self) -> None:
        assert partition_of(date(2024, 12, 30), WEEK, "UTC").key == "2025-W01"

    def test_a_month_may_end_with_the_year(self) -> None:
        assert partition_of(date(2026, 12, 1), MONTH, "UTC").end == utc(2027, 1, 1)

    def test_years_have_four_digits(self) -> None:
        keys = [partition_of(date(33, 4, 3), grain, "UTC").key for grain in LOCAL_GRAINS]
        assert keys == ["0033-04-03", "0033-W13", "0033-04"]

    def test_a_partition_does_not_change(self) -> None:
        with pytest.raises(FrozenInstanceError):
            partition_of(date(2026, 1, 1), DAY, "UTC").key = "2026-01-02"  # type: ignore[misc]


class TestClockChanges:
    def test_a_day_lacks_an_hour_when_clocks_go_forward(self) -> None:
        assert hours_of("2026-03-29", "Europe/Berlin") == 23

    def test_a_day_has_an_hour_more_when_clocks_go_back(self) -> None:
        assert hours_of("2026-10-25", "Europe/Berlin") == 25

    def test_the_days_around_a_change_have_24_hours(self) -> None:
        around = ["2026-03-28", "2026-03-30", "2026-10-24", "2026-10-26"]
        assert [hours_of(day, "Europe/Berlin") for day in around] == [24, 24, 24, 24]

    def test_a_change_may_be_half_an_hour(self) -> None:
        assert hours_of("2019-04-07", "Australia/Lord_Howe") == 24.5

    @pytest.mark.parametrize(
        ("zone", "day", "start"),
        [
            ("America/Sao_Paulo", "2018-11-04", utc(2018, 11, 4, 3)),
            ("Asia/Beirut", "2019-03-31", utc(2019, 3, 30, 22)),
            ("Africa/Cairo", "2009-04-24", utc(2009, 4, 23, 22)),
        ],
    )
    def test_a_day_without_midnight_begins_after_the_jump(
        self, zone: str, day: str, start: datetime
    ) -> None:
        found = partition_of(date.fromisoformat(day), DAY, zone)
        assert (found.start, hours_of(day, zone)) == (start, 23)
        assert partition_of(start, DAY, zone).key == day
        assert partition_of(start - INSTANT, DAY, zone).end == start

    def test_a_jump_may_begin_before_midnight(self) -> None:
        """At 23:30 the clocks of Toronto were set to 00:30."""
        jump = utc(1919, 3, 31, 4, 30)
        found = partition_of(date(1919, 3, 31), DAY, "America/Toronto")
        assert (found.start, hours_of("1919-03-30", "America/Toronto")) == (jump, 23.5)
        assert found.start.astimezone(ZoneInfo("America/Toronto")).minute == 30

    def test_a_day_with_two_midnights_begins_at_the_first(self) -> None:
        found = partition_of(date(2019, 11, 3), DAY, "America/Havana")
        assert (found.start, found.end) == (utc(2019, 11, 3, 4), utc(2019, 11, 4, 5))

    def test_an_evening_repeated_after_midnight_belongs_to_the_new_day(self) -> None:
        """At 00:01 the clocks of St. John's were set back to 23:01 of the day before."""
        again = datetime(2010, 11, 6, 23, 30, tzinfo=ZoneInfo("America/St_Johns"), fold=1)
        keys = [
            partition_of(m, DAY, "America/St_Johns").key for m in (again.replace(fold=0), again)
        ]
        assert keys == ["2010-11-06", "2010-11-07"]
        assert hours_of("2010-11-06", "America/St_Johns") == 24
        assert hours_of("2010-11-07", "America/St_Johns") == 25

    def test_an_evening_repeated_at_midnight_belongs_to_its_day(self) -> None:
        """At 00:00 the clocks of São Paulo were set back to 23:00 of the day before."""
        again = datetime(2018, 2, 17, 23, 30, tzinfo=ZoneInfo("America/Sao_Paulo"), fold=1)
        assert partition_of(again, DAY, "America/Sao_Paulo").key == "2018-02-17"
        assert hours_of("2018-02-17", "America/Sao_Paulo") == 25

    def test_a_repeated_local_hour_is_two_partitions(self) -> None:
        local = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
        keys = [partition_of(local.replace(fold=f), HOUR, "Europe/Berlin").key for f in (0, 1)]
        assert keys == ["2026-10-25T00Z", "2026-10-25T01Z"]

    def test_hours_are_those_of_utc_in_zones_off_by_half_an_hour(self) -> None:
        found = partition_of(utc(2026, 1, 1, 5, 45), HOUR, "Asia/Kathmandu")
        assert (found.key, found.start) == ("2026-01-01T05Z", utc(2026, 1, 1, 5))

    def test_the_hours_of_a_short_day_are_fewer(self) -> None:
        since, until = date(2026, 3, 29), date(2026, 3, 30)
        assert len(partitions_between(since, until, HOUR, "Europe/Berlin")) == 23


class TestSkippedDay:
    """Samoa crossed the date line: 29 December 2011 was followed by the 31st."""

    ZONE, SKIPPED = "Pacific/Apia", date(2011, 12, 30)

    def test_it_has_no_partition(self) -> None:
        with pytest.raises(ValueError, match=r"2011-12-30 .*Pacific/Apia skipped that day"):
            partition_of(self.SKIPPED, DAY, self.ZONE)

    def test_it_has_no_key(self) -> None:
        with pytest.raises(ValueError, match="skipped that day"):
            partition_of_key("2011-12-30", DAY, self.ZONE)

    def test_its_neighbours_touch(self) -> None:
        found = partitions_between(date(2011, 12, 29), date(2012, 1, 1), DAY, self.ZONE)
        assert [partition.key for partition in found] == ["2011-12-29", "2011-12-31"]
        assert found[0].end == found[1].start == utc(2011, 12, 30, 10)

    def test_a_range_of_nothing_else_is_empty(self) -> None:
        assert partitions_between(self.SKIPPED, date(2011, 12, 31), DAY, self.ZONE) == []

    def test_its_week_and_month_are_a_day_shorter(self) -> None:
        week = partition_of(self.SKIPPED, WEEK, self.ZONE)
        month = partition_of(self.SKIPPED, MONTH, self.ZONE)
        assert (week.key, week.end - week.start) == ("2011-W52", timedelta(days=6))
        assert (month.key, month.end - month.start) == ("2011-12", timedelta(days=30))


class TestRanges:
    def test_the_last_day_is_left_out(self) -> None:
        found = partitions_between(date(2026, 2, 27), date(2026, 3, 2), DAY, "Europe/Berlin")
        assert [partition.key for partition in found] == ["2026-02-27", "2026-02-28", "2026-03-01"]

    @pytest.mark.parametrize(
        ("grain", "keys"),
        [(WEEK, ["2026-W02", "2026-W03"]), (MONTH, ["2026-02"])],
        ids=str,
    )
    def test_a_partition_begun_before_the_range_is_left_out(
        self, grain: PartitionGrain, keys: list[str]
    ) -> None:
        ends = {WEEK: date(2026, 1, 19), MONTH: date(2026, 3, 1)}
        found = partitions_between(date(2026, 1, 2), ends[grain], grain, "Asia/Tehran")
        assert [partition.key for partition in found] == keys

    def test_moments_bound_a_range_to_the_microsecond(self) -> None:
        start = utc(2026, 6, 1)
        assert partitions_between(start + INSTANT, start + timedelta(days=1), DAY, "UTC") == []
        assert len(partitions_between(start, start + INSTANT, DAY, "UTC")) == 1

    def test_a_day_and_a_moment_may_bound_a_range_together(self) -> None:
        found = partitions_between(date(2026, 7, 1), utc(2026, 7, 1, 0), HOUR, "Europe/Berlin")
        assert [partition.key for partition in found] == ["2026-06-30T22Z", "2026-06-30T23Z"]

    @pytest.mark.parametrize(
        ("since", "until"),
        [
            (date(2026, 1, 2), date(2026, 1, 2)),
            (date(2026, 1, 3), date(2026, 1, 2)),
            (utc(2026, 1, 3), utc(2026, 1, 2)),
            (utc(2026, 1, 3), date(2026, 1, 2)),
            (date(2026, 1, 2), utc(2026, 1, 2)),
        ],
    )
    def test_since_must_be_before_until(self, since: Any, until: Any) -> None:
        with pytest.raises(ValueError, match=r"since \(2026-01-0.*until \(2026-01-02"):
            partitions_between(since, until, DAY, "UTC")

    def test_a_hundred_thousand_partitions_are_the_limit(self) -> None:
        since = utc(2000, 1, 1)
        until = since + timedelta(hours=100_000)
        assert len(partitions_between(since, until, HOUR, "UTC")) == 100_000
        with pytest.raises(ValueError, match=r"more than 100,000 partitions of grain hour"):
            partitions_between(since, until + INSTANT, HOUR, "UTC")

    def test_an_immense_range_is_refused_at_once(self) -> None:
        with pytest.raises(ValueError, match=r"from 0002-01-01 to 9998-12-31"):
            partitions_between(date(2, 1, 1), date(9998, 12, 31), HOUR, "UTC")

    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
    def test_the_last_day_of_the_calendar_can_be_reached(self, zone: str) -> None:
        found = partitions_between(date(9998, 12, 1), date(9998, 12, 31), MONTH, zone)
        assert [partition.key for partition in found] == ["9998-12"]


class TestParsing:
    @pytest.mark.parametrize(
        ("grain", "key"),
        [
            (HOUR, "2026-10-25T00"),
            (HOUR, "2026-10-25T24Z"),
            (HOUR, "2026-10-25"),
            (DAY, "2026-3-29"),
            (DAY, "20260329"),
            (DAY, "2026-02-29"),
            (DAY, "2026-03-29 "),
            (DAY, "٢٠٢٦-٠٣-٢٩"),
            (DAY, "2026-W13"),
            (WEEK, "2026-13"),
            (WEEK, "2025-W53"),
            (WEEK, "2026-W00"),
            (WEEK, "2026-W13-1"),
            (WEEK, "2026-W1"),
            (MONTH, "2026-13"),
            (MONTH, "2026-03-01"),
            (MONTH, ""),
        ],
    )
    def test_a_key_of_another_form_is_refused_with_an_example(
        self, grain: PartitionGrain, key: str
    ) -> None:
        example = partition_of(utc(2026, 3, 29, 9), grain, "UTC").key
        with pytest.raises(ValueError, match=f"is no key of grain {grain}; write for") as refused:
            partition_of_key(key, grain, "Europe/Berlin")
        suggested = str(refused.value).rpartition(" ")[2]
        assert len(suggested) == len(example)
        assert partition_of_key(suggested, grain, "Europe/Berlin").key == suggested

    def test_a_key_depends_on_the_zone(self) -> None:
        starts = [partition_of_key("2026-01-01", DAY, z).start for z in ("UTC", "Asia/Kathmandu")]
        assert starts[0] - starts[1] == timedelta(hours=5, minutes=45)


class TestRefusals:
    def test_a_datetime_without_zone_is_refused(self) -> None:
        naive = datetime(2026, 1, 1)
        for call in (
            lambda: partition_of(naive, DAY, "UTC"),
            lambda: partitions_between(naive, date(2026, 1, 2), DAY, "UTC"),
            lambda: partitions_between(date(2025, 1, 1), naive, DAY, "UTC"),
        ):
            with pytest.raises(ValueError, match="2026-01-01 00:00:00 has no time zone; use"):
                call()

    def test_a_day_has_no_hour(self) -> None:
        with pytest.raises(ValueError, match="give an aware datetime to name one"):
            partition_of(date(2026, 3, 29), HOUR, "UTC")

    @pytest.mark.parametrize("zone", ["Europe/Brelin", "", "../etc/passwd", "America"])
    def test_an_unknown_zone_is_refused(self, zone: str) -> None:
        with pytest.raises(ValueError, match="not a time zone; use an IANA name"):
            partition_of(date(2026, 3, 29), DAY, zone)

    @pytest.mark.parametrize(
        "moment", [date.min, date.max, utc(1, 12, 31), utc(9999, 1, 1)], ids=str
    )
    @each_local_grain
    def test_the_ends_of_the_calendar_are_refused(self, grain: PartitionGrain, moment: Any) -> None:
        with pytest.raises(ValueError, match="outside the years 2 to 9998"):
            partition_of(moment, grain, "UTC")

    def test_the_grain_none_is_refused_by_all_with_what_to_set(self) -> None:
        for call in (
            lambda: partition_of(date(2026, 1, 1), NONE, "UTC"),
            lambda: partitions_between(date(2026, 1, 1), date(2026, 1, 2), NONE, "UTC"),
            lambda: partition_of_key("2026-01-01", NONE, "UTC"),
        ):
            with pytest.raises(ValueError, match="set partition_grain of the pipeline"):
                call()

    def test_a_grain_of_a_newer_version_can_be_read_but_not_used(self) -> None:
        grain = TypeAdapter(PartitionGrainField).validate_python("decade", context=STORED)
        with pytest.raises(ValueError, match="grain decade has no partitions"):
            partition_of(date(2026, 3, 29), grain, "UTC")

    def test_the_stored_text_of_a_grain_will_do(self) -> None:
        stored: Any = "week"
        assert partition_of(date(2026, 3, 29), stored, "UTC").key == "2026-W13"


@each_grain
@few
@given(moment=moments, zone=zones)
def test_a_moment_lies_in_its_partition(grain: PartitionGrain, moment: datetime, zone: str) -> None:
    found = partition_of(moment, grain, zone)
    assert found.start <= moment < found.end


@each_grain
@few
@given(moment=moments, zone=zones)
def test_all_of_a_partition_has_its_key_and_what_touches_it_has_not(
    grain: PartitionGrain, moment: datetime, zone: str
) -> None:
    found = partition_of(moment, grain, zone)
    around = [found.start - INSTANT, found.start, found.end - INSTANT, found.end]
    before, first, last, after = (partition_of(near, grain, zone) for near in around)
    assert first == last == found
    assert (before.end, after.start) == (found.start, found.end)
    assert before.key < found.key < after.key


@each_grain
@few
@given(moment=moments, zone=zones)
def test_a_key_leads_back_to_its_partition(
    grain: PartitionGrain, moment: datetime, zone: str
) -> None:
    found = partition_of(moment, grain, zone)
    assert partition_of_key(found.key, grain, zone) == found


@each_grain
@few
@given(since=days, length=st.integers(1, 70), zone=zones)
def test_partitions_tile_a_range(
    grain: PartitionGrain, since: date, length: int, zone: str
) -> None:
    until = since + timedelta(days=length)
    found = partitions_between(since, until, grain, zone)
    assert [p.end for p in found[:-1]] == [p.start for p in found[1:]]
    assert all(p.start < p.end for p in found)
    assert [partition_of(p.start, grain, zone) for p in found] == found


@each_grain
@few
@given(since=days, lengths=st.tuples(st.integers(1, 40), st.integers(1, 40)), zone=zones)
def test_two_ranges_that_touch_hold_what_one_holds(
    grain: PartitionGrain, since: date, lengths: tuple[int, int], zone: str
) -> None:
    middle = since + timedelta(days=lengths[0])
    until = middle + timedelta(days=lengths[1])
    parts = [(since, middle), (middle, until)]
    found = [p for part in parts for p in partitions_between(*part, grain, zone)]
    assert found == partitions_between(since, until, grain, zone)


@few
@given(since=days, length=st.integers(1, 70), zone=zones)
def test_every_day_of_a_range_that_was_not_skipped_has_a_partition(
    since: date, length: int, zone: str
) -> None:
    every = [since + timedelta(days=n) for n in range(length + 1)]
    skipped = [("Pacific/Apia", date(2011, 12, 30))]
    existing = [day.isoformat() for day in every[:-1] if (zone, day) not in skipped]
    found = partitions_between(since, every[-1], DAY, zone)
    assert [p.key for p in found] == existing


@each_local_grain
@few
@given(moment=moments, zone=st.sampled_from(["UTC", "Asia/Tehran", "Europe/Berlin"]))
def test_the_key_is_the_local_date_where_clocks_spare_midnight(
    grain: PartitionGrain, moment: datetime, zone: str
) -> None:
    day = moment.astimezone(ZoneInfo(zone)).date()
    year, week, _ = day.isocalendar()
    expected = {DAY: str(day), WEEK: f"{year}-W{week:02}", MONTH: str(day)[:7]}
    assert partition_of(moment, grain, zone).key == expected[grain]
    assert partition_of(day, grain, zone).key == expected[grain]


@few
@given(moment=moments, zone=zones)
def test_a_week_is_seven_days_and_begins_on_monday(moment: datetime, zone: str) -> None:
    week = partition_of(moment, WEEK, zone)
    inside = partitions_between(week.start, week.end, DAY, zone)
    assert (inside[0].start, inside[-1].end) == (week.start, week.end)
    assert date.fromisoformat(inside[0].key).isoweekday() == 1
