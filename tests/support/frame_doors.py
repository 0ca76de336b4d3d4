"""A model with a field of each kind, and its stored items, for the ways in through data frames."""

from __future__ import annotations

import json
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from dynamodb_wrapper import BaseDynamoRepository, EpochMillis, EpochSeconds, Table, UtcDatetime
from dynamodb_wrapper.models import StoredAs
from tests.support.runs import plain_client

if TYPE_CHECKING:
    from dynamodb_wrapper import DynamoDBConfig

NOON = datetime(2026, 1, 2, 12, 30, 15, 250_000, tzinfo=timezone.utc)
SECOND = NOON.replace(microsecond=0)
CLOCK = NOON.time()


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


def _pad(value: int) -> str:
    return f"{value:06d}"


def _unpad(value: Any) -> Any:
    return int(value) if isinstance(value, str) else value


Padded = Annotated[
    int, BeforeValidator(_unpad), PlainSerializer(_pad, return_type=str), StoredAs("S", "Padded")
]


class Line(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    sku: str = Field(alias="productSku")
    at: EpochSeconds
    tags: set[str] = Field(default_factory=set)


class Parcel(BaseModel):
    """One field of each kind; its table is made by `parcels`."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    number: UUID
    moment: UtcDatetime
    seconds: EpochSeconds
    millis: EpochMillis
    padded: Padded
    color: Color
    level: Level
    side: Literal["left", "right"]
    price: Decimal
    amount: Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
    tags: set[str]
    sizes: set[int]
    data: bytes = Field(alias="rawData")
    day: date
    clock: time = CLOCK
    span: timedelta
    line: Line
    lines: list[Line]
    by_color: dict[Color, int]
    by_day: dict[date, Decimal]
    either: Union[EpochSeconds, str] = SECOND
    maybe: Optional[EpochSeconds] = None
    nothing: Optional[str] = None
    free: Any = None


def parcel(key: str, **changes: Any) -> Parcel:
    """Return a parcel with a value in every field but one."""
    values: dict[str, Any] = {
        "id": key,
        "number": UUID("12345678-1234-5678-1234-567812345678"),
        "moment": NOON,
        "seconds": SECOND,
        "millis": NOON,
        "padded": 17,
        "color": Color.RED,
        "level": Level.HIGH,
        "side": "left",
        "price": Decimal("12.345"),
        "amount": Decimal("9.50"),
        "tags": {"b", "a"},
        "sizes": {2, 1},
        "data": b"\x00\xff",
        "day": date(2026, 1, 2),
        "clock": CLOCK,
        "span": timedelta(seconds=90, microseconds=1),
        "line": Line(sku="s", at=SECOND, tags={"x"}),
        "lines": [Line(sku="t", at=SECOND), Line(sku="u", at=SECOND, tags={"y"})],
        "by_color": {Color.RED: 1, Color.BLUE: 2},
        "by_day": {date(2026, 1, 2): Decimal("1.5")},
        "maybe": SECOND,
        "free": {"deep": [1, 1.5, None, "x"]},
    }
    return Parcel(**{**values, **changes})


def plain_row(key: str) -> dict[str, Any]:
    """Return the parcel as a row of a frame that a program makes, without classes of its own."""
    return {
        "id": key,
        "number": "12345678-1234-5678-1234-567812345678",
        "moment": NOON,
        "seconds": SECOND,
        "millis": NOON,
        "padded": 17,
        "color": "red",
        "level": 2,
        "side": "left",
        "price": Decimal("12.345"),
        "amount": Decimal("9.50"),
        "tags": ["a", "b"],
        "sizes": [1, 2],
        "data": b"\x00\xff",
        "day": date(2026, 1, 2),
        "clock": CLOCK,
        "span": timedelta(seconds=90, microseconds=1),
        "line": {"sku": "s", "at": SECOND, "tags": ["x"]},
        "lines": [
            {"sku": "t", "at": SECOND, "tags": []},
            {"sku": "u", "at": SECOND, "tags": ["y"]},
        ],
        "by_color": {"red": 1, "blue": 2},
        "by_day": {"2026-01-02": Decimal("1.5")},
        "maybe": SECOND,
        "nothing": None,
        "free": json.dumps({"deep": [1, 1.5, None, "x"]}),
    }


def parcels(config: DynamoDBConfig) -> BaseDynamoRepository[Parcel]:
    """Return the repository of a new table of parcels."""
    table = Table(f"parcels-{uuid.uuid4().hex[:8]}", Parcel, partition_key="id")
    repository = BaseDynamoRepository(config, table)
    repository.create_table()
    return repository


def stored(repository: BaseDynamoRepository[Any], key: str) -> dict[str, Any]:
    """Return the attributes of an item but its key, as plain boto3 reads them; sets sorted."""
    found: dict[str, Any] = plain_client(repository.config).get_item(
        TableName=repository.table_name, Key={"id": {"S": key}}, ConsistentRead=True
    )["Item"]
    del found["id"]
    return {name: _in_order(value) for name, value in sorted(found.items())}


def _in_order(value: Any) -> Any:
    ((tag, content),) = value.items()
    if tag in ("SS", "NS", "BS"):
        return {tag: sorted(content)}
    if tag == "M":
        return {tag: {name: _in_order(inner) for name, inner in sorted(content.items())}}
    return {tag: [_in_order(inner) for inner in content]} if tag == "L" else value
