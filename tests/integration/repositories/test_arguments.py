"""Wrong arguments: each is refused with an error of the library, and nothing is changed by it."""

from __future__ import annotations

import inspect
import itertools
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pydantic
import pytest
from boto3.dynamodb.conditions import Attr, Key

from dynamodb_wrapper.exceptions import DynamoDBWrapperError, ValidationError
from dynamodb_wrapper.models import (
    DataQualityResult,
    Derived,
    GlobalIndex,
    PipelineConfig,
    PipelineRunLog,
    StageInfo,
    Table,
    TableConfig,
)
from dynamodb_wrapper.repositories import (
    BaseDynamoRepository,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    Results,
    TableConfigRepository,
    Transaction,
    create_tables,
)
from tests.support.engines import isolated
from tests.support.sample_models import (
    ORDERS,
    TASKS,
    Address,
    Order,
    OrderTotal,
    Task,
    methods_of,
    own_client,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)
BYSTANDERS = ("a", "b", "c", "0", "task_id", "customer_id", "owner")
"""Keys that are found when a text, a mapping, a model or a frame is taken for a list of keys."""


ODD: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "zero": lambda: 0,
    "negative": lambda: -1,
    "int": lambda: 3,
    "huge": lambda: 10**40,
    "float": lambda: 2.5,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "decimal": lambda: Decimal("1e200"),
    "bytes": lambda: b"abc",
    "empty text": lambda: "",
    "text": lambda: "abc",
    "digits": lambda: "5",
    "surrogate": lambda: "\ud800",
    "long text": lambda: "x" * 5000,
    "list": lambda: [],
    "list of texts": lambda: ["x", None],
    "tuple": lambda: ("x", "y", "z"),
    "nested": lambda: [[["x"]]],
    "mapping": lambda: {},
    "mapping of texts": lambda: {"task_id": "x"},
    "mapping of numbers": lambda: {1: 2, None: object()},
    "mapping of paths": lambda: {("details", 5, ""): 1},
    "set": lambda: {"x", 1},
    "empty set": set,
    "object": object,
    "class": lambda: object,
    "model class": lambda: OrderTotal,
    "lambda": lambda: lambda: None,
    "generator": lambda: (letter for letter in "xy"),
    "condition on a key": lambda: Key("customer_id").eq("a"),
    "condition on an attribute": lambda: Attr("nothing.at[all").eq(object()),
    "empty condition": lambda: Attr(""),
    "attribute": lambda: Attr("status"),
    "model": lambda: Address(city="Rome"),
    "model of another table": lambda: table_config("x"),
    "unchecked model": lambda: Order.model_construct(customer_id=None),
    "unchecked task": lambda: Task.model_construct(task_id=object()),
    "moment": lambda: datetime(2026, 1, 1),
    "frame": lambda: pyarrow.table({"customer_id": ["a"], "order_id": ["b"], "x": [1]}),
    "repository": lambda: BaseDynamoRepository,
    "array": lambda: np.array(["x", "y"]),
    "scalar": lambda: np.int64(3),
    "missing": lambda: pd.NA,
    "pandas frame": lambda: pd.DataFrame({"x": ["a", "b"]}),
    "lazy frame": lambda: pl.LazyFrame({"task_id": ["a"]}),
}


class Call:
    """A call that is right, whose arguments are replaced one by one.

    Attributes:
        method: Name of the method.
        arguments: Makes the arguments, by name.
    """

    def __init__(self, method: str, **arguments: Callable[[], Any]) -> None:
        self.method = method
        self.arguments = arguments

    def made(self, name: str, value: Any) -> dict[str, Any]:
        """Return the arguments, one of them replaced."""
        return {**{known: make() for known, make in self.arguments.items()}, name: value}

    def run(self, target: Any, arguments: dict[str, Any]) -> Any:
        """Call the method and read what it returns."""
        method = target if not self.method else getattr(target, self.method)
        parameters = inspect.signature(method).parameters.items()
        kinds = {parameter.kind for _, parameter in parameters}
        first: list[Any] = []
        for name, parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL and name in arguments:
                first += arguments.pop(name)
            elif parameter.kind is parameter.POSITIONAL_ONLY or (
                parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                and parameter.VAR_POSITIONAL in kinds
            ):
                first += [arguments.pop(name)] if name in arguments else []
        result = method(*first, **arguments)
        if isinstance(result, Results):
            return result.all()
        return list(result) if inspect.isgenerator(result) else result


