"""Pages of flat items are cut into what a parser finds in them, or are left to the parser."""

from __future__ import annotations

import json
import pickle
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
_text_values = st.builds(lambda text: {"S": text}, _texts)
_numbers = st.builds(lambda number: {"N": str(number)}, st.integers())
_binaries = st.builds(lambda text: {"B": text}, st.sampled_from(["", "YQ==", "a/+b"]))
_truths = st.builds(lambda truth: {"BOOL": truth}, st.booleans())
_nulls = st.just({"NULL": True})
_values = st.one_of(_text_values, _numbers, _binaries, _truths, _nulls)
KINDS: dict[str, Any] = {
    "id": _text_values,
    "a": _numbers,
    "e": _truths,
    "the}": _text_values,
    "quantity": _numbers,
    "a.b-c_d e": _nulls,
    "näme": _truths,
    "n" * 40: _binaries,
}


def items_of(kinds: dict[str, Any]) -> Any:
    """Return lists of items with some of these attributes, in this order."""
    some = st.fixed_dictionaries({}, optional=kinds).filter(bool)
    return st.lists(some.map(lambda item: {n: item[n] for n in kinds if n in item}), min_size=1)


def is_for_the_parser(name: str, value: dict[str, Any], in_ascii: bool) -> bool:
    """Tell whether an attribute is too much for a look at the punctuation."""
    text = value.get("S", "")
    has_halves = any(ord(character) > 0xFFFF for character in text)
    return text.startswith("}") or (in_ascii and (has_halves or not name.isascii()))


def has_many_escapes(items: Items, in_ascii: bool) -> bool:
    """Tell whether there are so many of them that a parser is faster."""
    text = json.dumps(items, separators=(",", ":"), ensure_ascii=in_ascii)[1:-1].encode()
    return text.count(b"\\") * 64 > len(text)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(items_of(KINDS), st.booleans(), st.booleans())
@example([{"id": {"S": "x"}}], False, False)
@example([{"id": {"S": text}} for text in (*ODD_TEXTS, "x" * 3000)], False, True)
@example([{"id": {"S": text}} for text in (*ODD_TEXTS, "x" * 3000)], True, True)
@example([{"id": {"S": "}"}}, {"id": {"S": "b"}}], False, False)
@example([{"id": {"S": t}, "e": {"BOOL": True}} for t in (*ODD_TEXTS, "x" * 3000)], False, False)
def test_flat_items_are_what_a_parser_finds(items: Items, has_more: bool, in_ascii: bool) -> None:
    around = {"LastEvaluatedKey": KEY} if has_more else {}
    whole = {"id": {"S": "x"}, "a": {"N": "1"}, "e": {"BOOL": True}, "the}": {"S": ""}}
    items = [{**whole, "quantity": {"N": "5"}, "a.b-c_d e": {"NULL": True}}, *items]
    found = cut(compact(items, ascii_only=in_ascii, **around))
    if found is None:
        odd = (is_for_the_parser(*entry, in_ascii) for item in items for entry in item.items())
        assert any(odd) or has_many_escapes(items, in_ascii)
    else:
        assert found == items


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(items_of(dict.fromkeys(KINDS, _values)))
def test_items_of_many_kinds_are_found_right_or_left_to_the_parser(items: Items) -> None:
    assert cut(compact(items)) in (items, None)


def test_odd_texts_are_taken_out_of_a_page_of_usual_ones() -> None:
    usual = [{"id": {"S": f"{number}"}, "note": {"S": "x" * 80}} for number in range(100)]
    odd = [{"id": {"S": text}, "note": {"S": text * 2}} for text in ODD_TEXTS]
    assert cut(compact(usual + odd + usual)) == usual + odd + usual


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=40))
def test_items_may_lack_any_of_their_attributes(have: list[set[int]]) -> None:
    whole = {f"attribute-{place}": {"N": str(place)} for place in range(12)}
    items = [{name: whole[name] for name in whole if int(name[10:]) in own} for own in have]
    assert cut(compact([whole, *items])) == [whole, *items]


