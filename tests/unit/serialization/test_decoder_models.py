"""Every kind of model is read the same by the compiled and by the generic decoder."""

from __future__ import annotations

import keyword
from decimal import Decimal
from typing import Annotated, Any, Generic, Optional, TypeVar

import pydantic
import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply
from tests.support.decoder_comparison import (
    KEY,
    assert_compiled,
    assert_equal,
    body_of,
    codec_of,
    decode_counts,
    name_of,
    table_of,
)

T = TypeVar("T")
keeps_no_old_fields = pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 3),
    reason="this pydantic leaves the fields of a model as they were when it builds it anew",
)
AMOUNTS = {"total": {"N": "2.50"}, "count": {"N": "3"}, "rate": {"N": "1"}}
UNKNOWN = {"more": {"M": {"n": {"N": "1.5"}, "b": {"B": b"x"}}}, "other": {"NULL": True}}
WRONG = {**KEY, "total": {"S": "much"}, "count": {"NULL": True}}


class Plain(BaseModel):
    id: str
    total: Decimal = Decimal(0)
    count: Optional[int] = None
    rate: float = 0.5


class Ignoring(Plain):
    model_config = ConfigDict(extra="ignore")


class Allowing(Plain):
    model_config = ConfigDict(extra="allow")


class Forbidding(Plain):
    model_config = ConfigDict(extra="forbid")


class Frozen(Plain):
    model_config = ConfigDict(frozen=True)


class Strict(Plain):
    model_config = ConfigDict(strict=True)


class Assigning(Plain):
    model_config = ConfigDict(validate_assignment=True, validate_default=True)


class SeesAll(Plain):
    """Keeps the input, with its order and types."""

    seen: str = ""

    @model_validator(mode="before")
    @classmethod
    def note(cls, data: Any) -> Any:
        return {**data, "seen": repr(data)}


class SeesAllAround(Plain):
    seen: str = ""

    @model_validator(mode="wrap")
    @classmethod
    def note(cls, data: Any, handler: Any) -> Any:
        return handler({**data, "seen": repr(data)})


class LooksAfter(Plain):
    total_is_set: bool = False

    @model_validator(mode="after")
    def note(self) -> Any:
        self.total_is_set = "total" in self.model_fields_set
        return self


class SeesFields(Plain):
    seen: list[str] = Field(default_factory=list)

    @field_validator("total", "rate", mode="before")
    @classmethod
    def early(cls, value: Any) -> Any:
        return f"{len(type(value).__name__)}.5"

    @field_validator("count", mode="wrap")
    @classmethod
    def around(cls, value: Any, handler: Any) -> Any:
        return handler(len(repr(value)))


class SeesEveryField(Plain):
    @field_validator("*", mode="plain")
    @classmethod
    def note(cls, value: Any) -> Any:
        return repr(value)


class LooksAtFields(Plain):
    @field_validator("total", "rate")
    @classmethod
    def late(cls, value: Any) -> Any:
        return value + 1


class Initialized(Plain):
    seen: str = ""

    def __init__(self, **data: Any) -> None:
        super().__init__(**{**data, "seen": repr(data)})


class PostInitialized(Plain):
    _context: Any = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._context = context


class Private(Plain):
    _made: list[int] = PrivateAttr(default_factory=lambda: [1])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> Decimal:
        return 2 * self.total


class Schematic(Plain):
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(cls._note, handler(source))

    @classmethod
    def _note(cls, data: Any) -> Any:
        return {"id": data["id"], "total": len(repr(data))}


class Validating(Plain):
    @classmethod
    def model_validate(cls, obj: Any, **settings: Any) -> Any:
        return super().model_validate({**obj, "total": len(obj)}, **settings)


class Serialized(Plain):
    @field_serializer("count")
    def as_text(self, value: Any) -> str:
        return f"{value}"

    @model_serializer(mode="wrap")
    def whole(self, handler: Any) -> Any:
        return handler(self)


