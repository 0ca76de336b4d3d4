"""The repositories without Spark, one use after the other: python examples/basic_usage.py."""

from __future__ import annotations

from decimal import Decimal

from demo import open_store, print_table, section
from pydantic import BaseModel

from dynamodb_wrapper import (
    Attr,
    BaseDynamoRepository,
    ConditionFailedError,
    DynamoDBConfig,
    GlobalIndex,
    ItemAlreadyExistsError,
    Key,
    PipelineConfig,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    Table,
    TableConfig,
    TableConfigRepository,
    TransactionCanceledError,
    UtcDatetime,
    ValidationError,
    VersionConflictError,
    create_tables,
)
from dynamodb_wrapper.models import StageInfo, utc_now
from dynamodb_wrapper.utils import SparkDynamoDBIntegration


class Order(BaseModel):  # any Pydantic model
    """An order of a customer."""

    customer_id: str
    order_id: str
    status: str = "new"
    total: Decimal
    created_at: UtcDatetime


ORDERS = Table(
    "orders",
    Order,
    partition_key="customer_id",
    sort_key="order_id",
    indexes=[GlobalIndex("by_status", "status", "created_at")],
)


def main() -> None:
    """Run every part of the example."""
    print("Repositories of dynamodb-wrapper, one use after the other.")
    with open_store() as config:
        create_tables(config)
        create_and_get(config)
        change(config)
        list_pages(config)
        orders = own_model(config)
        batches(orders)
        transactions(orders)
        run_history(config)


def create_and_get(config: DynamoDBConfig) -> None:
    """Store an item once, and read it back."""
    section("1. Create and get")
    pipelines = PipelineConfigRepository(config)
    pipelines.put(PipelineConfig(pipeline_id="daily-sales", owner="sales-data"))
    stored = pipelines.get_or_raise("daily-sales")
    print(f"  {stored.pipeline_id} belongs to {stored.owner}, version {stored.version}.")
    print(f"  get of an unknown id gives {pipelines.get_by_pipeline_id('nothing-here')}.")
    try:
        pipelines.create(PipelineConfig(pipeline_id="daily-sales"))
    except ItemAlreadyExistsError as error:
        print(f"  create again: {error}")


def change(config: DynamoDBConfig) -> None:
    """Change items: typed, conditional, and safe against lost updates."""
    section("2. Update")
    pipelines = PipelineConfigRepository(config)
    changed = pipelines.update(
        "daily-sales", set={("spark_config", "spark.sql.shuffle.partitions"): "8"}
    )
    print(f"  one setting, nothing read before: {changed.spark_config}")
    try:
        pipelines.update("daily-sales", set={"ownr": "me"})
    except ValidationError as error:
        print(f"  a typo: {error}")
    try:
        pipelines.update(
            "daily-sales", set={"owner": "me"}, condition=Attr("owner").eq("another-team")
        )
    except ConditionFailedError as error:
        print(f"  a condition: {error}")
    mine, yours = pipelines.get_or_raise("daily-sales"), pipelines.get_or_raise("daily-sales")
    mine.description = "Sales per day and shop"
    pipelines.update(mine)
    yours.description = "Sales"
    try:
        pipelines.update(yours)
    except VersionConflictError as error:
        print(f"  two writers: {error}")


def list_pages(config: DynamoDBConfig) -> None:
    """List by an index; resume by token, as a web page would."""
    section("3. Lists and pages")
    tables = TableConfigRepository(config)
    tables.put_many(
        TableConfig(
            table_id=f"sales-{number:02}",
            pipeline_id="daily-sales",
            table_type="source",
            location=f"s3://sales/{number:02}",
        )
        for number in range(1, 8)
    )
    results = tables.query("daily-sales", index="by_pipeline")
    first = next(results.pages(size=3))
    print(f"  first page:  {', '.join(table.table_id for table in first.items)}")
    second = next(results.pages(size=3, start=first.next_token))
    print(f"  by token:    {', '.join(table.table_id for table in second.items)}")
    some = tables.get_tables_by_pipeline("daily-sales", limit=2)
    print(f"  limit=2:     {', '.join(table.table_id for table in some)}")


