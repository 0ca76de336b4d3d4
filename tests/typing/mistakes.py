"""What a type checker refuses; each line ends with the code of its error."""

from __future__ import annotations

from pydantic import BaseModel

from dynamodb_wrapper import (
    BaseDynamoRepository,
    DynamoDBConfig,
    PipelineConfigRepository,
    RunTracker,
    SparkDynamoDBIntegration,
    Table,
)


class Order(BaseModel):
    order_id: str


class Other(BaseModel):
    order_id: str


config = DynamoDBConfig()
orders = BaseDynamoRepository(config, Table("orders", Order, partition_key="order_id"))

orders.create(Other(order_id="o"))  # error: [arg-type]
orders.put_many([Other(order_id="o")])  # error: [list-item]
orders.update(Order(order_id="o"), set={}, limit=5)  # error: [call-overload]
orders.get("o", into=int)  # error: [type-var]
order_id: str = orders.get("o").order_id  # error: [union-attr]
orders.query("o", lmit=5)  # error: [call-overload]
Table("orders", int, partition_key="order_id")  # error: [type-var]
PipelineConfigRepository(config).get_active_pipelines(limit="5")  # error: [arg-type]
tracker = RunTracker(config)
tracker.run("p", params={})  # error: [call-arg]
tracker.start("p", options="skip")  # error: [arg-type]
tracker.pipeline("p", run_key=5)  # error: [arg-type]
SparkDynamoDBIntegration(config).pipeline_run_context("p", tag={})  # error: [call-arg]
