"""Pages of flat items are cut into what a parser finds in them, or are left to the parser."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Optional

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.columns import body_of

pa = pytest.importorskip("pyarrow")
pytest.importorskip("numpy")
from dynamodb_wrapper.wire.arrow_flat import flat_page  # noqa: E402 - only where it can be
from dynamodb_wrapper.wire.arrow_pages import PageReader  # noqa: E402

TYPES = {"S": pa.string(), "N": pa.string(), "B": pa.string(), "BOOL": pa.bool_()}
FIELDS = [pa.field(tag, type_) for tag, type_ in {**TYPES, "NULL": pa.bool_()}.items()]
KEY = {"id": {"S": "last"}}
Items = list[dict[str, Any]]


def cut(body: bytes) -> Optional[Items]:
    """Return the items that are found without a parser; None where it takes one."""
    page = flat_page(body)
    if page is None or json.loads(page.envelope).get("Items") != [0]:
        return None
    found = page.attributes((name, FIELDS) for name in page.cells)
    items: Items = [{} for _ in range(page.count)]
    for name, values in zip(page.cells, found):
        for item, value in zip(items, values.to_pylist()):
            if value is not None:
                item[name] = {tag: held for tag, held in value.items() if held is not None}
    return items


def compact(items: Items, *, ascii_only: bool = False, **around: Any) -> bytes:
    """Return a reply as DynamoDB writes it."""
    page = {"Count": len(items), "Items": items, "ScannedCount": len(items), **around}
    return json.dumps(page, separators=(",", ":"), ensure_ascii=ascii_only).encode()


# ---- what is flat --------------------------------------------------------------------------------

ODD_TEXTS = (
    "",
    "plain",
    "ünï\U0001f600\u2028",
    'say "}" and "},{"',
    '"',
    "\\",
    '\\"',
    '\\\\"}',
    "e}",
    "he}re",
    "true}",
    ":true}",
    '":true}',
    '":false},"',
    '"},"id":{"S":"',
    " }],",
    '{}],"Count":1}',
    '{"Items":[',
    "a\nb\tc\x00\x1f\x7f",
    "/",
    "x" * 100,
)
_texts = st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]))
_values = st.one_of(
    st.builds(lambda text: {"S": text}, _texts),
    st.builds(lambda number: {"N": str(number)}, st.integers()),
    st.builds(lambda text: {"B": text}, st.sampled_from(["", "YQ==", "a/+b"])),
    st.builds(lambda truth: {"BOOL": truth}, st.booleans()),
    st.just({"NULL": True}),
)
_usual_names = st.sampled_from(["id", "a", "e", "the}", "quantity", "a.b-c_d e", "näme", "n" * 40])
_items = st.lists(st.dictionaries(_usual_names, _values, min_size=1, max_size=5), min_size=1)


def is_for_the_parser(name: str, value: dict[str, Any], in_ascii: bool) -> bool:
    """Tell whether an attribute is too much for a look at the punctuation."""
    text = value.get("S", "")
    has_halves = any(ord(character) > 0xFFFF for character in text)
    return text.startswith("}") or (in_ascii and (has_halves or not name.isascii()))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(_items, st.booleans(), st.booleans())
@example([{"a": {"S": "x"}}], False, False)
@example([{"a": {"S": text}} for text in ODD_TEXTS], False, True)
@example([{"a": {"S": text}} for text in ODD_TEXTS], True, True)
@example([{"a": {"S": "}"}}, {"a": {"S": "b"}}], False, False)
@example([{"id": {"S": text}, "a": {"BOOL": True}} for text in ODD_TEXTS] * 3, False, False)
def test_flat_items_are_what_a_parser_finds(items: Items, has_more: bool, in_ascii: bool) -> None:
    around = {"LastEvaluatedKey": KEY} if has_more else {}
    found = cut(compact(items, ascii_only=in_ascii, **around))
    if found is None:
        assert any(is_for_the_parser(*entry, in_ascii) for item in items for entry in item.items())
    else:
        assert found == items


@settings(deadline=None, max_examples=100)
@given(st.lists(_values, min_size=1, max_size=30), st.permutations(["a", "b", "c", "d"]))
def test_items_may_have_their_attributes_in_any_order(values: list[Any], names: list[str]) -> None:
    items = [
        dict.fromkeys(names if number % 3 else sorted(names), value)
        for number, value in enumerate(values)
    ]
    assert cut(compact(items)) == items


@pytest.mark.parametrize("body_type", [bytes, bytearray])
@pytest.mark.parametrize("around", [{}, {"LastEvaluatedKey": {"id": {"S": "}],["}}}])
def test_what_is_around_the_items_may_be_anything(body_type: Any, around: Any) -> None:
    items = [{"id": {"S": "a"}}, {"id": {"S": "b"}}]
    assert cut(body_type(compact(items, **around))) in (items, None if around else items)
    first = body_type(b'{"Items":%b}' % compact(items)[len(b'{"Count":2,"Items":') : -18])
    assert cut(first) == items


def test_many_items_that_are_not_alike_are_flat_as_well() -> None:
    names = [f"attribute-{number}" for number in range(10)]
    items = [
        {name: {"N": str(row)} for place, name in enumerate(names) if (row >> place) % 2 == 0}
        for row in range(1000)
    ]
    assert cut(compact(items)) == items


# ---- what is not ---------------------------------------------------------------------------------

FLAT = {"id": {"S": "a"}}


@pytest.mark.parametrize(
    "body",
    [
        compact([]),
        compact([{}]),
        compact([FLAT, {}]),
        compact([FLAT, {"m": {"M": {}}}]),
        compact([FLAT, {"m": {"M": {"id": {"S": "b"}}}}]),
        compact([FLAT, {"l": {"L": [{"S": "b"}, {"S": "c"}]}}]),
        compact([FLAT, {"s": {"SS": ["b", "c"]}}]),
        compact([FLAT, {"s": {"X": "b"}}]),
        compact([FLAT, {"s": {"S": 1}}]),
        compact([FLAT, {"s": {"S": "b", "N": "1"}}]),
        compact([FLAT, {'"': {"S": "b"}}]),
        compact([{"\\": {"S": "b"}}]),
        json.dumps({"Items": [FLAT, FLAT]}).encode(),
        b'{"Items":[{"a":{"S":"x"},"a":{"S":"y"}}]}',
        b'{"Items":[{"a":{"S":"x"},"a":{"N":"1"}},{"a":{"N":"1"}}]}',
        b'{"Items":[{"a":{"NULL":false}}]}',
        b'{"Items":[{"a":{"BOOL":true}},{"a":{"BOOL":fake}}]}',
        b'{"Items":[{"a":{"S":"x"}}{"a":{"S":"y"}}]}',
        b'{"Items":[{"a":{"S":"x"}},{"a":{"S":"y\\q"}}]}',
        b'{"Items":[{"a":{"S":"\\u12"}},{"a":{"S":"\\uzzzz"}}]}',
        b'{"Items":[{"a":{"S":"\\ud800"}}]}',
        b'{"Items":[{"a":{"S":"x\ny"}}]}',
        b'{"Other":{"Items":[{"a":{"S":"x"}}]}}',
        b'{"Items":[{"a":{"S":"x"}}],"Items":[{"a":{"S":"y"}}]}',
        b'{"Items":[{"a":{"S":"}]',
        b"",
    ],
)
def test_anything_else_is_left_to_the_parser(body: bytes) -> None:
    try:
        found = cut(body)
    except ValueError:  # of the envelope, or of texts
        found = None
    assert found is None


def test_items_of_too_many_kinds_are_left_to_the_parser() -> None:
    items = [{f"attribute-{number}": {"N": "1"}} for number in range(500)]
    assert cut(compact(items)) is None


SAMPLES = [
    compact([{"id": {"S": "a"}, "n": {"N": "1"}, "yes": {"BOOL": True}}] * 3),
    compact([{"id": {"S": "é"}, "no": {"BOOL": False}}, {"n": {"NULL": True}, "id": {"S": "b"}}]),
    compact([{"id": {"S": 'a"b\\'}}, {"id": {"S": ""}, "e": {"N": "2"}}], LastEvaluatedKey=KEY),
]
_pieces = st.sampled_from(
    [
        b"",
        b'"',
        b"}",
        b"{",
        b"\\",
        b",",
        b"}]",
        b'"}',
        b'"},"',
        b"true",
        b"e}",
        b'":{"S":"',
        b"\x00",
    ]
) | st.binary(max_size=3)


@settings(deadline=None, max_examples=1500)
@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_page_is_left_to_the_parser_or_still_what_it_finds(
    body: bytes, data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(body)))
        end = min(len(body), begin + data.draw(st.integers(0, 12)))
        body = body[:begin] + data.draw(_pieces) + body[end:]
    try:
        body.decode()
        found = cut(body)
    except (ValueError, AttributeError):  # text, envelope or escapes are no JSON
        return
    if found is not None:
        (_, pairs), *_ = [p for p in json.loads(body, object_pairs_hook=list) if p[0] == "Items"]
        assert found == [{name: dict(value) for name, value in item} for item in pairs]
        assert all(len(item) == len(dict(item)) for item in pairs)


# ---- both ways -----------------------------------------------------------------------------------


def test_a_page_is_the_same_cut_up_and_parsed() -> None:
    wanted = {
        "id": pa.struct(FIELDS[:1]),
        "n": pa.struct([FIELDS[1], FIELDS[4]]),
        "yes": pa.struct([FIELDS[3]]),
        "absent": pa.struct([FIELDS[0]]),
        "unwanted": pa.struct([]),
    }
    items = [
        {"id": {"S": f"i{number}"}, **({"n": {"N": "1"}} if number % 2 else {"n": {"NULL": True}})}
        for number in range(50)
    ]
    items[7]["yes"], items[8]["n"], items[9]["unwanted"] = {"BOOL": True}, {"S": "x"}, {"S": "y"}
    body = body_of(items, last_key=KEY)
    spaced = json.dumps(json.loads(body)).encode()
    reader = PageReader(wanted, ["id"])
    assert flat_page(body) is not None
    assert flat_page(spaced) is None
    flat, parsed = reader.page(body), reader.page(spaced)
    assert flat.last_key == parsed.last_key == KEY
    assert flat.capacity["CapacityUnits"] == parsed.capacity["CapacityUnits"]
    for name in wanted:
        one, other = flat.items.field(name), parsed.items.field(name)
        assert one.is_valid().equals(other.is_valid())
        if name != "unwanted":
            assert one.to_pylist() == other.to_pylist()


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
import pyarrow as pa
from dynamodb_wrapper.wire.arrow_pages import PageReader
wire = pa.struct([pa.field("S", pa.string())])
print(PageReader({"id": wire}, ["id"]).page(sys.argv[1].encode()).items.to_pylist())
"""


def test_without_numpy_every_page_is_parsed() -> None:
    body = compact([{"id": {"S": "a"}}]).decode()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY, body], capture_output=True, text=True, check=False
    )
    if "numpy" in done.stderr:
        pytest.skip("this pyarrow needs numpy itself")
    assert done.stdout.strip() == "[{'id': {'S': 'a'}}]", done.stderr
