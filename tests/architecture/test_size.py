"""A file is read in one sitting, a function on one screen."""

from __future__ import annotations

import ast

from tests.architecture.source import PACKAGE, PIPELINES, files_in, modules, place, tree

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(function) is None:
        return 0
    first = function.body[0]
    assert first.end_lineno is not None
    return first.end_lineno - first.lineno + 1


def test_no_file_is_longer_than_400_lines() -> None:
    long = []
    for path in files_in(PACKAGE) + files_in(PIPELINES):
        if path.suffix == ".json":
            continue  # `make schema` writes it, and nobody reads it in one sitting
        lines = path.read_bytes().count(b"\n")
        if lines > MOST_LINES_OF_A_FILE:
            long.append(f"{place(path)} has {lines} lines")
    assert not long


def test_no_function_is_longer_than_50_lines_without_its_docstring() -> None:
    long = []
    for path in modules():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            if lines > MOST_LINES_OF_A_FUNCTION:
                long.append(f"{place(path, node)} {node.name} has {lines} lines")
    assert not long
