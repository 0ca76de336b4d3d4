"""Generated models and values are stored in one form, through every door, and found by value."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import pytest
from boto3.dynamodb.conditions import Attr
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, create_model

from dynamodb_wrapper import BaseDynamoRepository, DynamoDBConfig, Table
from tests.support.engines import isolated
from tests.support.runs import plain_client
from tests.support.value_kinds import CONTAINED, KINDS

IN_SETS = ("str", "int", "Decimal", "bytes", "UUID", "EpochSeconds", "date", "Enum", "constrained")
KEYS = itertools.count()


class Made(NamedTuple):
    """An annotation, and two different values of it."""

    annotation: Any
    value: Any
    other: Any


SCALARS = st.sampled_from([Made(*KINDS[name]) for name in CONTAINED])


def in_list(inner: Made) -> Made:
    return Made(list[inner.annotation], [inner.value, inner.other], [inner.other])


def in_map(inner: Made) -> Made:
    return Made(dict[str, inner.annotation], {"a.b": inner.value}, {"c": inner.other})


def in_optional(inner: Made) -> Made:
    return Made(list[Optional[inner.annotation]], [inner.value, None], [None, inner.other])


def in_model(inner: Made) -> Made:
    model = create_model("Inner", content=(inner.annotation, Field(alias="theContent")))
    return Made(model, model(theContent=inner.value), model(theContent=inner.other))


CONTAINERS = st.sampled_from([in_list, in_map, in_optional, in_model])
SETS = st.sampled_from(
    [Made(set[k.annotation], {k.value}, {k.other}) for k in (KINDS[name] for name in IN_SETS)]
)
VALUES = st.recursive(
    SCALARS | SETS, lambda inner: st.builds(lambda c, i: c(i), CONTAINERS, inner), max_leaves=3
)


@pytest.fixture(scope="module")
def place(engine: Any) -> DynamoDBConfig:
    """A config with the one table of all generated models."""
    config = isolated(engine.config)
    model = create_model("Item", id=(str, ...))
    BaseDynamoRepository(config, Table("made", model, partition_key="id")).create_table()
    return config


def check_doors(config: DynamoDBConfig, made: Made) -> None:
    model = create_model("Item", id=(str, ...), value=(Optional[made.annotation], None))
    repository: BaseDynamoRepository[Any] = BaseDynamoRepository(
        config, Table("made", model, partition_key="id")
    )
    mark = f"{next(KEYS)}-"

    def upsert_together(key: str) -> None:
        with repository.transaction() as transaction:
            transaction.update(repository, key, set={"value": made.value}, upsert=True)

    doors: dict[str, Callable[[str], object]] = {
        "put": lambda key: repository.put(model(id=key, value=made.value)),
        "put_many": lambda key: repository.put_many([model(id=key, value=made.value)]),
        "set": lambda key: (
            repository.put(model(id=key, value=made.other)),
            repository.update(key, set={"value": made.value}),
        ),
        "upsert": lambda key: repository.update(key, set={"value": made.value}, upsert=True),
        "transaction": upsert_together,
    }
    stored = {}
    for name, write in doors.items():
        write(mark + name)
        response = plain_client(config).get_item(
            TableName=repository.table_name, Key={"id": {"S": mark + name}}, ConsistentRead=True
        )
        ((tag, _),) = response["Item"]["value"].items()
        # As values: DynamoDB Local keeps the zeros of 1.50 in updates, and not in puts.
        stored[name] = (tag, TypeDeserializer().deserialize(response["Item"]["value"]))
    assert {name: form for name, form in stored.items() if form != stored["put"]} == {}
    repository.put(model(id=mark + "other", value=made.other))
    keys = [mark + name for name in (*doors, "other")]
    assert [item.value for item in repository.get_many(keys, consistent=True)] == [
        *[made.value] * len(doors),
        made.other,
    ]

    def found(condition: Any) -> set[str]:
        mine = condition & Attr("id").begins_with(mark)
        return {item.id for item in repository.scan(filter=mine, consistent=True)}

    assert found(Attr("value").eq(made.value)) == set(keys[:-1])
    assert found(Attr("value").ne(made.value)) == {keys[-1]}
    assert found(Attr("value").is_in([made.other, None])) == {keys[-1]}
    assert repository.delete_many(keys) == len(keys)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(made=VALUES)
@settings(max_examples=25, deadline=None, suppress_health_check=QUIET, derandomize=True)
def test_generated_values_have_one_form(place: DynamoDBConfig, made: Made) -> None:
    check_doors(place, made)


@pytest.mark.slow
@pytest.mark.newest_only
@given(made=VALUES)
@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
def test_many_generated_values_have_one_form(place: DynamoDBConfig, made: Made) -> None:
    check_doors(place, made)
