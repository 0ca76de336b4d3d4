"""The documentation says what the code does."""

from __future__ import annotations

from pathlib import Path

import dynamodb_wrapper
from dynamodb_wrapper.config import VARIABLES

ROOT = Path(__file__).parents[2]


def test_the_table_of_variables_is_the_one_the_code_reads() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{v.name}` | `{v.field}` | {v.meaning} |" for v in VARIABLES]


def test_every_public_name_can_be_imported_and_is_sorted() -> None:
    names = dynamodb_wrapper.__all__
    assert names == sorted(names, key=str)
    assert all(getattr(dynamodb_wrapper, name) is not None for name in names)
