"""The documentation says what the code does."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

import dynamodb_wrapper
from dynamodb_wrapper import (
    BaseDynamoRepository,
    PipelineConfigRepository,
    PipelineRunLogsRepository,
    TableConfigRepository,
)
from dynamodb_wrapper.config import VARIABLES

ROOT = Path(__file__).parents[2]


def test_the_table_of_variables_is_the_one_the_code_reads() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{v.name}` | `{v.field}` | {v.meaning} |" for v in VARIABLES]


STUB = ast.parse((ROOT / "dynamodb_wrapper" / "__init__.pyi").read_text())


def test_the_front_door_has_at_most_50_names_all_of_which_can_be_used() -> None:
    names = dir(dynamodb_wrapper)
    assert names == sorted(set(names))
    assert len(names) <= 50
    assert [name for name in names if getattr(dynamodb_wrapper, name, None) is None] == []
    assert {"Stage", "current_run", "close_clients", "__version__"} <= set(names)


def test_type_checkers_see_the_names_that_there_are() -> None:
    found = {
        alias.name: node.module
        for node in STUB.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted([*found, "__version__"]) == dir(dynamodb_wrapper)
    for name, module in found.items():
        assert getattr(import_module(str(module)), name) is getattr(dynamodb_wrapper, name)


def test_a_star_import_leaves_the_builtin_connection_error_alone() -> None:
    names: dict[str, object] = {}
    exec("from dynamodb_wrapper import *", names)
    assert "ConnectionError" not in names
    assert sorted({*dynamodb_wrapper.__all__, "ConnectionError", "__version__"}) == dir(
        dynamodb_wrapper
    )
    (listed,) = [node.value for node in STUB.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(listed) == dynamodb_wrapper.__all__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'RunTraker'"):
        _ = dynamodb_wrapper.RunTraker


REPOSITORIES = (
    BaseDynamoRepository,
    PipelineConfigRepository,
    TableConfigRepository,
    PipelineRunLogsRepository,
)
METHODS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in REPOSITORIES
    for name, _ in inspect.getmembers(cls, inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize(("cls", "name"), METHODS)
def test_every_method_of_a_repository_states_its_cost(cls: type[Any], name: str) -> None:
    """In its own words, as another method named there, or as the method it overrides."""
    texts = [getattr(base, name).__doc__ for base in cls.__mro__ if name in vars(base)]
    assert re.search(r"\b[Cc]osts?\b|\bunits\b|As `\w+`", "\n".join(texts))


@pytest.mark.parametrize("target", "help install demo check test test-unit bench".split())
def test_make_lists_its_targets(target: str) -> None:
    assert re.search(rf"^{target}:.* ## \w", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_requirements_are_those_of_the_package_and_nothing_else() -> None:
    assert (ROOT / "requirements.txt").read_text().split() == ["-e", ".[all,test]"]


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        (None, {"boto3", "pydantic", "platformdirs", "typing-extensions", "tzdata", "uuid6"}),
        ("spark", {"pyspark", "pyarrow", "pandas"}),
        ("arrow", {"pyarrow"}),
        ("local", {"moto", "flask", "flask-cors"}),
        ("test", {"pytest", "hypothesis"}),
    ],
)
def test_each_extra_brings_what_it_is_for(extra: str | None, names: set[str]) -> None:
    lines = [line for line in requires("dynamodb-wrapper") or () if _extra_of(line) == extra]
    assert {re.split(r"[^\w-]", line)[0] for line in lines} >= names


def _extra_of(requirement: str) -> str | None:
    found = re.search(r"extra == ['\"](\w+)", requirement)
    return found[1] if found else None


def test_the_package_is_typed_and_under_the_mit_licence() -> None:
    assert (Path(dynamodb_wrapper.__file__).parent / "py.typed").is_file()
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
