"""What the tests of the architecture read: the checkout's files, and fresh interpreters in it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform" / "isthmus"
PIPELINES = ROOT / "pipelines"


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """The files below a folder, without what Python and dotted folders keep there."""
    return sorted(
        path
        for path in folder.rglob(pattern)
        if path.is_file()
        and not any(
            part == "__pycache__" or part.startswith(".") for part in path.relative_to(folder).parts
        )
    )


def rooms() -> list[str]:
    """The folders of the package that hold code."""
    return sorted({path.relative_to(PACKAGE).parts[0] for path in files_in(PACKAGE, "*/**/*.py")})


def modules() -> list[Path]:
    """All Python files of the product."""
    return files_in(PACKAGE, "*.py") + files_in(PIPELINES, "*.py")


def room_of(path: Path) -> str:
    """The folder of the package that a file lies in; for a file outside of all, its stem."""
    if not path.is_relative_to(PACKAGE):
        return path.relative_to(ROOT).parts[0]
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """FILE:LINE, as an editor opens it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imported(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Each import of a file, lazy ones and those by a literal name too, with the module's name."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from ((node, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node, module
            case ast.Call(
                func=(
                    ast.Name(id="import_module" | "__import__" | "find_spec" | "run_module")
                    | ast.Attribute(attr="import_module" | "find_spec" | "run_module")
                ),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node, module


@cache
def pyproject() -> dict[str, Any]:
    """The settings of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def contracts(kind: str) -> list[dict[str, Any]]:
    """import-linter's contracts of one kind."""
    found = pyproject()["tool"]["importlinter"]["contracts"]
    return [contract for contract in found if contract["type"] == kind]


@cache
def tracked_files() -> tuple[Path, ...]:
    """The files that git tracks and that are still there."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip(f"{ROOT} is no git checkout: {listing.stderr.strip()}")
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment, with changes; None takes a name away."""
    merged: dict[str, str | None] = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def run_here(command: Sequence[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a command that finds the product in this checkout, wherever it is installed."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment({"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(ROOT)])}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def fresh_python(code: str, cwd: Path = ROOT) -> str:
    """Runs code in a fresh interpreter that finds the product here; returns what it printed."""
    result = run_here([sys.executable, "-c", code], cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout
