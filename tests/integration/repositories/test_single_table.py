"""Several models in one table: kinds by an attribute and by a key prefix."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from dynamodb_wrapper import (
    Attr,
    BaseDynamoRepository,
    GlobalIndex,
    Key,
    Table,
    create_tables,
)
from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    IncompatibleItemError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    TransactionCanceledError,
    ValidationError,
)
from dynamodb_wrapper.models import Discriminator, EpochSeconds, KeyPrefix
from dynamodb_wrapper.repositories import query_collection
from tests.support.engines import isolated
from tests.support.sample_models import client_of, own_client

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine


class Customer(BaseModel):
    """Its attribute `type` is written by the library."""

    pk: str
    sk: str = "CUSTOMER"
    name: str = ""
    status: str = "new"
    gone_at: Optional[EpochSeconds] = None


class Order(BaseModel):
    """Its attribute `type` is a field; all other fields are those of a customer."""

    pk: str
    sk: str
    type: Literal["order"] = "order"
    status: str = "new"
    total: int = 0
    gone_at: Optional[EpochSeconds] = None


class Status(BaseModel):
    status: str


class Ticket(BaseModel):
    """Told from others by its sort key."""

    pk: str
    number: str = Field(serialization_alias="sk", validation_alias="sk")
    text: str = "new"

    model_config = {"populate_by_name": True}


BY_STATUS = GlobalIndex("by_status", "status", "sk")
BY_STATUS_KEYS = GlobalIndex("by_status_keys", "status", "sk", project="keys")
KEYS: dict[str, Any] = {"partition_key": "pk", "sort_key": "sk"}
CUSTOMERS = Table(
    "app",
    Customer,
    **KEYS,
    ttl="gone_at",
    kind=Discriminator("type", "customer"),
    indexes=[BY_STATUS, BY_STATUS_KEYS],
)
ORDERS = Table(
    "app",
    Order,
    **KEYS,
    ttl="gone_at",
    kind=Discriminator("type", "order"),
    indexes=[
        BY_STATUS,
        BY_STATUS_KEYS,
        GlobalIndex("by_type", "type", "pk"),
        GlobalIndex("by_total", "status", "total", project=Status),
    ],
)
TICKETS = Table(
    "app",
    Ticket,
    partition_key="pk",
    sort_key="number",
    kind=KeyPrefix("number", "TICKET#"),
    indexes=[
        GlobalIndex("by_number", "number", "pk"),
        GlobalIndex("by_text", "text", "pk"),
        GlobalIndex("by_text_keys", "text", "number", project="keys"),
    ],
)
PAST, FAR = 1, 4_000_000_000


class App:
    """Repositories of the three models, and the table as boto3 sees it."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self.config = config
        self.customers = BaseDynamoRepository(config, CUSTOMERS)
        self.orders = BaseDynamoRepository(config, ORDERS)
        self.tickets = BaseDynamoRepository(config, TICKETS)
        self.client = client_of(self.orders)
        self.name = self.orders.table_name

    def stored(self, pk: str, sk: str) -> dict[str, Any]:
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        item: dict[str, Any] = self.client.get_item(
            TableName=self.name, Key=key, ConsistentRead=True
        ).get("Item", {})
        return item

    def store(self, **values: str) -> None:
        item = {name: {"S": value} for name, value in values.items()}
        self.client.put_item(TableName=self.name, Item=item)


@pytest.fixture(scope="module")
def config(engine: Engine) -> DynamoDBConfig:
    config = isolated(engine.config)
    create_tables(config, CUSTOMERS, ORDERS, TICKETS)
    return config


@pytest.fixture(params=["raw", "parsed"])
def app(config: DynamoDBConfig, request: pytest.FixtureRequest) -> App:
    """The repositories, once reading replies with generated code and once as boto3 parses them."""
    app = App(own_client(config))
    if request.param == "parsed":
        # A handler that reads a reply has boto3 parse it.
        app.client.meta.events.register("after-call.dynamodb", lambda parsed, **_: list(parsed))
    return app


def test_both_ways_of_reading_are_tested(app: App, pk: str, request: Any) -> None:
    app.orders.put(Order(pk=pk, sk="x"))
    app.orders.get((pk, "x"))
    is_parsed = request.node.callspec.params["app"] == "parsed"
    assert (app.orders.decoded.generic, app.orders.decoded.compiled) == (is_parsed, not is_parsed)


