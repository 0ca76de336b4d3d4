"""The garbage collector's setting while a process starts, and after."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.garbage import rarely_collected

if TYPE_CHECKING:
    from collections.abc import Iterator

Setting = tuple[int, int, int]


@pytest.fixture
def own() -> Iterator[Setting]:
    """A setting as it reads once it is made: newer versions of Python keep only a part of it."""
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 9)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def test_the_collector_runs_less_often_inside_the_block_and_as_before_behind_it(
    own: Setting,
) -> None:
    with rarely_collected():
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 100 * own[0]
    assert gc.get_threshold() == own


def test_an_exception_restores_the_setting(own: Setting) -> None:
    with pytest.raises(KeyError), rarely_collected():
        raise KeyError("x")
    assert gc.get_threshold() == own


def test_a_collector_that_is_off_is_left_alone(own: Setting) -> None:
    gc.set_threshold(0)
    with rarely_collected():
        assert gc.get_threshold()[0] == 0
    gc.set_threshold(*own)
    gc.disable()
    try:
        with rarely_collected():
            assert gc.get_threshold() == own
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.usefixtures("own")
def test_a_setting_that_is_made_meanwhile_stays() -> None:
    with rarely_collected():
        gc.set_threshold(500)
    assert gc.get_threshold()[0] == 500


def test_blocks_that_overlap_restore_it_whichever_ends_first(own: Setting) -> None:
    first, second = rarely_collected(), rarely_collected()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == own
    second.__exit__(None, None, None)
    assert gc.get_threshold() == own


@pytest.mark.usefixtures("own")
def test_a_setting_that_is_higher_already_is_left_alone() -> None:
    gc.set_threshold(1_000_000)
    with rarely_collected():
        assert gc.get_threshold()[0] == 1_000_000
    assert gc.get_threshold()[0] == 1_000_000
