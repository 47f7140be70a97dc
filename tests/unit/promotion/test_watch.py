"""What was clicked is judged, and put back, whatever becomes of a watcher meanwhile."""

from __future__ import annotations

import pytest

from isthmus.promotion import Verdict, watch
from isthmus.promotion.watch import Watcher
from isthmus.registry import champion_of, history, promote
from isthmus.tracking import open_store
from tests.challengers import register

pytestmark = pytest.mark.slow
NAME = "clicked"


@pytest.fixture(scope="module", autouse=True)
def three_versions(settings, rows):
    for steps in (1, 2, 3):
        register(NAME, rows, settings, steps)


class Judge:
    """Refuses versions, and remembers what it was asked."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.asked: list[tuple[int, int | None]] = []

    def __call__(self, name, version, champion, settings, **options):
        self.asked.append((version, champion))
        obstacle = "it is bad" if version in self.refused else ""
        return Verdict(f"{name}/{version}", f"{name}/{champion}", 10, (), obstacle, "enforce")


@pytest.fixture
def gate(monkeypatch) -> Judge:
    judge = Judge()
    monkeypatch.setattr(watch, "judge", judge)
    return judge


@pytest.fixture
def home(settings, tmp_path):
    """The registry as another machine sees it on which no watcher ever ran; 1 is champion."""
    promote(NAME, 2, settings)
    promote(NAME, 1, settings)
    return settings.model_copy(update={"home": tmp_path})


def click(version, settings):
    open_store(settings).set_registered_model_alias(f"{NAME}-encoder", "champion", str(version))


def watcher_of(home, lines=None, **options):
    watcher = Watcher(home, (lines if lines is not None else []).append, **options)
    watcher.look()
    return watcher


def test_what_was_refused_is_put_back_by_the_next_watcher_if_one_died(home, gate, monkeypatch):
    watcher = watcher_of(home)
    gate.refused = {3}
    click(3, home)
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(watch.Watcher, "_put_back", raise_interrupt)
        watcher.look()
    assert champion_of(NAME, home) == 3
    watcher_of(home)
    assert champion_of(NAME, home) == 1
    assert history(NAME, home)[-1].source == "gate"
    assert "it is bad" in history(NAME, home)[-1].why
    assert gate.asked == [(3, 1)]


def raise_interrupt(*_):
    raise KeyboardInterrupt