def value(thing: Any) -> Callable[[], Any]:
    return lambda: thing


def order(customer_id: str = "own", order_id: str = "own") -> Order:
    return Order(customer_id=customer_id, order_id=order_id)


def pipeline(pipeline_id: str = "own") -> PipelineConfig:
    return PipelineConfig(pipeline_id=pipeline_id)


def table_config(table_id: str = "own") -> TableConfig:
    return TableConfig(
        table_id=table_id, pipeline_id="own", table_type="source", data_format="catalog"
    )


def run_log(run_id: str = "own") -> PipelineRunLog:
    return PipelineRunLog(run_id=run_id, pipeline_id="own", status="success", start_time=DAY)


MANY = {"workers": value(1), "rate": value(10_000), "on_progress": value(lambda _: None)}
CHANGES = {
    "set": dict,
    "remove": list,
    "add": dict,
    "append": dict,
    "delete": dict,
    "upsert": value(False),
}
WINDOW = {"since": value(DAY), "until": value(datetime(2027, 1, 1, tzinfo=timezone.utc))}
FOUND = {"limit": value(10), "newest_first": value(True)}
HOURS = {"hours": value(24), "environment": value("dev"), "limit": value(10)}


def common(key: Any, item: Callable[[], Any], field: str, text: str, sort: Any) -> list[Call]:
    """Calls of the methods that every repository has."""
    condition = value(Attr(field).eq(text))
    reading = {
        "index": value(None),
        "filter": condition,
        "limit": value(5),
        "consistent": value(False),
        "into": value(None),
        "rate": value(10_000),
        "on_progress": value(lambda _: None),
    }
    partition = key[0] if isinstance(key, tuple) else key
    changes = {**CHANGES, "set": value({field: text})}
    return [
        Call("get", key=value(key), consistent=value(False), into=value(None)),
        Call("get_or_raise", key=value(key), consistent=value(False), into=value(None)),
        Call("get_many", keys=value([key]), consistent=value(False), **MANY),
        Call("exists", key=value(key), consistent=value(False)),
        Call("create", item=item),
        Call("put", item=item, condition=condition),
        Call("update", item_or_key=value(key), **changes, condition=condition),
        Call("update", item_or_key=item, condition=condition),
        Call("delete", key_or_item=value(key), condition=condition, must_exist=value(False)),
        Call("put_many", items=lambda: [item()], **MANY),
        Call("delete_many", keys=value([key]), **MANY),
        Call("query", partition=value(partition), sort=sort, descending=value(False), **reading),
        Call("scan", segments=value(1), **reading),
        Call("count", partition=value(partition), sort=sort, index=value(None), filter=condition),
        Call("transaction", token=value("t"), at=value(DAY)),
        Call("create_table", protect=value(False)),
        Call("check_table"),
        Call("consumed"),
    ]


def listing(method: str, **arguments: Callable[[], Any]) -> Call:
    return Call(method, **arguments, limit=value(10))