@pytest.fixture
def pk() -> str:
    return uuid.uuid4().hex


def filled(app: App, pk: str) -> tuple[Customer, list[Order], list[Ticket]]:
    customer = app.customers.create(Customer(pk=pk, name="Ada"))
    orders = [Order(pk=pk, sk=f"ORDER#{n}", total=n) for n in range(3)]
    tickets = [Ticket(pk=pk, number=f"TICKET#{n}") for n in range(3)]
    app.orders.put_many(orders)
    app.tickets.put_many(tickets)
    return customer, orders, tickets


def test_one_table_is_made_with_the_indexes_of_all(config: DynamoDBConfig) -> None:
    app = App(config)
    description = app.client.describe_table(TableName=app.name)["Table"]
    names = {index["IndexName"] for index in description["GlobalSecondaryIndexes"]}
    assert names == {
        index.name for table in (CUSTOMERS, ORDERS, TICKETS) for index in table.indexes
    }
    assert len(names) == 7
    create_tables(config, TICKETS, ORDERS)
    for repository in (app.customers, app.orders, app.tickets):
        assert repository.check_table() == []


def test_writes_carry_the_attribute(app: App, pk: str) -> None:
    app.customers.create(Customer(pk=pk))
    assert app.stored(pk, "CUSTOMER")["type"] == {"S": "customer"}
    app.customers.put(Customer(pk=pk, sk="b"))
    assert app.stored(pk, "b")["type"] == {"S": "customer"}
    app.customers.put_many([Customer(pk=pk, sk="c")])
    assert app.stored(pk, "c")["type"] == {"S": "customer"}
    app.customers.update((pk, "d"), set={"name": "Ada"}, upsert=True)
    assert app.stored(pk, "d")["type"] == {"S": "customer"}
    customer = app.customers.get_or_raise((pk, "d"), consistent=True)
    customer.name = "Bob"
    assert app.customers.update(customer).name == "Bob"
    assert app.stored(pk, "d")["type"] == {"S": "customer"}
    with app.customers.transaction() as transaction:
        transaction.put(app.customers, Customer(pk=pk, sk="e"))
    assert app.stored(pk, "e")["type"] == {"S": "customer"}


def test_an_item_of_another_kind_is_not_found(app: App, pk: str) -> None:
    customer, orders, _ = filled(app, pk)
    order = (pk, orders[0].sk)
    assert app.customers.get((pk, "CUSTOMER"), consistent=True) == customer
    assert app.customers.get(order, consistent=True) is None
    assert app.customers.get(order, consistent=True, into=Status) is None
    assert app.orders.get(order, consistent=True, into=Status) == Status(status="new")
    assert not app.customers.exists(order, consistent=True)
    assert app.orders.exists(order, consistent=True)
    assert app.orders.get((pk, "CUSTOMER"), consistent=True) is None
    assert app.tickets.get(order, consistent=True) is None
    keys = [order, (pk, "CUSTOMER"), (pk, "TICKET#1")]
    assert app.customers.get_many(keys, consistent=True) == [None, customer, None]
    assert app.orders.get_many(keys, consistent=True) == [orders[0], None, None]
    found = app.tickets.get_many(keys, consistent=True)
    assert [ticket and ticket.number for ticket in found] == [None, None, "TICKET#1"]


def test_own_items_are_read_with_generated_code(config: DynamoDBConfig, pk: str) -> None:
    app = App(own_client(config))
    filled(app, pk)
    for repository in (app.customers, app.orders, app.tickets):
        repository.query(pk, consistent=True).all()
        query_collection(pk, app.customers, app.orders, app.tickets).all()
    assert app.customers.get((pk, "CUSTOMER"), consistent=True)
    assert [r.decoded.generic for r in (app.customers, app.orders, app.tickets)] == [0, 0, 0]
    assert app.customers.get((pk, "ORDER#1"), consistent=True) is None
    assert app.orders.decoded.compiled == 12


