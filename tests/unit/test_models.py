"""The three models and the declaration of tables: rules, secrets, what reading keeps."""

from __future__ import annotations

import pickle
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    BaseModel,
    Field,
    Json,
    PlainSerializer,
    SecretStr,
    field_serializer,
)
from pydantic import ValidationError as PydanticError
from pydantic_core import core_schema
from typing_extensions import TypeAliasType

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import (
    PIPELINE_CONFIG,
    PIPELINE_RUN_LOGS,
    STATISTICS,
    TABLE_CONFIG,
    DataFormat,
    DataQualityResult,
    Derived,
    EpochMillis,
    EpochSeconds,
    GlobalIndex,
    PipelineConfig,
    PipelineRunLog,
    Resources,
    RunStatus,
    Table,
    TableConfig,
    UtcDatetime,
)
from dynamodb_wrapper.serialization.codec import Codec
from tests.support.sample_models import ORDERS, TASKS, Order, open_list

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def pipeline(**fields: Any) -> PipelineConfig:
    return PipelineConfig(**{"pipeline_id": "p1", **fields})


def table(**fields: Any) -> TableConfig:
    given = {"table_id": "t1", "table_type": "source", "location": "s3a://b/t1", **fields}
    return TableConfig(**given)


def run(**fields: Any) -> PipelineRunLog:
    return PipelineRunLog(**{"pipeline_id": "p1", **fields})


SECRET_FIELDS = [
    (pipeline, "source_config"),
    (pipeline, "destination_config"),
    (pipeline, "config"),
    (table, "connection_config"),
]
SETTING_FIELDS = [(table, "read_options"), (table, "write_options")]


# ---- rules of the three --------------------------------------------------------------------------


def test_a_pipeline_is_named_after_its_id() -> None:
    assert pipeline().pipeline_name == "p1"
    assert pipeline(pipeline_name="Orders").pipeline_name == "Orders"


def test_a_table_is_named_after_its_id() -> None:
    assert table().table_name == "t1"
    assert table(database="silver", table_name="orders").qualified_name == "silver.orders"


