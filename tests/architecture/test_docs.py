"""The documentation can be built, is complete, and is plain English."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import isthmus
from tests.architecture.source import ROOT, files_in, rooms, run_here

README = ROOT / "README.md"
LONGEST_README = 150
PAGES = [*ROOT.glob("*.md"), *files_in(ROOT / "docs", "*.md")]
# Sentences without a subject, and words whose meaning only we would know.
RIDDLES = re.compile(
    r"^It goes on\b|\. It goes on\b|\bWhich\.(\s|$)|\bnobody hears of\b"
    r"|\b[Ff]aults? (is|are) told\b|\bare told (before|at once|all at once)\b",
    re.MULTILINE,
)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation; a dead link, or a page without a place in the menu, is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    built = run_here(command)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_public_name_has_its_place_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert [name for name in isthmus.__all__ if f'id="isthmus.{name}"' not in page] == []


def test_no_page_of_the_site_loads_anything_from_another_host(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img)[^>]+src=\"?https?://|<link[^>]+stylesheet[^>]+https?://")
    wrong = [
        str(page.relative_to(site))
        for page in site.rglob("*.html")
        if loaded.search(page.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    linked = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [path for path in linked if not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_riddles(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [found.group() for found in RIDDLES.finditer(text)] == []


def test_contributing_says_what_every_room_holds() -> None:
    house = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [room for room in rooms() if f"  {room}/" not in house] == []


def test_the_page_of_the_command_line_names_every_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = run_here([sys.executable, "-m", "isthmus", "--help"]).stdout
    commands = re.findall(r"^  ([a-z]+)  ", shown, re.MULTILINE)
    assert len(commands) > 20
    assert [name for name in commands if f"`{name}`" not in page] == []
