"""A real browser, and the MLflow page on a user's folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.stack.page import serve_page
from tests.project import Project

OUTPUT = Path(__file__).parent / "output"
# Debian's browser as root in a machine without a network: no sandbox, nothing in the background.
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium, without a window."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def page_url(project: Project) -> Iterator[str]:
    """What `isthmus ui` serves."""
    with serve_page(project.settings, "127.0.0.1", None) as page:
        yield page.url


@pytest.fixture
def tab(browser):
    """A tab of its own; what is on it at the end is kept as a picture."""
    OUTPUT.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    opened = context.new_page()
    yield opened
    context.close()
