"""Outages of runs: retried, kept in the spool, replayed; and no body is delayed."""

from __future__ import annotations

import json
import logging
import stat
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectionClosedError

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import RunFinishError, RunStartError, ValidationError
from dynamodb_wrapper.models import PipelineConfig, RunStatus, utc_now
from dynamodb_wrapper.repositories import PipelineConfigRepository
from dynamodb_wrapper.repositories.run_log.store import RunStore
from dynamodb_wrapper.runs import RunOptions, RunTracker
from dynamodb_wrapper.runs.__main__ import main
from tests.support import faults
from tests.support.engines import Capability, isolated
from tests.support.processes import eventually
from tests.support.runs import (
    is_tracked,
    later,
    lease_ok,
    plain_client,
    run_table_items,
    stored,
    with_pipelines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import Run
    from tests.support.engines import Engine

SOON = RunOptions(finish_seconds=0.2)
BEST_EFFORT = RunOptions(finish_seconds=0.2, tracking="best_effort")
PIPELINES = (
    PipelineConfig(pipeline_id="exclusive"),
    PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None),
    PipelineConfig(pipeline_id="beating", heartbeat_interval=timedelta(seconds=0.2)),
)


@pytest.fixture
def every(engine: Engine, config: DynamoDBConfig, tmp_path: Path) -> DynamoDBConfig:
    """Tables, pipelines and a spool on every engine that keeps up, and little patience."""
    engine.require(Capability.ATOMIC_WRITES)
    return prepared(config, tmp_path)