ORDER_CALLS = common(
    ("own", "own"), order, "status", "new", value(Key("order_id").begins_with("o"))
)
TASK_CALLS = common("own", lambda: Task(task_id="own"), "owner", "nobody", value(None))
PIPELINE_CALLS = [
    *common("own", pipeline, "owner", "x", value(None)),
    Call("create_pipeline_config", pipeline=pipeline),
    Call("get_by_pipeline_id", pipeline_id=value("own"), consistent=value(False)),
    listing("get_active_pipelines", environment=value("dev")),
    listing("get_pipelines_by_environment", environment=value("dev")),
    Call("update_pipeline_status", pipeline_id=value("own"), is_active=value(True)),
    Call("activate", pipeline_ids=value(["own"])),
    Call("deactivate", pipeline_ids=value(["own"])),
]
TABLE_CALLS = [
    *common("own", table_config, "owner", "x", value(None)),
    Call("create_table_config", table=table_config),
    Call("get_by_table_id", table_id=value("own"), consistent=value(False)),
    listing("get_tables_by_pipeline", pipeline_id=value("own")),
    listing("get_active_tables_by_pipeline", pipeline_id=value("own")),
    Call("get_source_tables", pipeline_id=value("own")),
    Call("get_destination_tables", pipeline_id=value("own")),
    listing(
        "get_tables_by_type",
        table_type=value("source"),
        environment=value("dev"),
        active_only=value(False),
    ),
    Call(
        "update_table_statistics",
        table_id=value("own"),
        record_count=value(1),
        size_bytes=value(1),
        file_count=value(1),
        last_data_at=value(DAY),
        run_id=value("r"),
        forget=list,
    ),
]
RUN_CALLS = [
    *common("own", run_log, "status_detail", "x", value(None)),
    Call("create_run_log", run=run_log),
    Call("get_by_run_id", run_id=value("own"), consistent=value(False)),
    Call(
        "update_run_status",
        run_id=value("own"),
        status=value("success"),
        reason=value("word"),
        detail=value("text"),
        error=value(None),
    ),
    Call("add_stage_info", run_id=value("running"), name=value("stage"), stage=StageInfo),
    Call(
        "add_data_quality",
        run_id=value("running"),
        name=value("check"),
        result=lambda: DataQualityResult(passed=True),
    ),
    Call(
        "update_run_metrics",
        run_id=value("running"),
        metrics=value({"n": 1}),
        records_read=value(1),
        records_written=value(1),
        records_failed=value(1),
    ),
    Call("get_log_lines", run_id=value("own")),
    Call("get_stack_trace", run_id=value("own")),
    Call("release", pipeline_id=value("own"), reason=value("dead"), now=value(DAY)),
    Call(
        "get_runs_by_pipeline",
        pipeline_id=value("own"),
        **WINDOW,
        limit=value(10),
        newest_first=value(True),
    ),
    Call(
        "get_runs_by_status",
        status=value("success"),
        pipeline_id=value(None),
        environment=value("dev"),
        **WINDOW,
        limit=value(10),
        newest_first=value(True),
    ),
    Call("get_running_pipelines", environment=value("dev")),
    Call("get_failed_runs", pipeline_id=value(None), **HOURS),
    Call("get_successful_runs", pipeline_id=value(None), **HOURS),
    Call("get_recent_runs", **HOURS),
    Call("delete", key_or_item=value("own"), free_run_key=value(False)),
    Call("expire", run_id=value("own"), after=value(timedelta(days=1))),
    Call("find_by_external_id", external_id=value("job"), **WINDOW, **FOUND),
    Call("find_by_tag", name=value("team"), value=value("a"), **WINDOW, **FOUND),
    Call("children", parent_run_id=value("own"), **FOUND),
    Call("latest", pipeline_id=value("own")),
    Call("last_success", pipeline_id=value("own")),
]
RESULT_CALLS = [
    Call("pages", size=value(2), start=value(None)),
    Call("arrow_batches", schema=value(None), mismatch=value("raise"), size=value(None)),
    Call("to_arrow", schema=value(None), mismatch=value("raise")),
    Call("to_pandas", schema=value(None), mismatch=value("raise"), split_blocks=value(False)),
    Call("to_polars", schema=value(None), mismatch=value("raise")),
    Call("first"),
    Call("all"),
]


def transaction_calls(repository: BaseDynamoRepository[Order]) -> list[Call]:
    own = value(repository)
    condition = value(Attr("status").eq("new"))
    changes = {**CHANGES, "set": value({"status": "x"})}
    key = value(("own", "own"))
    return [
        Call("create", repository=own, item=order),
        Call("put", repository=own, item=order, condition=condition),
        Call("update", repository=own, item_or_key=key, **changes, condition=condition),
        Call("update", repository=own, item_or_key=order, condition=condition),
        Call(
            "delete",
            repository=own,
            key_or_item=key,
            condition=condition,
            must_exist=value(False),
        ),
        Call("check", repository=own, key=key, condition=condition),
        Call("send"),
    ]


DECLARATIONS = [
    Call(
        "",
        name=value("odd"),
        model=value(Order),
        partition_key=value("customer_id"),
        sort_key=value("order_id"),
        ttl=value(None),
        version_field=value("version"),
        indexes=list,
    )
]
INDEXES = [
    Call(
        "",
        name=value("by_status"),
        partition_key=value("status"),
        sort_key=value("order_id"),
        project=value("all"),
    )
]
DERIVED = [Call("", attribute=value("ix"), fields=value(("status",)), function=value(lambda s: s))]
FUNCTIONS = ("class", "model class", "lambda")
"""Odd values that can be called: an error of theirs is the caller's."""
LISTS = ("list of texts", "tuple", "nested", "set")


class Subject:
    """A repository whose methods are called.

    Attributes:
        open: Makes the repository.
        calls: Right calls of all its methods.
        item: Makes an item with a key.
    """

    def __init__(self, make: Any, calls: list[Call], item: Callable[[str], Any]) -> None:
        self.open, self.calls, self.item = make, calls, item