@pytest.mark.parametrize("make", [pipeline, table, run])
def test_an_unknown_field_is_refused_by_name(make: Any) -> None:
    with pytest.raises(PydanticError, match="colour"):
        make(colour="red")


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (pipeline, {"pipeline_id": "a#b"}, "must start with"),
        (pipeline, {"pipeline_name": "x" * 257}, "256"),
        (pipeline, {"description": "x" * 4097}, "4096"),
        (pipeline, {"environment": "Prod"}, "environment"),
        (pipeline, {"pipeline_type": "magic"}, "pipeline_type"),
        (pipeline, {"max_concurrent_runs": 2}, "one run at a time"),
        (pipeline, {"max_concurrent_runs": 0}, "one run at a time"),
        (pipeline, {"spark_config": {"shuffle": 5}}, "begin with 'spark.'"),
        (pipeline, {"retention_days": 0}, "retention_days"),
        (pipeline, {"resources": {"executor_memory": "8 gigs"}}, "Spark size"),
        (pipeline, {"resources": {"executor_memory": "8g\n"}}, "Spark size"),
        (pipeline, {"resources": {"disk": 5}}, "disk"),
        (pipeline, {"tags": {"k": "v" * 257}}, "256"),
        (pipeline, {"created_at": datetime(2026, 1, 1)}, "no time zone"),
        (table, {"table_type": None}, "table_type"),
        (table, {"location": None}, "location is needed for data_format parquet"),
        (table, {"write_mode": "merge"}, "MERGE INTO"),
        (table, {"cache_level": "memory"}, "cache_level"),
        (table, {"record_count": -1}, "record_count"),
        (
            table,
            {"schema_definition": {"fields": [{"name": "a"}]}, "partition_columns": ["b"]},
            r"\['b'\] are not in schema_definition",
        ),
        (run, {"pipeline_id": ""}, "pipeline_id"),
        (run, {"run_id": "#x"}, "must start with"),
        (run, {"status": "exploded"}, "status"),
        (run, {"attempt": 0}, "attempt"),
        (run, {"start_time": NOON, "end_time": NOON.replace(hour=11)}, "before start_time"),
        (run, {"parameters": {"f": float("nan")}}, "finite"),
        (run, {"stages": {"s": {"records_read": -1}}}, "records_read"),
    ],
)
def test_a_rule_that_is_broken_is_named(make: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(PydanticError, match=message):
        make(**wrong)


def test_a_catalog_table_needs_no_location() -> None:
    assert table(data_format="catalog", location=None).data_format is DataFormat.CATALOG


@pytest.mark.parametrize(
    "location", ["s3a://b/k", "abfss://c@a.dfs/k", "gs://b", "dbfs:/k", "hdfs://n/k", "/tmp/k"]
)
def test_a_location_may_have_any_scheme(location: str) -> None:
    assert table(location=location).location == location


def test_settings_become_text() -> None:
    found = pipeline(spark_config={"spark.ui.enabled": False, "spark.sql.shuffle.partitions": 8})
    assert found.spark_config == {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "8"}


def test_old_names_of_resources_are_accepted() -> None:
    found = pipeline(resources={"cpu_cores": 4, "memory_gb": 8}).resources
    assert found == Resources(executor_cores=4, executor_memory="8g")
    assert found.spark_settings() == {
        "spark.executor.cores": "4",
        "spark.executor.memory": "8g",
    }


def test_old_names_of_totals_are_accepted() -> None:
    found = PipelineRunLog.model_validate(
        {"pipeline_id": "p", "total_records_processed": 5, "total_records_failed": 1}
    )
    assert (found.records_read, found.records_failed) == (5, 1)


def test_only_failed_checks_of_severity_error_fail_the_quality() -> None:
    good, bad = DataQualityResult(passed=True), DataQualityResult(passed=False)
    warned = DataQualityResult(passed=False, severity="warn")  # type: ignore[arg-type]
    assert run(data_quality={"a": good, "b": warned}).data_quality_passed
    assert not run(data_quality={"a": good, "b": bad}).data_quality_passed


@pytest.mark.parametrize("status", list(RunStatus))
def test_every_status_but_pending_and_running_is_terminal(status: RunStatus) -> None:
    assert status.is_terminal is (status.value not in ("pending", "running"))


def test_an_assignment_is_validated() -> None:
    found = pipeline()
    with pytest.raises(PydanticError, match="max_concurrent_runs"):
        found.max_concurrent_runs = 7
    found.is_active = False
    assert not found.is_active


@pytest.mark.parametrize("name", [*STATISTICS, "created_at", "created_by"])
def test_fields_with_a_method_of_their_own_cannot_be_assigned(name: str) -> None:
    with pytest.raises(PydanticError, match="frozen"):
        setattr(table(), name, None)


def test_the_version_of_a_configuration_cannot_be_assigned() -> None:
    with pytest.raises(PydanticError, match="frozen"):
        pipeline().version = 9  # type: ignore[misc]


def test_the_hash_of_a_configuration_says_whether_it_changed() -> None:
    same = [pipeline(), pipeline(is_active=False, updated_by="x", row_version=7)]
    other = pipeline(config={"a": 1})
    assert same[0].config_hash == same[1].config_hash != other.config_hash


# ---- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "field"), SECRET_FIELDS + SETTING_FIELDS)
@pytest.mark.parametrize("key", ["password", "dbPassword", "fs.s3a.secret.key", "api_key", "sas"])
def test_a_literal_secret_is_refused_by_name_and_never_shown(
    make: Any, field: str, key: str
) -> None:
    with pytest.raises(PydanticError, match="store a reference") as caught:
        make(**{field: {key: "hunter2"}})
    assert key in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("make", "field"), SECRET_FIELDS + SETTING_FIELDS)
@pytest.mark.parametrize("value", ["secretsmanager:db", "env:PASSWORD", "databricks:s/k"])
def test_a_reference_to_a_secret_is_taken(make: Any, field: str, value: str) -> None:
    assert getattr(make(**{field: {"password": value}}), field) == {"password": value}