@pytest.fixture(scope="module")
def shared(local_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> DynamoDBConfig:
    """The same on the embedded engine, for all tests."""
    return prepared(isolated(local_engine.config), tmp_path_factory.mktemp("shared"))


@pytest.fixture
def hasty(shared: DynamoDBConfig) -> DynamoDBConfig:
    """The same as if nothing had run yet."""
    client, table_name = plain_client(shared), shared.table_name("pipeline_run_logs")
    for key in run_table_items(shared):
        client.delete_item(TableName=table_name, Key={"run_id": {"S": key}})
    for path in spooled(shared):
        path.unlink()
    PipelineConfigRepository(shared).put_many(PIPELINES)
    return shared


def prepared(config: DynamoDBConfig, directory: Path) -> DynamoDBConfig:
    settings = {"max_attempts": 2, "spool_directory": str(directory / "spool")}
    changed = config.model_copy(update=settings)
    return with_pipelines(changed, *PIPELINES)


@contextmanager
def ends_in_an_outage(
    config: DynamoDBConfig, pipeline_id: str = "exclusive", **how: Any
) -> Iterator[Run]:
    """Record the block as a run; when it ends, DynamoDB is away, and it comes back after that."""
    options = how.pop("options", SOON)
    with ExitStack() as afterwards:
        with RunTracker(config).run(pipeline_id, options=options, **how) as run:
            try:
                yield run
            finally:
                afterwards.enter_context(faults.outage(config))


def variables(config: DynamoDBConfig) -> dict[str, str]:
    """What leads a command to the tables of a config."""
    return {
        "AWS_REGION": str(config.region_name),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "DYNAMODB_ENDPOINT_URL": str(config.endpoint_url),
        "DYNAMODB_TABLE_PREFIX": str(config.table_prefix),
        "DYNAMODB_SPOOL_DIRECTORY": str(config.spool_directory),
    }


def spooled(config: DynamoDBConfig) -> list[Path]:
    """Files of the spool."""
    directory = Path(str(config.spool_directory))
    return sorted(directory.iterdir()) if directory.is_dir() else []


def runs_of(config: DynamoDBConfig, pipeline_id: str) -> dict[str, str]:
    """Status by run id, as plain boto3 reads it."""
    return {
        key: str(item["status"])
        for key, item in run_table_items(config).items()
        if item["kind"] == "RUN" and item["pipeline_id"] == pipeline_id
    }


# ---- on every engine -----------------------------------------------------------------------------


def test_the_next_start_stores_the_end_that_an_outage_kept_from_the_store(
    every: DynamoDBConfig,
) -> None:
    with pytest.raises(RunFinishError) as told:
        with ends_in_an_outage(every, run_key="monday") as run:
            run.advance_watermark("position", 7)
            run.log_metric("rows", 7)
    assert (told.value.run_id, told.value.outcome) == (run.run_id, "success")
    assert stored(every, run.run_id).status is RunStatus.RUNNING
    with RunTracker(every).run("exclusive", run_key="tuesday") as successor:
        assert successor.watermark("position") == 7
        assert stored(every, run.run_id).status is RunStatus.SUCCESS
    assert spooled(every) == []
    slot = RunStore.of(every).slots("exclusive", ["monday"])[0]
    assert slot is not None
    assert (slot.status, slot.success_run_id) == ("success", run.run_id)


def test_an_error_that_an_outage_kept_from_the_store_is_replayed_with_all_its_text(
    every: DynamoDBConfig,
) -> None:
    error = ValueError("a long text " * 1000)
    with pytest.raises(ValueError, match="a long text") as caught:
        with ends_in_an_outage(every, "unlimited") as run:
            raise error
    assert caught.value is error
    assert len(caught.value.__notes__) == 1
    assert spooled(every)[0].name in caught.value.__notes__[0]
    assert [one.stored for one in RunTracker(every).replay_outcomes()] == [True]
    record = stored(every, run.run_id)
    assert (record.status, record.error_type) == (RunStatus.FAILED, "ValueError")
    assert str(error) in (RunTracker(every).runs.get_stack_trace(run.run_id) or "")


@pytest.mark.parametrize("pipeline_id", ["exclusive", "unlimited"])
def test_replies_lost_at_the_start_and_at_the_end_leave_one_run(
    every: DynamoDBConfig, pipeline_id: str
) -> None:
    start, end = client_for(every), client_for(every.impatient())
    lost = faults.lost_reply
    with faults.injected(start, lost, "TransactWriteItems", times=1) as at_start:
        with faults.injected(end, lost, "TransactWriteItems", times=1) as at_end:
            with RunTracker(every).run(pipeline_id) as run:
                pass
    assert (len(at_start), len(at_end)) == (1, 1)
    assert runs_of(every, pipeline_id) == {run.run_id: "success"}


# ---- trouble that passes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(faults.ALL) - {"access denied"}))
def test_trouble_at_the_end_is_tried_again_until_the_time_is_used_up(
    hasty: DynamoDBConfig, name: str
) -> None:
    trouble = faults.injected(client_for(hasty.impatient()), faults.ALL[name], times=3)
    with ExitStack() as afterwards:
        with RunTracker(hasty).run("exclusive") as run:
            met = afterwards.enter_context(trouble)
    assert len(met) == 3
    assert stored(hasty, run.run_id).status is RunStatus.SUCCESS
    assert spooled(hasty) == []


def test_a_conflict_at_the_start_is_tried_again(hasty: DynamoDBConfig) -> None:
    conflict = faults.cancelled("None", "TransactionConflict")
    trouble = faults.injected(client_for(hasty), conflict, "TransactWriteItems", times=3)
    with trouble as met, RunTracker(hasty).run("exclusive") as run:
        pass
    assert len(met) == 3
    assert stored(hasty, run.run_id).status is RunStatus.SUCCESS


@pytest.mark.parametrize("of_the_end", [False, True])
def test_what_landed_under_a_forgotten_token_is_recognised_by_its_writer(
    hasty: DynamoDBConfig, of_the_end: bool
) -> None:
    """DynamoDB forgets tokens after ten minutes; here they are taken out, so it knows none."""
    client = client_for(hasty.impatient() if of_the_end else hasty)

    def without_token(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name != "ClientRequestToken"}

    event = "provide-client-params.dynamodb.TransactWriteItems"
    client.meta.events.register(event, without_token)
    landed = faults.injected(client, applied_then_conflict, "TransactWriteItems", times=1)
    with landed as met, RunTracker(hasty).run("exclusive") as run:
        run.advance_watermark("position", 7)
    client.meta.events.unregister(event, without_token)
    assert len(met) == 1
    assert runs_of(hasty, "exclusive") == {run.run_id: "success"}
    assert RunTracker(hasty).watermark("exclusive", "position") == 7
    assert not stored(hasty, run.run_id).watermark_conflict


def applied_then_conflict(request: Any) -> Any:
    """DynamoDB applies the transaction; what arrives is a conflict, so that it is sent anew."""
    with suppress(ConnectionClosedError):
        faults.lost_reply(request)
    return faults.cancelled("TransactionConflict", "None")(request)


def test_a_start_between_the_read_and_the_lock_is_noticed_and_looked_at_again(
    hasty: DynamoDBConfig,
) -> None:
    """Another run starts and ends after our read: the fence moved, the pipeline is free."""
    others: list[Run] = []

    def other_run_first(request: Any) -> None:
        with RunTracker(hasty.model_copy(update={"actor": "another"})).run("exclusive") as other:
            others.append(other)

    with faults.injected(client_for(hasty), other_run_first, "TransactWriteItems", times=1):
        with RunTracker(hasty).run("exclusive") as run:
            pass
    (other,) = others
    assert runs_of(hasty, "exclusive") == {other.run_id: "success", run.run_id: "success"}
    assert run.fence is not None
    assert other.fence is not None
    assert run.fence > other.fence


def test_a_state_item_changed_by_hand_raises_and_the_run_is_unchanged(
    hasty: DynamoDBConfig,
) -> None:
    with pytest.raises(RunFinishError, match="changed by hand"):
        with RunTracker(hasty).run("exclusive", options=SOON) as run:
            plain_client(hasty).update_item(
                TableName=hasty.table_name("pipeline_run_logs"),
                Key={"run_id": {"S": "#pipeline#exclusive"}},
                UpdateExpression="REMOVE holder",
            )
    assert stored(hasty, run.run_id).status is RunStatus.RUNNING


# ---- the spool -----------------------------------------------------------------------------------


def test_every_part_of_a_run_survives_the_spool(hasty: DynamoDBConfig) -> None:
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=timezone.utc)
    values = {
        "moment": moment,
        "day": date(2026, 3, 29),
        "number": Decimal("0.1"),
        "bytes": b"\x00\xff",
        "map": {"$datetime": "no date", "list": [1, None, True]},
    }
    with pytest.raises(RunFinishError), ExitStack() as afterwards:
        with RunTracker(hasty).run("exclusive", options=SOON, tags={"a": "b"}) as run:
            for name in values:
                run.watermark(name)
            afterwards.enter_context(faults.outage(hasty))
            for name, value in values.items():
                run.advance_watermark(name, value)
            run.log_metrics({"share": Decimal("0.25"), "mode": "full", "rows": 7})
            with run.stage("load") as stage:
                stage.log_rows(read=5)
            run.log_quality("no nulls", False, failed_rows=2)
            run.log_inputs("bronze")
            run.log_output("silver", rows=5)
            run.log_rows(read=5, written=4)
    assert [one.stored for one in RunTracker(hasty).replay_outcomes()] == [True]
    tracker = RunTracker(hasty)
    assert {name: tracker.watermark("exclusive", name) for name in values} == values
    record = stored(hasty, run.run_id)
    assert record.metrics == {"share": Decimal("0.25"), "mode": "full", "rows": 7}
    assert record.stages["load"].status == "success"
    assert record.stages["load"].records_read == 5
    assert record.data_quality["no nulls"].failed_rows == 2
    assert (record.inputs, record.outputs["silver"].rows) == (["bronze"], 5)
    assert (record.records_read, record.records_written) == (5, 4)
    assert record.tags == {"a": "b"}
    assert set(record.watermarks) == set(values)


