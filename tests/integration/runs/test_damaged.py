"""Items that were damaged, or made by an enemy: an error of ours or a text of bounded size."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import IncompatibleItemError
from dynamodb_wrapper.models import PipelineRunLog, RunStatus
from dynamodb_wrapper.repositories import PipelineRunLogsRepository
from dynamodb_wrapper.runs import RunTracker
from tests.support.runs import plain_client

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig


def put(config: DynamoDBConfig, key: str, **attributes: Any) -> None:
    """Store an item in the run table as another program would."""
    plain_client(config).put_item(
        TableName=config.table_name("pipeline_run_logs"),
        Item={"run_id": {"S": key}, **attributes},
    )


def with_pieces(config: DynamoDBConfig, count: int, *data: Any) -> PipelineRunLogsRepository:
    """Store the record of a run, and pieces of its log that hold this."""
    repository = PipelineRunLogsRepository(config)
    repository.create_run_log(
        PipelineRunLog(
            run_id="run", pipeline_id="p", status=RunStatus.SUCCESS, logs={"chunks": count}
        )
    )
    for number, one in enumerate(data, 1):
        put(config, f"run#log#{number:04d}", kind={"S": "CHUNK"}, **one)
    return repository


# ---- pieces of a text ----------------------------------------------------------------------------


def piece(content: bytes) -> dict[str, Any]:
    return {"data": {"B": content}}


def test_what_can_be_read_of_damaged_pieces_is_returned_with_marks(
    local_tables: DynamoDBConfig,
) -> None:
    whole = gzip.compress(b"first\n")
    cut = gzip.compress(b"".join(b"line %d\n" % number for number in range(1000)))[:-40]
    repository = with_pieces(
        local_tables,
        7,
        piece(whole),
        piece(cut),
        {"data": {"S": "text"}},
        piece(b"junk"),
        {},
        piece(gzip.compress(b"\xff\xfe\n")),
        piece(whole),
    )
    lines = repository.get_log_lines("run")
    assert lines[:3] == ["first", "line 0", "line 1"]
    assert [line for line in lines if line.startswith("[")] == [
        "[the rest of piece 2 is damaged]",
        "[piece 3 is damaged: it holds no bytes]",
        "[piece 4 is damaged: it cannot be decompressed]",
        "[piece 5 is damaged: it holds no bytes]",
    ]
    assert lines[-2:] == ["\ufffd\ufffd", "first"]


def test_a_piece_that_decompresses_to_100_mb_takes_no_more_memory_than_another(
    local_tables: DynamoDBConfig,
) -> None:
    repository = with_pieces(local_tables, 1, piece(gzip.compress(b"x" * 100_000_000)))
    tracemalloc.start()
    try:
        text = "\n".join(repository.get_log_lines("run"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(text) < 66_000
    assert text.endswith("[the rest of piece 1 is damaged]")
    assert peak < 20_000_000


def test_a_count_of_a_billion_pieces_costs_a_thousand_requests(
    local_tables: DynamoDBConfig,
) -> None:
    repository = with_pieces(local_tables, 1_000_000_000, piece(gzip.compress(b"first\n")))
    with repository.consumed() as used:
        lines = repository.get_log_lines("run")
    assert lines[0] == "first"
    assert "1,000,000,000 pieces" in lines[1]
    assert used.requests <= 1001


# ---- items of run control ------------------------------------------------------------------------

DAMAGED = {
    "#pipeline#exclusive": ("next_seq", {"next_seq": {"S": "many"}}),
    "#slot#exclusive#day": ("status", {"last_run_id": {"S": "one"}}),
    "#cursor#exclusive#position": ("row_version", {"row_version": {"S": "1"}}),
}


@pytest.mark.parametrize("key", DAMAGED)
def test_a_damaged_item_of_a_pipeline_is_an_error_that_names_item_and_attribute(
    local_tables: DynamoDBConfig, key: str
) -> None:
    attribute, content = DAMAGED[key]
    put(local_tables, key, **content)
    tracker = RunTracker(local_tables)
    with pytest.raises(IncompatibleItemError, match=attribute) as caught:
        with tracker.run("exclusive", run_key="day") as run:
            run.watermark("position")
    assert f"{key!r}" in str(caught.value)
