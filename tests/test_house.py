"""House rules that no linter knows: the length of files and functions, and no drawers."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import REPOSITORY

CODE = [path for name in ("collector", "labeling", "pipelines", "tests") for path in (REPOSITORY / name).rglob("*.py")]


def test_no_file_is_longer_than_400_lines() -> None:
    assert not [path for path in CODE if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_no_function_is_longer_than_60_lines() -> None:
    long = []
    for path in CODE:
        if path.parent.name == "versions":
            continue  # a migration is a frozen list
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                if node.end_lineno - first.lineno >= 60:
                    long.append(f"{path.name}:{node.name}")
    assert not long


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "helpers", "common", "misc", "util", "helper", "manager"}
    assert not [path for path in CODE if Path(path).stem in drawers]
