"""DynamoDB in trouble around a run: nobody's exception is masked, no success becomes a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.config import client_for
from dynamodb_wrapper.exceptions import RunFinishError, RunStartError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    create_tables,
)
from dynamodb_wrapper.runs import RunTracker
from tests import faults

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.faults import Fault

EACH_FAULT = pytest.mark.parametrize("fault", faults.ALL.values(), ids=faults.ALL.keys())
ENDING = ("GetItem", "TransactWriteItems")


@pytest.fixture
def hasty(local_config: DynamoDBConfig) -> DynamoDBConfig:
    """Tables and pipelines, and little patience."""
    config = local_config.model_copy(update={"max_attempts": 1, "operation_timeout_seconds": 0.3})
    create_tables(config)
    pipelines = PipelineConfigRepository(config)
    pipelines.create(PipelineConfig(pipeline_id="exclusive"))
    pipelines.create(PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None))
    return config


def stored(config: DynamoDBConfig, run_id: str) -> PipelineRunLog:
    return PipelineRunLogsRepository(config).get_or_raise(run_id, consistent=True)


def runs_of(config: DynamoDBConfig, pipeline_id: str) -> list[RunStatus]:
    found = PipelineRunLogsRepository(config).get_runs_by_pipeline(pipeline_id)
    return [run.status for run in found]


@EACH_FAULT
def test_a_start_that_cannot_be_stored_does_not_enter_the_body(
    hasty: DynamoDBConfig, fault: Fault
) -> None:
    client = client_for(hasty)
    with faults.injected(client, fault) as met:
        with (
            pytest.raises(RunStartError, match="did not begin"),
            RunTracker(hasty).run("exclusive"),
        ):
            pytest.fail("the body was entered")
        assert met


@EACH_FAULT
def test_trouble_at_the_end_never_masks_the_exception_of_the_body(
    hasty: DynamoDBConfig, fault: Fault
) -> None:
    error = ValueError("mine")
    client = client_for(hasty)
    with (
        pytest.raises(ValueError, match="mine") as caught,
        RunTracker(hasty).run("exclusive") as run,
    ):
        trouble = faults.injected(client, fault, *ENDING)
        trouble.__enter__()
        raise error
    trouble.__exit__(None, None, None)
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert stored(hasty, run.run_id).status in (RunStatus.RUNNING, RunStatus.FAILED)
    if stored(hasty, run.run_id).status is RunStatus.RUNNING:
        assert len(caught.value.__notes__) == 1
        assert run.run_id in caught.value.__notes__[0]


@EACH_FAULT
def test_trouble_at_the_end_of_an_exclusive_success_is_told_and_never_stored_as_failure(
    hasty: DynamoDBConfig, fault: Fault
) -> None:
    client = client_for(hasty)
    run_id = ""
    with pytest.raises(RunFinishError) as told, RunTracker(hasty).run("exclusive") as run:
        run_id = run.run_id
        trouble = faults.injected(client, fault, *ENDING)
        trouble.__enter__()
    trouble.__exit__(None, None, None)
    assert told.value.outcome == "success"
    assert told.value.run_id == run_id
    assert stored(hasty, run_id).status in (RunStatus.RUNNING, RunStatus.SUCCESS)


@EACH_FAULT
def test_trouble_at_the_end_of_an_unlimited_success_is_logged_and_the_body_stands(
    hasty: DynamoDBConfig, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_for(hasty)
    with RunTracker(hasty).run("unlimited") as run:
        trouble = faults.injected(client, fault, *ENDING)
        trouble.__enter__()
    trouble.__exit__(None, None, None)
    assert run.run_id in caplog.text
    assert "came to success" in caplog.text
    assert stored(hasty, run.run_id).status in (RunStatus.RUNNING, RunStatus.SUCCESS)


@EACH_FAULT
@pytest.mark.parametrize("operation", ENDING)
def test_short_trouble_at_the_end_is_overcome(
    hasty: DynamoDBConfig, fault: Fault, operation: str
) -> None:
    if fault is faults.access_denied:
        pytest.skip("a refused permission is not tried again")
    patient = hasty.model_copy(update={"operation_timeout_seconds": 20})
    client = client_for(patient)
    with RunTracker(patient).run("exclusive") as run:
        trouble = faults.injected(client, fault, operation, times=2)
        met = trouble.__enter__()
    trouble.__exit__(None, None, None)
    assert met
    assert stored(patient, run.run_id).status is RunStatus.SUCCESS
    with RunTracker(patient).run("exclusive"):
        pass


@pytest.mark.parametrize("pipeline_id", ["exclusive", "unlimited"])
def test_a_start_whose_reply_was_lost_is_one_run(hasty: DynamoDBConfig, pipeline_id: str) -> None:
    patient = hasty.model_copy(update={"max_attempts": 3, "operation_timeout_seconds": 20})
    client = client_for(patient)
    lost = faults.injected(client, faults.lost_reply, "TransactWriteItems", times=1)
    with lost as met, RunTracker(patient).run(pipeline_id):
        pass
    assert len(met) == 1
    assert runs_of(patient, pipeline_id) == [RunStatus.SUCCESS]


def test_a_start_that_landed_under_a_forgotten_token_is_recognised_by_its_writer(
    hasty: DynamoDBConfig,
) -> None:
    """DynamoDB forgets tokens after ten minutes; here they are taken out, so it knows none."""
    patient = hasty.model_copy(update={"operation_timeout_seconds": 20})
    client = client_for(patient)

    def without_token(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name != "ClientRequestToken"}

    event = "provide-client-params.dynamodb.TransactWriteItems"
    client.meta.events.register(event, without_token)
    landed = faults.injected(client, _apply_then_conflict, "TransactWriteItems", times=1)
    with landed as met, RunTracker(patient).run("exclusive") as run:
        pass
    client.meta.events.unregister(event, without_token)
    assert len(met) == 1
    assert stored(patient, run.run_id).status is RunStatus.SUCCESS
    assert runs_of(patient, "exclusive") == [RunStatus.SUCCESS]


def _apply_then_conflict(request: object) -> object:
    """DynamoDB applies the transaction; what arrives is a conflict, so that it is sent anew."""
    try:
        faults.lost_reply(request)
    except Exception:
        return faults.cancelled("TransactionConflict", "None")(request)
    raise AssertionError("lost_reply always raises")


def test_a_conflict_at_the_start_is_tried_again(hasty: DynamoDBConfig) -> None:
    patient = hasty.model_copy(update={"operation_timeout_seconds": 20})
    conflict = faults.cancelled("None", "TransactionConflict")
    trouble = faults.injected(client_for(patient), conflict, "TransactWriteItems", times=3)
    with trouble as met, RunTracker(patient).run("exclusive") as run:
        pass
    assert len(met) == 3
    assert stored(patient, run.run_id).status is RunStatus.SUCCESS


def test_a_start_between_the_read_and_the_lock_is_noticed_and_looked_at_again(
    hasty: DynamoDBConfig,
) -> None:
    """Another run starts and ends after our read: the fence moved, nobody holds, we get in."""
    patient = hasty.model_copy(update={"operation_timeout_seconds": 20})
    others = []

    def other_run_first(request: object) -> None:
        others.append(True)
        with RunTracker(hasty).run("exclusive"):
            pass

    client = client_for(patient)
    with faults.injected(client, other_run_first, "TransactWriteItems", times=1):
        with RunTracker(patient).run("exclusive") as run:
            pass
    assert others
    assert stored(patient, run.run_id).status is RunStatus.SUCCESS
    assert runs_of(patient, "exclusive") == [RunStatus.SUCCESS, RunStatus.SUCCESS]


def test_a_state_item_changed_by_hand_is_told_and_the_run_is_unchanged(
    hasty: DynamoDBConfig,
) -> None:
    client = client_for(hasty)
    with pytest.raises(RunFinishError, match="changed by hand"):
        with RunTracker(hasty).run("exclusive") as run:
            client.update_item(
                TableName=hasty.table_name("pipeline_run_logs"),
                Key={"run_id": {"S": "#pipeline#exclusive"}},
                UpdateExpression="REMOVE holder",
            )
    assert stored(hasty, run.run_id).status is RunStatus.RUNNING
