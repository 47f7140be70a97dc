"""What is installed: the wheel, its versions, and nothing else."""

from __future__ import annotations

import configparser
import importlib.util
import re
import sys
import zipfile
from email import message_from_string
from email.message import Message
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source import (
    PACKAGE,
    PIPELINES,
    ROOT,
    files_in,
    imported,
    modules,
    place,
    pyproject,
    run_here,
)

BUILDERS = {
    "hatchling": ["hatchling", "build", "-t", "wheel", "-d"],
    "pip": ["pip", "wheel", "--quiet", "--no-deps", ".", "--wheel-dir"],
}
BUILDER = (
    pytest.param("hatchling")
    if importlib.util.find_spec("hatchling")
    # It fetches hatchling into an environment of its own first.
    else pytest.param("pip", marks=pytest.mark.slow)
)
IMPORTED_AS = "isthmus_pipelines"
REPORTED_AS_MALICIOUS = ("2.6.2", "2.6.3")


@pytest.fixture(scope="module", params=[BUILDER])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    result = run_here([sys.executable, "-m", *BUILDERS[request.param], str(folder)])
    assert result.returncode == 0, result.stdout + result.stderr
    (made,) = folder.glob("*.whl")
    return made


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = (Requirement(line) for line in lines)
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def declared() -> dict[str, Requirement]:
    project = pyproject()["project"]
    groups = project["optional-dependencies"].values()
    return requirements([*(line for group in groups for line in group), *project["dependencies"]])


def pins() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    exact = {}
    for name, requirement in requirements([line for line in lines if line]).items():
        (pin,) = requirement.specifier
        assert pin.operator == "==", f"{requirement} is no exact version"
        assert "*" not in pin.version, f"{requirement} is no exact version"
        exact[name] = pin.version
    return exact


def test_the_wheel_holds_the_package_the_pipelines_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    held = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    package = {path.relative_to(PACKAGE.parent).as_posix() for path in files_in(PACKAGE)}
    pipelines = {path.relative_to(PIPELINES).as_posix() for path in files_in(PIPELINES)}
    assert held == package | {f"{IMPORTED_AS}/{path}" for path in pipelines}
    assert {"isthmus/py.typed", "isthmus/cli/__init__.py"} <= held
    assert f"{IMPORTED_AS}/jobs/digits.yaml" in held


def test_the_pipelines_are_imported_by_the_name_that_they_have_in_the_wheel() -> None:
    """`pipelines` could be a package of any other project that is installed beside ours."""
    assert (PACKAGE.parent / IMPORTED_AS).resolve() == PIPELINES
    imports = [
        place(path, node)
        for path in [*modules(), *files_in(ROOT / "tests", "*.py")]
        for node, name in imported(path)
        if name.split(".")[0] == PIPELINES.name
    ]
    assert not imports, f"import {IMPORTED_AS} here"


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(archive.read(name).decode())
    assert dict(points["console_scripts"]) == {"isthmus": "isthmus.__main__:main"}


def description(wheel: Path) -> Message:
    """What PyPI shows of the wheel."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(archive.read(name).decode())


def test_the_page_on_pypi_has_no_link_that_leads_only_through_the_repository(wheel: Path) -> None:
    shown = description(wheel)
    page = shown.get_payload()
    assert "[Install]" not in page
    assert "Install lists the extras" in " ".join(page.split())
    links = re.findall(r"\]\(([^)]+)\)", page)
    links += [line.split(", ")[1] for line in shown.get_all("Project-URL", [])]
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_what_is_published_names_no_placeholder_for_an_account(wheel: Path) -> None:
    assert "OWNER" not in str(description(wheel))


def test_every_library_that_is_imported_is_required_or_in_an_extra() -> None:
    brought_by = packages_distributions()
    halves = {
        "botocore",
        "pydantic_core",
    }  # of boto3 and pydantic, in the version of the other half
    notebooks = {"IPython"}  # imported in a notebook only, which is IPython
    known = {"isthmus", IMPORTED_AS, *halves, *notebooks, *sys.stdlib_module_names}
    wrong = [
        f"{place(path, node)}: {name}"
        for path in modules()
        for node, name in imported(path)
        if (top := name.split(".")[0]) not in known
        and not {canonicalize_name(each) for each in brought_by.get(top, [])} & {*declared()}
    ]
    assert not wrong


def test_all_is_every_extra_that_is_for_users_and_the_docs_list_them() -> None:
    extras = pyproject()["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert Requirement(everything).extras == {*extras} - {"all", "bench", "docs", "dev"}
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed == {*Requirement(everything).extras, "all"}


def test_every_pin_is_within_the_range_that_the_project_allows() -> None:
    ranges = declared()
    wrong = [
        f"{name}=={version} is outside {ranges[name]}"
        for name, version in pins().items()
        if name in ranges and not ranges[name].specifier.contains(version, prereleases=True)
    ]
    assert not wrong


def test_torch_is_pinned_to_an_exact_version() -> None:
    assert "torch" in pins()


@pytest.mark.parametrize("version", REPORTED_AS_MALICIOUS)
def test_a_release_that_is_reported_as_malicious_is_excluded(version: str) -> None:
    allowed = declared()["pytorch-lightning"].specifier
    assert not allowed.contains(version)
    assert allowed.contains(pins()["pytorch-lightning"])


def test_lightning_is_no_dependency_under_its_other_name() -> None:
    assert "lightning" not in declared()
    assert "lightning" not in pins()