def test_a_replayed_run_ended_when_its_body_did(hasty: DynamoDBConfig) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        pass
    ended = utc_now()
    time.sleep(0.05)
    RunTracker(hasty).replay_outcomes()
    record = stored(hasty, run.run_id)
    assert record.end_time is not None
    assert record.end_time <= ended


def test_the_spool_is_this_users_only(hasty: DynamoDBConfig) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty):
        pass
    (path,) = spooled(hasty)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(path.read_text().splitlines()) == 1


def test_a_replay_in_an_outage_keeps_what_it_cannot_store(hasty: DynamoDBConfig) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        pass
    before = spooled(hasty)
    with faults.outage(hasty):
        (told,) = RunTracker(hasty).replay_outcomes()
    assert (told.run_id, told.stored, told.path) == (run.run_id, False, before[0])
    assert "no answer" in str(told.problem)
    assert spooled(hasty) == before
    assert [one.stored for one in RunTracker(hasty).replay_outcomes()] == [True]


def test_a_replay_that_ended_half_way_is_done_again_without_harm(hasty: DynamoDBConfig) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        run.advance_watermark("position", 7)
    (path,) = spooled(hasty)
    content = path.read_bytes()
    RunTracker(hasty).replay_outcomes()
    before = run_table_items(hasty)
    path.write_bytes(content)  # as if the process had died before it deleted the file
    assert [one.stored for one in RunTracker(hasty).replay_outcomes()] == [True]
    assert run_table_items(hasty) == before
    assert spooled(hasty) == []


