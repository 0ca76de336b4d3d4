"""DynamoDB's bounds: an update of many fields, an item that nests deeply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import pytest
from pydantic import BaseModel, create_model

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.sample_models import own_client

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

UPDATED, CREATED = 279, 118
"""How many fields an update, and one that creates a missing item, can change."""


class Tree(BaseModel):
    tree_id: str
    root: Any = None


TREES = Table("trees", Tree, partition_key="tree_id")


def wide(config: DynamoDBConfig, number: int) -> BaseDynamoRepository[Any]:
    """A repository of items with so many fields besides the key."""
    names = {f"field_{n}": (Optional[int], n) for n in range(number)}
    model: Any = create_model("Wide", wide_id=(str, ...), **names)  # type: ignore[call-overload]
    repository = BaseDynamoRepository(
        own_client(config), Table("wide", model, partition_key="wide_id")
    )
    repository.create_table()
    return repository


def numbers(number: int) -> dict[str, int]:
    return {f"field_{n}": 7 for n in range(number)}


def test_an_update_can_change_many_fields(local_config: DynamoDBConfig) -> None:
    repository = wide(local_config, UPDATED)
    item = repository.put(repository.table.model(wide_id="w"))
    item.field_0 = 5
    assert repository.update(item).field_0 == 5
    assert repository.update("w", set=numbers(UPDATED)).field_278 == 7


def test_an_update_that_creates_can_change_fewer(local_config: DynamoDBConfig) -> None:
    repository = wide(local_config, CREATED)
    assert repository.update("new", set={"field_0": 7}, upsert=True).field_117 == 117


def test_an_update_of_too_many_fields_names_their_number_and_put(
    local_config: DynamoDBConfig,
) -> None:
    repository = wide(local_config, 330)
    item = repository.put(repository.table.model(wide_id="w"))
    several = r"330 fields are too many .* DynamoDB takes 4,096, .* with put"
    with pytest.raises(ValidationError, match=several) as caught:
        repository.update(item)
    assert caught.value.key == {"wide_id": "w"}
    with pytest.raises(ValidationError, match=several):
        repository.update("w", set=numbers(330))
    with pytest.raises(ValidationError, match=several):
        repository.update("new", set={"field_0": 1}, upsert=True)
    with pytest.raises(ValidationError, match=several), repository.transaction() as transaction:
        transaction.update(repository, "w", set=numbers(330))
    assert repository.put(item) == repository.get("w")


def nested(levels: int) -> Any:
    value: Any = "leaf"
    for level in range(levels):
        value = {"inner": value} if level % 2 else [value]
    return value


@pytest.fixture
def trees(local_config: DynamoDBConfig) -> BaseDynamoRepository[Tree]:
    repository = BaseDynamoRepository(own_client(local_config), TREES)
    repository.create_table()
    return repository


def test_the_item_of_a_batch_that_nests_too_deeply_is_named(
    trees: BaseDynamoRepository[Tree],
) -> None:
    assert trees.put_many([Tree(tree_id="high", root=nested(31))]) == 1
    forest = [Tree(tree_id=str(n), root=nested(n)) for n in range(20, 33)]
    message = r"the item {'tree_id': '32'} nests more than 31"
    with pytest.raises(ValidationError, match=message) as caught:
        trees.put_many(forest)
    assert caught.value.key == {"tree_id": "32"}
    assert trees.put_many(forest[:-1]) == 12


@pytest.mark.parametrize("kind", ["deep", "endless"])
def test_an_item_that_cannot_be_written_down_is_named(
    trees: BaseDynamoRepository[Tree], kind: str
) -> None:
    root = nested(5000)
    if kind == "endless":
        root = []
        root.append(root)
    item = Tree.model_construct(tree_id="t", root=root)
    for write in (trees.create, trees.put, trees.update, lambda tree: trees.put_many([tree])):
        with pytest.raises(ValidationError, match=r"'tree_id': 't'.* takes 32 levels") as caught:
            write(item)
        assert caught.value.key == {"tree_id": "t"}
