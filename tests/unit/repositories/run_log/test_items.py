"""Texts cut into chunks that fit an item."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dynamodb_wrapper.repositories.run_log.items import chunks_of


class TestChunks:
    @given(st.text(), st.integers(min_value=4, max_value=64))
    def test_pieces_are_the_text_and_none_is_too_large(self, text: str, size: int) -> None:
        text = text.encode("utf-8", "replace").decode()
        pieces = chunks_of(text, size)
        assert "".join(pieces) == text
        assert all(0 < len(piece.encode()) <= size for piece in pieces)

    def test_a_cut_falls_between_lines_where_it_can(self) -> None:
        assert chunks_of("one\ntwo\nthree\n", 9) == ["one\ntwo\n", "three\n"]