def test_an_outcome_of_a_run_that_was_taken_over_is_refused_and_set_aside(
    hasty: DynamoDBConfig, tmp_path: Path
) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        run.advance_watermark("position", 7)
    elsewhere = hasty.model_copy(update={"spool_directory": str(tmp_path / "elsewhere")})
    with RunTracker(elsewhere, clock=later(hours=1)).run("exclusive") as successor:
        pass
    (told,) = RunTracker(hasty).replay_outcomes()
    assert not told.stored
    assert successor.run_id in str(told.problem)
    assert told.path is not None
    assert told.path.suffix == ".refused"
    assert spooled(hasty) == [told.path]
    assert RunTracker(hasty).replay_outcomes() == []
    record = stored(hasty, run.run_id)
    assert (record.status, record.late_outcome) == (RunStatus.LOST, "success")
    assert RunTracker(hasty).watermark("exclusive", "position") is None


def test_an_outcome_of_a_run_that_was_only_taken_for_dead_is_stored_late(
    hasty: DynamoDBConfig,
) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        run.advance_watermark("position", 7)
    reaped = RunTracker(hasty, clock=later(hours=1)).reap()
    assert [dead.run_id for dead in reaped] == [run.run_id]
    assert [one.stored for one in RunTracker(hasty).replay_outcomes()] == [True]
    record = stored(hasty, run.run_id)
    assert (record.status, record.late_finish) == (RunStatus.SUCCESS, True)
    assert RunTracker(hasty).watermark("exclusive", "position") == 7


