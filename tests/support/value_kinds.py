"""Annotations with values, each of which is stored in one form."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, Optional
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    create_model,
    field_serializer,
    field_validator,
)
from pydantic.alias_generators import to_camel

from dynamodb_wrapper import EpochMillis, EpochSeconds, IsoDatetime, Table, UtcDatetime
from dynamodb_wrapper.serialization.codec import Codec

NOON = datetime(2026, 1, 2, 12, 30, 15, 250_000, tzinfo=timezone.utc)
SECOND = NOON.replace(microsecond=0)
NUMBER = UUID("12345678-1234-5678-1234-567812345678")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Line(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    product_sku: str
    at: Optional[EpochSeconds] = None


class Loud(BaseModel):
    word: str

    @field_serializer("word")
    def louder(self, word: str) -> str:
        return word.upper()

    @field_validator("word", mode="before")
    @classmethod
    def lower(cls, word: str) -> str:
        return word.lower()


Bracketed = Annotated[
    str,
    BeforeValidator(lambda text: text.strip("<>") if isinstance(text, str) else text),
    PlainSerializer(lambda text: f"<{text}>"),
]


class Kind(NamedTuple):
    """An annotation, a value of it, and another one."""

    annotation: Any
    value: Any
    other: Any


KINDS = {
    "str": Kind(str, "a", "b"),
    "int": Kind(int, 5, 6),
    "float": Kind(float, 1.5, 2.5),
    "Decimal": Kind(Decimal, Decimal("1.50"), Decimal("2.5")),
    "bool": Kind(bool, True, False),
    "bytes": Kind(bytes, b"a", b"b"),
    "datetime": Kind(datetime, NOON, SECOND),
    "UtcDatetime": Kind(UtcDatetime, NOON, SECOND),
    "IsoDatetime": Kind(IsoDatetime, NOON, SECOND),
    "EpochSeconds": Kind(EpochSeconds, SECOND, SECOND + timedelta(hours=1)),
    "EpochMillis": Kind(EpochMillis, NOON, SECOND),
    "date": Kind(date, date(2026, 1, 2), date(2026, 1, 3)),
    "time": Kind(time, time(12, 30), time(13)),
    "timedelta": Kind(timedelta, timedelta(seconds=90), timedelta(seconds=91)),
    "UUID": Kind(UUID, NUMBER, UUID(int=1)),
    "Enum": Kind(Color, Color.RED, Color.BLUE),
    "IntEnum": Kind(Level, Level.LOW, Level.HIGH),
    "Literal": Kind(Literal["a", "b"], "a", "b"),
    "constrained": Kind(Annotated[int, Field(gt=0)], 5, 6),
    "serialized": Kind(Bracketed, "a", "b"),
    "model": Kind(Line, Line(product_sku="a", at=SECOND), Line(product_sku="b")),
    "field serializer": Kind(Loud, Loud(word="a"), Loud(word="b")),
    "optional": Kind(Optional[str], "a", "b"),
    "optional epoch": Kind(Optional[EpochSeconds], SECOND, SECOND + timedelta(hours=1)),
}
CONTAINED = [name for name in KINDS if name not in ("optional", "optional epoch")]


def stored_form(kind: Kind) -> dict[str, Any]:
    """Return the attribute value that a model stores for the value of a kind."""
    model = create_model("Item", id=(str, ...), value=(kind.annotation, ...))
    codec = Codec(Table("values", model, partition_key="id"), model)
    return codec.encode(model(id="a", value=kind.value))["value"]


def table_rows() -> list[str]:
    """Return the rows of the table in ``docs/values.md``."""
    return [
        f"| {name} | `{kind.value!r}` | `{stored_form(kind)!r}` |" for name, kind in KINDS.items()
    ]