@pytest.mark.parametrize(("make", "field"), SECRET_FIELDS)
@pytest.mark.parametrize("key", ["secret_name", "password_column", "max_tokens", "primary_key"])
def test_a_name_that_only_resembles_a_secret_is_taken(make: Any, field: str, key: str) -> None:
    assert getattr(make(**{field: {key: "x"}}), field) == {key: "x"}


def test_spark_settings_are_searched_for_secrets() -> None:
    with pytest.raises(PydanticError, match=r"spark\.hadoop\.fs\.s3a\.secret\.key"):
        pipeline(spark_config={"spark.hadoop.fs.s3a.secret.key": "hunter2"})


def test_a_password_in_a_url_is_refused_under_any_name() -> None:
    with pytest.raises(PydanticError, match="a password in a URL"):
        table(connection_config={"url": "jdbc:postgresql://u:hunter2@h/db"})


def test_an_assigned_secret_is_refused_as_well() -> None:
    with pytest.raises(PydanticError, match="store a reference"):
        pipeline().config = {"password": "hunter2"}


# ---- what reading keeps --------------------------------------------------------------------------


def test_reading_accepts_what_others_wrote() -> None:
    codec = Codec(PIPELINE_CONFIG, PipelineConfig)
    stored = {
        "pipeline_id": {"S": "#old id"},
        "pipeline_type": {"S": "quantum"},
        "config": {"M": {"password": {"S": "hunter2"}}},
    }
    found = codec.decode(stored)
    assert (found.pipeline_id, str(found.pipeline_type)) == ("#old id", "quantum")
    assert found.config == {"password": "hunter2"}
    assert codec.encode(found)["pipeline_type"] == {"S": "quantum"}


@pytest.mark.parametrize(
    ("declared", "stored"),
    [
        (PIPELINE_CONFIG, {"pipeline_id": {"S": "p"}}),
        (
            TABLE_CONFIG,
            {"table_id": {"S": "t"}, "table_type": {"S": "source"}, "location": {"S": "/t"}},
        ),
        (PIPELINE_RUN_LOGS, {"run_id": {"S": "r"}, "pipeline_id": {"S": "p"}}),
    ],
    ids=["pipeline", "table", "run"],
)
def test_unknown_attributes_survive_reading_and_writing(
    declared: Table[Any], stored: dict[str, Any]
) -> None:
    codec = Codec(declared, declared.model)
    newer = {"from_the_future": {"M": {"n": {"N": "1.50"}, "b": {"BS": [b"x"]}}}}
    found = codec.decode({**stored, **newer})
    assert found.unknown_attributes == newer
    assert codec.encode(found)["from_the_future"] == newer["from_the_future"]


@pytest.mark.parametrize(
    ("declared", "stored", "path"),
    [
        (PIPELINE_CONFIG, {"pipeline_id": {"S": "p"}}, ["resources"]),
        (PIPELINE_RUN_LOGS, {"run_id": {"S": "r"}, "pipeline_id": {"S": "p"}}, ["runtime"]),
        (PIPELINE_RUN_LOGS, {"run_id": {"S": "r"}, "pipeline_id": {"S": "p"}}, ["stages", "s"]),
    ],
    ids=["resources", "runtime", "stage"],
)
def test_unknown_attributes_survive_inside_nested_parts(
    declared: Table[Any], stored: dict[str, Any], path: list[str]
) -> None:
    codec = Codec(declared, declared.model)
    newer: dict[str, Any] = {"from_the_future": {"S": "kept"}}
    nested: dict[str, Any] = newer
    for step in reversed(path):
        nested = {step: {"M": nested}}
    written: Any = codec.encode(codec.decode({**stored, **nested}))
    for step in path:
        written = written[step]["M"]
    assert written["from_the_future"] == {"S": "kept"}