def test_an_item_without_the_attribute_is_of_no_kind_unless_it_is_the_default(
    app: App, pk: str
) -> None:
    app.store(pk=pk, sk="old", status="new", name="Ada")
    assert app.customers.get((pk, "old"), consistent=True) is None
    assert app.customers.query(pk, consistent=True).all() == []
    kind = Discriminator("type", "customer", is_default=True)
    customers = BaseDynamoRepository(app.config, Table("app", Customer, **KEYS, kind=kind))
    found = customers.get_or_raise((pk, "old"), consistent=True)
    assert customers.query(pk, consistent=True).all() == [found]
    assert customers.update((pk, "old"), set={"status": "paid"}).status == "paid"
    assert "type" not in app.stored(pk, "old")
    customers.put(found)
    assert app.stored(pk, "old")["type"] == {"S": "customer"}
    app.orders.put(Order(pk=pk, sk="o"))
    assert customers.get((pk, "o"), consistent=True) is None
    with pytest.raises(ConditionFailedError, match="another kind"):
        customers.put(Customer(pk=pk, sk="o"))


def test_queries_and_scans_keep_to_their_kind(app: App, pk: str) -> None:
    customer, orders, tickets = filled(app, pk)
    assert app.customers.query(pk, consistent=True).all() == [customer]
    assert app.orders.query(pk, consistent=True).all() == orders
    assert app.orders.query(pk, consistent=True, into=Status).all() == [Status(status="new")] * 3
    assert app.tickets.query(pk, consistent=True).all() == tickets
    assert app.orders.query(pk, consistent=True, limit=2, descending=True).all() == orders[:0:-1]
    assert (app.customers.count(pk), app.orders.count(pk), app.tickets.count(pk)) == (1, 3, 3)
    mine = Attr("pk").eq(pk)
    assert app.customers.scan(filter=mine, consistent=True).all() == [customer]
    found = app.tickets.scan(filter=mine, consistent=True)
    assert sorted(found, key=lambda ticket: ticket.number) == tickets
    expensive = Attr("total").gt(0)
    assert app.orders.query(pk, filter=expensive, consistent=True).all() == orders[1:]


def test_columns_keep_to_their_kind(app: App, pk: str) -> None:
    pytest.importorskip("pyarrow")
    filled(app, pk)
    assert app.customers.query(pk, consistent=True).to_arrow()["name"].to_pylist() == ["Ada"]
    assert app.orders.query(pk, consistent=True).to_arrow()["total"].to_pylist() == [0, 1, 2]
    numbers = app.tickets.query(pk, consistent=True).to_arrow()["number"].to_pylist()
    assert numbers == ["TICKET#0", "TICKET#1", "TICKET#2"]


@pytest.mark.parametrize("index", ["by_status", "by_status_keys"])
def test_indexes_keep_to_their_kind(app: App, pk: str, index: str) -> None:
    customer = app.customers.create(Customer(pk=pk, name="Ada", status=pk))
    order = app.orders.create(Order(pk=pk, sk="ORDER#1", status=pk))
    assert app.customers.query(pk, index=index).all() == [customer]
    assert app.orders.query(pk, index=index).all() == [order]
    assert app.orders.query(pk, index=index, into=Status).all() == [Status(status=pk)]
    pytest.importorskip("pyarrow")
    assert app.customers.query(pk, index=index).to_arrow()["name"].to_pylist() == ["Ada"]


def test_a_count_on_an_index_without_the_attribute_is_refused(app: App, pk: str) -> None:
    app.customers.create(Customer(pk=pk, status=pk))
    app.orders.create(Order(pk=pk, sk="ORDER#1", status=pk))
    assert app.orders.count(pk, index="by_status") == 1
    assert app.orders.count(pk, index="by_total") == 1
    with pytest.raises(ValidationError, match=r"by_status_keys.*does not hold 'type'"):
        app.orders.count(pk, index="by_status_keys")


def test_the_attribute_can_be_the_key_of_an_index(app: App, pk: str) -> None:
    _, orders, _ = filled(app, pk)
    condition = Key("pk").eq(pk)
    found = app.orders.query("order", sort=condition, index="by_type")
    assert sorted(found, key=lambda order: order.sk) == orders
    assert app.orders.count("order", sort=condition, index="by_type") == 3
    with pytest.raises(ValidationError, match="type does not accept this key"):
        app.orders.query("customer", index="by_type")


def test_a_projection_by_a_model_holds_the_attribute(app: App, pk: str) -> None:
    app.orders.create(Order(pk=pk, sk="ORDER#1", status=pk))
    assert app.orders.query(pk, index="by_total", into=Status).all() == [Status(status=pk)]


