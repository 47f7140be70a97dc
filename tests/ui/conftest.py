"""A real browser; MLflow's page on a user's folder, and on a team's servers with a watcher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from isthmus.aliases import history
from isthmus.promotion import promote
from isthmus.servers import free_port
from isthmus.stack.page import serve_page
from isthmus.tracking import open_store
from tests.challengers import BAD_STEPS, GOOD_STEPS, register, write_rows
from tests.project import Project
from tests.servers.stack import StackServers

OUTPUT = Path(__file__).parent / "output"
TIMEOUT_MS = 120_000
_SECRET = "0123456789abcdef0123456789abcdef"
# Debian's browser as root in a machine without a network: no sandbox, nothing in the background.
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


# For a module, not for the session: Playwright's event loop runs in this thread as long as its
# browser is open, and whatever test this process comes to next may want one of its own.
@pytest.fixture(scope="module")
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
    # Of its own: two processes that look for the first free one at once would both take it.
    with serve_page(project.settings, "127.0.0.1", free_port("127.0.0.1")) as page:
        yield page.url


@pytest.fixture
def tab(browser):
    """A tab of its own."""
    OUTPUT.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


class Clicked:
    """A model that people click on: `clicked/1` is champion, `clicked/2` as good, `/3` bad."""

    name = "clicked"

    def __init__(self, folder: Path, stack: StackServers) -> None:
        self.folder, self.url = folder, stack.tracking_uri
        self.environment, self.settings = stack.environment, stack.settings(folder)
        settings = self.settings
        self.client = open_store(settings)
        self.input = folder / "in.csv"
        rows = write_rows(folder / "rows.csv")
        pd.read_csv(rows).drop(columns="label").to_csv(self.input, index=False)
        register(self.name, rows, settings, GOOD_STEPS)
        promote(self.name, 1, settings)
        register(self.name, rows, settings, GOOD_STEPS, like_a_job=True)
        register(self.name, rows, settings, BAD_STEPS)

    def champion(self, half: str, name: str | None = None) -> int | None:
        """The version of NAME-half that is champion."""
        registered = f"{name or self.name}-{half}"
        found = self.client.search_registered_models(f"name = '{registered}'")
        version = found[0].aliases.get("champion") if found else None
        return None if version is None else int(version)

    def tags(self, version: int) -> Mapping[str, str]:
        """Of the encoder."""
        tags: Mapping[str, str] = self.client.get_model_version(
            f"{self.name}-encoder", str(version)
        ).tags
        return tags

    def told(self) -> list[tuple[str, int | None, int | None]]:
        """The history: who or what, from which version to which."""
        events = history(self.name, self.settings)
        return [(event.source, event.from_version, event.to_version) for event in events]


@pytest.fixture(scope="session")
def clicked(stack, watcher, tmp_path_factory) -> Clicked:
    """On Postgres, S3 and MLflow; for the session."""
    folder = tmp_path_factory.mktemp("clicked")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        return Clicked(folder, stack)


class WatchCommand:
    """`isthmus watch`, called by MLflow's webhooks, in a folder of its own."""

    def __init__(self, folder: Path, stack: StackServers) -> None:
        self._told, self._began = folder / "told.txt", folder / ".isthmus" / "watch" / "began.json"
        command = [sys.executable, "-m", "isthmus", "watch", "--poll", "20"]
        with self._told.open("w") as told:
            self._process = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0", "--register"],
                cwd=folder,
                stdout=told,
                stderr=told,
                env={**os.environ, **stack.environment, "ISTHMUS_WEBHOOK_SECRET": _SECRET},
            )

    def wait_for(self, is_so: Callable[[], bool], timeout_s: float = 240) -> None:
        """Waits until something is so; if it never is, says what the command has told."""
        until_s = time.monotonic() + timeout_s
        while not is_so():
            assert self._process.poll() is None, self._told.read_text()
            assert time.monotonic() < until_s, self._told.read_text()
            time.sleep(0.2)

    def wait_until_it_watches(self) -> None:
        """What is clicked from then on is judged."""
        self.wait_for(self._began.exists)

    def stop(self) -> None:
        """By Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        finally:
            self._process.kill()


@pytest.fixture(scope="session")
def watcher(stack, tmp_path_factory) -> Iterator[WatchCommand]:
    """Starts while the pairs are trained: both take seconds."""
    command = WatchCommand(tmp_path_factory.mktemp("watch"), stack)
    try:
        yield command
    finally:
        command.stop()


@pytest.fixture(scope="session")
def watching(watcher, clicked) -> WatchCommand:
    """The same, once it watches."""
    watcher.wait_until_it_watches()
    return watcher