def test_a_whole_document_comes_back() -> None:
    declared = PIPELINE_RUN_LOGS
    codec = Codec(declared, PipelineRunLog)
    item = run(
        stages={"read": {"records_read": 5, "start_time": NOON, "metrics": {"m": Decimal("1.5")}}},
        metrics={"rows": 5, "ratio": Decimal("0.25"), "note": "fine"},
        data_quality={"q": {"passed": True, "expected": 1, "actual": "x"}},
        error={"type": "ValueError", "message": "no"},
        parameters={"day": "2026-01-01", "deep": {"n": [1, 2.5]}},
        start_time=NOON,
        duration_seconds=Decimal("12.345"),
        expires_at=NOON,
    )
    assert codec.decode(codec.encode(item)) == item


# ---- declarations --------------------------------------------------------------------------------


class Thing(BaseModel):
    a: str
    n: int = 0
    at: Optional[datetime] = None
    ttl: Optional[EpochSeconds] = None
    millis: Optional[EpochMillis] = None
    moment: Optional[UtcDatetime] = None
    flag: bool = False
    many: list[str] = Field(default_factory=list)
    team: Optional[str] = "core"
    until: Optional[EpochSeconds] = NOON


def declared(**options: Any) -> Table[Thing]:
    return Table("things", Thing, **{"partition_key": "a", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition_key": "b"}, "'b', which is not a field of Thing"),
        ({"sort_key": "b"}, "'b', which is not a field of Thing"),
        ({"ttl": "b"}, "'b', which is not a field of Thing"),
        ({"version_field": "b"}, "'b', which is not a field of Thing"),
        ({"version_field": "flag"}, "must be int"),
        ({"version_field": "a"}, "must be int"),
        ({"ttl": "n"}, "must be EpochSeconds"),
        ({"ttl": "at"}, "must be EpochSeconds"),
        ({"ttl": "millis"}, "must be EpochSeconds"),
        ({"ttl": "moment"}, "must be EpochSeconds"),
        ({"partition_key": "many"}, "must be text, a number or bytes"),
        ({"sort_key": "flag"}, "must be text, a number or bytes"),
        ({"indexes": [GlobalIndex("i", "b")]}, "index 'i' names 'b'"),
        ({"indexes": [GlobalIndex("i", "many")]}, "must be text"),
        ({"indexes": [GlobalIndex("i", "team")]}, "make the default None"),
        ({"ttl": "until"}, "make the default None"),
        ({"indexes": [GlobalIndex("i", "n"), GlobalIndex("i", "a")]}, "twice"),
        ({"indexes": [GlobalIndex("i", Derived("x", ("b",), str))]}, "names 'b'"),
        ({"indexes": [GlobalIndex("i", Derived("n", ("a",), str))]}, "'n' is a field"),
    ],
)
def test_a_wrong_declaration_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        declared(**options)


def test_an_index_projects_all_keys_or_a_model() -> None:
    with pytest.raises(ValidationError, match="'some'"):
        GlobalIndex("i", "a", project="some")


def test_an_index_that_is_not_declared_is_named_with_those_that_are() -> None:
    with pytest.raises(ValidationError, match=r"'by_name'; declared: by_status, by_status_keys"):
        ORDERS.index("by_name")


class Kind(str, Enum):
    A = "a"


class Ulid(str):
    """A text that a class of its own stands for."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class UlidObject:
    """An object that pydantic serializes as text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(value),
            serialization=core_schema.to_string_ser_schema(),
        )


@pytest.mark.parametrize(
    ("annotation", "tag"),
    [
        (str, "S"),
        (int, "N"),
        (float, "N"),
        (Decimal, "N"),
        (bytes, "B"),
        (date, "S"),
        (datetime, "S"),
        (UtcDatetime, "S"),
        (EpochSeconds, "N"),
        (UUID, "S"),
        (Kind, "S"),
        (Literal["x"], "S"),
        (Literal[1], "N"),
        (Optional[int], "N"),
        (Optional[EpochSeconds], "N"),
        (NewType("UserId", str), "S"),
        (NewType("Number", NewType("Inner", int)), "N"),
        (TypeAliasType("Name", Annotated[str, Field(min_length=1)]), "S"),
        (AwareDatetime, "S"),
        (AnyUrl, "S"),
        (IPv4Address, "S"),
        (Ulid, "S"),
        (UlidObject, "S"),
        (Annotated[int, PlainSerializer(lambda value: f"U#{value}", return_type=str)], "S"),
        (timedelta, "N"),
    ],
)
def test_a_key_has_the_type_its_field_is_stored_as(annotation: Any, tag: str) -> None:
    class Keyed(BaseModel):
        key: annotation  # type: ignore[valid-type]

    assert Table("t", Keyed, partition_key="key").key_tag("key") == tag


