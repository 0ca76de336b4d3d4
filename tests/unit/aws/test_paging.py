"""Page tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_wrapper.aws.paging import make_token, read_token
from dynamodb_wrapper.exceptions import ValidationError

keys = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.one_of(
        st.builds(lambda text: {"S": text}, st.text(st.characters(codec="utf-8"), max_size=5)),
        st.builds(lambda number: {"N": str(number)}, st.integers()),
        st.builds(lambda data: {"B": data}, st.binary(max_size=5)),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=100, deadline=None, database=None)
@given(table=st.text(max_size=5), index=st.none() | st.text(max_size=5), key=keys)
def test_a_token_gives_its_key_back(table: str, index: str | None, key: Any) -> None:
    token = make_token(table, index, "mark", key)
    assert token.isascii()
    assert read_token(token, table, index, "mark") == key


@settings(max_examples=100, deadline=None, database=None)
@given(text=st.text(max_size=60))
def test_any_other_text_is_refused_as_a_token(text: str) -> None:
    with pytest.raises(ValidationError, match="page token is damaged"):
        read_token(text, "t", None, "mark")