@settings(deadline=None, max_examples=100)
@given(st.lists(_values.filter(lambda value: "S" not in value), min_size=1, max_size=30))
def test_attributes_may_be_of_another_type_in_each_item(values: list[Any]) -> None:
    items = [{"id": {"S": "x" * 50}, "a": value, "b": {"N": "1"}} for value in values]
    assert cut(compact(items)) in (items, None)
    assert cut(compact(items * 3 + items[:1] * 60)) == items * 3 + items[:1] * 60


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True), min_size=1))
def test_items_in_any_order_are_found_right_or_left_to_the_parser(orders: list[list[str]]) -> None:
    items = [{name: {"S": f"{name}{row}"} for name in own} for row, own in enumerate(orders)]
    assert cut(compact(items)) in (items, None)


def test_items_that_do_not_keep_one_order_are_left_to_the_parser() -> None:
    one, other = {"a": {"S": "x"}, "b": {"S": "y"}}, {"b": {"S": "y"}, "a": {"S": "x"}}
    assert cut(compact([one, other])) is None


@pytest.mark.parametrize("body_type", [bytes, bytearray])
@pytest.mark.parametrize("around", [{}, {"LastEvaluatedKey": {"id": {"S": "}],["}}}])
def test_what_is_around_the_items_may_be_anything(body_type: Any, around: Any) -> None:
    items = [{"id": {"S": "a"}}, {"id": {"S": "b"}}]
    assert cut(body_type(compact(items, **around))) in (items, None if around else items)
    first = body_type(b'{"Items":%b}' % compact(items)[len(b'{"Count":2,"Items":') : -18])
    assert cut(first) == items


def test_a_body_stays_as_it_is() -> None:
    body = bytearray(b'{"Items":[{"a":{"S":"x"}}]}')
    with memoryview(body):
        assert cut(body) == [{"a": {"S": "x"}}]
    assert body == b'{"Items":[{"a":{"S":"x"}}]}'


def test_a_column_keeps_nothing_of_the_others() -> None:
    items = [{"a": {"S": "x" * 10}, "b": {"S": "y" * 1000}, "c": {"N": "1"}}] * 100
    page = flat_page(compact(items))
    assert page is not None
    found = page.attributes((name, FIELDS[:2]) for name in ("a", "b", "c"))
    assert found[0].get_total_buffer_size() < 100 * 50
    assert len(pickle.dumps(found)) < 100 * 1200


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
        b'{"Items":[{"a":{"S":"true},"b":{"S":"x"}zzzzzzzzzzzzzzzzzzzz"}}]}',
        b'{"Other":{"Items":[{"a":{"S":"x"}}]},"Items":[0]}',
        b'{"Items":[{"a":{"S":"x"}}],"Items":[0]}',
        b'{"Items":[{"a":{"S":"x"}}],"\\u0049tems":[0]}',
        b"",
    ],
)
def test_anything_else_is_left_to_the_parser(body: bytes) -> None:
    try:
        found = cut(body)
    except ValueError:  # of the envelope, or of texts
        found = None
    assert found is None


@pytest.mark.parametrize(
    "items",
    [
        [{f"attribute-{number}": {"N": "1"}} for number in range(500)],
        [{f"a{row}-{number}": {"N": "1"} for number in range(99)} for row in range(9)],
        [{f"attribute-{number}": {"N": "1"} for number in range(200)}] * 3,
    ],
)
def test_items_of_too_many_kinds_are_left_to_the_parser(items: Items) -> None:
    assert cut(compact(items)) is None


def test_some_items_of_other_kinds_leave_a_page_flat() -> None:
    usual = {f"attribute-{number}": {"N": str(number)} for number in range(15)}
    items = [{f"odd-{number}": {"S": "x"}, **usual} for number in range(3)] + [usual] * 300
    assert cut(compact(items)) == items


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


def test_after_pages_that_are_not_flat_some_are_parsed_without_a_try() -> None:
    reader = PageReader({"id": pa.struct(FIELDS[:1])}, ["id"])
    flat, nested = (
        compact([{"id": {"S": f"{number}"}, **more} for number in range(100)])
        for more in ({}, {"m": {"M": {"a": {"S": "x"}}}})
    )
    for body in (compact([]), nested, nested, flat):
        reader.page(body)
    assert (reader.cut, reader.parsed) == (1, 3)
    for body in (nested, nested, nested, *[flat] * 29):
        assert len(reader.page(body).items) == 100
    assert (reader.cut, reader.parsed) == (1, 35)
    reader.page(flat)
    reader.page(flat)
    assert (reader.cut, reader.parsed) == (3, 35)


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
