"""What a type checker infers of a repository of the user's model; never run, only checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date
from typing import Optional, Union

from pydantic import BaseModel
from typing_extensions import assert_type

from dynamodb_wrapper import (
    Attr,
    BaseDynamoRepository,
    Derived,
    DynamoDBConfig,
    GlobalIndex,
    Key,
    PipelineConfig,
    PipelineConfigRepository,
    PipelineRunLog,
    Run,
    RunOptions,
    RunTracker,
    SparkDynamoDBIntegration,
    Table,
    TableConfig,
    TableConfigRepository,
    create_tables,
)
from dynamodb_wrapper.aws.calls import Consumed
from dynamodb_wrapper.models import Discriminator, RunSummary
from dynamodb_wrapper.repositories import Collection, query_collection
from dynamodb_wrapper.repositories.queries import Page, Results


class Order(BaseModel):
    customer_id: str
    order_id: str
    status: str = "new"


class Summary(BaseModel):
    order_id: str


def partition(status: str) -> Optional[str]:
    return status or None


config = DynamoDBConfig.from_env()
orders_table = Table(
    "orders",
    Order,
    partition_key="customer_id",
    sort_key="order_id",
    indexes=[GlobalIndex("by_status", Derived("gx", ("status",), partition), project=Summary)],
)
assert_type(orders_table, Table[Order])
create_tables(config, orders_table)

orders = BaseDynamoRepository(config, orders_table)
assert_type(orders, BaseDynamoRepository[Order])
order = Order(customer_id="c", order_id="o")

assert_type(orders.create(order), Order)
assert_type(orders.put(order, condition=Attr("status").eq("new")), Order)
assert_type(orders.get(("c", "o")), Optional[Order])
assert_type(orders.get(("c", "o"), into=Summary), Optional[Summary])
assert_type(orders.get_or_raise(("c", "o"), consistent=True), Order)
assert_type(orders.get_or_raise(("c", "o"), into=Summary), Summary)
assert_type(orders.get_many([("c", "o")]), list[Optional[Order]])
assert_type(orders.exists(("c", "o")), bool)
assert_type(orders.update(order), Order)
assert_type(orders.update(("c", "o"), set={"status": "x", ("a", 0): 1}, remove=["b"]), Order)
assert_type(orders.delete(order), Optional[Order])
assert_type(orders.put_many([order]), int)
assert_type(orders.delete_many([("c", "o")]), int)
assert_type(orders.count("c", sort=Key("order_id").begins_with("o")), int)
assert_type(orders.query("c", limit=5, descending=True), Results[Order])
assert_type(orders.query("c", into=Summary), Results[Summary])
assert_type(orders.query("c").first(), Optional[Order])
assert_type(orders.query("c").all(), list[Order])
assert_type(orders.query("c").pages(size=2), Iterator[Page[Order]])
assert_type(next(orders.query("c").pages()).next_token, Optional[str])
assert_type(orders.consumed(), AbstractContextManager[Consumed])
assert_type(orders.scan(), Results[Order])
assert_type(orders.scan(segments=2, index="by_status").all(), list[Order])
assert_type(orders.scan(into=Summary), Results[Summary])
for found in orders.query("c"):
    assert_type(found, Order)


class Customer(BaseModel):
    customer_id: str
    order_id: str = "customer"


customers_table = Table(
    "orders",
    Customer,
    partition_key="customer_id",
    sort_key="order_id",
    kind=Discriminator("type", "customer"),
)
customers = BaseDynamoRepository(config, customers_table)
assert_type(query_collection("c", customers, orders), Collection[Union[Customer, Order]])
assert_type(query_collection("c", customers, orders, limit=2).all(), list[Union[Customer, Order]])
assert_type(query_collection("c", orders, orders, customers).first(), Union[Order, Customer, None])

with orders.transaction() as tx:
    tx.create(orders, order)
    tx.update(orders, ("c", "o"), set={"status": "x"})
    tx.check(orders, ("c", "o"), Attr("status").eq("paid"))

pipelines = PipelineConfigRepository(config)
assert_type(pipelines.get("p"), Optional[PipelineConfig])
assert_type(pipelines.get_active_pipelines(), list[PipelineConfig])
assert_type(TableConfigRepository(config).get_source_tables("p"), list[TableConfig])

tracker = RunTracker(config, hooks=[lambda event: event.run_id])
with tracker.run("p", options=RunOptions(rerun=True)) as run:
    assert_type(run, Run)
    assert_type(run.watermark("w", 0), int)
    assert_type(run.watermark("w", "a"), str)
    assert_type(run.delta_txn_options(), dict[str, str])
assert_type(tracker.start("p", run_key=date(2026, 3, 29), tags={"team": "a"}), Run)
assert_type(tracker.start("p", external_id="job-1", parent="a-run"), Run)
assert_type(tracker.runs.find_by_tag("team", "a"), list[RunSummary])
assert_type(tracker.runs.delete("a-run", free_run_key=True), Optional[PipelineRunLog])
with SparkDynamoDBIntegration(config).pipeline_run_context("p", trigger="event") as run_id:
    assert_type(run_id, str)
assert_type(tracker.holder("p"), Optional[PipelineRunLog])
assert_type(tracker.reap(), list[PipelineRunLog])


@tracker.pipeline("p")
def job(number: int) -> str:
    return str(number)


@tracker.pipeline("p")
def told_job(run: Run, number: int) -> str:
    return f"{run.run_id} {number}"


assert_type(job(1), str)
assert_type(told_job(1), str)
