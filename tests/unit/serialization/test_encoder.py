"""Every value is written the same by the compiled and by the generic encoder."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from inspect import signature
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    SecretStr,
    create_model,
    field_serializer,
    model_serializer,
)
from pydantic_core import core_schema

from dynamodb_wrapper.models import EpochSeconds, IsoDatetime, UtcDatetime
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.encoder import compile_encoder
from tests.support.decoder_comparison import Outcome, codec_of, holder, name_of, outcome

MOMENT = datetime(2026, 1, 1, 10, 0, 0, 5, tzinfo=timezone.utc)
LATER = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
UID = UUID(int=1)


class Color(str, Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Texts(str):
    """A subclass of str."""


class Inner(BaseModel):
    a: int
    b: Optional[float] = None
    c: set[int] = Field(default_factory=set)
    name: str = Field(default="n", alias="innerName")


class MoreInner(Inner):
    more: int = 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 1


class Numbers(RootModel[list[int]]):
    pass


class Pair(NamedTuple):
    a: int
    b: float


def as_text(value: Any) -> str:
    return f"<{value}>"


def same(value: Any) -> Any:
    return value


INNER = Inner(a=1, b=0.5, c={2, 10}, innerName="x")
INNER_STORED = {
    "a": {"N": "1"},
    "b": {"N": "0.5"},
    "c": {"NS": ["10", "2"]},
    "innerName": {"S": "x"},
}
VALUES: list[Any] = [
    *("", "a", "red", 'é\U0001f600\n"\\\x00', "\ud800", Texts("sub"), "2026-01-01"),
    *(0, 1, -7, 10**38 - 1, -(10**38) + 1, 10**38, True, False, Level.LOW),
    *(0.0, -0.0, 1.5, 0.1, 1e22, 1e-7, 1e125, 1e126, 1e-130, 1e-131),
    *(float("nan"), float("inf"), -float("inf")),
    *map(Decimal, ["0", "-0", "1.50", "1E+2", "1E-130", "1E-131", "9" * 38, "9" * 39, "0.10"]),
    *map(Decimal, ["NaN", "sNaN12", "Infinity", "-1E+125", "1E+126", "0." + "0" * 50 + "1", "-1"]),
    *(b"", b"\x00\xff", bytearray(b"x")),
    *(MOMENT, LATER, MOMENT.replace(tzinfo=None), datetime.max.replace(tzinfo=timezone.utc)),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    *(date(2026, 1, 1), time(1, 2, 3), timedelta(seconds=1, microseconds=5), UID, Color.RED),
    *(set(), {"a", "b"}, {1, 10, 2}, {1.5}, {b"a"}, {1, "a"}, {UID}, {Decimal("1.5")}),
    *(frozenset(), frozenset({"a"})),
    *([], [1, 2], ["a", None], [[1], []], (1, 2), (), deque([1]), [{"a"}], [1.5], [INNER]),
    *({}, {"a": 1}, {"a": None}, {1: 1}, {"": ""}, {"\ud800": 1}, {"a": {"b": {1}}}),
    *(INNER, MoreInner(a=1), Open(a=1, b=2), Numbers([1]), Pair(1, 0.5), {"a": INNER}),
    *(None, SecretStr("hidden"), object()),
]
ANNOTATIONS: list[Any] = [
    *(str, int, float, Decimal, bool, bytes, datetime, date, time, timedelta, UUID),
    *(Color, Level, Literal["a"], Literal[1, "a", None], UtcDatetime, IsoDatetime, EpochSeconds),
    *(Any, SecretStr, object, Pair, Inner, Open, Numbers, Union[int, str], Union[Inner, str]),
    *(set[str], set[int], set[float], set[Decimal], set[bytes], set[UUID], frozenset[str]),
    *(list[int], list[str], list[Optional[str]], list[list[int]], list[Inner], list[set[str]]),
    *(tuple[int, ...], tuple[int, str], deque[int], list[Any]),
    *(dict[str, int], dict[str, Optional[int]], dict[str, Any], dict[int, int], dict[str, Inner]),
    Annotated[str, Field(max_length=3)],
    Annotated[int, AfterValidator(same)],
    Annotated[str, BeforeValidator(same)],
    Annotated[int, PlainSerializer(as_text)],
    list[Annotated[int, PlainSerializer(as_text)]],
]


def with_value(model: type[BaseModel], value: Any) -> BaseModel:
    """Return a model with a value, which may be of another type than declared."""
    return model.model_construct(id="x", value=value)


def assert_written_alike(codec: Codec[Any], item: BaseModel) -> Outcome:
    """Encode a model both ways, refuse any difference, and return the outcome."""
    expected = outcome(lambda: codec.encode_generic(item))
    found = outcome(lambda: codec.encode(item))
    assert found.error == expected.error
    assert found.error or sorted(found.model.items()) == sorted(expected.model.items())
    return found


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=name_of)
def test_what_a_field_may_hold_is_written_the_same_both_ways(annotation: Any) -> None:
    for declared, *default in (
        (annotation,),
        (Optional[annotation], None),
        (Optional[annotation], 5),
    ):
        codec = codec_of(holder(declared, *default))
        found = [assert_written_alike(codec, with_value(codec.model, value)) for value in VALUES]
        assert any(one.error is None for one in found)
        assert any(one.error is not None for one in found)


COMPILED: list[tuple[Any, Any, Any]] = [
    (str, "é", {"S": "é"}),
    (int, -7, {"N": "-7"}),
    (int, 10**38 - 1, {"N": "9" * 38}),
    (float, 1.5, {"N": "1.5"}),
    (float, 2, {"N": "2"}),
    (float, 1e-7, {"N": "1E-7"}),
    (Decimal, Decimal("1.50"), {"N": "1.50"}),
    (Decimal, Decimal("1E+2"), {"N": "1E+2"}),
    (bool, True, {"BOOL": True}),
    (bytes, b"\x00", {"B": b"\x00"}),
    (datetime, LATER, {"S": "2026-01-01T10:00:00.000005Z"}),
    (date, date(2026, 1, 2), {"S": "2026-01-02"}),
    (time, time(1, 2, 3), {"S": "01:02:03"}),
    (UUID, UID, {"S": str(UID)}),
    (Color, Color.RED, {"S": "red"}),
    (Level, Level.LOW, {"N": "1"}),
    (Literal["a", 1], 1, {"N": "1"}),
    (Annotated[str, Field(max_length=3)], "abc", {"S": "abc"}),
    (Annotated[int, AfterValidator(same)], 1, {"N": "1"}),
    (Optional[int], 1, {"N": "1"}),
    (Optional[int], None, None),
    (Inner, INNER, {"M": INNER_STORED}),
    (list[Inner], [INNER], {"L": [{"M": INNER_STORED}]}),
    (list[Optional[int]], [1, None], {"L": [{"N": "1"}, {"NULL": True}]}),
    (tuple[int, ...], (1, 2), {"L": [{"N": "1"}, {"N": "2"}]}),
    (dict[str, int], {"a": 1}, {"M": {"a": {"N": "1"}}}),
    (dict[str, list[float]], {"a": [0.5]}, {"M": {"a": {"L": [{"N": "0.5"}]}}}),
    (set[str], {"b", "a"}, {"SS": ["a", "b"]}),
    (set[int], {2, 10}, {"NS": ["10", "2"]}),
    (set[bytes], {b"a"}, {"BS": [b"a"]}),
    (set[str], set(), None),
    (frozenset[Decimal], frozenset({Decimal("0.5")}), {"NS": ["0.5"]}),
    (list[set[str]], [set(), {"a"}], {"L": [{"L": []}, {"SS": ["a"]}]}),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), COMPILED, ids=name_of)
def test_the_code_made_for_a_model_writes_every_supported_type(
    annotation: Any, value: Any, expected: Any
) -> None:
    codec = codec_of(holder(annotation))
    item = with_value(codec.model, value)
    encode = compile_encoder(codec.model)
    assert encode is not None
    stored = {"id": {"S": "x"}} if expected is None else {"id": {"S": "x"}, "value": expected}
    assert encode(item) == codec.encode_generic(item) == stored


class Serialized(BaseModel):
    id: str
    value: int = 1

    @field_serializer("value")
    def text(self, value: int) -> str:
        return as_text(value)


class SerializedWhole(BaseModel):
    id: str

    @model_serializer(mode="wrap")
    def whole(self, handler: Any) -> Any:
        return {**handler(self), "more": 1}


class Dumped(BaseModel):
    id: str

    def model_dump(self, **settings: Any) -> dict[str, Any]:
        return {**super().model_dump(**settings), "more": 1}


class Schematic(BaseModel):
    id: str

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        schema = handler(source)
        serializer = core_schema.plain_serializer_function_ser_schema(
            lambda item: {"id": as_text(item.id)}
        )
        return {**schema, "serialization": serializer}


class Secretive(BaseModel):
    id: str
    hidden: str = Field(default="h", exclude=True)


if "exclude_if" in signature(Field).parameters:  # since pydantic 2.12

    class Sparse(BaseModel):
        id: str
        value: int = Field(default=5, exclude_if=lambda value: value == 0)

else:
    Sparse = Secretive  # type: ignore[misc]


class Aliased(BaseModel):
    id: str
    total: int = Field(default=1, alias="grand\"Total'\\n{x}")
    value: str = Field(default="v", serialization_alias="values[0]")


class OpenItem(Open):
    id: str


class Node(BaseModel):
    id: str
    children: list[Node] = Field(default_factory=list)
    friend: Optional[Node] = None


class Holding(BaseModel):
    id: str
    inner: Serialized
    inners: list[Serialized]


KINDS: list[BaseModel] = [
    Serialized(id="x"),
    SerializedWhole(id="x"),
    Dumped(id="x"),
    Schematic(id="x"),
    Secretive(id="x"),
    Sparse(id="x", value=0),
    Sparse(id="x", value=1),
    Aliased(id="x"),
    OpenItem.model_validate({"id": "x", "more": {"a": [1, None]}, "none": None}),
    Node(id="a", children=[Node(id="b", friend=Node(id="c"))]),
    Holding(id="x", inner=Serialized(id="y"), inners=[Serialized(id="z")]),
    Node.model_construct(id="x"),
    Node.model_construct(id="x", children=None, friend="nobody"),
    Node.model_construct(children=[]),
]


@pytest.mark.parametrize("item", KINDS, ids=lambda item: type(item).__name__)
def test_every_kind_of_model_is_written_the_same_both_ways(item: BaseModel) -> None:
    codec = codec_of(type(item))
    expected = outcome(lambda: codec.encode_generic(item))
    found = outcome(lambda: codec.encode(item))
    if expected.error is None and "id" not in expected.model:
        assert "the key 'id' is missing" in found.error[1]
    else:
        assert_written_alike(codec, item)


@pytest.mark.parametrize("kind", [Serialized, SerializedWhole, Dumped, Schematic])
def test_a_model_with_a_serialization_of_its_own_is_left_to_pydantic(
    kind: type[BaseModel],
) -> None:
    assert compile_encoder(kind) is None


def test_a_model_of_a_subclass_is_written_with_its_own_fields() -> None:
    class MoreNode(Node):
        more: int = 1

    codec = codec_of(Node)
    assert_written_alike(codec, MoreNode(id="x"))
    assert codec.encode(MoreNode(id="x"))["more"] == {"N": "1"}
    assert codec.encode(Node(id="a", friend=MoreNode(id="x"))) == codec.encode_generic(
        Node(id="a", friend=MoreNode(id="x"))
    )


def test_a_model_that_is_built_anew_is_written_as_it_is_now() -> None:
    class Changing(BaseModel):
        id: str
        value: int = 1

    codec = codec_of(Changing)
    assert codec.encode(Changing(id="x")) == {"id": {"S": "x"}, "value": {"N": "1"}}
    Changing.model_fields["value"].exclude = True
    Changing.model_rebuild(force=True)
    assert_written_alike(codec, Changing(id="x"))


def test_two_threads_may_ask_for_the_writer_of_a_new_model() -> None:
    for _ in range(20):
        model = holder(dict[str, list[int]])
        item = model(id="x", value={"a": [1]})
        codec = codec_of(model)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(codec.encode, [item] * 8))
        assert found == [codec.encode_generic(item)] * 8


names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5)
scalars = st.sampled_from(
    [str, int, float, Decimal, bool, bytes, datetime, date, time, UUID, Color, Level]
)
annotations = st.recursive(
    scalars,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: dict[str, kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: Optional[kind]),
        inner.map(lambda kind: tuple[kind, ...]),  # type: ignore[valid-type]
        st.sampled_from([set[str], set[int], frozenset[Decimal], set[bytes], Inner, list[Inner]]),
    ),
    max_leaves=3,
)
st.register_type_strategy(
    Inner,
    st.builds(
        Inner,
        a=st.integers(),
        b=st.none() | st.floats(),
        c=st.sets(st.integers(), max_size=3),
        innerName=st.text(max_size=3),
    ),
)
values = st.recursive(
    st.sampled_from(VALUES)
    | st.text(max_size=3)
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.datetimes(timezones=st.just(timezone.utc)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, database=None)
@given(data=st.data())
def test_generated_models_are_written_the_same_both_ways(data: st.DataObject) -> None:
    fields: dict[str, Any] = {}
    for place in range(data.draw(st.integers(1, 4))):
        annotation = data.draw(annotations)
        alias = data.draw(st.none() | names.filter(lambda name: name not in ("", "id")))
        default = data.draw(st.sampled_from([..., None, 5]))
        declared = Optional[annotation] if default is None else annotation
        fields[f"field_{place}"] = (declared, Field(default, alias=alias and f"{alias}{place}"))
    model: type[BaseModel] = create_model("Made", id=(str, ...), **fields)
    contents = {
        name: data.draw(st.from_type(annotation) | values, label=name)
        for name, (annotation, _) in fields.items()
    }
    item = model.model_construct(id="x")
    item.__dict__.update(contents)
    assert_written_alike(codec_of(model), item)
