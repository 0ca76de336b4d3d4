"""The shape of the package: no import circles, sizes of files and folders, plain words."""

from __future__ import annotations

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dynamodb_wrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(dynamodb_wrapper.__file__).parent
ROOT = Path(__file__).parents[2]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}

MAX_LINES, MIN_MEAN_LINES, MAX_MODULES = 800, 200, 16
LARGE_FOLDERS = {"runs": 23}
"""A run has more parts than one folder should hold, and each of them needs several others."""

HEAVY = frozenset(
    "boto3 botocore difflib numpy pandas platformdirs polars pyarrow pyspark rich typer".split()
)
"""What a function may import, so that a program that does not call it does not load it."""

PHRASES = (
    "nobody",
    "somebody",
    "whoever",
    "whatever",
    "general walk",
    "told of",
    "takes part",
    "made good",
    "of its own",
    "past the client",
    "by the client",
    "takes no such transaction",
)
"""Words that hide who does what, and words only the authors understand."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): tree for path, tree in TREES.items()}


def imported(node: ast.AST) -> Iterator[str]:
    """Yield what an import statement names: modules, and modules with a name from them."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_named(name: str) -> str:
    """Return the module of the package that an imported name is, or lies in; "" if outside."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def imports_in_functions(tree: ast.AST) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inside = (node for node in ast.walk(tree) if isinstance(node, functions))
    return {name for function in inside for node in ast.walk(function) for name in imported(node)}


# ---- imports -------------------------------------------------------------------------------------


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checkers only and imports inside functions count."""
    graph = {
        name: {module_named(found) for node in ast.walk(tree) for found in imported(node)}
        - {name, "", "dynamodb_wrapper"}
        for name, tree in MODULES.items()
    }
    assert sum(map(len, graph.values())) > len(MODULES)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


LOADED_BY_OTHERS = {"dynamodb_wrapper.testing.plugin"}
"""pytest loads it in every project; it imports what a test uses when a test uses it."""


def test_functions_import_nothing_but_heavy_libraries_and_what_needs_pyarrow() -> None:
    wrong = [
        f"{module}: {name}"
        for module, tree in MODULES.items()
        if module not in LOADED_BY_OTHERS
        for name in sorted(imports_in_functions(tree))
        if name.partition(".")[0] not in HEAVY
        and not module_named(name).startswith("dynamodb_wrapper.arrow.")
    ]
    assert wrong == []


# ---- files and folders ---------------------------------------------------------------------------


def test_files_are_neither_too_long_nor_too_short_on_average() -> None:
    lines = {module_of(path): len(path.read_text("utf-8").splitlines()) for path in TREES}
    assert {name: length for name, length in lines.items() if length > MAX_LINES} == {}
    assert sum(lines.values()) / len(lines) > MIN_MEAN_LINES


def test_a_folder_has_few_modules() -> None:
    modules = Counter(path.parent for path in TREES if path.name != "__init__.py")
    assert len(modules) > 10
    crowded = {
        str(folder.relative_to(PACKAGE)): count
        for folder, count in modules.items()
        if count > LARGE_FOLDERS.get(str(folder.relative_to(PACKAGE)), MAX_MODULES)
    }
    assert crowded == {}


def test_no_module_is_named_for_leftovers() -> None:
    words = {word for path in TREES for word in re.split(r"\W|_", str(path.relative_to(PACKAGE)))}
    assert words & {"helpers", "helper", "common", "misc"} == set()


# ---- words ---------------------------------------------------------------------------------------


def written() -> dict[str, str]:
    """Return code and documentation by path, on one line each, without marks of comments."""
    paths = [*TREES, *ROOT.glob("*.md")]
    for folder in ("docs", "examples", "changes"):
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py")]
    seam = r'"\s*\n\s*f?"|[\s#]+'  # between two parts of one string, or between two words
    return {
        str(path.relative_to(ROOT)): re.sub(
            seam, lambda found: "" if found[0].startswith('"') else " ", path.read_text("utf-8")
        )
        for path in paths
    }


TEXTS = written()


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_the_phrase(phrase: str) -> None:
    assert len(TEXTS) > len(TREES) > 50
    found = {
        path: [text[max(0, hit.start() - 40) : hit.end() + 40] for hit in hits]
        for path, text in TEXTS.items()
        if (hits := list(re.finditer(rf"\b{phrase}\b", text, re.IGNORECASE)))
    }
    assert found == {}
