"""The run handle: stages, metrics, watermarks, cancellation, logs, hooks; on a real engine."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper import PipelineConfig, RunEvent, RunOptions, RunStatus, RunTracker
from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    AlreadyRunningError,
    AlreadySucceededError,
    ConfigurationError,
    InvalidTransitionError,
    ItemNotFoundError,
    LeaseLostError,
    RunCancelledError,
    RunFinishError,
    RunTimedOutError,
    ValidationError,
)
from dynamodb_wrapper.models import DataQualityResult, StageStatus
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.repositories.run_log.store import RunStore
from tests.support import faults
from tests.support.processes import eventually
from tests.support.runs import (
    STEADY,
    Clock,
    abandoned,
    beat,
    lease_ok,
    outside_of_runs,
    record_of,
    store_log_lines,
)

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="exclusive", **STEADY),
        PipelineConfig(pipeline_id="limited", max_runtime=timedelta(minutes=5), **STEADY),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None, **STEADY),
        PipelineConfig(
            pipeline_id="quick",
            heartbeat_interval=timedelta(seconds=0.2),
            lease_duration=timedelta(seconds=30),
        ),
        PipelineConfig(
            pipeline_id="daily",
            partition_grain="day",
            schedule_timezone="Europe/Berlin",
            max_concurrent_runs=None,
        ),
    ]


class TestStages:
    def test_a_stage_is_stored_with_its_order_times_and_rows(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            with run.stage("extract") as stage:
                stage.log_rows(read=10, failed=1)
                stage.log_metric("seconds", 1.5)
                during = record_of(tracker, run)
            with run.stage("load") as stage:
                stage.log_rows(written=9)
        assert during.stages["extract"].status is StageStatus.RUNNING
        assert during.current_stage == "extract"
        stages = record_of(tracker, run).stages
        assert [stages[name].seq for name in ("extract", "load")] == [1, 2]
        assert stages["extract"].records_read == 10
        assert stages["extract"].records_failed == 1
        assert stages["extract"].metrics == {"seconds": Decimal("1.5")}
        assert stages["load"].records_written == 9
        for stage in stages.values():
            assert stage.status is StageStatus.SUCCESS
            assert stage.start_time is not None
            assert stage.end_time is not None
            assert stage.duration_seconds is not None

    def test_a_stage_that_raises_is_failed_and_named_in_the_error(
        self, tracker: RunTracker
    ) -> None:
        boom = KeyError("boom")
        with pytest.raises(KeyError) as caught, tracker.run("exclusive") as run:
            with run.stage("outer"), run.stage("inner"):
                raise boom
        assert caught.value is boom
        record = record_of(tracker, run)
        assert record.stages["inner"].status is StageStatus.FAILED
        assert record.stages["outer"].status is StageStatus.FAILED
        assert record.stages["inner"].error == "KeyError: 'boom'"
        assert record.error is not None
        assert record.error.stage == "inner"

    def test_a_stage_whose_exception_was_handled_does_not_fail_the_run(
        self, tracker: RunTracker
    ) -> None:
        with tracker.run("exclusive") as run:
            with pytest.raises(KeyError), run.stage("optional"):
                raise KeyError
        record = record_of(tracker, run)
        assert record.status is RunStatus.SUCCESS
        assert record.stages["optional"].status is StageStatus.FAILED

    def test_a_stage_can_be_skipped(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run, run.stage("optional") as stage:
            stage.skip()
        assert record_of(tracker, run).stages["optional"].status is StageStatus.SKIPPED

    def test_threads_record_side_by_side_and_nothing_is_lost(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:

            def work(number: int) -> None:
                with run.stage(f"part-{number}") as stage:
                    stage.log_rows(read=number)
                run.log_metric(f"m{number}", number)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        record = record_of(tracker, run)
        assert {name: s.records_read for name, s in record.stages.items()} == {
            f"part-{n}": n for n in range(20)
        }
        assert record.metrics == {f"m{n}": n for n in range(20)}
        assert sorted(s.seq or 0 for s in record.stages.values()) == list(range(1, 21))

    def test_a_wrong_count_is_refused_where_it_is_given(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            with pytest.raises(ValidationError, match="records_read"), run.stage("s") as stage:
                stage.log_rows(read=-1)


class TestFigures:
    def test_metrics_totals_quality_inputs_and_outputs_are_stored(
        self, tracker: RunTracker
    ) -> None:
        with tracker.run("exclusive") as run:
            run.log_metric("rate", 0.25)
            run.log_metrics({"rows": 3, "source": "api"})
            run.log_rows(read=5, written=4, failed=1)
            run.log_quality("not-null", True, column="id")
            run.log_quality("range", DataQualityResult(passed=False, failed_rows=2))
            run.log_inputs("raw.orders")
            run.log_inputs("raw.customers", "raw.orders")
            run.log_output("silver.orders", rows=4, size_bytes=1024)
        record = record_of(tracker, run)
        assert record.metrics == {"rate": Decimal("0.25"), "rows": 3, "source": "api"}
        assert (record.records_read, record.records_written, record.records_failed) == (5, 4, 1)
        assert record.data_quality["not-null"].column == "id"
        assert record.data_quality["not-null"].evaluated_at is not None
        assert not record.data_quality_passed
        assert record.inputs == ["raw.orders", "raw.customers"]
        assert record.outputs["silver.orders"].rows == 4
        assert record.outputs["silver.orders"].bytes == 1024

    def test_the_summary_in_lists_shows_the_totals(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            run.log_rows(read=5, written=4)
        summary = tracker.runs.latest("exclusive")
        assert summary is not None
        assert (summary.run_id, summary.records_read, summary.records_written) == (run.run_id, 5, 4)

    def test_a_figure_that_came_to_nothing_is_stored_as_text(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run, run.stage("s") as stage:
            run.log_metrics({"mean": float("nan"), "most": Decimal("Infinity")})
            stage.log_metric("mean", float("nan"))
        record = record_of(tracker, run)
        assert record.metrics == {"mean": "nan", "most": "Infinity"}
        assert record.stages["s"].metrics == {"mean": "nan"}

    @pytest.mark.parametrize("value", [object(), {1}, [1]])
    def test_a_metric_that_cannot_be_stored_is_refused_at_once(
        self, tracker: RunTracker, value: Any
    ) -> None:
        with tracker.run("exclusive") as run, pytest.raises(ValidationError, match="m"):
            run.log_metric("m", value)
        assert record_of(tracker, run).status is RunStatus.SUCCESS

    def test_a_misspelled_detail_of_a_check_is_refused(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run, pytest.raises(ValidationError, match="failed_row"):
            run.log_quality("q", True, failed_row=1)


WATERMARKS = [
    "2026-01-01",
    7,
    10**30,
    Decimal("1.25"),
    1.5,
    True,
    date(2026, 3, 29),
    datetime(2026, 3, 29, 1, 2, 3, 4, tzinfo=timezone.utc),
    b"\x00\xff",
    {"partition": 3, "offsets": [1, 2.5, None]},
]


class TestWatermarks:
    @pytest.mark.parametrize("value", WATERMARKS, ids=lambda value: type(value).__name__)
    def test_a_value_comes_back_as_the_type_it_was_given(
        self, tracker: RunTracker, value: Any
    ) -> None:
        with tracker.run("exclusive") as run:
            run.advance_watermark("position", value)
            assert run.watermark("position") == value
        with tracker.run("exclusive") as following:
            found = following.watermark("position")
        assert found == value
        assert type(found) is type(value)

    def test_a_failed_run_moves_nothing(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            run.advance_watermark("position", 1)
        with pytest.raises(RuntimeError), tracker.run("exclusive") as run:
            run.advance_watermark("position", 2)
            raise RuntimeError
        assert tracker.watermark("exclusive", "position") == 1

    def test_a_skipped_run_moves_nothing_and_says_why(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            run.advance_watermark("position", 2)
            run.skip("no new files")
        record = record_of(tracker, run)
        assert record.status is RunStatus.SKIPPED
        assert record.status_detail == "no new files"
        assert tracker.watermark("exclusive", "position", default=0) == 0

    def test_the_history_tells_who_moved_it_from_where_to_where(self, tracker: RunTracker) -> None:
        runs = []
        for value in (1, 2, 3):
            with tracker.run("exclusive") as run:
                run.advance_watermark("position", value)
            runs.append(run.run_id)
        steps = list(tracker.watermark_history("exclusive", "position", limit=2))
        assert [(s.run_id, s.before, s.after) for s in steps] == [
            (runs[2], 2, 3),
            (runs[1], 1, 2),
        ]

    def test_going_back_is_refused_and_resetting_is_the_way(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            run.advance_watermark("position", 5)
        with tracker.run("exclusive") as run, pytest.raises(ValidationError, match="go back"):
            run.advance_watermark("position", 4)
        tracker.reset_watermark("exclusive", "position", 2)
        assert tracker.watermark("exclusive", "position") == 2

    def test_a_reset_while_a_run_is_under_way_wins_and_the_run_says_so(
        self, tracker: RunTracker
    ) -> None:
        with pytest.raises(RunFinishError, match="watermark"), tracker.run("exclusive") as run:
            assert run.watermark("position", 0) == 0
            run.advance_watermark("position", 10)
            tracker.reset_watermark("exclusive", "position", 3)
        record = record_of(tracker, run)
        assert record.status is RunStatus.SUCCESS
        assert record.watermark_conflict
        assert record.watermarks == {}
        assert tracker.watermark("exclusive", "position") == 3
        with tracker.run("exclusive") as following:
            assert following.watermark("position") == 3

    def test_a_value_over_64_kb_is_refused_and_one_below_is_kept(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            with pytest.raises(ValidationError, match="65,536"):
                run.advance_watermark("position", "x" * 65_537)
            run.advance_watermark("position", "x" * 65_536)
        assert tracker.watermark("exclusive", "position") == "x" * 65_536

    @pytest.mark.parametrize("value", [object(), {1, 2}, datetime(2026, 1, 1)])
    def test_a_value_of_another_kind_is_refused(self, tracker: RunTracker, value: Any) -> None:
        with tracker.run("exclusive") as run, pytest.raises(ValidationError, match="'position'"):
            run.advance_watermark("position", value)

    def test_a_pipeline_without_limit_has_no_watermarks(self, tracker: RunTracker) -> None:
        with tracker.run("unlimited") as run:
            with pytest.raises(ValidationError, match="exclusive"):
                run.watermark("position")
            with pytest.raises(ValidationError, match="exclusive"):
                run.advance_watermark("position", 1)


class TestRunKeys:
    def test_a_run_key_succeeds_once(self, tracker: RunTracker) -> None:
        with tracker.run("daily", run_key="2026-03-29") as run:
            pass
        with pytest.raises(AlreadySucceededError) as refusal:
            tracker.start("daily", run_key=date(2026, 3, 29))
        assert refusal.value.succeeded_run_id == run.run_id

    def test_a_day_begins_and_ends_in_the_time_zone_of_the_pipeline(
        self, tracker: RunTracker
    ) -> None:
        with tracker.run("daily", run_key=date(2026, 3, 29)) as run:
            pass
        record = record_of(tracker, run)
        assert record.run_key == "2026-03-29"
        assert record.partition_start == datetime(2026, 3, 28, 23, tzinfo=timezone.utc)
        assert record.partition_end == datetime(2026, 3, 29, 22, tzinfo=timezone.utc)

    def test_another_attempt_is_numbered_and_names_the_one_before(
        self, tracker: RunTracker
    ) -> None:
        with pytest.raises(RuntimeError), tracker.run("daily", run_key="2026-03-29") as first:
            raise RuntimeError
        with tracker.run("daily", run_key="2026-03-29") as second:
            pass
        record = record_of(tracker, second)
        assert (record.attempt, record.previous_run_id) == (2, first.run_id)

    def test_a_rerun_that_fails_does_not_uncover_the_key(self, tracker: RunTracker) -> None:
        with tracker.run("daily", run_key="2026-03-29"):
            pass
        again = RunOptions(rerun=True)
        with pytest.raises(RuntimeError), tracker.run("daily", run_key="2026-03-29", options=again):
            raise RuntimeError
        coverage = tracker.coverage("daily", date(2026, 3, 29), date(2026, 3, 30))
        assert coverage.is_complete
        with pytest.raises(AlreadySucceededError):
            tracker.start("daily", run_key="2026-03-29")

    def test_a_run_key_at_work_is_refused_to_others(self, tracker: RunTracker) -> None:
        with tracker.run("daily", run_key="2026-03-29") as run:
            with pytest.raises(AlreadyRunningError) as refusal:
                outside_of_runs(tracker.start, "daily", run_key="2026-03-29")
            outside_of_runs(tracker.start, "daily", run_key="2026-03-30").finish()
        assert refusal.value.holder == run.run_id

    def test_a_key_that_is_none_of_the_grain_is_refused_with_an_example(
        self, tracker: RunTracker
    ) -> None:
        with pytest.raises(ValidationError, match=r"20260329.*2026-"):
            tracker.start("daily", run_key="20260329")
        with pytest.raises(ValidationError, match="exclusive"):
            tracker.start("exclusive", run_key=date(2026, 3, 29))

    def test_any_key_will_do_where_the_pipeline_has_no_grain(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive", run_key="batch/17"):
            pass
        with pytest.raises(AlreadySucceededError):
            tracker.start("exclusive", run_key="batch/17")
        with pytest.raises(ValidationError, match="run_key"):
            tracker.start("exclusive", run_key="a#b")


class TestStopping:
    def test_a_request_to_cancel_is_seen_by_the_beat(self, tracker: RunTracker) -> None:
        with pytest.raises(RunCancelledError, match="ops"), tracker.run("quick") as run:
            run.raise_if_cancelled()
            tracker.cancel(run.run_id, by="ops")
            eventually(lambda: run.record.cancel_requested_at is not None)
            run.raise_if_cancelled()
        record = record_of(tracker, run)
        assert (record.status, record.status_reason) == (RunStatus.CANCELLED, "user_cancel")
        assert record.cancel_requested_by == "ops"

    def test_a_request_to_cancel_stops_the_next_stage(self, tracker: RunTracker) -> None:
        with pytest.raises(RunCancelledError), tracker.run("exclusive") as run:
            tracker.cancel(run.run_id, by="ops")
            assert beat(run)
            with run.stage("next"):
                pytest.fail("the stage was entered")
        assert record_of(tracker, run).status is RunStatus.CANCELLED

    def test_a_body_that_succeeds_all_the_same_has_succeeded(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            tracker.cancel(run.run_id, by="ops")
            beat(run)
        assert record_of(tracker, run).status is RunStatus.SUCCESS

    def test_only_live_runs_can_be_cancelled(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            pass
        with pytest.raises(InvalidTransitionError, match="success"):
            tracker.cancel(run.run_id, by="ops")
        with pytest.raises(ItemNotFoundError):
            tracker.cancel("nobody", by="ops")

    def test_a_cancelled_child_is_an_error_of_its_parent(self, tracker: RunTracker) -> None:
        with pytest.raises(RunCancelledError), tracker.run("exclusive") as parent:
            with tracker.run("unlimited") as child:
                tracker.cancel(child.run_id, by="ops")
                beat(child)
                child.raise_if_cancelled()
        assert record_of(tracker, child).status is RunStatus.CANCELLED
        assert record_of(tracker, parent).status is RunStatus.FAILED
        assert record_of(tracker, child).root_run_id == parent.run_id

    def test_a_run_past_its_deadline_stops_where_it_asks(
        self, local_tables: DynamoDBConfig
    ) -> None:
        clock = Clock()
        tracker = RunTracker(local_tables, clock=clock)
        with pytest.raises(RunTimedOutError), tracker.run("limited") as run:
            run.check_lease()
            clock.advance(minutes=6)
            run.check_lease()
        record = record_of(tracker, run)
        assert (record.status, record.status_reason) == (RunStatus.TIMED_OUT, "max_runtime")
        assert record.deadline is not None

    def test_a_run_past_its_deadline_that_succeeds_has_succeeded(
        self, local_tables: DynamoDBConfig
    ) -> None:
        clock = Clock()
        tracker = RunTracker(local_tables, clock=clock)
        with tracker.run("limited") as run:
            clock.advance(minutes=6)
        assert record_of(tracker, run).status is RunStatus.SUCCESS

    def test_a_lease_that_ran_out_is_noticed_without_asking_anybody(
        self, local_tables: DynamoDBConfig
    ) -> None:
        clock = Clock()
        tracker = RunTracker(local_tables, clock=clock)
        with tracker.run("exclusive") as run:
            assert lease_ok(run)
            clock.advance(hours=5)
            assert not lease_ok(run)
            with pytest.raises(LeaseLostError, match="renew"):
                run.check_lease()
            assert beat(run)
            run.check_lease()
        assert record_of(tracker, run).status is RunStatus.SUCCESS


class TestBeats:
    def test_the_first_beat_makes_a_short_lease_the_whole(
        self, local_tables: DynamoDBConfig
    ) -> None:
        clock = Clock()
        tracker = RunTracker(local_tables, clock=clock)
        with tracker.run("exclusive") as run:
            first = record_of(tracker, run)
            assert first.lease_until == first.heartbeat_at + timedelta(seconds=90)
            clock.advance(seconds=30)
            beat(run)
            second = record_of(tracker, run)
            assert second.heartbeat_at == clock.now
            assert second.lease_until == clock.now + timedelta(hours=4)
        assert record_of(tracker, run).lease_until is None

    def test_a_beat_by_hand_shows_a_request_to_cancel(self, tracker: RunTracker) -> None:
        with pytest.raises(RunCancelledError), tracker.run("exclusive") as run:
            assert run.beat()
            tracker.cancel(run.run_id, by="an operator")
            assert run.beat()
            run.raise_if_cancelled()
        assert record_of(tracker, run).status is RunStatus.CANCELLED
        assert not run.beat()

    def test_a_beat_does_not_raise_the_version_of_the_run(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            before = record_of(tracker, run).row_version
            beat(run)
            assert record_of(tracker, run).row_version == before

    def test_the_thread_beats_by_itself_and_ends_with_the_run(self, tracker: RunTracker) -> None:
        with tracker.run("quick") as run:
            start = record_of(tracker, run).heartbeat_at
            eventually(lambda: record_of(tracker, run).heartbeat_at > start)
            name = f"dynamodb-wrapper-heartbeat-{run.run_id}"
            assert name in {thread.name for thread in threading.enumerate()}
        eventually(lambda: name not in {thread.name for thread in threading.enumerate()})

    def test_what_could_not_be_stored_goes_with_the_next_beat(
        self, local_tables: DynamoDBConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        tracker = RunTracker(local_tables)
        client = client_for(local_tables.impatient())
        with tracker.run("quick") as run:
            with faults.injected(client, faults.reset, "UpdateItem"):
                run.log_metric("a", 1)
                run.log_metric("b", 2)
            eventually(lambda: record_of(tracker, run).metrics == {"a": 1, "b": 2})
        assert caplog.text.count("could not be stored; they are kept") == 1

    def test_what_never_could_be_stored_goes_with_the_end(
        self, local_tables: DynamoDBConfig
    ) -> None:
        tracker = RunTracker(local_tables)
        client = client_for(local_tables.impatient())
        with tracker.run("exclusive") as run:
            with faults.injected(client, faults.reset, "UpdateItem"), run.stage("s") as stage:
                stage.log_rows(read=3)
                run.log_metric("a", 1)
        record = record_of(tracker, run)
        assert record.metrics == {"a": 1}
        assert record.stages["s"].records_read == 3

    def test_a_lease_at_risk_is_reported_once(self, local_tables: DynamoDBConfig) -> None:
        told: list[str] = []
        PipelineConfigRepository(local_tables).create(
            PipelineConfig(
                pipeline_id="brief",
                heartbeat_interval=timedelta(seconds=0.2),
                lease_duration=timedelta(seconds=1.5),
            )
        )
        tracker = RunTracker(local_tables, hooks=[lambda event: told.append(event.kind)])
        client = client_for(local_tables.impatient())
        with tracker.run("brief") as run:
            with faults.injected(client, faults.reset, "UpdateItem"):
                eventually(lambda: not lease_ok(run))
                eventually(lambda: "lease_at_risk" in told)
                with pytest.raises(LeaseLostError):
                    run.check_lease()
            eventually(lambda: lease_ok(run))
        assert told.count("lease_at_risk") == 1
        assert record_of(tracker, run).status is RunStatus.SUCCESS

    def test_a_run_that_was_released_learns_it_from_the_beat(self, tracker: RunTracker) -> None:
        with pytest.raises(RunFinishError, match="lost"), tracker.run("exclusive") as run:
            tracker.release("exclusive", reason="stuck")
            assert not beat(run)
            assert not lease_ok(run)
            with pytest.raises(LeaseLostError, match="ended by another process"):
                run.check_lease()
            run.log_metric("late", 1)
        record = record_of(tracker, run)
        assert (record.status, record.status_reason) == (RunStatus.LOST, "released")
        assert record.late_outcome == "success"
        assert "late" not in record.metrics


class TestLogs:
    def test_lines_of_the_driver_are_stored_with_the_run(self, tracker: RunTracker) -> None:
        log = logging.getLogger("my.pipeline")
        with tracker.run("exclusive") as run:
            log.warning("slow source, password=hunter2-hunter2")
            log.info("not stored")
            log.error("line one\nline two")
        lines = tracker.runs.get_log_lines(run.run_id)
        assert len(lines) == 3
        assert "WARNING my.pipeline: slow source, password=***" in lines[0]
        assert lines[2] == "    line two"
        assert record_of(tracker, run).logs.lines == 2

    def test_lines_beyond_the_limit_are_counted(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            for number in range(600):
                logging.getLogger("my").warning("line %d", number)
        record = record_of(tracker, run)
        assert (record.logs.lines, record.logs.dropped) == (500, 100)
        assert len(tracker.runs.get_log_lines(run.run_id)) == 500

    @pytest.mark.parametrize(("length", "kept"), [(1, 500), (4000, 65)], ids=["lines", "bytes"])
    def test_lines_beyond_the_limit_cost_the_job_nothing(
        self, tracker: RunTracker, length: int, kept: int
    ) -> None:
        formatted: list[int] = []

        class Line:
            def __str__(self) -> str:
                formatted.append(1)
                return "x" * length

        log = logging.getLogger("my.pipeline.of.many.lines")
        log.addHandler(logging.NullHandler())
        with tracker.run("exclusive") as run:
            before = list(logging.getLogger().handlers)
            logging.getLogger().handlers = []
            try:
                for _ in range(600):
                    log.warning("%s", Line())
            finally:
                logging.getLogger().handlers = before
        logs = record_of(tracker, run).logs
        assert logs.lines + logs.dropped == 600
        assert logs.lines in (kept - 1, kept)
        assert len(formatted) <= kept + 1

    def test_only_a_line_feed_ends_a_line(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            logging.getLogger("my").warning("one\u2028two\x0cthree\rfour\x85five")
            logging.getLogger("my").warning("six\nseven")
        lines = tracker.runs.get_log_lines(run.run_id)
        assert [line.partition("my: ")[2] or line for line in lines] == [
            "one\u2028two\x0cthree\rfour\x85five",
            "six",
            "    seven",
        ]

    def test_a_line_that_comes_while_others_are_stored_is_counted_once(
        self, tracker: RunTracker, local_tables: DynamoDBConfig
    ) -> None:
        log = logging.getLogger("my")

        def meanwhile(request: Any) -> None:
            log.warning("head\nbody\ntail")

        with tracker.run("exclusive") as run:
            log.warning("first")
            client = client_for(local_tables.impatient())
            with faults.injected(client, meanwhile, "PutItem", times=1):
                store_log_lines(run)
            assert record_of(tracker, run).logs.lines == 1
        assert record_of(tracker, run).logs.lines == 2

    def test_large_lines_are_stored_in_several_chunks(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            for number in range(50):
                logging.getLogger("my").warning("%04d%s", number, "x" * 3500)
        record = record_of(tracker, run)
        assert record.logs.chunks > 1
        lines = tracker.runs.get_log_lines(run.run_id)
        assert [line.partition("my: ")[2][:4] for line in lines] == [f"{n:04d}" for n in range(50)]

    def test_lines_come_with_the_beat_already(self, tracker: RunTracker) -> None:
        with tracker.run("quick") as run:
            logging.getLogger("my").warning("early")
            eventually(lambda: tracker.runs.get_log_lines(run.run_id))

    def test_a_line_belongs_to_the_innermost_run(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as parent, tracker.run("unlimited") as child:
            logging.getLogger("my").warning("inner")
        assert tracker.runs.get_log_lines(parent.run_id) == []
        assert len(tracker.runs.get_log_lines(child.run_id)) == 1

    def test_nothing_is_captured_after_the_run_or_when_switched_off(
        self, tracker: RunTracker
    ) -> None:
        before = list(logging.getLogger().handlers)
        with tracker.run("exclusive", options=RunOptions(capture_logs=None)) as run:
            logging.getLogger("my").warning("no")
        assert tracker.runs.get_log_lines(run.run_id) == []
        assert logging.getLogger().handlers == before

    def test_a_long_stack_trace_is_stored_whole(self, tracker: RunTracker) -> None:
        def deep(level: int) -> None:
            if level == 0:
                raise ValueError("deep" * 1000)
            deep(level - 1)

        causes: list[BaseException] = []
        try:
            for _ in range(12):
                try:
                    deep(5)
                except ValueError as error:
                    raise RuntimeError("again" * 500) from error
        except RuntimeError as error:
            causes.append(error)
        with pytest.raises(RuntimeError), tracker.run("exclusive") as run:
            raise causes[0]
        record = record_of(tracker, run)
        assert record.error is not None
        assert record.error.chunks == 1
        whole = tracker.runs.get_stack_trace(run.run_id)
        assert whole is not None
        assert whole.startswith("Traceback")
        assert "deep" * 500 in whole
        assert len(whole) > 4096

    def test_errors_of_one_place_have_one_fingerprint(self, tracker: RunTracker) -> None:
        def fails(text: str, kind: type[Exception] = ValueError) -> str:
            with pytest.raises(kind), tracker.run("exclusive") as run:
                raise kind(text)
            error = record_of(tracker, run).error
            assert error is not None
            assert error.fingerprint is not None
            return error.fingerprint

        assert fails("one") == fails("two")
        assert fails("one") != fails("one", KeyError)


class TestHooks:
    def test_hooks_are_called_in_order(self, local_tables: DynamoDBConfig) -> None:
        events: list[RunEvent] = []
        tracker = RunTracker(local_tables, hooks=[events.append])
        with tracker.run("exclusive") as run:
            assert [event.kind for event in events] == ["started"]
        with pytest.raises(RuntimeError), tracker.run("exclusive"):
            raise RuntimeError
        assert [(event.kind, event.status) for event in events] == [
            ("started", "running"),
            ("finished", "success"),
            ("started", "running"),
            ("finished", "failed"),
            ("failed", "failed"),
        ]
        assert events[1].run_id == run.run_id
        assert events[1].stored

    def test_a_hook_can_never_break_a_run(
        self, local_tables: DynamoDBConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        def bad(_event: RunEvent) -> None:
            raise SystemExit(3)

        seen: list[str] = []
        tracker = RunTracker(local_tables, hooks=[bad, lambda event: seen.append(event.kind)])
        with tracker.run("exclusive") as run:
            pass
        assert seen == ["started", "finished"]
        assert record_of(tracker, run).status is RunStatus.SUCCESS
        assert "A hook failed" in caplog.text

    def test_the_one_who_takes_over_tells_that_a_run_is_lost(
        self, local_tables: DynamoDBConfig
    ) -> None:
        events: list[RunEvent] = []
        clock = Clock()
        dead = abandoned(local_tables, "exclusive")
        tracker = RunTracker(local_tables, hooks=[events.append], clock=clock)
        clock.advance(hours=5)
        with tracker.run("exclusive"):
            pass
        assert (events[0].kind, events[0].run_id, events[0].status) == ("lost", dead.run_id, "lost")


class TestForms:
    def test_a_decorated_function_is_a_run_and_may_ask_for_it(self, tracker: RunTracker) -> None:
        @tracker.pipeline("exclusive", tags={"team": "a"})
        def job(run: Run, number: int) -> int:
            run.log_metric("number", number)
            return number + 1

        assert job(1) == 2
        assert list(inspect.signature(job).parameters) == ["number"]
        latest = tracker.runs.latest("exclusive")
        assert latest is not None
        record = tracker.runs.get_or_raise(latest.run_id)
        assert record.metrics == {"number": 1}
        assert record.tags == {"team": "a"}
        assert job.__name__ == "job"

    def test_a_decorated_coroutine_is_recorded_while_it_is_awaited(
        self, tracker: RunTracker
    ) -> None:
        @tracker.pipeline("exclusive")
        async def job() -> str:
            await asyncio.sleep(0)
            raise KeyError("x")

        with pytest.raises(KeyError):
            asyncio.run(job())
        latest = tracker.runs.latest("exclusive")
        assert latest is not None
        assert latest.status is RunStatus.FAILED

    def test_a_generator_is_refused_because_calling_it_runs_nothing(
        self, tracker: RunTracker
    ) -> None:
        def rows() -> Any:
            yield 1

        with pytest.raises(ConfigurationError, match="generator"):
            tracker.pipeline("exclusive")(rows)

    def test_a_function_that_cannot_begin_may_be_skipped(self, tracker: RunTracker) -> None:
        called = []

        @tracker.pipeline("exclusive", options=RunOptions(on_conflict="skip"))
        def job() -> str:
            called.append(1)
            return "done"

        held = outside_of_runs(tracker.start, "exclusive")
        assert job() is None
        held.finish()
        assert called == []
        skipped = tracker.runs.get_runs_by_status(RunStatus.SKIPPED, pipeline_id="exclusive")
        assert [run.status_reason for run in skipped] == ["concurrency_limit"]
        assert job() == "done"

    def test_a_function_whose_key_has_succeeded_may_be_skipped(self, tracker: RunTracker) -> None:
        skip = RunOptions(on_conflict="skip")

        @tracker.pipeline("daily", run_key="2026-03-29", options=skip)
        def job() -> str:
            return "done"

        assert [job(), job()] == ["done", None]
        skipped = tracker.runs.get_runs_by_status(RunStatus.SKIPPED, pipeline_id="daily")
        assert [run.status_reason for run in skipped] == ["already_succeeded"]

    def test_a_notebook_starts_and_finishes_in_different_cells(self, tracker: RunTracker) -> None:
        run = tracker.start("exclusive")
        run.log_metric("cells", 2)
        run.finish()
        run.finish()
        assert record_of(tracker, run).status is RunStatus.SUCCESS
        with pytest.raises(InvalidTransitionError, match=r"success.*failed"):
            run.fail(ValueError("too late"))

    def test_a_notebook_can_store_a_failure(self, tracker: RunTracker) -> None:
        run = tracker.start("exclusive")
        run.fail(ValueError("bad data"))
        record = record_of(tracker, run)
        assert record.status is RunStatus.FAILED
        assert record.error is not None
        assert record.error.message == "bad data"

    def test_a_body_may_end_its_run_by_itself(self, tracker: RunTracker) -> None:
        with tracker.run("exclusive") as run:
            run.finish()
        with pytest.raises(KeyError), tracker.run("exclusive") as other:
            other.finish()
            raise KeyError
        assert record_of(tracker, run).status is RunStatus.SUCCESS
        assert record_of(tracker, other).status is RunStatus.SUCCESS

    def test_waiting_begins_once_the_holder_has_ended(self, tracker: RunTracker) -> None:
        held = outside_of_runs(tracker.start, "exclusive")
        threading.Timer(1.0, held.finish).start()
        with tracker.run("exclusive", options=RunOptions(on_conflict="wait", wait_seconds=60)):
            pass
        assert RunStore.of(tracker.runs.config).state("exclusive").holder is None

    def test_waiting_ends_with_the_name_of_the_holder(self, tracker: RunTracker) -> None:
        held = outside_of_runs(tracker.start, "exclusive")
        brief = RunOptions(on_conflict="wait", wait_seconds=0.5)
        with pytest.raises(AlreadyRunningError) as refusal:
            tracker.start("exclusive", options=brief)
        assert refusal.value.holder == held.run_id
        held.finish()

    def test_who_holds_a_pipeline_can_be_asked(self, tracker: RunTracker) -> None:
        assert tracker.holder("exclusive") is None
        with tracker.run("exclusive") as run:
            holder = tracker.holder("exclusive")
            assert holder is not None
            assert holder.run_id == run.run_id
        assert tracker.holder("exclusive") is None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"on_conflict": "maybe"},
            {"tracking": "no"},
            {"exit_zero": 0},
            {"capture_logs": "LOUD"},
            {"wait_seconds": 0},
            {"finish_seconds": -1},
        ],
        ids=str,
    )
    def test_a_wrong_option_is_refused_by_its_name(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            RunOptions(**wrong)

    def test_a_lease_shorter_than_three_beats_is_refused(self) -> None:
        with pytest.raises(ValueError, match="three times"):
            PipelineConfig(pipeline_id="p", lease_duration=timedelta(seconds=60))


# ---- totals --------------------------------------------------------------------------------------


def totals(tracker: RunTracker, run_id: str) -> tuple[int | None, int | None, int | None]:
    run = tracker.runs.get_or_raise(run_id)
    return run.records_read, run.records_written, run.records_failed


def test_totals_that_were_not_logged_are_the_sums_of_the_stages(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        for name, read in (("load", 5), ("join", 2)):
            with run.stage(name) as stage:
                stage.log_rows(read=read, written=1, failed=0)
        with run.stage("clean"):
            pass
    assert totals(tracker, run.run_id) == (7, 2, 0)


def test_rows_written_are_the_sum_of_the_outputs_if_the_run_has_some(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        with run.stage("load") as stage:
            stage.log_rows(written=99)
        run.log_output("a", rows=5)
        run.log_output("b", rows=2)
        run.log_output("a", rows=3)
    assert totals(tracker, run.run_id) == (None, 5, None)


def test_an_output_without_rows_leaves_the_total_unknown(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        run.log_output("a", rows=5)
        run.log_output("b")
    assert totals(tracker, run.run_id) == (None, None, None)


def test_totals_that_were_logged_stay(tracker: RunTracker) -> None:
    with tracker.run("exclusive") as run:
        with run.stage("load") as stage:
            stage.log_rows(read=5, written=5)
        run.log_output("a", rows=5)
        run.log_rows(read=1, written=2)
    assert totals(tracker, run.run_id) == (1, 2, None)
