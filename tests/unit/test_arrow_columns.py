"""Pages as columns: by Arrow itself, and always what the models say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamodb_wrapper.wire.bodies import Reply, read_body
from dynamodb_wrapper.wire.decoding import ItemReader
from tests.columns import OPTIONAL, WIDE_CODEC, body_of, plain, wides

pytest.importorskip("pyarrow")
from dynamodb_wrapper.wire.arrow_reading import ArrowReader


def reader(
    mismatch: Any = "raise", schema: Any = None, codec: Any = WIDE_CODEC
) -> ArrowReader[Any]:
    return ArrowReader(ItemReader(codec), "prod_wide", schema, mismatch)


def rows(found: Any) -> list[dict[str, Any]]:
    (page,) = found.models
    return [as_given(row) for row in page.batch.to_pylist()]


def as_given(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "amount": Decimal(row["amount"])} if "amount" in row else row


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(wides, max_size=4),
    st.lists(st.sets(st.sampled_from(OPTIONAL)), min_size=4, max_size=4),
)
def test_columns_are_what_the_models_say(models: list[Any], absent: list[set[str]]) -> None:
    items = [
        {name: value for name, value in WIDE_CODEC.encode(model).items() if name not in left_out}
        for model, left_out in zip(models, absent)
    ]
    body = body_of(items, last_key={"key": {"S": "x"}})
    by_arrow = reader()
    found = by_arrow.page(Reply(body))
    assert by_arrow.counts.compiled == len(models)
    expected = [
        {n: plain(getattr(m, n)) for n in type(m).model_fields}
        for m in ItemReader(WIDE_CODEC).page(Reply(body)).models
    ]
    assert rows(found) == expected
    assert (found.last_key, found.capacity, found.count) == (
        {"key": {"S": "x"}},
        {"CapacityUnits": 1.5},
        len(models),
    )
    by_models = reader()
    other = by_models.page(Reply(None, read_body(body)))
    assert by_models.counts.walked == len(models)
    assert other.models[0].batch.equals(found.models[0].batch)