@pytest.mark.parametrize("raises", [True, False])
def test_a_spool_that_cannot_be_written_is_logged_and_masks_nothing(
    hasty: DynamoDBConfig, tmp_path: Path, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = hasty.model_copy(update={"spool_directory": str(tmp_path / "file" / "spool")})
    error = ValueError("mine")
    with pytest.raises((ValueError, RunFinishError)) as caught:
        with ends_in_an_outage(blocked) as run:
            if raises:
                raise error
    told = caught.value.__notes__[0] if raises else str(caught.value)
    assert (caught.value is error) == raises
    assert "could not be kept in a file either" in told
    assert told.removeprefix("dynamodb-wrapper: ") in caplog.text
    assert stored(blocked, run.run_id).status is RunStatus.RUNNING


def test_a_damaged_file_is_reported_and_keeps_no_other_from_being_stored(
    hasty: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        pass
    damaged = spooled(hasty)[0].with_name("0.jsonl")
    damaged.write_text('{"format": 1, "record":')
    assert [one.run_id for one in RunTracker(hasty).replay_outcomes()] == [run.run_id]
    assert str(damaged) in caplog.text
    assert spooled(hasty) == [damaged]


def test_two_replays_of_one_refused_outcome_do_not_get_in_each_others_way(
    hasty: DynamoDBConfig, tmp_path: Path
) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty) as run:
        pass
    elsewhere = hasty.model_copy(update={"spool_directory": str(tmp_path / "elsewhere")})
    with RunTracker(elsewhere, clock=later(hours=1)).run("exclusive"):
        pass
    others: list[Any] = []

    def meanwhile(request: Any) -> None:
        others.extend(RunTracker(hasty, client=plain_client(hasty)).replay_outcomes())

    with faults.injected(client_for(hasty), meanwhile, "UpdateItem", times=1):
        (told,) = RunTracker(hasty).replay_outcomes()
    (other,) = others
    assert (told.run_id, other.run_id) == (run.run_id, run.run_id)
    assert (told.stored, other.stored) == (False, False)
    assert spooled(hasty) == [told.path] == [other.path]


DAMAGED = {
    "half": '{"format": 1, "record":',
    "no object": "[]",
    "no text": b"\xff\xfe",
    "of another version": '{"format": 2}',
    "no number": '{"format": {"$decimal": "one"}}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_the_command_counts_and_names_what_it_cannot_read(
    hasty: DynamoDBConfig,
    content: str | bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty):
        pass
    damaged = spooled(hasty)[0].with_name("0.jsonl")
    damaged.write_bytes(content.encode() if isinstance(content, str) else content)
    for name, value in variables(hasty).items():
        monkeypatch.setenv(name, value)
    assert main(["replay"]) == 1
    said = capsys.readouterr().out
    assert f"{damaged}  cannot be read" in said
    assert "1 outcomes stored, 0 not, 1 unreadable" in said
    assert main(["replay"]) == 1
    assert RunTracker(hasty).unreadable_outcomes() == [damaged]
    damaged.unlink()
    assert main(["replay"]) == 0


@pytest.mark.parametrize("name", ["NOPE#x", "", "PROD", "prod\n"])
def test_the_command_refuses_what_no_environment_can_be_called(
    hasty: DynamoDBConfig,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in variables(hasty).items():
        monkeypatch.setenv(variable, value)
    assert main(["reap", "--environment", name]) == 2
    assert f"error: {name!r} is no environment" in capsys.readouterr().err
    assert main(["reap", "--environment", "prod"]) == 0


def test_a_replay_leaves_alone_what_belongs_to_other_tables(hasty: DynamoDBConfig) -> None:
    with pytest.raises(RunFinishError), ends_in_an_outage(hasty):
        pass
    other = hasty.model_copy(update={"table_prefix": "other"})
    assert RunTracker(other).replay_outcomes() == []
    assert len(spooled(hasty)) == 1


def test_a_run_key_must_be_committed_without_a_lock_as_well(hasty: DynamoDBConfig) -> None:
    with pytest.raises(RunFinishError, match="ended as success"):
        with ends_in_an_outage(hasty, "unlimited", run_key="monday"):
            pass


def test_an_unlimited_success_whose_end_is_not_stored_is_only_logged(
    hasty: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with ends_in_an_outage(hasty, "unlimited") as run:
        pass
    assert f"Run {run.run_id} of pipeline 'unlimited' ended as success" in caplog.text
    assert [one.stored for one in RunTracker(hasty).replay_outcomes()] == [True]


def test_what_no_run_can_hold_is_refused_at_once_and_does_not_keep_it_from_ending(
    hasty: DynamoDBConfig,
) -> None:
    with RunTracker(hasty).run("exclusive") as run:
        refused: list[Callable[[], object]] = [
            lambda: run.log_metrics({"nothing": object(), "rows": 7}),  # type: ignore[dict-item]
            lambda: run.stage(3).__enter__(),  # type: ignore[arg-type]
            lambda: run.log_inputs(3),  # type: ignore[arg-type]
        ]
        with faults.outage(hasty):
            for record in refused:
                with pytest.raises(ValidationError):
                    record()
            run.log_metric("ratio", float("nan"))
            run.log_inputs("bronze")
    record_of_it = stored(hasty, run.run_id)
    assert record_of_it.status is RunStatus.SUCCESS
    assert (record_of_it.metrics, record_of_it.inputs) == ({"ratio": "nan"}, ["bronze"])


# ---- no body is delayed --------------------------------------------------------------------------


def test_twenty_metrics_in_an_outage_cost_one_attempt(
    hasty: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with RunTracker(hasty).run("exclusive") as run:
        with faults.outage(hasty, faults.silence) as met:
            for number in range(20):
                run.log_metric(f"metric {number}", number)
            with run.stage("load"):
                pass
        assert met == ["UpdateItem"]
        assert caplog.text.count("they are kept and sent again") == 1
    assert stored(hasty, run.run_id).metrics == {f"metric {n}": n for n in range(20)}


def test_twenty_threads_in_an_outage_cost_one_attempt(hasty: DynamoDBConfig) -> None:
    everybody = threading.Barrier(20)

    def slow_silence(request: Any) -> Any:
        time.sleep(0.5)  # so that the others come meanwhile
        return faults.silence(request)

    def record(run: Run, number: int) -> None:
        everybody.wait()
        run.log_metric(f"metric {number}", number)

    with RunTracker(hasty).run("exclusive") as run:
        with faults.outage(hasty, slow_silence) as met:
            threads = [threading.Thread(target=record, args=(run, n)) for n in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert met == ["UpdateItem"]
    assert stored(hasty, run.run_id).metrics == {f"metric {n}": n for n in range(20)}


def test_what_an_outage_held_back_is_stored_by_a_later_beat(hasty: DynamoDBConfig) -> None:
    runs = RunTracker(hasty).runs
    with RunTracker(hasty).run("beating") as run:
        with faults.outage(hasty) as met:
            run.log_metric("rows", 7)
            logging.getLogger("a.job").warning("a line of the job")
            assert eventually(lambda: len(met) > 2), "beats go on in an outage"
        assert eventually(lambda: stored(hasty, run.run_id).metrics == {"rows": 7})
        assert eventually(lambda: any("a line of" in one for one in runs.get_log_lines(run.run_id)))
        assert lease_ok(run)
        assert stored(hasty, run.run_id).status is RunStatus.RUNNING


def test_a_chunk_of_the_log_that_was_refused_is_stored_by_a_later_beat(
    hasty: DynamoDBConfig,
) -> None:
    runs = RunTracker(hasty).runs
    with RunTracker(hasty).run("beating") as run:
        with faults.outage(hasty, faults.throttle, "PutItem") as met:
            logging.getLogger("a.job").warning("a line of the job")
            assert eventually(lambda: len(met) > 1)
        assert eventually(lambda: stored(hasty, run.run_id).logs.lines > 0)
    lines = runs.get_log_lines(run.run_id)
    assert [line for line in lines if "a line of the job" in line] == lines[:1]
    assert stored(hasty, run.run_id).logs.lines == len(lines)


# ---- best effort ---------------------------------------------------------------------------------


def known(config: DynamoDBConfig, pipeline_id: str = "unlimited") -> RunTracker:
    """A tracker that has seen a pipeline."""
    tracker = RunTracker(config)
    with tracker.run(pipeline_id):
        pass
    return tracker


def test_with_best_effort_a_body_runs_untracked_while_dynamodb_is_away(
    hasty: DynamoDBConfig, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = known(hasty)
    before = runs_of(hasty, "unlimited")
    given = {"options": BEST_EFFORT, "parameters": {"day": "monday"}, "tags": {"team": "flights"}}
    with faults.outage(hasty), tracker.run("unlimited", **given) as run:  # type: ignore[arg-type]
        assert not is_tracked(run)
        assert lease_ok(run)
        run.check_lease()
        run.log_metric("rows", 7)
        with run.stage("load") as stage:
            stage.log_rows(read=7)
    assert "it runs untracked" in caplog.text
    assert runs_of(hasty, "unlimited") == before
    assert [one.stored for one in RunTracker(hasty).replay_outcomes()] == [True]
    record = stored(hasty, run.run_id)
    assert record.status is RunStatus.SUCCESS
    assert (record.parameters, record.tags) == ({"day": "monday"}, {"team": "flights"})
    assert record.metrics == {"rows": 7}
    assert record.stages["load"].records_read == 7
    assert record.start_time is not None
    assert record.end_time is not None
    assert record.start_time <= record.end_time <= utc_now()
    assert record.duration_seconds is not None
    assert RunTracker(hasty).replay_outcomes() == []
    assert [found.run_id for found in RunTracker(hasty).runs.get_running_pipelines()] == []


def test_the_next_start_stores_an_untracked_run_and_is_tracked_itself(
    hasty: DynamoDBConfig,
) -> None:
    tracker = known(hasty)
    with faults.outage(hasty), tracker.run("unlimited", options=BEST_EFFORT) as untracked:
        pass
    with tracker.run("unlimited", options=BEST_EFFORT) as run:
        assert is_tracked(run)
        assert stored(hasty, untracked.run_id).status is RunStatus.SUCCESS


def test_an_untracked_body_that_raises_keeps_its_exception(hasty: DynamoDBConfig) -> None:
    tracker, error = known(hasty), ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught, faults.outage(hasty):
        with tracker.run("unlimited", options=BEST_EFFORT) as run:
            raise error
    assert caught.value is error
    assert len(caught.value.__notes__) == 1
    tracker.replay_outcomes()
    assert stored(hasty, run.run_id).status is RunStatus.FAILED


def test_a_start_that_was_stored_and_not_known_of_becomes_the_untracked_run(
    hasty: DynamoDBConfig,
) -> None:
    tracker = known(hasty)
    before = runs_of(hasty, "unlimited")
    lost = faults.outage(hasty, faults.lost_reply, "TransactWriteItems")
    with lost, tracker.run("unlimited", options=BEST_EFFORT) as run:
        assert not is_tracked(run)
        assert runs_of(hasty, "unlimited") == {**before, run.run_id: "running"}
    assert [one.stored for one in tracker.replay_outcomes()] == [True]
    assert runs_of(hasty, "unlimited") == {**before, run.run_id: "success"}


def test_such_a_run_is_stored_with_its_run_key(hasty: DynamoDBConfig) -> None:
    tracker = known(hasty)
    lost = faults.outage(hasty, faults.lost_reply, "TransactWriteItems")
    with pytest.raises(RunFinishError), lost:
        with tracker.run("unlimited", options=BEST_EFFORT, run_key="monday") as run:
            pass
    assert [one.stored for one in tracker.replay_outcomes()] == [True]
    slot = RunStore.of(hasty).slots("unlimited", ["monday"])[0]
    assert slot is not None
    assert (slot.success_run_id, slot.status) == (run.run_id, "success")


def test_an_untracked_run_waits_in_the_spool_while_another_works_at_its_run_key(
    hasty: DynamoDBConfig, tmp_path: Path
) -> None:
    tracker = known(hasty)
    with pytest.raises(RunFinishError), faults.outage(hasty):
        with tracker.run("unlimited", options=BEST_EFFORT, run_key="monday") as run:
            pass
    before = spooled(hasty)
    elsewhere = hasty.model_copy(update={"spool_directory": str(tmp_path / "elsewhere")})
    other = RunTracker(elsewhere).start("unlimited", run_key="monday")
    assert [(one.stored, one.path) for one in tracker.replay_outcomes()] == [(False, before[0])]
    other.fail(ValueError("no luck"))
    assert [one.stored for one in tracker.replay_outcomes()] == [True]
    assert stored(hasty, run.run_id).status is RunStatus.SUCCESS


def refused(tracker: RunTracker, pipeline_id: str) -> None:
    with pytest.raises(RunStartError, match="did not begin"), faults.outage(tracker.runs.config):
        with tracker.run(pipeline_id, options=BEST_EFFORT):
            pytest.fail("the body was entered")


def test_an_exclusive_pipeline_is_never_run_untracked(hasty: DynamoDBConfig) -> None:
    refused(known(hasty, "exclusive"), "exclusive")


def test_a_pipeline_that_was_never_read_is_not_run_untracked(hasty: DynamoDBConfig) -> None:
    refused(RunTracker(hasty), "unlimited")


def test_a_pipeline_last_seen_switched_off_is_not_run_untracked(hasty: DynamoDBConfig) -> None:
    tracker = known(hasty)
    PipelineConfigRepository(hasty).update_pipeline_status("unlimited", is_active=False)
    with tracker.run("unlimited", options=RunOptions(force=True)):
        pass
    refused(tracker, "unlimited")


def test_without_best_effort_an_unlimited_run_does_not_begin_untracked(
    hasty: DynamoDBConfig,
) -> None:
    tracker = known(hasty)
    with pytest.raises(RunStartError), faults.outage(hasty), tracker.run("unlimited"):
        pytest.fail("the body was entered")


def test_an_untracked_run_leaves_one_line_of_json(hasty: DynamoDBConfig) -> None:
    tracker = known(hasty)
    with faults.outage(hasty), tracker.run("unlimited", options=BEST_EFFORT) as run:
        pass
    (path,) = spooled(hasty)
    content = json.loads(path.read_text())
    assert (content["record"]["run_id"], content["outcome"]["status"]) == (run.run_id, "success")