def test_a_prefix_counts_in_every_index(app: App, pk: str) -> None:
    ticket = app.tickets.create(Ticket(pk=pk, number=f"TICKET#{pk}", text=pk))
    app.store(pk=pk, sk="note", text=pk)
    for index in ("by_text", "by_text_keys"):
        assert app.tickets.query(pk, index=index).all() == [ticket]
        assert app.tickets.count(pk, index=index) == 1
        assert app.tickets.scan(index=index, filter=Attr("pk").eq(pk)).all() == [ticket]
    assert app.tickets.query(ticket.number, index="by_number").all() == [ticket]
    with pytest.raises(ValidationError, match="begin with 'TICKET#' in 'sk', not 'note'"):
        app.tickets.query("note", index="by_number")
    since = Key("number").gt("TICKET#")
    assert app.tickets.query(pk, sort=since, index="by_text_keys").all() == [ticket]


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        (Key("number").begins_with("TICKET#"), "012"),
        (Key("number").begins_with("T"), "012"),
        (Key("number").begins_with("TICKET#1"), "1"),
        (Key("number").eq("TICKET#1"), "1"),
        (Key("number").gt("TICKET#0"), "12"),
        (Key("number").gte("TICKET#1"), "12"),
        (Key("number").lt("TICKET#2"), "01"),
        (Key("number").lte("TICKET#1"), "01"),
        (Key("number").between("TICKET#1", "TICKET#2"), "12"),
    ],
)
def test_a_condition_on_the_sort_key_stays_within_the_prefix(
    app: App, pk: str, condition: Any, numbers: str
) -> None:
    filled(app, pk)
    app.orders.put_many([Order(pk=pk, sk=text) for text in ("A", "T", "TICKET", "TICKETS", "Z")])
    found = app.tickets.query(pk, sort=condition, consistent=True)
    assert "".join(ticket.number[-1] for ticket in found) == numbers
    assert app.tickets.count(pk, sort=condition) == len(numbers)


@pytest.mark.parametrize(
    "condition",
    [
        Key("number").eq("ORDER#1"),
        Key("number").begins_with("O"),
        Key("number").between("A", "Z"),
        Key("number").lt("TICKET#"),
        Key("number").gt("TICKET#1") & Key("number").lt("TICKET#3"),
        Key("number").eq(7),
        Key("number").eq(None),
    ],
)
def test_a_condition_outside_the_prefix_is_refused(app: App, pk: str, condition: Any) -> None:
    with pytest.raises(ValidationError, match=r"sort=|cannot be compared"):
        app.tickets.query(pk, sort=condition)


def test_no_write_replaces_an_item_of_another_kind(app: App, pk: str) -> None:
    app.orders.create(Order(pk=pk, sk="x", total=7))
    before = app.stored(pk, "x")
    customer = Customer(pk=pk, sk="x")
    with pytest.raises(ItemAlreadyExistsError):
        app.customers.create(customer)
    match = "another kind .type 'order'; Customer has 'customer'"
    with pytest.raises(ConditionFailedError, match=match) as refused:
        app.customers.put(customer)
    assert refused.value.key == {"pk": pk, "sk": "x"}
    assert refused.value.current is not None
    assert refused.value.current["total"] == 7
    with pytest.raises(ConditionFailedError, match=match):
        app.customers.put(customer, condition=Attr("name").not_exists())
    with pytest.raises(ConditionFailedError, match=match):
        app.customers.update(customer)
    with pytest.raises(ConditionFailedError, match=match):
        app.customers.update((pk, "x"), set={"name": "Ada"})
    with pytest.raises(ConditionFailedError, match=match):
        app.customers.update((pk, "x"), set={"name": "Ada"}, upsert=True)
    with pytest.raises(ConditionFailedError, match=match):
        app.customers.delete((pk, "x"))
    with pytest.raises(ConditionFailedError, match=match):
        app.customers.delete(customer, must_exist=True)
    assert app.stored(pk, "x") == before


def test_the_usual_errors_stay(app: App, pk: str) -> None:
    assert app.customers.delete((pk, "none")) is None
    with pytest.raises(ItemNotFoundError):
        app.customers.delete((pk, "none"), must_exist=True)
    with pytest.raises(ItemNotFoundError):
        app.customers.update((pk, "none"), set={"name": "Ada"})
    app.customers.put(Customer(pk=pk))
    with pytest.raises(ConditionFailedError, match="did not hold"):
        app.customers.put(Customer(pk=pk), condition=Attr("name").eq("Bob"))
    assert app.customers.delete((pk, "CUSTOMER")) == Customer(pk=pk)


