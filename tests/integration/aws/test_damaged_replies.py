"""A reply with a wrong checksum is not data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import ConnectionError
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository
from tests.support import faults

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def damaged(request: Any) -> AWSResponse:
    """Another item than the one asked for, with a checksum that is not its own."""
    body = json.dumps({"Item": {"pipeline_id": {"S": "another"}}}).encode()
    headers = {"x-amz-crc32": "1", "content-length": str(len(body))}
    return AWSResponse(request.url, 200, headers, faults.Body(body))


@pytest.fixture
def pipelines(local_config: DynamoDBConfig) -> PipelineConfigRepository:
    config = local_config.model_copy(update={"max_attempts": 2})
    found = PipelineConfigRepository(config)
    found.create_table()
    found.create(PipelineConfig(pipeline_id="p"))
    return found


def test_a_damaged_reply_is_asked_for_again(pipelines: PipelineConfigRepository) -> None:
    client = client_for(pipelines.config)
    with faults.injected(client, damaged, "GetItem", times=1) as met:
        found = pipelines.get_or_raise("p")
    assert met == ["GetItem"]
    assert found.pipeline_id == "p"


def test_replies_that_stay_damaged_are_an_error_not_an_item(
    pipelines: PipelineConfigRepository,
) -> None:
    client = client_for(pipelines.config)
    with faults.injected(client, damaged, "GetItem") as met:
        with pytest.raises(ConnectionError, match="checksum") as refusal:
            pipelines.get("p")
    assert len(met) == 2
    assert refusal.value.retryable
    assert refusal.value.operation == "GetItem"
