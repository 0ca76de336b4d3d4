"""Partitions of time: the hours, days, weeks or months a pipeline works through.

Days, weeks and months are those of a time zone; weeks begin on Monday. A day begins at the first
moment whose local date is that day or a later one, so neighbours neither overlap nor leave a gap:

* Where clocks go forward over midnight, the day begins right after the jump.
* Where they go back over midnight, the day begins at its first midnight and keeps the repeated end
  of the evening before.
* A day the clocks skipped whole (2011-12-30 in Pacific/Apia) has no partition.

Hours are those of UTC in every zone, so a local hour that is repeated is two partitions.

Time zone data is the platform's, else that of tzdata. Where a government changes its rules, newer
data moves the days to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import dropwhile, islice, takewhile
from typing import TYPE_CHECKING

from dynamodb_wrapper.models.enums import PartitionGrain
from dynamodb_wrapper.models.fields import UTC, time_zone, to_utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

MAX_PARTITIONS = 100_000
_HOUR, _SECOND = timedelta(hours=1), timedelta(seconds=1)
_KEYS = {
    PartitionGrain.HOUR: ("%Y-%m-%dT%HZ", "2026-10-25T00Z"),
    PartitionGrain.DAY: ("%Y-%m-%d", "2026-03-29"),
    PartitionGrain.WEEK: ("%G-W%V", "2026-W13"),
    PartitionGrain.MONTH: ("%Y-%m", "2026-03"),
}


@dataclass(frozen=True)
class Partition:
    """A named period of time.

    Attributes:
        key: Day ``2026-03-29``, ISO week ``2026-W13``, month ``2026-03``, hour ``2026-10-25T00Z``.
        start: First moment, in UTC.
        end: First moment after it, in UTC.
    """

    key: str
    start: datetime
    end: datetime


def partition_of(moment: date | datetime, grain: PartitionGrain, zone_name: str) -> Partition:
    """Return the partition a moment lies in.

    A plain date is a local day of the zone: that day, or the week or month that holds it. An hour
    is an hour of UTC in every zone.

    Raises:
        ValueError: The moment has no time zone, is a plain date and the grain an hour, is a day
            the zone skipped, or lies outside the years 2 to 9998; the grain is none; there is no
            such zone.
    """
    grain, zone = _usable(grain), _zone(zone_name)
    if isinstance(moment, datetime):
        return next(_from(_utc(moment), grain, zone))
    return _partition_of_day(moment, grain, zone)


def partitions_between(
    since: date | datetime, until: date | datetime, grain: PartitionGrain, zone_name: str
) -> list[Partition]:
    """Return every partition that begins at `since` or later and before `until`, in order.

    A plain date stands for the beginning of that local day, so the day `until` is left out.

    Raises:
        ValueError: `since` is not before `until`, they hold more than 100,000 partitions, one has
            no time zone or lies outside the years 2 to 9998; the grain is none; there is no such
            zone.
    """
    grain, zone = _usable(grain), _zone(zone_name)
    begin, end = _beginning(since, zone), _beginning(until, zone)
    are_days = not isinstance(since, datetime) and not isinstance(until, datetime)
    # Days are compared as such: those around a skipped day begin at the same moment.
    if not (since < until if are_days else begin < end):
        raise ValueError(f"since ({since}) is not before until ({until})")
    later = (found for found in _from(begin, grain, zone) if found.start >= begin)
    inside = takewhile(lambda found: found.start < end, later)
    partitions = list(islice(inside, MAX_PARTITIONS + 1))
    if len(partitions) > MAX_PARTITIONS:
        raise ValueError(
            f"from {since} to {until} there are more than {MAX_PARTITIONS:,} partitions of grain "
            f"{grain}; ask for a shorter range"
        )
    return partitions


def partition_of_key(key: str, grain: PartitionGrain, zone_name: str) -> Partition:
    """Return the partition of a key.

    Raises:
        ValueError: It is no key of this grain, names a day the zone skipped, or lies outside the
            years 2 to 9998; the grain is none; there is no such zone.
    """
    grain = _usable(grain)
    try:
        first = _parsed(key, grain)
    except ValueError:
        raise ValueError(
            f"{key!r} is no key of grain {grain}; write for example {_KEYS[grain][1]}"
        ) from None
    return partition_of(first, grain, zone_name)


def _usable(grain: PartitionGrain) -> PartitionGrain:
    grain = PartitionGrain(grain)
    if grain not in _KEYS:
        raise ValueError(
            f"the grain {grain} has no partitions; "
            "set partition_grain of the pipeline to hour, day, week or month"
        )
    return grain


def _zone(name: str) -> ZoneInfo:
    try:
        return time_zone(name)
    except ValueError as error:
        raise ValueError(f"{name!r} {error}") from None


def _utc(moment: datetime) -> datetime:
    _check_year(moment)
    try:
        return to_utc(moment)
    except ValueError as error:
        raise ValueError(f"{moment} {error}") from None


def _check_year(day: date) -> None:
    if not date.min.year < day.year < date.max.year:
        raise ValueError(f"{day} is outside the years 2 to 9998")


def _beginning(moment: date | datetime, zone: ZoneInfo) -> datetime:
    if isinstance(moment, datetime):
        return _utc(moment)
    _check_year(moment)
    return _day_start(moment, zone)


def _partition_of_day(day: date, grain: PartitionGrain, zone: ZoneInfo) -> Partition:
    if grain is PartitionGrain.HOUR:
        raise ValueError(f"{day} is a whole day; give an aware datetime to name one of its hours")
    _check_year(day)
    first = _first_day(day, grain)
    partition = next(_calendar(first, grain, zone))
    if partition.key != _key(first, grain):
        raise ValueError(f"{day} has no partition: the clocks of {zone.key} skipped that day")
    return partition


def _from(moment: datetime, grain: PartitionGrain, zone: ZoneInfo) -> Iterator[Partition]:
    """Yield the partition that holds a moment of UTC, then those after it."""
    if grain is PartitionGrain.HOUR:
        return _hours(moment)
    first = _first_day(moment.astimezone(zone).date(), grain)
    # The moment may belong to a later day than clocks say, where they went back over midnight.
    return dropwhile(lambda found: found.end <= moment, _calendar(first, grain, zone))


def _hours(moment: datetime) -> Iterator[Partition]:
    start = moment.replace(minute=0, second=0, microsecond=0)
    while True:
        yield Partition(_key(start, PartitionGrain.HOUR), start, start + _HOUR)
        start += _HOUR


def _calendar(first: date, grain: PartitionGrain, zone: ZoneInfo) -> Iterator[Partition]:
    start = _day_start(first, zone)
    while True:
        following = _following(first, grain)
        end = _day_start(following, zone)
        if start < end:
            yield Partition(_key(first, grain), start, end)
        first, start = following, end


def _first_day(day: date, grain: PartitionGrain) -> date:
    if grain is PartitionGrain.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if grain is PartitionGrain.WEEK else day


def _following(first: date, grain: PartitionGrain) -> date:
    if grain is PartitionGrain.MONTH:
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if grain is PartitionGrain.WEEK else 1)


def _key(first: date, grain: PartitionGrain) -> str:
    pattern, example = _KEYS[grain]
    # Some platforms write years before 1000 with fewer digits.
    return first.strftime(pattern).rjust(len(example), "0")


def _parsed(key: str, grain: PartitionGrain) -> date:
    """Return the first day of a partition, or its first moment where it is an hour."""
    pattern, _ = _KEYS[grain]
    if grain is PartitionGrain.WEEK:
        moment = datetime.strptime(f"{key}-1", f"{pattern}-%u")
    else:
        moment = datetime.strptime(key, pattern)
    if _key(moment, grain) != key:
        raise ValueError("is written in another way")
    return moment.replace(tzinfo=UTC) if grain is PartitionGrain.HOUR else moment.date()


def _day_start(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment whose local date is this day or a later one."""
    midnight = datetime.combine(day, time(), zone)
    first, second = (midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return first
    # The clocks jumped over midnight, some time after `second` and not after `first`.
    before, after = 0, int((first - second) / _SECOND)
    while after - before > 1:
        middle = (before + after) // 2
        local = (second + middle * _SECOND).astimezone(zone)
        before, after = (before, middle) if local.date() >= day else (middle, after)
    return second + after * _SECOND
