"""Run records: stored, changed by the right method, listed without a scan."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import (
    IndexNotFoundError,
    InvalidTransitionError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    TransactionCanceledError,
    ValidationError,
)
from dynamodb_wrapper.models import (
    PIPELINE_RUN_LOGS,
    DataQualityResult,
    PipelineConfig,
    PipelineRunLog,
    RunErrorInfo,
    RunStatus,
    RunSummary,
    StageInfo,
    StageStatus,
    Table,
)
from dynamodb_wrapper.models.fields import utc_now
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    PipelineRunLogsRepository,
)
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunTracker
from tests.support.client_faults import lost_reply
from tests.support.engines import ScanRefusedError, recorded_operations, refuse_scan, small_pages
from tests.support.runs import abandoned, with_pipelines
from tests.support.sample_models import methods_of, use_every_common_method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig

NOW = datetime.now(timezone.utc)
PAST = NOW - timedelta(days=400)


@pytest.fixture
def runs(config: DynamoDBConfig) -> Iterator[PipelineRunLogsRepository]:
    """The runs of a fresh store; a Scan is refused throughout."""
    with_pipelines(config, PipelineConfig(pipeline_id="p"))
    with refuse_scan(client_for(config)):
        yield PipelineRunLogsRepository(config)


@pytest.fixture
def local_runs(local_config: DynamoDBConfig) -> PipelineRunLogsRepository:
    return PipelineRunLogsRepository(with_pipelines(local_config, PipelineConfig(pipeline_id="p")))


def record(number: int, **fields: Any) -> PipelineRunLog:
    """A foreign run that started `number` minutes ago."""
    values: dict[str, Any] = {
        "run_id": f"run-{number:03}",
        "pipeline_id": "p",
        "status": RunStatus.SUCCESS,
        "start_time": NOW - timedelta(minutes=number),
    }
    return PipelineRunLog(**{**values, **fields})


def expired(number: int, **fields: Any) -> PipelineRunLog:
    """A run whose TTL has passed, although nothing has deleted it yet."""
    return record(number, expires_at=NOW - timedelta(seconds=5), **fields)


def ids(found: list[RunSummary]) -> list[str]:
    return [run.run_id for run in found]


# ---- records -------------------------------------------------------------------------------------


def test_a_record_is_read_back_as_it_was_stored(runs: PipelineRunLogsRepository) -> None:
    given = record(
        1,
        stages={"load": StageInfo(status=StageStatus.SUCCESS, records_read=3)},
        metrics={"ratio": Decimal("0.25"), "count": 3, "mode": "full"},
        data_quality={"no nulls": DataQualityResult(passed=False, failed_rows=2)},
        error=RunErrorInfo(type="ValueError", message="bad"),
        parameters={"day": "2013-01-01", "share": 0.5, "nested": {"list": [1, 2.5, None, True]}},
        tags={"team": "flights"},
    )
    runs.create_run_log(given)
    assert runs.get_by_run_id("run-001", consistent=True) == given
    assert not given.data_quality_passed


def test_a_record_is_created_once(runs: PipelineRunLogsRepository) -> None:
    runs.create_run_log(record(1))
    with pytest.raises(ItemAlreadyExistsError, match="run-001"):
        runs.create_run_log(record(1))


def test_an_absent_run_is_none(runs: PipelineRunLogsRepository) -> None:
    assert runs.get_by_run_id("nobody") is None


def test_an_expired_run_is_gone_for_every_reader(runs: PipelineRunLogsRepository) -> None:
    runs.create_run_log(expired(1))
    assert runs.get_by_run_id("run-001") is None
    assert not runs.exists("run-001")
    assert runs.get_many(["run-001"]) == [None]
    assert runs.get_runs_by_pipeline("p") == []
    runs.create_run_log(record(1))
    assert runs.exists("run-001")


# ---- the one method that changes a status --------------------------------------------------------


def test_the_status_of_a_foreign_run_changes_with_its_place_in_the_lists(
    runs: PipelineRunLogsRepository,
) -> None:
    runs.create_run_log(record(1, status=RunStatus.PENDING))
    assert runs.update_run_status("run-001", "running").status is RunStatus.RUNNING
    failed = runs.update_run_status(
        "run-001", RunStatus.FAILED, reason="exception", error=RunErrorInfo(type="OSError")
    )
    assert failed.status is RunStatus.FAILED
    assert failed.error_type == "OSError"
    assert failed.duration_seconds is not None
    assert ids(runs.get_runs_by_status(RunStatus.FAILED)) == ["run-001"]
    assert runs.get_runs_by_status(RunStatus.RUNNING) == []
    assert runs.get_runs_by_status(RunStatus.PENDING) == []


def test_the_status_it_has_already_is_no_change(runs: PipelineRunLogsRepository) -> None:
    before = runs.create_run_log(record(1))
    assert runs.update_run_status("run-001", "success").row_version == before.row_version


def test_a_change_of_status_whose_reply_was_lost_says_so(
    local_runs: PipelineRunLogsRepository,
) -> None:
    local_runs.create_run_log(record(1, status="running"))
    with lost_reply(client_for(local_runs.config), "UpdateItem") as lost:
        with pytest.raises(InvalidTransitionError, match="read the item to find out") as caught:
            local_runs.update_run_status("run-001", "failed")
    assert len(lost) == 1
    assert caught.value.maybe_applied
    assert local_runs.get_or_raise("run-001").status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("before", "wanted"),
    [("success", "failed"), ("lost", "success"), ("failed", "running"), ("running", "pending")],
)
def test_an_illegal_change_names_both_statuses(
    local_runs: PipelineRunLogsRepository, before: str, wanted: str
) -> None:
    local_runs.create_run_log(record(1, status=before))
    with pytest.raises(InvalidTransitionError, match=f"from {before} to {wanted}"):
        local_runs.update_run_status("run-001", wanted)
    assert local_runs.get_or_raise("run-001").status == before


def test_an_unknown_run_has_no_status_to_change(runs: PipelineRunLogsRepository) -> None:
    with pytest.raises(ItemNotFoundError, match="nobody"):
        runs.update_run_status("nobody", "failed")


def test_ending_the_holder_by_its_status_frees_its_pipeline(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    dead = abandoned(config, "p")
    ended = runs.update_run_status(
        dead.run_id, RunStatus.CANCELLED, reason="user_cancel", detail="by the night shift"
    )
    assert ended.status is RunStatus.CANCELLED
    assert ended.status_detail == "by the night shift"
    state = RunStore.of(config).state("p")
    assert state.holder is None
    assert state.last_run_id == dead.run_id
    assert runs.get_running_pipelines() == []


def test_a_run_of_run_control_refuses_the_other_methods(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    with RunTracker(config).run("p") as run:
        whole = runs.get_or_raise(run.run_id, consistent=True)
        whole.notes = "changed"
        refusals = [
            lambda: runs.put(whole),
            lambda: runs.create(whole),
            lambda: runs.update(whole),
            lambda: runs.delete(whole),
            lambda: runs.delete(run.run_id),
            lambda: runs.delete_many([run.run_id]),
            lambda: runs.put_many([whole]),
            lambda: runs.put_many([PipelineRunLog(run_id=run.run_id, pipeline_id="p")]),
            lambda: runs.create_run_log(whole),
            lambda: runs.put(PipelineRunLog(run_id=run.run_id, pipeline_id="p")),
        ]
        for refused in refusals:
            with pytest.raises(ValidationError, match="belongs to run control"):
                refused()
        for field, value in (("status", "failed"), ("stages", {}), ("error_type", "x")):
            with pytest.raises(ValidationError, match="update_run_status"):
                runs.update(run.run_id, set={field: value})
        with pytest.raises(TransactionCanceledError), runs.transaction() as transaction:
            transaction.delete(runs, run.run_id)
    assert runs.get_or_raise(run.run_id, consistent=True).status is RunStatus.SUCCESS


def test_what_run_control_does_not_own_can_be_updated(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    with RunTracker(config).run("p") as run:
        updated = runs.update(run.run_id, set={"notes": "watch the join", ("tags", "day"): "1"})
    assert updated.notes == "watch the join"
    assert updated.tags == {"day": "1"}


# ---- parts ---------------------------------------------------------------------------------------


def test_parts_of_a_running_run_are_stored_without_reading(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    with RunTracker(config).run("p") as run:
        version = runs.get_or_raise(run.run_id, consistent=True).row_version
        with recorded_operations(client_for(config)) as operations:
            runs.add_stage_info(run.run_id, "load", StageInfo(records_read=5))
            runs.add_stage_info(run.run_id, "clean.it", StageInfo(records_written=4))
            runs.add_data_quality(run.run_id, "no nulls", DataQualityResult(passed=True))
            runs.update_run_metrics(run.run_id, {"share": 0.5}, records_read=5, records_written=4)
            runs.update_run_metrics(run.run_id, records_failed=1)
        assert set(operations) == {"UpdateItem"}
    whole = runs.get_or_raise(run.run_id, consistent=True)
    assert set(whole.stages) == {"load", "clean.it"}
    assert whole.metrics == {"share": Decimal("0.5")}
    assert whole.data_quality["no nulls"].passed
    assert (whole.records_read, whole.records_written, whole.records_failed) == (5, 4, 1)
    assert whole.row_version == version + 1, "only the end of the run raises the version"
    summary = runs.latest("p")
    assert summary is not None
    assert (summary.records_read, summary.records_written) == (5, 4)


def test_parts_of_a_run_that_ended_are_refused(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    with RunTracker(config).run("p") as run:
        pass
    for refused in (
        lambda: runs.add_stage_info(run.run_id, "late", StageInfo()),
        lambda: runs.update_run_metrics(run.run_id, {"late": 1}),
        lambda: runs.add_data_quality(run.run_id, "late", DataQualityResult(passed=True)),
    ):
        with pytest.raises(InvalidTransitionError, match="is success"):
            refused()
    with pytest.raises(ItemNotFoundError, match="nobody"):
        runs.add_stage_info("nobody", "late", StageInfo())


def test_a_stage_goes_into_a_run_that_another_program_wrote_without_stages(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    client_for(config).put_item(
        TableName=runs.table_name,
        Item={"run_id": {"S": "x"}, "pipeline_id": {"S": "p"}, "status": {"S": "running"}},
    )
    runs.add_stage_info("x", "load", StageInfo(records_read=1))
    runs.add_stage_info("x", "clean", StageInfo(records_read=2))
    assert set(runs.get_or_raise("x", consistent=True).stages) == {"load", "clean"}


def test_a_metric_that_is_no_number_is_stored_as_text(
    local_runs: PipelineRunLogsRepository,
) -> None:
    local_runs.create_run_log(record(1, status=RunStatus.RUNNING))
    local_runs.update_run_metrics("run-001", {"share": float("nan")})
    assert local_runs.get_or_raise("run-001", consistent=True).metrics == {"share": "nan"}
    with pytest.raises(ValidationError, match="share"):
        local_runs.update_run_metrics("run-001", {"share": object()})  # type: ignore[dict-item]
    with pytest.raises(ValidationError, match="at least one"):
        local_runs.update_run_metrics("run-001")


# ---- lists ---------------------------------------------------------------------------------------


def test_runs_of_a_pipeline_come_newest_first_or_in_order(
    runs: PipelineRunLogsRepository,
) -> None:
    for number in (2, 1, 3):
        runs.create_run_log(record(number))
    runs.create_run_log(record(4, pipeline_id="other"))
    assert ids(runs.get_runs_by_pipeline("p")) == ["run-001", "run-002", "run-003"]
    assert ids(runs.get_runs_by_pipeline("p", newest_first=False)) == [
        "run-003",
        "run-002",
        "run-001",
    ]
    assert ids(runs.get_runs_by_pipeline("p", limit=2)) == ["run-001", "run-002"]


def test_since_is_included_and_until_is_not(runs: PipelineRunLogsRepository) -> None:
    for number in range(5):
        runs.create_run_log(record(number))
    since, until = NOW - timedelta(minutes=3), NOW - timedelta(minutes=1)
    assert ids(runs.get_runs_by_pipeline("p", since=since, until=until)) == ["run-002", "run-003"]
    assert ids(runs.get_runs_by_pipeline("p", since=until)) == ["run-000", "run-001"]
    assert ids(runs.get_runs_by_pipeline("p", until=since)) == ["run-004"]
    with pytest.raises(ValidationError, match="no time zone"):
        runs.get_runs_by_pipeline("p", since=datetime(2026, 1, 1))
    with pytest.raises(ValidationError, match="before until"):
        runs.get_runs_by_pipeline("p", since=until, until=since)


def test_every_list_finds_its_runs_behind_pages_of_others(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    """Six expired runs, three pages of two, lie before the only one each list is to find."""
    statuses = (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.RUNNING)
    for number in range(6):
        for status in statuses:
            runs.create_run_log(expired(number, run_id=f"{status}-{number}", status=status))
    for status in statuses:
        runs.create_run_log(record(10, run_id=f"{status}-live", status=status))
    with small_pages(client_for(config)):
        assert ids(runs.get_runs_by_pipeline("p", limit=1)) == ["success-live"]
        assert len(runs.get_runs_by_pipeline("p")) == 3
        assert ids(runs.get_runs_by_status(RunStatus.RUNNING)) == ["running-live"]
        assert ids(runs.get_runs_by_status("failed", pipeline_id="p", limit=1)) == ["failed-live"]
        assert ids(runs.get_failed_runs(1)) == ["failed-live"]
        assert ids(runs.get_failed_runs(1, pipeline_id="p")) == ["failed-live"]
        assert ids(runs.get_successful_runs(1)) == ["success-live"]
        assert len(runs.get_recent_runs(1)) == 3
        latest, last_success = runs.latest("p"), runs.last_success("p")
    assert latest is not None
    assert latest.run_id == "success-live"
    assert last_success is not None
    assert last_success.run_id == "success-live"


def test_running_pipelines_are_found_behind_pages_of_entries_that_ended(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    """An index may still list a run that has ended: the run itself is read and decides."""
    client = client_for(config)
    for number in range(6):
        stale = record(number, run_id=f"stale-{number}", environment="dev")
        runs.create_run_log(stale)
        client.update_item(
            TableName=runs.table_name,
            Key={"run_id": {"S": stale.run_id}},
            UpdateExpression="SET gx_live = :e, gx_started = :s",
            ExpressionAttributeValues={":e": {"S": "dev"}, ":s": {"S": f"2000#{number}"}},
        )
    with RunTracker(config).run("p") as run, small_pages(client):
        assert ids(runs.get_running_pipelines()) == [run.run_id]
        assert runs.get_running_pipelines("prod") == []
    assert runs.get_running_pipelines() == []


def test_lists_look_back_the_given_number_of_hours(runs: PipelineRunLogsRepository) -> None:
    runs.create_run_log(record(30, status=RunStatus.FAILED))
    runs.create_run_log(record(90, status=RunStatus.FAILED))
    assert ids(runs.get_failed_runs(1)) == ["run-030"]
    assert ids(runs.get_failed_runs(2)) == ["run-030", "run-090"]
    assert ids(runs.get_recent_runs(2, limit=1)) == ["run-030"]
    with pytest.raises(ValidationError, match="hours"):
        runs.get_failed_runs(0)


def test_lists_of_an_environment_leave_out_the_others(runs: PipelineRunLogsRepository) -> None:
    runs.create_run_log(record(1, status=RunStatus.FAILED))
    runs.create_run_log(record(2, status=RunStatus.FAILED, environment="prod"))
    assert ids(runs.get_failed_runs()) == ["run-001"]
    assert ids(runs.get_failed_runs(environment="prod")) == ["run-002"]


def test_a_status_a_newer_library_wrote_is_kept(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    runs.create_run_log(record(1))
    client_for(config).update_item(
        TableName=runs.table_name,
        Key={"run_id": {"S": "run-001"}},
        UpdateExpression="SET #s = :s, invented = :i",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "hibernating"}, ":i": {"N": "7"}},
    )
    found = runs.get_or_raise("run-001")
    assert found.status == "hibernating"
    assert found.unknown_attributes == {"invented": {"N": "7"}}
    found.notes = "seen"
    runs.update(found)
    assert runs.get_or_raise("run-001").unknown_attributes == {"invented": {"N": "7"}}


def test_lists_cost_what_they_return_not_what_the_table_holds(
    local_runs: PipelineRunLogsRepository,
) -> None:
    local_runs.put_many([record(number) for number in range(400)])
    with local_runs.consumed() as latest:
        local_runs.latest("p")
        local_runs.last_success("p")
    assert latest.read_units <= 1
    with local_runs.consumed() as fifty:
        assert len(local_runs.get_runs_by_pipeline("p", limit=50)) == 50
    assert fifty.read_units <= 4


def test_a_missing_index_is_named_with_the_way_out(config: DynamoDBConfig) -> None:
    bare = Table("pipeline_run_logs", PipelineRunLog, partition_key="run_id")
    BaseDynamoRepository(config, bare).create_table()
    runs = PipelineRunLogsRepository(config)
    with pytest.raises(IndexNotFoundError, match=r"'by_pipeline'.*create_table") as refusal:
        runs.get_runs_by_pipeline("p")
    assert refusal.value.index_name == "by_pipeline"
    declared = {index.name for index in PIPELINE_RUN_LOGS.indexes}
    assert {d.what for d in runs.check_table()} >= {f"index {name}" for name in declared}


def test_create_table_adds_the_indexes_an_existing_table_lacks(
    local_config: DynamoDBConfig,
) -> None:
    bare = Table("pipeline_run_logs", PipelineRunLog, partition_key="run_id")
    BaseDynamoRepository(local_config, bare).create_table()
    runs = PipelineRunLogsRepository(local_config)
    runs.create_table()
    assert runs.check_table() == []
    assert runs.get_runs_by_pipeline("p") == []


def test_release_needs_a_reason(local_runs: PipelineRunLogsRepository) -> None:
    with pytest.raises(ValidationError, match="reason"):
        local_runs.release("p", reason=" ")


def test_the_lock_of_a_pipeline_cannot_be_deleted_as_if_it_were_a_run(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    with RunTracker(config).run("p") as run:
        for refused in (
            lambda: runs.delete("#pipeline#p"),
            lambda: runs.update("#pipeline#p", set={"notes": "x"}),
        ):
            with pytest.raises(ValidationError, match="item of run control"):
                refused()
        assert RunStore.of(config).state("p").holder == run.run_id


def test_texts_are_stored_without_secrets(local_runs: PipelineRunLogsRepository) -> None:
    runs = local_runs
    secret = "password=hunter2"
    error = RunErrorInfo(type="OSError", message=secret, stack_head=secret)
    runs.create_run_log(
        record(1, status=RunStatus.RUNNING, parameters={"password": "hunter2"}, error=error)
    )
    runs.add_stage_info("run-001", "load", StageInfo(error=f"{secret} at postgres://u:hunter2@h"))
    runs.update_run_metrics("run-001", {"login": secret, "token": "hunter2"})
    runs.add_data_quality("run-001", "check", DataQualityResult(passed=True, message=secret))
    runs.update_run_status("run-001", "failed", detail=secret, error=error)
    item = client_for(runs.config).get_item(
        TableName=runs.table_name, Key={"run_id": {"S": "run-001"}}
    )["Item"]
    assert "hunter2" not in repr(item)


def test_a_status_that_is_none_is_refused_naming_the_ones_there_are(
    local_runs: PipelineRunLogsRepository,
) -> None:
    for refused in (
        lambda: local_runs.update_run_status("run-001", "bogus"),
        lambda: local_runs.get_runs_by_status("bogus"),
    ):
        with pytest.raises(ValidationError, match="'bogus' is no RunStatus; use one of pending"):
            refused()
    with pytest.raises(ValidationError, match="calendar"):
        local_runs.get_failed_runs(hours=1e9)


def test_no_method_of_the_runs_but_scan_scans(
    runs: PipelineRunLogsRepository, config: DynamoDBConfig
) -> None:
    used = use_every_common_method(runs, [record(n) for n in range(3)])
    runs.create_run_log(record(9))
    store = RunStore.of(config)
    with RunTracker(config).run("p") as run:
        runs.add_data_quality(run.run_id, "check", DataQualityResult(passed=True))
        runs.add_stage_info(run.run_id, "load", StageInfo())
        runs.update_run_metrics(run.run_id, {"rows": 1})
        store.attach_runtime(run.run_id, {"spark_version": "0"})
        assert runs.get_running_pipelines()
        assert store.live_runs()
        store.check_parts({("metrics", "m"): 1})
        store.put_parts(run.run_id, {("metrics", "m"): 1}, writer=run.record.writer)
        store.put_chunk(run.record, "log", 1, "line", utc_now())
        assert runs.get_log_lines(run.run_id) == []
        assert runs.get_stack_trace(run.run_id) is None
        assert store.request_cancel(run.run_id, by="test")
        assert store.reap(run.run_id) is None
        lease_until = utc_now() + timedelta(hours=1)
        assert store.beat(run.record, now=utc_now(), lease_until=lease_until)
    assert store.slots("p", ["a"]) == [None]
    assert store.reset_watermark("p", "w", 1).row_version
    assert store.cursor("p", "w").value == 1
    abandoned(config, "p")
    assert runs.release("p", reason="test")
    assert store.state("p").holder is None
    runs.create_run_log(record(8, status="running", external_id="job-8", tags={"team": "a"}))
    runs.update_run_status("run-008", "failed")
    for name in ("get_runs_by_pipeline", "latest", "last_success"):
        assert getattr(runs, name)("p")
    for name in ("get_failed_runs", "get_successful_runs", "get_recent_runs"):
        assert getattr(runs, name)()
    assert runs.get_runs_by_status("failed")
    assert runs.get_by_run_id("run-008")
    assert runs.find_by_external_id("job-8") == runs.find_by_tag("team", "a")
    assert runs.children("run-008") == []
    assert runs.expire("run-008", timedelta(days=1)).expires_at is not None
    assert runs.delete("run-008") is not None
    used |= set(
        "add_data_quality add_stage_info children create_run_log expire find_by_external_id "
        "find_by_tag get_by_run_id get_failed_runs "
        "get_log_lines get_recent_runs get_running_pipelines get_runs_by_pipeline "
        "get_runs_by_status get_stack_trace get_successful_runs last_success latest release "
        "update_run_metrics update_run_status".split()
    )
    assert methods_of(runs) - used == {"scan"}
    with pytest.raises(ScanRefusedError):
        runs.scan().first()
