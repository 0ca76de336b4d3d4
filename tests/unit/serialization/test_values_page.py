"""The page of stored values says what is stored."""

from __future__ import annotations

from pathlib import Path

from tests.support.value_kinds import table_rows

PAGE = Path(__file__).parents[3] / "docs" / "values.md"


def test_the_table_of_stored_forms_is_what_the_models_store() -> None:
    start, end = "| --- | --- | --- |\n", "\n\n"
    table = PAGE.read_text().partition(start)[2].partition(end)[0]
    assert table.splitlines() == table_rows()