SUBJECTS = {
    "orders": Subject(lambda config: BaseDynamoRepository(config, ORDERS), ORDER_CALLS, order),
    "tasks": Subject(
        lambda config: BaseDynamoRepository(config, TASKS),
        TASK_CALLS,
        lambda key: Task(task_id=key),
    ),
    "pipelines": Subject(PipelineConfigRepository, PIPELINE_CALLS, pipeline),
    "tables": Subject(TableConfigRepository, TABLE_CALLS, table_config),
    "runs": Subject(PipelineRunLogsRepository, RUN_CALLS, run_log),
}
SHARED = len(TASK_CALLS)


@pytest.fixture(scope="module")
def place(local_engine: Engine) -> DynamoDBConfig:
    """A config with all tables."""
    config = own_client(isolated(local_engine.config))
    create_tables(config)
    create_tables(config, ORDERS, TASKS)
    return config


def replaced(call: Call) -> Iterator[tuple[str, str, Any]]:
    """Yield the arguments to replace, and by what."""
    for name in call.arguments:
        for odd, make in ODD.items():
            is_called = name in ("on_progress", "function") and odd in FUNCTIONS
            if not is_called:
                yield name, odd, make()


def tried(call: Call, target: Callable[[], Any], then: Any = None) -> Iterator[str]:
    """Make each wrong call; yield the parameter when all its values were tried."""
    raw: list[str] = []
    for parameter, tries in itertools.groupby(replaced(call), key=lambda found: found[0]):
        for _, odd, given in tries:
            try:
                called = target()
                result = call.run(called, call.made(parameter, given))
                if then is not None:
                    then(called, result)
            except (DynamoDBWrapperError, pydantic.ValidationError):
                continue
            except Exception as error:
                raw.append(f"{call.method}({parameter}={odd}): {error!r}")
        yield parameter
    assert raw == []


def calls_of(subject: str) -> Iterator[Any]:
    for number, call in enumerate(SUBJECTS[subject].calls):
        is_long = number < SHARED and subject not in ("orders", "tasks")
        marks = [pytest.mark.slow] if is_long else []
        yield pytest.param(subject, call, id=f"{subject}-{number}-{call.method}", marks=marks)


@pytest.mark.parametrize(
    ("subject", "call"), [case for subject in SUBJECTS for case in calls_of(subject)]
)
def test_a_wrong_argument_is_refused_and_changes_nothing(
    place: DynamoDBConfig, subject: str, call: Call
) -> None:
    repository = SUBJECTS[subject].open(place)
    bystanders = [SUBJECTS[subject].item(key) for key in BYSTANDERS]
    repository.put_many(bystanders)
    keys = [repository.table.model.model_validate(dict(item)) for item in bystanders]
    before = repository.get_many(keys, consistent=True)
    assert None not in before
    for parameter in tried(call, lambda: repository):
        assert repository.get_many(keys, consistent=True) == before, (call.method, parameter)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_public_method_and_parameter_is_tried(place: DynamoDBConfig, subject: str) -> None:
    repository = SUBJECTS[subject].open(place)
    calls = SUBJECTS[subject].calls
    assert methods_of(repository) == {call.method for call in calls}
    for method in methods_of(repository):
        parameters = {*inspect.signature(getattr(repository, method)).parameters}
        assert parameters == {n for call in calls if call.method == method for n in call.arguments}


@pytest.mark.parametrize("call", RESULT_CALLS, ids=lambda call: call.method)
def test_a_wrong_argument_of_results_is_refused(place: DynamoDBConfig, call: Call) -> None:
    repository = BaseDynamoRepository(place, ORDERS)
    repository.put(order("read", "1"))
    assert [*tried(call, lambda: repository.query("read"))] == [*call.arguments]


def test_a_wrong_argument_of_a_transaction_is_refused(place: DynamoDBConfig) -> None:
    repository = BaseDynamoRepository(place, ORDERS)

    def send(transaction: Transaction, _: Any) -> None:
        transaction.send()

    for call in transaction_calls(repository):
        repository.put(order("a", "b"))
        for parameter in tried(call, repository.transaction, send):
            assert repository.get(("a", "b"), consistent=True), (call.method, parameter)


