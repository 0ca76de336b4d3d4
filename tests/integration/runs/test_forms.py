"""Functions of every kind recorded as runs: no success before the work is done."""

from __future__ import annotations

import asyncio
import functools
import inspect
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import ConfigurationError
from dynamodb_wrapper.models import PipelineConfig, RunStatus
from dynamodb_wrapper.runs import Run, RunOptions, RunTracker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from dynamodb_wrapper.config import DynamoDBConfig

SKIP = RunOptions(on_conflict="skip")


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="p"),
        PipelineConfig(
            pipeline_id="daily", max_concurrent_runs=None, partition_grain="day", retention_days=7
        ),
    ]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """What many decorators make of a function."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def work(run: Run) -> str:
    run.log_metric("worked", 1)
    return run.run_id


def rows(run: Run) -> Iterator[str]:
    yield run.run_id


async def async_rows(run: Run) -> AsyncIterator[str]:
    yield run.run_id


async def later() -> Any:
    return work(None)  # type: ignore[arg-type]


class Job:
    """A callable that is no function."""

    async def __call__(self, run: Run) -> str:
        return await work(run)


class Rows:
    def __call__(self, run: Run) -> Iterator[str]:
        yield run.run_id


@pytest.mark.parametrize("function", [work, Job(), functools.partial(work)], ids=repr)
def test_an_awaited_function_is_recorded_while_it_is(
    tracker: RunTracker, function: Callable[..., Any]
) -> None:
    run_id = asyncio.run(tracker.pipeline("p")(function)())
    found = tracker.runs.get_or_raise(run_id)
    assert (found.status, found.metrics) == (RunStatus.SUCCESS, {"worked": 1})


@pytest.mark.parametrize("function", [work, rows, async_rows], ids=lambda f: f.__name__)
def test_a_wrapper_that_returns_a_promise_has_not_succeeded(
    tracker: RunTracker, function: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigurationError, match=rf"{function.__name__} returned .*RunTracker.run"):
        tracker.pipeline("p")(wrapped(function))()
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert found.status is RunStatus.FAILED
    assert tracker.holder("p") is None


def test_a_coroutine_that_returns_another_has_not_succeeded(tracker: RunTracker) -> None:
    with pytest.raises(ConfigurationError, match="later returned a coroutine"):
        asyncio.run(tracker.pipeline("p")(later)())
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert found.status is RunStatus.FAILED


def test_a_wrapper_that_awaits_by_itself_is_a_run_like_any(tracker: RunTracker) -> None:
    def awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return asyncio.run(function(*args))

        return wrapper

    run_id = tracker.pipeline("p")(awaiting(work))()
    assert tracker.runs.get_or_raise(run_id).metrics == {"worked": 1}


@pytest.mark.parametrize(
    "function",
    [functools.partial(rows), Rows(), functools.partial(async_rows)],
    ids=["partial", "callable", "async"],
)
def test_a_generator_is_refused_in_every_form(
    tracker: RunTracker, function: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigurationError, match="is a generator"):
        tracker.pipeline("p")(function)


def test_what_has_no_signature_is_a_run_all_the_same(tracker: RunTracker) -> None:
    recorded: Callable[..., int] = tracker.pipeline("p")(max)
    assert recorded(3, 7) == 7
    (found,) = tracker.runs.get_runs_by_pipeline("p")
    assert found.status is RunStatus.SUCCESS


def test_a_partial_is_given_the_run_and_hides_it(tracker: RunTracker) -> None:
    def job(run: Run, number: int, factor: int) -> int:
        run.log_metric("number", number)
        return number * factor

    recorded = tracker.pipeline("p")(functools.partial(job, factor=2))
    assert recorded(4) == 8
    assert list(inspect.signature(recorded).parameters) == ["number", "factor"]


def test_what_cannot_be_called_is_refused_naming_the_way_out(tracker: RunTracker) -> None:
    with pytest.raises(ConfigurationError, match="goes below"):
        tracker.pipeline("p")(5)  # type: ignore[call-overload]


def test_a_run_that_was_skipped_says_what_it_was_for_and_who_wanted_it(
    tracker: RunTracker,
) -> None:
    given: dict[str, Any] = {"parameters": {"n": 1}, "tags": {"team": "a"}}
    day = date(2026, 3, 29)

    @tracker.pipeline("daily", run_key=day, options=SKIP, **given)
    def job() -> str:
        return "done"

    assert job() == "done"
    with tracker.run("p") as parent:
        assert job() is None
    (listed,) = tracker.runs.get_runs_by_status(RunStatus.SKIPPED, pipeline_id="daily")
    skipped = tracker.runs.get_or_raise(listed.run_id)
    assert (skipped.status_reason, skipped.run_key) == ("already_succeeded", "2026-03-29")
    assert str(skipped.partition_start) == "2026-03-29 00:00:00+00:00"
    assert (skipped.parent_run_id, skipped.root_run_id) == (parent.run_id, parent.run_id)
    assert (skipped.parameters, skipped.tags) == ({"n": 1}, {"team": "a"})
    assert skipped.expires_at is not None
    assert skipped.duration_seconds is not None
    assert (skipped.writer, skipped.lease_until, skipped.deadline) == (None, None, None)
    assert tracker.coverage("daily", day, date(2026, 3, 30)).is_complete
    assert tracker.runs.get_running_pipelines() == []


def test_a_run_that_is_skipped_inside_of_its_own_pipeline_is_stored(
    tracker: RunTracker, local_config: DynamoDBConfig
) -> None:
    with tracker.run("p") as outer:
        assert RunTracker(local_config).pipeline("p", options=SKIP)(len)("never") is None
    (skipped,) = tracker.runs.get_runs_by_status(RunStatus.SKIPPED, pipeline_id="p")
    assert tracker.runs.get_or_raise(skipped.run_id).parent_run_id == outer.run_id
