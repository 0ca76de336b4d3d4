"""A value has one stored form, through every door, and is found by its value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import uuid
from collections import deque
from collections.abc import Callable, MutableSequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

import pytest
from boto3.dynamodb.conditions import Attr
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    create_model,
    field_serializer,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from dynamodb_wrapper import (
    BaseDynamoRepository,
    ConditionFailedError,
    DynamoDBConfig,
    EpochMillis,
    EpochSeconds,
    Table,
    UtcDatetime,
    ValidationError,
)
from tests.support.engines import Capability, Engine
from tests.support.runs import plain_client
from tests.support.value_kinds import CONTAINED, KINDS, NUMBER, SECOND, Color


class Doors:
    """Ways to store a value of one annotation, and what they store."""

    def __init__(self, config: DynamoDBConfig, annotation: Any) -> None:
        self.model: type[BaseModel] = create_model(
            "Item", id=(str, ...), value=(Optional[annotation], None)
        )
        table = Table(f"doors-{uuid.uuid4().hex[:8]}", self.model, partition_key="id")
        self.repository: BaseDynamoRepository[Any] = BaseDynamoRepository(config, table)
        self.repository.create_table()

    def stored(self, key: str) -> Any:
        """Return the stored value as plain boto3 reads it."""
        response = plain_client(self.repository.config).get_item(
            TableName=self.repository.table_name, Key={"id": {"S": key}}, ConsistentRead=True
        )
        return response["Item"].get("value")

    def written(self, key: str, write: Callable[[Any, str], object]) -> Any:
        write(self.repository, key)
        return self.stored(key)

    def found(self, condition: Any) -> set[str]:
        return {item.id for item in self.repository.scan(filter=condition, consistent=True)}


def in_transaction(repository: Any, key: str, **changes: Any) -> None:
    with repository.transaction() as transaction:
        transaction.update(repository, key, upsert=True, **changes)


@pytest.mark.parametrize("name", KINDS)
def test_every_door_stores_the_same_and_finds_it(local_config: DynamoDBConfig, name: str) -> None:
    kind = KINDS[name]
    doors = Doors(local_config, kind.annotation)
    make = doors.model
    writes: dict[str, Callable[[Any, str], object]] = {
        "create": lambda r, key: r.create(make(id=key, value=kind.value)),
        "put": lambda r, key: r.put(make(id=key, value=kind.value)),
        "put_many": lambda r, key: r.put_many([make(id=key, value=kind.value)]),
        "set": lambda r, key: (r.put(make(id=key)), r.update(key, set={"value": kind.value})),
        "upsert": lambda r, key: r.update(key, set={"value": kind.value}, upsert=True),
        "model": lambda r, key: (
            r.put(make(id=key, value=kind.other)),
            r.update(make(id=key, value=kind.value)),
        ),
        "transaction": lambda r, key: in_transaction(r, key, set={"value": kind.value}),
    }
    forms = {door: doors.written(door, write) for door, write in writes.items()}
    assert {door: form for door, form in forms.items() if form != forms["put"]} == {}
    assert doors.repository.get("set", consistent=True).value == kind.value
    doors.repository.put(make(id="other", value=kind.other))
    doors.repository.put(make(id="none"))
    value = Attr("value")
    assert doors.found(value.eq(kind.value)) == set(writes)
    assert doors.found(value.ne(kind.value)) == {"other", "none"}
    assert doors.found(value.is_in([kind.value, None])) == {*writes, "none"}
    assert doors.found(value.eq(None)) == {"none"}
    assert doors.found(value.ne(None)) == {*writes, "other"}
    assert doors.found(value.is_in([])) == set()
    assert doors.found(value.is_in(v for v in [kind.other])) == {"other"}


@pytest.mark.parametrize("name", CONTAINED)
def test_a_part_is_stored_as_the_whole_stores_it(local_config: DynamoDBConfig, name: str) -> None:
    kind = KINDS[name]
    lists = Doors(local_config, list[kind.annotation])  # type: ignore[name-defined]
    repository, make = lists.repository, lists.model
    repository.put(make(id="whole", value=[kind.other, kind.value]))
    repository.put(make(id="append", value=[kind.other]))
    repository.update("append", append={"value": [kind.value]})
    repository.put(make(id="path", value=[kind.other, kind.other]))
    repository.update("path", set={("value", 1): kind.value})
    whole = lists.stored("whole")
    assert (lists.stored("append"), lists.stored("path")) == (whole, whole)
    repository.put(make(id="without", value=[kind.other]))
    assert lists.found(Attr("value").contains(kind.value)) == {"whole", "append", "path"}
    maps = Doors(local_config, dict[str, kind.annotation])  # type: ignore[name-defined]
    repository, make = maps.repository, maps.model
    repository.put(make(id="whole", value={"a.b": kind.value}))
    repository.put(make(id="path", value={"a.b": kind.other}))
    repository.update("path", set={("value", "a.b"): kind.value})
    assert maps.stored("path") == maps.stored("whole")
    assert maps.found(Attr(("value", "a.b")).eq(kind.value)) == {"whole", "path"}


WRONG = {
    "a date for a moment": (EpochSeconds, date(2026, 1, 1)),
    "a moment without a zone": (UtcDatetime, datetime(2026, 1, 1)),
    "a misspelt member": (Color, "rde"),
    "a text for a number": (int, "five"),
    "a number for a text": (str, 5),
    "another literal": (Literal["a", "b"], "c"),
    "no UUID": (UUID, "12345"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_another_type_is_refused_at_every_door(
    local_config: DynamoDBConfig, name: str
) -> None:
    annotation, wrong = WRONG[name]
    doors = Doors(local_config, annotation)
    repository, value = doors.repository, Attr("value")
    for call in (
        lambda: repository.update("a", set={"value": wrong}, upsert=True),
        lambda: repository.scan(filter=value.eq(wrong)).all(),
        lambda: repository.scan(filter=value.ne(wrong)).all(),
        lambda: repository.scan(filter=value.is_in([wrong])).all(),
        lambda: repository.scan(filter=value.between(wrong, wrong)).all(),
        lambda: repository.update("a", set={"id": "b"}, condition=value.eq(wrong)),
    ):
        with pytest.raises(ValidationError, match=r"value|id"):
            call()
    lists = Doors(local_config, list[annotation])  # type: ignore[valid-type]
    for call in (
        lambda: lists.repository.update("a", append={"value": [wrong]}),
        lambda: lists.repository.update("a", set={("value", 0): wrong}),
        lambda: lists.repository.scan(filter=Attr("value").contains(wrong)).all(),
    ):
        with pytest.raises(ValidationError, match="value"):
            call()


class Limited(BaseModel):
    id: str
    steps: Annotated[list[int], Field(min_length=2, max_length=3)] = [1, 2]
    count: Annotated[int, Field(ge=0, le=10)] = 0
    tags: set[str] = set()
    wait: timedelta = timedelta(0)
    until: EpochSeconds = SECOND
    made: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    maybe: list[Optional[int]] = []


@pytest.fixture
def limited(config: DynamoDBConfig) -> BaseDynamoRepository[Limited]:
    table = Table("limited", Limited, partition_key="id")
    repository = BaseDynamoRepository(config, table)
    repository.create_table()
    repository.put(Limited(id="a"))
    return repository


def test_limits_hold_for_changes_that_dynamodb_computes(
    limited: BaseDynamoRepository[Limited],
) -> None:
    assert limited.update("a", append={"steps": [3]}).steps == [1, 2, 3]
    with pytest.raises(Exception, match="max_length of 3") as caught:
        limited.update("a", append={"steps": [4]})
    assert type(caught.value).__name__ == "ConditionFailedError"
    assert limited.update("a", add={"count": 10}).count == 10
    for more in (1, -11):
        with pytest.raises(Exception, match="count must be"):
            limited.update("a", add={"count": more})
    assert limited.get_or_raise("a", consistent=True).count == 10
    with pytest.raises(ValidationError, match="greater than 0"):
        limited.update("a", set={("made", "x"): -5})


def test_a_duration_is_added_in_the_unit_of_its_field(
    limited: BaseDynamoRepository[Limited],
) -> None:
    hour = timedelta(hours=1)
    changed = limited.update("a", add={"wait": hour, "until": hour})
    assert (changed.wait, changed.until) == (hour, SECOND + hour)
    with pytest.raises(ValidationError, match="no duration"):
        limited.update("a", add={"count": hour})


def test_members_are_taken_out_of_a_set(limited: BaseDynamoRepository[Limited]) -> None:
    assert limited.update("a", add={"tags": {"x", "y"}}).tags == {"x", "y"}
    assert limited.update("a", delete={"tags": {"x", "z"}}).tags == {"y"}
    with pytest.raises(ValidationError, match="takes a set"):
        limited.update("a", delete={"tags": "y"})
    with pytest.raises(ValidationError, match="not a set"):
        limited.update("a", delete={"steps": {1}})


def test_a_path_into_a_value_that_is_not_there_names_it(
    limited: BaseDynamoRepository[Limited], config: DynamoDBConfig
) -> None:
    plain_client(config).put_item(TableName=limited.table_name, Item={"id": {"S": "bare"}})
    with pytest.raises(ValidationError, match=r"\('made', 'x'\) needs 'made'.* Set the parent"):
        limited.update("bare", set={("made", "x"): 1})
    assert limited.update("bare", set={"made": {"x": 1}}).made == {"x": 1}


def test_none_is_kept_and_found_inside_a_list(limited: BaseDynamoRepository[Limited]) -> None:
    limited.put(Limited(id="a", maybe=[1, 2]))
    holds_none = Attr("maybe").contains(None)
    assert limited.scan(filter=holds_none, consistent=True).all() == []
    assert limited.update("a", set={("maybe", 1): None}).maybe == [1, None]
    assert len(limited.scan(filter=holds_none, consistent=True).all()) == 1
    for field in ("steps", "count"):
        with pytest.raises(ValidationError, match=field):
            limited.scan(filter=Attr(field).contains(None)).all()


class Event(BaseModel):
    pk: str
    at: UtcDatetime
    note: str = ""


class Numbered(BaseModel):
    id: UUID
    note: str = ""


@pytest.mark.parametrize(
    "spelling",
    ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+01:00"],
)
def test_an_item_keeps_the_key_that_another_program_spelt(
    config: DynamoDBConfig, spelling: str
) -> None:
    events = BaseDynamoRepository(config, Table("events", Event, partition_key="pk", sort_key="at"))
    events.create_table()
    plain_client(config).put_item(
        TableName=events.table_name, Item={"pk": {"S": "a"}, "at": {"S": spelling}}
    )
    read = events.query("a", consistent=True).first()
    assert read is not None
    read.note = "put"
    events.put(read)
    assert events.update(read).note == "put"
    assert events.get_many([read], consistent=True) == [read]
    events.put_many([read])
    with events.transaction() as transaction:
        read.note = "in a transaction"
        transaction.put(events, read)
    found = events.query("a", consistent=True).all()
    assert [item.note for item in found] == ["in a transaction"]
    again = BaseDynamoRepository(config, Table("events", Event, partition_key="pk", sort_key="at"))
    assert again.delete(found[0]) == found[0]
    assert events.query("a", consistent=True).all() == []


def test_an_upper_case_uuid_is_found_by_the_object_that_was_read(config: DynamoDBConfig) -> None:
    items = BaseDynamoRepository(config, Table("numbered", Numbered, partition_key="id"))
    items.create_table()
    plain_client(config).put_item(
        TableName=items.table_name, Item={"id": {"S": str(NUMBER).upper()}}
    )
    (read,) = items.scan(consistent=True).all()
    read.note = "changed"
    items.put(read)
    assert items.get(read, consistent=True) == read
    assert len(items.scan(consistent=True).all()) == 1
    moved = read.model_copy(update={"id": UUID(int=1)})
    items.put(moved)
    assert len(items.scan(consistent=True).all()) == 2


@pytest.mark.parametrize(
    "copied",
    [
        lambda item: item.model_copy(update={"note": "changed"}),
        lambda item: item.model_copy(deep=True),
        copy.copy,
        copy.deepcopy,
        lambda item: pickle.loads(pickle.dumps(item)),
    ],
)
def test_a_copy_keeps_the_key_that_its_original_was_read_under(
    local_config: DynamoDBConfig, copied: Callable[[Any], Any]
) -> None:
    table = Table(f"copies-{uuid.uuid4().hex[:8]}", Numbered, partition_key="id")
    items = BaseDynamoRepository(local_config, table)
    items.create_table()
    key = {"id": {"S": str(NUMBER).upper()}}
    plain_client(local_config).put_item(TableName=items.table_name, Item=key)
    read = items.scan(consistent=True).first()
    assert read is not None
    items.put(copied(copied(read)))
    items.put_many([copied(read)])
    (found,) = items.scan(consistent=True)
    assert items.update(copied(found)).id == NUMBER
    assert items.delete(copied(found)) is not None
    assert items.scan(consistent=True).all() == []


class Shout(BaseModel):
    id: Annotated[str, Field(max_length=5)]

    @field_serializer("id")
    def prefix(self, value: str) -> str:
        return f"USER#{value}"

    @field_validator("id", mode="before")
    @classmethod
    def strip(cls, value: Any) -> Any:
        return value.removeprefix("USER#") if isinstance(value, str) else value


def test_the_serializer_and_constraints_of_a_key_count_by_value(config: DynamoDBConfig) -> None:
    users = BaseDynamoRepository(config, Table("users", Shout, partition_key="id"))
    users.create_table()
    users.create(Shout(id="7"))
    assert users.get("7", consistent=True) == Shout(id="7")
    assert users.query("7", consistent=True).all() == [Shout(id="7")]
    with pytest.raises(ValidationError, match="at most 5 characters"):
        users.get("7777777")
    assert users.delete("7") == Shout(id="7")
    assert users.scan(consistent=True).all() == []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    address: dict[str, Union[str, int]] = {}


def test_a_dotted_text_that_means_a_path_is_refused(config: DynamoDBConfig) -> None:
    items = BaseDynamoRepository(config, Table("open", Open, partition_key="id"))
    items.create_table()
    items.put(Open(id="a", address={"city": "Oslo", "spark.sql.x": 1}))
    with pytest.raises(ValidationError, match=r"a path is a tuple: \('address', 'city'\)"):
        items.update("a", set={"address.city": "Bergen"})
    items.update("a", set={("address", "city"): "Bergen", "dotted.name": 1})
    (found,) = items.scan(filter=Attr(("address", "spark.sql.x")).eq(1), consistent=True).all()
    assert found.address["city"] == "Bergen"
    assert found.model_extra == {"dotted.name": 1}
    for attribute in ("", (), 5, None):
        with pytest.raises(ValidationError):
            items.scan(filter=Attr(attribute).eq(1)).all()


@dataclasses.dataclass
class Place:
    city: str
    zip: int


class Leg(TypedDict):
    town: str
    miles: int


class Journey(BaseModel):
    id: str
    place: Optional[Place] = None
    leg: Leg = {"town": "Oslo", "miles": 1}
    by_number: dict[int, int] = {}
    by_id: dict[UUID, int] = {}
    by_day: dict[date, str] = {}
    by_color: dict[Color, int] = {}
    upper: dict[Annotated[str, AfterValidator(str.upper)], int] = {}
    price: Annotated[Decimal, PlainSerializer(lambda v: int(v * 100))] = Decimal(0)
    at: EpochSeconds = SECOND


@pytest.fixture
def journeys(local_config: DynamoDBConfig) -> BaseDynamoRepository[Journey]:
    repository = BaseDynamoRepository(local_config, Table("trip", Journey, partition_key="id"))
    repository.create_table()
    repository.put(Journey(id="a", place=Place("Oslo", 1)))
    return repository


@pytest.mark.parametrize(
    ("field", "key", "stored"),
    [
        ("by_number", 1, "1"),
        ("by_number", "1", "1"),
        ("by_id", NUMBER, str(NUMBER)),
        ("by_id", str(NUMBER).upper(), str(NUMBER)),
        ("by_color", Color.RED, "red"),
        ("by_color", "red", "red"),
        ("upper", "k", "K"),
    ],
)
def test_a_key_of_a_map_has_one_form(
    journeys: BaseDynamoRepository[Journey], field: str, key: Any, stored: str
) -> None:
    journeys.update("a", set={(field, key): 5})
    journeys.update("a", add={(field, key): 1})
    item = plain_client(journeys.config).get_item(
        TableName=journeys.table_name, Key={"id": {"S": "a"}}, ConsistentRead=True
    )["Item"]
    assert item[field] == {"M": {stored: {"N": "6"}}}
    assert len(journeys.scan(filter=Attr((field, key)).eq(6), consistent=True).all()) == 1
    assert getattr(journeys.get_or_raise("a", consistent=True), field)
    assert getattr(journeys.update("a", remove=[(field, key)]), field) == {}


def test_a_date_is_the_key_of_a_map(journeys: BaseDynamoRepository[Journey]) -> None:
    day = date(2026, 1, 2)
    assert journeys.update("a", set={("by_day", day): "x"}).by_day == {day: "x"}
    for wrong in ("no day", Color.RED):
        with pytest.raises(ValidationError, match="is no key of the map"):
            journeys.update("a", set={("by_day", wrong): "x"})


def test_fields_of_dataclasses_and_typed_dicts_are_set_one_by_one(
    journeys: BaseDynamoRepository[Journey],
) -> None:
    changed = journeys.update("a", set={("place", "zip"): 9, ("leg", "miles"): 7})
    assert (changed.place, changed.leg) == (Place("Oslo", 9), {"town": "Oslo", "miles": 7})
    for path in (("place", "city"), ("leg", "town")):
        with pytest.raises(ValidationError, match="required field"):
            journeys.update("a", remove=[path])
    with pytest.raises(ValidationError, match="did you mean 'city'"):
        journeys.update("a", set={("place", "cty"): "x"})


def test_a_number_in_a_form_of_its_serializer_cannot_be_added_to(
    journeys: BaseDynamoRepository[Journey],
) -> None:
    with pytest.raises(ValidationError, match="set the new value"):
        journeys.update("a", add={"price": Decimal(2)})
    for condition in (Attr("at").begins_with("2026"), Attr("at").contains("2")):
        with pytest.raises(ValidationError, match="stored as a number"):
            journeys.scan(filter=condition).all()


def test_an_alias_that_would_be_lost_is_refused_when_declared() -> None:
    @pydantic_dataclass
    class Aliased:
        miles: int = Field(alias="theMiles", default=1)

    model = create_model("Holder", id=(str, ...), leg=(Optional[Aliased], None))
    with pytest.raises(ValidationError, match="'miles' has an alias"):
        Table("t", model, partition_key="id")


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    label: Annotated[str, Field(max_length=5)]
    size: int
    radius: Decimal = Decimal(1)


class Square(BaseModel):
    kind: Literal["square"] = "square"
    label: Annotated[str, Field(max_length=5)]
    size: str
    side: Decimal = Decimal(1)


class Drawing(BaseModel):
    id: str
    shape: Union[Circle, Square]
    more: list[Union[Circle, Square]] = []


def test_a_field_that_models_of_a_union_share_is_reached_by_a_path(
    config: DynamoDBConfig,
) -> None:
    drawings = BaseDynamoRepository(config, Table("drawings", Drawing, partition_key="id"))
    drawings.create_table()
    first = Circle(label="a", size=1)
    drawings.put(Drawing(id="1", shape=first, more=[first, Square(label="b", size="x")]))
    drawings.put(Drawing(id="2", shape=Square(label="c", size="1")))

    def found(condition: Any) -> list[str]:
        return sorted(drawing.id for drawing in drawings.scan(filter=condition, consistent=True))

    assert found(Attr(("shape", "kind")).eq("square")) == ["2"]
    assert found(Attr(("shape", "label")).begins_with("a")) == ["1"]
    assert found(Attr(("shape", "size")).eq(1)) == ["1"]
    assert found(Attr(("shape", "size")).eq("1")) == ["2"]
    assert found(Attr(("more", 1, "label")).eq("b")) == ["1"]
    changed = drawings.update("1", set={("shape", "label"): "new", ("more", 1, "label"): "z"})
    assert (changed.shape.label, changed.more[1].label) == ("new", "z")
    assert drawings.update("2", set={("shape", "side"): 3}).shape == Square(
        label="c", size="1", side=Decimal(3)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": {("shape", "label"): "too long"}}, "at most 5 characters"),
        ({"remove": [("shape", "label")]}, "required field"),
        ({"set": {("shape", "size"): 5}}, "which of them is stored is not known"),
        ({"add": {("more", 0, "size"): 5}}, "which of them is stored is not known"),
        ({"set": {("shape", "kind"): "square"}}, "which of them is stored is not known"),
    ],
)
def test_what_would_not_fit_every_model_of_a_union_is_refused(
    local_config: DynamoDBConfig, changes: dict[str, Any], message: str
) -> None:
    drawings = BaseDynamoRepository(local_config, Table("drawings", Drawing, partition_key="id"))
    with pytest.raises(ValidationError, match=message):
        drawings.update("1", **changes)


class Loud(BaseModel):
    label: str

    @field_validator("label")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()


class Voices(BaseModel):
    id: str
    voice: Union[Circle, Loud]


def test_a_field_that_a_model_of_a_union_checks_by_code_is_not_entered(
    local_config: DynamoDBConfig,
) -> None:
    voices = BaseDynamoRepository(local_config, Table("voices", Voices, partition_key="id"))
    with pytest.raises(ValidationError, match="Loud has code for it"):
        voices.update("1", set={("voice", "label"): "x"})


class Deep(BaseModel):
    id: str
    value: Any = None
    count: Optional[int] = 0
    parts: Optional[list[int]] = []


@pytest.fixture
def deep_items(config: DynamoDBConfig) -> BaseDynamoRepository[Deep]:
    repository = BaseDynamoRepository(config, Table("deep", Deep, partition_key="id"))
    repository.create_table()
    return repository


def test_the_item_that_nests_too_deeply_is_named_with_the_way_out(
    deep_items: BaseDynamoRepository[Deep], engine: Engine
) -> None:
    engine.require(Capability.DEPTH_LIMIT)
    value: Any = 1
    for _ in range(40):
        value = [value]
    deep_items.put(Deep(id="b"))
    for write in (
        lambda: deep_items.put(Deep(id="a", value=value)),
        lambda: deep_items.update("b", set={"value": value}),
    ):
        with pytest.raises(ValidationError, match=r"item \{'id': '[ab]'\}.*at most 31 lists"):
            write()
    assert deep_items.get_or_raise("b", consistent=True) == Deep(id="b")


@pytest.mark.parametrize("changes", [{"add": {"count": 1}}, {"append": {"parts": [1]}}])
def test_a_stored_null_that_cannot_be_added_to_is_explained(
    deep_items: BaseDynamoRepository[Deep], changes: dict[str, Any]
) -> None:
    null = {"NULL": True}
    plain_client(deep_items.config).put_item(
        TableName=deep_items.table_name, Item={"id": {"S": "n"}, "count": null, "parts": null}
    )
    with pytest.raises(ValidationError, match=r"(?s)'n'.*or as NULL; set it to a value first"):
        deep_items.update("n", **changes)
    with (
        pytest.raises(ValidationError, match="or as NULL; set it to a value first"),
        deep_items.transaction() as transaction,
    ):
        transaction.update(deep_items, "n", **changes)
    (name,) = next(iter(changes.values()))
    deep_items.update("n", set={name: 0 if name == "count" else []})
    changed = deep_items.update("n", **changes)
    assert getattr(changed, name) in (1, [1])


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    tags: set[str] = set()
    days: deque[date] = deque()
    at: EpochSeconds = SECOND
    by_name: dict[str, EpochMillis] = {}


@pytest.fixture
def loose(config: DynamoDBConfig) -> BaseDynamoRepository[Loose]:
    repository = BaseDynamoRepository(config, Table("loose", Loose, partition_key="id"))
    repository.create_table()
    return repository


def test_null_reads_as_the_default_of_a_field_with_a_stored_type(
    loose: BaseDynamoRepository[Loose], config: DynamoDBConfig
) -> None:
    null = {name: {"NULL": True} for name in ("tags", "days", "at", "by_name")}
    plain_client(config).put_item(TableName=loose.table_name, Item={"id": {"S": "a"}, **null})
    assert loose.get("a", consistent=True) == Loose(id="a")
    assert loose.scan(consistent=True).to_arrow().column("at").to_pylist() == [SECOND]


def test_an_empty_set_is_found_where_null_is_stored_for_it(
    loose: BaseDynamoRepository[Loose], config: DynamoDBConfig
) -> None:
    stored: dict[str, Any]
    for key, stored in (("null", {"tags": {"NULL": True}}), ("absent", {})):
        plain_client(config).put_item(TableName=loose.table_name, Item={"id": {"S": key}, **stored})
    loose.put(Loose(id="full", tags={"x"}))
    tags = Attr("tags")
    for condition, found in (
        (tags.eq(set()), {"null", "absent"}),
        (tags.ne(set()), {"full"}),
        (tags.is_in([set(), {"x"}]), {"null", "absent", "full"}),
    ):
        assert {item.id for item in loose.scan(filter=condition, consistent=True)} == found


def test_no_item_is_none_in_a_field_that_every_item_has(
    loose: BaseDynamoRepository[Loose],
) -> None:
    is_free = Attr("id").eq(None)
    loose.put(Loose(id="a"), condition=is_free)
    with pytest.raises(ConditionFailedError):
        loose.put(Loose(id="a"), condition=is_free)
    assert loose.scan(filter=Attr("at").eq(None), consistent=True).all() == []


def test_an_element_of_a_deque_is_found(loose: BaseDynamoRepository[Loose]) -> None:
    day = date(2026, 1, 2)
    loose.put(Loose(id="a"))
    loose.update("a", append={"days": [day, date(2026, 1, 3)]})
    assert [item.id for item in loose.scan(filter=Attr("days").contains(day))] == ["a"]
    with pytest.raises(ValidationError, match="days"):
        loose.scan(filter=Attr("days").contains("soon")).all()


def test_an_upsert_takes_attributes_that_are_no_fields(
    loose: BaseDynamoRepository[Loose], config: DynamoDBConfig
) -> None:
    changes: dict[str, Any] = {"set": {"extra": 0.5}, "add": {"count": 2}}
    for _ in range(2):
        changed = loose.update("a", **changes, upsert=True)
    assert changed.model_extra == {"extra": 0.5, "count": 4}
    with loose.transaction() as transaction:
        transaction.update(loose, "b", set={"extra": 1}, upsert=True)
    assert loose.get_or_raise("b", consistent=True).model_extra == {"extra": 1}


class Moments(RootModel[list[EpochSeconds]]):
    """A list under a name of its own."""


@pytest.mark.parametrize(
    "annotation",
    [
        tuple[EpochSeconds, ...],
        deque[EpochSeconds],
        pytest.param(MutableSequence[EpochSeconds], marks=pytest.mark.newest_only),
        Optional[tuple[EpochSeconds, ...]],
        Annotated[tuple[EpochSeconds, ...], Field(min_length=2)],
        Moments,
    ],
)
def test_an_element_of_any_kind_of_list_is_stored_as_the_whole_stores_it(
    local_config: DynamoDBConfig, annotation: Any
) -> None:
    doors = Doors(local_config, annotation)
    repository, make = doors.repository, doors.model
    repository.put(make(id="whole", value=[SECOND, SECOND]))
    repository.put(make(id="append", value=[SECOND, SECOND]))
    assert repository.update("append", append={"value": [SECOND]}).value is not None
    number = {"N": str(int(SECOND.timestamp()))}
    assert doors.stored("append") == {"L": [number] * 3}
    assert doors.found(Attr("value").contains(SECOND)) == {"whole", "append"}
    with pytest.raises(ValidationError, match="value"):
        repository.update("append", append={"value": ["soon"]})
    maps = Doors(local_config, dict[str, annotation])  # type: ignore[misc,valid-type]
    maps.repository.put(maps.model(id="a", value={"x": [SECOND, SECOND]}))
    maps.repository.update("a", append={("value", "x"): [SECOND]})
    assert maps.stored("a") == {"M": {"x": {"L": [number] * 3}}}
