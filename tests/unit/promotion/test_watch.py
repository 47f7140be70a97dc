"""What was clicked is judged, and put back, whatever becomes of a watcher meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isthmus import promotion
from isthmus.aliases import champion_of, history, promote, reconcile
from isthmus.errors import Overtaken
from isthmus.promotion import Verdict, champion, watch
from isthmus.promotion.subscriptions import Subscription
from isthmus.promotion.watch import Watcher
from isthmus.registry import load
from isthmus.tracking import open_store
from tests.challengers import GOOD_STEPS, register, write_rows

pytestmark = pytest.mark.slow
NAME = "clicked"


@pytest.fixture(scope="module", autouse=True)
def three_versions(settings, rows):
    for steps in (1, 2, 3):
        register(NAME, rows, settings, steps)
    register("other", rows, settings, 1)


class Judge:
    """Refuses versions, and remembers what it was asked."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.asked: list[tuple[int, int | None]] = []
        self.meanwhile: list[Callable[[], object]] = []

    def __call__(self, name, version, champion, settings, **options):
        self.asked.append((version, champion))
        if self.meanwhile:
            self.meanwhile.pop()()
        obstacle = "it is bad" if version in self.refused else ""
        return Verdict(f"{name}/{version}", f"{name}/{champion}", 10, (), obstacle, "enforce")


@pytest.fixture
def gate(monkeypatch) -> Judge:
    judge = Judge()
    monkeypatch.setattr(watch, "judge", judge)
    monkeypatch.setattr(champion, "judge", judge)
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
    monkeypatch.setattr(watcher, "_put_back", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        watcher.look()
    assert champion_of(NAME, home) == 3
    watcher_of(home)
    assert champion_of(NAME, home) == 1
    assert history(NAME, home)[-1].source == "gate"
    assert "it is bad" in history(NAME, home)[-1].why
    assert gate.asked == [(3, 1)]


def test_what_is_clicked_while_the_gate_judges_is_judged_and_not_overwritten(home, gate):
    watcher = watcher_of(home)
    gate.refused, gate.meanwhile = {3}, [lambda: click(2, home)]
    click(3, home)
    watcher.look()
    assert champion_of(NAME, home) == 2
    watcher.look()
    assert champion_of(NAME, home) == 2
    assert gate.asked == [(3, 1), (2, 1)]


def test_subscriptions_follow_what_was_judged_and_not_what_was_clicked_meanwhile(
    home, gate, tmp_path
):
    followed = []
    follow = Subscription(NAME, "detect", "in.csv", tmp_path / "out.csv")
    watcher = Watcher(home, [].append, subscriptions=[follow])
    watcher._reruns.follow = lambda _, version: followed.append(version)
    watcher.look()
    gate.refused, gate.meanwhile = {3}, [lambda: click(3, home)]
    click(2, home)
    watcher.look()
    watcher.look()
    assert followed == [1, 2, 2]


def test_a_version_is_judged_again_if_another_became_champion_meanwhile(home, gate):
    gate.meanwhile = [lambda: promote(NAME, 3, home)]
    done = promotion.promote(NAME, 2, home)
    assert gate.asked == [(2, 1), (2, 3)]
    assert (done.promotion.previous, done.verdict.champion) == (3, f"{NAME}/3")


def test_a_version_that_is_overtaken_again_and_again_is_not_promoted(home, gate):
    gate.meanwhile = [lambda to=to: promote(NAME, to, home) for to in (3, 1, 3)]
    with pytest.raises(Overtaken):
        promotion.promote(NAME, 2, home)
    assert champion_of(NAME, home) == 3


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_what_was_clicked_before_the_first_watcher_counts_as_the_champion_before(home, gate):
    click(2, home)
    reconcile(NAME, home)
    watcher = watcher_of(home)
    gate.refused = {3}
    click(3, home)
    watcher.look()
    assert gate.asked == [(3, 2)]
    assert champion_of(NAME, home) == 2


def test_an_output_that_cannot_be_written_is_tried_again_later(home, gate, tmp_path):
    (tmp_path / "file").write_text("")
    follow = Subscription(NAME, "detect", "in.csv", tmp_path / "file" / "out.csv")
    lines: list[str] = []
    watcher_of(home, lines, subscriptions=[follow])
    assert "failed: " in lines[-1]
    assert "tried again" in lines[-1]


def test_an_unexpected_error_of_one_pair_keeps_nobody_from_the_others(
    home, gate, monkeypatch, caplog
):
    looked_at = []

    def reconcile_others(name, settings):
        looked_at.append(name)
        if name == NAME:
            raise ZeroDivisionError
        return ()

    monkeypatch.setattr(watch, "reconcile", reconcile_others)
    watcher_of(home)
    assert {NAME, "other"} <= set(looked_at)
    assert "ZeroDivisionError" in caplog.text


def test_a_click_on_what_few_rows_cannot_tell_stays_for_a_person_chose_it(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv", rows=400)
    for steps in (GOOD_STEPS, GOOD_STEPS + 20):
        register("chosen", rows, settings, steps)
    promotion.promote("chosen", 1, settings, undecided=True)
    lines: list[str] = []
    watcher = watcher_of(settings.model_copy(update={"home": tmp_path}), lines)
    registered = open_store(settings)
    registered.set_registered_model_alias("chosen-encoder", "champion", "2")
    watcher.look({"chosen"})
    assert champion_of("chosen", settings) == 2
    assert any("chosen/2: undecided; " in line and "a person chose it" in line for line in lines)
    tags = registered.get_model_version("chosen-encoder", "2").tags
    assert (tags["isthmus.verdict"], tags["isthmus.gate_let"]) == ("undecided", "chosen")
    strict = settings.model_copy(update={"require_gate": True})
    assert load("chosen", strict).reference == "chosen/2"
