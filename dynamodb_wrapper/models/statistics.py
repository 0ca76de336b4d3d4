"""Figures of a set of runs of a pipeline: success, duration, freshness."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.fields import to_utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dynamodb_wrapper.models.run import RunSummary

_ENDED = (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST)


@dataclass(frozen=True)
class RunStatistics:
    """Figures of a set of runs.

    The duration of a run is what it recorded, else the time from its start to its end; a run with
    neither is left out wherever durations count. Successes without an end time are left out
    wherever freshness counts.

    Attributes:
        runs: Number of runs of any status.
        by_status: Number of runs of each status that occurs.
        ended: Runs that succeeded, failed, timed out or were lost.
        success_rate: Share of `ended` that succeeded, 0 to 1; None where none ended.
        p50_seconds: Median duration of the successful runs; None without any.
        p95_seconds: 95th percentile of the same, interpolated linearly between neighbours.
        longest_seconds: The longest of the same.
        too_long: Ids of the runs of any status that took longer than `max_duration`, the longest
            first; those still running count up to now. Empty without `max_duration`.
        overdue: Ids of the runs that were live when they were read and had not renewed their lease
            in time: their drivers are most likely dead.
        seconds_since_success: Age of the newest success; None without any.
        is_stale: Whether the newest success is older than `freshness` or there is none; None
            without `freshness`.
        longest_gap_seconds: Longest time from the end of one success to the end of the next; None
            with fewer than two.
        stale_gaps: Number of those times longer than `freshness`, the one from the newest success
            to now included. 0 without any success or without `freshness`.
    """

    runs: int
    by_status: dict[str, int]
    ended: int
    success_rate: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    longest_seconds: float | None
    too_long: tuple[str, ...]
    overdue: tuple[str, ...]
    seconds_since_success: float | None
    is_stale: bool | None
    longest_gap_seconds: float | None
    stale_gaps: int


def statistics_of(
    runs: Iterable[RunSummary],
    *,
    now: datetime,
    max_duration: timedelta | None = None,
    freshness: timedelta | None = None,
) -> RunStatistics:
    """Return the figures of runs, which may come in any order.

    Args:
        runs: Runs of one pipeline. What lies before the first of them is unknown and not judged.
        now: The moment that ages and open runs are measured at.
        max_duration: Longest duration that is not too long.
        freshness: Greatest age of the newest success that is not stale.

    Raises:
        ValueError: `now` has no time zone.
    """
    now, runs = to_utc(now), list(runs)
    by_status = Counter(str(run.status) for run in runs)
    successes = [run for run in runs if run.status == RunStatus.SUCCESS]
    ended = sum(by_status[status] for status in _ENDED)
    durations = sorted(d for run in successes if (d := _duration(run, now)) is not None)
    ends = sorted(run.end_time for run in successes if run.end_time is not None)
    gaps = [after - before for before, after in zip(ends, ends[1:])]
    age = now - ends[-1] if ends else None
    return RunStatistics(
        runs=len(runs),
        by_status=dict(by_status),
        ended=ended,
        success_rate=len(successes) / ended if ended else None,
        p50_seconds=_percentile(durations, 50),
        p95_seconds=_percentile(durations, 95),
        longest_seconds=_percentile(durations, 100),
        too_long=_too_long(runs, now, max_duration),
        overdue=tuple(run.run_id for run in runs if run.is_overdue),
        seconds_since_success=None if age is None else age.total_seconds(),
        is_stale=None if freshness is None else age is None or age > freshness,
        longest_gap_seconds=max(gaps).total_seconds() if gaps else None,
        stale_gaps=_longer(gaps if age is None else [*gaps, age], freshness),
    )


def _duration(run: RunSummary, now: datetime) -> Decimal | None:
    is_running = run.status == RunStatus.RUNNING
    if run.duration_seconds is not None and not is_running:
        return run.duration_seconds
    end = now if is_running else run.end_time
    return None if run.start_time is None or end is None else _seconds(end - run.start_time)


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1)) / 1_000_000


def _percentile(ordered: Sequence[Decimal], percent: int) -> float | None:
    if not ordered:
        return None
    below, hundredths = divmod(percent * (len(ordered) - 1), 100)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return float(low + (high - low) * hundredths / 100)


def _too_long(
    runs: Iterable[RunSummary], now: datetime, max_duration: timedelta | None
) -> tuple[str, ...]:
    if max_duration is None:
        return ()
    limit = _seconds(max_duration)
    timed = [(d, run.run_id) for run in runs if (d := _duration(run, now)) is not None]
    return tuple(run_id for taken, run_id in sorted(timed, reverse=True) if taken > limit)


def _longer(gaps: Iterable[timedelta], freshness: timedelta | None) -> int:
    return 0 if freshness is None else sum(gap > freshness for gap in gaps)