KINDS: list[Any] = [
    Plain,
    Ignoring,
    Allowing,
    Forbidding,
    Frozen,
    Strict,
    Assigning,
    SeesAll,
    SeesAllAround,
    LooksAfter,
    SeesFields,
    SeesEveryField,
    LooksAtFields,
    Initialized,
    PostInitialized,
    Private,
    Schematic,
    Validating,
    Serialized,
]
ITEMS: list[Any] = [
    KEY,
    {**KEY, **AMOUNTS},
    {**AMOUNTS, **KEY},
    {**KEY, **AMOUNTS, **UNKNOWN},
    {**KEY, **UNKNOWN},
    {**KEY, "count": {"NULL": True}, "rate": {"N": "-0"}},
    {**KEY, "count": {"S": "5"}},
    {**KEY, "count": {"N": "1E+2"}, **UNKNOWN},
    WRONG,
    {**WRONG, **UNKNOWN},
]


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_a_model_is_read_the_same_both_ways(model: Any) -> None:
    for item in ITEMS:
        assert_equal(model, item)


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_a_model_inside_another_is_read_the_same_both_ways(model: Any) -> None:
    outer = create_model(
        "Outer",
        id=(str, ...),
        one=(Optional[model], None),
        many=(list[model], []),
        named=(dict[str, model], {}),
    )
    for item in ITEMS:
        inner = {"M": item}
        assert_equal(outer, {**KEY, "one": inner})
        assert_equal(outer, {**KEY, "many": {"L": [inner]}, "named": {"M": {"a": inner}}})


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
def test_a_model_of_any_kind_is_read_by_the_code_made_for_it(model: Any) -> None:
    assert_compiled(model, KEY)
    if model is not Serialized:
        assert_compiled(model, {**KEY, **AMOUNTS})


def test_attributes_a_model_ignores_do_not_make_it_slow() -> None:
    assert_compiled(Plain, {**KEY, **AMOUNTS, **UNKNOWN})


def test_a_model_sees_what_is_inside_it_as_it_is_stored() -> None:
    class Outer(BaseModel):
        id: str
        inner: Plain
        seen: str = ""

        @model_validator(mode="before")
        @classmethod
        def note(cls, data: Any) -> Any:
            return {**data, "seen": repr(data)}

    class Watched(BaseModel):
        id: str
        inner: Annotated[Plain, BeforeValidator(lambda data: {"id": repr(data)})]
        others: list[Annotated[Plain, BeforeValidator(lambda data: {"id": repr(data)})]] = []

    for item in ITEMS:
        assert_equal(Outer, {**KEY, "inner": {"M": item}})
        assert_equal(Watched, {**KEY, "inner": {"M": item}, "others": {"L": [{"M": item}]}})


def test_a_model_sees_attributes_in_the_order_of_its_fields() -> None:
    class Ordered(BaseModel):
        id: str
        maybe: int = 0
        labels: set[str] = set()
        rate: float
        seen: str = ""

        @model_validator(mode="before")
        @classmethod
        def note(cls, data: Any) -> Any:
            return {**data, "seen": repr(data)}

    item = {"rate": {"N": "1"}, "labels": {"SS": ["a"]}, "maybe": {"N": "2"}, **KEY}
    found = assert_compiled(Ordered, item)
    assert found.seen == "{'id': 'x', 'maybe': 2, 'labels': {'a'}, 'rate': 1}"


def test_a_model_that_is_watched_in_one_place_is_compiled_in_the_other() -> None:
    class Outer(BaseModel):
        id: str
        watched: Annotated[Plain, BeforeValidator(lambda data: {"id": repr(data)})]
        plain: Plain

    inner = {"M": {**KEY, **AMOUNTS}}
    found = assert_compiled(Outer, {**KEY, "watched": inner, "plain": inner})
    assert "Decimal('2.50')" in found.watched.id
    assert found.plain.total == Decimal("2.50")


# ---- generics, recursion, roots ------------------------------------------------------------------


class Box(BaseModel, Generic[T]):
    id: str
    content: T
    others: list[T] = []


class Node(BaseModel):
    id: str
    weight: float = 0
    children: list[Node] = []
    friend: Optional[Node] = None
    named: dict[str, Node] = {}


class Whole(RootModel[dict[str, Any]]):
    @property
    def id(self) -> Any:
        return self.root["id"]