def test_a_key_has_the_type_a_serializer_of_the_model_returns() -> None:
    class Keyed(BaseModel):
        key: int

        @field_serializer("key")
        def _text(self, value: int) -> str:
            return f"USER#{value}"

    assert Table("t", Keyed, partition_key="key").key_tag("key") == "S"


@pytest.mark.parametrize("annotation", [SecretStr, Json, bool, dict, Any, list[int]])
def test_a_type_that_is_no_key_is_refused(annotation: Any) -> None:
    class Keyed(BaseModel):
        key: annotation  # type: ignore[valid-type]

    with pytest.raises(ValidationError, match="'key' must be text, a number or bytes"):
        Table("t", Keyed, partition_key="key")


@pytest.mark.parametrize("annotation", [Ulid, UlidObject])
def test_an_object_that_is_stored_as_text_is_found_by_its_key(annotation: Any) -> None:
    class Keyed(BaseModel):
        key: annotation  # type: ignore[valid-type]

    codec = Codec(Table("t", Keyed, partition_key="key"), Keyed)
    stored = codec.encode(Keyed(key=annotation("01J")))
    assert stored == codec.keys.encode(annotation("01J")) == {"key": {"S": "01J"}}
    assert str(codec.decode(stored).key) == "01J"


class Hidden(BaseModel):
    secret: str = Field(exclude=True)


class Holding(BaseModel):
    id: str
    parts: dict[str, list[Hidden]] = {}


@pytest.mark.parametrize(("model", "key"), [(Hidden, "secret"), (Holding, "id")])
def test_a_required_field_that_is_never_stored_is_refused(model: Any, key: str) -> None:
    with pytest.raises(ValidationError, match=r"Hidden\.secret is required and has exclude=True"):
        Table("t", model, partition_key=key)


def test_an_excluded_field_with_a_default_is_taken() -> None:
    class Cached(BaseModel):
        id: str
        cache: str = Field(default="", exclude=True)
        maybe: Optional[str] = Field(exclude=True)

    assert Table("t", Cached, partition_key="id").key_tag("id") == "S"


@pytest.mark.parametrize(
    "value", [ORDERS, TASKS, PIPELINE_CONFIG, TABLE_CONFIG, PIPELINE_RUN_LOGS], ids=str
)
def test_a_table_is_a_value(value: Table[Any]) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert len({value, pickle.loads(pickle.dumps(value))}) == 1
    with pytest.raises(AttributeError):
        value.name = "other"  # type: ignore[misc]


def test_a_derived_attribute_is_computed_and_absent_where_the_function_says_so() -> None:
    derived = Derived("ix_open", ("owner", "is_done"), open_list)
    assert derived.value_of(TASKS.model(task_id="1", owner="me")) == "open#me"
    assert derived.value_of(TASKS.model(task_id="1", is_done=True)) is None


def test_a_table_of_a_user_takes_five_lines() -> None:
    found = Table("orders", Order, partition_key="customer_id", sort_key="order_id")
    assert found.key_fields == ("customer_id", "order_id")


@pytest.mark.parametrize(
    "fields",
    [
        {"location": "jdbc:postgresql://me:hunter2@host/db"},
        {"description": "see postgresql://me:hunter2@host/db"},
        {"tags": {"password": "hunter2"}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_table_keeps_no_secret_beside_its_options(fields: dict[str, Any]) -> None:
    with pytest.raises(PydanticError, match="store a reference") as caught:
        table(**fields)
    assert "hunter2" not in str(caught.value)
