"""Declarations of tables that hold several models."""

from __future__ import annotations

import pickle
from enum import Enum
from typing import Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from dynamodb_wrapper import (
    BaseDynamoRepository,
    DynamoDBConfig,
    GlobalIndex,
    Table,
    create_tables,
)
from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Discriminator, EpochSeconds, KeyPrefix, PipelineConfig
from tests.support.sample_models import client_of


class Kind(Enum):
    ORDER = "order"


class Order(BaseModel):
    pk: str
    sk: str
    type: Literal["order"] = "order"
    kind: Kind = Kind.ORDER
    free: str = ""
    number: int = 0
    stored: str = Field(default="", serialization_alias="attribute")
    gone_at: Optional[EpochSeconds] = None


class Customer(BaseModel):
    pk: str
    sk: str
    number: int = 0
    gone_at: Optional[EpochSeconds] = None
    left_at: Optional[EpochSeconds] = None


KEYS: dict[str, Any] = {"partition_key": "pk", "sort_key": "sk"}


def customers(**settings: Any) -> Table[Customer]:
    return Table("app", Customer, **{**KEYS, **settings})


def orders(kind: Any = None, **settings: Any) -> Table[Order]:
    return Table("app", Order, **{**KEYS, **settings}, kind=kind)


@pytest.mark.parametrize(
    "kind",
    [
        Discriminator("type", "order"),
        Discriminator("kind", "order"),
        Discriminator("free", "anything"),
        Discriminator("written", "order", is_default=True),
        Discriminator("stored", "order"),
        KeyPrefix("pk", "ORDER#"),
        KeyPrefix("sk", "ORDER#"),
    ],
    ids=str,
)
def test_a_kind_is_part_of_the_table(kind: Any) -> None:
    table = orders(kind)
    assert table.kind == kind
    assert pickle.loads(pickle.dumps(table)) == table
    assert table != orders()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("order", "is a Discriminator or a KeyPrefix, not a str"),
        (Discriminator("type", "ordr"), r"Order.type cannot be 'ordr'; it is one of 'order'"),
        (Discriminator("kind", "ordr"), r"Order.kind cannot be 'ordr'; it is one of 'order'"),
        (Discriminator("number", "1"), "'number' must be a field that is stored as text"),
        (Discriminator("", "order"), "two texts that are not empty"),
        (Discriminator("type", ""), "two texts that are not empty"),
        (Discriminator("type", 1), "two texts that are not empty"),  # type: ignore[arg-type]
        (Discriminator("attribute", "order"), "'attribute', which holds another field"),
        (KeyPrefix("free", "ORDER#"), "names 'free', which is no key; keys: pk, sk"),
        (KeyPrefix("sk", ""), "two texts that are not empty"),
    ],
    ids=str,
)
def test_a_wrong_kind_is_refused(kind: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        orders(kind)


def test_a_document_has_a_kind_already() -> None:
    with pytest.raises(ValidationError, match="PipelineConfig has the attribute 'kind' already"):
        Table(
            "app", PipelineConfig, partition_key="pipeline_id", kind=Discriminator("type", "order")
        )


ORDER, CUSTOMER = Discriminator("t", "order"), Discriminator("t", "customer")


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (
            orders(ORDER, partition_key="free"),
            customers(kind=CUSTOMER),
            "the key is free HASH, sk RANGE in one, pk HASH, sk RANGE in another",
        ),
        (
            orders(ORDER, sort_key=None),
            customers(kind=CUSTOMER),
            "the key is pk HASH in one, pk HASH, sk RANGE in another",
        ),
        (
            orders(ORDER, sort_key="number"),
            Table("app", Customer, partition_key="pk", sort_key="number"),
            "",
        ),
        (
            orders(ORDER, indexes=[GlobalIndex("i", "sk")]),
            customers(kind=CUSTOMER, indexes=[GlobalIndex("i", "sk", "pk")]),
            "index 'i' is sk HASH, ALL in one, sk HASH, pk RANGE, ALL in another",
        ),
        (
            orders(ORDER, ttl="gone_at"),
            customers(kind=CUSTOMER, ttl="left_at"),
            "the TTL is gone_at in one, left_at in another",
        ),
        (orders(ORDER, ttl="gone_at"), customers(kind=CUSTOMER), ""),
        (orders(ORDER), customers(kind=ORDER), "do not tell their items apart"),
        (
            orders(KeyPrefix("sk", "ORDER#")),
            customers(kind=KeyPrefix("sk", "ORDER#LINE#")),
            "sk 'ORDER#LINE#' of Customer and 'ORDER#' of Order do not tell their items apart",
        ),
        (orders(KeyPrefix("sk", "ORDER#")), customers(kind=KeyPrefix("sk", "LINE#")), ""),
        (
            orders(Discriminator("t", "order", is_default=True)),
            customers(kind=Discriminator("t", "customer", is_default=True)),
            "do not tell their items apart",
        ),
    ],
)
def test_declarations_of_one_table_agree(
    mock_config: DynamoDBConfig, one: Any, other: Any, reason: str
) -> None:
    client = client_of(BaseDynamoRepository(mock_config, one))
    if reason:
        with pytest.raises(ValidationError, match=reason):
            create_tables(mock_config, one, other)
        assert client.list_tables()["TableNames"] == []
    else:
        create_tables(mock_config, one, other)
        assert len(client.list_tables()["TableNames"]) == 1
