"""Models read as Arrow columns, with strategies for their items and pages."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

from dynamodb_wrapper.models import EpochMillis, EpochSeconds, IsoDatetime, Table, UtcDatetime
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.values import Item


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Place(BaseModel):
    city: str
    street: Optional[str] = None
    height: int = 5


class Part(BaseModel):
    sku: str = Field(alias="SKU")
    price: Annotated[Decimal, Field(max_digits=8, decimal_places=2)]
    sizes: list[int] = []
    place: Optional[Place] = None


class Wide(BaseModel):
    """A field of every type that Arrow reads without the model."""

    key: str
    text: str
    whole: int
    real: float
    amount: Decimal
    price: Annotated[Decimal, Field(max_digits=12, decimal_places=3)]
    yes: bool
    data: bytes
    moment: UtcDatetime
    iso: IsoDatetime
    day: date
    clock: time
    span: timedelta
    seconds: EpochSeconds
    colour: Colour
    size: Literal["s", "m"]
    level: Level
    ident: UUID
    small: Annotated[int, Field(ge=-5, lt=1000)]
    short: Annotated[str, Field(min_length=1, max_length=20)]
    place: Place
    maybe_text: Optional[str] = None
    maybe_whole: Optional[int] = 7
    maybe_millis: Optional[EpochMillis] = None
    maybe_data: Optional[bytes] = None
    needed: Optional[bool]
    words: list[str] = []
    gaps: list[Optional[int]] = Field(default_factory=list)
    rows: list[list[float]] = []
    tags: set[str] = set()
    numbers: frozenset[int] = frozenset()
    blobs: set[bytes] = set()
    parts: list[Part] = []
    maybe_place: Optional[Place] = None


WIDE = Table("wide", Wide, partition_key="key")
WIDE_CODEC = Codec(WIDE, Wide)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_wholes = st.integers(-(2**63), 2**63 - 1)
_moments = st.datetimes(timezones=st.just(timezone.utc))
_zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_prices = st.decimals(-999_999_999, 999_999_999, places=3)
_places = st.builds(Place, city=_texts, street=st.none() | _texts)
_parts = st.builds(
    Part,
    SKU=_texts,
    price=st.decimals(-999_999, 999_999, places=2),
    sizes=st.lists(_wholes, max_size=3),
    place=st.none() | _places,
)
_reals = st.floats(-1e120, 1e120).filter(lambda number: number == 0 or abs(number) > 1e-120)
wides = st.builds(
    Wide,
    key=_texts.filter(bool),
    text=_texts,
    whole=_wholes,
    real=_reals,
    amount=st.decimals(-(10**30), 10**30, places=5),
    price=_prices,
    yes=st.booleans(),
    data=st.binary(max_size=9),
    moment=_moments,
    iso=st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_zones),
    day=st.dates(),
    clock=st.times(),
    span=st.timedeltas(timedelta(days=-999_999), timedelta(days=999_999)),
    seconds=_moments,
    colour=st.sampled_from(Colour),
    size=st.sampled_from(["s", "m"]),
    level=st.sampled_from(Level),
    ident=st.uuids(),
    small=st.integers(-5, 999),
    short=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    place=_places,
    maybe_text=st.none() | _texts,
    maybe_whole=st.none() | _wholes,
    maybe_millis=st.none() | _moments,
    maybe_data=st.none() | st.binary(max_size=9),
    needed=st.none() | st.booleans(),
    words=st.lists(_texts, max_size=3),
    gaps=st.lists(st.none() | _wholes, max_size=3),
    rows=st.lists(st.lists(_reals, max_size=3), max_size=3),
    tags=st.sets(_texts, max_size=3),
    numbers=st.frozensets(_wholes, max_size=3),
    blobs=st.sets(st.binary(max_size=9), max_size=3),
    parts=st.lists(_parts, max_size=3),
    maybe_place=st.none() | _places,
)
OPTIONAL = [name for name, info in Wide.model_fields.items() if not info.is_required()]


def a_wide(**values: Any) -> Wide:
    """Return a `Wide` with the given values and defaults for the others."""
    found: dict[str, Any] = {
        "key": "k",
        "text": "t",
        "whole": 1,
        "real": 0.5,
        "amount": Decimal("1.50"),
        "price": Decimal("2.125"),
        "yes": True,
        "data": b"d",
        "moment": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "iso": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "day": date(2026, 1, 1),
        "clock": time(12, 30),
        "span": timedelta(seconds=1.5),
        "seconds": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "colour": Colour.RED,
        "size": "s",
        "level": Level.LOW,
        "ident": UUID(int=1),
        "small": 5,
        "short": "x",
        "place": Place(city="Oslo"),
        "needed": None,
        "words": ["a"],
        "gaps": [1, None],
        "rows": [[0.5]],
        "tags": {"x", "y"},
        "numbers": {1, 2},
        "blobs": {b"z"},
        "parts": [Part(SKU="s", price=Decimal("1.25"))],
        "maybe_text": "m",
        "maybe_data": b"m",
        "maybe_millis": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "maybe_place": Place(city="Rome", street="Via"),
    }
    return Wide(**{**found, **values})


def body_of(items: list[Item], last_key: Optional[Item] = None) -> bytes:
    """Return the body of a Query or Scan reply with these items."""
    page: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    if last_key is not None:
        page["LastEvaluatedKey"] = last_key
    page["ConsumedCapacity"] = {"TableName": "wide", "CapacityUnits": 1.5}
    text = json.dumps(page, separators=(",", ":"), ensure_ascii=False, default=_as_base64)
    return text.encode()


def _as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def plain(value: Any) -> Any:
    """Return the Python value Arrow must return for a value of a model."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, UUID) else value


