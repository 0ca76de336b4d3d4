"""Tables with a write token: a write whose reply was lost is recognised when it is sent again."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import BaseModel, ConfigDict

from dynamodb_wrapper.exceptions import (
    ConditionFailedError,
    ItemAlreadyExistsError,
    ValidationError,
)
from dynamodb_wrapper.models import Derived, GlobalIndex, Table
from dynamodb_wrapper.repositories import BaseDynamoRepository, create_tables
from tests.support.client_faults import lost_reply
from tests.support.engines import isolated
from tests.support.sample_models import client_of, own_client

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig
    from tests.support.engines import Engine


class Claim(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    owner: str = "me"
    visits: int = 0
    notes: list[str] = []
    version: int = 0


PLAIN = Table("claims", Claim, partition_key="name", write_token="gx_write")
VERSIONED = Table(
    "versioned_claims",
    Claim,
    partition_key="name",
    version_field="version",
    write_token="gx_write",
)
Claims = BaseDynamoRepository[Claim]


@pytest.fixture(scope="module")
def config_of_claims(engine: Engine) -> DynamoDBConfig:
    config = isolated(engine.config)
    create_tables(config, PLAIN, VERSIONED)
    return config


@pytest.fixture(params=[PLAIN, VERSIONED], ids=["plain", "versioned"])
def claims(config_of_claims: DynamoDBConfig, request: pytest.FixtureRequest) -> Claims:
    return BaseDynamoRepository(own_client(config_of_claims), request.param)


def raw(claims: Claims, name: str) -> dict[str, Any]:
    response = client_of(claims).get_item(TableName=claims.table_name, Key={"name": {"S": name}})
    return dict(response["Item"])


def test_the_model_does_not_see_the_token(claims: Claims, customer: str) -> None:
    created = claims.create(Claim(name=customer))
    first = raw(claims, customer)["gx_write"]
    found = claims.get_or_raise(customer)
    assert found == created
    assert not found.model_extra
    assert [item for item in claims.scan() if item.name == customer] == [created]
    changed = claims.update(customer, set={"owner": "you"})
    assert not changed.model_extra
    assert raw(claims, customer)["gx_write"] != first


def test_a_create_whose_reply_was_lost_succeeds(claims: Claims, customer: str) -> None:
    with lost_reply(client_of(claims), "PutItem") as lost:
        created = claims.create(Claim(name=customer))
    assert len(lost) == 1
    assert claims.get_or_raise(customer) == created


def test_an_equal_item_of_another_writer_is_not_taken_for_it(claims: Claims, customer: str) -> None:
    claims.create(Claim(name=customer))
    with lost_reply(client_of(claims), "PutItem"):
        with pytest.raises(ItemAlreadyExistsError) as caught:
            claims.create(Claim(name=customer))
    assert caught.value.maybe_applied


def test_a_conditional_put_whose_reply_was_lost_succeeds(claims: Claims, customer: str) -> None:
    claims.create(Claim(name=customer, owner="a"))
    with lost_reply(client_of(claims), "PutItem"):
        claims.put(Claim(name=customer, owner="b"), condition=Attr("owner").eq("a"))
    assert claims.get_or_raise(customer).owner == "b"


def test_an_update_of_a_model_whose_reply_was_lost_succeeds(claims: Claims, customer: str) -> None:
    item = claims.create(Claim(name=customer))
    item.owner = "you"
    with lost_reply(client_of(claims), "UpdateItem"):
        updated = claims.update(item)
    assert updated is item
    assert claims.get_or_raise(customer) == item


def test_add_and_append_happen_once(claims: Claims, customer: str) -> None:
    claims.create(Claim(name=customer))
    with lost_reply(client_of(claims), "UpdateItem") as lost:
        found = claims.update(customer, add={"visits": 1}, append={"notes": ["x"]})
    assert len(lost) == 1
    assert (found.visits, found.notes) == (1, ["x"])
    assert claims.get_or_raise(customer) == found


def test_an_upsert_happens_once(claims: Claims, customer: str) -> None:
    with lost_reply(client_of(claims), "UpdateItem"):
        found = claims.update(customer, set={"owner": "you"}, add={"visits": 1}, upsert=True)
    assert found.visits == 1
    assert claims.get_or_raise(customer) == found


def test_a_condition_still_refuses(claims: Claims, customer: str) -> None:
    claims.create(Claim(name=customer))
    with pytest.raises(ConditionFailedError) as caught:
        claims.update(customer, add={"visits": 1}, condition=Attr("owner").eq("another"))
    assert not caught.value.maybe_applied
    assert claims.get_or_raise(customer).visits == 0


def note(name: str) -> str:
    return name


@pytest.mark.parametrize("name", ["", "owner", "kind", "schema_version", "gx_note"])
def test_the_attribute_must_be_free(name: str) -> None:
    index = GlobalIndex("by_note", Derived("gx_note", ("name",), note))
    with pytest.raises(ValidationError, match="write_token"):
        Table("claims", Claim, partition_key="name", indexes=[index], write_token=name)


def test_a_table_with_a_write_token_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(PLAIN)) == PLAIN