def own_model(config: DynamoDBConfig) -> BaseDynamoRepository[Order]:
    """Declare a table for your own model, and use it like the others."""
    section("4. A model of your own")
    create_tables(config, ORDERS)
    orders = BaseDynamoRepository(config, ORDERS)
    orders.put(Order(customer_id="c1", order_id="o1", total=Decimal("12.50"), created_at=utc_now()))
    paid = orders.update(("c1", "o1"), set={"status": "paid"}, condition=Attr("status").eq("new"))
    print(f"  {paid.order_id} is {paid.status}, {paid.total:.2f} to the cent.")
    return orders


def batches(orders: BaseDynamoRepository[Order]) -> None:
    """Write and read many items with few requests."""
    section("5. Batches and queries")
    written = orders.put_many(
        Order(
            customer_id="c2",
            order_id=f"o{number:03}",
            status="new" if number % 10 else "paid",
            total=Decimal(number),
            created_at=utc_now(),
        )
        for number in range(100)
    )
    print(f"  {written} orders written.")
    found = orders.get_many([("c2", "o007"), ("c2", "missing"), ("c1", "o1")])
    print(f"  get_many keeps the order: {[order and order.order_id for order in found]}")
    dear = orders.query(
        "c2", sort=Key("order_id").begins_with("o0"), filter=Attr("total").gt(40), limit=5
    )
    print(f"  five dear ones: {[order.order_id for order in dear]}, {dear.consumed.read_units} RCU")
    print(f"  paid, by index: {len(orders.query('paid', index='by_status').all())}")


def transactions(orders: BaseDynamoRepository[Order]) -> None:
    """Several writes together, or none of them."""
    section("6. Transactions")
    with orders.transaction() as transaction:
        transaction.update(orders, ("c2", "o001"), set={"status": "paid"})
        transaction.delete(orders, ("c2", "o002"))
    print("  paid o001 and deleted o002, in one go.")
    try:
        with orders.transaction() as transaction:
            transaction.update(orders, ("c2", "o003"), set={"status": "paid"})
            transaction.check(orders, ("c2", "o004"), Attr("status").eq("paid"))
    except TransactionCanceledError as error:
        refused = [reason.code for reason in error.reasons]
        print(f"  refused as a whole {refused}: o003 is still {status(orders, 'o003')}.")


def status(orders: BaseDynamoRepository[Order], order_id: str) -> str:
    """Return the status of an order of c2."""
    return orders.get_or_raise(("c2", order_id), consistent=True).status


def run_history(config: DynamoDBConfig) -> None:
    """Record runs; an exception that leaves the block decides how they end."""
    section("7. Runs")
    integration = SparkDynamoDBIntegration(config)  # only some methods need Spark
    runs = PipelineRunLogsRepository(config)
    with integration.pipeline_run_context("daily-sales") as run_id:
        runs.add_stage_info(run_id, "load", StageInfo(status="success", records_read=100))
        runs.update_run_metrics(run_id, {"shops": 12}, records_read=100, records_written=98)
    try:
        with integration.pipeline_run_context("daily-sales"):
            raise TimeoutError("the shop in Kiel does not answer")
    except TimeoutError:
        print("  The exception leaves the block unchanged; the run is stored as failed.")
    print_table(
        ("status", "started", "read", "written", "error"),
        [
            (
                run.status,
                f"{config.to_user_timezone(run.start_time or utc_now()):%Y-%m-%d %H:%M:%S}",
                run.records_read,
                run.records_written,
                run.error_type,
            )
            for run in runs.get_runs_by_pipeline("daily-sales")
        ],
    )
    print(f"  Times are in {config.user_timezone}; DYNAMODB_USER_TIMEZONE changes that.")


if __name__ == "__main__":
    main()