class Loose(BaseModel):
    """Fields that only the model can read, beside fields that Arrow reads."""

    key: str
    count: int = 0
    expires_at: Optional[EpochSeconds] = None
    labels: dict[str, int] = {}
    details: dict[str, Any] = {}
    anything: Any = None
    either: Union[int, str] = 0
    patterned: Annotated[str, Field(pattern="^[a-z]*$")] = ""
    trimmed: Annotated[str, AfterValidator(lambda text: text.strip())] = ""


LOOSE = Table("loose", Loose, partition_key="key", ttl="expires_at")
LOOSE_CODEC = Codec(LOOSE, Loose)


_odd_texts = st.sampled_from(
    "1 -0 1.50 1E+2 1e5 0x1f 2026-01-01 2026-01-01T00:00:00Z 2026-01-01T00:00:00+01:00 "
    "2026-01-01T00:00:00+01 2026-01-01T00:00:00.1234567Z 0000-01-01T00:00:00Z "
    "0001-01-01T00:00:00+01:00 2026-01-01T24:00:00Z 2026-01-01T00:00Z 1767225600 12:30 12:30:00 "
    "12:30:00Z red s true 00000000000000000000000000000001 "
    "00000000-0000-0000-0000-00000000000A".split()
)
_numbers = st.sampled_from("0 1 -1 2 0.5 1E+2 1E-7 12345.678 9223372036854775808 1E+100".split())
_scalars = (
    st.builds(lambda text: {"S": text}, _texts | _odd_texts)
    | st.builds(lambda text: {"N": text}, _numbers)
    | st.builds(lambda data: {"B": data}, st.binary(max_size=4))
    | st.builds(lambda yes: {"BOOL": yes}, st.booleans())
    | st.just({"NULL": True})
    | st.builds(lambda texts: {"SS": texts}, st.lists(_texts | _odd_texts, min_size=1, unique=True))
    | st.builds(lambda texts: {"NS": texts}, st.lists(_numbers, min_size=1, unique=True))
    | st.builds(lambda data: {"BS": data}, st.lists(st.binary(), min_size=1, unique=True))
)
_names = st.sampled_from(["city", "street", "height", "SKU", "price", "sizes", "place", "more"])
attribute_values = st.recursive(
    _scalars,
    lambda inner: (
        st.builds(lambda values: {"L": values}, st.lists(inner, max_size=3))
        | st.builds(lambda content: {"M": content}, st.dictionaries(_names, inner, max_size=4))
    ),
    max_leaves=5,
)
"""Attribute values of any type; many nearly match an annotation of the models."""
