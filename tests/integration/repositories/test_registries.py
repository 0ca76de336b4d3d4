"""The registries of pipelines and tables: every method, without a scan, past empty pages."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import (
    ItemAlreadyExistsError,
    ItemNotFoundError,
    TransactionCanceledError,
    ValidationError,
)
from dynamodb_wrapper.models import PIPELINE_CONFIG, TABLE_CONFIG, PipelineConfig, TableConfig
from dynamodb_wrapper.repositories import (
    PipelineConfigRepository,
    TableConfigRepository,
    create_tables,
)
from tests.support.client_faults import error_response, refused_with
from tests.support.engines import (
    Capability,
    ScanRefusedError,
    isolated,
    recorded_operations,
    refuse_scan,
    small_pages,
)
from tests.support.sample_models import client_of, methods_of, own_client, use_every_common_method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PAGE = 2
LEFT_OUT = 3 * PAGE  # three pages without a match before the first match


@pytest.fixture(scope="module")
def registry_config(engine: Engine) -> DynamoDBConfig:
    config = isolated(engine.config)
    create_tables(config, PIPELINE_CONFIG, TABLE_CONFIG)
    return config


@pytest.fixture
def config_here(registry_config: DynamoDBConfig) -> DynamoDBConfig:
    """Config whose items belong to an environment no other test uses."""
    return own_client(registry_config, default_environment=f"e{uuid.uuid4().hex[:12]}")


@pytest.fixture
def pipelines(config_here: DynamoDBConfig) -> Iterator[PipelineConfigRepository]:
    repository = PipelineConfigRepository(config_here)
    with small_pages(client_of(repository), PAGE), refuse_scan(client_of(repository)):
        yield repository


@pytest.fixture
def tables(config_here: DynamoDBConfig) -> Iterator[TableConfigRepository]:
    repository = TableConfigRepository(config_here)
    with small_pages(client_of(repository), PAGE), refuse_scan(client_of(repository)):
        yield repository


@pytest.fixture
def prefix() -> str:
    """Begins the ids of one test."""
    return uuid.uuid4().hex


def pipeline(pipeline_id: str, **fields: Any) -> PipelineConfig:
    return PipelineConfig(**{"pipeline_id": pipeline_id, **fields})


def table(table_id: str, **fields: Any) -> TableConfig:
    given = {"table_id": table_id, "table_type": "source", "location": "/t", **fields}
    return TableConfig(**given)


def ids(found: Any) -> list[str]:
    keys = {PipelineConfig: "pipeline_id", TableConfig: "table_id"}
    return [getattr(item, keys[type(item)]) for item in found]


# ---- pipelines -----------------------------------------------------------------------------------


def test_a_pipeline_is_created_once(pipelines: PipelineConfigRepository, prefix: str) -> None:
    created = pipelines.create_pipeline_config(pipeline(prefix, tags={"a": "b"}))
    assert (created.row_version > 0, created.version) == (True, 1)
    assert created.created_by == created.updated_by == pipelines.config.actor
    assert created.environment == pipelines.config.default_environment
    assert pipelines.get_by_pipeline_id(prefix, consistent=True) == created
    with pytest.raises(ItemAlreadyExistsError, match=prefix):
        pipelines.create_pipeline_config(pipeline(prefix))


def test_a_pipeline_that_is_not_there_is_none(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    assert pipelines.get_by_pipeline_id(prefix) is None


@pytest.fixture
def many_pipelines(pipelines: PipelineConfigRepository, prefix: str) -> list[str]:
    """Ids of active pipelines that sort after three pages of inactive ones."""
    pipelines.put_many(
        pipeline(f"{prefix}-{n:02d}", is_active=n >= LEFT_OUT) for n in range(LEFT_OUT + 5)
    )
    return [f"{prefix}-{n:02d}" for n in range(LEFT_OUT, LEFT_OUT + 5)]


def test_active_pipelines_are_listed_by_id(
    pipelines: PipelineConfigRepository, many_pipelines: list[str]
) -> None:
    assert ids(pipelines.get_active_pipelines()) == many_pipelines
    assert ids(pipelines.get_active_pipelines(limit=3)) == many_pipelines[:3]


def test_pipelines_of_an_environment_are_listed_active_ones_first(
    engine: Engine, pipelines: PipelineConfigRepository, many_pipelines: list[str], prefix: str
) -> None:
    engine.require(Capability.INDEX_ORDER)
    inactive = [f"{prefix}-{n:02d}" for n in range(LEFT_OUT)]
    assert ids(pipelines.get_pipelines_by_environment()) == many_pipelines + inactive
    assert ids(pipelines.get_pipelines_by_environment(limit=5)) == many_pipelines


def test_lists_are_of_the_environment_asked_for(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    elsewhere = f"o{prefix[:10]}"
    pipelines.create(pipeline(prefix, environment=elsewhere))
    assert pipelines.get_active_pipelines() == []
    assert ids(pipelines.get_active_pipelines(elsewhere)) == [prefix]
    assert ids(pipelines.get_pipelines_by_environment(elsewhere)) == [prefix]


def test_a_stale_index_entry_of_a_pipeline_that_was_switched_off_is_left_out(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    """The index may lag; whether a pipeline is active is read from the pipeline itself."""
    pipelines.put_many(pipeline(f"{prefix}-{n}") for n in range(LEFT_OUT + 2))
    for n in range(LEFT_OUT):
        left_behind(pipelines, f"{prefix}-{n}", "is_active", {"BOOL": False})
    wanted = [f"{prefix}-{n}" for n in range(LEFT_OUT, LEFT_OUT + 2)]
    assert ids(pipelines.get_active_pipelines(limit=2)) == wanted


def left_behind(repository: Any, item_id: str, attribute: str, value: Any) -> None:
    """Change an attribute and not the index entry made from it, as an index that lags shows it."""
    client_of(repository).update_item(
        TableName=repository.table_name,
        Key={repository.table.partition_key: {"S": item_id}},
        UpdateExpression="SET #a = :v",
        ExpressionAttributeNames={"#a": attribute},
        ExpressionAttributeValues={":v": value},
    )


@pytest.mark.parametrize("call", ["get_active_pipelines", "get_pipelines_by_environment"])
def test_lists_leave_out_pages_of_pipelines_that_moved_to_another_environment(
    pipelines: PipelineConfigRepository, prefix: str, call: str
) -> None:
    pipelines.put_many(pipeline(f"{prefix}-{n}") for n in range(LEFT_OUT + 2))
    for n in range(LEFT_OUT):
        left_behind(pipelines, f"{prefix}-{n}", "environment", {"S": "elsewhere"})
    wanted = {f"{prefix}-{n}" for n in range(LEFT_OUT, LEFT_OUT + 2)}
    assert set(ids(getattr(pipelines, call)())) == wanted
    assert set(ids(getattr(pipelines, call)(limit=2))) == wanted


def test_the_status_of_a_pipeline_is_switched_without_reading(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    created = pipelines.create(pipeline(prefix))
    with recorded_operations(client_of(pipelines)) as sent:
        switched = pipelines.update_pipeline_status(prefix, False)
    assert sent == ["UpdateItem"]
    assert not switched.is_active
    assert switched.row_version == created.row_version + 1
    assert switched.version == created.version
    assert pipelines.get_active_pipelines() == []
    assert ids(pipelines.get_pipelines_by_environment()) == [prefix]


def test_switching_a_pipeline_that_is_not_there_says_so(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    with pytest.raises(ItemNotFoundError, match=prefix):
        pipelines.update_pipeline_status(prefix, True)


def test_several_pipelines_are_switched_together(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    names = [f"{prefix}-{n}" for n in range(5)]
    pipelines.put_many(pipeline(name) for name in names)
    pipelines.deactivate([*names, names[0]])
    assert pipelines.get_active_pipelines() == []
    pipelines.activate(names[:2])
    assert ids(pipelines.get_active_pipelines()) == names[:2]


def test_all_or_none_are_switched(pipelines: PipelineConfigRepository, prefix: str) -> None:
    pipelines.create(pipeline(f"{prefix}-1"))
    with pytest.raises(TransactionCanceledError, match=f"{prefix}-2") as caught:
        pipelines.deactivate([f"{prefix}-1", f"{prefix}-2"])
    assert [reason.code for reason in caught.value.reasons] == [None, "ConditionalCheckFailed"]
    assert pipelines.get_or_raise(f"{prefix}-1").is_active
    assert not pipelines.exists(f"{prefix}-2")


def test_switching_none_is_nothing(pipelines: PipelineConfigRepository) -> None:
    with recorded_operations(client_of(pipelines)) as operations:
        pipelines.activate([])
    assert operations == []


def test_a_changed_configuration_counts_its_version(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    item = pipelines.create(pipeline(prefix))
    before = item.row_version
    item.config = {"n": 1}
    pipelines.update(item)
    assert (item.version, item.row_version) == (2, before + 1)
    assert pipelines.update(prefix, set={"description": "d"}).version == 3
    again = pipelines.get_or_raise(prefix, consistent=True)
    assert pipelines.put(again).version == 4
    assert pipelines.put(pipeline(prefix)).version == 1


def test_a_typo_in_a_pipeline_update_is_refused(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    with pytest.raises(ValidationError, match="did you mean 'description'"):
        pipelines.update(prefix, set={"descripton": "d"})


def test_a_secret_in_a_pipeline_update_is_refused(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    with pytest.raises(ValidationError, match="store a reference") as caught:
        pipelines.update(prefix, set={("config", "password"): "hunter2"})
    assert "hunter2" not in str(caught.value)


# ---- tables --------------------------------------------------------------------------------------


def test_a_table_is_created_once(tables: TableConfigRepository, prefix: str) -> None:
    created = tables.create_table_config(table(prefix, pipeline_id="p"))
    assert tables.get_by_table_id(prefix, consistent=True) == created
    with pytest.raises(ItemAlreadyExistsError, match=prefix):
        tables.create_table_config(table(prefix))


def test_a_table_that_is_not_there_is_none(tables: TableConfigRepository, prefix: str) -> None:
    assert tables.get_by_table_id(prefix) is None


@pytest.fixture
def many_tables(tables: TableConfigRepository, prefix: str) -> str:
    """Pipeline with three pages of inactive destinations, then active ones and sources."""
    tables.put_many(
        table(
            f"{prefix}-d{n:02d}",
            pipeline_id=prefix,
            table_type="destination",
            is_active=n >= LEFT_OUT,
        )
        for n in range(LEFT_OUT + 3)
    )
    tables.put_many(table(f"{prefix}-s{n}", pipeline_id=prefix) for n in range(3))
    return prefix


def test_tables_of_a_pipeline_are_listed_by_type_and_id(
    tables: TableConfigRepository, many_tables: str
) -> None:
    expected = [f"{many_tables}-d{n:02d}" for n in range(9)]
    expected += [f"{many_tables}-s{n}" for n in range(3)]
    assert ids(tables.get_tables_by_pipeline(many_tables)) == expected
    assert ids(tables.get_tables_by_pipeline(many_tables, limit=5)) == expected[:5]
    assert tables.get_tables_by_pipeline("nobody") == []


def test_active_tables_of_a_pipeline_are_found_past_inactive_ones(
    tables: TableConfigRepository, many_tables: str
) -> None:
    expected = [f"{many_tables}-d{n:02d}" for n in range(6, 9)]
    expected += [f"{many_tables}-s{n}" for n in range(3)]
    assert ids(tables.get_active_tables_by_pipeline(many_tables)) == expected
    assert ids(tables.get_active_tables_by_pipeline(many_tables, limit=2)) == expected[:2]


def test_sources_and_destinations_are_distinguished(
    tables: TableConfigRepository, many_tables: str
) -> None:
    assert ids(tables.get_source_tables(many_tables)) == [f"{many_tables}-s{n}" for n in range(3)]
    assert len(tables.get_destination_tables(many_tables)) == 9


def test_tables_of_a_type_are_listed_active_ones_first(
    engine: Engine, tables: TableConfigRepository, many_tables: str
) -> None:
    engine.require(Capability.INDEX_ORDER)
    active = [f"{many_tables}-d{n:02d}" for n in range(6, 9)]
    inactive = [f"{many_tables}-d{n:02d}" for n in range(6)]
    assert ids(tables.get_tables_by_type("destination")) == active + inactive
    assert ids(tables.get_tables_by_type("destination", active_only=True)) == active
    assert ids(tables.get_tables_by_type("destination", limit=4)) == [*active, inactive[0]]
    assert tables.get_tables_by_type("lookup") == []


def test_tables_of_a_type_are_of_the_environment_asked_for(
    tables: TableConfigRepository, prefix: str
) -> None:
    elsewhere = f"o{prefix[:10]}"
    tables.create(table(prefix, environment=elsewhere))
    assert tables.get_tables_by_type("source") == []
    assert ids(tables.get_tables_by_type("source", elsewhere)) == [prefix]


OTHER: dict[str, Any] = {
    "pipeline_id": {"S": "another"},
    "table_type": {"S": "lookup"},
    "environment": {"S": "elsewhere"},
    "is_active": {"BOOL": False},
}
LISTS: list[tuple[str, str, Any]] = [
    ("source", "pipeline_id", lambda r, p: r.get_tables_by_pipeline(p)),
    ("source", "pipeline_id", lambda r, p: r.get_tables_by_pipeline(p, limit=2)),
    ("source", "pipeline_id", lambda r, p: r.get_active_tables_by_pipeline(p, limit=2)),
    ("source", "is_active", lambda r, p: r.get_active_tables_by_pipeline(p, limit=2)),
    ("source", "pipeline_id", lambda r, p: r.get_source_tables(p)),
    ("source", "table_type", lambda r, p: r.get_source_tables(p)),
    ("destination", "pipeline_id", lambda r, p: r.get_destination_tables(p)),
    ("destination", "table_type", lambda r, p: r.get_destination_tables(p)),
    ("source", "table_type", lambda r, p: r.get_tables_by_type("source", limit=2)),
    ("source", "environment", lambda r, p: r.get_tables_by_type("source", limit=2)),
    ("source", "is_active", lambda r, p: r.get_tables_by_type("source", active_only=True, limit=2)),
]


@pytest.mark.parametrize(("table_type", "attribute", "call"), LISTS, ids=range(len(LISTS)))
def test_lists_of_tables_pass_pages_of_stale_index_entries(
    tables: TableConfigRepository, prefix: str, table_type: str, attribute: str, call: Any
) -> None:
    tables.put_many(
        table(f"{prefix}-{n}", pipeline_id=prefix, table_type=table_type)
        for n in range(LEFT_OUT + 2)
    )
    for n in range(LEFT_OUT):
        left_behind(tables, f"{prefix}-{n}", attribute, OTHER[attribute])
    wanted = {f"{prefix}-{n}" for n in range(LEFT_OUT, LEFT_OUT + 2)}
    assert set(ids(call(tables, prefix))) == wanted


def test_an_unknown_type_of_table_is_refused_by_name(tables: TableConfigRepository) -> None:
    with pytest.raises(ValidationError, match="sauce"):
        tables.get_tables_by_type("sauce")


def test_statistics_are_reported_without_reading_or_raising_the_version(
    tables: TableConfigRepository, prefix: str
) -> None:
    before = tables.create(table(prefix))
    with recorded_operations(client_of(tables)) as sent:
        after = tables.update_table_statistics(
            prefix, record_count=5, size_bytes=10, file_count=1, last_data_at=NOON, run_id="r"
        )
    assert sent == ["UpdateItem"]
    assert (after.record_count, after.size_bytes, after.file_count) == (5, 10, 1)
    assert (after.last_data_at, after.last_run_id) == (NOON, "r")
    assert after.statistics_updated_at is not None
    before.description = "changed from an earlier read"
    tables.update(before)
    assert before.record_count == 5


def test_statistics_that_are_not_given_stay(tables: TableConfigRepository, prefix: str) -> None:
    tables.create(table(prefix))
    tables.update_table_statistics(prefix, record_count=5, size_bytes=10)
    after = tables.update_table_statistics(prefix, record_count=0)
    assert (after.record_count, after.size_bytes) == (0, 10)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({}, "at least one figure"),
        ({"record_count": -1}, "record_count"),
        ({"record_count": "many"}, "record_count"),
        ({"last_data_at": datetime(2026, 1, 1)}, "no time zone"),
    ],
)
def test_wrong_statistics_are_refused(
    tables: TableConfigRepository, prefix: str, figures: dict[str, Any], message: str
) -> None:
    tables.create(table(prefix))
    with pytest.raises(ValidationError, match=message):
        tables.update_table_statistics(prefix, **figures)


def test_statistics_of_a_table_that_is_not_there_say_so(
    tables: TableConfigRepository, prefix: str
) -> None:
    with pytest.raises(ItemNotFoundError, match=prefix):
        tables.update_table_statistics(prefix, record_count=1)


@pytest.mark.parametrize(
    "changes",
    [{"set": {"record_count": 1}}, {"add": {"record_count": 1}}, {"remove": ["record_count"]}],
    ids=["set", "add", "remove"],
)
def test_statistics_are_changed_by_their_method_only(
    tables: TableConfigRepository, prefix: str, changes: dict[str, Any]
) -> None:
    tables.create(table(prefix))
    with pytest.raises(ValidationError, match="record_count"):
        tables.update(prefix, **changes)


def test_companion_items_are_never_listed(
    tables: TableConfigRepository, config_here: DynamoDBConfig, prefix: str
) -> None:
    unlimited = TableConfigRepository(own_client(config_here))
    client_of(unlimited).put_item(
        TableName=tables.table_name,
        Item={"table_id": {"S": f"#{prefix}"}, "kind": {"S": "OTHER"}},
    )
    tables.create(table(prefix))
    assert f"#{prefix}" not in ids(unlimited.scan())
    with pytest.raises(ValidationError, match=r"table_id does not accept this key: .* must start"):
        tables.query(f"#{prefix}")


def test_a_create_that_was_throttled_is_repeated(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    throttled = error_response("ThrottlingException")
    with refused_with(client_of(pipelines), "PutItem", throttled) as requests:
        pipelines.create(pipeline(prefix))
    assert len(requests) == 2


def test_an_item_that_breaks_a_rule_is_read_and_does_not_hide_the_others(
    tables: TableConfigRepository, prefix: str
) -> None:
    tables.put_many(table(f"{prefix}-{n}", pipeline_id=prefix) for n in range(2))
    client_of(tables).update_item(
        TableName=tables.table_name,
        Key={"table_id": {"S": f"{prefix}-0"}},
        UpdateExpression="REMOVE #l",
        ExpressionAttributeNames={"#l": "location"},
    )
    found = tables.get_tables_by_pipeline(prefix)
    assert ids(found) == [f"{prefix}-0", f"{prefix}-1"]
    assert found[0].location is None
    with pytest.raises(ValidationError, match="location is needed"):
        tables.update(found[0])


SCHEMA = {"type": "struct", "fields": [{"name": "day", "type": "date", "nullable": True}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"remove": ["location"]}, "set data_format as well"),
        ({"set": {"location": None}}, "set data_format as well"),
        ({"set": {"data_format": "parquet"}}, "set location as well"),
        ({"set": {"data_format": "parquet", "location": None}}, "location is needed"),
        ({"remove": ["data_format", "location"]}, "location is needed"),
        ({"set": {"partition_columns": ["day"]}}, "set schema_definition as well"),
        ({"append": {"partition_columns": ["day"]}}, "schema_definition, partition_columns"),
        ({"set": {"schema_definition": SCHEMA}}, "set partition_columns as well"),
        (
            {"set": {"schema_definition": SCHEMA, "partition_columns": ["hour"]}},
            r"\['hour'\] are not in schema_definition",
        ),
    ],
    ids=range(9),
)
def test_single_fields_cannot_break_a_rule_between_fields(
    tables: TableConfigRepository, prefix: str, changes: dict[str, Any], message: str
) -> None:
    created = tables.create(table(prefix))
    with pytest.raises(ValidationError, match=message):
        tables.update(prefix, **changes)
    assert tables.get_or_raise(prefix, consistent=True) == created


@pytest.mark.parametrize(
    "changes",
    [
        {"set": {"location": "/elsewhere"}},
        {"set": {"data_format": "catalog"}},
        {"set": {"data_format": "catalog", "location": None}},
        {"set": {"partition_columns": []}},
        {"remove": ["schema_definition"]},
        {"set": {"schema_definition": "day DATE"}},
        {"set": {"schema_definition": SCHEMA, "partition_columns": ["day"]}},
    ],
    ids=range(7),
)
def test_single_fields_that_keep_a_rule_in_any_case_are_changed(
    tables: TableConfigRepository, prefix: str, changes: dict[str, Any]
) -> None:
    tables.create(table(prefix))
    changed = tables.update(prefix, **changes)
    assert changed.model_validate(changed.model_dump()) == changed


@pytest.mark.parametrize("changes", [{"remove": ["environment"]}, {"set": {"environment": None}}])
def test_an_environment_is_changed_and_never_removed(
    pipelines: PipelineConfigRepository, prefix: str, changes: dict[str, Any]
) -> None:
    pipelines.create(pipeline(prefix))
    with pytest.raises(ValidationError, match="is in no list"):
        pipelines.update(prefix, **changes)
    pipelines.update(prefix, set={"environment": f"o{prefix[:10]}"})
    assert ids(pipelines.get_active_pipelines(f"o{prefix[:10]}")) == [prefix]


@pytest.mark.parametrize(
    "changes",
    [
        {"set": {("config", "l", 0, "password"): "hunter2"}},
        {"set": {("config", "password", 0): "hunter2"}},
        {"set": {("config", "l", 0): {"password": "hunter2"}}},
        {"append": {("config", "l"): [{"password": "hunter2"}]}},
        {"append": {("config", "passwords", "token"): ["hunter2"]}},
        {"set": {"tags": {"password": "hunter2"}}},
        {"set": {"description": "postgresql://me:hunter2@host"}},
    ],
    ids=range(7),
)
def test_a_secret_anywhere_on_a_path_is_refused(
    pipelines: PipelineConfigRepository, prefix: str, changes: dict[str, Any]
) -> None:
    created = pipelines.create(pipeline(prefix, config={"l": [{}], "password": []}))
    with pytest.raises(ValidationError, match="store a reference") as caught:
        pipelines.update(prefix, **changes)
    assert "hunter2" not in str(caught.value)
    assert pipelines.get_or_raise(prefix, consistent=True) == created


@pytest.mark.parametrize("write", ["create", "put", "update", "put_many"])
def test_a_secret_put_into_an_object_in_place_is_refused(
    pipelines: PipelineConfigRepository, prefix: str, write: str
) -> None:
    item = pipeline(prefix)
    if write == "update":
        pipelines.create(item)
    item.config.update(password="hunter2")
    with pytest.raises(ValidationError, match=r"config\.password must not be stored") as caught:
        getattr(pipelines, write)([item] if write == "put_many" else item)
    assert "hunter2" not in str(caught.value)
    item.config.update(password="env:PASSWORD")
    getattr(pipelines, write)([item] if write == "put_many" else item)


def test_no_method_of_the_pipelines_but_scan_scans(
    pipelines: PipelineConfigRepository, prefix: str
) -> None:
    used = use_every_common_method(pipelines, [pipeline(f"{prefix}-{n}") for n in range(3)])
    calls: dict[str, Any] = {
        "create_pipeline_config": lambda: pipelines.create_pipeline_config(pipeline(prefix)),
        "get_by_pipeline_id": lambda: pipelines.get_by_pipeline_id(prefix),
        "get_active_pipelines": pipelines.get_active_pipelines,
        "get_pipelines_by_environment": pipelines.get_pipelines_by_environment,
        "update_pipeline_status": lambda: pipelines.update_pipeline_status(prefix, False),
        "activate": lambda: pipelines.activate([prefix]),
        "deactivate": lambda: pipelines.deactivate([prefix]),
    }
    for call in calls.values():
        call()
    assert methods_of(pipelines) - used - set(calls) == {"scan"}
    with pytest.raises(ScanRefusedError):
        pipelines.scan().first()


def test_no_method_of_the_tables_but_scan_scans(tables: TableConfigRepository, prefix: str) -> None:
    used = use_every_common_method(tables, [table(f"{prefix}-{n}") for n in range(3)])
    calls: dict[str, Any] = {
        "create_table_config": lambda: tables.create_table_config(table(prefix)),
        "get_by_table_id": lambda: tables.get_by_table_id(prefix),
        "get_tables_by_pipeline": lambda: tables.get_tables_by_pipeline("p"),
        "get_active_tables_by_pipeline": lambda: tables.get_active_tables_by_pipeline("p"),
        "get_source_tables": lambda: tables.get_source_tables("p"),
        "get_destination_tables": lambda: tables.get_destination_tables("p"),
        "get_tables_by_type": lambda: tables.get_tables_by_type("source"),
        "update_table_statistics": lambda: tables.update_table_statistics(prefix, record_count=1),
    }
    for call in calls.values():
        call()
    assert methods_of(tables) - used - set(calls) == {"scan"}
    with pytest.raises(ScanRefusedError):
        tables.scan().first()


def updated_together(repository: PipelineConfigRepository, item: PipelineConfig) -> None:
    with repository.transaction() as transaction:
        transaction.update(repository, item)


@pytest.mark.parametrize(
    "write",
    [
        lambda r, item: r.put(item),
        lambda r, item: r.put_many([item]),
        lambda r, item: r.update(item),
        lambda r, item: r.update(item.pipeline_id, set={"description": "d"}),
        lambda r, item: r.update_pipeline_status(item.pipeline_id, False),
        updated_together,
    ],
    ids=["put", "put_many", "update", "update by key", "status", "transaction"],
)
def test_who_wrote_first_and_when_is_kept_by_later_writers(
    pipelines: PipelineConfigRepository, prefix: str, write: Any
) -> None:
    created = pipelines.create(pipeline(prefix))
    later = PipelineConfigRepository(own_client(pipelines.config))
    write(later, later.get_or_raise(prefix, consistent=True))
    found = later.get_or_raise(prefix, consistent=True)
    assert (found.created_at, found.created_by) == (created.created_at, pipelines.config.actor)
    assert found.updated_by == later.config.actor != pipelines.config.actor
    assert found.updated_at is not None
    assert created.updated_at is not None
    assert found.updated_at > created.updated_at
