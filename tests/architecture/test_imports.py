"""Imports run one way, MLflow stays in its rooms, and what is light to start stays light."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from tests.architecture.source import (
    PACKAGE,
    contracts,
    fresh_python,
    imported,
    modules,
    place,
    room_of,
    rooms,
    run_here,
    tree,
)

HEAVY = (
    "torch",
    "ray",
    "mlflow",
    "pandas",
    "pytorch_lightning",
    "sklearn",
    "prefect",
    "boto3",
    "matplotlib",
)
ROOMS_THAT_MEET_MLFLOW = {"tracking", "registry", "aliases", "upkeep", "stack"}
ROOMS_THAT_PRINT = {"cli"}
# A replica of a service is a process of its own, as a command is.
ROOMS_THAT_SET_LOG_HANDLERS = {"cli", "serve"}
SETTERS_OF_LOG_HANDLERS = {
    "addHandler",
    "basicConfig",
    "dictConfig",
    "fileConfig",
    "FileHandler",
    "RichHandler",
    "RotatingFileHandler",
    "StreamHandler",
    "TimedRotatingFileHandler",
}


def named(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def layers() -> list[str]:
    (contract,) = contracts("layers")
    return [name.strip("( )") for layer in contract["layers"] for name in layer.split("|")]


def test_the_contracts_of_import_linter_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = run_here([str(linter), "--no-cache", "--no-logo"])
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_room_has_its_place_in_the_layers() -> None:
    without = [room for room in rooms() if f"isthmus.{room}" not in layers()]
    assert not without, f"give these rooms a place in pyproject.toml's layers: {without}"


@pytest.mark.parametrize("room", ["variants", "nets", "corruptions", "jobs", "uses"])
def test_every_plugin_is_held_apart_from_its_neighbours(room: str) -> None:
    apart = {name for contract in contracts("independence") for name in contract["modules"]}
    if f"isthmus.{room}.*" in apart:
        return
    plugins = {path.stem for path in (PACKAGE / room).glob("*.py") if path.stem[0] != "_"}
    if room == "jobs":  # it also holds what the jobs share
        plugins &= {"train", "tune", "report"}
    without = sorted(name for name in plugins if f"isthmus.{room}.{name}" not in apart)
    assert not without, f"add these to pyproject.toml's independence of {room}: {without}"


@pytest.mark.parametrize(
    "module",
    [
        "isthmus",
        "isthmus.cli",
        "isthmus.plugins",
        "isthmus.quiet",
        "isthmus.spec",
        "isthmus.tracking",
        "isthmus.progress.events",
        "isthmus.progress.reporter",
    ],
)
def test_importing_it_loads_no_heavy_library(module: str) -> None:
    loaded = fresh_python(
        f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))",
    )
    assert not sorted(set(HEAVY) & set(json.loads(loaded)))


STATIC = [
    *(["--help"], ["train", "--help"], ["detect", "--help"], ["--version"]),
    *(
        ["variants"],
        ["nets"],
        ["scores"],
        ["corruptions"],
        ["variants", "vqvae"],
        ["nets", "conv"],
        ["corruptions", "jpeg"],
    ),
    *(["variants", "--json"], ["schema"], ["validate", "job.yaml", "--no-data"]),
]


def loaded_by(arguments: list[str], folder: Path) -> set[str]:
    """The modules that a command of the command line loads in a process of its own."""
    shown = fresh_python(
        "import json, runpy, sys\n"
        f"sys.argv = ['isthmus', *{arguments}]\n"
        "try:\n"
        "    runpy.run_module('isthmus', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print()\n"
        "print(json.dumps(sorted(sys.modules)))\n",
        folder,
    )
    *text, loaded = shown.splitlines()
    assert text
    return set(json.loads(loaded))


@pytest.mark.parametrize("arguments", STATIC, ids=" ".join)
def test_a_static_command_loads_no_heavy_library(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "name: a\ndata: {path: x.csv, kind: tabular}\nvariant: {name: vae, beta: 2}\nnet: dense\n"
    )
    assert not sorted(set(HEAVY) & loaded_by(arguments, tmp_path))


def test_only_rooms_that_meet_mlflow_import_it_even_lazily() -> None:
    wrong = [
        place(path, node)
        for path in modules()
        if room_of(path) not in ROOMS_THAT_MEET_MLFLOW
        for node, name in imported(path)
        if name.split(".")[0] == "mlflow"
    ]
    assert not wrong


def test_lightning_is_imported_by_its_full_name_only() -> None:
    wrong = [
        place(path, node)
        for path in modules()
        for node, name in imported(path)
        if name.split(".")[0] == "lightning"
    ]
    assert not wrong


def test_print_is_called_in_the_command_line_only() -> None:
    wrong = [
        place(path, node)
        for path in modules()
        if room_of(path) not in ROOMS_THAT_PRINT
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name) and node.id in {"print", "pprint"}
    ]
    assert not wrong


def test_log_handlers_are_set_where_a_process_begins() -> None:
    wrong = []
    for path in modules():
        if room_of(path) in ROOMS_THAT_SET_LOG_HANDLERS:
            continue
        for node in ast.walk(tree(path)):
            match node:
                case ast.Call(func=func) if named(func) in SETTERS_OF_LOG_HANDLERS:
                    wrong.append(place(path, node))
                case ast.Attribute(attr="handlers", ctx=ast.Store()):
                    wrong.append(place(path, node))
    assert not wrong


def test_the_rules_read_the_files_of_every_room() -> None:
    assert {"api", "cli", "data", "errors", "pipelines", "tracking"} <= {
        room_of(path) for path in modules()
    }
