"""Readers of one model among several leave out items of other kinds, for any type of the mark."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal, Optional, Union

import pytest
from pydantic import BaseModel, create_model

from dynamodb_wrapper import Table
from dynamodb_wrapper.exceptions import IncompatibleItemError
from dynamodb_wrapper.models import Discriminator, KeyPrefix
from dynamodb_wrapper.repositories.item_requests import ItemRequests
from dynamodb_wrapper.serialization.json_body import Reply, write_body
from dynamodb_wrapper.serialization.kinds import declared_kind


class Kind(Enum):
    ORDER = "order"
    CUSTOMER = "customer"


class Text(str, Enum):
    ORDER = "order"
    CUSTOMER = "customer"


def requests_of(field: Any, *, is_default: bool = False) -> ItemRequests[Any]:
    """Return the requests of a model whose field `type` has this annotation and default."""
    fields: dict[str, Any] = {} if field is None else {"type": field}
    model = create_model("Order", id=(str, ...), other=(str, ""), **fields)
    kind = Discriminator("type", "order", is_default=is_default)
    table = Table("app", model, partition_key="id", kind=kind)
    return ItemRequests(table, "app", "actor", "test")


FIELDS = {
    "none": None,
    "required": (str, ...),
    "text": (str, "order"),
    "nullable": (Optional[str], "order"),
    "nullable-none": (Optional[str], None),
    "literal": (Literal["order"], "order"),
    "literals": (Literal["order", "customer"], "order"),
    "enum": (Kind, Kind.ORDER),
    "text-enum": (Text, Text.ORDER),
    "union": (Union[Literal["order"], Literal["customer"]], "order"),
}


@pytest.fixture(params=FIELDS.values(), ids=FIELDS.keys())
def field(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["compiled", "generic"])
def way(request: pytest.FixtureRequest) -> str:
    way: str = request.param
    return way


def read(requests: ItemRequests[Any], way: str, *items: dict[str, Any]) -> list[Any]:
    """Read items as a page, one by one and as a batch; all must give the same."""
    reader = requests.reader

    def reply(content: dict[str, Any]) -> Reply:
        return Reply(write_body(content)) if way == "compiled" else Reply(None, content)

    page = reader.page(reply({"Items": list(items), "Count": len(items)})).models
    single = [reader.one(reply({"Item": item})).model for item in items]
    assert [model for model in single if model is not None] == page
    batch = reader.batch(reply({"Responses": {"app": list(items)}}), "app")
    assert list(batch.by_key.values()) == page
    return page


OTHER = {"id": {"S": "2"}, "type": {"S": "customer"}}
BARE: dict[str, Any] = {"id": {"S": "3"}}


def test_only_own_items_are_read(field: Any, way: str) -> None:
    requests = requests_of(field)
    order = requests.table.model(id="1", **({} if field is None else {"type": "order"}))
    stored = requests.codec.encode(order)
    assert stored["type"] == {"S": "order"}
    assert read(requests, way, stored) == [order]
    counts = requests.decoded
    assert (counts.compiled, counts.generic) == ((3, 0) if way == "compiled" else (0, 3))
    null = {"id": {"S": "4"}, "type": {"NULL": True}}
    assert read(requests, way, OTHER, stored, BARE, null) == [order]


def test_items_without_the_mark_can_be_own(field: Any, way: str) -> None:
    requests = requests_of(field, is_default=True)
    if field is not None and field[1] is ...:
        with pytest.raises(IncompatibleItemError, match="type: Field required"):
            read(requests, way, OTHER, BARE)
        return
    assert [item.id for item in read(requests, way, OTHER, BARE)] == ["3"]


def test_a_smaller_model_reads_own_items_alone(way: str) -> None:
    class Smaller(BaseModel):
        id: str

    requests = requests_of(None)
    content = {"Item": OTHER}
    reply = Reply(write_body(content)) if way == "compiled" else Reply(None, content)
    assert requests.reader_of(Smaller).one(reply).model is None
    names = requests.projected(Smaller)
    assert sorted(names) == ["id", "type"]


def test_the_field_must_have_the_value_to_be_written() -> None:
    requests = requests_of((Optional[str], None))
    with pytest.raises(ValueError, match="'order' in 'type', not None"):
        requests.codec.encode(requests.table.model(id="1"))
    requests = requests_of((Kind, Kind.ORDER))
    with pytest.raises(ValueError, match="'order' in 'type', not 'customer'"):
        requests.codec.encode(requests.table.model(id="1", type=Kind.CUSTOMER))


LAST = "\U0010ffff"


@pytest.mark.parametrize(
    ("operator", "operand", "bounds"),
    [
        ("<", "A#b", ("A#", f"A#a{LAST}")),
        ("<", "A#\0", ("A#", "A#")),
        ("<", "A#\ue000", ("A#", f"A#\ud7ff{LAST}")),
        ("<=", "A#b", ("A#", "A#b")),
        (">", "A#b", ("A#b\0", f"A#{LAST}")),
        (">=", "A#b", ("A#b", f"A#{LAST}")),
        ("begins_with", "A", ("A#", f"A#{LAST}")),
        ("begins_with", "A#b", None),
        ("=", "A#b", None),
    ],
)
def test_a_key_condition_is_narrowed_to_the_prefix(
    operator: str, operand: str, bounds: Any
) -> None:
    class Entry(BaseModel):
        id: str
        sk: str

    prefix = KeyPrefix("sk", "A#")
    kind = declared_kind(Table("app", Entry, partition_key="id", sort_key="sk", kind=prefix))
    assert kind is not None
    assert kind.narrowed(operator, [operand]) == bounds
