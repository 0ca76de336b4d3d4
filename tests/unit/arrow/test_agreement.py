"""Columns read by Arrow equal the columns made of models, with any neighbours on the page."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model

from dynamodb_wrapper.exceptions import IncompatibleItemError, ServiceError, ValidationError
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply, read_body
from tests.support.column_models import body_of

pa = pytest.importorskip("pyarrow")
from dynamodb_wrapper.arrow.kernels import IrregularError, decimals  # noqa: E402 - needs pyarrow
from dynamodb_wrapper.arrow.reader import ArrowReader  # noqa: E402

QUICK = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
POLICIES: tuple[Any, ...] = ("raise", "null", "quarantine")
policies = st.sampled_from(POLICIES)


class Readers:
    """Reads pages of one model with each mismatch policy, by Arrow and by models."""

    def __init__(self, model: type[BaseModel], schema: Any = None) -> None:
        reader = ItemReader(Codec(Table("made", model, partition_key="id"), model))
        self._readers = {p: ArrowReader(reader, "made", schema, p) for p in POLICIES}

    def compiled(self, items: list[Any]) -> int:
        """Return how many rows Arrow alone reads."""
        reader = self._readers["raise"]
        before = reader.counts.compiled
        reader.page(Reply(body_of(items)))
        return reader.counts.compiled - before

    def rows(self, items: list[Any], policy: Any = "raise") -> Any:
        """Return the rows, read by Arrow where it can, or the text of the error."""
        return self._outcome(policy, Reply(body_of(items)))

    def check(self, items: list[Any], policy: Any) -> None:
        """Check that both readers agree, and that items do not depend on their neighbours."""
        found = self.rows(items, policy)
        assert repr(found) == repr(self._outcome(policy, Reply(None, read_body(body_of(items)))))
        alone = [self.rows([item], policy) for item in items]
        if isinstance(found, str):
            assert found in alone or found.startswith("DynamoDB's reply cannot be read")
        else:
            assert repr(found) == repr([row for rows in alone for row in rows])

    def _outcome(self, policy: Any, reply: Reply) -> Any:
        try:
            (page,) = self._readers[policy].page(reply).models
        except (IncompatibleItemError, ServiceError) as error:
            return error.message
        rows: list[Any] = page.batch.to_pylist()
        return rows


def made(annotation: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {"id": (str, ...), "x": (annotation, ...)}
    return create_model("Made", **fields)


def items_of(values: list[Any]) -> list[Any]:
    return [{"id": {"S": str(place)}, "x": value} for place, value in enumerate(values)]


def as_map(**content: Any) -> dict[str, Any]:
    return {"M": content}


# ---- numbers -------------------------------------------------------------------------------------

ODD_NUMBERS = (
    "0 -0 0.0 -0.0 1 1.0 007 1.5 +1 1E2 1E+2 1e-2 1E30 .5 5. 0x10 1_000 0.10 127 128 -129 "
    "9223372036854775807 9223372036854775808 -9223372036854775809 9007199254740993 "
    "9007199254740992 16777217 0.30000000000000004 123456789.123456789123456789 "
    "76496171 7709388507161651283538740223102594115 99999999999999999999999999999999999999 "
    "99999999999999999999999999999999999 0.00000000000000000000000000000000000001 1E+39 1e60 "
    "65505 1E125 1E-130 1e400 NaN inf -Infinity"
).split()
NUMBERS = (
    st.sampled_from(ODD_NUMBERS)
    | st.integers(-30, 30).map(str)
    | st.integers(-(10**38), 10**38).map(str)
    | st.decimals(-(10**20), 10**20, places=3).map(str)
)
NUMBER_FIELDS: list[Any] = [
    int,
    float,
    Decimal,
    Optional[int],
    Annotated[int, Field(ge=0, lt=1000)],
    Annotated[float, Field(gt=0.5, le=2**53 + 1)],
    Annotated[Decimal, Field(ge=Decimal("0.1"))],
    Annotated[Decimal, Field(decimal_places=2)],
    Annotated[Decimal, Field(max_digits=12, decimal_places=2)],
    Annotated[Decimal, Field(max_digits=38, decimal_places=38)],
    Annotated[Decimal, Field(max_digits=4)],
]
NUMBER_COLUMNS = [
    None,
    pa.int8(),
    pa.int32(),
    pa.int64(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(38, 0),
    pa.decimal128(10, 2),
    pa.decimal128(38, 20),
    pa.decimal128(38, 38),
    pa.decimal256(76, 10),
    pa.decimal256(76, 70),
    pa.string(),
    pa.large_string(),
    pa.bool_(),
]


@pytest.mark.slow
@pytest.mark.parametrize("column", NUMBER_COLUMNS, ids=str)
def test_a_number_is_the_same_both_ways_in_every_column(column: Any) -> None:
    schema = None if column is None else pa.schema([("x", column)])
    ways = [Readers(made(field), schema) for field in NUMBER_FIELDS]

    @QUICK
    @given(st.sampled_from(ways), st.lists(NUMBERS, min_size=1, max_size=3), policies)
    def agree(chosen: Readers, numbers: list[str], policy: Any) -> None:
        chosen.check(items_of([{"N": number} for number in numbers]), policy)

    agree()


@pytest.mark.slow
@pytest.mark.parametrize("column", [pa.decimal128(38, 30), pa.float32()], ids=str)
@pytest.mark.parametrize("tag", ["L", "NS"])
def test_numbers_in_lists_and_sets_are_the_same_both_ways(column: Any, tag: str) -> None:
    kind: Any = list if tag == "L" else set
    schema = pa.schema([("x", pa.list_(column))])
    ways = [Readers(made(kind[field]), schema) for field in (int, float, Decimal)]
    ways += [Readers(made(kind[field])) for field in (int, float, Decimal)]

    some = st.lists(NUMBERS, min_size=1, max_size=3)
    if tag == "NS":  # where NaN stands in a set of several numbers is different in every run
        some = some.filter(lambda numbers: "NaN" not in numbers or len(numbers) == 1)

    @QUICK
    @given(st.sampled_from(ways), some, policies)
    def agree(chosen: Readers, numbers: list[str], policy: Any) -> None:
        odd = numbers if tag == "NS" else [{"N": number} for number in numbers]
        usual = ["1", "2"] if tag == "NS" else [{"N": "1"}, {"N": "2"}]
        chosen.check(items_of([{tag: odd}, {tag: usual}]), policy)

    agree()


_digits = st.text("0123456789", max_size=45)


def _decimal_types(make: Any, most: int) -> Any:
    digits = st.just(most) | st.integers(1, most)
    return digits.flatmap(lambda p: st.builds(make, st.just(p), st.just(p) | st.integers(-3, p)))


_types = _decimal_types(pa.decimal128, 38) | _decimal_types(pa.decimal256, 76)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["", "-"]), _digits.filter(bool), _digits, _types)
def test_a_decimal_is_the_number_that_is_stored_or_refused(
    sign: str, whole: str, fraction: str, type_: Any
) -> None:
    text = f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
    try:
        found = decimals(pa.array([None, text, "0"]), type_)
    except (IrregularError, pa.ArrowException):
        assert Decimal(text).is_finite()
        return
    assert found.to_pylist() == [None, Decimal(text), Decimal(0)]


@pytest.mark.parametrize("number", ["7709388507161651283538740223102594115", "1" * 37, "1" * 38])
def test_a_decimal_beyond_its_column_is_refused_null_or_kept_apart(number: str) -> None:
    ways = Readers(made(Annotated[Decimal, Field(decimal_places=2)]))
    items = items_of([{"N": "1.25"}, {"N": number}])
    assert "it cannot be a decimal128(38, 2)" in ways.rows(items)
    good = {"id": "0", "x": Decimal("1.25")}
    assert ways.rows(items, "null") == [good, {"id": "1", "x": None}]
    assert ways.rows(items, "quarantine") == [good]


def test_a_span_beyond_its_column_is_refused() -> None:
    Readers(made(timedelta)).check(
        items_of([{"N": "1.5"}, {"N": "9" * 38}, {"N": "3" + "0" * 36}]), "null"
    )


@pytest.mark.parametrize("field", [str, int, Decimal])
@pytest.mark.parametrize("make", [pa.dictionary, pa.run_end_encoded])
def test_an_encoded_column_holds_no_other_number(field: Any, make: Any) -> None:
    ways = Readers(made(field), pa.schema([("x", make(pa.int32(), pa.decimal128(38, 38)))]))
    good, bad = ({"S" if field is str else "N": text} for text in ("0", "76496171"))
    for value in (good, bad):
        ways.check(items_of([value]), "raise")
    assert [row["x"] for row in ways.rows(items_of([good]))] == [0]
    assert "it cannot be a" in ways.rows(items_of([bad]))


@pytest.mark.parametrize(
    "column",
    [pa.decimal128(38, 38), pa.decimal256(76, 76), pa.float64(), pa.float32()],
    ids=str,
)
def test_a_text_is_the_number_it_holds_or_refused(column: Any) -> None:
    forms: list[Any] = [
        (str, column, lambda value: value, lambda found: found),
        (list[str], pa.list_(column), lambda v: {"L": [v]}, lambda found: found[0]),
        (dict[str, str], pa.map_(pa.string(), column), lambda v: as_map(k=v), lambda f: f[0][1]),
    ]
    for annotation, type_, stored, content in forms:
        ways = Readers(made(annotation), pa.schema([("x", type_)]))
        for text in ["0.5", "76496171", "1" * 40, "1e400", "1E2", "half", "7" * 80]:
            items = items_of([stored({"S": text})])
            ways.check(items, "raise")
            found = ways.rows(items)
            if not isinstance(found, str):
                assert float(content(found[0]["x"])) == pytest.approx(float(text))


@pytest.mark.parametrize(
    ("field", "column", "number"),
    [
        (Decimal, pa.float64(), "12.5"),
        (Decimal, pa.decimal128(20, 4), "12.5"),
        (Decimal, pa.decimal128(38, 2), "123456789012345678901234567890.25"),
        (Decimal, pa.string(), "12.5"),
        (int, pa.int32(), "12"),
        (int, pa.int64(), "12"),
        (int, pa.float64(), "12"),
        (float, pa.float64(), "12.5"),
        (float, pa.float32(), "12.5"),
    ],
)
def test_usual_numbers_are_read_by_arrow_itself(field: Any, column: Any, number: str) -> None:
    ways = Readers(made(field), pa.schema([("x", column)]))
    assert ways.compiled(items_of([{"N": number}] * 5)) == 5
    assert Decimal(str(ways.rows(items_of([{"N": number}]))[0]["x"])) == Decimal(number)


@pytest.mark.parametrize("column", [pa.int32(), pa.float64(), pa.string()], ids=str)
def test_a_number_the_model_refuses_is_refused_in_every_column(column: Any) -> None:
    ways = Readers(made(int), pa.schema([("x", column)]))
    assert "it is stored as N" in ways.rows(items_of([{"N": "1"}, {"N": "1.5"}]))
    assert "cannot be read" in ways.rows(items_of([{"N": "1"}, {"N": "NaN"}]))


# ---- limits --------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "a"
    BLUE = "b"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Held(BaseModel):
    n: Optional[Annotated[int, Field(gt=0)]] = None


LATER = datetime(2030, 1, 1, tzinfo=timezone.utc)
LIMITED: list[Any] = [
    Optional[Annotated[int, Field(ge=18)]],
    Annotated[Optional[int], Field(ge=18)],
    Annotated[Optional[Annotated[int, Field(ge=1)]], Field(ge=18)],
    Annotated[Annotated[int, Field(ge=1)], Field(le=18)],
    Annotated[int, Field(multiple_of=3)],
    Optional[Annotated[float, Field(gt=0.5, multiple_of=0.5)]],
    Optional[Annotated[Decimal, Field(max_digits=3)]],
    Optional[Annotated[Decimal, Field(max_digits=4, decimal_places=2)]],
    Optional[Annotated[Decimal, Field(max_digits=4, decimal_places=2, ge=1)]],
    Optional[Annotated[str, Field(max_length=1)]],
    Annotated[Optional[str], Field(min_length=1)],
    Optional[Annotated[str, Field(pattern="^a")]],
    Optional[Annotated[str, Field(strict=True)]],
    Optional[Annotated[bytes, Field(min_length=1)]],
    Optional[Annotated[datetime, Field(gt=LATER)]],
    Literal["a", Colour.BLUE],
    Literal["a", "b"],
    Literal[1, 2],
    Literal[1, Level.HIGH],
    Optional[Colour],
    Optional[Level],
    Held,
    Optional[Annotated[Held, Field(strict=True)]],
]
SMALL_NUMBERS = "-1 0 0.5 1 1.0 1.25 1.5 1.234 2 3 17 18 19 100 1E+2 12345".split()
SCALARS: list[Any] = [
    *({"N": number} for number in SMALL_NUMBERS),
    *({"S": text} for text in ["", "a", "ab", "b", "é\U0001f600"]),
    *({"S": text} for text in ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z"]),
    {"NULL": True},
    {"BOOL": True},
    {"B": b""},
    {"B": b"a"},
    as_map(),
    as_map(n={"N": "1"}),
    as_map(n={"N": "-1"}),
    as_map(n={"NULL": True}),
]


@pytest.mark.slow
@pytest.mark.parametrize("annotation", LIMITED, ids=str)
def test_what_the_model_refuses_is_in_no_column(annotation: Any) -> None:
    inside = create_model("Inside", y=(annotation, ...))
    bare, listed, nested = (Readers(made(kind)) for kind in (annotation, list[annotation], inside))

    def check(values: list[Any], policy: Any) -> None:
        bare.check(items_of(values), policy)
        listed.check(items_of([{"L": values}]), policy)
        nested.check(items_of([as_map(y=value) for value in values]), policy)

    for value in SCALARS:
        check([value], "raise")
    some = st.lists(st.sampled_from(SCALARS), min_size=2, max_size=3)
    settings(QUICK, max_examples=20)(given(some, policies)(check))()


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Optional[Annotated[int, Field(ge=18)]], {"N": "18"}),
        (list[Annotated[int, Field(ge=1)]], {"L": [{"N": "1"}]}),
        (list[Annotated[str, Field(max_length=1)]], {"L": [{"S": "a"}]}),
        (Optional[Annotated[Decimal, Field(max_digits=4, decimal_places=2)]], {"N": "1.25"}),
        (Held, as_map(n={"N": "1"})),
        (Colour, {"S": "a"}),
    ],
    ids=str,
)
def test_usual_limits_are_checked_by_arrow_itself(annotation: Any, value: Any) -> None:
    assert Readers(made(annotation)).compiled(items_of([value] * 5)) == 5


class Lax(Enum):
    @classmethod
    def _missing_(cls, value: object) -> Any:
        return next(iter(cls))


class LaxColour(Lax):
    RED = "red"


def test_an_enum_that_takes_any_value_is_asked() -> None:
    ways = Readers(made(LaxColour))
    ways.check(items_of([{"S": "red"}, {"S": "purple"}]), "raise")
    assert [row["x"] for row in ways.rows(items_of([{"S": "purple"}]))] == ["red"]


# ---- names ---------------------------------------------------------------------------------------


class Named(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    id: str = "?"
    n: int = Field(0, alias="nn")


class Crossed(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    id: str
    first: int = Field(0, alias="second")
    second: int = Field(0, alias="third")


_named = st.dictionaries(
    st.sampled_from(["n", "nn", "first", "second", "third"]),
    st.sampled_from([{"N": "1"}, {"N": "2"}, {"S": "3"}, {"NULL": True}, {"M": {}}]),
)


@pytest.mark.parametrize("model", [Named, Crossed])
def test_an_attribute_named_as_the_field_is_what_the_model_makes_of_it(model: Any) -> None:
    bare, nested, listed = Readers(model), Readers(made(Named)), Readers(made(list[Named]))

    @QUICK
    @given(st.lists(_named, min_size=1, max_size=3), policies)
    def agree(contents: list[Any], policy: Any) -> None:
        bare.check([{"id": {"S": str(n)}, **item} for n, item in enumerate(contents)], policy)
        nested.check(items_of([{"M": content} for content in contents]), policy)
        listed.check(items_of([{"L": [{"M": content} for content in contents]}]), policy)

    agree()


def test_distinct_names_are_read_by_arrow_itself() -> None:
    ways, item = Readers(made(Named)), as_map(nn={"N": "1"})
    assert ways.compiled(items_of([item, item])) == 2
    assert ways.compiled(items_of([item, as_map(n={"N": "1"})])) == 0
    found = ways.rows(items_of([item, as_map(n={"N": "1"})]))
    assert [row["x"]["n"] for row in found] == [1, 1]


# ---- what is inside ------------------------------------------------------------------------------


def test_a_schema_may_name_some_of_the_fields_of_a_struct() -> None:
    class Inner(BaseModel):
        n: int
        price: Decimal

    schema = pa.schema([("x", pa.struct([("price", pa.decimal128(38, 38))]))])
    ways = Readers(made(Inner), schema)
    good, bad = (as_map(n={"N": "1"}, price={"N": number}) for number in ("0.5", "76496171"))
    ways.check(items_of([good, bad]), "null")
    assert ways.rows(items_of([good, bad]), "null")[0]["x"] == {"price": Decimal("0.5")}
    assert ways.rows(items_of([good, bad]), "null")[1]["x"] is None
    with pytest.raises(ValidationError, match="nowhere"):
        Readers(made(Inner), pa.schema([("x", pa.struct([("nowhere", pa.int64())]))]))


def test_a_set_holds_nothing_twice() -> None:
    Readers(made(set[float])).check(items_of([{"NS": ["0.1", "0.10000000000000000001"]}]), "raise")
    Readers(made(set[Decimal])).check(items_of([{"NS": ["1", "1.0"]}]), "raise")
    Readers(made(set[str])).check(items_of([{"SS": ["a", "a"]}]), "raise")
