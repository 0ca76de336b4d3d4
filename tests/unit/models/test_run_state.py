"""Changes of a run's status, and values of watermarks as they are stored."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamodb_wrapper.exceptions import InvalidTransitionError
from dynamodb_wrapper.models import RunStatus, check_transition, may_finish_late
from dynamodb_wrapper.models.run_state import is_behind, pack, unpack


class TestTransitions:
    @pytest.mark.parametrize("new", RunStatus, ids=str)
    @pytest.mark.parametrize("old", RunStatus, ids=str)
    def test_a_run_goes_forward_only_and_ends_once(self, old: RunStatus, new: RunStatus) -> None:
        legal = (old, new) == (RunStatus.PENDING, RunStatus.RUNNING) or (
            not old.is_terminal and new.is_terminal
        )
        if legal:
            check_transition("r", old, new)
            return
        with pytest.raises(InvalidTransitionError) as refusal:
            check_transition("r", old, new)
        assert f"from {old} to {new}" in str(refusal.value)

    def test_only_a_lost_run_that_nobody_superseded_may_finish_late(self) -> None:
        assert may_finish_late(RunStatus.LOST, None)
        assert not may_finish_late(RunStatus.LOST, "another")
        assert not any(may_finish_late(s, None) for s in RunStatus if s is not RunStatus.LOST)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = (
    st.text()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(timezone.utc))
    | st.dates()
    | st.binary()
    | st.lists(JSON, max_size=3)
    | st.dictionaries(st.text(), JSON, max_size=3)
)


class TestWatermarkValues:
    @given(VALUES)
    def test_a_value_comes_back_equal_and_of_its_type(self, value: Any) -> None:
        found = unpack(*pack(value))
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        "value", [None, object(), {1}, float("nan"), datetime(2026, 1, 1), {"a": float("inf")}]
    )
    def test_other_values_are_refused(self, value: Any) -> None:
        with pytest.raises(ValueError):
            pack(value)

    def test_only_what_has_an_order_can_be_behind(self) -> None:
        assert is_behind(1, 2)
        assert is_behind(date(2026, 1, 1), date(2026, 1, 2))
        assert not is_behind(2, 2)
        assert is_behind(1.5, Decimal(2))
        assert not is_behind({"a": 1}, {"a": 2})
        for new, old in (("a", 2), (2, "a"), (True, 2), (date(2026, 1, 1), "2026-01-01")):
            with pytest.raises(TypeError):
                is_behind(new, old)

    @pytest.mark.parametrize("value", [float("inf"), 1e300, 1e-200, 10**130, Decimal("1e300")])
    def test_numbers_that_dynamodb_cannot_hold_are_kept_as_text(self, value: Any) -> None:
        value_type, stored = pack(value)
        assert isinstance(stored, str)
        found = unpack(value_type, stored)
        assert (found, type(found)) == (value, type(value))

    @pytest.mark.parametrize(
        ("value_type", "stored"),
        [
            ("integer", "seven"),
            ("decimal", "x"),
            ("datetime", "yesterday"),
            ("date", 5),
            ("json", "{"),
            ("binary", None),
            ("pickle", "x"),
        ],
    )
    def test_a_stored_value_that_cannot_be_read_is_a_value_error(
        self, value_type: str, stored: Any
    ) -> None:
        with pytest.raises(ValueError, match="cannot be read"):
            unpack(value_type, stored)