@pytest.mark.parametrize(
    ("model", "content"),
    [
        (Box[int], {"N": "1"}),
        (Box[Optional[Plain]], {"M": {**KEY, **AMOUNTS}}),
        (Box[Optional[Plain]], {"NULL": True}),
        (Box[Box[float]], {"M": {**KEY, "content": {"N": "1.5"}}}),
        (Box, {"N": "1.5"}),
        (Box[int], {"N": "1.5"}),
    ],
    ids=name_of,
)
def test_a_generic_model_is_read_the_same_both_ways(model: Any, content: Any) -> None:
    assert_equal(model, {**KEY, "content": content, "others": {"L": [content]}})
    assert decode_counts(model, {**KEY, "content": {"M": {**KEY, "content": {"N": "1"}}}}) != (0, 0)


def test_a_generic_model_is_read_by_the_code_made_for_it() -> None:
    assert_compiled(Box[int], {**KEY, "content": {"N": "1"}, "others": {"L": [{"N": "2"}]}})


def node(**more: Any) -> Any:
    return {"M": {"id": {"S": "n"}, "weight": {"N": "1.5"}, **more}}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"children": {"L": [node(), node(children={"L": [node()]})]}},
        {"friend": node(friend=node(named={"M": {"a": node()}}))},
        {"friend": node(friend={"NULL": True})},
        {"friend": node(weight={"S": "heavy"})},
        {"children": {"L": [node(friend=node(id={"N": "1"}))]}},
    ],
    ids=name_of,
)
def test_a_model_that_holds_itself_is_read_the_same_both_ways(more: Any) -> None:
    assert_equal(Node, {**KEY, **more})


def test_a_model_that_holds_itself_is_read_by_the_code_made_for_it() -> None:
    assert_compiled(Node, {**KEY, "friend": node(children={"L": [node()]})})


def test_a_model_that_is_completed_later_is_read_the_same_both_ways() -> None:
    class Early(BaseModel):
        id: str
        late: Optional[Late] = None

    ItemReader(codec_of(Early))

    class Late(BaseModel):
        x: float

    Early.model_rebuild(_types_namespace={"Late": Late, "Optional": Optional})
    assert_equal(Early, {**KEY, "late": {"M": {"x": {"N": "1.5"}}}})


@keeps_no_old_fields
def test_a_table_may_be_declared_before_a_class_that_its_model_names() -> None:
    class Early(BaseModel):
        id: str
        late: Later

    table = table_of(Early)
    reader = ItemReader(codec_of(Early, table))

    class Later(BaseModel):
        tags: set[str]
        note: Optional[str]
        free: dict[str, Any] = Field(default_factory=dict)

    Early.model_rebuild(_types_namespace={"Later": Later})
    item = {**KEY, "late": {"M": {"free": {"M": {"x": {"N": "1.5"}}}}}}
    found = assert_equal(Early, item, table).model
    assert found.late == Later(tags=set(), note=None, free={"x": 1.5})
    assert type(found.late.free["x"]) is float
    assert reader.one(Reply(body_of({"Item": item}))).model == found
    assert reader.counts.compiled == 1


@keeps_no_old_fields
def test_a_model_that_is_built_anew_is_read_as_it_is_now() -> None:
    class Changing(BaseModel):
        id: str
        value: int = 1

    codec = codec_of(Changing)
    reader = ItemReader(codec)
    reply = Reply(body_of({"Item": KEY}))
    assert reader.one(reply).model == Changing(id="x", value=1)
    Changing.model_fields["value"].default = 9
    Changing.model_rebuild(force=True)
    assert reader.one(reply).model == codec.decode(KEY) == Changing(id="x", value=9)


def test_a_model_that_is_built_when_needed_is_read_by_the_code_made_for_it() -> None:
    class Deferred(BaseModel):
        model_config = ConfigDict(defer_build=True)
        id: str
        rate: float

    assert_compiled(Deferred, {**KEY, "rate": {"N": "1"}})


# ---- names ---------------------------------------------------------------------------------------


class Aliased(BaseModel):
    id: str = Field(alias="itemId")
    total: Decimal = Field(default=Decimal(0), alias="grandTotal")
    only_out: Optional[str] = Field(default=None, serialization_alias="out")
    only_in: Optional[str] = Field(default=None, validation_alias="in")
    either: int = Field(default=0, validation_alias=AliasChoices("either", "or", "also"))
    inside: Any = Field(default=None, validation_alias=AliasChoices("inside", AliasPath("deep", 0)))


class ByName(Aliased):
    model_config = ConfigDict(populate_by_name=True)


