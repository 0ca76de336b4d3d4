"""Items by which runs are found by their tags: one per tag, in the index ``by_label``.

A RUN has one entry per index and many tags, so each tag has an item beside it. The external id of a
run needs none: it is the RUN's own entry.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

from dynamodb_wrapper.aws.batches import Write, batch_write
from dynamodb_wrapper.aws.concurrency import Flow
from dynamodb_wrapper.aws.paging import raw_pages
from dynamodb_wrapper.aws.transactions import Action
from dynamodb_wrapper.models.control_tables import start_and_run, tag_label
from dynamodb_wrapper.repositories.run_log.items import beside_expiry, tag_key
from dynamodb_wrapper.serialization.decoder import stored_items
from dynamodb_wrapper.serialization.values import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any

    from dynamodb_wrapper.aws.calls import Caller
    from dynamodb_wrapper.models.run import PipelineRunLog
    from dynamodb_wrapper.serialization.values import Item


def tag_items(run: PipelineRunLog, now: datetime) -> list[Item]:
    """Return the TAG items of a run."""
    started = start_and_run(run.start_time or now, run.run_id)
    return [
        {
            **tag_key(run.run_id, name),
            "kind": {"S": "TAG"},
            "schema_version": {"N": "1"},
            "pipeline_id": {"S": run.pipeline_id},
            "gx_label": {"S": tag_label(name, value)},
            "gx_started": {"S": str(started)},
            **beside_expiry(run, now),
        }
        for name, value in run.tags.items()
    ]


def tag_actions(table_name: str, run: PipelineRunLog, now: datetime) -> list[Action]:
    """Return the puts of the TAG items of a new run, for the transaction that starts it."""
    return [
        Action("put", {"run_id": item["run_id"]}, {"TableName": table_name, "Item": item})
        for item in tag_items(run, now)
    ]


def put_tags(caller: Caller, run: PipelineRunLog, now: datetime) -> None:
    """Store the TAG items of a record that is stored already."""
    writes = [
        Write(identity({"run_id": item["run_id"]}), {"PutRequest": {"Item": item}}, run)
        for item in tag_items(run, now)
    ]
    if writes:
        batch_write(caller, writes, Flow(), lambda _: None)


def tagged_runs(
    caller: Caller, query: dict[str, Any], name: str, limit: int | None
) -> Iterator[list[str]]:
    """Yield the ids of the runs whose TAG items a Query finds, page by page.

    Args:
        caller: Sends to the run table.
        query: The request.
        name: Name of the tag.
        limit: Runs wanted; the size of the first page.
    """
    sizes = chain([limit], repeat(None))
    suffix = f"#tag#{name}"
    for page in raw_pages(caller, "Query", query, stored_items, sizes):
        keys = [item["run_id"]["S"] for item in page.found.models]
        # The tag "a=b" of value "c" has the entry of the tag "a" of value "b=c".
        yield [key.removesuffix(suffix) for key in keys if key.endswith(suffix)]