def test_a_put_costs_one_request(app: App, pk: str) -> None:
    sent: list[str] = []
    app.client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: sent.append(model.name)
    )
    app.customers.put(Customer(pk=pk))
    app.customers.put(Customer(pk=pk))
    assert sent == ["PutItem", "PutItem"]


def test_transactions_do_not_replace_another_kind(app: App, pk: str) -> None:
    app.orders.create(Order(pk=pk, sk="x"))
    for verb in ("put", "update", "delete"):
        with pytest.raises(TransactionCanceledError), app.customers.transaction() as transaction:
            getattr(transaction, verb)(app.customers, Customer(pk=pk, sk="x"))
    with pytest.raises(TransactionCanceledError), app.customers.transaction() as transaction:
        transaction.check(app.customers, (pk, "x"), Attr("pk").exists())
    with app.customers.transaction() as transaction:
        transaction.check(app.orders, (pk, "x"), Attr("pk").exists())
        transaction.put(app.customers, Customer(pk=pk))
        transaction.put(app.tickets, Ticket(pk=pk, number="TICKET#1"))
    assert len(query_collection(pk, app.customers, app.orders, app.tickets).all()) == 3


def test_a_key_without_the_prefix_is_not_written(app: App, pk: str) -> None:
    app.orders.create(Order(pk=pk, sk="x"))
    match = "begin with 'TICKET#' in 'sk', not 'x'"
    with pytest.raises(ValidationError, match=match):
        app.tickets.create(Ticket(pk=pk, number="x"))
    with pytest.raises(ValidationError, match=match):
        app.tickets.put(Ticket(pk=pk, number="x"))
    with pytest.raises(ValidationError, match=match):
        app.tickets.put_many([Ticket(pk=pk, number="x")])
    with pytest.raises(ValidationError, match=match):
        app.tickets.update((pk, "x"), set={"text": "y"})
    with pytest.raises(ValidationError, match=match):
        app.tickets.delete((pk, "x"))
    with pytest.raises(ValidationError, match=match):
        app.tickets.delete_many([(pk, "x")])
    with pytest.raises(ValidationError, match=match), app.tickets.transaction() as transaction:
        transaction.delete(app.tickets, (pk, "x"))
    assert app.orders.exists((pk, "x"), consistent=True)


def test_the_kind_of_an_item_cannot_change(app: App, pk: str) -> None:
    app.orders.create(Order(pk=pk, sk="x"))
    with pytest.raises(ValidationError, match="'type' tells the items of Order"):
        app.orders.update((pk, "x"), set={"type": "order"})
    broken = Order(pk=pk, sk="x").model_copy(update={"type": "customer"})
    with pytest.raises(ValidationError, match="'order' in 'type', not 'customer'"):
        app.orders.put(broken)


def test_a_collection_yields_each_item_as_its_model(app: App, pk: str) -> None:
    customer, orders, tickets = filled(app, pk)
    found = query_collection(pk, app.tickets, app.customers, app.orders, consistent=True)
    assert found.all() == [customer, *orders, *tickets]
    assert found.consumed.read_units > 0
    some = query_collection(pk, app.customers, app.orders, consistent=True)
    assert some.all() == [customer, *orders]
    every = [customer, *orders, *tickets]
    backwards = query_collection(
        pk, app.customers, app.orders, app.tickets, descending=True, limit=5
    )
    assert backwards.all() == every[:1:-1]
    last = query_collection(pk, app.customers, app.orders, sort=Key("sk").begins_with("ORDER#"))
    assert last.all() == orders
    sent, token = [], None
    while True:
        page = next(found.pages(size=2, start=token))
        sent += page.items
        token = page.next_token
        if token is None:
            break
    assert sent == every


def test_a_collection_leaves_out_expired_items_of_each_model(app: App, pk: str) -> None:
    app.customers.put(Customer(pk=pk, gone_at=PAST))
    app.orders.put_many([Order(pk=pk, sk="a", gone_at=PAST), Order(pk=pk, sk="b", gone_at=FAR)])
    app.tickets.put(Ticket(pk=pk, number="TICKET#1"))
    found = query_collection(pk, app.tickets, app.orders, app.customers, consistent=True)
    assert [type(item).__name__ for item in found] == ["Ticket", "Order"]


