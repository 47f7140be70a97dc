"""Where things lie: `platform` stays Python's own, and the tests mirror the rooms."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.architecture.source import (
    PACKAGE,
    ROOT,
    environment,
    files_in,
    imported,
    modules,
    place,
    rooms,
)

DEEPEST = 2
NOT_ROOMS = {"infra", "pipelines"}


@pytest.mark.parametrize("folder", [ROOT, ROOT / "platform"], ids=["the root", "platform"])
def test_python_finds_its_own_platform_module_from(folder: Path) -> None:
    # Without this test's PYTHONPATH: what a person who works there has.
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import platform; platform.python_version(); print(platform.__file__)",
        ],
        cwd=folder,
        env=environment({"PYTHONPATH": None}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = Path(result.stdout.strip())
    assert found.parent == Path(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("path", ["platform/__init__.py", "tests/platform"])
def test_nothing_takes_the_name_of_pythons_platform(path: str) -> None:
    assert not (ROOT / path).exists()


def test_the_platform_folder_holds_the_package_alone() -> None:
    assert {path.relative_to(PACKAGE.parent).parts[0] for path in files_in(PACKAGE.parent)} == {
        "isthmus"
    }


def test_folders_lie_at_most_two_below_the_package() -> None:
    deep = [
        str(path.relative_to(ROOT))
        for path in files_in(PACKAGE)
        if len(path.relative_to(PACKAGE).parts) - 1 > DEEPEST
    ]
    assert not deep


def test_the_folders_of_unit_tests_mirror_the_rooms() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {path.relative_to(unit).parts[0] for path in files_in(unit, "*/**/*.py")}
    assert sorted(folders - set(rooms()) - NOT_ROOMS) == []


def test_the_product_imports_nothing_of_infra_or_the_tests() -> None:
    wrong = [
        place(path, node)
        for path in modules()
        for node, name in imported(path)
        if name.split(".")[0] in {"infra", "tests"}
    ]
    assert not wrong
