"""Conditions and updates as they are sent to DynamoDB."""

from __future__ import annotations

from datetime import timezone
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, Key

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.serialization.changes import check_changes
from dynamodb_wrapper.serialization.expressions import Expressions, Update
from tests.support.sample_models import NEW_YEAR, ORDERS, Order


def written(condition: Any) -> tuple[str, dict[str, str], dict[str, Any]]:
    expressions = Expressions(ORDERS)
    text = expressions.condition(condition)
    request = expressions.into({})
    return (
        text,
        request.get("ExpressionAttributeNames", {}),
        request.get("ExpressionAttributeValues", {}),
    )


def test_every_name_and_value_becomes_a_placeholder() -> None:
    text, names, values = written(Attr("status").eq("new"))
    assert text == "#n0 = :v0"
    assert names == {"#n0": "status"}
    assert values == {":v0": {"S": "new"}}


def test_a_name_used_twice_has_one_placeholder() -> None:
    _, names, _ = written(Attr("status").eq("a") | Attr("status").eq("b"))
    assert names == {"#n0": "status"}


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        (Attr("total").eq(5), [{"N": "5"}]),
        (Attr("total").eq("5"), [{"N": "5"}]),
        (Attr("created_at").eq(NEW_YEAR), [{"S": "2026-01-01T00:00:00.000000Z"}]),
        (Key("created_at").gt(NEW_YEAR), [{"S": "2026-01-01T00:00:00.000000Z"}]),
        (Attr("labels").contains("a"), [{"S": "a"}]),
        (Attr("labels").eq({"a"}), [{"SS": ["a"]}]),
        (Attr("visits").between(1, 2), [{"N": "1"}, {"N": "2"}]),
        (Attr("visits").is_in([1, 2]), [{"N": "1"}, {"N": "2"}]),
        (Attr("notes").size().gt(5), [{"N": "5"}]),
        (Attr("details.n").eq(Decimal("1.5")), [{"N": "1.5"}]),
        (Attr("notes").eq(None), [{"S": "NULL"}]),
        (Attr("notes").not_exists(), []),
    ],
    ids=range(12),
)
def test_a_value_is_encoded_by_the_field_it_is_compared_with(
    condition: Any, values: list[Any]
) -> None:
    assert list(written(condition)[2].values()) == values


def test_nested_paths_and_positions_are_kept() -> None:
    text, names, _ = written(Attr("lines[1].sku").eq("x") & Attr("address.city").exists())
    assert text == "(#n0[1].#n1 = :v0 AND attribute_exists(#n2.#n3))"
    assert list(names.values()) == ["lines", "sku", "address", "city"]


def test_a_value_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValidationError, match="NaN"):
        written(Attr("details.n").eq(float("nan")))


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValidationError, match="no time zone"):
        written(Attr("created_at").gt(NEW_YEAR.astimezone(timezone.utc).replace(tzinfo=None)))


def test_an_update_says_set_remove_and_add() -> None:
    expressions = Expressions(ORDERS)
    update = Update(expressions)
    changes = check_changes(
        Order, {"status": "paid"}, ["notes"], {"visits": 1}, {"lines": [{"sku": "x"}]}
    )
    changes.write(update)
    assert update.text == (
        "SET #n0 = :v0, #n2 = list_append(if_not_exists(#n2, :v2), :v3) REMOVE #n3 ADD #n1 :v1"
    )