def test_a_collection_over_an_index(app: App, pk: str) -> None:
    app.customers.create(Customer(pk=pk, status=pk))
    app.orders.create(Order(pk=pk, sk="ORDER#1", status=pk))
    found = query_collection(pk, app.customers, app.orders, index="by_status")
    assert {type(item) for item in found} == {Customer, Order}
    with pytest.raises(ValidationError, match="does not project everything"):
        query_collection(pk, app.customers, app.orders, index="by_status_keys")


def test_items_of_unknown_kinds_are_left_out_or_reported(app: App, pk: str) -> None:
    customer, orders, _ = filled(app, pk)
    app.store(pk=pk, sk="Z", type="invoice")
    assert query_collection(pk, app.customers, app.orders).all() == [customer, *orders]
    match = "TICKET#0.* none of the kinds 'customer', 'order' .type absent.*unknown='skip'"
    with pytest.raises(IncompatibleItemError, match=match) as refused:
        query_collection(pk, app.customers, app.orders, unknown="raise").all()
    assert refused.value.key == {"pk": pk, "sk": "TICKET#0"}
    with pytest.raises(IncompatibleItemError, match="type 'invoice'"):
        query_collection(pk, app.customers, app.orders, app.tickets, unknown="raise").all()


def test_a_collection_is_of_one_table_whose_declarations_name_kinds(app: App, pk: str) -> None:
    with pytest.raises(ValidationError, match="needs repositories"):
        query_collection(pk)
    with pytest.raises(ValidationError, match="not with a str"):
        query_collection(pk, app.orders, "customers")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="unknown is 'ignore'"):
        query_collection(pk, app.orders, unknown="ignore")  # type: ignore[call-overload]
    elsewhere = Table("other", Order, **KEYS, kind=Discriminator("type", "order"))
    with pytest.raises(ValidationError, match="from one table, not from"):
        query_collection(pk, app.customers, BaseDynamoRepository(app.config, elsewhere))
    plain = BaseDynamoRepository(app.config, Table("app", Order, **KEYS))
    with pytest.raises(ValidationError, match="of Order declares no kind"):
        query_collection(pk, app.customers, plain)
    prefix = Table("app", Order, **KEYS, kind=KeyPrefix("sk", "TICKET#1"))
    with pytest.raises(ValidationError, match="'TICKET#1' of Order and 'TICKET#' of Ticket"):
        query_collection(pk, app.tickets, BaseDynamoRepository(app.config, prefix))


def test_a_collection_has_no_columns(app: App, pk: str) -> None:
    with pytest.raises(ValidationError, match="no columns"):
        query_collection(pk, app.customers, app.orders).to_arrow()


def test_free_attributes_do_not_show_the_mark(app: App, pk: str) -> None:
    class Free(BaseModel, extra="allow"):
        pk: str
        sk: str

    table = Table("app", Free, **KEYS, kind=Discriminator("type", "free"))
    repository = BaseDynamoRepository(app.config, table)
    item = Free(pk=pk, sk="x", colour="red")  # type: ignore[call-arg]
    repository.create(item)
    assert app.stored(pk, "x")["type"] == {"S": "free"}
    found = repository.get_or_raise((pk, "x"), consistent=True)
    assert found.model_extra == {"colour": "red"}
    assert repository.update(found) == item
    with pytest.raises(ValidationError, match="'free' in 'type', not 'order'"):
        repository.put(Free(pk=pk, sk="x", type="order"))  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="'type' tells the items of Free"):
        repository.update((pk, "x"), set={"type": "order"})


def test_a_subclass_with_more_fields_is_refused(app: App, pk: str) -> None:
    class Gift(Order):
        message: str = ""

    class SameFields(Order):
        def text(self) -> str:
            return self.sk

    gift = Gift(pk=pk, sk="x", message="hello")
    writes: list[Any] = [app.orders.create, app.orders.put, app.orders.update]
    for write in [*writes, lambda item: app.orders.put_many([item])]:
        with pytest.raises(ValidationError, match=r"message of its subclass Gift .* lost"):
            write(gift)
    assert app.stored(pk, "x") == {}
    app.orders.create(SameFields(pk=pk, sk="x"))
    assert app.orders.get((pk, "x"), consistent=True) == Order(pk=pk, sk="x")
