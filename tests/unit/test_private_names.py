"""Nothing that speaks to DynamoDB calls what botocore, boto3 or urllib3 keep to themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import dynamodb_wrapper

OF_PYTHON = {"_replace", "_asdict", "_missing_", "_value2member_map_"}
"""Of named tuples and enums."""

LIBRARY = Path(dynamodb_wrapper.__file__).parent
SOURCES = [
    path
    for package in ("config", "aws", "serialization", "arrow", "repositories")
    for path in sorted((LIBRARY / package).rglob("*.py"))
]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> set[str]:
    """Return the private names a module gives something to."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return {name for name in names if is_private(name)}


def test_every_private_name_that_is_used_is_the_librarys_own() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    own = set().union(*map(defined, trees.values()))
    strange = [
        f"{path.name}:{node.lineno} .{node.attr}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and node.attr not in own | OF_PYTHON
    ]
    assert len(trees) > 50
    assert strange == []
