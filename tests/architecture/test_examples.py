"""What is there to be copied works: job files, and plugins that are one file each."""

from __future__ import annotations

import ast
import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, PIPELINES, ROOT

BENCHMARKS = sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
JOBS = sorted((PIPELINES / "jobs").glob("*.y*ml"))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_a_job_file_that_we_ship_is_right_and_says_first_what_it_shows(path: Path) -> None:
    from isthmus.jobs.specs import load_job_file

    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert load_job_file(path).name


def test_we_ship_a_job_file() -> None:
    assert JOBS


@pytest.mark.parametrize("room", ["variants", "nets", "corruptions"])
def test_the_names_of_a_room_of_plugins_are_the_public_files_in_it(room: str) -> None:
    found = importlib.import_module(f"isthmus.{room}").names()
    stems = {path.stem for path in (PACKAGE / room).glob("*.py")}
    assert found
    assert set(found) == {stem for stem in stems if not stem.startswith("_")}


def test_a_plugin_that_is_added_as_a_file_is_found_at_once(tmp_path: Path) -> None:
    from isthmus import plugins

    for name in ("__init__", "_shared", "plain", "vae"):
        (tmp_path / f"{name}.py").touch()
    assert plugins.names_in(str(tmp_path / "__init__.py")) == ("plain", "vae")
    (tmp_path / "contractive.py").touch()
    assert plugins.names_in(str(tmp_path / "__init__.py")) == ("contractive", "plain", "vae")


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_what_a_benchmark_imports_of_ours_is_there(path: Path) -> None:
    """Nothing else runs the benchmarks, which take minutes, when names move."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("isthmus"):
            continue
        module = importlib.import_module(str(node.module))
        for name in (each.name for each in node.names):
            is_there = hasattr(module, name) or find_spec(f"{node.module}.{name}")
            assert is_there, f"line {node.lineno}: {node.module} has no {name}"


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_a_benchmark_finds_what_it_imports_when_make_bench_starts_it(path: Path) -> None:
    """Python then looks in the folder of the benchmark, but not in that of the project."""
    places = [str(path.parent), *(each for each in sys.path if Path(each).resolve() != ROOT)]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if ast.unparse(node) == "sys.path.insert(0, str(Path(__file__).parents[2]))":
            places.insert(0, str(ROOT))
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names.append(str(node.module))
        for name in (each.split(".")[0] for each in names):
            is_found = name in sys.builtin_module_names or PathFinder.find_spec(name, places)
            assert is_found, f"line {node.lineno}: {name} is not found from {path.parent.name}"