@pytest.mark.parametrize(
    ("kind", "call"),
    [(Table, DECLARATIONS[0]), (GlobalIndex, INDEXES[0]), (Derived, DERIVED[0])],
    ids=["table", "index", "derived"],
)
def test_a_wrong_declaration_is_refused(place: DynamoDBConfig, kind: Any, call: Call) -> None:
    def use(_: Any, made: Any) -> None:
        table = made if isinstance(made, Table) else table_of(made)
        repository = BaseDynamoRepository(isolated(place), table)
        repository.create_table()
        repository.put(order())

    assert [*tried(call, lambda: kind, use)]


def table_of(part: Any) -> Table[Order]:
    index = part if isinstance(part, GlobalIndex) else GlobalIndex("ix", part)
    return Table("odd", Order, partition_key="customer_id", indexes=[index])


def test_a_wrong_place_is_refused(place: DynamoDBConfig) -> None:
    own = value(place)
    call = Call("", config=own, table=value(ORDERS), client=value(None))
    assert [*tried(call, lambda: BaseDynamoRepository)]
    call = Call("", config=own, tables=value([ORDERS]), protect=value(False), client=value(None))
    wrong = [case for case in replaced(call) if case[0] != "tables" or case[1] in LISTS]
    assert wrong
    for parameter, _, given in wrong:
        with suppress(DynamoDBWrapperError):
            call.run(create_tables, call.made(parameter, given))
    for repository in (PipelineConfigRepository, TableConfigRepository, PipelineRunLogsRepository):
        for odd in ("none", "text", "object", "class", "mapping"):
            with pytest.raises(ValidationError, match="config is"):
                repository(ODD[odd]())


FRAME = {"customer_id": ["a"], "order_id": ["b"]}
MESSAGES: list[tuple[Any, str]] = [
    (lambda r: r.query(Key("customer_id").eq("a")), r"given as a value, .* query\(value\)"),
    (lambda r: r.query(Key("customer_id")), "given as a value"),
    (lambda r: r.query("a", limit="5"), "limit is '5'; it is the number of items wanted, from 1"),
    (lambda r: r.query("a", index=3), "declares no index 3; declared: by_status"),
    (lambda r: r.query("a", into=5), "into is 5; it is a pydantic model class"),
    (lambda r: r.query("a", into=Address(city="x")), "into is an Address"),
    (lambda r: r.query("a", consistent="no"), "consistent is 'no'; it is True or False"),
    (lambda r: r.query("a", on_progress=1), "on_progress is 1; it is called with a Progress"),
    (lambda r: r.scan(segments=2.5), "segments is 2.5; it is the number of parts .* 1 to 256"),
    (lambda r: next(r.scan().pages(start=5)), "The page token is 5; it is the next_token"),
    (lambda r: next(r.scan().pages(size=0)), "size is 0; it is the number of items evaluated"),
    (lambda r: r.scan().to_arrow(schema=["a"]), "schema is a list; it is a pyarrow.Schema"),
    (lambda r: r.transaction(token=5), "token is 5; it is a text of 1 to 36 characters"),
    (lambda r: r.transaction().put(None, order()), "repository is None; it is the repository of"),
    (lambda r: r.get_many("abc"), "keys is 'abc'; it is a list or another iterable of keys"),
    (lambda r: r.delete_many({"customer_id": "a"}), "keys is a dict; it is a list"),
    (lambda r: r.delete_many(order()), "keys is an Order; it is a list"),
    (lambda r: r.delete_many(pyarrow.table(FRAME)), "delete_many takes keys, not a table"),
    (lambda r: r.put_many(order()), "items is an Order; it is a list"),
    (lambda r: BaseDynamoRepository(r.config, Order), "table is the class Order; it is a Table"),
    (lambda r: Table("t", 5, partition_key="a"), "Table 't': model is 5; it is a pydantic model"),
]


@pytest.mark.parametrize(("call", "message"), MESSAGES, ids=range(len(MESSAGES)))
def test_the_message_names_the_argument_and_the_way_out(
    place: DynamoDBConfig, call: Any, message: str
) -> None:
    repository = BaseDynamoRepository(place, ORDERS)
    with pytest.raises(ValidationError, match=message):
        call(repository)


def test_numbers_and_flags_of_numpy_are_taken(place: DynamoDBConfig) -> None:
    repository = BaseDynamoRepository(place, ORDERS)
    repository.put_many([order("numbers", str(n)) for n in range(3)])
    two = np.int64(2)
    assert len(repository.query("numbers", limit=two, consistent=np.bool_(True)).all()) == 2
    assert len(next(repository.query("numbers").pages(size=two)).items) == 2
    assert repository.scan(segments=two, limit=1).first() is not None