class Camel(BaseModel):
    model_config = ConfigDict(
        alias_generator=lambda name: name.title().replace("_", ""), populate_by_name=True
    )
    id: str
    grand_total: Decimal = Decimal(0)


ALIASED_ITEMS: list[Any] = [
    {},
    {"grandTotal": {"N": "1.50"}, "out": {"S": "o"}, "only_in": {"S": "i"}},
    {"total": {"N": "1.5"}, "only_out": {"S": "o"}, "in": {"S": "i"}},
    {"grandTotal": {"N": "1"}, "total": {"N": "2"}, "out": {"S": "a"}, "only_out": {"S": "b"}},
    {"only_in": {"S": "a"}, "in": {"S": "b"}, "either": {"N": "1"}, "or": {"N": "2"}},
    {"or": {"N": "2"}},
    {"also": {"N": "3"}},
    {"also": {"S": "wrong"}},
    {"deep": {"L": [{"N": "1.5"}]}},
    {"GrandTotal": {"N": "1.5"}},
    {"GrandTotal": {"N": "1.5"}, "grand_total": {"N": "2"}},
    {"grand_total": {"N": "2"}},
    {"grand_total": {"S": "x"}, "unknown": {"N": "1"}},
]


@pytest.mark.parametrize("model", [Aliased, ByName, Camel], ids=lambda model: model.__name__)
def test_aliases_are_read_the_same_both_ways(model: Any) -> None:
    key = {"Id": {"S": "x"}} if model is Camel else {"itemId": {"S": "x"}}
    outer = create_model("Outer", id=(str, ...), inner=(model, ...))
    for more in ALIASED_ITEMS:
        assert_equal(model, {**key, **more})
        assert_equal(outer, {**KEY, "inner": {"M": {**key, **more}}})


def test_aliases_are_read_by_the_code_made_for_them() -> None:
    item = {"itemId": {"S": "x"}, "grandTotal": {"N": "1"}, "out": {"S": "o"}, "other": {"N": "1"}}
    assert_compiled(Aliased, item)
    assert_compiled(ByName, item)
    assert_compiled(Camel, {"Id": {"S": "x"}, "GrandTotal": {"N": "1"}, "other": {"N": "1"}})


NAMES = [
    "two words",
    "a.b-c#d",
    "class",
    "é😀",
    "{braces}",
    "%s",
    "'",
    "f0",
    "d",
    "v",
    "S",
    "__class__",
    "1",
    "\x7f",
    "B",
    "Items",
    *keyword.kwlist[:3],
]
HARD_NAMES = ['quo"te', "back\\slash", "new\nline", "nul\x00", "tab\t"]


def named_model(name: str) -> Any:
    return create_model("Named", id=(str, ...), a=(Optional[float], Field(None, alias=name)))


@pytest.mark.parametrize("name", [*NAMES, *HARD_NAMES], ids=repr)
def test_an_attribute_of_any_name_is_read_the_same_both_ways(name: str) -> None:
    model = named_model(name)
    outer = create_model("Outer", id=(str, ...), inner=(model, ...))
    for value in ({"N": "1.5"}, {"NULL": True}, {"S": "x"}):
        item = {**KEY, name: value}
        assert_equal(model, item)
        assert_equal(outer, {**KEY, "inner": {"M": item}})


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_an_attribute_of_nearly_any_name_is_read_by_the_code_made_for_it(name: str) -> None:
    assert assert_compiled(named_model(name), {**KEY, name: {"N": "1.5"}}).a == 1.5


def test_two_fields_of_one_attribute_are_read_the_same_both_ways() -> None:
    class Doubled(BaseModel):
        id: str
        a: int = Field(default=0, serialization_alias="x")
        b: int = Field(default=0, serialization_alias="x")
        c: int = Field(default=0, validation_alias="z", serialization_alias="c")
        d: int = Field(default=0, validation_alias="z", serialization_alias="d")

    numbers = {"x": {"N": "1"}, "c": {"N": "2"}, "d": {"N": "3"}}
    assert_equal(Doubled, {**KEY, **numbers})
    outer = create_model("Outer", id=(str, ...), inner=(Doubled, ...))
    assert_equal(outer, {**KEY, "inner": {"M": {**KEY, **numbers}}})
